//! The results of a daemon's hooks.
use std::error::Error as StdError;

use crate::id::Fingerprint;
pub use crate::node::daemon::StateSnapshot;

/// The result of a hook. An error, like a panic, is a hook that failed: the library rolls back.
pub type HookResult<T> = Result<T, Box<dyn StdError + Send + Sync>>;

/// The report of a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Connections still open when the grace was over.
    pub open_conns_remaining: u32,
    /// `true` if no connection is accepted any more. `false` rolls the handoff back.
    pub accept_closed: bool,
}

impl DrainReport {
    /// Of a drain after which nothing is accepted, and so many connections are still open.
    pub fn closed(open_conns_remaining: u32) -> DrainReport {
        DrainReport { open_conns_remaining, accept_closed: true }
    }
}

/// The report of what a seal made durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealReport {
    /// The last revision of each shard. The successor must not be behind it.
    pub last_revision_per_shard: Vec<u64>,
    /// A digest of what is on disk; the default claims nothing.
    pub data_dir_fingerprint: Fingerprint,
}

impl SealReport {
    /// Of shards whose last revisions are these, without a digest.
    pub fn new(last_revision_per_shard: Vec<u64>) -> SealReport {
        SealReport { last_revision_per_shard, ..SealReport::default() }
    }

    /// Adds a digest of what is on disk.
    #[must_use]
    pub fn with_fingerprint(self, data_dir_fingerprint: Fingerprint) -> SealReport {
        SealReport { data_dir_fingerprint, ..self }
    }
}

/// The report of what a successor opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadinessSnapshot {
    /// The listeners that the successor is about to serve, by name.
    pub listening_on: Vec<String>,
    /// `true` if the daemon calls itself healthy. `false` rolls the handoff back.
    pub healthz_ok: bool,
    /// The last revision of each shard. A revision behind what was sealed rolls the handoff back.
    pub advertised_revision_per_shard: Vec<u64>,
    /// A digest of what was opened; compared with the sealed one if both name the same scheme.
    pub data_dir_fingerprint: Fingerprint,
}

impl ReadinessSnapshot {
    /// Of a healthy daemon that has opened shards whose last revisions are these; empty, if it counts none.
    pub fn healthy(advertised_revision_per_shard: Vec<u64>) -> ReadinessSnapshot {
        ReadinessSnapshot { healthz_ok: true, advertised_revision_per_shard, ..ReadinessSnapshot::default() }
    }

    /// Names the listeners that the successor is about to serve.
    #[must_use]
    pub fn with_listeners(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> ReadinessSnapshot {
        self.listening_on = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a digest of what was opened.
    #[must_use]
    pub fn with_fingerprint(self, data_dir_fingerprint: Fingerprint) -> ReadinessSnapshot {
        ReadinessSnapshot { data_dir_fingerprint, ..self }
    }
}

/// The source of the state from which a daemon resumes after an aborted handoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResumeFrom {
    /// Only a drain has run: what is in memory is still true.
    Memory,
    /// A seal was at least tried, and another process may have written since: close what is still open and
    /// open the state again.
    Disk,
}
