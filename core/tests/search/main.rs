//! A breadth-first search through the production machines over an in-memory kernel: every order of frames, hooks
//! and timers, with crashes at every gap, silence, failing and hanging hooks, a lost frame and a second handoff.
//!
//! `world.rs` is the kernel and the hosts on it, `explore.rs` the search, `checks.rs` what must hold. The
//! checks read the kernel, never a machine's own state.
mod checks;
mod explore;
mod world;

use explore::{Report, explore};
use world::Faults;

fn search(name: &str, faults: Faults, handoffs: u8) -> Report {
    let report = explore(faults, handoffs);
    println!("{name}: {} states, {} transitions, depth {}", report.states, report.transitions, report.depth);
    report
}

#[test]
fn without_a_fault_every_handoff_commits() {
    let report = search("no fault, two handoffs", Faults::default(), 2);
    assert!(report.verdicts.iter().eq(["Committed"]), "{:?}", report.verdicts);
}

#[test]
fn one_crash_at_any_gap() {
    search("one crash, two handoffs", Faults { crashes: 1, ..Faults::default() }, 2);
}

#[test]
fn two_crashes_at_any_gaps() {
    search("two crashes", Faults { crashes: 2, ..Faults::default() }, 1);
}

#[test]
fn silence_of_any_role() {
    search("one stop, two handoffs", Faults { stops: 1, ..Faults::default() }, 2);
}

#[test]
fn silence_and_a_crash() {
    search("one stop, one crash", Faults { stops: 1, crashes: 1, ..Faults::default() }, 1);
}

#[test]
fn a_hook_that_fails_or_hangs() {
    search("one bad hook, two handoffs", Faults { bad_hooks: 1, ..Faults::default() }, 2);
}

#[test]
fn a_bad_hook_and_a_crash() {
    search("one bad hook, one crash", Faults { bad_hooks: 1, crashes: 1, ..Faults::default() }, 1);
}

#[test]
fn a_late_handoff() {
    search("one deadline, one crash", Faults { late: 1, crashes: 1, ..Faults::default() }, 1);
}

#[test]
fn a_lost_frame() {
    search("one drop, one stop", Faults { drops: 1, stops: 1, ..Faults::default() }, 1);
}

#[test]
fn a_reset_link() {
    search("one reset, one crash", Faults { resets: 1, crashes: 1, ..Faults::default() }, 1);
}
