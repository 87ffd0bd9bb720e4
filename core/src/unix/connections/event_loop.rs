//! Connections that an event loop of the daemon's serves, and no thread of the registry's.
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::connection::Connection;
use super::shared::Shared;
use super::socket::Listener;

/// The treatment of the open connections by a drain, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DrainState {
    /// No drain is under way: the registry accepts.
    NoDrain,
    /// A drain keeps the connections for a successor: each that is in a request is to be asked again, now and every few
    /// milliseconds; each between two requests is left alone.
    Keeps,
    /// A drain ends the connections: each is to be asked again, now and every few milliseconds.
    Ends,
    /// The daemon has let go of its registry: as a drain, and nothing is accepted ever again.
    Closed,
}

/// The event loop that serves the connections of a listener instead of threads. Both calls come from threads
/// of the registry's or the daemon's, the second one under the registry's lock: neither may block or call the
/// registry.
pub trait EventLoop: Send + Sync {
    /// Serves a connection that the loop has not accepted itself: another process has, or the loop gave it up in a drain that kept
    /// it. First of all what waits for its client is to be sent ([`Connection::try_flush`]).
    fn take(&self, connection: Connection);

    /// Tells whether there is a drain from now on. Called once when the loop begins to serve, and at each change.
    fn turn(&self, drain_state: DrainState);
}

/// A listener whose connections an event loop serves. It keeps no registry from being dropped.
#[derive(Debug)]
pub struct Acceptor {
    shared: Arc<Shared>,
    listener: Listener,
}

impl Acceptor {
    pub(super) fn new(shared: Arc<Shared>, listener: Listener) -> Acceptor {
        Acceptor { shared, listener }
    }

    /// Accepts a connection, without waiting. `None` if none is accepted now: because of a drain, or because there are too many.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if no client waits; otherwise what `accept(2)` says, such as that descriptors are
    /// exhausted. It may pass.
    pub fn try_accept(&self) -> io::Result<Option<Connection>> {
        Ok(self.shared.accept(&self.listener)?.map(|accepted| Connection::new(accepted, self.shared.clone())))
    }
}

impl AsFd for Acceptor {
    /// The listener: readable when there is a connection to accept.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl fmt::Debug for dyn EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").finish_non_exhaustive()
    }
}
