//! The control sockets: where a daemon answers its supervisor.
//!
//! Every process listens from birth at `<path>.<pid>`; to take `<path>` is one `rename(2)` of a link that
//! lies ready. So what can fail fails before a process is disturbed, and at every moment a process is bound at
//! the path.
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{UnixAddr, getpeername};
use nix::unistd::geteuid;

use crate::error::{Error, Result};
use crate::node::Credentials;
use crate::unix::bind::{check_path, connect_unix, listen_unix, remove_socket, remove_unanswered};
use crate::unix::context::Context;
use crate::unix::pid::may_live;
use crate::unix::trusted::{directory_of, inode_at, inode_of, restrict_socket};

/// Room for `.` and a pid: Linux has none above 4194304.
const SUFFIX_MAX: usize = 8;

/// The end of the name of the link that lies ready.
const NEXT: &str = ".next";

/// The socket at which this process answers, at mode 0600.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    beside: PathBuf,
    next: PathBuf,
    inode: (u64, u64),
}

impl ControlSocket {
    /// Listens at `<path>.<pid>` and makes ready to take `path`. No process is disturbed.
    ///
    /// # Errors
    /// [`Error::Caller`] if the path is too long or something that is not a socket is there;
    /// [`Error::System`] if the directory is missing, or another process answers at our name.
    pub fn bind_beside(path: impl AsRef<Path>) -> Result<ControlSocket> {
        let path = path.as_ref().to_path_buf();
        check_path(&path, SUFFIX_MAX)?;
        refuse_other_file(&path)?;
        let beside = beside(&path, std::process::id());
        let next = with_suffix(&beside, NEXT);
        let (listener, inode) = listen_at(&beside)?;
        let control = ControlSocket { listener, path, beside, next, inode };
        control.make_ready()?;
        Ok(control)
    }

    /// Puts back those of this socket's names that have gone: the one beside the path and, if this process `has_path`, the path.
    /// Returns the names that it has put back. Where another file lies by now, that is left alone.
    ///
    /// # Errors
    /// [`Error::Caller`] if another file is in the way; [`Error::System`] if the directory is gone or not writable.
    pub fn put_back(&mut self, has_path: bool) -> Result<Vec<PathBuf>> {
        let mut put_back = Vec::new();
        let beside = self.put_back_beside(&mut put_back);
        let path = if has_path { self.put_back_path(&mut put_back) } else { Ok(()) };
        beside.and(path).map(|()| put_back)
    }

    /// A link to the socket, if one is left; a new socket, otherwise.
    fn put_back_beside(&mut self, put_back: &mut Vec<PathBuf>) -> Result<()> {
        if !self.is_missing(&self.beside)? {
            return Ok(());
        }
        let place = self.beside.display();
        match [&self.path, &self.next].into_iter().find(|name| self.is_own(name)) {
            Some(own) => {
                fs::hard_link(own, &self.beside).context(|| format!("can't put {place} back"))?;
            }
            None => (self.listener, self.inode) = listen_at(&self.beside)?,
        }
        put_back.push(self.beside.clone());
        Ok(())
    }

    /// A link comes to the path only if nothing is there: a rename would replace what comes there at this moment.
    fn put_back_path(&mut self, put_back: &mut Vec<PathBuf>) -> Result<()> {
        if self.is_missing(&self.path)? && self.is_own(&self.beside) {
            let place = self.path.display();
            fs::hard_link(&self.beside, &self.path).context(|| format!("can't put {place} back"))?;
            put_back.push(self.path.clone());
        }
        Ok(())
    }

    /// Returns whether nothing is at `name`.
    ///
    /// # Errors
    /// Another file is there.
    fn is_missing(&self, name: &Path) -> Result<bool> {
        match inode_at(name) {
            Ok(inode) if inode == self.inode => Ok(false),
            Ok(_) => Err(Error::Caller(format!(
                "another file lies at {}, where this daemon is to be reached: it is left alone; remove it, and the \
                 daemon puts its socket back",
                name.display()
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error).context(|| format!("can't look at {}", name.display())),
        }
    }

    fn is_own(&self, name: &Path) -> bool {
        inode_at(name).is_ok_and(|inode| inode == self.inode)
    }

    /// Takes the control path: a peer that connects from now on reaches this process.
    ///
    /// # Errors
    /// The directory is gone or not writable. Nothing has changed then.
    pub fn take_path(&self) -> Result<()> {
        if self.holds_path() {
            return Ok(());
        }
        refuse_other_file(&self.path)?;
        self.make_ready()?;
        #[cfg(feature = "crash-points")]
        crate::unix::probe::step(crate::unix::probe::SystemCall::Rename)
            .context(|| format!("can't take {}", self.path.display()))?;
        fs::rename(&self.next, &self.path).context(|| format!("can't take {}", self.path.display()))?;
        // Where it could not be seen that the path leads here already, the rename has left its link.
        if self.is_own(&self.next) {
            let _ = fs::remove_file(&self.next);
        }
        Ok(())
    }

    /// Returns whether the control path leads to this process.
    pub fn holds_path(&self) -> bool {
        self.is_own(&self.path)
    }

    /// The control path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts a connection: non-blocking and close-on-exec. `None` if none waits.
    ///
    /// # Errors
    /// Descriptors or memory are exhausted: the connection still waits, so pause before the next try.
    pub fn accept(&self) -> io::Result<Option<(UnixStream, Credentials)>> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => continue,
                    _ => return Err(error),
                },
            };
            stream.set_nonblocking(true)?;
            // Some systems forget which process it was once it has gone.
            if let Ok(peer) = peer(&stream) {
                return Ok(Some((stream, peer)));
            }
        }
    }

    /// Sees that the link lies ready that the next rename consumes. (A rename of two links of one inode does nothing and leaves
    /// both.)
    fn make_ready(&self) -> Result<()> {
        let made = match fs::hard_link(&self.beside, &self.next) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match inode_at(&self.next) {
                Ok(inode) if inode == self.inode => Ok(()),
                // A process that had our pid before us left it.
                _ => fs::remove_file(&self.next).and_then(|()| fs::hard_link(&self.beside, &self.next)),
            },
            made => made,
        };
        made.context(|| {
            let (next, directory) = (self.next.display(), directory_of(&self.path).display());
            format!("can't link {next}: {directory} must be writable and on a filesystem with hard links")
        })
    }
}

