//! The connections of a daemon: accepted, counted, and drained, so that no client decides how long a handoff takes.
//!
//! `crate::connections` decides. This performs: `shared` has what threads wait for, `connection` moves bytes, `serve` has
//! the threads.
mod arrival;
mod carrier;
mod client_watch;
mod connection;
mod entry;
mod event_loop;
mod inbound;
mod input;
mod lot;
mod outbound;
mod pusher;
mod serve;
mod shared;
mod socket;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use nix::poll::PollFlags;

use crate::error::Result;
use crate::node::daemon::ACCEPT_PAUSE;
use crate::time::Duration;
use crate::unix::context::Context;
use crate::unix::reports::{DrainReport, HookResult};

pub use crate::connections::{Drained, Patience, Remaining};
pub use arrival::Arrival;
pub(crate) use carrier::Carrier;
pub use connection::Connection;
pub use event_loop::{Acceptor, DrainState, EventLoop};
pub(crate) use inbound::Inbound;
pub use pusher::Pusher;
pub use socket::Listener;

use arrival::Welcome;
use connection::LINGER;
use serve::{Attendant, Service};
use shared::Shared;
use socket::{Until, wait};

/// A connection's token: it grows with each connection that a registry accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The numbers of connections, by what they are in the middle of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Accepted, without a first request yet.
    pub new: u32,
    /// Between two requests: idle.
    pub between: u32,
    /// In a request.
    pub in_request: u32,
    /// Ended by the daemon; the client has not closed yet.
    pub lingering: u32,
}

impl From<Drained> for DrainReport {
    fn from(drained: Drained) -> DrainReport {
        DrainReport { open_conns_remaining: drained.left, accept_closed: drained.accept_closed }
    }
}

impl Counts {
    /// Connections that may still get a reply.
    pub fn open(&self) -> u32 {
        self.new + self.between + self.in_request
    }
}

/// The registry of a daemon's connections. It accepts them, knows which is between two requests and which is in one,
/// and drains them:
///
/// - nothing is accepted any more, and the listening sockets stay open: what queues up is the successor's;
/// - a connection between two requests is closed; one that has just been accepted is given
///   [`Patience::first_request`];
/// - a request of which a byte has come is answered, and none after it; it is waited for as long as its client makes
///   progress within [`Patience::stall`], and cut otherwise.
///
/// If the daemon returns the registry from [`Drainable::connections`](crate::Drainable::connections) and a successor takes
/// connections over, a drain keeps them instead, and no client notices: a connection goes on with what was received of a request
/// that is not answered yet, with what could not be sent, and with its [session](Connection::session).
///
/// A daemon with a thread a connection calls [`serve`](Connections::serve), and then [`drain`](Connections::drain) and
/// [`resume`](Connections::resume) in the hooks of the same purpose. One with an event loop serves each [`Connection`] with its
/// methods that never block; its loop runs on a thread of its own, because `drain` blocks the one that it is called on. Such a
/// loop either implements [`EventLoop`], and its connections outlive a swap as well, or it registers the registry's descriptor,
/// calls [`try_accept`](Connections::try_accept), and its connections are drained.
///
/// ```
/// use std::io::{BufRead, Write};
/// use handoff::daemon::{Connection, Connections, HookResult, Patience};
///
/// fn echo(client: &mut Connection) -> HookResult<()> {
///     while client.next_request()? {
///         let mut line = String::new();
///         client.read_line(&mut line)?;
///         client.write_all(line.as_bytes())?;
///     }
///     Ok(())
/// }
///
/// let connections = Connections::new(Patience::default())?;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// listener.set_nonblocking(true)?;
/// connections.serve(listener, echo)?;
/// let drained = connections.drain(std::time::Duration::from_secs(10));
/// assert!(drained.accept_closed && drained.left == 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Drop
/// Dropping the registry ends accepting for good and every connection as a drain does. It waits until the clients that
/// were sent the end of their stream have closed as well, for half a second at most: to exit before that could cut off
/// replies that are still on their way. [`crate::run`] drops its daemon, and so the daemon's registry, before it returns.
#[derive(Debug)]
pub struct Connections {
    shared: Arc<Shared>,
}

impl Connections {
    /// A registry without connections. 1,024 may be open at a time, unless [`limit`](Connections::limit) says otherwise.
    ///
    /// # Errors
    /// Descriptors are exhausted.
    pub fn new(patience: Patience) -> Result<Connections> {
        let shared = Shared::new(patience).context(|| "can't make an event that ends accepting".into())?;
        Ok(Connections { shared: Arc::new(shared) })
    }

    /// Lets `open` connections be open at a time. Further ones wait in the kernel's queue.
    #[must_use]
    pub fn limit(self, open: u32) -> Connections {
        self.shared.set_limit(open);
        self
    }

