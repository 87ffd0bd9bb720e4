//! Names for metrics, so that every supervisor counts under the same ones. The library records nothing itself: what
//! is to be counted is in [`crate::HandoffOutcome`], and in the events of the targets below.

/// Counter: handoffs that were begun.
pub const HANDOFFS_TOTAL: &str = "handoff_handoffs_total";
/// Counter: handoffs after which the successor serves.
pub const COMMITTED_TOTAL: &str = "handoff_committed_total";
/// Counter: handoffs after which the incumbent serves again, as it said itself.
pub const ROLLED_BACK_TOTAL: &str = "handoff_rolled_back_total";
/// Counter: handoffs after which no process said that it serves.
pub const UNCONFIRMED_TOTAL: &str = "handoff_unconfirmed_total";
/// Histogram: seconds that a handoff took.
pub const DURATION_SECONDS: &str = "handoff_duration_seconds";
/// Histogram: seconds that a phase took; label `phase`, with the names of [`crate::Phases`].
pub const PHASE_SECONDS: &str = "handoff_phase_seconds";
/// Histogram: seconds from the first drain to the successor's service, when no process accepted.
pub const PAUSE_SECONDS: &str = "handoff_pause_seconds";
