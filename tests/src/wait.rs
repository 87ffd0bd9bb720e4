//! Waiting for something, never for a time.
use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// The longest time that anything may take that is expected to happen. No verdict hangs on it: it is spent
/// only if something is broken, and a machine on which a step of a test takes so long does not exist.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The pause between two looks grows up to this: to look costs time of a processor that others wait for.
const PAUSE_MAX: Duration = Duration::from_millis(25);

/// Waits until `done`, for [`PATIENCE`] at most.
#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    until_some(what, || done().then_some(()));
}

/// Waits until `find` finds something, for [`PATIENCE`] at most.
#[track_caller]
pub fn until_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    until_ok(what, || find().ok_or(""))
}

/// Waits until `check` has nothing to complain of, for [`PATIENCE`] at most.
#[track_caller]
pub fn until_ok<T, E: Display>(what: &str, check: impl FnMut() -> Result<T, E>) -> T {
    match ok_within(PATIENCE, check) {
        Ok(found) => found,
        Err(error) => panic!("waited {PATIENCE:?} in vain: {what}. {error}"),
    }
}

/// Waits until `check` has nothing to complain of, for `limit` at most: where it may well be that this never happens.
///
/// # Errors
/// What `check` complained of last.
pub fn ok_within<T, E>(limit: Duration, mut check: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        match check() {
            Err(_) if Instant::now() < deadline => thread::sleep(pause),
            result => return result,
        }
        pause = (pause * 3 / 2).min(PAUSE_MAX);
    }
}
