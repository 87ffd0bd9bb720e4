//! What a handoff's notes make of the journal.
use std::time::SystemTime;

use crate::error::Result;
use crate::id::{HandoffId, ProcessId};
use crate::journal::{Binary, Journal, Running, UnderWay};
use crate::machine::recovery;
use crate::machine::supervisor::{Note, Verdict};
use crate::message::Hello;
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
            let (successor, retiring) = (process, false);
            journal.under_way = Some(UnderWay { handoff_id, incumbent, successor, binary, retiring });
        }
        (Note::Committed, Some(Successor { process, binary })) => {
            journal.running = Some(Running { process, build_id: parties.successor_build.clone() });
            commit(&mut journal, binary);
            // The incumbent is still to leave. If it hangs instead, a later supervisor must know its name.
            if let Some(under_way) = &mut journal.under_way {
                under_way.retiring = true;
            }
        }
        (Note::Over(Verdict::FellBack), _) => {
            journal = Journal { written_at_unix_ms: journal.written_at_unix_ms, ..parties.before.clone() };
            journal.under_way = None;
        }
        (Note::Over(Verdict::NobodyServes), _) => {
            journal.running = None;
            journal.under_way = None;
        }
        // Nobody has said that it serves, so all that take part are still to be known.
        (Note::Over(Verdict::Unconfirmed), _) => {}
        (Note::Over(_), _) => journal.under_way = None,
        (Note::UnderWay | Note::Committed, None) => {}
    }
    journal
}

/// To start the same once more replaces nothing: what went before stays known.
fn commit(journal: &mut Journal, binary: Binary) {
    if journal.committed.as_ref() != Some(&binary) {
        journal.previous = journal.committed.replace(binary);
    }
}

/// What the journal says when the daemon was stopped on purpose.
pub(super) fn stopped(knows: &Journal) -> Journal {
    Journal { running: None, under_way: None, written_at_unix_ms: unix_ms(), ..knows.clone() }
}

/// What the journal says after a recovery; `hello` is of the one that serves.
pub(super) fn recovered(knows: &Journal, found: recovery::Verdict, hello: Option<&Hello>) -> Journal {
    let mut journal = Journal { written_at_unix_ms: unix_ms(), ..knows.clone() };
    let under_way = journal.under_way.take();
    journal.running = match found {
        recovery::Verdict::Serves(process) => {
            let build_id = hello.map(|hello| hello.build_id.clone()).unwrap_or_default();
            Some(Running { process, build_id })
        }
        _ => None,
    };
    // Its supervisor was to write that it is committed, and could not.
    match under_way {
        Some(under_way) if found == recovery::Verdict::Serves(under_way.successor) => {
            commit(&mut journal, under_way.binary);
        }
        _ => {}
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
