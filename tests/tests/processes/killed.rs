//! Each process is killed in each phase of a handoff.
use std::time::Duration;

use handoff_tests::held::{Held, HoldPoint, kill};
use handoff_tests::processes::lives;
use handoff_tests::{HookName, until};

/// A deadline after which a successor that is not needed leaves, long after all has happened that comes before.
const SHORT: Duration = Duration::from_secs(8);
/// An orphan tries the lock five times in this time.
const EAGER: Duration = Duration::from_secs(3);

/// The incumbent ends: the successor takes over at once, recovering as in a cold start.
#[track_caller]
fn assert_taken_over_early(mut held: Held) {
    let outcome = held.outcome();
    assert_eq!(outcome.assert_committed(), held.new);
    assert!(outcome.warnings.iter().any(|warning| warning.contains("ended before")), "{outcome:#?}");
    held.assert_serves_soon(held.new);
    held.assert_serves(held.new);
}

/// The successor ends: the incumbent serves again, and says so.
#[track_caller]
fn assert_rolled_back(mut held: Held) {
    // Killed, or the end of its link: whichever is seen first.
    held.outcome().assert_rolled_back("the successor ");
    held.assert_serves_soon(held.old);
    held.assert_serves(held.old);
}

#[test]
fn the_incumbent_is_killed_while_the_successor_warms_up() {
    let held = Held::at(HoldPoint::WarmUp);
    kill(held.old);
    held.go_on();
    assert_taken_over_early(held);
}

#[test]
fn the_incumbent_is_killed_in_its_drain() {
    let held = Held::at(HoldPoint::Drain);
    kill(held.old);
    assert_taken_over_early(held);
}

#[test]
fn the_incumbent_is_killed_when_it_has_drained() {
    let held = Held::at(HoldPoint::Drain);
    held.go_on_unheard();
    kill(held.old);
    held.supervisor.go_on();
    assert_taken_over_early(held);
}

#[test]
fn the_incumbent_is_killed_in_its_seal() {
    let held = Held::at(HoldPoint::Seal);
    kill(held.old);
    assert_taken_over_early(held);
}

#[test]
fn the_incumbent_is_killed_when_it_has_freed_the_lock() {
    let held = Held::at(HoldPoint::Seal);
    held.go_on_unheard();
    kill(held.old);
    held.supervisor.go_on();
    assert_taken_over_early(held);
}

#[test]
fn the_incumbent_is_killed_while_the_successor_opens() {
    let held = Held::at(HoldPoint::Open);
    kill(held.old);
    held.go_on();
    assert_taken_over_early(held);
}

#[test]
fn the_incumbent_is_killed_when_the_successor_is_ready() {
    let held = Held::at(HoldPoint::Open);
    held.go_on_unheard();
    kill(held.old);
    held.supervisor.go_on();
    assert_taken_over_early(held);
}

#[test]
fn the_incumbent_is_killed_while_the_successor_begins_to_serve() {
    let held = Held::at(HoldPoint::Serve);
    kill(held.old);
    held.go_on();
    assert_taken_over_early(held);
}

#[test]
fn the_incumbent_is_killed_instead_of_leaving() {
    let mut held = Held::at(HoldPoint::Retire);
    kill(held.old);
    let outcome = held.outcome();
    assert_eq!(outcome.assert_committed(), held.new);
    assert!(outcome.warnings.is_empty(), "it had handed over: {outcome:#?}");
    held.assert_serves(held.new);
}

#[test]
fn the_successor_is_killed_in_its_warm_up() {
    let held = Held::at(HoldPoint::WarmUp);
    kill(held.new);
    held.assert_serves_soon(held.old);
    assert_rolled_back(held);
}

#[test]
fn the_successor_is_killed_when_it_is_warm() {
    let held = Held::at(HoldPoint::WarmUp);
    held.go_on_unheard();
    kill(held.new);
    held.supervisor.go_on();
    held.assert_serves_soon(held.old);
    held.writer.assert_no_failure();
    assert_rolled_back(held);
}