impl AsFd for ControlSocket {
    /// Readable (`POLLIN`) when a connection waits to be accepted.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for ControlSocket {
    /// Removes this process's names; the control path only if no other process has taken it.
    fn drop(&mut self) {
        for name in [&self.path, &self.beside, &self.next] {
            if self.is_own(name) {
                let _ = fs::remove_file(name);
            }
        }
    }
}

/// Listens at `beside`, at mode 0600.
fn listen_at(beside: &Path) -> Result<(UnixListener, (u64, u64))> {
    let restrict = || {
        restrict_socket(beside, 0o600).context(|| format!("can't restrict {} to its owner", beside.display()))
    };
    let (listener, inode) = listen_unix(beside, restrict)?;
    Ok((UnixListener::from(listener), inode))
}

/// Refuses a control path that leaves no room for the sockets of the daemons beside it.
pub(crate) fn check_path_for_daemons(path: &Path) -> Result<()> {
    check_path(path, SUFFIX_MAX)
}

/// Returns where the process `pid` listens, whether or not it holds the control path `path`.
pub fn beside(path: &Path, pid: u32) -> PathBuf {
    with_suffix(path, &format!(".{pid}"))
}

/// The pids whose sockets lie beside the control path `path`, in ascending order, dead ones included.
///
/// # Errors
/// The directory can't be read.
pub fn pids_beside(path: &Path) -> io::Result<Vec<u32>> {
    let names = names_beside(path)?.into_iter();
    Ok(names.filter(|(_, is_link)| !is_link).map(|(pid, _)| pid).collect())
}

/// The pids in the names beside the control path `path`, in ascending order, and whether each is the name of a link that lies ready.
fn names_beside(path: &Path) -> io::Result<Vec<(u32, bool)>> {
    let Some(name) = path.file_name() else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory_of(path))? {
        let entry = entry?.file_name();
        let suffix = entry.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        let suffix = suffix.and_then(|suffix| std::str::from_utf8(suffix.strip_prefix(b".")?).ok());
        let pid = |digits: &str| digits.parse::<u32>().ok();
        names.extend(suffix.and_then(|suffix| match suffix.strip_suffix(NEXT) {
            Some(digits) => Some((pid(digits)?, true)),
            None => Some((pid(suffix)?, false)),
        }));
    }
    names.sort_unstable();
    Ok(names)
}

/// The process that listens at the control path, as the kernel says: a file's name could name any process.
#[derive(Debug, Default)]
pub(crate) struct Owner {
    /// For this socket, so that one that does not accept is not filled with connections.
    known: Option<((u64, u64), u32)>,
}

impl Owner {
    /// The process that `path` leads to.
    pub(crate) fn of(&mut self, path: &Path) -> Option<u32> {
        let inode = inode_at(path).ok()?;
        if let Some((_, pid)) = self.known.filter(|(known, _)| *known == inode) {
            return Some(pid);
        }
        let Ok(Connect::Connected(stream)) = connect(path) else { return None };
        let pid = peer(&stream).ok()?.pid.filter(|pid| *pid != 0)?;
        self.known = Some((inode, pid));
        Some(pid)
    }
}

/// Connects to the process `pid`: at its socket beside `path`, or at `path` itself if that was removed. The process
/// that answers is to be checked.
///
/// # Errors
/// As [`connect_to_daemon`].
pub(crate) fn connect_to(path: &Path, pid: u32) -> Result<Connect> {
    match connect(&beside(path, pid))? {
        Connect::NotThere => connect_to_daemon(path),
        there => Ok(there),
    }
}

