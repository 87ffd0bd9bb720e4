//! Machines that are wrong in one cell, and whether a check notices.
pub mod judge;
pub mod mutant;
