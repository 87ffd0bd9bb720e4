//! The lock of a data directory: at most one process writes.
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;

use crate::error::Result;
use crate::id::DirectoryId;
use crate::text::PlainText;
use crate::unix::context::Context;
use crate::unix::trusted::{inode_of, open_private_directory};

/// A data directory that is open: what is locked is this very directory, and what is opened through
/// [`DataDir::path`] lies in it, wherever its own path leads by then. Cheap to clone.
///
/// The directory belongs to this process's user or to root, and no other user may read or write it: a user that may open a directory
/// may hold its lock.
#[derive(Clone, Debug)]
pub struct DataDir {
    directory: Arc<File>,
    named: PathBuf,
}

impl DataDir {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// The directory is missing, not a directory, or not readable; [`Error::Untrusted`](crate::Error::Untrusted) if it belongs to
    /// another user, or others may read or write it.
    pub fn open(path: impl AsRef<Path>) -> Result<DataDir> {
        let path = path.as_ref();
        // A relative path would lead elsewhere once this process changes its directory.
        let named = std::path::absolute(path).context(|| "can't tell the current directory".into())?;
        let directory = open_private_directory(&named).context(|| {
            let dir = path.display();
            format!("can't open the data directory {dir}: it must exist and be readable (mkdir -m 700 {dir})")
        })?;
        Ok(DataDir { directory: Arc::new(directory), named })
    }

    /// Creates the directory at `path` for this user alone, and what is missing above it, and opens it.
    ///
    /// # Errors
    /// As [`DataDir::open`]; it can't be created.
    pub fn create(path: impl AsRef<Path>) -> Result<DataDir> {
        let path = path.as_ref();
        let created = match path.parent() {
            Some(parent) => {
                fs::create_dir_all(parent).and_then(|()| fs::DirBuilder::new().mode(0o700).create(path))
            }
            None => Ok(()),
        };
        match created {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => created.context(|| format!("can't create the data directory {}", path.display()))?,
        }
        DataDir::open(path)
    }

    /// A path to this very directory in this process: through its descriptor, where the system has such paths.
    pub fn path(&self) -> PathBuf {
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_raw_fd()));
        if by_descriptor.exists() { by_descriptor } else { self.named.clone() }
    }

    /// The path by which it was opened, made absolute.
    pub fn named(&self) -> &Path {
        &self.named
    }

    /// Checks that its path still leads to this directory: a daemon that opened its files by path would write elsewhere.
    ///
    /// # Errors
    /// The path leads to another directory or to none, with what helps.
    pub fn check_place(&self) -> io::Result<()> {
        let ours = inode_of(&self.directory.metadata()?);
        let is_ours = |found: &fs::Metadata| inode_of(found) == ours;
        if self.named.metadata().as_ref().is_ok_and(is_ours) {
            return Ok(());
        }
        let (named, open) = (self.named.display(), self.shown());
        Err(io::Error::other(format!(
            "the data directory {named} is another one than this process has open{open}: let that path lead to the \
             one that is open, or stop the daemon before it is moved"
        )))
    }

    /// The path by which the directory is found by now, for people.
    fn shown(&self) -> String {
        fs::read_link(self.path()).map(|path| format!(" ({})", path.display())).unwrap_or_default()
    }
}

impl AsFd for DataDir {
    /// The directory, for `openat(2)` and the like.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// `flock(2)` on the data directory itself: there is no lock file whose removal could make two locks of one.
/// The lock belongs to the open file description, so a forked child holds it too: it is freed by
/// [`DataDirLock::unlock`], whatever children there are, and when the last process with the descriptor ends.
#[derive(Debug)]
pub struct DataDirLock {
    dir: DataDir,
    is_held: bool,
}

impl DataDirLock {
    /// Opens the directory, without locking it.
    ///
    /// # Errors
    /// As [`DataDir::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<DataDirLock> {
        Ok(DataDirLock::of(DataDir::open(dir)?))
    }

    /// The lock of a directory that is open, not taken yet. Its copies share one lock.
    pub fn of(dir: DataDir) -> DataDirLock {
        DataDirLock { dir, is_held: false }
    }

    /// Takes the lock, without waiting. `false` if another process holds the lock.
    ///
    /// # Errors
    /// The path leads to another directory by now (see [`DataDir::check_place`]); the filesystem has no locks.
    pub fn try_lock(&mut self) -> io::Result<bool> {
        self.dir.check_place()?;
        self.is_held = self.is_held || try_flock(&self.dir.directory)?;
        Ok(self.is_held)
    }

    /// Frees the lock, explicitly: closing the descriptor would not while a forked child has it.
    ///
    /// # Errors
    /// The system's; none is expected.
    pub fn unlock(&mut self) -> io::Result<()> {
        unflock(&self.dir.directory)?;
        self.is_held = false;
        Ok(())
    }

    /// The directory.
    pub fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// Returns whether this process took the lock here.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// The process that holds the lock, where the system tells.
    pub fn holder(&self) -> Option<Holder> {
        holder_of(&self.dir.directory)
    }
}

impl AsFd for DataDirLock {
    /// The directory, for `openat(2)` and the like.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        if self.is_held {
            let _ = unflock(&self.dir.directory);
        }
    }
}

