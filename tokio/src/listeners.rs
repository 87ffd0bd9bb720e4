//! The daemon's listening sockets, as tokio takes them.
use std::io::{self, ErrorKind};

use handoff::daemon::Listeners;
use tokio::net::{TcpListener, UnixListener};

/// The listeners that the daemon got, by name. None blocks.
#[derive(Debug)]
pub struct AsyncListeners(Listeners);

impl AsyncListeners {
    pub(crate) fn new(listeners: Listeners) -> AsyncListeners {
        AsyncListeners(listeners)
    }

    /// Takes the TCP listener called `name`.
    ///
    /// # Errors
    /// There is none of this name and kind, or the runtime can't watch one more socket.
    pub fn tcp(&mut self, name: &str) -> io::Result<TcpListener> {
        self.0.take_tcp(name).ok_or_else(|| missing(name)).and_then(TcpListener::from_std)
    }

    /// Takes the Unix listener called `name`.
    ///
    /// # Errors
    /// As [`AsyncListeners::tcp`].
    pub fn unix(&mut self, name: &str) -> io::Result<UnixListener> {
        self.0.take_unix(name).ok_or_else(|| missing(name)).and_then(UnixListener::from_std)
    }

    /// The listeners as the library has them, for what is not tokio's.
    pub fn std(&mut self) -> &mut Listeners {
        &mut self.0
    }
}

pub(crate) fn missing(name: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("there is no listener called {name:?} of this kind"))
}
