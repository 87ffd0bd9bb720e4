//! The listener that a server of another library accepts on.
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};

use crate::gate::AcceptGate;
use crate::stream::{AsyncStream, StreamKind};

#[derive(Debug)]
pub(crate) enum ListenerKind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A listening socket of TCP or Unix that accepts nothing once a drain has begun: what queues up is the successor's.
#[derive(Debug)]
pub struct AsyncListener {
    socket: ListenerKind,
    gate: Arc<AcceptGate>,
}

impl AsyncListener {
    pub(crate) fn new(socket: ListenerKind, gate: Arc<AcceptGate>) -> AsyncListener {
        AsyncListener { socket, gate }
    }

    /// Accepts a connection, and returns it with the client's address if that is one of TCP. Never returns in a drain. To cancel
    /// it loses nothing.
    ///
    /// # Errors
    /// What `accept(2)` says, such as that descriptors are exhausted. It may pass.
    pub async fn accept(&mut self) -> io::Result<(AsyncStream, Option<SocketAddr>)> {
        poll_fn(|context| {
            self.gate.pass(|| match &self.socket {
                ListenerKind::Tcp(listener) => listener.poll_accept(context).map_ok(|(stream, address)| {
                    // A connection that has gone meanwhile says so when it is read.
                    let _ = stream.set_nodelay(true);
                    (StreamKind::Tcp(stream), Some(address))
                }),
                ListenerKind::Unix(listener) => {
                    listener.poll_accept(context).map_ok(|(stream, _)| (StreamKind::Unix(stream), None))
                }
            })
        })
        .await
        .map(|((stream, address), number)| (AsyncStream::new(stream, self.gate.clone(), number), address))
    }

    /// Waits until the server is to shut down gracefully: accepting has ended, and what was accepted last has sent the first byte
    /// of its first request, or had its time to.
    pub fn drained(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.gate.ended()
    }

    /// The address at which it listens, if it is one of TCP.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        match &self.socket {
            ListenerKind::Tcp(listener) => listener.local_addr().map(Some),
            ListenerKind::Unix(_) => Ok(None),
        }
    }
}
