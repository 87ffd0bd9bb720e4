//! The treatment of a daemon's connections in a drain, so that no client decides how long a handoff takes:
//! `conduct` decides for a connection, `drain` for all of them. Pure: the time comes in with the calls, and
//! the host moves the bytes.
mod conduct;
mod drain;
#[cfg(test)]
mod tests;

pub use conduct::{Conduct, NextRequest, Patience, Remaining, RequestPhase, Way};
pub use drain::{Drain, Drained};
