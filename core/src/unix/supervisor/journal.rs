//! What a handoff's notes make of the journal.
use std::time::SystemTime;

use crate::error::Result;
use crate::id::{HandoffId, ProcessId};
use crate::journal::{Binary, Journal, Running, UnderWay};
use crate::machine::supervisor::{Note, Verdict};
use crate::unix::journal::JournalFile;

/// Who takes part in the handoff that is noted.
#[derive(Clone, Debug)]
pub(super) struct Parties {
    pub(super) handoff_id: HandoffId,
    pub(super) incumbent: Option<ProcessId>,
    pub(super) successor: Option<Successor>,
    pub(super) successor_build: Vec<u8>,
    /// What the journal said before this handoff.
    pub(super) before: Journal,
}

/// Who is to serve.
#[derive(Clone, Debug)]
pub(super) struct Successor {
    pub(super) process: ProcessId,
    pub(super) binary: Binary,
}

/// What the journal says after `note`.
pub(super) fn noted(note: Note, knows: &Journal, parties: &Parties) -> Journal {
    let mut journal = knows.clone();
    journal.written_at_unix_ms = unix_ms();
    match (note, parties.successor.clone()) {
        (Note::UnderWay, Some(Successor { process, binary })) => {
            let (handoff_id, incumbent) = (parties.handoff_id, parties.incumbent);
            let (successor, committing) = (process, false);
            journal.under_way = Some(UnderWay { handoff_id, incumbent, successor, binary, committing });
        }
        (Note::Committed, Some(Successor { process, binary })) => {
            journal.running = Some(Running { process, build_id: parties.successor_build.clone() });
            // To start the same once more replaces nothing: what went before stays known.
            if journal.committed.as_ref() != Some(&binary) {
                journal.previous = journal.committed.replace(binary);
            }
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

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    crate::message::millis(since)
}
