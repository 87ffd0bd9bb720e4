//! Each process is stopped (SIGSTOP) in each phase of a handoff until the others have noticed, and goes on.
//!
//! Only the one that is stopped keeps silent for so long; how long it takes until that is noticed and acted on, each world's
//! log says, and no verdict hangs on it.
use std::thread;
use std::time::Duration;

use handoff_tests::held::{Held, HoldPoint, go_on, stop};
use handoff_tests::processes::{is_stopped, lives};
use handoff_tests::{Mark, OrderOutcome, SILENCE, until};

/// The role that is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum StoppedRole {
    Supervisor,
    Incumbent,
    Successor,
}

/// The length of the stop.
#[derive(Clone, Copy, Debug, PartialEq)]
enum StoppedUntil {
    /// Until the first of the others takes it for one that hangs.
    Noticed,
    /// Until all that can follow from that has.
    Acted,
}

/// The time at which what holds the handoff is taken away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Passes {
    /// While one is stopped.
    Meanwhile,
    /// The thing is taken away after the process has gone on.
    Afterwards,
}

impl StoppedRole {
    const ALL: [StoppedRole; 3] = [StoppedRole::Supervisor, StoppedRole::Incumbent, StoppedRole::Successor];

    fn pid(self, held: &Held) -> u32 {
        match self {
            StoppedRole::Supervisor => held.supervisor.pid(),
            StoppedRole::Incumbent => held.old,
            StoppedRole::Successor => held.new,
        }
    }

    /// Returns what the others handle once they have heard nothing of it for too long.
    fn silence(self) -> &'static str {
        match self {
            StoppedRole::Supervisor => "Timer(SupervisorSilent)",
            StoppedRole::Incumbent => "Timer(IncumbentSilent)",
            StoppedRole::Successor => "Timer(SuccessorSilent)",
        }
    }
}

/// A handoff in which some are stopped, since a place in the log.
struct StoppedStory<'a> {
    held: &'a mut Held,
    who: &'a [StoppedRole],
    phase: HoldPoint,
    since: Mark,
}

impl StoppedStory<'_> {
    /// Returns how often `other` was told that one of those that are stopped is silent.
    fn count(&self, other: StoppedRole) -> usize {
        let said = |who: &StoppedRole| {
            let event = format!("event={}", who.silence());
            self.held.world.count_said(self.since, other.pid(self.held), &event)
        };
        self.who.iter().map(said).sum()
    }

    /// Those of the others that can notice at all. Daemons don't hear of each other.
    fn others(&self) -> Vec<StoppedRole> {
        let runs = |who: &StoppedRole| lives(who.pid(self.held)) && !is_stopped(who.pid(self.held));
        let hears = |other: &StoppedRole| {
            *other == StoppedRole::Supervisor || self.who.contains(&StoppedRole::Supervisor)
        };
        StoppedRole::ALL.into_iter().filter(runs).filter(hears).collect()
    }

    /// Sealed, an incumbent is not needed; told to retire, no process kills the successor for being silent.
    fn is_asked_to_resume(&self) -> bool {
        matches!(self.phase, HoldPoint::WarmUp | HoldPoint::Drain | HoldPoint::Seal)
    }

    /// Returns whether the first of the others has acted on it: the one whose deed decides what becomes of
    /// the handoff.
    fn is_noticed(&mut self) -> bool {
        let supervisor = self.held.supervisor.pid();
        match self.who {
            // It does not learn of it before the incumbent does, but when it has retired.
            [StoppedRole::Supervisor] if self.phase == HoldPoint::Retire => {
                self.count(StoppedRole::Successor) > 0
            }
            [StoppedRole::Supervisor] => self.count(StoppedRole::Incumbent) > 0,
            [_] if self.is_asked_to_resume() => {
                self.held.world.has_said(self.since, supervisor, "to=Incumbent ResumeAfterAbort")
            }
            _ => self.count(StoppedRole::Supervisor) > 0 || self.is_over(),
        }
    }

    /// Returns whether all have noticed, the one that goes on longest in spite of it included.
    fn is_acted_on(&mut self) -> bool {
        match self.who {
            [StoppedRole::Incumbent] if self.is_asked_to_resume() => !lives(self.held.old),
            [StoppedRole::Supervisor, ..] => self.others().into_iter().all(|other| self.count(other) > 0),
            _ => self.count(StoppedRole::Supervisor) > 1 || self.is_over(),
        }
    }

    /// Returns whether nothing more is waited for: it was killed, or was not needed.
    fn is_over(&mut self) -> bool {
        self.held.is_told() || self.who.iter().any(|who| !lives(who.pid(self.held)))
    }
}

