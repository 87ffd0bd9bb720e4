//! The way in which other threads wake the main loop: a queue, and a descriptor that `poll(2)` sees readable
//! while something is in it.
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};

use handoff::unix::wake::{WakeReceiver, Waker, waker};

/// The main loop's end.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    queue: Receiver<T>,
    woken: WakeReceiver,
}

/// The end that another thread has.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    queue: Sender<T>,
    waker: Waker,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Outbox { queue: self.queue.clone(), waker: self.waker.clone() }
    }
}

/// Both ends of a new queue.
pub(crate) fn inbox<T>() -> io::Result<(Outbox<T>, Inbox<T>)> {
    let (sender, receiver) = channel();
    let (waker, woken) = waker()?;
    Ok((Outbox { queue: sender, waker }, Inbox { queue: receiver, woken }))
}

impl<T> Outbox<T> {
    /// Puts `item` into the queue; `false` if the main loop has ended.
    pub(crate) fn post(&self, item: T) -> bool {
        let posted = self.queue.send(item).is_ok();
        self.waker.wake();
        posted
    }
}

impl<T> Inbox<T> {
    /// All that is in the queue. The descriptor is emptied first: what is posted meanwhile wakes again.
    pub(crate) fn take(&mut self) -> Vec<T> {
        self.woken.drain();
        self.queue.try_iter().collect()
    }
}

impl<T> AsFd for Inbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}
