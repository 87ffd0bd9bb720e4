//! Wakes a `poll(2)` from another thread.
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Wakes the [`WakeReceiver`] that it was made with. Cheap to clone, and usable from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    end: Arc<UnixStream>,
}

/// Becomes readable when its [`Waker`] wakes it.
#[derive(Debug)]
pub struct WakeReceiver {
    end: UnixStream,
}

/// A waker and its receiver.
///
/// # Errors
/// Descriptors are exhausted.
pub fn waker() -> io::Result<(Waker, WakeReceiver)> {
    let (sender, receiver) = crate::unix::control::socketpair()?;
    Ok((Waker { end: Arc::new(sender) }, WakeReceiver { end: receiver }))
}

impl Waker {
    /// Wakes the receiver. Never blocks. Wakes that come before the receiver drains are one.
    pub fn wake(&self) {
        // Full: it is being woken. Closed: nobody is left to wake.
        while matches!((&*self.end).write(&[1]), Err(error) if error.kind() == io::ErrorKind::Interrupted) {}
    }

    /// Wakes the receiver on each `signal` from now on, besides whatever else is done on it.
    pub(crate) fn wake_on(&self, signal: nix::libc::c_int) -> io::Result<()> {
        signal_hook::low_level::pipe::register(signal, self.end.try_clone()?).map(drop)
    }
}

impl WakeReceiver {
    /// Takes back all wakes so far. To be called *before* looking for what one was woken for: what comes
    /// later wakes again.
    pub fn drain(&self) {
        let mut bytes = [0; 64];
        loop {
            match (&self.end).read(&mut bytes) {
                Ok(count) if count > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing more, or all wakers are gone.
                Ok(_) | Err(_) => return,
            }
        }
    }
}

impl AsFd for WakeReceiver {
    /// Readable (`POLLIN`) after a wake; for good, once all wakers are gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn is_woken(receiver: &WakeReceiver, timeout: impl Into<PollTimeout>) -> bool {
        let mut fds = [PollFd::new(receiver.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout).unwrap() == 1
    }

    #[test]
    fn a_wake_from_another_thread_ends_a_poll() {
        let (waker, receiver) = waker().unwrap();
        assert!(!is_woken(&receiver, PollTimeout::ZERO));
        let thread = std::thread::spawn({
            let waker = waker.clone();
            move || waker.wake()
        });
        assert!(is_woken(&receiver, 5_000_u16));
        thread.join().unwrap();
        receiver.drain();
        assert!(!is_woken(&receiver, PollTimeout::ZERO));
    }

    #[test]
    fn a_signal_is_a_wake() {
        let (waker, receiver) = waker().unwrap();
        waker.wake_on(signal_hook::consts::SIGUSR2).unwrap();
        assert!(!is_woken(&receiver, PollTimeout::ZERO));
        signal_hook::low_level::raise(signal_hook::consts::SIGUSR2).unwrap();
        assert!(is_woken(&receiver, 5_000_u16));
        receiver.drain();
        assert!(!is_woken(&receiver, PollTimeout::ZERO));
    }

    #[test]
    fn wakes_without_end_never_block_and_are_drained_at_once() {
        let (waker, receiver) = waker().unwrap();
        (0..100_000).for_each(|_| waker.wake());
        receiver.drain();
        assert!(!is_woken(&receiver, PollTimeout::ZERO));
    }
}
