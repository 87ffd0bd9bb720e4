//! The simulated disk, and the lock on the data directory.
//!
//! Faults it can make, all of them survivable: the process dies before a write or in the middle of it (a prefix of the
//! bytes is there); the disk is full for a while; an fsync fails once, and what it was to make durable never is, whatever a
//! later one says; power fails, and of what was not synced any prefix, file by file, is there, with zeros behind it if
//! only the file's length was made durable. A file's content needs [`Disk::sync`], its name [`Disk::sync_dir`].
//!
//! And for as long as a hook runs, a process can be shown what is not so: a file as it was before the last write to it, or
//! with something else in its place. What it writes meanwhile is gone afterwards.
//!
//! Not made: bit rot, and writes that overtake each other within a file.
//!
//! A process that has died is fenced: what its code still does, destructors included, changes nothing.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Error, ErrorKind};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use handoff::HostError;
use handoff::id::DirectoryId;

use super::file::{File, Lie};

/// The name of the data directory's record, which the library writes, not the daemon.
pub(crate) const RECORD: &str = "data/handoff.record";
/// The name of the supervisor's journal.
pub(crate) const JOURNAL: &str = "var/handoff.journal";

/// A daemon's data directory. Names are plain file names in it.
#[derive(Clone, Debug)]
pub struct Disk {
    shared: Arc<Mutex<SharedFiles>>,
    pid: u32,
}

/// The payload with which a process that has died is unwound.
#[derive(Debug)]
pub(crate) struct Died;

/// The way to take back what was done to the directory.
#[derive(Clone, Debug)]
enum DirUndo {
    Create(String),
    Remove(String, File),
    Rename { from: String, to: String, replaced: Option<File> },
}

/// A write to the data directory that its process does not live to see the end of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArmedWrite {
    /// Its number.
    pub index: usize,
    /// `true` if half of it is written, or nothing.
    pub torn: bool,
    pub in_handoff: u32,
    /// The number of writes that are still to come.
    pub left: u32,
}

/// A process that is shown what is not so, and what is so.
#[derive(Debug)]
struct Deceived {
    pid: u32,
    lie: Lie,
    files: BTreeMap<String, File>,
    names: Vec<DirUndo>,
}

/// The files that all processes see.
#[derive(Debug, Default)]
pub(crate) struct SharedFiles {
    files: BTreeMap<String, File>,
    names: Vec<DirUndo>,
    /// The processes that have the lock: one, unless it excludes none.
    pub holders: BTreeSet<u32>,
    /// The processes that wait for it, the first one first.
    pub(super) waiting: VecDeque<u32>,
    /// The holders that have written since they took it.
    pub(super) writers: BTreeSet<u32>,
    /// The processes that have a copy of the descriptor that one opened for it: itself, and its forks.
    pub(super) sharers: BTreeMap<u32, BTreeSet<u32>>,
    /// Fenced: they have died.
    pub dead: BTreeSet<u32>,
    pub full: bool,
    pub fsync_fails: bool,
    pub armed: Vec<ArmedWrite>,
    /// Those that have struck: their numbers.
    pub struck: Vec<usize>,
    /// Writes since they were last asked for: places where one could have struck.
    pub writes: u32,
    pub handoff: u32,
    /// As on a file system on which it does nothing.
    pub flock_excludes_nobody: bool,
    deceived: Option<Deceived>,
    /// Those that have another data directory open.
    pub elsewhere: BTreeSet<u32>,
    /// The fault that must not be, in words.
    pub violation: Option<String>,
    /// `true` if data files hold what a daemon has written and not synced.
    dirty: bool,
}

impl Disk {
    pub(crate) fn new(pid: u32) -> Disk {
        Disk { shared: Arc::default(), pid }
    }

    /// The same disk, as another process sees it.
    pub(crate) fn of(&self, pid: u32) -> Disk {
        Disk { shared: Arc::clone(&self.shared), pid }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, SharedFiles> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let shared = self.lock();
        if shared.dead.contains(&self.pid) {
            return Err(Error::new(ErrorKind::NotFound, "this process has died"));
        }
        let deceived = shared.deceived.as_ref().filter(|deceived| deceived.pid == self.pid);
        let lie = deceived.map(|deceived| deceived.lie);
        let file = shared.files.get(&path(name));
        file.map(|file| file.shown(lie)).ok_or_else(|| Error::new(ErrorKind::NotFound, name.to_string()))
    }

