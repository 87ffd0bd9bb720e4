//! Wakes a `poll(2)` from another thread, or from a signal's handler.
//!
//! A wake is never lost: what is written is an `eventfd(2)`, whose write needs no memory and fails only when its
//! counter is full, and then the receiver is being woken. (Where there is none, it is a pipe.)
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{read, write};

/// Wakes the [`WakeReceiver`] that it was made with. Cheap to clone, and usable from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    end: Arc<OwnedFd>,
}

/// Becomes readable when its [`Waker`] wakes it.
#[derive(Debug)]
pub struct WakeReceiver {
    end: Arc<OwnedFd>,
}

/// A waker and its receiver.
///
/// # Errors
/// Descriptors are exhausted.
pub fn waker() -> io::Result<(Waker, WakeReceiver)> {
    let (sender, receiver) = ends()?;
    Ok((Waker { end: sender }, WakeReceiver { end: receiver }))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn ends() -> nix::Result<(Arc<OwnedFd>, Arc<OwnedFd>)> {
    use nix::sys::eventfd::{EfdFlags, EventFd};
    let counter = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let counter = Arc::new(OwnedFd::from(counter));
    Ok((Arc::clone(&counter), counter))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn ends() -> nix::Result<(Arc<OwnedFd>, Arc<OwnedFd>)> {
    use crate::unix::bind::{set_close_on_exec, set_nonblocking};
    let (receiver, sender) = nix::unistd::pipe()?;
    for end in [&receiver, &sender] {
        set_close_on_exec(end)?;
        set_nonblocking(end)?;
    }
    Ok((Arc::new(sender), Arc::new(receiver)))
}

/// The bytes that a wake writes: what an eventfd takes, and as good as anything else for a pipe.
const WAKE: [u8; 8] = 1_u64.to_ne_bytes();

impl Waker {
    /// Wakes the receiver. Never blocks. Wakes that come before the receiver drains are one.
    pub fn wake(&self) {
        while write(&*self.end, &WAKE) == Err(Errno::EINTR) {}
    }

    /// Wakes the receiver on each `signal` from now on, besides whatever else is done on it.
    ///
    /// # Errors
    /// There is no such signal, or it can't be handled.
    #[allow(unsafe_code)]
    pub fn wake_on(&self, signal: libc::c_int) -> io::Result<()> {
        let end = Arc::clone(&self.end);
        let wake = move || {
            let errno = Errno::last_raw();
            // SAFETY: `end` is kept open by this closure, and WAKE is as long as is said. write(2) is
            // async-signal-safe.
            unsafe { libc::write(end.as_raw_fd(), WAKE.as_ptr().cast(), WAKE.len()) };
            Errno::set_raw(errno);
        };
        // SAFETY: `wake` calls nothing but write(2), allocates nothing, takes no lock, and leaves errno as it was.
        unsafe { signal_hook::low_level::register(signal, wake) }.map(drop)
    }
}

impl WakeReceiver {
    /// Takes back all wakes so far. To be called *before* looking for what one was woken for: what comes
    /// later wakes again.
    pub fn drain(&self) {
        let mut bytes = [0; 64];
        loop {
            match read(&*self.end, &mut bytes) {
                // One read empties an eventfd, not a pipe.
                Ok(count) if count == bytes.len() => {}
                Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

impl AsFd for WakeReceiver {
    /// Readable (`POLLIN`) after a wake, until it is drained.
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

    /// The write to a socket fails (ENOBUFS) when its buffer can't be had; that to an eventfd asks for none.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_wake_asks_for_no_memory() {
        let (waker, receiver) = waker().unwrap();
        for end in [waker.end.as_raw_fd(), receiver.as_fd().as_raw_fd()] {
            let leads_to = std::fs::read_link(format!("/proc/self/fd/{end}")).unwrap();
            assert_eq!(leads_to.to_str(), Some("anon_inode:[eventfd]"));
        }
        // The counter is full: the receiver is being woken, and nothing waits or is lost.
        write(&*waker.end, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        waker.wake();
        assert!(is_woken(&receiver, PollTimeout::ZERO));
        receiver.drain();
        assert!(!is_woken(&receiver, PollTimeout::ZERO));
    }
}
