//! Every state within the bounds: no check fails, every way on comes to a good end, and what there was to see is what was
//! reviewed: the counts, the gaps, the cells that were met, the whole tables of states and events.
use std::collections::BTreeSet;

use handoff_sim::explore::{Bound, LARGE, Options, Report, SMALL, explore, tables};
use handoff_sim::run::gap_name;
use handoff_sim::threads::map;

/// Goes through `bounds`, two at a time.
fn explored(bounds: &'static [Bound], options: Options<'static>) -> Vec<(&'static Bound, Report)> {
    map(bounds, 2, |bound| (bound, explore(bound, options)), |_| {})
}

/// What is wrong with what was found, and the shortest way to it.
fn problems(bound: &Bound, report: &Report) -> Vec<String> {
    let way =
        |why: &String| report.violations.get(why).map(|schedule| schedule.to_toml()).unwrap_or_default();
    report.wrong(bound).iter().map(|why| format!("{}: {why}\n{}", bound.name, way(why))).collect()
}

fn counts(all: &[(&Bound, Report)]) -> String {
    let line = |(bound, report): &(&Bound, Report)| {
        let Report { states, transitions, depth, .. } = report;
        format!("{:<36} {states:>9} {transitions:>11} {depth:>6}\n", bound.name)
    };
    let head = format!("{:<36} {:>9} {:>11} {:>6}\n", "bound", "states", "transitions", "depth");
    head + &all.iter().map(line).collect::<String>()
}

fn lines<T: ToString>(all: &BTreeSet<T>) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join("\n")
}

fn cells(all: &[(&Bound, Report)]) -> String {
    lines(&of_the_protocol(all).flat_map(|report| &report.cells).collect())
}

/// Without what only a bad peer leads to: no sweep meets that, and it is the business of the tests that have one.
fn of_the_protocol<'a>(all: &'a [(&Bound, Report)]) -> impl Iterator<Item = &'a Report> {
    all.iter().filter(|(bound, _)| !bound.has_a_bad_peer()).map(|(_, report)| report)
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("explored");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn assert_well(all: &[(&Bound, Report)]) {
    let problems: Vec<String> = all.iter().flat_map(|(bound, report)| problems(bound, report)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

#[test]
fn every_state_within_the_small_bounds() {
    let all = explored(SMALL, Options { samples: true, ..Options::default() });
    assert_well(&all);
    snapshot("small", &counts(&all));
    let gaps: BTreeSet<String> =
        of_the_protocol(&all).flat_map(|report| &report.gaps).map(gap_name).collect();
    snapshot("gaps", &lines(&gaps));
    snapshot("cells", &cells(&all));
    for (role, table) in tables(all.iter().map(|(_, report)| report)) {
        snapshot(role, &table);
    }
}

#[test]
#[ignore = "ten million states, some minutes, some gigabytes"]
fn every_state_within_the_large_bounds() {
    let all = explored(LARGE, Options::default());
    assert_well(&all);
    snapshot("large", &counts(&all));
    snapshot("large-cells", &cells(&all));
}
