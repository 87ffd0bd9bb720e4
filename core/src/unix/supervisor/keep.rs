//! Keeps the bytes of what was committed. Operators install a new build over the old one's path, in place even,
//! and a restart must bring back what was committed, not what lies there by now.
//!
//! An open descriptor keeps them while this process lives, and only against a rename; with a journal a copy beside
//! it outlives both. It is made on a thread of its own, comes to its name complete, and that it is missing never
//! fails a handoff.
use std::fs::{self, File, Metadata};
use std::io::{self, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::libc;
use nix::unistd::{AccessFlags, access};

use crate::id::HandoffId;
use crate::journal::{Binary, FileIdentity, Journal};
use crate::unix::again::uninterrupted;
use crate::unix::journal::{sync_directory, with_suffix};
use crate::unix::privileges::Privileges;
use crate::unix::trusted::{self, Draft, is_draft_of};

/// The text between the journal's path and the handoff's id in the name of a copy.
const INFIX: &str = ".binary-";

/// An executable file that is held open.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    metadata: Metadata,
}

impl Opened {
    /// `None` if it can't be read: to execute it takes less.
    pub(super) fn open(path: &Path) -> Option<Opened> {
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
        let metadata = file.metadata().ok().filter(Metadata::is_file)?;
        Some(Opened { file, metadata })
    }

    /// Returns what the process `pid` executes. As long as it does, the kernel lets no process write to it.
    fn executed_by(pid: u32) -> Option<Opened> {
        Opened::open(Path::new(&format!("/proc/{pid}/exe")))
    }

    /// Returns the identity of the file that these bytes belong to.
    pub(super) fn identity(&self) -> FileIdentity {
        identity_of(&self.metadata)
    }

    /// Returns whether it was not written to since it was opened. Another name, or one less, changes the
    /// inode, not its bytes.
    pub(super) fn is_intact(&self) -> bool {
        let bytes = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        self.file.metadata().is_ok_and(|now| bytes(&now) == bytes(&self.metadata))
    }

    /// Returns what the file of a daemon that is started from `copy` would lack, in words.
    pub(super) fn lacks(&self, copy: &File) -> Option<String> {
        Privileges::of(&self.file).that_lacks(copy)
    }

    /// A path to it, wherever its own leads by now. It goes through this process, not through `self`: the child's
    /// descriptors are being rearranged when it is looked up.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()));
        path.exists().then_some(path)
    }
}

/// The file that is at `path` now.
pub(super) fn identity_at(path: &Path) -> Option<FileIdentity> {
    path.metadata().ok().map(|metadata| identity_of(&metadata))
}

fn identity_of(metadata: &Metadata) -> FileIdentity {
    FileIdentity {
        dev: metadata.dev(),
        ino: metadata.ino(),
        size: metadata.size(),
        changed_secs: metadata.ctime(),
        changed_nanos: metadata.ctime_nsec(),
    }
}

/// The file that a process was started from, looked at before and after its start.
#[derive(Debug)]
pub(super) struct Executable {
    pub(super) opened: Option<Arc<Opened>>,
    pub(super) identity: Option<FileIdentity>,
}

impl Executable {
    /// Returns what is at `path` before it is executed.
    pub(super) fn at(path: &Path) -> Executable {
        let opened = Opened::open(path).map(Arc::new);
        let identity = opened.as_ref().map(|opened| opened.identity()).or_else(|| identity_at(path));
        Executable { opened, identity }
    }

    /// The process `pid` has executed `path`. If another file came there at that very moment, it is asked which;
    /// otherwise not, since it may be a script, or have executed something else since.
    pub(super) fn started(self, path: &Path, pid: u32) -> Executable {
        if self.identity.is_some() && identity_at(path) == self.identity {
            return self;
        }
        let opened = Opened::executed_by(pid).map(Arc::new);
        Executable { identity: opened.as_ref().map(|opened| opened.identity()), opened }
    }
}

/// The binaries that were committed, and the bytes of them that are at hand.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// Beside which copies are kept.
    journal: Option<PathBuf>,
    pub(super) committed: Option<Binary>,
    pub(super) previous: Option<Binary>,
    opened: Vec<(HandoffId, Arc<Opened>)>,
}

impl Shelf {
    /// Keeps copies beside `journal` from now on.
    pub(super) fn keep_beside(&mut self, journal: &Path) -> io::Result<()> {
        self.journal = Some(std::path::absolute(journal)?);
        Ok(())
    }

    /// Holds a file open until it is known whether it is committed.
    pub(super) fn hold(&mut self, id: HandoffId, opened: Arc<Opened>) {
        if self.held(id).is_none() {
            self.opened.retain(|(other, _)| *other != id);
            self.opened.push((id, opened));
        }
    }

