//! The record's file, beside the lock: `handoff.record` in the data directory.
//!
//! Opened for each operation, so that a file that was removed or replaced never leaves two processes with two
//! records. Never fsynced: it arbitrates among living processes, and after a power failure there are none.
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::id::InBoot;
use crate::record::{MAGIC, Record, SLOT_SIZE};
use crate::slots::{self, SLOTS, SlotProblem, Slots};
use crate::unix::again::uninterrupted;
use crate::unix::context::Context;
use crate::unix::lock::DataDir;
use crate::unix::pid::boot_id;
use crate::unix::trusted::{self, Draft};

/// The file's name.
pub const NAME: &str = "handoff.record";

/// The number of times that a read which met a write is done again. A write takes microseconds.
const READS: usize = 3;

/// The record's file, in the very directory that is locked.
#[derive(Debug)]
pub struct RecordFile {
    dir: DataDir,
}

impl RecordFile {
    /// The record of the data directory `dir`. Creates the file, at its full size and at mode 0600, if it is
    /// missing, so that a full disk shows here.
    ///
    /// # Errors
    /// The directory is full or not writable, or the file can't be [trusted](crate::unix::trusted).
    pub fn open(dir: &DataDir) -> Result<RecordFile> {
        let record = RecordFile { dir: dir.clone() };
        record.open_or_create().context(|| {
            let dir = dir.named().display();
            format!("can't create {NAME} in {dir}: the data directory must be writable and have 32 KiB free")
        })?;
        Ok(record)
    }

    /// Reads the record: a fact under the lock, a hint without it; none, if it is of another boot. What is wrong with the file comes along; a
    /// write in progress doesn't count as that.
    ///
    /// # Errors
    /// The file can't be read. That it is missing is no error: then there is no record.
    pub fn read(&self) -> io::Result<(Option<Record>, Vec<SlotProblem>)> {
        match trusted::open_own(&self.path(), false) {
            Ok(file) => {
                let slots = read_slots(&file)?;
                Ok((of_this_boot(slots.newest), slots.problems))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((None, Vec::new())),
            Err(error) => Err(error),
        }
    }

    /// Writes the record. Only under the lock.
    ///
    /// # Errors
    /// The file can't be written, or the record has too many shards for it.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let file = self.open_or_create()?;
        let slots = read_slots(&file)?;
        let bytes = slots::encode_slot(
            MAGIC,
            slots.next_sequence(),
            &InBoot { boot: boot_id(), value: record },
            SLOT_SIZE,
        )
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        file.write_all_at(&bytes, (slots.next * SLOT_SIZE) as u64)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(NAME)
    }

    fn open_or_create(&self) -> io::Result<File> {
        loop {
            match trusted::open_own(&self.path(), true) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.create()?,
                opened => return opened,
            }
        }
    }

    /// Creates the file at once with its full size: a process that sees it sees all of it. Zeros are written and not
    /// a hole left, so that the blocks are there. If another process creates it meanwhile, its file stays.
    fn create(&self) -> io::Result<()> {
        let path = self.path();
        let mut draft = Draft::beside(&path, 0o600)?;
        draft.file.write_all(&[0; SLOT_SIZE * SLOTS])?;
        match draft.link(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    }
}

/// The process that holds, or held last, the lock of the data directory `dir`, as the record says: a hint. Creates nothing.
pub(crate) fn holder(dir: &Path) -> Option<crate::id::ProcessId> {
    let owner = dir.metadata().ok()?.uid();
    let slots = read_slots(&trusted::open_hint(&dir.join(NAME), owner).ok()?).ok()?;
    of_this_boot(slots.newest).map(|record| record.holder)
}

/// The record arbitrates among living processes: what another boot has left says nothing.
fn of_this_boot(newest: Option<(u64, InBoot<Record>)>) -> Option<Record> {
    newest.filter(|(_, record)| record.boot.is_also(boot_id())).map(|(_, record)| record.value)
}

fn read_slots(file: &File) -> io::Result<Slots<InBoot<Record>>> {
    let mut slots = read_slots_once(file)?;
    for _ in 1..READS {
        if slots.problems.is_empty() {
            break;
        }
        slots = read_slots_once(file)?;
    }
    Ok(slots)
}

fn read_slots_once(file: &File) -> io::Result<Slots<InBoot<Record>>> {
    let mut bytes = Vec::with_capacity(SLOT_SIZE * SLOTS);
    let mut window = [0; SLOT_SIZE];
    while bytes.len() < SLOT_SIZE * SLOTS {
        match uninterrupted(|| file.read_at(&mut window, bytes.len() as u64))? {
            0 => break,
            count => bytes.extend_from_slice(&window[..count]),
        }
    }
    Ok(slots::decode_slots(&bytes, MAGIC, SLOT_SIZE))
}