#[test]
fn the_successor_is_killed_during_the_drain_and_nothing_is_sealed() {
    let held = Held::at(HoldPoint::Drain);
    let seal = held.incumbent.gate(HookName::Seal);
    kill(held.new);
    held.go_on();
    held.assert_serves_soon(held.old);
    assert!(
        !held.is_at(&held.incumbent, HookName::Seal),
        "the incumbent was told to seal for a successor that had ended"
    );
    held.writer.assert_no_failure();
    seal.open();
    assert_rolled_back(held);
}

#[test]
fn the_successor_is_killed_during_the_seal() {
    let held = Held::at(HoldPoint::Seal);
    kill(held.new);
    held.go_on();
    assert_rolled_back(held);
}

#[test]
fn the_successor_is_killed_before_it_hears_that_it_may_begin() {
    let held = Held::at(HoldPoint::Seal);
    held.go_on_unheard();
    kill(held.new);
    held.supervisor.go_on();
    assert_rolled_back(held);
}

#[test]
fn the_successor_is_killed_while_it_opens() {
    let held = Held::at(HoldPoint::Open);
    kill(held.new);
    assert_rolled_back(held);
}

#[test]
fn the_successor_is_killed_when_it_is_ready() {
    let held = Held::at(HoldPoint::Open);
    held.go_on_unheard();
    kill(held.new);
    held.supervisor.go_on();
    assert_rolled_back(held);
}

#[test]
fn the_successor_is_killed_while_it_begins_to_serve() {
    let held = Held::at(HoldPoint::Serve);
    kill(held.new);
    assert_rolled_back(held);
}

#[test]
fn the_successor_is_killed_after_it_has_served_clients_but_before_the_supervisor_knows() {
    let held = Held::at(HoldPoint::Serve);
    held.go_on_unheard();
    held.assert_serves_soon(held.new);
    kill(held.new);
    held.supervisor.go_on();
    assert_rolled_back(held);
}

#[test]
fn the_successor_is_killed_before_the_incumbent_has_left() {
    let mut held = Held::at(HoldPoint::Retire);
    kill(held.new);
    held.go_on();
    let outcome = held.outcome();
    assert_eq!(outcome.verdict, "FellBack", "{outcome:#?}");
    assert!(outcome.resumed_confirmed);
    held.assert_serves_soon(held.old);
    held.assert_serves(held.old);
}

/// The supervisor ends: `heir` serves on its own, without a supervisor; a new one can replace it.
#[track_caller]
fn assert_goes_on_alone(mut held: Held, heir: impl Fn(&Held) -> u32) {
    let heir = heir(&held);
    held.assert_serves_soon(heir);
    held.replace_supervisor();
    held.assert_serves(heir);
}

#[test]
fn the_supervisor_is_killed_while_the_successor_warms_up() {
    let held = Held::with(HoldPoint::WarmUp, |build| build.deadline(SHORT).liveness(EAGER));
    held.supervisor.kill();
    held.assert_serves_soon(held.old);
    held.go_on();
    held.writer.assert_no_failure();
    assert_goes_on_alone(held, |held| held.old);
}

#[test]
fn the_supervisor_is_killed_during_the_drain() {
    let held = Held::with(HoldPoint::Drain, |build| build.deadline(SHORT).liveness(EAGER));
    held.supervisor.kill();
    held.go_on();
    assert_goes_on_alone(held, |held| held.old);
}

#[test]
fn the_supervisor_is_killed_when_the_incumbent_has_drained() {
    let held = Held::with(HoldPoint::Drain, |build| build.deadline(SHORT).liveness(EAGER));
    held.go_on_unheard();
    held.supervisor.kill();
    assert_goes_on_alone(held, |held| held.old);
}

#[test]
fn the_supervisor_is_killed_during_the_seal() {
    let held = Held::with(HoldPoint::Seal, |build| build.deadline(SHORT).liveness(EAGER));
    held.supervisor.kill();
    held.go_on();
    assert_goes_on_alone(held, |held| held.old);
}

#[test]
fn the_supervisor_is_killed_when_nobody_holds_the_lock() {
    let mut held = Held::with(HoldPoint::Seal, |build| build.deadline(SHORT).liveness(EAGER));
    held.go_on_unheard();
    held.supervisor.kill();
    // Both of them may: the incumbent has sealed it for the successor.
    held.writer.wait_for_writes(3);
    held.replace_supervisor();
    let heir = held.world.assert_one_serves(&[held.supervisor.pid()]);
    held.assert_serves(heir);
}

