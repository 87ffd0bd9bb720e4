//! A gate that many threads can wait at together with a socket. Closing it wakes all of them at once, without any
//! of them having to look up now and then.
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sync::lock;

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The gate was closed.
    Closed,
    /// The socket has something.
    Ready,
    /// Time is up.
    Late,
}

/// Open at first, closed once. A pipe: its read end becomes ready when its write end is dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    closed: AtomicBool,
    pipe: PipeReader,
    holder: Mutex<Option<PipeWriter>>,
}

impl Gate {
    pub(crate) fn new() -> io::Result<Gate> {
        let (pipe, holder) = io::pipe()?;
        Ok(Gate { closed: AtomicBool::new(false), pipe, holder: Mutex::new(Some(holder)) })
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        lock(&self.holder).take();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Waits until `socket` is ready for `flags` (or has failed) or the gate is closed; the gate comes first.
    pub(crate) fn wait_for(&self, socket: BorrowedFd<'_>, flags: PollFlags) -> io::Result<Woken> {
        let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN), PollFd::new(socket, flags)];
        match poll(&mut fds, PollTimeout::NONE) {
            // As after a wait that ended for nothing: the caller looks and waits again.
            Err(Errno::EINTR) => Ok(Woken::Late),
            Err(errno) => Err(errno.into()),
            Ok(_) if self.is_closed() => Ok(Woken::Closed),
            Ok(_) => Ok(Woken::Ready),
        }
    }

    /// Waits for `time` or until the gate is closed, whichever comes first.
    pub(crate) fn wait_timeout(&self, time: Duration) -> Woken {
        let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX));
        if self.is_closed() { Woken::Closed } else { Woken::Late }
    }
}

/// Waits until `socket` is ready for `flags` (or has failed), for at most `time`.
pub(crate) fn wait_socket(socket: BorrowedFd<'_>, flags: PollFlags, time: Duration) -> io::Result<Woken> {
    // Rounded up: zero would not wait at all, and the caller would spin.
    let rounded = time.saturating_add(Duration::from_micros(999));
    let timeout = PollTimeout::try_from(rounded).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(socket, flags)], timeout) {
        Ok(0) | Err(Errno::EINTR) => Ok(Woken::Late),
        Ok(_) => Ok(Woken::Ready),
        Err(errno) => Err(errno.into()),
    }
}
