//! The listening sockets that a process was given, by name.
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

/// Listening sockets by name, in the supervisor's order. `O_NONBLOCK` lives on the open file description that
/// all processes share: leave it as it is (`poll(2)` before `accept(2)`, and expect `EWOULDBLOCK`).
#[derive(Debug, Default)]
pub struct Listeners {
    entries: Vec<(String, OwnedFd)>,
}

impl Listeners {
    /// Listeners made of sockets that the caller has; for those who call a daemon's hooks themselves.
    pub fn from_entries(entries: Vec<(String, OwnedFd)>) -> Listeners {
        Listeners { entries }
    }

    /// The names, in the supervisor's order.
    pub fn names(&self) -> Vec<String> {
        self.entries.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Takes the TCP listener called `name`.
    pub fn take_tcp(&mut self, name: &str) -> Option<TcpListener> {
        self.take(name).map(TcpListener::from)
    }

    /// Takes the Unix listener called `name`.
    pub fn take_unix(&mut self, name: &str) -> Option<UnixListener> {
        self.take(name).map(UnixListener::from)
    }

    /// Takes whatever is called `name`.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.entries.iter().position(|(other, _)| other == name)?;
        Some(self.entries.remove(at).1)
    }

    /// Whether all have been taken.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
