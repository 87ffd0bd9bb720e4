//! Binds the listening sockets that the daemon inherits.
use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use crate::config::{Addr, Listener};
use crate::exit::{Code, Failure};

/// Binds `listener`.
///
/// # Errors
/// [`Code::CantCreate`], with what helps if the address is in use.
pub(crate) fn bind(listener: &Listener) -> Result<OwnedFd, Failure> {
    let Listener { name, addr } = listener;
    handoff::bind(&addr.to_string()).map_err(|error| {
        let in_use =
            matches!(&error, handoff::Error::System { source, .. } if source.kind() == ErrorKind::AddrInUse);
        let remedy =
            if in_use { "; a daemon left by an earlier supervisor may hold it: stop that first" } else { "" };
        Failure::new(Code::CantCreate, format!("listener {name:?}: {error}{remedy}"))
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::{UnixListener, UnixStream};

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