/// Stops all of `who` in a handoff that is held in `phase`, and returns what the supervisor said in the end. It is true, one
/// process serves, nothing is lost, and the next handoff commits.
fn stopped(who: &[StoppedRole], phase: HoldPoint, how_long: StoppedUntil, passes: Passes) -> OrderOutcome {
    let mut held = Held::with(phase, |build| build.liveness(SILENCE));
    let pids: Vec<u32> = who.iter().map(|who| who.pid(&held)).collect();
    let since = held.world.mark();
    pids.iter().copied().for_each(stop);
    if passes == Passes::Meanwhile {
        held.go_on();
    }
    let mut story = StoppedStory { held: &mut held, who, phase, since };
    if story.others().is_empty() {
        // No process is there to notice: that time passes is what happens.
        thread::sleep(3 * SILENCE);
    } else {
        until(&format!("{who:?} in {phase:?}, {passes:?}: {how_long:?}"), || match how_long {
            StoppedUntil::Noticed => story.is_noticed(),
            StoppedUntil::Acted => story.is_acted_on(),
        });
        if who.len() > 1 {
            // So long that a supervisor which was stopped sees that it was: by then its own timers are long overdue.
            thread::sleep(SILENCE);
        }
    }
    pids.into_iter().for_each(go_on);
    if passes == Passes::Afterwards {
        held.go_on();
    }
    let outcome = held.outcome();
    held.assert_told_the_truth(&outcome);
    outcome
}

/// `verdict` is what becomes of it, in either order of events.
fn assert_verdict(
    who: StoppedRole,
    phase: HoldPoint,
    how_long: StoppedUntil,
    verdict: &str,
) -> [OrderOutcome; 2] {
    [Passes::Meanwhile, Passes::Afterwards].map(|passes| {
        let outcome = stopped(&[who], phase, how_long, passes);
        assert_eq!(outcome.verdict, verdict, "{who:?} in {phase:?}, {how_long:?}, {passes:?}: {outcome:#?}");
        // The others are not to blame for what they did without it.
        if (who, verdict) == (StoppedRole::Supervisor, "RolledBack") {
            assert!(outcome.reason.contains("the supervisor itself could not be heard"), "{outcome:#?}");
        }
        outcome
    })
}

/// However long it is stopped, `verdict` is what becomes of it.
fn assert_always(who: StoppedRole, phase: HoldPoint, verdict: &str) {
    thread::scope(|scope| {
        for how_long in [StoppedUntil::Noticed, StoppedUntil::Acted] {
            scope.spawn(move || assert_verdict(who, phase, how_long, verdict));
        }
    });
}

