//! The rules of every parser, whatever it is given: no panic, memory within a bound that the input's length
//! sets, the same result however the input is split; what is decoded encodes to the bytes that it came from,
//! and what is encoded is decoded.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
mod config;
mod frames;
mod http;
mod items;
mod resp;
mod slots;

use handoff_fuzz::{Hostile, Seeds, pieces};

/// The number of random inputs that each target is given, unless `BOLERO_RANDOM_ITERATIONS` says otherwise. A
/// number and no time: how fast a machine is must not decide which inputs are tried.
const INPUTS: usize = 4_000;

/// Runs `work`, which may allocate `limit` bytes at a time at most.
fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let mut result = None;
    let used = allocation_counter::measure(|| result = Some(work()));
    assert!(
        used.bytes_max <= limit as u64,
        "{} bytes at a time, at most {limit} are allowed",
        used.bytes_max
    );
    result.unwrap()
}
