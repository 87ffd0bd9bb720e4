//! Notices that names come and go in a directory (`inotify(7)`): a sweeper removes sockets that are not opened for a while. At rest
//! it wakes no process.
use std::io;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

#[cfg(any(target_os = "linux", target_os = "android"))]
use nix::errno::Errno;
#[cfg(any(target_os = "linux", target_os = "android"))]
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::unix::trusted::directory_of;

/// Watches the directory at a path: this one, and one that comes in its place. Close-on-exec and non-blocking. Only Linux has such
/// a watch.
#[derive(Debug)]
pub struct DirWatch {
    dir: PathBuf,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    inotify: Inotify,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    on_dir: Option<WatchDescriptor>,
    /// As long as there is no such directory, its parent is watched for one.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    on_parent: Option<WatchDescriptor>,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl DirWatch {
    /// Watches the directory that `file` is in.
    ///
    /// # Errors
    /// This user has as many watches as the system allows, or descriptors are exhausted.
    pub fn around(file: &Path) -> io::Result<DirWatch> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let mut watch =
            DirWatch { inotify, dir: directory_of(file).to_path_buf(), on_dir: None, on_parent: None };
        watch.arm();
        match watch.on_dir.or(watch.on_parent) {
            Some(_) => Ok(watch),
            None => Err(io::Error::other(format!("can't watch {}", watch.dir.display()))),
        }
    }

    /// Takes what has happened since the last call: whether names may have come or gone.
    pub fn has_changed(&mut self) -> bool {
        let mut any = false;
        loop {
            match self.inotify.read_events() {
                // That a watch was taken away follows from an event before it, or from this process.
                Ok(events) => {
                    any |= events.iter().any(|event| !event.mask.contains(AddWatchFlags::IN_IGNORED))
                }
                Err(Errno::EINTR) => {}
                // EAGAIN: that was all.
                Err(_) => break,
            }
        }
        if any {
            self.arm();
        }
        any
    }

    /// Readable (`POLLIN`) when something has happened.
    pub fn pollable(&self) -> Option<BorrowedFd<'_>> {
        Some(self.inotify.as_fd())
    }

    /// Watches the directory that is at the path now, or its parent.
    fn arm(&mut self) {
        if self.watch_dir() {
            return;
        }
        let comes = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        self.on_parent = self.inotify.add_watch(directory_of(&self.dir), comes).ok();
        // It may have come before its parent was watched.
        self.watch_dir();
    }

    fn watch_dir(&mut self) -> bool {
        let goes = AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let before = self.on_dir;
        self.on_dir = self.inotify.add_watch(&self.dir, goes).ok();
        let old = before.filter(|before| Some(*before) != self.on_dir);
        let parent = if self.on_dir.is_some() { self.on_parent.take() } else { None };
        for done in old.into_iter().chain(parent) {
            // The kernel has forgotten it already if that directory is gone.
            let _ = self.inotify.rm_watch(done);
        }
        self.on_dir.is_some()
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl DirWatch {
    /// Can't watch the directory that `file` is in.
    ///
    /// # Errors
    /// Always: this system has no such watch.
    pub fn around(_file: &Path) -> io::Result<DirWatch> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns `false`: nothing is seen to change.
    pub fn has_changed(&mut self) -> bool {
        false
    }

    /// Returns `None`: nothing is to be waited for.
    pub fn pollable(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_that_goes_is_noticed_once_and_one_that_is_used_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let mut watch = DirWatch::around(&file).unwrap();
        fs::write(&file, "more").unwrap();
        fs::read(&file).unwrap();
        assert!(!watch.has_changed());
        fs::remove_file(&file).unwrap();
        assert!(watch.has_changed());
        assert!(!watch.has_changed());
    }

    #[test]
    fn a_directory_that_comes_in_the_place_of_another_is_watched() {
        let above = tempfile::tempdir().unwrap();
        let (dir, file) = (above.path().join("run"), above.path().join("run/file"));
        fs::create_dir(&dir).unwrap();
        let mut watch = DirWatch::around(&file).unwrap();
        for renamed in [true, false] {
            let away =
                if renamed { fs::rename(&dir, above.path().join("away")) } else { fs::remove_dir_all(&dir) };
            away.unwrap();
            assert!(watch.has_changed(), "it is gone");
            fs::create_dir(&dir).unwrap();
            assert!(watch.has_changed(), "there is another");
            fs::write(above.path().join("stranger"), "").unwrap();
            assert!(!watch.has_changed(), "what happens beside it is nobody's business");
            fs::remove_file(above.path().join("stranger")).unwrap();
            fs::write(&file, "").unwrap();
            fs::remove_file(&file).unwrap();
            assert!(watch.has_changed(), "a name has gone");
            assert!(!watch.has_changed());
        }
    }
}
