//! The lock of a data directory: at most one process writes.
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;

use crate::error::Result;
use crate::unix::context::Context;

/// `flock(2)` on the data directory itself: there is no lock file whose removal could make two locks of one.
/// The lock belongs to the open file description, so a forked child holds it too: it is freed by
/// [`DataDirLock::unlock`], whatever children there are, and when the last process with the descriptor ends.
#[derive(Debug)]
pub struct DataDirLock {
    path: PathBuf,
    directory: File,
    is_held: bool,
}

impl DataDirLock {
    /// Opens the directory, without locking it.
    ///
    /// # Errors
    /// It is missing, not a directory, or not readable.
    pub fn open(dir: impl AsRef<Path>) -> Result<DataDirLock> {
        let dir = dir.as_ref();
        let opened = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(dir);
        let directory = opened.context(|| {
            let dir = dir.display();
            format!("can't open the data directory {dir}: it must exist and be readable (mkdir {dir})")
        })?;
        Ok(DataDirLock { path: dir.to_path_buf(), directory, is_held: false })
    }

    /// Locks it, without waiting. `false` if another process holds the lock.
    ///
    /// # Errors
    /// The filesystem has no locks.
    pub fn try_lock(&mut self) -> io::Result<bool> {
        self.is_held = self.is_held || try_flock(&self.directory)?;
        Ok(self.is_held)
    }

    /// Frees the lock, explicitly: closing the descriptor would not while a forked child has it.
    ///
    /// # Errors
    /// The system's; none is expected.
    pub fn unlock(&mut self) -> io::Result<()> {
        unflock(&self.directory)?;
        self.is_held = false;
        Ok(())
    }

    /// The directory's path.
    pub fn dir(&self) -> &Path {
        &self.path
    }

    /// Whether this process took the lock here.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// The pid of whoever holds the lock, where the system tells.
    pub fn holder(&self) -> Option<u32> {
        holder_of(&self.directory)
    }
}

impl AsFd for DataDirLock {
    /// The directory, for `openat(2)` and the like.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        if self.is_held {
            let _ = unflock(&self.directory);
        }
    }
}

/// Takes an exclusive lock without waiting; `false` if another holds it.
#[allow(unsafe_code)]
pub(crate) fn try_flock(file: &File) -> io::Result<bool> {
    // SAFETY: flock takes plain numbers, and the descriptor is open.
    match Errno::result(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
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

/// The pid of whoever holds the lock of the directory `dir`, as the kernel says.
pub(crate) fn holder_at(dir: &Path) -> Option<u32> {
    holder_of(&File::open(dir).ok()?)
}

/// The pid that `proc_locks(5)` has for the lock of `file`. For people: it may have ended since, or be
/// unknown.
pub(crate) fn holder_of(file: &File) -> Option<u32> {
    let metadata = file.metadata().ok()?;
    find_holder(&std::fs::read_to_string("/proc/locks").ok()?, metadata.dev(), metadata.ino())
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