    /// Adds bytes to the end of a file, which is created if it is missing.
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`].
    pub fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write(name, None, bytes)
    }

    /// Writes bytes at an offset, past the end if need be; zeros fill a hole.
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`].
    pub fn write_at(&self, name: &str, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.write(name, Some(offset), bytes)
    }

    fn write(&self, name: &str, offset: Option<usize>, bytes: &[u8]) -> io::Result<()> {
        let Some(mut shared) = self.begin_write("writes")? else { return Ok(()) };
        let half = match shared.strikes() {
            Some(ArmedWrite { torn: true, .. }) => Some(bytes.len() / 2),
            Some(ArmedWrite { torn: false, .. }) => Some(0),
            None => None,
        };
        shared.dirty = true;
        shared.put(&path(name), offset, &bytes[..half.unwrap_or(bytes.len())]);
        if half.is_some() {
            shared.dead.insert(self.pid);
            drop(shared);
            resume_unwind(Box::new(Died));
        }
        Ok(())
    }

    /// Cuts a file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn truncate(&self, name: &str, length: usize) -> io::Result<()> {
        let Some(mut shared) = self.begin_write("truncates")? else { return Ok(()) };
        shared.dirty = true;
        let missing = || Error::new(ErrorKind::NotFound, name.to_string());
        let file = shared.files.get_mut(&path(name)).ok_or_else(missing)?;
        file.truncate(length);
        Ok(())
    }

    /// Makes a file's content durable (`fsync(2)`).
    ///
    /// # Errors
    /// It is missing; or the device failed: what was to become durable never will.
    pub fn sync(&self, name: &str) -> io::Result<()> {
        let mut shared = self.lock();
        if shared.dead.contains(&self.pid) {
            return Ok(());
        }
        shared.sync(&path(name))
    }

    /// Makes the directory's names durable.
    ///
    /// # Errors
    /// None as yet.
    pub fn sync_dir(&self) -> io::Result<()> {
        let mut shared = self.lock();
        if !shared.dead.contains(&self.pid) {
            shared.names.clear();
        }
        Ok(())
    }

    /// Gives a file another name, replacing what has it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let Some(mut shared) = self.begin_write("renames")? else { return Ok(()) };
        let (from, to) = (path(from), path(to));
        let missing = || Error::new(ErrorKind::NotFound, from.clone());
        let file = shared.files.remove(&from).ok_or_else(missing)?;
        let replaced = shared.files.insert(to.clone(), file);
        shared.names.push(DirUndo::Rename { from, to, replaced });
        Ok(())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let Some(mut shared) = self.begin_write("removes")? else { return Ok(()) };
        let name = path(name);
        let file = shared.files.remove(&name);
        let file = file.ok_or_else(|| Error::new(ErrorKind::NotFound, name.clone()))?;
        shared.names.push(DirUndo::Remove(name, file));
        Ok(())
    }

    /// The names in the directory, in order.
    pub fn list(&self) -> Vec<String> {
        let shared = self.lock();
        let plain = |name: &String| name.strip_prefix("data/").map(str::to_string);
        shared.files.keys().filter(|name| *name != RECORD).filter_map(plain).collect()
    }

    /// Returns what may be written now: `None` by the dead.
    fn begin_write(&self, verb: &str) -> io::Result<Option<MutexGuard<'_, SharedFiles>>> {
        let mut shared = self.lock();
        if shared.dead.contains(&self.pid) {
            return Ok(None);
        }
        shared.audit(self.pid, verb);
        if shared.full {
            return Err(Error::new(ErrorKind::StorageFull, "no space left on device"));
        }
        Ok(Some(shared))
    }
}

fn path(name: &str) -> String {
    format!("data/{name}")
}

impl SharedFiles {
    /// A process writes to the data directory: it must have the lock, and no other process that has it may write.
    fn audit(&mut self, pid: u32, verb: &str) {
        let violation = if !self.holders.contains(&pid) {
            Some(format!("process {pid} {verb} without the lock"))
        } else {
            let other = self.writers.iter().find(|other| **other != pid);
            other.map(|other| format!("process {pid} {verb} while process {other} may"))
        };
        self.writers.insert(pid);
        self.violation = self.violation.take().or(violation);
    }

    /// Returns what is to become of this write, if it is one that is waited for.
    fn strikes(&mut self) -> Option<ArmedWrite> {
        self.writes += 1;
        let handoff = self.handoff;
        let mut due = None;
        for (place, armed) in
            self.armed.iter_mut().enumerate().filter(|(_, armed)| armed.in_handoff <= handoff)
        {
            armed.left -= 1;
            if armed.left == 0 && due.is_none() {
                due = Some(place);
            }
            armed.left = armed.left.max(1);
        }
        let armed = self.armed.remove(due?);
        self.struck.push(armed.index);
        Some(armed)
    }

