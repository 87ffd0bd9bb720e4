//! Looking for plans: many seeds, plans that meet what is rare, and the smallest plan that still fails.
pub(crate) mod check;
pub mod corpus;
pub(crate) mod failure;
pub mod merge;
pub(crate) mod shrink;
pub mod sweep;
pub mod threads;
