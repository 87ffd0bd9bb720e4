//! The output of an exploration: names of steps, stories and tables.
pub(super) mod replay;
mod story;
pub(super) mod table;
