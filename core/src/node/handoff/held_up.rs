//! A supervisor that was held up for so long that its peers gave it up: what they did then is no fault of theirs, and the report
//! says so.
use alloc::boxed::Box;

use crate::{
    machine::{Reason, supervisor::Limits},
    time::Duration,
};

/// The time for which this process could not be heard, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HeldUp {
    /// Peers give it up if it is held up for so long: its last heartbeat may lie one pause between heartbeats back.
    limit: Duration,
    by_journal: Option<Duration>,
    by_system: Option<Duration>,
}

impl HeldUp {
    pub(super) fn new(limits: &Limits) -> HeldUp {
        HeldUp { limit: limits.liveness - limits.heartbeat(), by_journal: None, by_system: None }
    }

    /// A write of the journal has taken so long, and nothing else was done meanwhile.
    pub(super) fn wrote(&mut self, took: Duration) {
        self.by_journal = self.by_journal.max(Some(took).filter(|took| *took >= self.limit));
    }

    /// A heartbeat was to be sent so long ago.
    pub(super) fn is_behind(&mut self, overdue: Duration) {
        self.by_system = self.by_system.max(Some(overdue).filter(|overdue| *overdue >= self.limit));
    }

    /// `reason` with what led to it, if that may be the supervisor's own silence.
    pub(super) fn explains(&self, reason: Reason) -> Reason {
        let Some(time) = self.by_journal.or(self.by_system) else { return reason };
        match reason {
            Reason::Closed(..)
            | Reason::Ended(..)
            | Reason::Silent(_)
            | Reason::Deadline
            | Reason::NotServing
            | Reason::ResumedByItself => {
                Reason::HeldUp { time, by_journal: self.by_journal.is_some(), because: Box::new(reason) }
            }
            other => other,
        }
    }
}