    fn put(&mut self, name: &str, offset: Option<usize>, bytes: &[u8]) {
        if !self.files.contains_key(name) {
            self.names.push(DirUndo::Create(name.into()));
            self.files.insert(name.into(), File::default());
        }
        self.files.get_mut(name).into_iter().for_each(|file| file.put(offset, bytes));
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let fails = std::mem::take(&mut self.fsync_fails);
        let missing = || Error::new(ErrorKind::NotFound, name.to_string());
        let file = self.files.get_mut(name).ok_or_else(missing)?;
        file.sync(fails);
        if fails { Err(Error::other("input/output error")) } else { Ok(()) }
    }

    /// Data that was written and not synced.
    pub(crate) fn unsynced(&self) -> Option<&str> {
        let data =
            |(name, file): (&String, &File)| name.starts_with("data/") && name != RECORD && !file.is_synced();
        self.files.iter().find(|entry| data(*entry)).map(|(name, _)| name.trim_start_matches("data/"))
    }

    /// A file of the library's own: the record, which is never synced, or the journal, which is.
    pub(crate) fn system_read(&self, name: &str) -> &[u8] {
        self.files.get(name).map(File::bytes).unwrap_or_default()
    }

    /// As [`SharedFiles::system_read`]. These files are made at their full size: a full disk does not matter to them later.
    pub(crate) fn system_write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> Result<(), HostError> {
        if self.full && !self.files.contains_key(name) {
            return Err(HostError::system("no space left on device"));
        }
        self.put(name, Some(offset), bytes);
        Ok(())
    }

    /// As [`SharedFiles::system_read`].
    pub(crate) fn system_sync(&mut self, name: &str) -> Result<(), HostError> {
        self.names.retain(|undo| !matches!(undo, DirUndo::Create(created) if created == name));
        self.sync(name).map_err(HostError::from)
    }

    /// The data directory that `pid` has opened.
    pub(crate) fn directory_of(&self, pid: u32) -> DirectoryId {
        DirectoryId { dev: 1, ino: if self.elsewhere.contains(&pid) { 2 } else { 1 } }
    }

    /// Shows `pid` what is not so, until [`SharedFiles::tells_the_truth`].
    pub(crate) fn lies(&mut self, pid: u32, lie: Lie) {
        let (files, names) = (self.files.clone(), self.names.clone());
        if lie == Lie::Another {
            self.files.retain(|name, _| !name.starts_with("data/") || name == RECORD);
        }
        self.deceived = Some(Deceived { pid, lie, files, names });
    }

    pub(crate) fn tells_the_truth(&mut self) {
        if let Some(Deceived { files, names, .. }) = self.deceived.take() {
            (self.files, self.names) = (files, names);
        }
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&mut self) {
        self.full = false;
        self.fsync_fails = false;
        self.armed.clear();
    }

    /// Returns whether something will go wrong with a later write.
    pub(crate) fn is_sick(&self) -> bool {
        self.full || self.fsync_fails
    }

    /// Everything dies; of what was not synced, so much is left as `kept(how much there is)` says.
    pub(crate) fn power_fails(&mut self, mut kept: impl FnMut(usize) -> usize) {
        let names = self.names.len();
        for undo in self.names.split_off(kept(names).min(names)).into_iter().rev() {
            match undo {
                DirUndo::Create(name) => drop(self.files.remove(&name)),
                DirUndo::Remove(name, file) => drop(self.files.insert(name, file)),
                DirUndo::Rename { from, to, replaced } => {
                    let file = self.files.remove(&to).unwrap_or_default();
                    self.files.insert(from, file);
                    self.files.extend(replaced.map(|file| (to, file)));
                }
            }
        }
        self.names.clear();
        self.files.values_mut().for_each(|file| file.power_fails(&mut kept));
        self.dirty = false;
        self.holders.clear();
        self.waiting.clear();
        self.writers.clear();
        self.sharers.clear();
        self.full = false;
        self.fsync_fails = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        let disk = Disk::new(1);
        disk.lock().try_lock(1);
        disk
    }