    /// The file of the handoff `id`, if it is held and was not written to.
    pub(super) fn held(&self, id: HandoffId) -> Option<Arc<Opened>> {
        let mut of_it = self.opened.iter().filter(|(other, _)| *other == id);
        of_it.find(|(_, opened)| opened.is_intact()).map(|(_, opened)| Arc::clone(opened))
    }

    /// Returns where the copy of `binary` is, or will be.
    pub(super) fn copy_of(&self, binary: &Binary) -> Option<PathBuf> {
        let journal = self.journal.as_ref()?;
        Some(with_suffix(journal, &format!("{INFIX}{}", binary.handoff_id)))
    }

    /// Takes over what `journal` says was committed, and lets go of everything else. What is to be done about it,
    /// if copies are kept.
    pub(super) fn update(&mut self, journal: &Journal, may_remove: bool) -> Option<Chores> {
        self.committed.clone_from(&journal.committed);
        self.previous.clone_from(&journal.previous);
        let wanted: Vec<Binary> = self.committed.iter().chain(&self.previous).cloned().collect();
        self.opened.retain(|(id, _)| wanted.iter().any(|binary| binary.handoff_id == *id));
        let running = journal.running.as_ref().map(|running| running.process.pid);
        let copies = wanted
            .iter()
            .filter_map(|binary| Some((self.copy_of(binary)?, self.find(binary, running), path_of(binary))))
            .collect();
        Some(Chores { journal: self.journal.clone()?, copies, may_remove })
    }

    /// The bytes of `binary`, wherever they still are.
    fn find(&mut self, binary: &Binary, running: Option<u32>) -> Option<Arc<Opened>> {
        if let Some(held) = self.held(binary.handoff_id) {
            return Some(held);
        }
        let known = binary.identity?;
        let file = |identity: FileIdentity| (identity.dev, identity.ino, identity.size);
        let executed = running.and_then(Opened::executed_by);
        let found = executed
            .filter(|opened| file(opened.identity()) == file(known))
            .or_else(|| Opened::open(&path_of(binary)).filter(|opened| opened.identity() == known));
        let found = Arc::new(found?);
        self.hold(binary.handoff_id, Arc::clone(&found));
        Some(found)
    }
}

fn path_of(binary: &Binary) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(&binary.path))
}

/// The work that is left beside the journal.
#[derive(Debug)]
pub(super) struct Chores {
    journal: PathBuf,
    /// Copies that are wanted, the bytes of each, and the path that they were started from.
    copies: Vec<(PathBuf, Option<Arc<Opened>>, PathBuf)>,
    /// `true` if the journal's file says the same: no later supervisor will want another copy.
    may_remove: bool,
}

impl Chores {
    /// Does them; what is to be said of the copies.
    fn done(self) -> Vec<String> {
        if self.may_remove
            && let Err(error) = self.remove_others()
        {
            let journal = self.journal.display();
            tracing::warn!(target: "handoff.keep", "can't remove old binaries beside {journal}: {error}");
        }
        let copies = self.copies.into_iter();
        copies.filter_map(|(copy, opened, binary)| keep_copy(&copy, opened.as_deref(), &binary)).collect()
    }

