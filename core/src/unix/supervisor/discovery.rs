//! What the system shows of the daemons at a control path: the sockets beside it, its listener, the lock's holder.
use std::path::Path;

use super::Supervisor;
use crate::id::ProcessId;
use crate::node::recovery::Seen;
use crate::unix::control;
use crate::unix::lock;
use crate::unix::pid::{may_live, start_time_of};
use crate::unix::record_file;

/// Looks for daemons; `owner` is the process that listens at the control path.
pub(super) fn look(supervisor: &Supervisor, owner: Option<u32>) -> Seen {
    let beside = control::pids_beside(&supervisor.control).unwrap_or_default();
    Seen {
        beside: beside.into_iter().filter_map(process_of).collect(),
        owner: owner.and_then(process_of),
        holder: supervisor.data_dir.as_deref().and_then(lock_holder),
    }
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