    #[test]
    fn what_was_synced_outlives_a_power_failure_and_nothing_else_need() {
        let disk = disk();
        disk.append("log", b"one").expect("a write");
        disk.sync("log").expect("a sync");
        disk.sync_dir().expect("a sync");
        disk.append("log", b"two").expect("a write");
        disk.append("log", b"three").expect("a write");
        disk.append("new", b"x").expect("a write");
        // None of the names; one write to the log, and two bytes of the next.
        let mut choices = [0, 1, 2, 2, 0].into_iter();
        disk.lock().power_fails(|_| choices.next().expect("a choice"));
        assert_eq!(disk.read("log").expect("the log"), b"onetwoth");
        assert!(disk.read("new").is_err(), "its name was not synced");
    }

    #[test]
    fn a_file_may_have_its_length_without_its_bytes() {
        let disk = disk();
        disk.append("log", b"one").and_then(|()| disk.sync("log")).expect("a file");
        disk.append("log", b"two").and_then(|()| disk.sync_dir()).expect("a write");
        // Neither the write nor a part of it, but its length.
        let mut choices = [0, 0, 0, 1].into_iter();
        disk.lock().power_fails(|_| choices.next().expect("a choice"));
        assert_eq!(disk.read("log").expect("the log"), b"one\0\0\0");
    }

    #[test]
    fn a_rename_that_was_not_synced_is_undone_with_what_it_replaced() {
        let disk = disk();
        disk.append("a", b"old").expect("a write");
        disk.append("b", b"new").expect("a write");
        disk.sync("a").and_then(|()| disk.sync("b")).and_then(|()| disk.sync_dir()).expect("syncs");
        disk.rename("b", "a").expect("a rename");
        disk.lock().power_fails(|_| 0);
        assert_eq!((disk.read("a").expect("a"), disk.read("b").expect("b")), (b"old".into(), b"new".into()));
    }

    #[test]
    fn what_an_fsync_failed_on_is_never_durable() {
        let disk = disk();
        disk.append("log", b"one").expect("a write");
        disk.sync_dir().expect("a sync");
        disk.lock().fsync_fails = true;
        disk.sync("log").expect_err("the device fails");
        disk.append("log", b"two").expect("a write");
        disk.sync("log").expect("the next one says that all is well");
        assert_eq!(disk.read("log").expect("the log"), b"onetwo");
        disk.lock().power_fails(|writes| writes);
        assert_eq!(disk.read("log").expect("the log"), b"\0\0\0two");
    }

    #[test]
    fn what_is_written_anew_after_a_failed_fsync_can_be_durable() {
        let disk = disk();
        disk.append("log", b"......")
            .and_then(|()| disk.sync("log"))
            .and_then(|()| disk.sync_dir())
            .expect("a file");
        disk.write_at("log", 0, b"onetwo").expect("a write");
        disk.lock().fsync_fails = true;
        disk.sync("log").expect_err("the device fails");
        disk.write_at("log", 0, b"one").and_then(|()| disk.sync("log")).expect("a part of it, again");
        disk.lock().power_fails(|writes| writes);
        assert_eq!(disk.read("log").expect("the log"), b"one...");
    }

    #[test]
    fn a_truncation_is_undone() {
        let disk = disk();
        disk.append("log", b"onetwo").expect("a write");
        disk.sync("log").and_then(|()| disk.sync_dir()).expect("syncs");
        disk.truncate("log", 3).expect("a cut");
        disk.lock().power_fails(|_| 0);
        assert_eq!(disk.read("log").expect("the log"), b"onetwo");
    }

    #[test]
    fn who_is_lied_to_changes_nothing() {
        let disk = disk();
        disk.append("log", b"one").and_then(|()| disk.append("log", b"two")).expect("two writes");
        for (lie, shown) in [(Lie::Stale, b"one".as_slice()), (Lie::Altered, b"oneuwo")] {
            disk.lock().lies(1, lie);
            assert_eq!(disk.read("log").expect("the log"), shown);
            assert_eq!(disk.of(2).read("log").expect("the log"), b"onetwo");
            disk.truncate("log", 1).expect("a cut");
            disk.lock().tells_the_truth();
            assert_eq!(disk.read("log").expect("the log"), b"onetwo");
        }
    }

    #[test]
    fn the_dead_change_nothing() {
        let disk = disk();
        disk.append("log", b"one").expect("a write");
        disk.lock().dead.insert(1);
        disk.append("log", b"two").expect("as if it had");
        disk.remove("log").expect("as if it had");
        assert_eq!(disk.of(2).read("log").expect("the log"), b"one");
    }

    #[test]
    fn a_write_without_the_lock_is_seen() {
        let disk = disk();
        disk.of(2).append("log", b"two").expect("a write");
        assert_eq!(disk.lock().violation.as_deref(), Some("process 2 writes without the lock"));
    }
}
