//! The state: a file of lines, each durable before it is acknowledged.
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file of lines, open or not, for many threads.
pub(crate) struct Log {
    path: PathBuf,
    open: Mutex<Option<Open>>,
}

struct Open {
    file: File,
    lines: u64,
}

impl Log {
    /// The file at `path`, which is not touched yet.
    pub(crate) fn new(path: PathBuf) -> Log {
        Log { path, open: Mutex::new(None) }
    }

    /// Opens the file for writing and returns how many lines there are, the log's revision. What follows the last whole
    /// line was never acknowledged and is cut off; the caller must hold the lock of the data directory.
    pub(crate) fn open(&self) -> io::Result<u64> {
        let open = Open::at(&self.path)?;
        Ok(self.lock().insert(open).lines)
    }

    /// Appends `line`, which ends with a line feed, and returns its number once it is durable.
    pub(crate) fn append(&self, line: &[u8]) -> io::Result<u64> {
        let mut guard = self.lock();
        let open = guard.as_mut().ok_or_else(closed)?;
        Ok(open.append(line).unwrap_or_else(|error| {
            // What is on disk now is not known. The next process finds out.
            let _ = writeln!(io::stderr(), "can't append to the log: {error}");
            std::process::abort()
        }))
    }

    /// Closes the file, all of it durable, and returns its revision.
    pub(crate) fn close(&self) -> io::Result<u64> {
        let open = self.lock().take().ok_or_else(closed)?;
        open.file.sync_all()?;
        Ok(open.lines)
    }

    /// No step between two changes can panic, so a poisoned lock guards what is consistent.
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> io::Error {
    io::Error::other("the log is not open")
}

impl Open {
    fn at(path: &Path) -> io::Result<Open> {
        let file = File::options().append(true).create(true).open(path)?;
        let bytes = fs::read(path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        file.set_len(whole as u64)?;
        file.sync_all()?;
        // The name of a new file must survive a power failure, too.
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(Open { file, lines })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<u64> {
        self.file.write_all(line)?;
        self.file.sync_data()?;
        self.lines += 1;
        Ok(self.lines)
    }
}
