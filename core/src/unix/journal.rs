//! The journal's file: durable before a write returns, never fatal when damaged, and held by one supervisor.
//!
//! The lock is `flock(2)` on the file itself, which only its owner may open. Files come to the path complete and locked, by `link` or
//! `rename`, and a process that locks one looks again whether it still is the one at the path: so no two can hold the
//! journal.
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::id::InBoot;
use crate::journal::{Journal, MAGIC, SLOT_SIZE};
use crate::slots::{self, SLOTS, SlotFault, Slots, describe};
use crate::unix::again::uninterrupted;
use crate::unix::context::Context;
use crate::unix::lock::{holder_of, in_words, try_flock, try_flock_for_a_moment, unflock};
use crate::unix::pid::boot_id;
use crate::unix::trusted::{self, Draft, directory_of, is_at};

/// The open journal. Other supervisors are kept out until it is dropped.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    file: File,
    sequence: u64,
    slot: usize,
}

/// The journal that an earlier supervisor left, and its faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The journal of the earlier supervisor; the default, if there was none or it could not be used.
    pub journal: Journal,
    /// `true` if it was written in another boot, or that is not known: the processes that it names have
    /// ended, and their numbers are those of others.
    pub is_of_another_boot: bool,
    /// The faults of the file, and what was done about them. For people; empty if all is well.
    pub reports: Vec<String>,
}

impl JournalFile {
    /// Opens the journal at `path`, or creates it, and locks it, for which it waits half a second. A file that can't be used is set aside,
    /// under the name `<path>.set-aside-<UTC date and time>`, and replaced by an empty journal; with one slot
    /// damaged, the other one is used. Both are reported.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds it; [`Error::Untrusted`] if it is no regular file, or not this
    /// user's alone; [`Error::System`] if it can't be read or written.
    pub fn open(path: impl AsRef<Path>) -> Result<(JournalFile, Recovered)> {
        let path = path.as_ref();
        loop {
            let file = match trusted::open_own(path, true) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match create(path, |draft| draft.link(path)) {
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                        created => return Ok((created.context(|| unusable(path))?, Recovered::default())),
                    }
                }
                Err(error) => return Err(error).context(|| unusable(path)),
            };
            lock(&file, path)?;
            if is_at(&file, path) {
                return recover(file, path);
            }
        }
    }

    /// Writes `journal`, and returns when it is durable. If it fails, what was written before still counts.
    ///
    /// # Errors
    /// The disk fails, the journal was removed or replaced, or `journal` is too long for its slot.
    pub fn write(&mut self, journal: &Journal) -> Result<()> {
        self.try_write(journal).context(|| format!("can't write the journal {}", self.path.display()))
    }

    fn try_write(&mut self, journal: &Journal) -> io::Result<()> {
        let bytes =
            slots::encode_slot(MAGIC, self.sequence, &InBoot { boot: boot_id(), value: journal }, SLOT_SIZE)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        if !is_at(&self.file, &self.path) {
            // A supervisor that starts now would know nothing of this file, and of its lock.
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "it was removed or replaced: restart the supervisor",
            ));
        }
        self.write_slot(&bytes, (self.slot * SLOT_SIZE) as u64)?;
        self.file.sync_data()?;
        self.sequence += 1;
        self.slot = (self.slot + 1) % SLOTS;
        Ok(())
    }

    #[cfg(not(feature = "crash-points"))]
    fn write_slot(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// In two writes, so that a test can end the process in the middle.
    #[cfg(feature = "crash-points")]
    fn write_slot(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        use crate::unix::probe;
        let (half, rest) = bytes.split_at(bytes.len() / 2);
        probe::step(probe::SystemCall::Write)?;
        self.file.write_all_at(half, at)?;
        probe::step(probe::SystemCall::WriteRest)?;
        self.file.write_all_at(rest, at + half.len() as u64)?;
        probe::step(probe::SystemCall::Sync)
    }
}

/// Reads the journal at `path` without its lock, to show it. If a supervisor writes to it meanwhile, it is read again.
///
/// # Errors
/// As [`trusted::open_to_show`].
pub fn read_to_show(path: &Path) -> io::Result<Slots<InBoot<Journal>>> {
    const READS: usize = 3;
    let file = trusted::open_to_show(path)?;
    let mut slots = read(&file)?;
    for _ in 1..READS {
        if slots.problems.is_empty() {
            break;
        }
        slots = read(&file)?;
    }
    Ok(slots)
}

impl Drop for JournalFile {
    /// A child between its fork and its exec would keep the lock of a file that is merely closed.
    fn drop(&mut self) {
        let _ = unflock(&self.file);
    }
}

