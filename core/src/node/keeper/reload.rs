//! A request that the daemon be as the configuration says by now: it is kept until it was carried out.
use super::TaskEnd;
use super::backoff::Backoff;
use crate::time::{Duration, Time};

/// All such requests until one is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reload {
    /// The time of the reload that waits, and from which it is carried out.
    due: Option<Time>,
    /// `true` if the task that is under way carries one out.
    is_under_way: bool,
    pauses: Backoff,
}

impl Reload {
    /// None was made. One that could not be carried out is tried again after pauses from `min` to `max`.
    pub(super) fn new(min: Duration, max: Duration) -> Reload {
        Reload { due: None, is_under_way: false, pauses: Backoff::new(min, max) }
    }

    /// Pauses are as long as this from now on, and begin anew.
    pub(super) fn configure(&mut self, min: Duration, max: Duration) {
        self.pauses = Backoff::new(min, max);
    }

    /// Asks for a reload: it is due at once.
    pub(super) fn ask(&mut self) {
        self.due = Some(Time::ZERO);
    }

    /// None is wanted any more.
    pub(super) fn forget(&mut self) {
        (self.due, self.is_under_way) = (None, false);
    }

    /// Returns the time at which a reload is due; `None` if none waits.
    pub(super) fn due_at(&self) -> Option<Time> {
        self.due
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.due.is_some_and(|at| at <= now)
    }

    /// A task begins that carries out what waits.
    pub(super) fn begins(&mut self) {
        (self.due, self.is_under_way) = (None, true);
    }

    /// A task has ended. What it was to carry out still waits if it has met no daemon; a daemon that was met has been swapped, or
    /// there was a reason against it, and to try the same again would bring the same.
    pub(super) fn ended(&mut self, now: Time, end: TaskEnd) {
        if core::mem::take(&mut self.is_under_way) && end.met_nobody() {
            let again = now + self.pauses.pause(Duration::ZERO);
            self.due.get_or_insert(again);
        }
    }
}
