//! Keeps a second supervisor out: a lock on a file beside the trigger socket.
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::exit::{Code, Failure};

/// The lock; held until dropped. Its file stays: to remove it would let two processes lock two files.
#[derive(Debug)]
pub(crate) struct Instance {
    _lock: Flock<File>,
}

impl Instance {
    /// Takes the lock beside `trigger_socket`.
    ///
    /// # Errors
    /// [`Code::Busy`] if another supervisor has it, naming its pid and the remedy.
    pub(crate) fn lock(trigger_socket: &Path) -> Result<Instance, Failure> {
        let mut path = trigger_socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let unusable =
            |error: io::Error| Failure::new(Code::CantCreate, format!("{}: {error}", path.display()));
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        match lock_for_a_moment(open.map_err(unusable)?) {
            Ok(mut lock) => {
                lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id())).map_err(unusable)?;
                Ok(Instance { _lock: lock })
            }
            Err((file, Errno::EWOULDBLOCK)) => Err(taken(file, trigger_socket)),
            Err((_, errno)) => Err(unusable(errno.into())),
        }
    }
}

/// Half a second: what a supervisor that was killed was just starting has its descriptors until it has executed.
fn lock_for_a_moment(mut file: File) -> Result<Flock<File>, (File, Errno)> {
    const TRIES: u32 = 50;
    for _ in 1..TRIES {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((file, Errno::EWOULDBLOCK)) => file,
            done => return done,
        };
        thread::sleep(Duration::from_millis(10));
    }
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
}

fn taken(mut file: File, trigger_socket: &Path) -> Failure {
    let mut pid = String::new();
    let holder = match file.read_to_string(&mut pid) {
        Ok(count) if count > 0 => format!(" (pid {pid})"),
        _ => String::new(),
    };
    let message = format!(
        "another supervisor{holder} runs at {}: use `swap` or `status` to talk to it, stop it with SIGTERM, \
         or give this one a trigger_socket of its own",
        trigger_socket.display()
    );
    Failure::new(Code::Busy, message)
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
        assert!(failure.message.contains(&format!("pid {}", std::process::id())), "{failure}");
        drop(first);
        Instance::lock(&socket).unwrap();
    }
}
