//! The signals that the main loop answers, and a descriptor that `poll(2)` sees readable when one has come.
//!
//! A flag is set before the loop is woken, and the wake can't fail: no signal is lost.
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use handoff::unix::wake::{WakeReceiver, waker};

/// The signals that have come.
#[derive(Debug)]
pub(crate) struct Signals {
    flags: Vec<(i32, Arc<AtomicBool>)>,
    woken: WakeReceiver,
}

impl Signals {
    /// Handles `signals` from now on.
    ///
    /// # Errors
    /// Descriptors are exhausted, or one of them can't be handled.
    pub(crate) fn new(signals: &[i32]) -> io::Result<Signals> {
        let (waker, woken) = waker()?;
        let mut flags = Vec::new();
        for &signal in signals {
            let flag = Arc::new(AtomicBool::new(false));
            // Handlers run in the order of their registration.
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            waker.wake_on(signal)?;
            flags.push((signal, flag));
        }
        Ok(Signals { flags, woken })
    }

    /// Those that have come since this was called last. The descriptor is emptied first: what comes meanwhile wakes
    /// again.
    pub(crate) fn pending(&mut self) -> Vec<i32> {
        self.woken.drain();
        let has_come = |flag: &AtomicBool| flag.swap(false, Ordering::SeqCst);
        self.flags.iter().filter(|(_, flag)| has_come(flag)).map(|(signal, _)| *signal).collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}
