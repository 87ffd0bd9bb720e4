//! `poll(2)` over descriptors that come and go, and the clock that goes with it.
use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::host::Clock;
use crate::time::{Duration, Time};

/// The pause after a `poll(2)` that failed.
const PAUSE: Duration = Duration::from_millis(10);

/// The monotonic clock, counted from its making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    pub(crate) fn new() -> Self {
        MonotonicClock { origin: Instant::now() }
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }
}

/// Waits until one of `fds` is ready, with `true` also until there is room to write, or for `timeout`; `None` is for ever. May
/// return for nothing.
pub fn wait(fds: &[(BorrowedFd<'_>, bool)], timeout: Option<Duration>) {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|(fd, write)| {
            PollFd::new(*fd, if *write { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN })
        })
        .collect();
    wait_for(&mut polled, timeout);
}

/// The same with what each descriptor is worth a look for.
///
/// No process that serves may end because it could not wait once. What makes `poll(2)` fail passes (memory is exhausted, the limit
/// of open files is below their number): after a pause the caller looks at everything, which never blocks, and waits again.
pub(crate) fn wait_for(fds: &mut [PollFd<'_>], timeout: Option<Duration>) {
    match poll(fds, round_up(timeout)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => {
            tracing::warn!(target: "handoff", %error, "can't wait for events; looking again shortly");
            std::thread::sleep(timeout.map_or(PAUSE, |timeout| timeout.min(PAUSE)));
        }
    }
}

/// Whole milliseconds, and never less than `timeout`: waking early would mean to spin.
fn round_up(timeout: Option<Duration>) -> PollTimeout {
    match timeout {
        None => PollTimeout::NONE,
        Some(timeout) => {
            let millis = timeout.as_nanos().div_ceil(1_000_000);
            i32::try_from(millis)
                .ok()
                .and_then(|millis| PollTimeout::try_from(millis).ok())
                .unwrap_or(PollTimeout::MAX)
        }
    }
}
