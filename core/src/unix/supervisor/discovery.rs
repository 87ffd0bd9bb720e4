//! Who may be a daemon of a control path: what the journal, the record and the sockets say.
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Supervisor;
use crate::id::ProcessId;
use crate::journal::Journal;
use crate::machine::recovery::{Sight, Sighting};
use crate::unix::control;
use crate::unix::lock;
use crate::unix::pid::{may_live, start_time_of};
use crate::unix::record_file;

/// The processes that are named somewhere, whether or not they live.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<ProcessId, Sight>);

impl Names {
    fn add(&mut self, sight: Sight, processes: impl IntoIterator<Item = ProcessId>) {
        for process in processes {
            let known = self.0.entry(process).or_insert(sight);
            *known = sight.max(*known);
        }
    }

    /// All of them.
    pub(super) fn all(self) -> impl Iterator<Item = ProcessId> {
        self.0.into_keys()
    }

    /// As the machine takes them.
    pub(super) fn sightings(self) -> Vec<Sighting> {
        self.0.into_iter().map(|(process, sight)| Sighting { process, sight }).collect()
    }
}

/// Collects the names. Only what this supervisor has written itself, or the kernel says, makes a process one that may be
/// ended: the files beside the control path, the record and a daemon's word could name anybody.
pub(super) fn names(
    supervisor: &Supervisor,
    journal: &Journal,
    owner: Option<u32>,
    also: Option<ProcessId>,
) -> Names {
    let mut names = Names::default();
    let under_way = journal.under_way.as_ref();
    let beside = control::pids_beside(&supervisor.control).unwrap_or_default();
    names.add(Sight::Beside, beside.into_iter().filter_map(process_of));
    names.add(Sight::Beside, also);
    names.add(Sight::Incumbent, journal.running.as_ref().map(|running| running.process));
    names.add(Sight::Incumbent, under_way.and_then(|under_way| under_way.incumbent));
    names.add(Sight::Incumbent, owner.and_then(process_of));
    names.add(Sight::Incumbent, supervisor.data_dir.as_deref().and_then(lock_holder));
    names.add(Sight::Successor, under_way.map(|under_way| under_way.successor));
    names
}

/// Who holds the lock of a data directory, if the record and the kernel say the same.
fn lock_holder(dir: &Path) -> Option<ProcessId> {
    record_file::holder(dir).filter(|holder| lock::holder_at(dir) == Some(holder.pid))
}

/// The living process with this number.
fn process_of(pid: u32) -> Option<ProcessId> {
    let start_time = start_time_of(pid).ok().flatten().filter(|_| may_live(pid))?;
    Some(ProcessId { pid, start_time })
}

/// Whether `process` is at the other end, as far as the system tells, and may be talked to.
pub(super) fn check_peer(stream: &UnixStream, process: ProcessId) -> Result<(), String> {
    let peer = control::peer(stream).map_err(|error| error.to_string())?;
    if !control::uid_allowed(peer.uid, &[]) {
        return Err(format!("it runs as uid {}, which is not allowed here", peer.uid));
    }
    // 0 is a process of another pid namespace.
    match peer.pid.filter(|pid| *pid != 0 && *pid != process.pid) {
        Some(pid) => Err(format!("process {pid} listens there")),
        None => Ok(()),
    }
}
