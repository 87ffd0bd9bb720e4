//! The signs of the daemons at a control path that the system shows: the sockets beside it, its listener, the
//! lock's holder.
//!
//! A daemon listens from its birth at a socket of its own beside the control path. A process that listens at the path, or
//! holds the lock, and has no such socket is no daemon of this path: another program, or another supervisor's daemon. It is
//! neither waited for nor ended; it is named where it is in the way.
use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::Supervisor;
use crate::id::ProcessId;
use crate::node::recovery::Seen;
use crate::unix::control::{self, Owner};
use crate::unix::lock::{self, program_of};
use crate::unix::pid::{may_live, start_time_of};
use crate::unix::record_file;

/// Looks for daemons.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    at_path: Owner,
    beside: BTreeMap<u32, Owner>,
}

impl Lookout {
    /// Looks for daemons of `supervisor`, of which `named` are known by name.
    pub(super) fn look(
        &mut self,
        supervisor: &Supervisor,
        mut named: impl Iterator<Item = ProcessId>,
    ) -> Seen {
        let control = &supervisor.control;
        let owner = self.at_path.of(control).and_then(process_of);
        let holder = supervisor.data_dir.as_deref().and_then(lock_holder);
        Seen {
            owner: self.is_daemon(control, owner),
            holder: self.is_daemon(control, holder),
            swept: holder
                .filter(|holder| is_swept(control, *holder))
                .or_else(|| named.find(|process| is_hidden(control, *process))),
            ..beside(control)
        }
    }

    /// Returns `process`, if the kernel says that it listens at a socket of its own beside `control`. A
    /// file's name could name any process.
    fn is_daemon(&mut self, control: &Path, process: Option<ProcessId>) -> Option<ProcessId> {
        process.filter(|process| {
            let socket = control::beside(control, process.pid);
            self.beside.entry(process.pid).or_default().of(&socket) == Some(process.pid)
        })
    }
}

/// The processes whose sockets lie beside `control`, as far as files' names tell.
fn beside(control: &Path) -> Seen {
    let beside = control::pids_beside(control).unwrap_or_default();
    Seen { beside: beside.into_iter().filter_map(process_of).collect(), ..Seen::default() }
}

/// Returns whether nothing lies where the own socket of `process` should be.
fn is_swept(control: &Path, process: ProcessId) -> bool {
    let there = control::beside(control, process.pid).symlink_metadata();
    there.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Returns whether the kernel knows a socket that listens by the name that `process` has beside `control`,
/// while no socket is there: the name was removed, and the process could not put it back.
fn is_hidden(control: &Path, process: ProcessId) -> bool {
    let beside = control::beside(control, process.pid);
    let is_there = beside.symlink_metadata().is_ok_and(|found| found.file_type().is_socket());
    if is_there || !may_live(process.pid) {
        return false;
    }
    let suffix = format!(".{}", process.pid);
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let mut names = sockets.lines().filter_map(listening_name).filter(|name| name.ends_with(&suffix));
    names.any(|name| control::is_name_for(control, Path::new(name)))
}

/// The name of a socket that listens, in a line of `/proc/net/unix`.
fn listening_name(line: &str) -> Option<&str> {
    const LISTENS: &str = "00010000";
    let mut rest = line;
    let mut fields = [""; 7];
    for field in &mut fields {
        (*field, rest) = rest.trim_start().split_once(' ')?;
    }
    (fields[3] == LISTENS).then_some(rest.trim_start())
}

/// A process that listens at the control path and is no daemon of it, in words.
pub(super) fn stranger_at(control: &Path) -> Option<String> {
    let mut lookout = Lookout::default();
    let owner = lookout.at_path.of(control).and_then(process_of)?;
    if lookout.is_daemon(control, Some(owner)).is_some() {
        return None;
    }
    Some(format!("process {owner} ({})", program_of(owner.pid)))
}

/// The process that holds the lock of a data directory, if the record and the kernel say the same.
fn lock_holder(dir: &Path) -> Option<ProcessId> {
    record_file::holder(dir)
        .filter(|holder| lock::holder_at(dir).is_some_and(|found| found.pid == holder.pid))
}

/// The living process with this number.
fn process_of(pid: u32) -> Option<ProcessId> {
    let start_time = start_time_of(pid).ok().flatten().filter(|_| may_live(pid))?;
    Some(ProcessId { pid, start_time })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::id::Fingerprint;
    use crate::record::Record;
    use crate::unix::lock::DataDirLock;
    use crate::unix::record_file::RecordFile;

    #[test]
    fn a_holder_that_only_the_record_names_is_nobody() {
        let dir = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .expect("a directory");
        let mut lock = DataDirLock::open(dir.path()).expect("a lock");
        assert!(lock.try_lock().expect("an answer"));
        let holder = process_of(std::process::id()).expect("this process");
        let record = Record {
            generation: 1,
            holder,
            sealed_for: None,
            serving: true,
            revisions: Vec::new(),
            fingerprint: Fingerprint::default(),
        };
        RecordFile::open(lock.dir()).expect("a file").write(&record).expect("a record");
        assert_eq!(lock_holder(dir.path()), Some(holder));
        lock.unlock().expect("a lock that is free");
        assert_eq!(lock_holder(dir.path()), None, "the record alone gives no right to end it");
    }
}
