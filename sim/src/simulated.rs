//! A daemon under simulation: a daemon's author implements [`Simulated`] for it; [`Ledger`] is this crate's own.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use handoff::message::{SealProgress, Sealed};
use handoff::{
    DrainReport, Drainable, Fingerprint, HookResult, ReadinessSnapshot, ResumeFrom, SealReport, StateSnapshot,
};

use crate::kernel::Disk;

/// A daemon that the simulator can start, stop, kill and replace: its hooks as in production, its store on a [`Disk`].
///
/// All of it is ordinary synchronous code; how long it takes is the simulator's to say. A process can die at any
/// write. Then the code that ran is unwound, and neither it nor any destructor changes the disk any more.
pub trait Simulated: Drainable {
    /// As [`handoff::Daemon::warm_up`].
    ///
    /// # Errors
    /// Rolls back.
    fn warm_up(&mut self) -> HookResult<()> {
        Ok(())
    }

    /// As [`handoff::Daemon::open`].
    ///
    /// # Errors
    /// Rolls back.
    fn open(&mut self, sealed: Option<&Sealed>) -> HookResult<ReadinessSnapshot>;

    /// As [`handoff::Daemon::serve`], but that the simulator accepts, and calls `write` and `read`.
    ///
    /// # Errors
    /// Rolls back.
    fn serve(&mut self) -> HookResult<()> {
        Ok(())
    }

    /// A client's request. `Ok` acknowledges it: it must never be lost.
    ///
    /// # Errors
    /// The client is told so, and tries again.
    fn write(&mut self, key: u32, value: u64) -> HookResult<()>;

    /// A client's request: the last value that was written.
    ///
    /// # Errors
    /// The client is told so, and tries again.
    fn read(&mut self, key: u32) -> HookResult<Option<u64>>;

    /// Returns whether what happens to it is worse than a failed request: the process leaves.
    fn is_broken(&self) -> bool {
        false
    }

    /// Returns what an acknowledgement promises.
    fn promise(&self) -> Promise {
        Promise::OutlivesPower
    }
}

/// The promise of a daemon's acknowledgement of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Outlives a power failure.
    OutlivesPower,
    /// Outlives the process, and, from the next `seal` on, a power failure.
    OutlivesPowerOnceSealed,
}

/// Makes daemons: one for each process that is started. The second argument is the build's number, from 1 on; each handoff
/// is to the next build.
pub type Make = dyn Fn(Disk, u32) -> Box<dyn Simulated> + Send + Sync;

/// The daemon that the simulator brings along: a log of numbered writes, each synced before it is acknowledged.
pub struct Ledger {
    disk: Disk,
    build: u32,
    values: BTreeMap<u32, u64>,
    entries: u64,
    /// A digest of the log.
    digest: u64,
    broken: bool,
    /// Planted: it keeps every second write in memory only.
    forgetful: bool,
}

/// Makes the daemons that the simulator brings along.
pub fn ledgers() -> Arc<Make> {
    Arc::new(|disk, build| Box::new(Ledger::new(disk, build)))
}

/// The same, but that they forget at their seal what they have acknowledged: to see that it is noticed.
pub fn forgetful_ledgers() -> Arc<Make> {
    Arc::new(|disk, build| Box::new(Ledger::forgetful(disk, build)))
}

const LOG: &str = "log";
const FORMAT: &str = "format";
const ENTRY: usize = 12;

/// The digest of an empty log.
const NOTHING: u64 = 0xcbf2_9ce4_8422_2325;