/// Connects to the daemon at the control path `path`.
///
/// # Errors
/// As [`connect`]; [`Error::Peer`] if a link leads from `path` to the socket of another control path.
pub(crate) fn connect_to_daemon(path: &Path) -> Result<Connect> {
    let connect = connect(path)?;
    match &connect {
        Connect::Connected(stream) if !is_for(path, stream) => {
            let path = path.display();
            Err(Error::Peer(format!("{path} leads to the socket of another control path")))
        }
        _ => Ok(connect),
    }
}

/// Removes what the ended process `pid` left beside `path`.
///
/// # Errors
/// A process answers there, or it can't be removed.
pub fn remove_stale(path: &Path, pid: u32) -> Result<()> {
    let beside = beside(path, pid);
    remove_unanswered(&beside)?;
    // Nothing connects to the link, and a later process with this pid makes its own.
    remove_socket(&with_suffix(&beside, NEXT))
}

/// Removes what processes that have ended left beside `path`: those that were killed could not do so.
/// What can't be removed is of no harm.
pub fn sweep(path: &Path) {
    let mut pids: Vec<u32> = names_beside(path).unwrap_or_default().into_iter().map(|(pid, _)| pid).collect();
    pids.dedup();
    for pid in pids.into_iter().filter(|pid| !may_live(*pid)) {
        if let Err(error) = remove_stale(path, pid) {
            tracing::debug!(target: "handoff", pid, %error, "an ended process's socket is still there");
        }
    }
}

/// The outcome of a [`connect`]. To be connected isn't to be answered: a stopped process's socket connects
/// too.
#[derive(Debug)]
pub enum Connect {
    /// Connected: non-blocking and close-on-exec.
    Connected(UnixStream),
    /// No process listens there.
    NotThere,
    /// A process listens, but the queue is full: try again.
    Retry,
}

/// Connects to the control socket at `path`, without blocking.
///
/// # Errors
/// What is neither absence nor a full queue: no permission, descriptors exhausted, a path that is too long.
pub fn connect(path: &Path) -> Result<Connect> {
    check_path(path, 0)?;
    match connect_unix(path) {
        Ok(socket) => Ok(Connect::Connected(UnixStream::from(socket))),
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(Connect::NotThere),
        // ECONNRESET: it was closed, its path taken by another, while we waited in the queue.
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNRESET) => Ok(Connect::Retry),
        Err(error) => Err(error).context(|| format!("can't connect to {}", path.display())),
    }
}

/// The process at the other end: the one that called `connect(2)`; seen from there, the one that called `listen(2)`; for a
/// `socketpair(2)`, the one that made it.
///
/// # Errors
/// The system's; some have forgotten a peer that has gone.
pub fn peer(stream: &UnixStream) -> io::Result<Credentials> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let credentials = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials)?;
        Ok(Credentials { uid: credentials.uid(), pid: u32::try_from(credentials.pid()).ok() })
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let (uid, _) = nix::unistd::getpeereid(stream)?;
        Ok(Credentials { uid: uid.as_raw(), pid: None })
    }
}

/// Returns whether the process at the other end of `stream` listens for the control path `path`: a link may
/// lead from `path` to the socket of another one. The kernel knows by which name a socket was bound; a name
/// that says nothing here, such as a relative one, is taken for good.
pub(crate) fn is_for(path: &Path, stream: &UnixStream) -> bool {
    let Ok(peer) = getpeername::<UnixAddr>(stream.as_raw_fd()) else { return false };
    peer.path().is_none_or(|bound| is_name_for(path, bound))
}

/// Returns whether a socket bound as `bound` is that of a daemon at the control path `path`, as far as can be
/// told.
pub(crate) fn is_name_for(path: &Path, bound: &Path) -> bool {
    let name = |path: &Path| path.file_name().map(|name| name.as_encoded_bytes().to_vec());
    let (Some(own), Some(other)) = (name(path), name(bound)) else { return false };
    let suffix = other.strip_prefix(&own[..]);
    if !suffix.is_some_and(|suffix| suffix.iter().all(|byte| *byte == b'.' || byte.is_ascii_digit())) {
        return false;
    }
    let (own, other) = (directory_of(path), directory_of(bound));
    if own == other || !bound.is_absolute() {
        return true;
    }
    match (fs::metadata(own), fs::metadata(other)) {
        (Ok(own), Ok(other)) => inode_of(&own) == inode_of(&other),
        _ => true,
    }
}

/// Returns whether `uid` may control this process: its own user, root, and the users in `extra`.
pub fn uid_allowed(uid: u32, extra: &[u32]) -> bool {
    uid == geteuid().as_raw() || uid == 0 || extra.contains(&uid)
}

/// A link between a supervisor and a process that it spawns: non-blocking and close-on-exec on both ends.
///
/// # Errors
/// Descriptors are exhausted.
pub fn socketpair() -> io::Result<(UnixStream, UnixStream)> {
    let (a, b) = UnixStream::pair()?;
    a.set_nonblocking(true)?;
    b.set_nonblocking(true)?;
    Ok((a, b))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// A rename would replace whatever is at the path: it must be a socket, or nothing.
fn refuse_other_file(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            let path = path.display();
            Err(Error::Caller(format!(
                "{path} exists and is not a socket: remove it, or choose another control path"
            )))
        }
        _ => Ok(()),
    }
}
