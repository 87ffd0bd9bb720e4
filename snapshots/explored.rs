//! Every state within the bounds: no check fails, every way on comes to a good end, and what there was to see is what was
//! reviewed: the counts, the gaps, the cells that were met, the whole tables of states and events.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use handoff_sim::explore::{Bound, LARGE, Options, Report, SMALL, explore, tables};
use handoff_sim::run::gap_name;

/// Goes through `bounds`, two at a time.
fn explored(bounds: &'static [Bound], options: Options<'static>) -> Vec<(&'static Bound, Report)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(bound) = bounds.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((bound, explore(bound, options)));
        }
        done
    };
    let mut all = thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().flat_map(|thread| thread.join().expect("it is gone through")).collect::<Vec<_>>()
    });
    let place = |bound: &Bound| bounds.iter().position(|other| other.name == bound.name);
    all.sort_by_key(|(bound, _)| place(bound));
    all
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
    lines(&all.iter().flat_map(|(_, report)| &report.cells).collect())
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
    let gaps: BTreeSet<String> = all.iter().flat_map(|(_, report)| &report.gaps).map(gap_name).collect();
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
}
