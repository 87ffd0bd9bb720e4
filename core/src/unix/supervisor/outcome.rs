//! The outcome of a handoff, and the time that each phase took.
use crate::error::Error;
use crate::id::HandoffId;
use crate::machine::supervisor::{self as machine, Outcome};
use crate::machine::{Phase, Reason};
use crate::node::keeper::TaskEnd;
use crate::time::{Duration, Time};

use super::{Child, HandoffError};

/// The result of a handoff that was begun: which process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The successor serves and the incumbent has ended.
    Committed,
    /// The incumbent serves, as it said itself.
    RolledBack,
    /// The successor served and died; the incumbent serves again, as it said itself.
    FellBack,
    /// The incumbent is there, but did not say that it serves.
    Unconfirmed,
    /// Every process that could serve has ended: a cold start is due.
    NobodyServes,
}

impl Verdict {
    /// Returns what the caller is told. That nothing was begun is an error, with its `reason`.
    fn new(verdict: machine::HandoffVerdict, reason: Option<&Reason>) -> Result<Verdict, HandoffError> {
        let failed = |error| HandoffError { error, reason: reason.cloned() };
        Ok(match verdict {
            machine::HandoffVerdict::Committed => Verdict::Committed,
            machine::HandoffVerdict::RolledBack => Verdict::RolledBack,
            machine::HandoffVerdict::FellBack => Verdict::FellBack,
            machine::HandoffVerdict::Unconfirmed => Verdict::Unconfirmed,
            machine::HandoffVerdict::NobodyServes => Verdict::NobodyServes,
            machine::HandoffVerdict::Busy => return Err(failed(Error::Busy)),
            machine::HandoffVerdict::Cancelled => return Err(failed(Error::Cancelled)),
            machine::HandoffVerdict::Unreachable => return Err(HandoffError::unreachable(reason.cloned())),
        })
    }
}

/// The outcome of a handoff.
#[derive(Debug)]
#[non_exhaustive]
pub struct HandoffOutcome {
    /// The handoff, as it is named in the log lines of all three processes.
    pub handoff_id: HandoffId,
    /// The result of the handoff.
    pub verdict: Verdict,
    /// The reason why the handoff was not committed; `None` if it was.
    pub abort_reason: Option<Reason>,
    /// The successor, if it serves.
    pub child: Option<Child>,
    /// The time that each phase took.
    pub phases: Phases,
    /// Connections that were still open when the drain's grace was over.
    pub open_conns_remaining: u32,
    /// `true` if the journal says so. A successor that serves although it does not was not told that its
    /// predecessor has ended: [`Supervisor::recover`](super::Supervisor::recover) writes which process
    /// serves, and tells it then.
    pub journalled: bool,
    /// The faults that did not change the outcome.
    pub warnings: Vec<String>,
}

impl HandoffOutcome {
    pub(super) fn new(
        handoff_id: HandoffId,
        outcome: Outcome,
        child: Option<Child>,
        phases: Phases,
    ) -> Result<Self, HandoffError> {
        let verdict = Verdict::new(outcome.verdict, outcome.reason.as_ref())?;
        let committed = verdict == Verdict::Committed;
        let journalled = outcome.journal_error.is_none();
        let mut warnings = Vec::new();
        let count = outcome.open_conns_remaining;
        if count > 0 {
            warnings.push(format!("{count} connections were still open when the drain's grace was over"));
        }
        if outcome.incumbent_ended_early && committed {
            warnings.push("the incumbent ended before it had handed over; the successor recovered".into());
        }
        if let Some(error) = outcome.journal_error {
            warnings.push(format!("the journal could not be written: {error}"));
        }
        Ok(HandoffOutcome {
            handoff_id,
            verdict,
            abort_reason: outcome.reason.filter(|_| !committed),
            child,
            phases,
            open_conns_remaining: count,
            journalled,
            warnings,
        })
    }
}

impl HandoffOutcome {
    /// Returns whether the successor serves.
    pub fn is_committed(&self) -> bool {
        self.verdict == Verdict::Committed
    }

    /// Returns whether the incumbent has said that it serves again.
    pub fn is_resumed(&self) -> bool {
        matches!(self.verdict, Verdict::RolledBack | Verdict::FellBack)
    }
}

impl From<&Result<HandoffOutcome, HandoffError>> for TaskEnd {
    /// Returns what the keeper is to know of a call's result. Where the system or the library failed, it is not known which process serves.
    fn from(result: &Result<HandoffOutcome, HandoffError>) -> TaskEnd {
        let (verdict, journalled) = match result.as_ref().map_err(|failed| &failed.error) {
            // What was to be started can't be, or must not be trusted: found before anything was touched.
            Err(Error::Caller(_) | Error::Untrusted(_)) => return TaskEnd::NotBegun,
            Err(Error::Busy) => (machine::HandoffVerdict::Busy, false),
            Err(Error::Cancelled) => (machine::HandoffVerdict::Cancelled, false),
            Err(Error::Peer(_) | Error::Unreachable(_)) => (machine::HandoffVerdict::Unreachable, false),
            Err(Error::System { .. } | Error::Hook(_) | Error::Locked(_) | Error::Defect(_)) => {
                (machine::HandoffVerdict::Unconfirmed, false)
            }
            Ok(outcome) => (outcome.verdict.into(), outcome.journalled),
        };
        let reason = result.as_ref().ok().and_then(|outcome| outcome.abort_reason.as_ref());
        TaskEnd::Over { verdict, journalled, of_data: reason.is_some_and(Reason::is_of_data) }
    }
}

