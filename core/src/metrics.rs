//! Names for metrics, so that every supervisor counts under the same ones. The library records nothing itself: what
//! is to be counted is in [`crate::HandoffOutcome`].

/// Counter: handoffs that have ended; label `outcome`, a [`crate::Verdict`] in snake case, and label `reason`, why the handoff
/// was not committed ([`crate::Reason::name`]).
pub const HANDOFFS_TOTAL: &str = "handoff_handoffs_total";
/// Histogram: seconds that a handoff took; label `outcome`.
pub const DURATION_SECONDS: &str = "handoff_duration_seconds";
/// Histogram: seconds that a phase took; label `phase`, with the names of [`crate::Phase`].
pub const PHASE_SECONDS: &str = "handoff_phase_seconds";
/// Histogram: seconds from the begin of the drain until a process serves again, in which no process accepts
/// ([`crate::Phases::pause`]).
pub const PAUSE_SECONDS: &str = "handoff_pause_seconds";