    /// Removes copies of what no supervisor will start any more, and drafts that a crash has left.
    fn remove_others(&self) -> io::Result<()> {
        let (Some(dir), Some(name)) = (self.journal.parent(), self.journal.file_name()) else {
            return Ok(());
        };
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let is_wanted = self.copies.iter().any(|(copy, ..)| *copy == entry.path());
            if !is_wanted && is_copy(entry.file_name().as_bytes(), name.as_bytes()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Sees that the bytes of `binary` are kept as `copy`. What is to be said of it, if something is.
fn keep_copy(copy: &Path, opened: Option<&Opened>, binary: &Path) -> Option<String> {
    let is_new = !is_kept(copy);
    let made = if is_new { make_copy(opened, copy) } else { Ok(()) };
    let (binary, to) = (binary.display(), copy.display());
    let said = match made.and_then(|()| what_it_lacks(opened, copy)) {
        Err(error) => format!(
            "the committed binary {binary} is not kept as {to}: {error}. Don't change that file, a restart needs it; \
             and make room there, or put the journal elsewhere"
        ),
        Ok(Some(lacking)) => format!(
            "the copy {to} of the committed binary {binary} lacks {lacking}: don't change or replace that file while it \
             may have to be started again; let systemd's AmbientCapabilities give what it needs, or run the supervisor as root"
        ),
        Ok(None) => {
            tracing::debug!(target: "handoff.keep", is_new, "kept {binary} as {to}");
            return None;
        }
    };
    if is_new {
        tracing::warn!(target: "handoff.keep", "{said}");
    }
    Some(said)
}

/// Returns what a copy lacks of what the file gives to its process, in words.
///
/// # Errors
/// Nothing can be executed where the copy lies.
fn what_it_lacks(opened: Option<&Opened>, copy: &Path) -> io::Result<Option<String>> {
    if !is_executable(copy) {
        return Err(io::Error::other("nothing can be executed there: its filesystem is mounted noexec"));
    }
    let copy = trusted::open_own(copy, false)?;
    Ok(opened.and_then(|opened| opened.lacks(&copy)))
}

/// Returns whether `name` is that of a copy, or of its draft, beside the journal called `journal`.
fn is_copy(name: &[u8], journal: &[u8]) -> bool {
    const DIGITS: usize = 32;
    let id = name.strip_prefix(journal).and_then(|rest| rest.strip_prefix(INFIX.as_bytes()));
    let Some((digits, rest)) = id.and_then(|id| id.split_at_checked(DIGITS)) else { return false };
    // The drafts of earlier versions had one name.
    let is_draft = rest == b".new" || is_draft_of(rest, b"");
    digits.iter().all(u8::is_ascii_hexdigit) && (rest.is_empty() || is_draft)
}

/// Returns whether the copy is there, and no other user can have put it there: what has this name is
/// complete.
pub(super) fn is_kept(copy: &Path) -> bool {
    match trusted::open_own(copy, false) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            tracing::warn!(target: "handoff.keep", "a kept binary is not used: {error}");
            false
        }
    }
}

/// Returns whether this process may execute `path`: not on a filesystem that is mounted `noexec`.
pub(super) fn is_executable(path: &Path) -> bool {
    access(path, AccessFlags::X_OK).is_ok()
}

fn make_copy(opened: Option<&Opened>, copy: &Path) -> io::Result<()> {
    let Some(opened) = opened else {
        return Err(io::Error::other("it can't be read, or was changed since it was started"));
    };
    let mut draft = Draft::beside(copy, 0o700)?;
    fill(opened, &mut draft.file)?;
    may_be_executed_by_the_same(&opened.metadata, &draft.file)?;
    // A change of the bytes, the owner or the mode would take them away again.
    Privileges::of(&opened.file).give_to(&draft.file);
    draft.rename(copy)?;
    // A file that is open for writing can't be executed.
    drop(draft);
    sync_directory(copy)
}

/// A daemon that does not run as this user must be able to execute the copy, as it was able to execute the file.
fn may_be_executed_by_the_same(original: &Metadata, copy: &File) -> io::Result<()> {
    let same_group = fchown(copy, None, Some(original.gid())).is_ok();
    let others = if same_group { 0o055 } else { 0o005 };
    copy.set_permissions(fs::Permissions::from_mode(0o700 | (original.mode() & others)))
}

fn fill(opened: &Opened, to: &mut File) -> io::Result<()> {
    let mut from = &opened.file;
    from.rewind()?;
    // What an interrupted copy has moved stays there, and the next one goes on behind it.
    uninterrupted(|| io::copy(&mut from, to))?;
    if to.metadata()?.len() != opened.metadata.len() || !opened.is_intact() {
        return Err(io::Error::other("it was written to meanwhile"));
    }
    to.sync_all()
}

/// The thread that copies: one at a time.
#[derive(Debug, Default)]
pub(super) struct Copier {
    thread: Option<JoinHandle<()>>,
    said: Option<Receiver<()>>,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Copier {
    /// The complaints about the copies, as far as these were made.
    pub(super) fn complaints(&self) -> Arc<Mutex<Vec<String>>> {
        Arc::clone(&self.complaints)
    }

    /// Does `chores`, after those before them.
    pub(super) fn begin(&mut self, chores: Chores) {
        self.finish();
        let (says, said) = channel();
        let complaints = self.complaints();
        let work = move || {
            let done = chores.done();
            *complaints.lock().unwrap_or_else(PoisonError::into_inner) = done;
            let _ = says.send(());
        };
        match thread::Builder::new().name("handoff-keep".into()).spawn(work) {
            Ok(thread) => (self.thread, self.said) = (Some(thread), Some(said)),
            Err(error) => {
                tracing::warn!(target: "handoff.keep", "no thread to keep the committed binary: {error}");
            }
        }
    }

    /// Reports what went wrong with the copies, if they are made within `limit`: a slow disk must not delay an outcome for longer.
    pub(super) fn said_within(&mut self, limit: Duration) -> Vec<String> {
        match self.said.take() {
            Some(said) if said.recv_timeout(limit).is_ok() => {
                self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
            }
            _ => Vec::new(),
        }
    }

    fn finish(&mut self) {
        // A panic there has been reported by itself, and costs a copy.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.finish();
    }
}
