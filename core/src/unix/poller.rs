//! `poll(2)` over descriptors that come and go, and the clock that goes with it.
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::host::Clock;
use crate::time::{Duration, Time};

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

/// Waits until one of `fds` is ready, or for `timeout`; `None` is for ever. Answers one flag a descriptor: it is
/// worth a look, be it data, room, an end or an error.
///
/// # Errors
/// The system's; none is expected.
pub(crate) fn wait(fds: &[(BorrowedFd<'_>, bool)], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|(fd, write)| {
            PollFd::new(*fd, if *write { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN })
        })
        .collect();
    match poll(&mut polled, round_up(timeout)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled.iter().map(|fd| fd.any().unwrap_or(true)).collect())
}

/// Whole milliseconds, and never less than `timeout`: waking early would mean to spin.
pub(crate) fn round_up(timeout: Option<Duration>) -> PollTimeout {
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
