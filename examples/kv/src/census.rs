//! How many threads and connections there are, and waiting until they are gone.
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::connection::LINGER;
use crate::sync::lock;

/// How many there are of what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Threads that accept.
    pub(crate) acceptors: u32,
    /// Connections that may still get a reply.
    pub(crate) open: u32,
    /// Connections that have had their last.
    pub(crate) lingering: u32,
    /// Connections that were cut since the process started, because they made no progress in a drain.
    pub(crate) cut: u64,
}

/// Counts threads and connections, and lets one wait until they are gone.
#[derive(Debug, Default)]
pub(crate) struct Census {
    counts: Mutex<Counts>,
    changed: Condvar,
}

impl Census {
    pub(crate) fn counts(&self) -> Counts {
        *lock(&self.counts)
    }

    pub(crate) fn count_cut(&self) {
        lock(&self.counts).cut += 1;
    }

    /// Waits until all clients have closed as well, or were given the time to.
    pub(crate) fn wait_lingering(&self) {
        self.wait(LINGER, |counts| counts.lingering == 0);
    }

    /// Waits until `done`, `time` at most; returns how it stands then.
    pub(crate) fn wait(&self, time: Duration, mut done: impl FnMut(&Counts) -> bool) -> Counts {
        // A grace that no clock can express is one that never ends.
        let until = Instant::now().checked_add(time);
        let mut counts = lock(&self.counts);
        while !done(&counts) {
            let left = until.map_or(Duration::from_secs(3600), |until| until.duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            counts = self.changed.wait_timeout(counts, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *counts
    }

    /// Counts the caller in, under what `which` names, until what is returned is dropped.
    pub(crate) fn enter(self: &Arc<Self>, which: fn(&mut Counts) -> &mut u32) -> Present {
        *which(&mut lock(&self.counts)) += 1;
        Present { census: self.clone(), which }
    }
}

/// Counted as long as it lives.
pub(crate) struct Present {
    census: Arc<Census>,
    which: fn(&mut Counts) -> &mut u32,
}

impl Drop for Present {
    fn drop(&mut self) {
        *(self.which)(&mut lock(&self.census.counts)) -= 1;
        self.census.changed.notify_all();
    }
}
