//! The judge of mutated sources (`.cargo/mutants.toml`): all that scenarios, the exploration, sweeps, and the rules of the outage table
//! notice, soonest first. Only the last step looks at what was reviewed: that notices every change, right or wrong, and has a score of its
//! own.
use std::path::Path;
use std::sync::Arc;

use handoff_sim::explore::{Bound, ExploreOptions, ExploreReport, SMALL, explore};
use handoff_sim::outage::Outages;
use handoff_sim::run::{Planted, ledgers};
use handoff_sim::sweep::Sweep;
use handoff_sim::{Plan, run};

/// The bounds for every kind of fault, and what is small besides; the smallest first.
const FIRST: [&str; 21] = [
    "no-fault",
    "no-fault-deferred",
    "other-version",
    "seal-progress",
    "one-drop",
    "late",
    "bad-hook-and-cancelled",
    "seal-progress-and-told-to-stop",
    "error-and-told-to-stop",
    "one-error",
    "cancelled-and-crash",
    "one-bad-hook",
    "one-reset",
    "one-stray",
    "cancelled",
    "told-to-stop",
    "one-stop",
    "bad-hook-and-told-to-stop",
    "cancelled-and-told-to-stop",
    "one-crash-recovered",
    "one-crash",
];

/// Those that take longest, and are gone through last.
const LAST: [&str; 9] = [
    "bad-hook-and-crash-recovered",
    "error-and-crash-recovered",
    "one-stop-recovered",
    "late-and-stop-recovered",
    "told-to-stop-and-recovered",
    "two-crashes-recovered",
    "stop-and-crash",
    "cancelled-and-crash-recovered",
    "two-crashes",
];

/// A mutant that makes more states than that has no end.
const MOST_STATES: usize = 1_000_000;

/// Seconds: most mutants get no further.
#[test]
#[ignore = "for mutants: every other test is harder to please"]
fn nothing_is_noticed_at_once() {
    ["scenarios", "scenarios/corpus"].into_iter().for_each(replayed);
    FIRST.into_iter().map(named).for_each(explored);
    swept(0..1500);
}

#[test]
#[ignore = "for mutants: every other test is harder to please"]
fn nothing_is_noticed_later() {
    let mut outages = Outages::all(ledgers(), Planted::Nothing);
    outages.jobs = 1;
    assert_eq!(outages.run(|_| {}).broken.first().map(|broken| &broken.why), None);
    between().for_each(explored);
    swept(1500..10_000);
}

#[test]
#[ignore = "for mutants: every other test is harder to please"]
fn nothing_is_noticed_at_last() {
    LAST.into_iter().map(named).for_each(explored);
}

/// As many states, and ways between them, as were reviewed; but for the largest bounds.
#[test]
#[ignore = "for mutants: every other test is harder to please"]
fn nothing_is_other_than_reviewed() {
    FIRST.into_iter().map(named).chain(between()).for_each(as_reviewed);
}

fn named(name: &str) -> &'static Bound {
    SMALL.iter().find(|bound| bound.name == name).expect("a bound of that name")
}

fn between() -> impl Iterator<Item = &'static Bound> {
    SMALL.iter().filter(|bound| !FIRST.contains(&bound.name) && !LAST.contains(&bound.name))
}

/// Every plan in `folder`: no check fails, and what it says is reported.
fn replayed(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    for entry in folder.read_dir().expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let plan = Arc::new(Plan::load(&path).expect("a good plan"));
            let violation = run(&plan, &ledgers(), run::RunOptions::default()).violation;
            assert_eq!(violation, None, "{}", path.display());
        }
    }
}

fn swept(seeds: std::ops::Range<u64>) {
    let failure = Sweep { twice_every: 0, ..Sweep::new(seeds, ledgers()) }.run(|_| {}).failure;
    assert_eq!(failure.map(|failure| (failure.seed, failure.violation)), None);
}

fn explored(bound: &Bound) {
    found(bound);
}

fn found(bound: &Bound) -> ExploreReport {
    let options = ExploreOptions { most_states: MOST_STATES, ..ExploreOptions::default() };
    let report = explore(bound, options);
    assert_eq!(report.wrong(bound), Vec::<String>::new(), "{}", bound.name);
    report
}

fn as_reviewed(bound: &Bound) {
    let ExploreReport { states, transitions, depth, .. } = found(bound);
    let counts = [bound.name.to_owned(), states.to_string(), transitions.to_string(), depth.to_string()];
    let reviewed = include_str!("../../snapshots/explored/small.snap").lines();
    let mut reviewed = reviewed.map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert!(reviewed.any(|line| line == counts), "another count than was reviewed: {counts:?}");
}
