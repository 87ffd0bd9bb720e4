//! Binds the listening sockets that the daemon inherits.
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::socket::{Backlog, listen};

use crate::config::{Addr, Listener};
use crate::exit::{Code, Failure};

/// Binds `listener`.
///
/// # Errors
/// [`Code::CantCreate`], with what helps if the address is in use.
pub(crate) fn bind(listener: &Listener) -> Result<OwnedFd, Failure> {
    let bound = match &listener.addr {
        Addr::Tcp(addr) => TcpListener::bind(addr).map(OwnedFd::from),
        Addr::Unix(path) => bind_unix(path).map(OwnedFd::from),
    };
    // As long a queue as the system allows: during a swap connections wait in it.
    let bound = bound.and_then(|socket| Ok(listen(&socket, Backlog::MAXCONN).map(|()| socket)?));
    bound.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; a daemon left by an earlier supervisor may hold it: stop that first"
            }
            _ => "",
        };
        let Listener { name, addr } = listener;
        Failure::new(Code::CantCreate, format!("listener {name:?}: {addr}: {error}{remedy}"))
    })
}

/// Removes the paths of Unix listeners, once nobody listens any more.
pub(crate) fn unlink(listeners: &[Listener]) {
    for listener in listeners {
        if let Addr::Unix(path) = &listener.addr
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!("{}: {error}", path.display());
        }
    }
}

/// A socket that nobody listens on any more is replaced, a living one is not.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).is_err_and(refused) {
        fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_unix_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = Listener { name: "s".into(), addr: Addr::Unix(path.clone()) };

        drop(UnixListener::bind(&path).unwrap());
        let alive = bind(&listener).unwrap();
        assert!(UnixStream::connect(&path).is_ok());

        let failure = bind(&listener).unwrap_err();
        assert_eq!(failure.code, Code::CantCreate);
        assert!(failure.message.contains("stop that first"), "{failure}");
        drop(alive);
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(bind(&Listener { name: "s".into(), addr: Addr::Unix(path.clone()) }).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }

    #[test]
    fn an_address_in_use_names_the_listener() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = Addr::Tcp(taken.local_addr().unwrap());
        let failure = bind(&Listener { name: "resp".into(), addr }).unwrap_err();
        assert!(failure.message.contains("\"resp\""), "{failure}");
    }
}
