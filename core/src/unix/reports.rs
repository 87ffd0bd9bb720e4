//! The results of a daemon's hooks.
use std::error::Error as StdError;

use crate::id::Fingerprint;
pub use crate::node::daemon::StateSnapshot;

/// The result of a hook. An error, like a panic, is a hook that failed: the library rolls back.
pub type HookResult<T> = Result<T, Box<dyn StdError + Send + Sync>>;

/// The report of a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections still open when the grace was over.
    pub open_conns_remaining: u32,
    /// `true` if no connection is accepted any more. `false` rolls the handoff back.
    pub accept_closed: bool,
}

/// The report of what a seal made durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealReport {
    /// The last revision of each shard. The successor must not be behind it.
    pub last_revision_per_shard: Vec<u64>,
    /// A digest of what is on disk; the default claims nothing.
    pub data_dir_fingerprint: Fingerprint,
}

/// The report of what a successor opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// The source of the state from which a daemon resumes after an aborted handoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeFrom {
    /// Only a drain has run: what is in memory is still true.
    Memory,
    /// A seal was at least tried, and another process may have written since: close what is still open and
    /// open the state again.
    Disk,
}
