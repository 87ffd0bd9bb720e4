//! The listening sockets that a process was given, by name.
use std::env;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, UnixAddr, getsockname, getsockopt, sockopt,
};

use crate::bounds;
use crate::error::{Error, Result};
use crate::unix::bind::{connect_unix, set_close_on_exec, set_nonblocking};
use crate::unix::context::Context;
use crate::unix::control::peer;
use crate::unix::env::{FIRST_FD, LISTEN_FDNAMES, LISTEN_FDS, adopt, is_for_us, look_at};
use crate::unix::spawn::check_names;

/// Listening sockets by name, in the supervisor's order. All of them are non-blocking, be they made by this library,
/// by systemd or by the caller. `O_NONBLOCK` belongs to the open file description, which all processes share (`open(2)`): leave
/// it as it is, call `poll(2)` before `accept(2)`, and expect `EWOULDBLOCK`.
#[derive(Debug, Default)]
pub struct Listeners {
    entries: Vec<(String, OwnedFd)>,
}

impl Listeners {
    /// Takes the listeners that this process inherited, by systemd's protocol (`sd_listen_fds(3)`); none, if none
    /// are meant for it. Each becomes non-blocking, and gets its close-on-exec flag back. To be called once in the
    /// life of a process: the descriptors have an owner then.
    ///
    /// A descriptor that is no listening stream socket of TCP or Unix (a datagram socket, a FIFO) can't be handed from
    /// process to process here. It is left out with a warning in the log, and left where it is for the caller to take.
    ///
    /// # Errors
    /// [`Error::Caller`] if the variables contradict themselves, a descriptor is not open, or this has been called before.
    /// Nothing has been taken or changed then.
    pub fn from_env() -> Result<Listeners> {
        static TAKEN: AtomicBool = AtomicBool::new(false);

        if !is_for_us() {
            return Ok(Listeners::default());
        }
        let (count, names) = (env::var(LISTEN_FDS).ok(), env::var(LISTEN_FDNAMES).ok());
        let names = parse(count.as_deref(), names.as_deref())?;
        let mut inherited = Vec::new();
        for (fd, name) in (FIRST_FD..).zip(names) {
            let complaint = look_at_inherited(fd, &name)?;
            inherited.push((name, fd, complaint));
        }
        if TAKEN.swap(true, Ordering::Relaxed) {
            return Err(Error::Caller("the inherited listeners have been taken already".into()));
        }
        let mut entries = Vec::new();
        for (name, fd, complaint) in inherited {
            set_close_on_exec(&look_at(fd).context(|| "an inherited descriptor is gone".into())?)
                .context(|| format!("can't keep listener {name:?} from children"))?;
            match complaint {
                None => entries.push((name, adopt(fd))),
                Some(complaint) => tracing::warn!(
                    target: "handoff.listeners",
                    "inherited descriptor {fd}, called {name:?}, is left out: it {complaint}"
                ),
            }
        }
        Listeners::non_blocking(entries)
    }

    /// Those of `entries`, none of which blocks from now on.
    fn non_blocking(entries: Vec<(String, OwnedFd)>) -> Result<Listeners> {
        for (name, fd) in &entries {
            set_nonblocking(fd).context(|| format!("can't make listener {name:?} non-blocking"))?;
        }
        Ok(Listeners { entries })
    }

    /// Gathers listeners that this process opened itself, each with its name; they become non-blocking.
    ///
    /// # Errors
    /// [`Error::Caller`] for names that a successor could not be given (see
    /// [`crate::unix::spawn::SpawnRequest`]), [`Error::System`] if a descriptor refuses its flag.
    pub fn from_entries(entries: Vec<(String, OwnedFd)>) -> Result<Listeners> {
        check_names(&entries)?;
        Listeners::non_blocking(entries)
    }

    /// Adds one, as the last.
    ///
    /// # Errors
    /// As [`Listeners::from_entries`].
    pub(crate) fn push(&mut self, name: String, listener: OwnedFd) -> Result<()> {
        let mut added = Listeners::non_blocking(vec![(name, listener)])?;
        self.entries.append(&mut added.entries);
        let checked = check_names(&self.entries);
        if checked.is_err() {
            // Those that were there stay.
            self.entries.pop();
        }
        checked
    }

    /// Joins `lots`, in their order. Nothing is asked of the system, so only names can be at fault.
    ///
    /// # Errors
    /// [`Error::Caller`] for a name that is there twice, or too many of them.
    pub(crate) fn joined(lots: impl IntoIterator<Item = Listeners>) -> Result<Listeners> {
        let entries: Vec<_> = lots.into_iter().flat_map(Listeners::into_entries).collect();
        check_names(&entries)?;
        Ok(Listeners { entries })
    }

