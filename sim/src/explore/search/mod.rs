//! The search through every state, how it must end, and the way to what it finds.
mod digest;
pub(super) mod graph;
pub(super) mod liveness;
pub(super) mod samples;
pub(super) mod schedule;
pub(super) mod walk;