    /// Calls `welcome` for each connection that comes from another process with a [session](Connection::session), in the
    /// daemon's hook thread, before any connection is served. The first `welcome` that is given counts.
    #[must_use]
    pub fn welcome(self, welcome: impl Fn(&Arrival) + Send + Sync + 'static) -> Connections {
        self.shared.set_welcome(Welcome(Box::new(welcome)));
        self
    }

    /// Accepts on `listener` from now on, except while the daemon drains, and calls `handler` for each connection, on a
    /// thread of the connection's own. When `handler` returns, the connection is [closed](Connection::close). An error
    /// is logged, at the level *debug*; a panic ends the connection only.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn serve(
        &self,
        listener: impl Into<Listener>,
        handler: impl Fn(&mut Connection) -> HookResult<()> + Send + Sync + 'static,
    ) -> Result<()> {
        let listener = checked(listener.into());
        serve::start(self.shared.clone(), listener, Arc::new(handler))
            .context(|| "can't start a thread that accepts".into())
    }

    /// Lets `event_loop` serve the connections of `listener`: those that it accepts with what is returned, and those that it is
    /// given.
    pub fn serve_on(&self, listener: impl Into<Listener>, event_loop: Arc<dyn EventLoop>) -> Acceptor {
        let listener = checked(listener.into());
        self.shared.add(Service::new(&listener, Attendant::Loop(event_loop)));
        Acceptor::new(self.shared.clone(), listener)
    }

    /// Waits for a connection; `None` as soon as the daemon drains. While there are too many connections, or no
    /// descriptors, it waits until that has passed, and logs the latter.
    ///
    /// What is accepted should be served whatever happens: have the thread for it first, as
    /// [`serve`](Connections::serve) does.
    pub fn accept(&self, listener: &Listener) -> Option<Connection> {
        accept(&self.shared, listener)
    }

    /// Accepts a connection if there is one, without waiting; `None` as well while the daemon drains, and while there
    /// are too many connections. An event loop leaves `listener` alone then, until it has closed one.
    ///
    /// # Errors
    /// What `accept(2)` says, such as that descriptors are exhausted. It may pass.
    pub fn try_accept(&self, listener: &Listener) -> io::Result<Option<Connection>> {
        match self.shared.accept(listener) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            accepted => Ok(accepted?.map(|accepted| Connection::new(accepted, self.shared.clone()))),
        }
    }

    /// Drains: returns when no connection is left, or after `grace`. [`Connections`] says what becomes of which
    /// connection. Nothing is accepted until [`resume`](Connections::resume). A second drain without that waits for the
    /// connections that the first has left.
    pub fn drain(&self, grace: Duration) -> Drained {
        let drained = self.shared.drain(grace);
        if drained.cut > 0 {
            tracing::warn!(
                target: "handoff.drain",
                cut = drained.cut,
                stall = ?self.shared.patience.stall,
                "cut connections that made no progress"
            );
        }
        drained
    }

    /// Accepts again after a drain; does nothing without one. A connection that the drain has left still ends after its
    /// request.
    pub fn resume(&self) {
        self.shared.resume();
    }

    /// Returns whether the daemon drains, or has drained and not resumed.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    /// Lets the connections outlive this process: they go to the successor that listens beside `control`.
    pub(crate) fn carrier(&self, control: &Path) -> Result<Carrier> {
        Carrier::new(self.shared.clone(), control.to_path_buf())
    }

    /// Returns how many connections there are now.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }
}

impl AsFd for Connections {
    /// Becomes readable when a drain begins, and stays so until the daemon resumes. Only to be waited for.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.stop.as_fd()
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.shared.close();
        self.shared.wait_for_lingering(LINGER);
    }
}

/// A listener, about which a daemon's author hears if it blocks.
fn checked(listener: Listener) -> Listener {
    if listener.blocks() {
        tracing::warn!(
            target: "handoff.connections",
            "a listening socket blocks, so a drain may not end accepting: set O_NONBLOCK where it is bound"
        );
    }
    listener
}

fn accept(shared: &Arc<Shared>, listener: &Listener) -> Option<Connection> {
    let mut in_trouble = false;
    while shared.wait_for_room() {
        wait(listener, PollFlags::POLLIN, Until::Stop(shared.stop.as_fd()));
        match shared.accept(listener) {
            Ok(Some(accepted)) => return Some(Connection::new(accepted, shared.clone())),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                if !in_trouble {
                    tracing::warn!(target: "handoff.connections", %error, "can't accept for now");
                }
                in_trouble = true;
                shared.rest(ACCEPT_PAUSE);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_reports_what_a_drain_has_left() {
        let drained = Drained { idle: 1, left: 3, accept_closed: true, ..Drained::default() };
        let report = DrainReport { open_conns_remaining: 3, accept_closed: true };
        assert_eq!(DrainReport::from(drained), report);
    }
}
