//! Each process is stopped (SIGSTOP) in each phase of a handoff, for longer than silence is borne, and goes on.
use std::thread;
use std::time::Duration;

use handoff_tests::Outcome;
use handoff_tests::held::{Held, Phase, go_on, stop};
use handoff_tests::processes::lives;

/// What counts as silence here.
const LIVENESS: Duration = Duration::from_millis(400);
/// Longer than it.
const LONG: Duration = Duration::from_millis(600);
/// So long that even a successor that waits for others to act has noticed: twice as long, and more.
const VERY_LONG: Duration = Duration::from_millis(1200);

/// Who is stopped.
#[derive(Clone, Copy, Debug)]
enum Who {
    Supervisor,
    Incumbent,
    Successor,
}

/// When what holds the handoff is taken away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Passes {
    /// While one is stopped.
    Meanwhile,
    /// When it has gone on.
    Afterwards,
}

impl Who {
    fn pid(self, held: &Held) -> u32 {
        match self {
            Who::Supervisor => held.boss.pid(),
            Who::Incumbent => held.old,
            Who::Successor => held.new,
        }
    }
}

/// Stops all of `who` for `time` in a handoff that is held in `phase`, and returns what the supervisor said in the
/// end. It is true, one process serves, nothing is lost, and the next handoff commits.
fn stopped(who: &[Who], phase: Phase, time: Duration, passes: Passes) -> Outcome {
    let mut held = Held::with(phase, |build| build.liveness(LIVENESS));
    let pids: Vec<u32> = who.iter().map(|who| who.pid(&held)).collect();
    pids.iter().copied().for_each(stop);
    if passes == Passes::Meanwhile {
        held.go_on();
    }
    // Nothing is waited for: to be stopped for so long is what happens.
    thread::sleep(time);
    pids.into_iter().for_each(go_on);
    if passes == Passes::Afterwards {
        held.go_on();
    }
    let outcome = held.outcome();
    held.assert_told_the_truth(&outcome);
    outcome
}

/// Stops `who` for `time` in `phase`, in either order of events: `verdict` is what becomes of it.
fn assert_verdict(who: Who, phase: Phase, time: Duration, verdict: &str) -> [Outcome; 2] {
    [Passes::Meanwhile, Passes::Afterwards].map(|passes| {
        let outcome = stopped(&[who], phase, time, passes);
        assert_eq!(outcome.verdict, verdict, "{who:?} in {phase:?} for {time:?}, {passes:?}: {outcome:#?}");
        outcome
    })
}

/// However long it is stopped, `verdict` is what becomes of it.
fn assert_always(who: Who, phase: Phase, verdict: &str) {
    thread::scope(|scope| {
        for time in [LONG, VERY_LONG] {
            scope.spawn(move || assert_verdict(who, phase, time, verdict));
        }
    });
}

/// For a while it is asked to resume; then it is killed, and the successor takes over.
fn assert_asked_then_killed(phase: Phase) {
    thread::scope(|scope| {
        scope.spawn(move || assert_verdict(Who::Incumbent, phase, LONG, "RolledBack"));
        scope.spawn(move || {
            for outcome in assert_verdict(Who::Incumbent, phase, VERY_LONG, "Committed") {
                assert!(
                    outcome.warnings.iter().any(|warning| warning.contains("ended before")),
                    "{outcome:#?}"
                );
            }
        });
    });
}

#[test]
fn the_supervisor_is_stopped_while_the_successor_warms_up() {
    assert_always(Who::Supervisor, Phase::WarmUp, "RolledBack");
}

#[test]
fn the_supervisor_is_stopped_during_the_drain() {
    assert_always(Who::Supervisor, Phase::Drain, "RolledBack");
}

#[test]
fn the_supervisor_is_stopped_during_the_seal() {
    assert_always(Who::Supervisor, Phase::Seal, "RolledBack");
}