impl From<Verdict> for machine::HandoffVerdict {
    fn from(verdict: Verdict) -> machine::HandoffVerdict {
        match verdict {
            Verdict::Committed => machine::HandoffVerdict::Committed,
            Verdict::RolledBack => machine::HandoffVerdict::RolledBack,
            Verdict::FellBack => machine::HandoffVerdict::FellBack,
            Verdict::Unconfirmed => machine::HandoffVerdict::Unconfirmed,
            Verdict::NobodyServes => machine::HandoffVerdict::NobodyServes,
        }
    }
}

/// The time that each phase of a handoff took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phases {
    took: [Duration; Phase::ALL.len()],
    /// The time of the whole handoff.
    pub total: Duration,
}

impl Phases {
    /// The time that `phase` took; zero if the handoff did not come to it.
    pub fn took(&self, phase: Phase) -> Duration {
        self.took[phase as usize]
    }

    /// The time from the begin of the drain until a process serves again, be it the incumbent after a roll-back; zero if the
    /// handoff did not come to the drain.
    pub fn pause(&self) -> Duration {
        match self.took(Phase::Drain) {
            Duration::ZERO => Duration::ZERO,
            drain => {
                let after = [Phase::Seal, Phase::Open, Phase::Commit, Phase::RollBack];
                drain + after.iter().map(|phase| self.took(*phase)).sum::<Duration>()
            }
        }
    }
}

/// Measures the phases, and says in the log what each took.
#[derive(Debug)]
pub(super) struct Stopwatch {
    phases: Phases,
    started: Time,
    since: Time,
    phase: Phase,
}

impl Stopwatch {
    pub(super) fn new(now: Time) -> Self {
        Stopwatch { phases: Phases::default(), started: now, since: now, phase: Phase::Spawn }
    }

    /// The handoff is in `phase` now.
    pub(super) fn at(&mut self, now: Time, phase: Phase, handoff_id: HandoffId) {
        let seconds = self.count(now);
        match (self.phase, phase) {
            (before, now) if before == now => {}
            (before, Phase::RollBack) => log_given_up(before, handoff_id, seconds),
            (before, _) => log_phase(before, handoff_id, seconds),
        }
        self.phase = phase;
    }

    /// The handoff is over.
    pub(super) fn ends(&mut self, now: Time, handoff_id: HandoffId) {
        let seconds = self.count(now);
        match self.phase {
            last @ (Phase::Retire | Phase::RollBack) => log_phase(last, handoff_id, seconds),
            other => log_given_up(other, handoff_id, seconds),
        }
    }

    /// Counts the time since the last look for the present phase; what that has taken by now, in seconds.
    fn count(&mut self, now: Time) -> f64 {
        self.phases.took[self.phase as usize] += now.since(self.since);
        self.phases.total = now.since(self.started);
        self.since = now;
        self.phases.took(self.phase).as_secs_f64()
    }

    pub(super) fn phases(&self) -> Phases {
        self.phases
    }
}

/// Logs that what the phase was to bring did not come.
fn log_given_up(phase: Phase, id: HandoffId, seconds: f64) {
    tracing::info!(target: "handoff.roll_back", handoff = %id, seconds, %phase, "given up");
}

/// Logs a phase under a target of its own, so that each can be filtered and measured by itself.
fn log_phase(phase: Phase, id: HandoffId, seconds: f64) {
    match phase {
        Phase::Spawn => tracing::debug!(target: "handoff.spawn", handoff = %id, seconds, "started"),
        Phase::WarmUp => tracing::debug!(target: "handoff.warm_up", handoff = %id, seconds, "warm"),
        Phase::Drain => tracing::info!(target: "handoff.drain", handoff = %id, seconds, "drained"),
        Phase::Seal => tracing::info!(target: "handoff.seal", handoff = %id, seconds, "sealed"),
        Phase::Open => tracing::info!(target: "handoff.open", handoff = %id, seconds, "ready"),
        Phase::Commit => tracing::info!(target: "handoff.commit", handoff = %id, seconds, "serving"),
        Phase::Retire => tracing::debug!(target: "handoff.retire", handoff = %id, seconds, "retired"),
        Phase::RollBack => tracing::info!(target: "handoff.roll_back", handoff = %id, seconds, "over"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of a call that has no outcome.
    fn end_of(error: Error) -> TaskEnd {
        TaskEnd::from(&Err(error.into()))
    }

    #[test]
    fn a_handoff_without_an_end_may_have_touched_anything() {
        assert!(end_of(Error::Defect("no end")).is_unconfirmed());
        assert!(end_of(Error::Unreachable("nobody listens".into())).met_nobody());
        assert_eq!(end_of(Error::Caller("no binary".into())), TaskEnd::NotBegun);
    }

    #[test]
    fn where_nothing_was_touched_the_reason_is_told_as_it_is() {
        let reason = Reason::Version { role: crate::message::Role::Incumbent, min: 8, max: 9 };
        for (verdict, reason, is_so) in [
            (
                machine::HandoffVerdict::Unreachable,
                reason,
                (|it| matches!(it, Error::Peer(_))) as fn(&Error) -> bool,
            ),
            (machine::HandoffVerdict::Unreachable, Reason::Deadline, |it| {
                matches!(it, Error::Unreachable(_))
            }),
            (machine::HandoffVerdict::Busy, Reason::Busy, |it| matches!(it, Error::Busy)),
            (machine::HandoffVerdict::Cancelled, Reason::Cancelled, |it| matches!(it, Error::Cancelled)),
        ] {
            let failed = Verdict::new(verdict, Some(&reason)).unwrap_err();
            assert_eq!(failed.reason.as_ref(), Some(&reason));
            assert!(is_so(&failed.error), "{failed}");
        }
    }
}