/// For a while it is asked to resume; then it is killed, and the successor takes over.
fn assert_asked_then_killed(phase: HoldPoint) {
    thread::scope(|scope| {
        scope.spawn(move || {
            assert_verdict(StoppedRole::Incumbent, phase, StoppedUntil::Noticed, "RolledBack")
        });
        scope.spawn(move || {
            for outcome in assert_verdict(StoppedRole::Incumbent, phase, StoppedUntil::Acted, "Committed") {
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
    assert_always(StoppedRole::Supervisor, HoldPoint::WarmUp, "RolledBack");
}

#[test]
fn the_supervisor_is_stopped_during_the_drain() {
    assert_always(StoppedRole::Supervisor, HoldPoint::Drain, "RolledBack");
}

#[test]
fn the_supervisor_is_stopped_during_the_seal() {
    assert_always(StoppedRole::Supervisor, HoldPoint::Seal, "RolledBack");
}

#[test]
fn the_supervisor_is_stopped_while_the_successor_opens() {
    assert_always(StoppedRole::Supervisor, HoldPoint::Open, "Committed");
}

#[test]
fn the_supervisor_is_stopped_while_the_successor_begins_to_serve() {
    assert_always(StoppedRole::Supervisor, HoldPoint::Serve, "Committed");
}

#[test]
fn the_supervisor_is_stopped_before_the_incumbent_has_left() {
    assert_always(StoppedRole::Supervisor, HoldPoint::Retire, "Committed");
}

#[test]
fn the_incumbent_is_stopped_while_the_successor_warms_up() {
    assert_asked_then_killed(HoldPoint::WarmUp);
}

#[test]
fn the_incumbent_is_stopped_in_its_drain() {
    assert_asked_then_killed(HoldPoint::Drain);
}

#[test]
fn the_incumbent_is_stopped_in_its_seal() {
    assert_asked_then_killed(HoldPoint::Seal);
}

#[test]
fn the_incumbent_is_stopped_while_the_successor_opens() {
    assert_always(StoppedRole::Incumbent, HoldPoint::Open, "Committed");
}

#[test]
fn the_incumbent_is_stopped_while_the_successor_begins_to_serve() {
    assert_always(StoppedRole::Incumbent, HoldPoint::Serve, "Committed");
}

#[test]
fn the_incumbent_is_stopped_instead_of_leaving() {
    assert_always(StoppedRole::Incumbent, HoldPoint::Retire, "Committed");
}

#[test]
fn the_successor_is_stopped_in_its_warm_up() {
    assert_always(StoppedRole::Successor, HoldPoint::WarmUp, "RolledBack");
}

#[test]
fn the_successor_is_stopped_during_the_drain() {
    assert_always(StoppedRole::Successor, HoldPoint::Drain, "RolledBack");
}

#[test]
fn the_successor_is_stopped_during_the_seal() {
    assert_always(StoppedRole::Successor, HoldPoint::Seal, "RolledBack");
}

#[test]
fn the_successor_is_stopped_while_it_opens() {
    assert_always(StoppedRole::Successor, HoldPoint::Open, "RolledBack");
}

#[test]
fn the_successor_is_stopped_while_it_begins_to_serve() {
    assert_always(StoppedRole::Successor, HoldPoint::Serve, "RolledBack");
}

#[test]
fn the_successor_is_stopped_before_the_incumbent_has_left() {
    assert_always(StoppedRole::Successor, HoldPoint::Retire, "Committed");
}

#[test]
fn a_retired_incumbent_that_stays_stopped_is_killed() {
    let mut held = Held::with(HoldPoint::Retire, |build| build.retire_limit(Duration::from_secs(1)));
    let outcome = held.outcome();
    assert!(!lives(held.old), "the incumbent is seen to end before the handoff is over");
    assert!(outcome.warnings.is_empty(), "{outcome:#?}");
    assert_eq!(held.assert_told_the_truth(&outcome), held.new);
}

/// Stops several at once, in every phase: whatever becomes of it, it is what the supervisor says.
fn assert_truth(who: &'static [StoppedRole]) {
    thread::scope(|scope| {
        for passes in [Passes::Meanwhile, Passes::Afterwards] {
            for phases in HoldPoint::ALL.chunks(2) {
                scope.spawn(move || {
                    phases.iter().for_each(|phase| drop(stopped(who, *phase, StoppedUntil::Acted, passes)))
                });
            }
        }
    });
}

/// As when a machine sleeps, or a virtual one is moved.
#[test]
fn all_three_are_stopped_in_every_phase() {
    assert_truth(&[StoppedRole::Supervisor, StoppedRole::Incumbent, StoppedRole::Successor]);
}

#[test]
fn supervisor_and_incumbent_are_stopped_in_every_phase() {
    assert_truth(&[StoppedRole::Supervisor, StoppedRole::Incumbent]);
}

#[test]
fn supervisor_and_successor_are_stopped_in_every_phase() {
    assert_truth(&[StoppedRole::Supervisor, StoppedRole::Successor]);
}

#[test]
fn incumbent_and_successor_are_stopped_in_every_phase() {
    assert_truth(&[StoppedRole::Incumbent, StoppedRole::Successor]);
}