/// Reads a file that is locked and at its path.
fn recover(file: File, path: &Path) -> Result<(JournalFile, Recovered)> {
    let slots = read(&file).context(|| format!("can't read the journal {}", path.display()))?;
    let sequence = slots.next_sequence();
    let newer = slots.problems.iter().any(|problem| matches!(problem.fault, SlotFault::Newer { .. }));
    let faults =
        if slots.problems.is_empty() { "no slot was ever written".into() } else { describe(&slots.problems) };
    match slots.newest {
        // A newer program's slot is newer than ours, whatever the numbers are.
        Some((_, InBoot { boot, value: journal })) if !newer => {
            let report =
                format!("the journal {} is damaged ({faults}); the other slot is used", path.display());
            let reports = if slots.problems.is_empty() { Vec::new() } else { vec![report] };
            let opened = JournalFile { path: path.to_path_buf(), file, sequence, slot: slots.next };
            let is_of_another_boot = !boot.is_also(boot_id());
            Ok((opened, Recovered { journal, is_of_another_boot, reports }))
        }
        _ => {
            let (opened, aside) = set_aside(path)
                .context(|| format!("can't set the unusable journal {} aside ({faults})", path.display()))?;
            let report = format!(
                "the journal {} can't be used ({faults}); it was set aside as {}, and an empty one begun: if a daemon \
                 runs, swap once, so that it is known what it was started from",
                path.display(),
                aside.display()
            );
            Ok((opened, Recovered { reports: vec![report], ..Recovered::default() }))
        }
    }
}

fn read(file: &File) -> io::Result<Slots<InBoot<Journal>>> {
    let mut bytes = vec![0; SLOT_SIZE * SLOTS];
    let mut length = 0;
    while length < bytes.len() {
        match uninterrupted(|| file.read_at(&mut bytes[length..], length as u64))? {
            0 => break,
            count => length += count,
        }
    }
    Ok(slots::decode_slots(&bytes[..length], MAGIC, SLOT_SIZE))
}

/// Creates an empty journal, all its blocks written, locks it, and has `place` put it at `path`.
fn create(path: &Path, place: impl FnOnce(&Draft) -> io::Result<()>) -> io::Result<JournalFile> {
    let mut draft = Draft::beside(path, 0o600)?;
    fill(&mut draft.file)?;
    place(&draft)?;
    sync_directory(path)?;
    Ok(JournalFile { path: path.to_path_buf(), file: draft.file.try_clone()?, sequence: 2, slot: 1 })
}

/// Makes it a complete file with the empty journal in its first slot, locked.
fn fill(file: &mut File) -> io::Result<()> {
    if !try_flock(file)? {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process has the new file locked"));
    }
    let mut bytes =
        slots::encode_slot(MAGIC, 1, &InBoot { boot: boot_id(), value: Journal::default() }, SLOT_SIZE)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    bytes.resize(SLOT_SIZE * SLOTS, 0);
    file.write_all(&bytes)?;
    file.sync_all()
}

/// Gives the file at `path` another name, and puts an empty journal there in one step.
fn set_aside(path: &Path) -> io::Result<(JournalFile, PathBuf)> {
    let mut name = with_suffix(path, &format!(".set-aside-{}", utc(SystemTime::now())));
    let mut count = 1;
    // A link never overwrites.
    while let Err(error) = fs::hard_link(path, &name) {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(error);
        }
        count += 1;
        name = with_suffix(path, &format!(".set-aside-{}-{count}", utc(SystemTime::now())));
    }
    let created = create(path, |draft| draft.rename(path));
    if created.is_err() {
        let _ = fs::remove_file(&name);
    }
    created.map(|journal| (journal, name))
}

fn lock(file: &File, path: &Path) -> Result<()> {
    let path = path.display();
    if try_flock_for_a_moment(file).context(|| format!("can't lock the journal {path}"))? {
        return Ok(());
    }
    let holder = in_words(holder_of(file));
    Err(Error::Locked(format!(
        "{holder} holds the journal {path}: if that is another supervisor, stop it, or give this one a journal of its \
         own; if not, end it"
    )))
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

fn unusable(path: &Path) -> String {
    format!(
        "can't open the journal {}: its directory must exist, be writable and have 256 KiB free",
        path.display()
    )
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// `20260314T150926Z`.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = String::new();
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    // Writing into a String can't fail.
    let _ = write!(text, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z");
    text
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_told_in_utc() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_735_689_599, "20241231T235959Z"),
            (1_773_500_966, "20260314T150926Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
