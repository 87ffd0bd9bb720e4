//! The state: a file of lines, each durable before it is acknowledged.
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// An open file of lines.
pub(crate) struct Log {
    file: File,
    lines: u64,
}

impl Log {
    /// Opens the file for writing. What follows the last whole line was never acknowledged and is cut off; the caller
    /// must hold the lock.
    pub(crate) fn open(path: &Path) -> io::Result<Log> {
        let file = File::options().append(true).create(true).open(path)?;
        let bytes = fs::read(path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        file.set_len(whole as u64)?;
        file.sync_all()?;
        // The name of a new file must survive a power failure, too.
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(Log { file, lines })
    }

    /// How many lines there are: the log's revision.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    /// Appends `line`, which ends with a line feed, and returns its number once it is durable.
    pub(crate) fn append(&mut self, line: &[u8]) -> io::Result<u64> {
        self.file.write_all(line)?;
        self.file.sync_data()?;
        self.lines += 1;
        Ok(self.lines)
    }

    /// Closes the file, all of it durable, and returns its revision.
    pub(crate) fn close(self) -> io::Result<u64> {
        self.file.sync_all()?;
        Ok(self.lines)
    }
}
