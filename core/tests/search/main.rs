//! A breadth-first search through the production machines over an in-memory kernel: every order of frames, hooks
//! and timers, with crashes at every gap, silence, failing and hanging hooks, lost frames and a second handoff.
//!
//! `world.rs` is the kernel, `steps.rs` what can happen in it, `act.rs` what becomes of it, `host.rs` the machines'
//! hosts on it, `explore.rs` the search, `checks.rs` what must hold.
mod act;
mod checks;
mod explore;
mod host;
mod steps;
mod table;
mod world;

use std::collections::BTreeSet;

use explore::{Report, explore};
use handoff::machine::supervisor::Verdict::{self, *};
use world::Faults;

const NONE: Faults = Faults {
    crashes: 0,
    stops: 0,
    drops: 0,
    resets: 0,
    bad_hooks: 0,
    late: 0,
    cancels: 0,
    signals: 0,
    errors: 0,
    deferred: false,
    sparse: false,
};

fn search(name: &str, faults: Faults, handoffs: u8, verdicts: &[Verdict]) -> Report {
    let report = explore(faults, handoffs);
    println!("{name}: {} states, {} transitions, depth {}", report.states, report.transitions, report.depth);
    for (violation, way) in &report.violations {
        println!("{violation}\n{way}");
    }
    for (verdict, way) in &report.verdicts {
        println!("VERDICT {verdict:?}\n{way}");
    }
    println!("{:?}", report.verdicts.keys());
    let expected: BTreeSet<Verdict> = verdicts.iter().copied().collect();
    assert!(report.violations.is_empty(), "{name}: {:?}", report.violations.keys());
    assert_eq!(report.verdicts.keys().copied().collect::<BTreeSet<_>>(), expected, "{name}");
    report
}

#[test]
fn without_a_fault_every_handoff_commits() {
    search("no fault", NONE, 2, &[Committed]);
    search("deferred", Faults { deferred: true, ..NONE }, 2, &[Committed]);
}

#[test]
fn one_crash() {
    let verdicts = [Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable];
    search("one crash", Faults { crashes: 1, ..NONE }, 2, &verdicts);
}

#[test]
fn one_crash_deferred() {
    let verdicts = [Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable];
    search("one crash, deferred", Faults { crashes: 1, deferred: true, sparse: true, ..NONE }, 2, &verdicts);
}

#[test]
fn two_crashes() {
    search("two crashes", Faults { crashes: 2, sparse: true, ..NONE }, 2, &[]);
}

#[test]
fn one_stop() {
    search("one stop", Faults { stops: 1, ..NONE }, 2, &[]);
}

#[test]
fn a_stop_and_a_crash() {
    search("stop, crash", Faults { stops: 1, crashes: 1, ..NONE }, 1, &[]);
}

#[test]
fn one_bad_hook() {
    search("bad hook", Faults { bad_hooks: 1, ..NONE }, 2, &[]);
}

#[test]
fn a_bad_hook_and_a_crash() {
    search("bad hook, crash", Faults { bad_hooks: 1, crashes: 1, ..NONE }, 1, &[]);
}

#[test]
fn late() {
    search("late", Faults { late: 1, ..NONE }, 2, &[]);
}

#[test]
fn late_and_a_crash() {
    search("late, crash", Faults { late: 1, crashes: 1, ..NONE }, 1, &[]);
}

#[test]
fn late_and_a_stop() {
    search("late, stop", Faults { late: 1, stops: 1, ..NONE }, 1, &[]);
}

#[test]
fn one_drop() {
    search("drop", Faults { drops: 1, ..NONE }, 2, &[]);
}

#[test]
fn a_drop_and_a_stop() {
    search("drop, stop", Faults { drops: 1, stops: 1, ..NONE }, 1, &[]);
}

#[test]
fn one_reset() {
    search("reset", Faults { resets: 1, ..NONE }, 2, &[]);
}

#[test]
fn a_reset_and_a_crash() {
    search("reset, crash", Faults { resets: 1, crashes: 1, ..NONE }, 1, &[]);
}

#[test]
fn one_error() {
    search("error", Faults { errors: 1, deferred: true, ..NONE }, 2, &[]);
}

#[test]
fn cancelled() {
    search("cancel", Faults { cancels: 1, ..NONE }, 2, &[]);
}

#[test]
fn told_to_stop() {
    search("signal", Faults { signals: 1, ..NONE }, 2, &[]);
}
