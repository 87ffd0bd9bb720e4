//! The way out: what is under way comes to its end, then the daemon is stopped.
use super::{Keeper, KeeperStep, Knows, Task};
use crate::time::Time;

/// The progress of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum StopProgress {
    /// Was asked for.
    Begun,
    /// A recovery is to find the daemons that are to be stopped. It is called off at that time.
    Asks(Time),
    /// The task that was under way has been called off, or is over.
    CalledOff,
    /// No process has said that it serves.
    FindsNobody,
    /// The daemons were told to stop. They are killed at that time.
    Told(Time),
    /// The daemons were killed.
    Killed,
}

impl StopProgress {
    /// Notes that a recovery found no daemon to be stopped, and could not say that there is none.
    pub(super) fn finds_nobody(self) -> StopProgress {
        match self {
            StopProgress::Begun
            | StopProgress::Asks(_)
            | StopProgress::CalledOff
            | StopProgress::FindsNobody => StopProgress::FindsNobody,
            StopProgress::Told(_) | StopProgress::Killed => self,
        }
    }

    pub(super) fn wake_at(self) -> Option<Time> {
        match self {
            StopProgress::Asks(at) | StopProgress::Told(at) => Some(at),
            StopProgress::Begun => Some(Time::ZERO),
            StopProgress::CalledOff | StopProgress::FindsNobody | StopProgress::Killed => None,
        }
    }
}

impl Keeper {
    /// The daemon is to be stopped, and nothing is started any more. When no daemon is left, all is done.
    pub fn stop(&mut self) {
        self.stop.get_or_insert(StopProgress::Begun);
        self.reload.forget();
    }

    /// Returns whether a stop was asked for.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_some()
    }

    /// Returns what is to be done now on the way out. A daemon that does not serve the supervisor's knowledge
    /// yet is looked for first, which takes no longer than to stop it.
    pub(super) fn next_of_stop(&mut self, now: Time) -> Option<KeeperStep> {
        let stop = self.stop?;
        let grace_ends = now + self.config.stop_grace;
        let is_unknown = matches!(self.knows, Knows::Nothing(_));
        let (stop, step) = match (stop, self.under_way) {
            (StopProgress::Begun, Some(Task::Recover)) => (StopProgress::Asks(grace_ends), None),
            (StopProgress::Begun, Some(_)) => (StopProgress::CalledOff, Some(KeeperStep::CallOff)),
            (StopProgress::Begun, None) if is_unknown => {
                self.under_way = Some(Task::Recover);
                (StopProgress::Asks(grace_ends), Some(KeeperStep::Begin(Task::Recover)))
            }
            (StopProgress::Asks(at), Some(_)) if at <= now => {
                (StopProgress::CalledOff, Some(KeeperStep::CallOff))
            }
            (StopProgress::FindsNobody, None) => (StopProgress::FindsNobody, Some(KeeperStep::LeaveAlone)),
            (StopProgress::Begun | StopProgress::Asks(_) | StopProgress::CalledOff, None) => {
                (StopProgress::Told(grace_ends), Some(KeeperStep::Terminate))
            }
            (StopProgress::Told(at), None) if at <= now => (StopProgress::Killed, Some(KeeperStep::Kill)),
            (
                StopProgress::Asks(_)
                | StopProgress::CalledOff
                | StopProgress::FindsNobody
                | StopProgress::Told(_)
                | StopProgress::Killed,
                _,
            ) => (stop, None),
        };
        self.stop = Some(stop);
        step
    }
}
