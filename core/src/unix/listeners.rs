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
    /// The names, in the supervisor's order.
    pub fn names(&self) -> Vec<String> {
        todo!()
    }
    /// Takes the TCP listener called `name`.
    pub fn take_tcp(&mut self, name: &str) -> Option<TcpListener> {
        todo!()
    }
    /// Takes the Unix listener called `name`.
    pub fn take_unix(&mut self, name: &str) -> Option<UnixListener> {
        todo!()
    }
    /// Takes whatever is called `name`.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
