//! A drain as a whole: when it is over, and what it has come to. Pure: the time comes in with the calls.
use super::conduct::Way;
use crate::time::{Duration, Time};

/// The time that acceptors are given to notice a drain, even if its grace is shorter: only a busy machine
/// makes them take a moment, and a daemon that goes on accepting can't be replaced.
const ACCEPT_STOPS: Duration = Duration::from_secs(1);

/// The ends, in a drain, of the connections that were open when it began. Each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Closed by the drain while nothing was under way: between two requests, or new and without a first one.
    pub idle: u32,
    /// Ended by the daemon after a request that was under way, or came, in the drain.
    pub served: u32,
    /// Cut, because the client made no progress for as long as [`Patience::stall`](super::Patience::stall).
    pub cut: u32,
    /// Ended by their clients.
    pub gone: u32,
    /// Kept open for the successor, with what has been received and what could not be sent.
    pub kept: u32,
    /// Still open when the grace was over. Each goes on by itself and ends after its request, also if the daemon resumes.
    pub left: u32,
    /// `true` if nothing is accepted any more. `false` only if a listening socket blocks, against the rules.
    pub accept_closed: bool,
}

/// A drain under way.
#[derive(Clone, Debug)]
pub struct Drain {
    began: Time,
    grace: Duration,
    drained: Drained,
}

impl Drain {
    /// A drain that `began` then and may take `grace`.
    pub fn new(began: Time, grace: Duration) -> Drain {
        Drain { began, grace, drained: Drained::default() }
    }

    /// A connection has ended.
    pub fn ended(&mut self, way: Way) {
        let drained = &mut self.drained;
        *match way {
            Way::Idle => &mut drained.idle,
            Way::Served => &mut drained.served,
            Way::Cut => &mut drained.cut,
            Way::Gone => &mut drained.gone,
        } += 1;
    }

    /// Returns what the drain has come to, if it is over `now`, with so many acceptors and connections left.
    pub fn over(&self, now: Time, accepting: u32, open: u32) -> Option<Drained> {
        let passed = now.since(self.began);
        let is_over = match (accepting, open) {
            (0, 0) => true,
            (0, _) => passed >= self.grace,
            (_, _) => passed >= self.grace.max(ACCEPT_STOPS),
        };
        is_over.then_some(Drained { left: open, accept_closed: accepting == 0, ..self.drained })
    }

    /// Returns how long to wait before looking again, if nothing happens before: `step` at most.
    pub fn pause(&self, now: Time, step: Duration) -> Duration {
        let left = self.grace.saturating_sub(now.since(self.began));
        if left.is_zero() { step } else { left.min(step) }
    }
}