/// The digest of a log with one entry more (FNV-1a).
fn digest(before: u64, entry: &[u8; ENTRY]) -> u64 {
    entry.iter().fold(before, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Ledger {
    /// Makes the ledger of build `build`.
    pub fn new(disk: Disk, build: u32) -> Ledger {
        Ledger {
            disk,
            build,
            values: BTreeMap::new(),
            entries: 0,
            digest: NOTHING,
            broken: false,
            forgetful: false,
        }
    }

    /// A ledger with a planted fault, which a sweep must find: acknowledged writes are lost with its seal.
    fn forgetful(disk: Disk, build: u32) -> Ledger {
        Ledger { forgetful: true, ..Ledger::new(disk, build) }
    }

    fn load(&mut self) -> HookResult<()> {
        self.values.clear();
        let log = self.disk.read(LOG).unwrap_or_default();
        let (entries, rest) = log.as_chunks::<ENTRY>();
        if !rest.is_empty() {
            self.disk.truncate(LOG, log.len() - rest.len())?;
        }
        // Zeros: an fsync failed on it, and then power did. No client was told that it is there.
        for (key, value) in entries.iter().filter(|entry| **entry != [0; ENTRY]).map(decode) {
            self.values.insert(key, value);
        }
        // The process that wrote it may have died before it was durable, its name included.
        if !log.is_empty() {
            self.disk.sync(LOG)?;
            self.disk.sync_dir()?;
        }
        self.entries = entries.len() as u64;
        self.digest = entries.iter().fold(NOTHING, digest);
        Ok(())
    }

    fn check_format(&self) -> HookResult<()> {
        let format = self.disk.read(FORMAT).unwrap_or_default();
        let format = format.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if format > self.build {
            return Err(
                format!("the data is in format {format}, which build {} can't read", self.build).into()
            );
        }
        Ok(())
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.digest.to_le_bytes());
        // Every second build has another way to do it: then there are only revisions to compare.
        Fingerprint { scheme: 1 + (self.build / 2) as u16, digest }
    }
}

fn decode(entry: &[u8; ENTRY]) -> (u32, u64) {
    let [a, b, c, d, rest @ ..] = *entry;
    (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(rest))
}

impl Drainable for Ledger {
    fn drain(&mut self, _grace: Duration) -> HookResult<DrainReport> {
        Ok(DrainReport::closed(0))
    }

    fn seal(&mut self, _progress: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        for name in self.disk.list() {
            self.disk.sync(&name)?;
        }
        self.disk.sync_dir()?;
        Ok(SealReport::new(vec![self.entries]).with_fingerprint(self.fingerprint()))
    }

    fn resume_after_abort(&mut self, from: ResumeFrom) -> HookResult<()> {
        match from {
            // It believes that: told so wrongly, it does not know what a successor has written.
            ResumeFrom::Memory => Ok(()),
            _ => {
                self.check_format()?;
                self.load()
            }
        }
    }

    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot::new(0, vec![self.entries])
    }

    /// From here on the data is in this build's format.
    fn finalize(&mut self) {
        let written = self.disk.write_at(FORMAT, 0, &self.build.to_le_bytes());
        let synced = written.and_then(|()| self.disk.sync(FORMAT)).and_then(|()| self.disk.sync_dir());
        self.broken |= synced.is_err();
    }
}

impl Simulated for Ledger {
    fn warm_up(&mut self) -> HookResult<()> {
        self.check_format()
    }

    fn open(&mut self, _sealed: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        self.check_format()?;
        self.load()?;
        Ok(ReadinessSnapshot::healthy(vec![self.entries])
            .with_listeners(["main"])
            .with_fingerprint(self.fingerprint()))
    }

    fn write(&mut self, key: u32, value: u64) -> HookResult<()> {
        if self.forgetful && value.is_multiple_of(2) {
            self.values.insert(key, value);
            return Ok(());
        }
        let mut entry = [0; ENTRY];
        entry[..4].copy_from_slice(&key.to_le_bytes());
        entry[4..].copy_from_slice(&value.to_le_bytes());
        self.disk.append(LOG, &entry)?;
        let first = self.entries == 0;
        let synced = self.disk.sync(LOG).and_then(|()| if first { self.disk.sync_dir() } else { Ok(()) });
        if let Err(error) = synced {
            // What is on the disk now is unknown: only a start anew can tell.
            self.broken = true;
            return Err(error.into());
        }
        self.entries += 1;
        self.digest = digest(self.digest, &entry);
        self.values.insert(key, value);
        Ok(())
    }

    fn read(&mut self, key: u32) -> HookResult<Option<u64>> {
        Ok(self.values.get(&key).copied())
    }

    fn is_broken(&self) -> bool {
        self.broken
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("build", &self.build)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}
