//! Sockets that were swept from the run directory.
use std::collections::BTreeSet;

use super::Micros;

/// Sockets that were removed from the run directory while their processes live.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(super) pids: BTreeSet<u32>,
    /// The process to which the control path led.
    pub(super) path: Option<u32>,
    /// The time at which sockets were put back last.
    pub put_back: Option<Micros>,
}

impl Swept {
    /// Returns whether the sockets of `pid` are gone.
    pub(crate) fn has(&self, pid: u32) -> bool {
        self.pids.contains(&pid)
    }
}
