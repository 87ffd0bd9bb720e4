//! How long a drain waits for a client.
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::PollFlags;

use crate::gate::{Woken, wait_socket};

/// What a drain grants each connection. All clients wait while a server drains, so the bound that holds for one
/// connection must be far below the grace of the whole drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long a connection whose request or reply is under way may make no progress before it is cut. Progress is
    /// a byte that was received from the client or taken by its socket, however long the whole takes.
    pub stall: Duration,
    /// How long after it was accepted a connection may still send its first request. HTTP clients send a request
    /// again if a kept connection ended, but not if a new one did.
    pub first_request: Duration,
}

impl Default for Patience {
    /// A quarter of a second without progress, and a tenth of a second for the first request.
    fn default() -> Patience {
        Patience { stall: Duration::from_millis(250), first_request: Duration::from_millis(100) }
    }
}

/// In how many waits a client's time passes.
const WAITS: u32 = 10;

/// Measures for how long a client has made no progress while a drain waits for it. The time is counted in waits that
/// came to nothing, so that a machine that was suspended meanwhile does not cut all its clients.
#[derive(Debug)]
pub(crate) struct Stall {
    bound: Duration,
    waits: u32,
}

impl Stall {
    pub(crate) fn new(bound: Duration) -> Stall {
        Stall { bound, waits: 0 }
    }

    /// Notes that the client has made progress.
    pub(crate) fn reset(&mut self) {
        self.waits = 0;
    }

    /// Waits for a while, or until `socket` is ready for `flags`. The caller looks for progress after each wait,
    /// whatever ended it: poll(2) calls a socket writable when a third of its buffer is free, and a slow client takes
    /// long to get there, but write(2) takes what there is room for.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] once the client's time is over.
    pub(crate) fn wait(&mut self, socket: BorrowedFd<'_>, flags: PollFlags) -> io::Result<()> {
        if self.waits == WAITS {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if wait_socket(socket, flags, self.bound / WAITS)? != Woken::Ready {
            self.waits += 1;
        }
        Ok(())
    }
}
