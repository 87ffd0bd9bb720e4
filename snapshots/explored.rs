//! Every state within the bounds: no check fails, every way on comes to a good end, and what there was to see is what was
//! reviewed: the counts, the gaps, the cells that were met, the whole tables of states and events.
//!
//! Every day most of the small bounds are gone through. Those that take longest add nothing to the tables, and have a command of
//! their own, in which all that was reviewed must be met.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use handoff_sim::explore::{
    Bound, CARRY, CarryFlaw, ExploreOptions, ExploreReport, LARGE, SMALL, explore, tables,
};
use handoff_sim::run::by_name;
use handoff_sim::threads::map;

/// More than half of the small bounds' time. What is met in them and in no other is met by the sweeps, every day.
const NOT_EVERY_DAY: [&str; 9] = [
    "cancelled-and-crash-recovered",
    "error-and-crash-recovered",
    "late-and-stop-recovered",
    "reset-and-crash-recovered",
    "stop-and-bad-hook",
    "stop-and-crash",
    "stop-and-other-version",
    "two-crashes",
    "two-crashes-recovered",
];

/// Goes through those of `bounds` that are `wanted`, two at a time.
fn explored(
    bounds: &'static [Bound],
    wanted: impl Fn(&Bound) -> bool,
    options: ExploreOptions<'static>,
) -> Vec<(&'static Bound, ExploreReport)> {
    let wanted: Vec<&Bound> = bounds.iter().filter(|bound| wanted(bound)).collect();
    map(&wanted, 2, |bound| (*bound, explore(bound, options)), |_| {})
}

/// Returns what is wrong with what was found, and the shortest way to it.
fn problems(bound: &Bound, report: &ExploreReport) -> Vec<String> {
    let way =
        |why: &String| report.violations.get(why).map(|schedule| schedule.to_toml()).unwrap_or_default();
    report.wrong(bound).iter().map(|why| format!("{}: {why}\n{}", bound.name, way(why))).collect()
}

fn counts(all: &[(&Bound, ExploreReport)]) -> String {
    let head = format!("{:<36} {:>9} {:>11} {:>6}\n", "bound", "states", "transitions", "depth");
    head + &all.iter().map(count).collect::<String>()
}

fn count((bound, report): &(&Bound, ExploreReport)) -> String {
    let ExploreReport { states, transitions, depth, .. } = report;
    format!("{:<36} {states:>9} {transitions:>11} {depth:>6}\n", bound.name)
}

fn lines(all: impl IntoIterator<Item = impl ToString>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join("\n")
}

fn cells(all: &[(&Bound, ExploreReport)]) -> String {
    lines(by_name(of_the_protocol(all).flat_map(|report| &report.cells)))
}

fn gaps(all: &[(&Bound, ExploreReport)]) -> String {
    lines(
        of_the_protocol(all)
            .flat_map(|report| &report.gaps)
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>(),
    )
}

/// Without what only a bad peer leads to: no sweep meets that, and it is the business of the tests that have one.
fn of_the_protocol<'a>(all: &'a [(&Bound, ExploreReport)]) -> impl Iterator<Item = &'a ExploreReport> {
    all.iter().filter(|(bound, _)| !bound.has_a_bad_peer()).map(|(_, report)| report)
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("explored");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn assert_well(all: &[(&Bound, ExploreReport)]) {
    let problems: Vec<String> = all.iter().flat_map(|(bound, report)| problems(bound, report)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

fn assert_tables(all: &[(&Bound, ExploreReport)]) {
    for (role, table) in tables(all.iter().map(|(_, report)| report)) {
        snapshot(role, &table);
    }
}

/// Every line of `text` is in the snapshot `name`, in which there may be more.
fn assert_reviewed(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("explored/{name}.snap"));
    let snapshot = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let reviewed: BTreeSet<&str> = snapshot.lines().collect();
    let new: Vec<&str> = text.lines().filter(|line| !reviewed.contains(line)).collect();
    assert!(
        new.is_empty(),
        "not in {}, which the test of all small bounds writes:\n{}",
        path.display(),
        new.join("\n")
    );
}

#[test]
fn every_state_within_the_small_bounds_of_every_day() {
    let samples = ExploreOptions { samples: true, ..ExploreOptions::default() };
    let all = explored(SMALL, |bound| !NOT_EVERY_DAY.contains(&bound.name), samples);
    assert_eq!(all.len() + NOT_EVERY_DAY.len(), SMALL.len(), "each of those that are left out is there");
    assert_well(&all);
    assert_tables(&all);
    assert_reviewed("small", &all.iter().map(count).collect::<String>());
    assert_reviewed("gaps", &gaps(&all));
    assert_reviewed("cells", &cells(&all));
}

#[test]
#[ignore = "two minutes"]
fn every_state_within_the_small_bounds() {
    let all = explored(SMALL, |_| true, ExploreOptions { samples: true, ..ExploreOptions::default() });
    assert_well(&all);
    assert_tables(&all);
    snapshot("small", &counts(&all));
    snapshot("gaps", &gaps(&all));
    snapshot("cells", &cells(&all));
}

#[test]
#[ignore = "ten million states, some minutes, some gigabytes"]
fn every_state_within_the_large_bounds() {
    let all = explored(LARGE, |_| true, ExploreOptions::default());
    assert_well(&all);
    snapshot("large", &counts(&all));
    snapshot("large-cells", &cells(&all));
}

/// Three quarters of the states in which connections are carried.
const NOT_EVERY_DAY_CARRIED: [&str; 2] = ["carry-error-and-crash", "carry-stop-and-crash"];

/// The machines' cells are the others' business: connections are carried beside them.
#[test]
fn every_state_in_which_connections_are_carried_every_day() {
    let every_day = |bound: &Bound| !NOT_EVERY_DAY_CARRIED.contains(&bound.name);
    let all = explored(CARRY, every_day, ExploreOptions::default());
    assert_eq!(
        all.len() + NOT_EVERY_DAY_CARRIED.len(),
        CARRY.len(),
        "each of those that are left out is there"
    );
    assert_well(&all);
    assert_reviewed("carry", &all.iter().map(count).collect::<String>());
}

#[test]
#[ignore = "half a minute"]
fn every_state_in_which_connections_are_carried() {
    let all = explored(CARRY, |_| true, ExploreOptions::default());
    assert_well(&all);
    snapshot("carry", &counts(&all));
}

#[test]
fn whatever_is_wrong_with_the_carrying_is_noticed() {
    let noticed = |flaw: &CarryFlaw| {
        let options = ExploreOptions { flaw: Some(*flaw), ..ExploreOptions::default() };
        let mut violations = CARRY.iter().map(|bound| (bound.name, explore(bound, options).violations));
        let (bound, violation) =
            violations.find_map(|(name, found)| Some((name, found.into_keys().next()?)))?;
        Some(format!("{flaw:?}: {bound}: {violation}"))
    };
    let found = map(&CarryFlaw::ALL, 2, |flaw| (*flaw, noticed(flaw)), |_| {});
    let survivors: Vec<CarryFlaw> =
        found.iter().filter(|(_, why)| why.is_none()).map(|(flaw, _)| *flaw).collect();
    assert_eq!(survivors, [], "no bound notices these");
    snapshot("carry-flaws", &lines(found.into_iter().filter_map(|(_, why)| why)));
}
