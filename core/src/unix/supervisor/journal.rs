//! What a handoff's notes make of the journal.
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

use crate::error::Result;
use crate::id::{HandoffId, ProcessId};
use crate::journal::{Binary, Journal, Running, UnderWay};
use crate::machine::supervisor::{Note, Verdict};
use crate::unix::journal::JournalFile;

use super::SpawnSpec;

/// Who takes part in the handoff that is noted.
#[derive(Clone, Debug)]
pub(super) struct Parties<'a> {
    pub(super) handoff_id: HandoffId,
    pub(super) spec: &'a SpawnSpec,
    pub(super) incumbent: Option<ProcessId>,
    pub(super) successor: Option<ProcessId>,
    pub(super) successor_build: Vec<u8>,
    /// What the journal said before this handoff.
    pub(super) before: Journal,
}

/// What the journal says after `note`.
pub(super) fn noted(note: Note, knows: &Journal, parties: &Parties<'_>) -> Journal {
    let mut journal = knows.clone();
    journal.written_at_unix_ms = unix_ms();
    match (note, parties.successor) {
        (Note::UnderWay, Some(successor)) => {
            let (handoff_id, incumbent) = (parties.handoff_id, parties.incumbent);
            journal.under_way = Some(UnderWay { handoff_id, incumbent, successor, committing: false });
        }
        (Note::Committed, Some(process)) => {
            journal.running = Some(Running { process, build_id: parties.successor_build.clone() });
            journal.committed = Some(binary(parties.spec));
            journal.under_way = None;
        }
        (Note::Over(Verdict::FellBack), _) => {
            journal = Journal { written_at_unix_ms: journal.written_at_unix_ms, ..parties.before.clone() };
            journal.under_way = None;
        }
        (Note::Over(Verdict::NobodyServes), _) => {
            journal.running = None;
            journal.under_way = None;
        }
        (Note::Over(_), _) => journal.under_way = None,
        (Note::UnderWay | Note::Committed, None) => {}
    }
    journal
}

/// Writes `journal`, if there is a file for it.
pub(super) fn write(file: Option<&mut JournalFile>, journal: &Journal) -> Result<()> {
    file.map_or(Ok(()), |file| file.write(journal))
}

fn binary(spec: &SpawnSpec) -> Binary {
    Binary {
        path: spec.binary.as_os_str().as_bytes().to_vec(),
        args: spec.args.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    crate::message::millis(since)
}
