//! One suite, two arms: the same plans on the simulator and on real processes, real sockets and real locks.
//!
//! [`scenarios`]: every named scenario leaves the same trace of each process and each link. [`gaps`]: a process that dies
//! or stops in any gap leaves the same end state. What can't be staged is listed, with its reason, in the `.txt` files
//! here; a list that is not exactly right fails.
#![cfg(all(feature = "sim", feature = "crash-points"))]
#![allow(clippy::unwrap_used)]
mod absence;
mod gaps;
mod lists;
mod scenarios;
