//! The journals of supervisors, by the code that writes them in production. Every process here was started
//! from a binary of its own.
use std::sync::Arc;

use handoff::data::Data;
use handoff::journal::{Binary, Journal, Parties, Running};
use handoff::machine::recovery;
use handoff::machine::supervisor::Note;
use handoff::{HandoffId, HostError, ProcessId};

use super::{Model, ModelRecovery, ModelSupervisor, id};

/// Returns what `pid` was started from.
fn binary(pid: u32) -> Binary {
    Binary {
        handoff_id: HandoffId([0; 16]),
        path: pid.to_le_bytes().into(),
        args: Vec::new(),
        working_dir: None,
        identity: None,
    }
}

/// Makes the journal in which one process serves, and that is all there was.
pub(crate) fn at_first(pid: u32) -> Journal {
    let running = Running { process: id(pid), build_id: Vec::new(), is_committed: true };
    Journal { running: Some(running), committed: Some(binary(pid)), ..Journal::default() }
}

/// The process that serves, as far as `journal` knows.
pub(crate) fn running(journal: &Journal) -> Option<ProcessId> {
    journal.running.as_ref().map(|running| running.process)
}

/// Returns whether a supervisor that comes anew starts what `pid` was started from.
pub(crate) fn starts(journal: &Journal, pid: u32) -> bool {
    journal.committed == Some(binary(pid))
}

impl ModelSupervisor {
    /// Returns whether its successor serves, and that is noted.
    pub(crate) fn has_committed(&self) -> bool {
        self.successor.is_some() && running(&self.knows) == self.successor.map(id)
    }

    fn parties(&self) -> Parties {
        Parties {
            handoff_id: HandoffId([0; 16]),
            incumbent: self.incumbent.map(id),
            successor: self.successor.map(|pid| (id(pid), binary(pid))),
            successor_build: Vec::new(),
            sealed: None,
            opened: Data::default(),
            before: Journal::clone(&self.before),
        }
    }
}

impl Model {
    /// A handoff notes something, whether or not it can be written.
    pub(crate) fn note(&mut self, note: Note, is_written: bool) {
        let Some(supervisor) = &mut self.supervisor else { return };
        supervisor.knows = Arc::new(supervisor.knows.noted(note, &supervisor.parties()));
        supervisor.journal_failed = !is_written;
        if is_written {
            self.journal = supervisor.knows.clone();
        }
    }

    /// A recovery notes what it has found; whether that is enough for `Final`. Nothing is written where another supervisor
    /// holds the journal.
    pub(crate) fn note_recovery(
        &mut self,
        found: recovery::RecoveryVerdict,
        is_written: bool,
    ) -> Result<(), HostError> {
        let Some(recovery) = &mut self.recovery else { return Ok(()) };
        recovery.knows = Arc::new(recovery.knows.recovered(found, Vec::new()));
        let result =
            if is_written { recovery.knows.allows_final() } else { Err(HostError::system("injected")) };
        recovery.journal_failed = result.is_err();
        if is_written && recovery.has_journal {
            self.journal = recovery.knows.clone();
        }
        result
    }
}

impl ModelRecovery {
    /// The incumbent and the successor of a handoff that was not seen to come to its end.
    pub(crate) fn under_way(&self) -> (Option<ProcessId>, Option<ProcessId>) {
        let under_way = self.knows.under_way.as_ref();
        (under_way.and_then(|it| it.incumbent), under_way.map(|it| it.successor))
    }
}
