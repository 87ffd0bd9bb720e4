//! Binds the listening sockets that the daemon inherits.
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use handoff::{Listeners, Supervisor};

use crate::config::ListenerConfig;
use crate::exit::{Code, CommandFailure};
use crate::protocol::ListenerReport;

/// After so long an address that is in use is tried again.
const IN_USE_PAUSE: Duration = Duration::from_millis(20);

/// Binds `listener`.
///
/// # Errors
/// [`Code::CantCreate`], with what helps if the address is in use.
pub(crate) fn bind(listener: &ListenerConfig) -> Result<OwnedFd, CommandFailure> {
    bind_by(listener, Instant::now())
}

/// Binds `listener`; waits until `limit` while its address is in use.
///
/// # Errors
/// As [`bind`].
pub(crate) fn bind_by(listener: &ListenerConfig, limit: Instant) -> Result<OwnedFd, CommandFailure> {
    let ListenerConfig { name, addr, options } = listener;
    let addr = addr.to_string();
    let bound = loop {
        match handoff::bind_with(&addr, options) {
            Err(error) if is_in_use(&error) && Instant::now() < limit => thread::sleep(IN_USE_PAUSE),
            bound => break bound,
        }
    };
    bound.map_err(|error| {
        let remedy = if is_in_use(&error) { IN_USE_REMEDY } else { "" };
        CommandFailure::new(Code::CantCreate, format!("listener {name:?}: {error}{remedy}"))
    })
}

fn is_in_use(error: &handoff::Error) -> bool {
    matches!(error, handoff::Error::System { source, .. } if source.kind() == ErrorKind::AddrInUse)
}

/// The advice that helps where another process has the address.
const IN_USE_REMEDY: &str = "; `ss -lpnt` (`ss -lpnx` for Unix sockets) names the process that has it: stop that first; if it is \
                             systemd, let the .socket unit pass it to this service (`Sockets=`), or disable that unit";

/// Returns what daemons inherit. Not to be called while something is under way: the library does not say
/// then, and what begins at that very moment would be refused.
pub(crate) fn report(supervisor: &Supervisor) -> Vec<ListenerReport> {
    let listeners = supervisor.listeners().unwrap_or_default();
    let addr = |name: &str| listeners.address(name).map(Into::into);
    listeners.names().into_iter().map(|name| ListenerReport { addr: addr(&name), name }).collect()
}

/// Removes the paths of Unix listeners, unless they lead to another's by now.
pub(crate) fn unlink(listeners: &Listeners) {
    for error in listeners.names().iter().filter_map(|name| listeners.remove_path(name).err()) {
        tracing::warn!("{error}");
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::config::Addr;
    use handoff::BindOptions;
    use std::fs;

    fn listener(name: &str, addr: Addr) -> ListenerConfig {
        ListenerConfig { name: name.into(), addr, options: BindOptions::default() }
    }

    #[test]
    fn a_dead_unix_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = listener("s", Addr::Unix(path.clone()));

        drop(UnixListener::bind(&path).unwrap());
        let alive = bind(&listener).unwrap();
        assert!(UnixStream::connect(&path).is_ok());

        let failure = bind(&listener).unwrap_err();
        assert_eq!(failure.code, Code::CantCreate);
        assert!(failure.message.contains("stop that first"), "{failure}");
        drop(alive);
    }

    #[test]
    fn a_path_that_is_anothers_by_now_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let addr = Addr::Unix(path.clone());
        let ours = bind(&listener("s", addr)).unwrap();
        let listeners = Listeners::from_entries(vec![("s".into(), ours)]).unwrap();
        assert!(listeners.is_reached("s"));
        fs::remove_file(&path).unwrap();
        assert!(!listeners.is_reached("s"), "it was removed");
        // The kernel tells sockets apart by the process that listens.
        let script = "import socket,sys,time; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); \
                      print(flush=True); time.sleep(60)";
        let mut other = std::process::Command::new("python3");
        let other = other.args(["-c", script]).arg(&path).stdout(std::process::Stdio::piped()).spawn();
        let Ok(mut other) = other else {
            return eprintln!("skipped: another process is to listen, by python3");
        };
        std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        assert!(!listeners.is_reached("s"), "another process listens there");
        unlink(&listeners);
        assert!(path.exists());
        other.kill().unwrap();
        other.wait().unwrap();
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(bind(&listener("s", Addr::Unix(path.clone()))).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }

    #[test]
    fn an_address_in_use_names_the_listener() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = Addr::Tcp(taken.local_addr().unwrap());
        let failure = bind(&listener("resp", addr)).unwrap_err();
        assert!(failure.message.contains("\"resp\""), "{failure}");
    }
}