#[test]
fn the_supervisor_is_stopped_while_the_successor_opens() {
    assert_always(Who::Supervisor, Phase::Open, "Committed");
}

#[test]
fn the_supervisor_is_stopped_while_the_successor_begins_to_serve() {
    assert_always(Who::Supervisor, Phase::Serve, "Committed");
}

#[test]
fn the_supervisor_is_stopped_before_the_incumbent_has_left() {
    assert_always(Who::Supervisor, Phase::Retire, "Committed");
}

#[test]
fn the_incumbent_is_stopped_while_the_successor_warms_up() {
    assert_asked_then_killed(Phase::WarmUp);
}

#[test]
fn the_incumbent_is_stopped_in_its_drain() {
    assert_asked_then_killed(Phase::Drain);
}

#[test]
fn the_incumbent_is_stopped_in_its_seal() {
    assert_asked_then_killed(Phase::Seal);
}

#[test]
fn the_incumbent_is_stopped_while_the_successor_opens() {
    assert_always(Who::Incumbent, Phase::Open, "Committed");
}

#[test]
fn the_incumbent_is_stopped_while_the_successor_begins_to_serve() {
    assert_always(Who::Incumbent, Phase::Serve, "Committed");
}

#[test]
fn the_incumbent_is_stopped_instead_of_leaving() {
    assert_always(Who::Incumbent, Phase::Retire, "Committed");
}

#[test]
fn the_successor_is_stopped_in_its_warm_up() {
    assert_always(Who::Successor, Phase::WarmUp, "RolledBack");
}

#[test]
fn the_successor_is_stopped_during_the_drain() {
    assert_always(Who::Successor, Phase::Drain, "RolledBack");
}

#[test]
fn the_successor_is_stopped_during_the_seal() {
    assert_always(Who::Successor, Phase::Seal, "RolledBack");
}

#[test]
fn the_successor_is_stopped_while_it_opens() {
    assert_always(Who::Successor, Phase::Open, "RolledBack");
}

#[test]
fn the_successor_is_stopped_while_it_begins_to_serve() {
    assert_always(Who::Successor, Phase::Serve, "RolledBack");
}

#[test]
fn the_successor_is_stopped_before_the_incumbent_has_left() {
    assert_always(Who::Successor, Phase::Retire, "Committed");
}

#[test]
fn a_retired_incumbent_that_stays_stopped_is_killed() {
    let mut held = Held::with(Phase::Retire, |mut build| {
        build.retire_limit = LONG;
        build
    });
    let outcome = held.outcome();
    assert!(!lives(held.old), "the incumbent is seen to end before the handoff is over");
    assert!(outcome.warnings.is_empty(), "{outcome:#?}");
    assert_eq!(held.assert_told_the_truth(&outcome), held.new);
}

/// Stops several at once, in every phase: whatever becomes of it, it is what the supervisor says.
fn assert_truth(who: &'static [Who]) {
    thread::scope(|scope| {
        for passes in [Passes::Meanwhile, Passes::Afterwards] {
            for phases in Phase::ALL.chunks(2) {
                scope.spawn(move || {
                    phases.iter().for_each(|phase| drop(stopped(who, *phase, VERY_LONG, passes)))
                });
            }
        }
    });
}

/// As when a machine sleeps, or a virtual one is moved.
#[test]
fn all_three_are_stopped_in_every_phase() {
    assert_truth(&[Who::Supervisor, Who::Incumbent, Who::Successor]);
}

#[test]
fn supervisor_and_incumbent_are_stopped_in_every_phase() {
    assert_truth(&[Who::Supervisor, Who::Incumbent]);
}

#[test]
fn supervisor_and_successor_are_stopped_in_every_phase() {
    assert_truth(&[Who::Supervisor, Who::Successor]);
}

#[test]
fn incumbent_and_successor_are_stopped_in_every_phase() {
    assert_truth(&[Who::Incumbent, Who::Successor]);
}