/// The process that holds a lock, as the kernel says. For people: it may have ended since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its pid.
    pub pid: u32,
    /// The name that the kernel gives to the process's program (`proc_pid_comm(5)`); empty if the process has
    /// ended.
    pub program: PlainText,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.program.as_str() {
            "" => write!(f, "process {}", self.pid),
            program => write!(f, "process {} ({program})", self.pid),
        }
    }
}

/// The holder in words; "another process" if the system does not tell.
pub fn in_words(holder: Option<Holder>) -> String {
    holder.map_or_else(|| "another process".into(), |holder| holder.to_string())
}

/// Takes an exclusive lock without waiting; `false` if another holds it.
#[allow(unsafe_code)]
pub(crate) fn try_flock(file: &File) -> io::Result<bool> {
    loop {
        // SAFETY: flock takes plain numbers, and the descriptor is open.
        match Errno::result(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
            Ok(_) => return Ok(true),
            Err(Errno::EWOULDBLOCK) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The same, again and again for a moment: a process that was killed while it started another leaves its descriptors to
/// that one until it has executed its binary.
pub(crate) fn try_flock_for_a_moment(file: &File) -> io::Result<bool> {
    const TRIES: u32 = 50;
    for _ in 1..TRIES {
        if try_flock(file)? {
            return Ok(true);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    try_flock(file)
}

/// Frees the lock, though a forked child may have a copy of the descriptor.
#[allow(unsafe_code)]
pub(crate) fn unflock(file: &File) -> io::Result<()> {
    // SAFETY: as above.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) }).map(drop).map_err(io::Error::from)
}

/// The process that holds the lock of the directory `dir`, as the kernel says.
pub(crate) fn holder_at(dir: &Path) -> Option<Holder> {
    let flags = libc::O_DIRECTORY | libc::O_NONBLOCK;
    holder_of(&File::options().read(true).custom_flags(flags).open(dir).ok()?)
}

/// The directory whose lock the process `pid` holds, where the system tells (`proc_pid_fdinfo(5)`): that of its lowest
/// descriptor of a locked directory.
pub(crate) fn directory_locked_by(pid: u32) -> Option<DirectoryId> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.filter_map(|entry| entry.ok());
    let mut numbers: Vec<u32> =
        descriptors.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.into_iter().find_map(|number| {
        let found = fs::metadata(format!("/proc/{pid}/fd/{number}")).ok().filter(fs::Metadata::is_dir)?;
        let about = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
        is_locked(&about).then(|| DirectoryId { dev: found.dev(), ino: found.ino() })
    })
}

/// Returns whether `fdinfo` shows an exclusive lock, as in `lock:\t1: FLOCK  ADVISORY  WRITE 708 fd:01:1234 0
/// EOF`.
fn is_locked(fdinfo: &str) -> bool {
    let words = |line: &str| {
        matches!(line.split_whitespace().collect::<Vec<_>>()[..], ["lock:", _, "FLOCK", _, "WRITE", ..])
    };
    fdinfo.lines().any(words)
}

/// The process that `proc_locks(5)` names for the lock of `file`; none if it is of another pid namespace.
pub fn holder_of(file: &File) -> Option<Holder> {
    let metadata = file.metadata().ok()?;
    let pid = find_holder(&fs::read_to_string("/proc/locks").ok()?, metadata.dev(), metadata.ino())?;
    Some(Holder { pid, program: program_of(pid) })
}

/// Returns what the kernel calls the program of `pid` (`proc_pid_comm(5)`); empty if the process has ended.
pub(crate) fn program_of(pid: u32) -> PlainText {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().into()
}

/// A line is `1: FLOCK  ADVISORY  WRITE 708 fd:01:1234 0 EOF`, the device in hexadecimal.
fn find_holder(locks: &str, dev: u64, ino: u64) -> Option<u32> {
    let wanted = format!("{:02x}:{:02x}:{ino}", libc::major(dev), libc::minor(dev));
    locks.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, "FLOCK", _, _, pid, place, ..] if place == wanted => pid.parse().ok().filter(|pid| *pid != 0),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_that_a_process_has_locked_is_found_and_none_that_it_has_merely_open() {
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [open, shared, locked] = &dirs;
        let _open = File::open(open.path()).unwrap();
        let reader = File::open(shared.path()).unwrap();
        let reader = nix::fcntl::Flock::lock(reader, nix::fcntl::FlockArg::LockSharedNonblock)
            .map_err(|(_, e)| e)
            .unwrap();
        let lock = File::open(locked.path()).unwrap();
        assert!(try_flock(&lock).unwrap());
        let found = directory_locked_by(std::process::id()).unwrap();
        let inode_of = |path: &Path| fs::metadata(path).unwrap().ino();
        assert!(
            !reader.metadata().unwrap().is_file()
                && ![open, shared].iter().any(|dir| inode_of(dir.path()) == found.ino),
            "{found:?}"
        );
        assert!(is_locked("pos:\t0\nlock:\t1: FLOCK  ADVISORY  WRITE 8 fd:01:1 0 EOF\n"));
        assert!(!is_locked("pos:\t0\nlock:\t1: FLOCK  ADVISORY  READ 8 fd:01:1 0 EOF\n"));
    }

    #[test]
    fn the_holder_is_read_from_the_table_of_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 fd:01:1234 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 8 fd:01:12345 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 9 fd:01:1234 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 10 fd:01:1234 0 EOF\n";
        let dev = libc::makedev(0xfd, 1);
        assert_eq!(find_holder(locks, dev, 1234), Some(10));
        assert_eq!(find_holder(locks, dev, 99), None);
    }
}
