//! Each process is stopped (SIGSTOP) in each phase of a handoff until the others have noticed, and goes on.
//!
//! Only the one that is stopped keeps silent for so long; how long it takes until that is noticed and acted on, each world's
//! log says, and no verdict hangs on it.
use std::thread;
use std::time::Duration;

use handoff_tests::held::{Held, Phase, go_on, stop};
use handoff_tests::processes::{is_stopped, lives};
use handoff_tests::{Mark, Outcome, SILENCE, until};

/// Who is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Supervisor,
    Incumbent,
    Successor,
}

/// How long it is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Until {
    /// Until the first of the others takes it for one that hangs.
    Noticed,
    /// Until all that can follow from that has.
    Acted,
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
    const ALL: [Who; 3] = [Who::Supervisor, Who::Incumbent, Who::Successor];

    fn pid(self, held: &Held) -> u32 {
        match self {
            Who::Supervisor => held.supervisor.pid(),
            Who::Incumbent => held.old,
            Who::Successor => held.new,
        }
    }

    /// What the others handle once they have heard nothing of it for too long.
    fn silence(self) -> &'static str {
        match self {
            Who::Supervisor => "Timer(SupervisorSilent)",
            Who::Incumbent => "Timer(IncumbentSilent)",
            Who::Successor => "Timer(SuccessorSilent)",
        }
    }
}

/// A handoff in which some are stopped, since a place in the log.
struct Story<'a> {
    held: &'a mut Held,
    who: &'a [Who],
    phase: Phase,
    since: Mark,
}

impl Story<'_> {
    /// How often `other` was told that one of those that are stopped is silent.
    fn count(&self, other: Who) -> usize {
        let said = |who: &Who| {
            let event = format!("event={}", who.silence());
            self.held.world.count_said(self.since, other.pid(self.held), &event)
        };
        self.who.iter().map(said).sum()
    }

    /// Those of the others that can notice at all. Daemons don't hear of each other.
    fn others(&self) -> Vec<Who> {
        let runs = |who: &Who| lives(who.pid(self.held)) && !is_stopped(who.pid(self.held));
        let hears = |other: &Who| *other == Who::Supervisor || self.who.contains(&Who::Supervisor);
        Who::ALL.into_iter().filter(runs).filter(hears).collect()
    }

    /// Sealed, an incumbent is not needed; told to retire, nobody kills the successor for being silent.
    fn is_asked_to_resume(&self) -> bool {
        matches!(self.phase, Phase::WarmUp | Phase::Drain | Phase::Seal)
    }

    /// The first of the others has acted on it: the one whose deed decides what becomes of the handoff.
    fn is_noticed(&mut self) -> bool {
        let supervisor = self.held.supervisor.pid();
        match self.who {
            // It does not learn of it before the incumbent does, but when it has retired.
            [Who::Supervisor] if self.phase == Phase::Retire => self.count(Who::Successor) > 0,
            [Who::Supervisor] => self.count(Who::Incumbent) > 0,
            [_] if self.is_asked_to_resume() => {
                self.held.world.has_said(self.since, supervisor, "to=Incumbent ResumeAfterAbort")
            }
            _ => self.count(Who::Supervisor) > 0 || self.is_over(),
        }
    }

    /// Everybody has noticed, whoever goes on longest in spite of it.
    fn is_acted_on(&mut self) -> bool {
        match self.who {
            [Who::Incumbent] if self.is_asked_to_resume() => !lives(self.held.old),
            [Who::Supervisor, ..] => self.others().into_iter().all(|other| self.count(other) > 0),
            _ => self.count(Who::Supervisor) > 1 || self.is_over(),
        }
    }

    /// Nothing more is waited for: it was killed, or was not needed.
    fn is_over(&mut self) -> bool {
        self.held.is_told() || self.who.iter().any(|who| !lives(who.pid(self.held)))
    }
}

/// Stops all of `who` in a handoff that is held in `phase`, and returns what the supervisor said in the end. It is true, one
/// process serves, nothing is lost, and the next handoff commits.
fn stopped(who: &[Who], phase: Phase, how_long: Until, passes: Passes) -> Outcome {
    let mut held = Held::with(phase, |build| build.liveness(SILENCE));
    let pids: Vec<u32> = who.iter().map(|who| who.pid(&held)).collect();
    let since = held.world.mark();
    pids.iter().copied().for_each(stop);
    if passes == Passes::Meanwhile {
        held.go_on();
    }
    let mut story = Story { held: &mut held, who, phase, since };
    if story.others().is_empty() {
        // Nobody is there to notice: that time passes is what happens.
        thread::sleep(3 * SILENCE);
    } else {
        until(&format!("{who:?} in {phase:?}, {passes:?}: {how_long:?}"), || match how_long {
            Until::Noticed => story.is_noticed(),
            Until::Acted => story.is_acted_on(),
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
fn assert_verdict(who: Who, phase: Phase, how_long: Until, verdict: &str) -> [Outcome; 2] {
    [Passes::Meanwhile, Passes::Afterwards].map(|passes| {
        let outcome = stopped(&[who], phase, how_long, passes);
        assert_eq!(outcome.verdict, verdict, "{who:?} in {phase:?}, {how_long:?}, {passes:?}: {outcome:#?}");
        outcome
    })
}

/// However long it is stopped, `verdict` is what becomes of it.
fn assert_always(who: Who, phase: Phase, verdict: &str) {
    thread::scope(|scope| {
        for how_long in [Until::Noticed, Until::Acted] {
            scope.spawn(move || assert_verdict(who, phase, how_long, verdict));
        }
    });
}

/// For a while it is asked to resume; then it is killed, and the successor takes over.
fn assert_asked_then_killed(phase: Phase) {
    thread::scope(|scope| {
        scope.spawn(move || assert_verdict(Who::Incumbent, phase, Until::Noticed, "RolledBack"));
        scope.spawn(move || {
            for outcome in assert_verdict(Who::Incumbent, phase, Until::Acted, "Committed") {
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
    let mut held = Held::with(Phase::Retire, |build| build.retire_limit(Duration::from_secs(1)));
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
                    phases.iter().for_each(|phase| drop(stopped(who, *phase, Until::Acted, passes)))
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
