//! The place of the trigger socket: binds it there, and puts it back when its name was removed or renamed.
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use handoff::unix::dir_watch::DirWatch;
use handoff::unix::poller;
use handoff::unix::sparing::NameLines;
use handoff::unix::trusted;
use handoff::unix::{BindOptions, bind_with};

/// The time until the next try, where the directory is gone or not writable.
const AGAIN: Duration = Duration::from_secs(1);

/// The path of the socket, and what lies there as long as it is this socket.
#[derive(Debug)]
pub(super) struct SocketPlace {
    path: PathBuf,
    mode: u32,
    /// `None` once the socket was removed on purpose.
    inode: Mutex<Option<(u64, u64)>>,
}

impl SocketPlace {
    /// Binds `path` with `mode`. The caller holds the lock beside it, so whatever socket is there is a dead supervisor's.
    pub(super) fn bind(path: &Path, mode: u32) -> io::Result<(SocketPlace, UnixListener)> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists and is not a socket"));
            }
            _ => {}
        }
        // Renamed at the end: at its own path the socket never has another mode than the right one.
        let bound = BoundBeside::bind(path, mode)?;
        fs::rename(&bound.name.0, path)?;
        let BoundBeside { listener, inode, .. } = bound;
        Ok((SocketPlace { path: path.to_path_buf(), mode, inode: Mutex::new(Some(inode)) }, listener))
    }

    /// Removes the socket, unless another supervisor's is there by now: that is not this one's to remove.
    pub(super) fn remove(&self) {
        let own = self.inode().take();
        if own.is_some()
            && trusted::inode_at(&self.path).ok() == own
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("{}: {error}", self.path.display());
        }
    }

    fn inode(&self) -> MutexGuard<'_, Option<(u64, u64)>> {
        self.inode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds the path anew if nothing is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if another file is there.
    fn put_back(&self) -> io::Result<Option<UnixListener>> {
        let mut own = self.inode();
        let another =
            || io::Error::new(io::ErrorKind::AlreadyExists, "another file lies there, and is left alone");
        match trusted::inode_at(&self.path) {
            _ if own.is_none() => return Ok(None),
            Ok(inode) if Some(inode) == *own => return Ok(None),
            Ok(_) => return Err(another()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let bound = BoundBeside::bind(&self.path, self.mode)?;
        // A rename would replace what comes there at this moment.
        fs::hard_link(&bound.name.0, &self.path)?;
        *own = Some(bound.inode);
        Ok(Some(bound.listener))
    }
}

/// A socket that is bound under a name for the time being.
struct BoundBeside {
    name: TemporaryName,
    listener: UnixListener,
    inode: (u64, u64),
}

/// A name that is removed when this is dropped, if the socket has it still: whatever has failed, it is not left behind.
struct TemporaryName(PathBuf);

impl Drop for TemporaryName {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl BoundBeside {
    /// Binds a socket beside `path`, under a name that no other user can foresee and that is at most four bytes longer.
    fn bind(path: &Path, mode: u32) -> io::Result<BoundBeside> {
        let mut name = trusted::random_name()?;
        name.truncate(path.file_name().ok_or(io::ErrorKind::InvalidInput)?.len() + 4);
        let name = path.with_file_name(name);
        let mut options = BindOptions::default();
        options.mode = Some(mode);
        let listener = bind_with(&format!("unix:{}", name.display()), &options).map_err(io::Error::other)?;
        let name = TemporaryName(name);
        let inode = trusted::inode_at(&name.0)?;
        Ok(BoundBeside { name, listener: listener.into(), inode })
    }
}

/// The listener, which is another one when its name had gone.
pub(super) struct Listening {
    place: Arc<SocketPlace>,
    pub(super) listener: UnixListener,
    /// `None` where nothing can be watched.
    watch: Option<DirWatch>,
    look_again_at: Option<Instant>,
    lines: NameLines,
}

impl Listening {
    pub(super) fn new(place: Arc<SocketPlace>, listener: UnixListener) -> Listening {
        let watch = DirWatch::around(&place.path).inspect_err(|error| {
            tracing::info!("can't watch for the removal of {}: {error}", place.path.display());
        });
        Listening { place, listener, watch: watch.ok(), look_again_at: None, lines: NameLines::default() }
    }

    /// Waits for a peer, and meanwhile looks after the socket's name; `also` is called when other names in its directory may
    /// have gone, and says when it wants to be called again.
    pub(super) fn wait(&mut self, also: &mut impl FnMut() -> Option<Instant>) {
        let mut fds = vec![(self.listener.as_fd(), false)];
        fds.extend(self.watch.as_ref().and_then(DirWatch::pollable).map(|fd| (fd, false)));
        poller::wait(&fds, self.look_again_at.map(|at| at.saturating_duration_since(Instant::now())));
        let has_changed = self.watch.as_mut().is_some_and(DirWatch::has_changed);
        if has_changed || self.look_again_at.is_some_and(|at| at <= Instant::now()) {
            let own = self.look_after();
            self.look_again_at = own.into_iter().chain(also()).min();
        }
    }

    /// Puts the name back if it has gone. Returns when to look again though nothing changes.
    fn look_after(&mut self) -> Option<Instant> {
        let path = self.place.path.display();
        let now = Instant::now();
        match self.place.put_back() {
            Ok(None) => None,
            Ok(Some(listener)) => {
                if let Some(left_out) = self.lines.put_back(now) {
                    tracing::warn!(left_out, "{path} was removed or renamed, and is put back");
                }
                self.listener = listener;
                None
            }
            Err(error) => {
                // When another file goes away, that wakes this thread.
                let again = (error.kind() != io::ErrorKind::AlreadyExists).then(|| now + AGAIN);
                let told = self.lines.in_the_way(now).map(|left_out| {
                    tracing::warn!(left_out, "the trigger socket {path} can't be put back: {error}");
                });
                again.into_iter().chain(told.err()).min()
            }
        }
    }
}
