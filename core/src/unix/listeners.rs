//! The listening sockets that a process was given, by name.
use std::env;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage, bind as bind_to,
    getsockname, getsockopt, setsockopt, sockopt,
};

use crate::bounds;
use crate::error::{Error, Result};
use crate::unix::bind::{bind_unix, connect_unix, listen_socket, set_close_on_exec, stream_socket};
use crate::unix::context::Context;
use crate::unix::control::peer;
use crate::unix::env::{FIRST_FD, LISTEN_FDNAMES, LISTEN_FDS, adopt, is_for_us, look_at};
use crate::unix::spawn::check_names;

/// Listening sockets by name, in the supervisor's order. `O_NONBLOCK` lives on the open file description that
/// all processes share: leave it as it is (`poll(2)` before `accept(2)`, and expect `EWOULDBLOCK`).
#[derive(Debug, Default)]
pub struct Listeners {
    entries: Vec<(String, OwnedFd)>,
}

impl Listeners {
    /// The listeners that this process inherited, by systemd's protocol (`sd_listen_fds(3)`); none, if none
    /// are meant for it. Each is checked, and gets its close-on-exec flag back. To be called once in the life
    /// of a process: the descriptors have an owner then.
    ///
    /// # Errors
    /// [`Error::Caller`] if the variables contradict themselves, a descriptor is not a listening stream
    /// socket of TCP or Unix, or this has been called before. Nothing has been taken or changed then.
    pub fn from_env() -> Result<Listeners> {
        static TAKEN: AtomicBool = AtomicBool::new(false);

        if !is_for_us() {
            return Ok(Listeners::default());
        }
        let (count, names) = (env::var(LISTEN_FDS).ok(), env::var(LISTEN_FDNAMES).ok());
        let names = parse(count.as_deref(), names.as_deref())?;
        let last = FIRST_FD + names.len() as RawFd;
        for (fd, name) in (FIRST_FD..last).zip(&names) {
            check_inherited(fd, name)?;
        }
        if TAKEN.swap(true, Ordering::Relaxed) {
            return Err(Error::Caller("the inherited listeners have been taken already".into()));
        }
        let entries: Vec<_> = names.into_iter().zip((FIRST_FD..last).map(adopt)).collect();
        for (name, fd) in &entries {
            set_close_on_exec(fd).context(|| format!("can't keep listener {name:?} from children"))?;
        }
        Ok(Listeners { entries })
    }

    /// Listeners that this process opened itself.
    ///
    /// # Errors
    /// [`Error::Caller`] for names that a successor could not be given (see
    /// [`crate::unix::spawn::SpawnRequest`]).
    pub fn from_entries(entries: Vec<(String, OwnedFd)>) -> Result<Listeners> {
        check_names(&entries)?;
        Ok(Listeners { entries })
    }

    /// Adds one, as the last.
    ///
    /// # Errors
    /// As [`Listeners::from_entries`].
    pub(crate) fn push(&mut self, name: String, listener: OwnedFd) -> Result<()> {
        self.entries.push((name, listener));
        check_names(&self.entries)
    }

    /// Each with its name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &OwnedFd)> {
        self.entries.iter().map(|(name, fd)| (name.as_str(), fd))
    }

    /// What a peer sent: descriptors, by name.
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

    /// Duplicates of all of them: the same sockets, other descriptors.
    ///
    /// # Errors
    /// Descriptors are exhausted.
    pub fn try_clone(&self) -> Result<Listeners> {
        let copies = self.entries.iter().map(|(name, fd)| Ok((name.clone(), fd.try_clone()?)));
        let entries =
            copies.collect::<std::io::Result<_>>().context(|| "can't duplicate a listener".into())?;
        Ok(Listeners { entries })
    }

    /// Where the listener called `name` is bound, as [`bind`] takes it.
    pub fn address(&self, name: &str) -> Option<String> {
        let (_, fd) = self.entries.iter().find(|(entry, _)| entry == name)?;
        let address: SockaddrStorage = getsockname(fd.as_raw_fd()).ok()?;
        match address.family()? {
            AddressFamily::Unix => Some(format!("unix:{}", address.as_unix_addr()?.path()?.display())),
            _ => Some(address.to_string()),
        }
    }

    /// Whether clients still reach the listener called `name` at its address: the path of a Unix socket may have been
    /// removed, or be another's by now. Connects there once, if it is a path.
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
    /// It can't be removed.
    pub fn remove_path(&self, name: &str) -> Result<()> {
        let path = self.address(name).and_then(|address| address.strip_prefix("unix:").map(PathBuf::from));
        match path.filter(|_| self.is_reached(name)) {
            Some(path) => std::fs::remove_file(&path).context(|| format!("can't remove {}", path.display())),
            None => Ok(()),
        }
    }

    /// The listeners themselves, with their names.
    pub fn into_entries(self) -> Vec<(String, OwnedFd)> {
        self.entries
    }

    /// The names, in the supervisor's order.
    pub fn names(&self) -> Vec<String> {
        self.entries.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Takes the TCP listener called `name`.
    pub fn take_tcp(&mut self, name: &str) -> Option<TcpListener> {
        self.take_if(name, |family| matches!(family, AddressFamily::Inet | AddressFamily::Inet6))
            .map(TcpListener::from)
    }

    /// Takes the Unix listener called `name`.
    pub fn take_unix(&mut self, name: &str) -> Option<UnixListener> {
        self.take_if(name, |family| family == AddressFamily::Unix).map(UnixListener::from)
    }

    /// Takes whatever is called `name`.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.take_if(name, |_| true)
    }

    /// Whether nothing is left to take.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn take_if(&mut self, name: &str, wanted: impl Fn(AddressFamily) -> bool) -> Option<OwnedFd> {
        let at = self.entries.iter().position(|(entry, fd)| {
            entry == name && wanted(family_of(fd).unwrap_or(AddressFamily::Unspec))
        })?;
        Some(self.entries.remove(at).1)
    }
}

