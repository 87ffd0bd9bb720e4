//! Listening sockets and connected ones, of TCP or Unix.
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};

use crate::time::Duration;
use crate::unix::again::uninterrupted;
use crate::unix::poller::wait_for;

/// A listening socket, of TCP or Unix. It must not block: the library and the supervisor bind such ones, and every
/// process that shares one leaves its flags alone.
#[derive(Debug)]
pub struct Listener(SocketKind);

#[derive(Debug)]
enum SocketKind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Listener {
        Listener(SocketKind::Tcp(listener))
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Listener {
        Listener(SocketKind::Unix(listener))
    }
}

impl AsFd for Listener {
    /// Readable when there is a connection to accept.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            SocketKind::Tcp(listener) => listener.as_fd(),
            SocketKind::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Listener {
    /// Accepts a connection, which does not block and, with TCP, sends each reply as it is written.
    pub(super) fn accept(&self) -> io::Result<Socket> {
        loop {
            match self.accept_once() {
                // The client has given up; another may wait behind it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                accepted => return accepted,
            }
        }
    }

    fn accept_once(&self) -> io::Result<Socket> {
        match &self.0 {
            SocketKind::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }),
            SocketKind::Unix(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok(Socket::Unix(stream))
            }),
        }
    }

    /// Returns where it listens, if the system tells.
    pub(super) fn local(&self) -> Option<Address> {
        match &self.0 {
            SocketKind::Tcp(listener) => listener.local_addr().ok().map(Address::Tcp),
            SocketKind::Unix(listener) => listener.local_addr().ok().map(Address::unix),
        }
    }

    pub(super) fn blocks(&self) -> bool {
        fcntl(self.as_fd(), FcntlArg::F_GETFL)
            .is_ok_and(|flags| !OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK))
    }
}

/// A local address, of a listener or of a connection that was accepted there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(SocketAddr),
    /// The path, or the abstract name.
    Unix(Option<PathBuf>, Option<Vec<u8>>),
}

impl Address {
    fn unix(address: std::os::unix::net::SocketAddr) -> Address {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let name = std::os::linux::net::SocketAddrExt::as_abstract_name(&address).map(<[u8]>::to_vec);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let name = None;
        Address::Unix(address.as_pathname().map(PathBuf::from), name)
    }

    /// Returns whether a listener here, at all addresses of the machine, accepts connections at `other`.
    pub(super) fn includes(&self, other: &Address) -> bool {
        match (self, other) {
            (Address::Tcp(here), Address::Tcp(there)) => {
                here.ip().is_unspecified() && here.port() == there.port()
            }
            _ => false,
        }
    }
}

/// A connected socket that does not block.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// A socket that another process has accepted.
    ///
    /// # Errors
    /// It is no stream socket of TCP or Unix.
    pub(super) fn received(fd: OwnedFd) -> io::Result<Socket> {
        let is_stream =
            getsockopt(&fd, sockopt::SockType)? == SockType::Stream && !getsockopt(&fd, sockopt::AcceptConn)?;
        let family = getsockname::<SockaddrStorage>(fd.as_raw_fd())?.family();
        match family {
            Some(AddressFamily::Inet | AddressFamily::Inet6) if is_stream => Ok(Socket::Tcp(fd.into())),
            Some(AddressFamily::Unix) if is_stream => Ok(Socket::Unix(fd.into())),
            _ => Err(io::Error::other("a descriptor is not that of a connection of TCP or Unix")),
        }
    }

    /// Its local address, if the system tells: that of the listener that it was accepted at.
    pub(super) fn local(&self) -> Option<Address> {
        match self {
            Socket::Tcp(stream) => stream.local_addr().ok().map(Address::Tcp),
            Socket::Unix(stream) => stream.local_addr().ok().map(Address::unix),
        }
    }

    pub(super) fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| match self {
            Socket::Tcp(stream) => (&*stream).read(bytes),
            Socket::Unix(stream) => (&*stream).read(bytes),
        })
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| match self {
            Socket::Tcp(stream) => (&*stream).write(bytes),
            Socket::Unix(stream) => (&*stream).write(bytes),
        })
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        // It fails if the client is gone, and then there is nothing to shut down.
        let _ = match self {
            Socket::Tcp(stream) => stream.shutdown(how),
            Socket::Unix(stream) => stream.shutdown(how),
        };
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

/// The aim of a wait, besides the socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until<'a> {
    /// The drain.
    Stop(BorrowedFd<'a>),
    /// The time.
    Passed(Duration),
}

/// Waits until `socket` is worth a look for `flags`, or for `until`; may also return for nothing.
pub(super) fn wait(socket: &impl AsFd, flags: PollFlags, until: Until<'_>) {
    let socket = PollFd::new(socket.as_fd(), flags);
    match until {
        Until::Stop(stop) => wait_for(&mut [socket, PollFd::new(stop, PollFlags::POLLIN)], None),
        Until::Passed(time) => wait_for(&mut [socket], Some(time)),
    }
}