    /// Each with its name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &OwnedFd)> {
        self.entries.iter().map(|(name, fd)| (name.as_str(), fd))
    }

    /// Returns what a peer sent: descriptors, by name.
    ///
    /// # Errors
    /// There are more or fewer of one than of the other, a name can't be passed on, or a descriptor is no listening
    /// socket. All are closed then.
    pub(crate) fn received(names: &[String], fds: Vec<OwnedFd>) -> Result<Listeners> {
        let (count, expected) = (fds.len(), names.len());
        if count != expected {
            return Err(Error::Peer(format!("{count} descriptors came for {expected} listeners")));
        }
        for (name, fd) in names.iter().zip(&fds) {
            if let Some(complaint) = complaint(listener_fault(fd)) {
                return Err(Error::Peer(format!("the descriptor for listener {name:?} {complaint}")));
            }
        }
        Listeners::from_entries(names.iter().cloned().zip(fds).collect())
    }

    /// Duplicates all of them: the same sockets under other descriptors.
    ///
    /// # Errors
    /// [`Error::System`] if descriptors are exhausted.
    pub fn try_clone(&self) -> Result<Listeners> {
        let copies = self.entries.iter().map(|(name, fd)| Ok((name.clone(), fd.try_clone()?)));
        let entries =
            copies.collect::<std::io::Result<_>>().context(|| "can't duplicate a listener".into())?;
        Ok(Listeners { entries })
    }

    /// The address at which the listener called `name` is bound, as [`bind`](crate::unix::bind()) takes it; `None` if there is
    /// no such listener, or it has no name (`unix(7)`).
    pub fn address(&self, name: &str) -> Option<String> {
        let (_, fd) = self.entries.iter().find(|(entry, _)| entry == name)?;
        let address: SockaddrStorage = getsockname(fd.as_raw_fd()).ok()?;
        match address.family()? {
            AddressFamily::Unix => name_of(address.as_unix_addr()?),
            _ => Some(address.to_string()),
        }
    }

    /// Returns whether clients still reach the listener called `name` at its address: the path of a Unix
    /// socket may have been removed, or be another's by now. Connects there once, if it is a path. A TCP or
    /// abstract address is always reached.
    pub fn is_reached(&self, name: &str) -> bool {
        let Some((_, fd)) = self.entries.iter().find(|(entry, _)| entry == name) else { return false };
        match getsockname::<SockaddrStorage>(fd.as_raw_fd())
            .ok()
            .as_ref()
            .and_then(|address| address.as_unix_addr())
        {
            Some(address) => address.path().is_none_or(|path| leads_to(path, fd)),
            None => true,
        }
    }

    /// Removes the path of the Unix listener called `name`, if clients still reach it there.
    ///
    /// # Errors
    /// [`Error::System`] if it can't be removed.
    pub fn remove_path(&self, name: &str) -> Result<()> {
        let path = self.address(name).and_then(|address| address.strip_prefix("unix:").map(PathBuf::from));
        // A name without a path goes with its last socket.
        match path.filter(|path| !is_abstract(path) && self.is_reached(name)) {
            Some(path) => std::fs::remove_file(&path).context(|| format!("can't remove {}", path.display())),
            None => Ok(()),
        }
    }

    /// Gives up the listeners themselves, with their names.
    pub fn into_entries(self) -> Vec<(String, OwnedFd)> {
        self.entries
    }

    /// The names, in the supervisor's order.
    pub fn names(&self) -> Vec<String> {
        self.entries.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Takes the TCP listener called `name`; `None` if there is none, or if it is no TCP listener.
    pub fn take_tcp(&mut self, name: &str) -> Option<TcpListener> {
        self.take_if(name, |family| matches!(family, Some(AddressFamily::Inet | AddressFamily::Inet6)))
            .map(TcpListener::from)
    }

    /// Takes the Unix listener called `name`; `None` if there is none, or if it is no Unix listener.
    pub fn take_unix(&mut self, name: &str) -> Option<UnixListener> {
        self.take_if(name, |family| family == Some(AddressFamily::Unix)).map(UnixListener::from)
    }

    /// Takes the listener called `name`, of either kind; `None` if there is none.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.take_if(name, |_| true)
    }

    /// Returns whether nothing is left to take.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn take_if(&mut self, name: &str, wanted: impl Fn(Option<AddressFamily>) -> bool) -> Option<OwnedFd> {
        let at = self.entries.iter().position(|(entry, fd)| entry == name && wanted(family_of(fd)))?;
        Some(self.entries.remove(at).1)
    }
}

