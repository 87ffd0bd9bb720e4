//! The daemon's listening sockets, as tokio takes them.
use std::io::{self, ErrorKind};
use std::{net, os::unix::net as unix_net};

use handoff::daemon::{Listener, Listeners};
use tokio::net::{TcpListener, UnixListener};

use crate::listener::ListenerKind;

/// The listeners that the daemon got, by name. None blocks.
#[derive(Debug)]
pub struct AsyncListeners(Listeners);

impl From<Listeners> for AsyncListeners {
    fn from(listeners: Listeners) -> AsyncListeners {
        AsyncListeners(listeners)
    }
}

impl AsyncListeners {
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

    /// Takes the listener called `name`, of either kind.
    pub(crate) fn take(&mut self, name: &str) -> io::Result<ListeningSocket> {
        let tcp = self.0.take_tcp(name).map(ListeningSocket::Tcp);
        let socket = tcp.or_else(|| self.0.take_unix(name).map(ListeningSocket::Unix));
        socket.ok_or_else(|| missing(name))
    }

    /// The listeners as the library has them, for what is not tokio's.
    pub fn std(&mut self) -> &mut Listeners {
        &mut self.0
    }
}

/// A listening socket that the runtime does not watch.
#[derive(Debug)]
pub(crate) enum ListeningSocket {
    Tcp(net::TcpListener),
    Unix(unix_net::UnixListener),
}

impl ListeningSocket {
    /// A duplicate that the runtime watches.
    pub(crate) fn watched(&self) -> io::Result<ListenerKind> {
        Ok(match self {
            ListeningSocket::Tcp(socket) => ListenerKind::Tcp(TcpListener::from_std(socket.try_clone()?)?),
            ListeningSocket::Unix(socket) => ListenerKind::Unix(UnixListener::from_std(socket.try_clone()?)?),
        })
    }
}

impl From<ListeningSocket> for Listener {
    fn from(socket: ListeningSocket) -> Listener {
        match socket {
            ListeningSocket::Tcp(socket) => socket.into(),
            ListeningSocket::Unix(socket) => socket.into(),
        }
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("there is no listener called {name:?} of this kind"))
}
