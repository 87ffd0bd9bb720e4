//! The log: one line a write, `SEQ PID TOKEN`, appended and synced before it is acknowledged.
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use handoff::Fingerprint;

/// The content that the fingerprint is made of: the length of the log and its last sequence number.
const SCHEME: u16 = 1;

/// The log, open or not.
#[derive(Debug)]
pub(crate) struct ActorStore {
    path: PathBuf,
    file: Option<File>,
    last: u64,
    bytes: u64,
}

impl ActorStore {
    /// A log that has not been opened.
    pub(crate) fn new(path: PathBuf) -> ActorStore {
        ActorStore { path, file: None, last: 0, bytes: 0 }
    }

    /// Opens it, and sees that it has no gap. A last line without its end was never acknowledged and is cut off.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        // Created first: a log that can't be found is no reason to begin anew.
        let file = File::options().read(true).append(true).create(true).open(&self.path)?;
        let text = io::read_to_string(&file)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut last = 0;
        for line in text[..whole].lines() {
            let seq = line.split(' ').next().and_then(|seq| seq.parse().ok());
            if seq != Some(last + 1) {
                return Err(io::Error::other(format!("line {line:?} after sequence number {last}")));
            }
            last += 1;
        }
        self.bytes = u64::try_from(whole).map_err(io::Error::other)?;
        if whole < text.len() {
            file.set_len(self.bytes)?;
        }
        self.last = last;
        self.file = Some(file);
        Ok(())
    }

    /// Appends `token` and syncs: its sequence number. `None` if the log is closed.
    pub(crate) fn append(&mut self, token: &str) -> io::Result<Option<u64>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let seq = self.last + 1;
        let line = format!("{seq} {} {token}\n", std::process::id());
        #[cfg(all(feature = "sim", feature = "crash-points"))]
        if let Some(part) = handoff_tests::stage::write_fate(line.len()) {
            file.write_all(&line.as_bytes()[..part])?;
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
        file.write_all(line.as_bytes())?;
        file.sync_data()?;
        self.last = seq;
        self.bytes += line.len() as u64;
        Ok(Some(seq))
    }

    /// Syncs and closes it.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.file.take().map_or(Ok(()), |file| file.sync_all())
    }

    /// The last sequence number.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// By which a successor sees that it has opened what was sealed.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.bytes.to_le_bytes());
        digest[8..16].copy_from_slice(&self.last.to_le_bytes());
        Fingerprint { scheme: SCHEME, digest }
    }
}
