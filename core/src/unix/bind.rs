//! The things that all Unix sockets with a name share: the limit of the name, and names at which no process
//! answers any more.
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};

use crate::error::{Error, Result};
use crate::unix::context::Context;

/// The longest path of a Unix socket, in bytes: `sun_path` less the terminating NUL (107 on Linux, 103 on the
/// BSDs).
pub(crate) const PATH_MAX: usize =
    mem::size_of::<libc::sockaddr_un>() - mem::offset_of!(libc::sockaddr_un, sun_path) - 1;

/// A wait queue that no burst of connects during a handoff fills; the kernel lowers it to its own limit.
const BACKLOG: i32 = 1024;

/// Refuses a path that is too long to be bound with `reserve` more bytes behind it.
pub(crate) fn check_path(path: &Path, reserve: usize) -> Result<()> {
    let length = path.as_os_str().len();
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(Error::Caller(format!("the path of a socket contains a NUL byte: {path:?}")));
    }
    if length + reserve > PATH_MAX {
        let (limit, path) = (PATH_MAX - reserve, path.display());
        return Err(Error::Caller(format!(
            "{path} is too long for a Unix socket: {length} bytes, at most {limit} are possible here; \
             choose a shorter path"
        )));
    }
    Ok(())
}

/// A non-blocking, close-on-exec stream socket.
pub(crate) fn stream_socket(family: AddressFamily) -> nix::Result<OwnedFd> {
    #[cfg(not(target_vendor = "apple"))]
    return socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None);
    #[cfg(target_vendor = "apple")]
    {
        let socket = socket(family, SockType::Stream, SockFlag::empty(), None)?;
        fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        set_nonblocking(&socket)?;
        Ok(socket)
    }
}

/// Sets `O_NONBLOCK`, which all processes that share the open file description share.
pub(crate) fn set_nonblocking(fd: &OwnedFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Sets close-on-exec, which belongs to this descriptor alone.
pub(crate) fn set_close_on_exec(fd: &impl AsFd) -> nix::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop)
}

/// Binds `address`, without listening yet.
fn bind_socket(address: &UnixAddr) -> nix::Result<OwnedFd> {
    let socket = stream_socket(AddressFamily::Unix)?;
    bind(socket.as_raw_fd(), address)?;
    Ok(socket)
}

/// Binds a Unix socket at `path`, without listening yet. A socket that is there but at which no process answers is
/// replaced; anything else there is an error.
pub(crate) fn bind_unix(path: &Path) -> Result<OwnedFd> {
    check_path(path, 0)?;
    let address = UnixAddr::new(path).context(|| format!("can't bind {}", path.display()))?;
    let bound = match bind_socket(&address) {
        Err(Errno::EADDRINUSE) => {
            remove_unanswered(path)?;
            bind_socket(&address)
        }
        bound => bound,
    };
    bound.context(|| {
        match path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir()) {
            Some(parent) => {
                format!("can't bind {}: create the directory {} first", path.display(), parent.display())
            }
            None => format!("can't bind {}", path.display()),
        }
    })
}

/// Listens at what was bound.
pub(crate) fn listen_socket(socket: &impl AsFd) -> nix::Result<()> {
    listen(socket, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN))
}

/// Binds a Unix socket at `path` as [`bind_unix`] does, has `prepare` give it what it is to have, and listens. A socket that does
/// not come so far is not left behind.
pub(crate) fn listen_unix<T>(path: &Path, prepare: impl FnOnce() -> Result<T>) -> Result<(OwnedFd, T)> {
    let socket = bind_unix(path)?;
    let listen = || listen_socket(&socket).context(|| format!("can't listen at {}", path.display()));
    // A connect before `listen` is refused, so the wider mode of the moment between lets no client in.
    let listening = prepare().and_then(|prepared| listen().map(|()| prepared));
    if listening.is_err() {
        let _ = std::fs::remove_file(path);
    }
    listening.map(|prepared| (socket, prepared))
}

/// Begins to connect to the Unix socket at `path`.
pub(crate) fn connect_unix(path: &Path) -> nix::Result<OwnedFd> {
    let socket = stream_socket(AddressFamily::Unix)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// Returns whether a socket lies at `path`; `false` if there is nothing.
///
/// # Errors
/// Another file lies there, or it can't be seen what does.
fn is_socket_there(path: &Path) -> Result<bool> {
    let place = path.display();
    match path.symlink_metadata() {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(true),
        Ok(_) => Err(Error::Caller(format!(
            "{place} exists and is not a socket: remove it, or choose another path"
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context(|| format!("can't look at {place}")),
    }
}

/// Removes the socket that lies at `path`, whether a process listens there or not; fine if there is nothing.
pub(crate) fn remove_socket(path: &Path) -> Result<()> {
    if !is_socket_there(path)? {
        return Ok(());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("can't remove the socket {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a socket at which no process listens; fine if there is nothing.
pub(crate) fn remove_unanswered(path: &Path) -> Result<()> {
    let place = path.display();
    if !is_socket_there(path)? {
        return Ok(());
    }
    match connect_unix(path) {
        Err(Errno::ECONNREFUSED) => {}
        Err(Errno::ENOENT) => return Ok(()),
        // Connected, or would have to wait: a process listens.
        Ok(_) | Err(Errno::EAGAIN) => {
            let source = io::Error::from(Errno::EADDRINUSE);
            return Err(source).context(|| format!("another process listens at {place}: stop it first"));
        }
        Err(error) => {
            return Err(error).context(|| format!("can't tell whether a process listens at {place}"));
        }
    }
    remove_socket(path)
}