/// Returns whether `path` leads to `listener`: the kernel names the process that began to listen at each, and
/// says no more if that was the same one.
fn leads_to(path: &Path, listener: &OwnedFd) -> bool {
    let Ok(socket) = connect_unix(path) else { return false };
    let (here, there) = (UnixStream::from(socket), listener.try_clone().map(UnixStream::from));
    match (peer(&here), there.and_then(|there| peer(&there))) {
        (Ok(here), Ok(there)) => here == there,
        _ => false,
    }
}

/// The address of a Unix socket, as `bind` takes it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn name_of(address: &UnixAddr) -> Option<String> {
    match address.as_abstract() {
        Some(name) => Some(format!("unix:@{}", String::from_utf8_lossy(name))),
        None => Some(format!("unix:{}", address.path()?.display())),
    }
}

/// The address of a Unix socket, as `bind` takes it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn name_of(address: &UnixAddr) -> Option<String> {
    Some(format!("unix:{}", address.path()?.display()))
}

/// Returns whether this is the name of an abstract socket, which is in no directory.
fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(b"@")
}

/// The names, as many as there are descriptors.
fn parse(count: Option<&str>, names: Option<&str>) -> Result<Vec<String>> {
    let Some(count) = count else { return Ok(Vec::new()) };
    let count = count
        .parse()
        .ok()
        .filter(|count: &RawFd| (0..=bounds::LISTENERS as RawFd).contains(count))
        .ok_or_else(|| Error::Caller(format!("{LISTEN_FDS}={count} is no number of descriptors")))?
        as usize;
    let names: Vec<String> = match names {
        _ if count == 0 => Vec::new(),
        Some(names) => names.split(':').map(String::from).collect(),
        // What systemd calls them, of which it takes one: bounded by what is open, so look before allocating.
        None => {
            (FIRST_FD..).take(count).take_while(|fd| look_at(*fd).is_ok()).map(|_| "unknown".into()).collect()
        }
    };
    if names.len() != count {
        let named = names.len();
        return Err(Error::Caller(format!(
            "{LISTEN_FDS} says {count} descriptors, but {named} are open and named"
        )));
    }
    Ok(names)
}

/// Returns what keeps the open descriptor `fd` from being a listener, in words.
fn look_at_inherited(fd: RawFd, name: &str) -> Result<Option<String>> {
    let look = || Ok(complaint(listener_fault(&look_at(fd)?)));
    look().map_err(|_: Errno| {
        Error::Caller(format!(
            "inherited descriptor {fd}, listener {name:?}, is not open: the process that started this one must leave its \
             listening sockets at {FIRST_FD} and up and set {LISTEN_FDS} to their number"
        ))
    })
}

/// Returns what is wrong with a descriptor, in words.
fn complaint(fault: nix::Result<Option<&'static str>>) -> Option<String> {
    match fault {
        Ok(fault) => fault.map(String::from),
        Err(Errno::ENOTSOCK) => Some("is not a socket".into()),
        Err(error) => Some(format!("can't be examined ({error})")),
    }
}

/// Returns what keeps a descriptor from being a listener.
fn listener_fault(fd: &impl AsFd) -> nix::Result<Option<&'static str>> {
    if getsockopt(fd, sockopt::SockType)? != SockType::Stream {
        return Ok(Some("is not a stream socket"));
    }
    if !getsockopt(fd, sockopt::AcceptConn)? {
        return Ok(Some("does not listen"));
    }
    Ok(match family_of(fd) {
        Some(AddressFamily::Inet | AddressFamily::Inet6 | AddressFamily::Unix) => None,
        _ => Some("is neither TCP nor Unix"),
    })
}

fn family_of(fd: &impl AsFd) -> Option<AddressFamily> {
    getsockname::<SockaddrStorage>(fd.as_fd().as_raw_fd()).ok()?.family()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    #[test]
    fn a_listener_that_can_not_be_added_leaves_the_others() {
        let mut listeners = Listeners::from_entries(vec![("resp".into(), listening())]).unwrap();
        for name in ["resp", "", "a:b"] {
            listeners.push(name.into(), listening()).unwrap_err();
        }
        listeners.push("http".into(), listening()).unwrap();
        assert_eq!(listeners.names(), ["resp", "http"]);
    }

    #[test]
    fn lots_are_joined_in_their_order_unless_a_name_is_there_twice() {
        let lot = |name: &str| Listeners::from_entries(vec![(name.into(), listening())]).unwrap();
        assert_eq!(Listeners::joined([lot("b"), lot("a")]).unwrap().names(), ["b", "a"]);
        Listeners::joined([lot("a"), lot("a")]).unwrap_err();
    }
}
