//! The questions to a recovery, and its findings.
use crate::error::{Error, Result};
use crate::id::{HandoffId, ProcessId};
use crate::journal::UnderWay;
use crate::machine::recovery::{Outcome, RecoveryVerdict};
use crate::time::Duration;

use super::Child;

/// The longest times that things may take in a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoverySpec {
    /// The time for which an answer holds; each process is asked again after a fiftieth of it. 5 seconds by default.
    pub liveness: Duration,
    /// The time after which a process that may hold the lock is killed, if it says nothing and no process serves: it hangs, is
    /// stopped, or dumps its memory. 60 seconds by default.
    pub unreachable_limit: Duration,
    /// The time after which a predecessor of the daemon that serves is killed, if it has not left. 10 seconds by default.
    pub retire_limit: Duration,
    /// The time that the whole recovery may take, while no process serves; at least three times `unreachable_limit`. 5 minutes by default.
    pub deadline: Duration,
}

impl Default for RecoverySpec {
    fn default() -> Self {
        RecoverySpec {
            liveness: Duration::from_secs(5),
            unreachable_limit: Duration::from_secs(60),
            retire_limit: Duration::from_secs(10),
            deadline: Duration::from_secs(300),
        }
    }
}

/// The findings of a recovery.
#[derive(Debug)]
#[non_exhaustive]
pub struct RecoveryOutcome {
    /// The daemon that serves, as it said itself. Nothing stray is left beside it, and it knows that its predecessor
    /// has ended, unless that is in `left`. If none serves, a cold start is due.
    pub daemon: Option<Child>,
    /// The name that the daemon gives to its build.
    pub build_id: Vec<u8>,
    /// `true` if every process that could serve has ended. If not, and no process serves, one is there that
    /// did not say so in time: try again later.
    pub nobody_serves: bool,
    /// A handoff that an earlier supervisor did not bring to its end.
    pub interrupted: Option<Interrupted>,
    /// The processes that it killed: strays, and those past a bound.
    pub killed: Vec<ProcessId>,
    /// Others that may be daemons here, and are not this supervisor's to end.
    pub left: Vec<ProcessId>,
    /// The faults that did not change what was found.
    pub warnings: Vec<String>,
    /// The time that the recovery took.
    pub took: Duration,
}

/// A handoff that an earlier supervisor did not bring to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interrupted {
    /// The handoff, as it is named in the log lines of all processes.
    pub handoff_id: HandoffId,
    /// The result of the handoff.
    pub end: InterruptedEnd,
}

/// The result of an interrupted handoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterruptedEnd {
    /// The successor serves.
    Finished,
    /// The incumbent serves.
    Undone,
    /// Neither of them does.
    Lost,
}

impl Interrupted {
    /// Returns what became of `under_way`, if `serves` does. `None` if it was committed before, and that has
    /// not changed: what its successor has met since is not its end.
    fn new(under_way: UnderWay, serves: Option<ProcessId>) -> Option<Interrupted> {
        let end = match serves {
            Some(process) if Some(process) == under_way.incumbent => InterruptedEnd::Undone,
            _ if under_way.retiring => return None,
            Some(process) if process == under_way.successor => InterruptedEnd::Finished,
            _ => InterruptedEnd::Lost,
        };
        Some(Interrupted { handoff_id: under_way.handoff_id, end })
    }
}

impl RecoveryOutcome {
    /// Returns what was found.
    pub fn verdict(&self) -> RecoveryVerdict {
        match &self.daemon {
            Some(daemon) => RecoveryVerdict::Serves(daemon.id()),
            None if self.nobody_serves => RecoveryVerdict::NobodyServes,
            None => RecoveryVerdict::Unconfirmed,
        }
    }

    /// Returns whether the successor of an interrupted handoff serves, which is committed thereby.
    pub fn finished(&self) -> bool {
        self.interrupted.is_some_and(|interrupted| interrupted.end == InterruptedEnd::Finished)
    }
}

impl RecoveryOutcome {
    pub(super) fn new(
        outcome: Outcome,
        daemon: Option<Child>,
        build_id: Vec<u8>,
        under_way: Option<UnderWay>,
        took: Duration,
    ) -> Result<RecoveryOutcome> {
        if outcome.verdict == RecoveryVerdict::Cancelled {
            return Err(Error::Cancelled);
        }
        let serves = daemon.as_ref().map(Child::id);
        Ok(RecoveryOutcome {
            daemon,
            build_id,
            nobody_serves: outcome.verdict == RecoveryVerdict::NobodyServes,
            interrupted: under_way.and_then(|under_way| Interrupted::new(under_way, serves)),
            killed: outcome.killed,
            left: outcome.left,
            warnings: outcome.journal_error.iter().map(ToString::to_string).collect(),
            took,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Binary;

    /// Returns what is said of a handoff from process 1 to process 2, if `serves` does by now.
    fn said(retiring: bool, serves: Option<u32>) -> Option<InterruptedEnd> {
        let process = |pid| ProcessId { pid, start_time: 7 };
        let handoff_id = HandoffId([1; 16]);
        let under_way = UnderWay {
            handoff_id,
            incumbent: Some(process(1)),
            successor: process(2),
            binary: Binary {
                handoff_id,
                path: Vec::new(),
                args: Vec::new(),
                working_dir: None,
                identity: None,
            },
            retiring,
        };
        Interrupted::new(under_way, serves.map(process)).map(|interrupted| interrupted.end)
    }

    #[test]
    fn a_handoff_that_was_interrupted_is_finished_undone_or_lost() {
        assert_eq!(said(false, Some(2)), Some(InterruptedEnd::Finished));
        assert_eq!(said(false, Some(1)), Some(InterruptedEnd::Undone));
        assert_eq!(said(false, Some(3)), Some(InterruptedEnd::Lost));
        assert_eq!(said(false, None), Some(InterruptedEnd::Lost));
    }

    #[test]
    fn a_handoff_that_was_committed_is_never_called_lost() {
        assert_eq!(said(true, Some(2)), None);
        assert_eq!(said(true, None), None, "its successor has died since");
        assert_eq!(said(true, Some(3)), None);
        assert_eq!(said(true, Some(1)), Some(InterruptedEnd::Undone), "the incumbent had not left yet");
    }
}
