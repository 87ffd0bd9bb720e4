//! A daemon's process: the turns of its node, its hooks, and what they stand on.
mod carrying;
pub(crate) mod os;
pub(crate) mod process;
mod receiving;
mod serving;
