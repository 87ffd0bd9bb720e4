//! The use that a supervisor makes of what it finds: the listening sockets of a daemon that runs already,
//! beside the configuration as it is by now.
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use handoff::node::keeper::ADDRESS_WAIT;
use handoff::{Listeners, Supervisor};

use crate::config::{Addr, Config, ListenerConfig};
use crate::exit::CommandFailure;
use crate::listen;
use crate::protocol::RecoveryReport;

/// Lets successors inherit what the configuration lists: what was taken from a daemon as it is, else what the service manager has
/// passed to this process (`inherited`), and the rest opened. What can't be applied is said in `report`.
///
/// # Errors
/// A listener can't be opened, and no daemon serves meanwhile.
pub(crate) fn reconcile(
    supervisor: &Supervisor,
    config: &Config,
    mut inherited: Listeners,
    report: &mut RecoveryReport,
) -> Result<(), CommandFailure> {
    let mut held = supervisor.listeners()?;
    let mut entries = Vec::new();
    // A daemon that serves goes without a listener, and nothing waits for it; without a daemon the supervisor would have to leave.
    let wait = if report.pid.is_none() { ADDRESS_WAIT } else { Duration::ZERO };
    let limit = Instant::now() + wait;
    for listener in &config.listeners {
        let ListenerConfig { name, addr, .. } = listener;
        // A daemon's may be among those that are inherited, too.
        let passed = take(&mut inherited, listener);
        if let Some(fd) = take(&mut held, listener).or(passed) {
            let differences = handoff::unix::differences(&fd, &addr.to_string(), &listener.options);
            let say = |differs| format!("listener {name:?} was taken over as it is; {differs}");
            report.warnings.extend(differences.into_iter().map(say));
            entries.push((name.clone(), fd));
            report.listeners_taken.push(name.clone());
            continue;
        }
        let elsewhere = held.address(name);
        match (listen::bind_by(listener, limit), elsewhere) {
            (Ok(fd), elsewhere) => {
                tracing::info!(name, %addr, "listening");
                report.listeners_opened.push(name.clone());
                entries.push((name.clone(), fd));
                if let Some(old) = elsewhere {
                    drop(held.take(name));
                    report.warnings.push(if is_at(&old, addr) {
                        format!(
                            "the path of listener {name:?}, {addr}, was removed or replaced: it was made anew, and is \
                             served once the daemon is swapped"
                        )
                    } else {
                        format!(
                            "listener {name:?} has moved: the daemon serves {old} until it is swapped, and {addr} from \
                             then on"
                        )
                    });
                }
            }
            (Err(failure), Some(old)) => {
                entries.extend(held.take(name).map(|fd| (name.clone(), fd)));
                report.listeners_taken.push(name.clone());
                report.warnings.push(format!("{failure}; it stays at {old}"));
            }
            (Err(failure), None) if report.pid.is_some() => {
                report
                    .warnings
                    .push(format!("{failure}; swaps go without it until the supervisor is restarted"));
            }
            (Err(failure), None) => return Err(failure),
        }
    }
    report.warnings.extend(held.names().into_iter().map(|name| {
        format!(
            "listener {name:?} is not in the configuration any more: it is closed when the daemon is swapped"
        )
    }));
    report.warnings.extend(inherited.names().into_iter().map(|name| {
        let addr = inherited.address(&name).unwrap_or_default();
        format!("the service manager passes a socket {name:?} at {addr}: no listener of the configuration has that address")
    }));
    Ok(supervisor.set_listeners(Listeners::from_entries(entries)?)?)
}

/// The socket of `listener`, if it is among `held` and clients reach it.
fn take(held: &mut Listeners, listener: &ListenerConfig) -> Option<OwnedFd> {
    let held_as = find(held, listener).filter(|held_as| held.is_reached(held_as))?;
    held.take(&held_as)
}

/// Opens the Unix listeners anew whose paths were removed, so that the next daemon serves them: what clients can't reach is of no
/// use. What is to be said of it.
pub(crate) fn renew(supervisor: &Supervisor, config: &Config) -> handoff::Result<Vec<String>> {
    let is_lost = |listener: &&ListenerConfig| {
        let Addr::Unix(path) = &listener.addr else { return false };
        matches!(path.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound)
    };
    let mut lost = config.listeners.iter().filter(is_lost).peekable();
    if lost.peek().is_none() {
        return Ok(Vec::new());
    }
    let mut entries = supervisor.listeners()?.into_entries();
    let mut said = Vec::new();
    for listener in lost {
        let ListenerConfig { name, addr, .. } = listener;
        let Some((_, held)) = entries.iter_mut().find(|(held, _)| held == name) else { continue };
        said.push(match listen::bind(listener) {
            Ok(fd) => {
                *held = fd;
                format!("the path of listener {name:?}, {addr}, was removed: it was made anew")
            }
            Err(failure) => format!("the path of listener {name:?}, {addr}, was removed: {failure}"),
        });
    }
    supervisor.set_listeners(Listeners::from_entries(entries)?)?;
    Ok(said)
}

/// The name under which the daemon has `listener`: its own, or that of another at the same address.
fn find(held: &Listeners, listener: &ListenerConfig) -> Option<String> {
    let is_there = |name: &String| held.address(name).is_some_and(|addr| is_at(&addr, &listener.addr));
    let names = held.names();
    let own = names.iter().find(|name| **name == listener.name && is_there(name));
    // Any free port is no address that another name could be known by.
    let fixed = !matches!(listener.addr, Addr::Tcp(addr) if addr.port() == 0);
    own.or_else(|| names.iter().find(|name| fixed && is_there(name))).cloned()
}

fn is_at(held: &str, wanted: &Addr) -> bool {
    match wanted {
        Addr::Tcp(wanted) if wanted.port() == 0 => {
            held.parse::<std::net::SocketAddr>().is_ok_and(|held| held.ip() == wanted.ip())
        }
        wanted => held == wanted.to_string(),
    }
}
