//! The way out: what is under way comes to its end, then the daemon is stopped.
use super::{Keeper, Knows, Step, Task};
use crate::time::Time;

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stop {
    /// It was asked for.
    Begun,
    /// A recovery is to find who is to be stopped. It is called off at that time.
    Asks(Time),
    /// The task that was under way has been called off, or is over.
    CalledOff,
    /// Nobody has said that it serves.
    FindsNobody,
    /// The daemons were told to stop. They are killed at that time.
    Told(Time),
    /// The daemons were killed.
    Killed,
}

impl Stop {
    /// A recovery found nobody to be stopped, and could not say that there is none.
    pub(super) fn finds_nobody(self) -> Stop {
        match self {
            Stop::Begun | Stop::Asks(_) | Stop::CalledOff | Stop::FindsNobody => Stop::FindsNobody,
            Stop::Told(_) | Stop::Killed => self,
        }
    }

    pub(super) fn wake_at(self) -> Option<Time> {
        match self {
            Stop::Asks(at) | Stop::Told(at) => Some(at),
            Stop::Begun => Some(Time::ZERO),
            Stop::CalledOff | Stop::FindsNobody | Stop::Killed => None,
        }
    }
}

impl Keeper {
    /// The daemon is to be stopped, and nothing is started any more. When no daemon is left, all is done.
    pub fn stop(&mut self) {
        self.stop.get_or_insert(Stop::Begun);
        self.reloads = false;
    }

    /// Whether a stop was asked for.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_some()
    }

    /// What is to be done now on the way out. A daemon that does not serve the supervisor's knowledge yet is looked
    /// for first, which takes no longer than to stop it.
    pub(super) fn next_of_stop(&mut self, now: Time) -> Option<Step> {
        let stop = self.stop?;
        let grace_ends = now + self.config.stop_grace;
        let is_unknown = matches!(self.knows, Knows::Nothing(_));
        let (stop, step) = match (stop, self.under_way) {
            (Stop::Begun, Some(Task::Recover)) => (Stop::Asks(grace_ends), None),
            (Stop::Begun, Some(_)) => (Stop::CalledOff, Some(Step::CallOff)),
            (Stop::Begun, None) if is_unknown => {
                self.under_way = Some(Task::Recover);
                (Stop::Asks(grace_ends), Some(Step::Begin(Task::Recover)))
            }
            (Stop::Asks(at), Some(_)) if at <= now => (Stop::CalledOff, Some(Step::CallOff)),
            (Stop::FindsNobody, None) => (Stop::FindsNobody, Some(Step::LeaveAlone)),
            (Stop::Begun | Stop::Asks(_) | Stop::CalledOff, None) => {
                (Stop::Told(grace_ends), Some(Step::Terminate))
            }
            (Stop::Told(at), None) if at <= now => (Stop::Killed, Some(Step::Kill)),
            (Stop::Asks(_) | Stop::CalledOff | Stop::FindsNobody | Stop::Told(_) | Stop::Killed, _) => {
                (stop, None)
            }
        };
        self.stop = Some(stop);
        step
    }
}
