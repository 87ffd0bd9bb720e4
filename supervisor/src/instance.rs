//! Keeps a second supervisor out: a lock on a file beside the trigger socket.
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use handoff::unix::lock::{holder_of, in_words};
use handoff::unix::sparing::NameLines;
use handoff::unix::trusted;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::exit::{Code, CommandFailure};

/// The lock; held until dropped. Its file stays: to remove it would let two processes lock two files. Nothing is
/// written into it: the kernel knows which process holds the lock.
#[derive(Debug)]
pub(crate) struct Instance {
    path: PathBuf,
    lock: Flock<File>,
    lines: NameLines,
}

impl Instance {
    /// Takes the lock beside `trigger_socket`.
    ///
    /// # Errors
    /// [`Code::Busy`] if another process has it, naming that and the remedy; [`Code::CantCreate`] if the file can't be
    /// had, or can't be trusted.
    pub(crate) fn lock(trigger_socket: &Path) -> Result<Instance, CommandFailure> {
        let mut path = trigger_socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let unusable =
            |error: io::Error| CommandFailure::new(Code::CantCreate, format!("{}: {error}", path.display()));
        let file = trusted::open_or_create_own(&path).map_err(unusable)?;
        // A user that may open a file may lock it. An earlier version let all read this one, which is of no use to others.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(unusable)?;
        match lock_for_a_moment(file) {
            Ok(lock) => Ok(Instance { path, lock, lines: NameLines::default() }),
            Err((file, Errno::EWOULDBLOCK)) => Err(taken(&file, &path)),
            Err((_, errno)) => Err(unusable(errno.into())),
        }
    }

    /// Makes the file anew and locks it if it was removed or renamed: a second supervisor would lock another one.
    /// Returns when to look again though nothing changes.
    pub(crate) fn put_back(&mut self) -> Option<Instant> {
        if trusted::is_at(&self.lock, &self.path) {
            return None;
        }
        let made = match self.path.symlink_metadata() {
            Ok(_) => Err(io::Error::other("another file lies there")),
            Err(_) => trusted::open_or_create_own(&self.path).and_then(|file| {
                Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
            }),
        };
        let path = self.path.display();
        let now = Instant::now();
        match made {
            Ok(lock) => {
                self.lock = lock;
                if let Some(left_out) = self.lines.put_back(now) {
                    tracing::warn!(left_out, "{path} was removed or renamed, and is put back");
                }
                None
            }
            Err(error) => {
                let told = self.lines.in_the_way(now).map(|left_out| {
                    tracing::warn!(left_out, "{path} was removed or renamed, and can't be put back: {error}");
                });
                told.err()
            }
        }
    }
}

/// Half a second: what a supervisor that was killed was just starting has its descriptors until it has executed.
fn lock_for_a_moment(mut file: File) -> Result<Flock<File>, (File, Errno)> {
    const TRIES: u32 = 50;
    for _ in 1..TRIES {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            done => return done,
        };
        thread::sleep(Duration::from_millis(10));
    }
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
}

fn taken(file: &File, path: &Path) -> CommandFailure {
    let holder = in_words(holder_of(file));
    let message = format!(
        "{holder} holds {}: if that is another supervisor, use `swap` or `status` to talk to it, stop it with SIGTERM, \
         or give this one a trigger_socket of its own; if not, end it",
        path.display()
    );
    CommandFailure::new(Code::Busy, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_supervisor_is_told_who_the_first_is_and_may_start_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("trigger.sock");
        let first = Instance::lock(&socket).unwrap();
        let failure = Instance::lock(&socket).unwrap_err();
        assert_eq!(failure.code, Code::Busy);
        assert!(failure.message.contains(&format!("process {} (", std::process::id())), "{failure}");
        drop(first);
        Instance::lock(&socket).unwrap();
    }

    #[test]
    fn the_file_is_the_owners_alone_whatever_its_mode_was_and_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("trigger.sock");
        let path = dir.path().join("trigger.sock.lock");
        std::fs::write(&path, "7").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(Instance::lock(&socket).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let precious = dir.path().join("precious");
        std::fs::rename(&path, &precious).unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        let failure = Instance::lock(&socket).unwrap_err();
        assert!(failure.message.contains("symbolic link"), "{failure}");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "7", "it was neither truncated nor written");
    }
}
