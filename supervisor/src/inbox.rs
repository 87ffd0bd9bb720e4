//! How other threads wake the main loop: a queue, and a descriptor that `poll(2)` sees readable while something
//! is in it.
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The main loop's end.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    queue: Receiver<T>,
    woken: UnixStream,
}

/// Anyone else's end.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    queue: Sender<T>,
    waker: Arc<UnixStream>,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Outbox { queue: self.queue.clone(), waker: Arc::clone(&self.waker) }
    }
}

/// Both ends of a new queue.
pub(crate) fn inbox<T>() -> io::Result<(Outbox<T>, Inbox<T>)> {
    let (sender, receiver) = channel();
    let (waker, woken) = UnixStream::pair()?;
    waker.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    Ok((Outbox { queue: sender, waker: Arc::new(waker) }, Inbox { queue: receiver, woken }))
}

impl<T> Outbox<T> {
    /// Puts `item` into the queue; `false` if the main loop has ended.
    pub(crate) fn post(&self, item: T) -> bool {
        let posted = self.queue.send(item).is_ok();
        // A full pipe is as good as a byte more in it, and a closed one has nobody to wake.
        let _ = (&*self.waker).write(&[0]);
        posted
    }
}

impl<T> Inbox<T> {
    /// All that is in the queue. The descriptor is emptied first: what is posted meanwhile wakes again.
    pub(crate) fn take(&mut self) -> Vec<T> {
        let mut bytes = [0; 64];
        while matches!(self.woken.read(&mut bytes), Ok(count) if count > 0) {}
        self.queue.try_iter().collect()
    }
}

impl<T> AsFd for Inbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}