#[test]
fn the_supervisor_is_killed_while_the_successor_opens() {
    let held = Held::with(HoldPoint::Open, |build| build.liveness(EAGER));
    held.supervisor.kill();
    held.go_on();
    assert_goes_on_alone(held, |held| held.new);
}

#[test]
fn the_supervisor_is_killed_when_the_successor_is_ready() {
    let held = Held::with(HoldPoint::Open, |build| build.liveness(EAGER));
    held.go_on_unheard();
    held.supervisor.kill();
    assert_goes_on_alone(held, |held| held.new);
}

#[test]
fn the_supervisor_is_killed_while_the_successor_begins_to_serve() {
    let held = Held::with(HoldPoint::Serve, |build| build.liveness(EAGER));
    held.supervisor.kill();
    held.go_on();
    assert_goes_on_alone(held, |held| held.new);
}

#[test]
fn the_supervisor_is_killed_before_it_hears_that_the_successor_serves() {
    let held = Held::with(HoldPoint::Serve, |build| build.liveness(EAGER));
    held.go_on_unheard();
    held.supervisor.kill();
    assert_goes_on_alone(held, |held| held.new);
}

#[test]
fn the_supervisor_is_killed_before_the_incumbent_has_left() {
    let held = Held::with(HoldPoint::Retire, |build| build.liveness(EAGER));
    held.supervisor.kill();
    held.go_on();
    assert_goes_on_alone(held, |held| held.new);
}

#[test]
fn a_successor_that_outlives_its_supervisor_disturbs_no_later_handoff() {
    let mut held = Held::with(HoldPoint::WarmUp, |build| build.liveness(EAGER));
    held.replace_supervisor();
    // From here on it tries the lock again and again, also while it passes from one to the next. Should it find it free, it
    // leaves: that is seldom, and what the next test is about.
    held.go_on();
    for _ in 0..50 {
        held.supervisor.handoff(&held.world.build()).assert_committed();
    }
    kill(held.new);
    let last = held.supervisor.handoff(&held.world.build()).assert_committed();
    held.assert_serves(last);
    held.world.assert_clean(&held.writer);
}

#[test]
fn a_successor_that_outlives_its_supervisor_does_not_take_the_lock_that_is_freed_for_another() {
    let mut held = Held::with(HoldPoint::WarmUp, |build| build.liveness(EAGER));
    held.replace_supervisor();
    held.go_on();
    let next = held.world.build();
    let gate = held.incumbent.gate(HookName::Seal);
    let swap = held.supervisor.begin_handoff(&next);
    gate.wait();
    // The lock is free until the supervisor goes on, long enough for one that tries it again and again.
    held.supervisor.stop();
    gate.open();
    until("it has found the lock free, and left", || !lives(held.new));
    held.supervisor.go_on();
    let last = swap.outcome().assert_committed();
    held.assert_serves(last);
    held.world.assert_clean(&held.writer);
}

/// A process that is killed unseen leaves its sockets behind: until a supervisor's next handoff.
#[track_caller]
fn assert_next_supervisor_clears_up(mut held: Held) {
    held.replace_supervisor();
    let next = held.supervisor.handoff(&held.world.build()).assert_committed();
    held.assert_serves(next);
}

#[test]
fn supervisor_and_incumbent_are_killed_and_the_successor_that_may_begins() {
    let held = Held::with(HoldPoint::Open, |build| build.liveness(EAGER));
    held.supervisor.kill();
    kill(held.old);
    held.go_on();
    held.assert_serves_soon(held.new);
    assert_next_supervisor_clears_up(held);
}

#[test]
fn supervisor_and_successor_are_killed_after_the_seal() {
    let held = Held::with(HoldPoint::Open, |build| build.liveness(EAGER));
    held.supervisor.kill();
    kill(held.new);
    held.assert_serves_soon(held.old);
    assert_next_supervisor_clears_up(held);
}