/// Opens a listener: `127.0.0.1:6379`, `[::]:80` or `unix:/path`. It is non-blocking and close-on-exec. A
/// Unix socket gets its mode from the umask, as any daemon's does; one that is there already is replaced if
/// nobody answers at it.
///
/// # Errors
/// [`Error::Caller`] for an address of another form, [`Error::System`] if it can't be bound.
pub fn bind(addr: &str) -> Result<OwnedFd> {
    let listener = match addr.strip_prefix("unix:") {
        Some("") => return Err(Error::Caller("\"unix:\" lacks a path, as in unix:/run/daemon.sock".into())),
        Some(path) => bind_unix(Path::new(path))?,
        None => bind_tcp(addr)?,
    };
    listen_socket(&listener).context(|| format!("can't listen at {addr}"))?;
    Ok(listener)
}

fn bind_tcp(addr: &str) -> Result<OwnedFd> {
    let address: SocketAddr = addr.parse().map_err(|_| {
        Error::Caller(format!("{addr:?} is no address: expected 127.0.0.1:6379, [::]:6379 or unix:/path"))
    })?;
    let bind_in = |family, address: &dyn SockaddrLike| {
        let socket = stream_socket(family)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        bind_to(socket.as_raw_fd(), address)?;
        Ok::<_, Errno>(socket)
    };
    let bound = match address {
        SocketAddr::V4(address) => bind_in(AddressFamily::Inet, &SockaddrIn::from(address)),
        SocketAddr::V6(address) => bind_in(AddressFamily::Inet6, &SockaddrIn6::from(address)),
    };
    bound.context(|| format!("can't bind {addr}"))
}

/// Whether `path` leads to `listener`: the kernel says of both who began to listen, and when that was one process, it
/// says no more.
fn leads_to(path: &Path, listener: &OwnedFd) -> bool {
    let Ok(socket) = connect_unix(path) else { return false };
    let (here, there) = (UnixStream::from(socket), listener.try_clone().map(UnixStream::from));
    match (peer(&here), there.and_then(|there| peer(&there))) {
        (Ok(here), Ok(there)) => here == there,
        _ => false,
    }
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

/// Sees that descriptor `fd` is a listener.
fn check_inherited(fd: RawFd, name: &str) -> Result<()> {
    let Some(complaint) = complaint(look_at(fd).and_then(|fd| listener_fault(&fd))) else { return Ok(()) };
    Err(Error::Caller(format!(
        "inherited descriptor {fd}, listener {name:?}, {complaint}: whoever started this process must leave its \
         listening sockets at {FIRST_FD} and up and set {LISTEN_FDS} to their number"
    )))
}

/// What is wrong with a descriptor, in words.
fn complaint(fault: nix::Result<Option<&'static str>>) -> Option<String> {
    match fault {
        Ok(fault) => fault.map(String::from),
        Err(Errno::EBADF) => Some("is not open".into()),
        Err(Errno::ENOTSOCK) => Some("is not a socket".into()),
        Err(error) => Some(format!("can't be examined ({error})")),
    }
}

/// What keeps a descriptor from being a listener.
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
