//! All timers of all roles, in one table.
use core::{fmt, str::FromStr};

use crate::names::UnknownName;
use crate::time::{Duration, Time};

/// The times that a machine may wait for besides events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Time to say that I live.
    Heartbeat,
    /// The supervisor was silent for too long.
    SupervisorSilent,
    /// The incumbent was silent for too long.
    IncumbentSilent,
    /// The successor was silent for too long.
    SuccessorSilent,
    /// The handoff's time is over.
    Deadline,
    /// Try again what failed for a reason that may pass.
    Retry,
    /// A hook has run for too long.
    HookLimit,
    /// A process that was asked to leave has had its time.
    Patience,
}

impl Timer {
    /// All of them, in the order in which they are handled when several have expired.
    pub const ALL: [Timer; 8] = [
        Timer::Heartbeat,
        Timer::SupervisorSilent,
        Timer::IncumbentSilent,
        Timer::SuccessorSilent,
        Timer::Deadline,
        Timer::Retry,
        Timer::HookLimit,
        Timer::Patience,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Timer::Heartbeat => "Heartbeat",
            Timer::SupervisorSilent => "SupervisorSilent",
            Timer::IncumbentSilent => "IncumbentSilent",
            Timer::SuccessorSilent => "SuccessorSilent",
            Timer::Deadline => "Deadline",
            Timer::Retry => "Retry",
            Timer::HookLimit => "HookLimit",
            Timer::Patience => "Patience",
        }
    }
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Timer {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Timer::ALL.into_iter().find(|timer| timer.name() == text).ok_or(UnknownName)
    }
}

/// The time at which each timer expires.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timers([Option<Time>; Timer::ALL.len()]);

impl Timers {
    /// Lets `timer` expire `after` from `now`, and not before.
    pub fn arm(&mut self, timer: Timer, now: Time, after: Duration) {
        self.0[timer as usize] = Some(now + after);
    }

    /// Forgets `timer`.
    pub fn disarm(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        *self = Timers::default();
    }

    /// Returns whether `timer` will expire.
    pub fn is_armed(&self, timer: Timer) -> bool {
        self.0[timer as usize].is_some()
    }

    /// Returns how long it takes until `timer` expires; zero if it never will.
    pub fn left(&self, timer: Timer, now: Time) -> Duration {
        self.0[timer as usize].map_or(Duration::ZERO, |at| at.since(now))
    }

    /// Returns how long ago `timer` was to expire; zero if it was not.
    pub fn overdue(&self, timer: Timer, now: Time) -> Duration {
        self.0[timer as usize].map_or(Duration::ZERO, |at| now.since(at))
    }

    /// The one that expires first, and when.
    pub fn next(&self) -> Option<(Time, Timer)> {
        Timer::ALL.into_iter().filter_map(|timer| Some((self.0[timer as usize]?, timer))).min()
    }
}
