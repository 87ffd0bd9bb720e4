//! Counts the states within small bounds twice: as the exploration does, and by stateright's breadth-first search. They share
//! the machines and the kernel that is searched, but neither the search nor the hash by which a state is known again.
//!
//! A state that was taken for another one, or a step that was left out, would make a difference.
use std::process::ExitCode;

use handoff_sim::explore::{Bound, ExploreOptions, SMALL, Stride, Walk, explore};
use stateright::{Checker, Model, Property};

/// The bounds that are gone through unless others are named: one for every kind of fault.
const BOUNDS: [&str; 14] = [
    "no-fault",
    "no-fault-deferred",
    "one-crash",
    "one-stop",
    "one-bad-hook",
    "one-error",
    "one-drop",
    "one-reset",
    "late",
    "cancelled",
    "told-to-stop",
    "other-version",
    "seal-progress",
    "one-crash-recovered",
];

const HOLDS: &str = "every check holds";

/// A bound, as stateright goes through it.
struct Explored(&'static Bound);

impl Model for Explored {
    type State = Walk;
    type Action = Stride;

    fn init_states(&self) -> Vec<Walk> {
        vec![Walk::new(self.0)]
    }

    fn actions(&self, walk: &Walk, strides: &mut Vec<Stride>) {
        strides.extend(walk.strides());
    }

    fn next_state(&self, walk: &Walk, stride: Stride) -> Option<Walk> {
        Some(walk.after(&stride))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(HOLDS, |_, walk: &Walk| !walk.is_violated())]
    }
}

/// The numbers that a search has counted.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    states: usize,
    transitions: usize,
}

fn main() -> ExitCode {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |bound: &&Bound| {
        if named.is_empty() {
            BOUNDS.contains(&bound.name)
        } else {
            named.iter().any(|name| name == bound.name)
        }
    };
    let bounds: Vec<_> = SMALL.iter().filter(is_wanted).collect();
    if bounds.len() != if named.is_empty() { BOUNDS.len() } else { named.len() } {
        eprintln!("handoff-cross-check: no such bound; `handoff-sim explore --list` says which there are");
        return ExitCode::from(2);
    }
    println!("{:<22} {:>9} {:>11} {:>9} {:>11}", "bound", "states", "transitions", "again", "again");
    let differ = bounds.into_iter().filter(|bound| !agrees(bound)).count();
    if differ == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Goes through `bound` twice, and says whether both saw the same.
fn agrees(bound: &'static Bound) -> bool {
    let report = explore(bound, ExploreOptions::default());
    let ours = Counts { states: report.states, transitions: report.transitions };
    let checker = Explored(bound).checker().spawn_bfs().join();
    // It counts the first state, too, which no step leads to.
    let theirs = Counts { states: checker.unique_state_count(), transitions: checker.state_count() - 1 };
    let holds = checker.discoveries().is_empty() && report.violations.is_empty();
    let verdict = match () {
        () if !holds => "A CHECK FAILS",
        () if ours != theirs => "DIFFERENT",
        () => "equal",
    };
    println!(
        "{:<22} {:>9} {:>11} {:>9} {:>11}  {verdict}",
        bound.name, ours.states, ours.transitions, theirs.states, theirs.transitions
    );
    holds && ours == theirs
}
