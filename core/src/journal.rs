//! The things that a supervisor keeps across its own death: what runs, what it last committed, what is under
//! way.
use alloc::{format, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::error::{ErrorKind, HostError};
use crate::id::{HandoffId, ProcessId};
use crate::machine::recovery;
use crate::machine::supervisor::{HandoffVerdict, Note};
use crate::slots::Magic;

/// The bytes with which a journal's file begins. Its slots hold a [`Journal`] [in its
/// boot](crate::id::InBoot).
pub const MAGIC: Magic = Magic { name: *b"HOJRNL", version: 4 };

/// The size of each of its two slots, in bytes: room for the commands of three binaries and the revisions of all shards.
pub const SLOT_SIZE: usize = 128 * 1024;

/// The facts that a supervisor knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Journal {
    /// The daemon that serves.
    pub running: Option<Running>,
    /// The binary to start if nobody serves.
    pub committed: Option<Binary>,
    /// The binary that was committed before that: another binary, or the same with other arguments.
    pub previous: Option<Binary>,
    /// The handoff or cold start that was not seen to come to its end, or, with `retiring`, that was last.
    pub under_way: Option<UnderWay>,
    /// `true` if the daemon was stopped on purpose, and none was committed since: what is configured is
    /// started next, not what was committed.
    pub stopped: bool,
    /// The data that were served last: a daemon that replaces none is held to them.
    pub data: Data,
    /// The time at which this was written, in milliseconds since 1970; for people only.
    pub written_at_unix_ms: u64,
}

/// The daemon that serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Running {
    /// Its process.
    pub process: ProcessId,
    /// The name that the process gives to its build.
    pub build_id: Vec<u8>,
    /// `true` if it was started from what is committed, as far as is known. If not, a recovery has found it,
    /// and what it was started from is written nowhere.
    pub is_committed: bool,
}

/// A binary that was committed, or may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Binary {
    /// The first handoff that started this very file; names the copy that is kept of it.
    pub handoff_id: HandoffId,
    /// Its path, in the system's encoding.
    pub path: Vec<u8>,
    /// Its arguments after the zeroth, in the system's encoding.
    pub args: Vec<Vec<u8>>,
    /// The directory that it was started in, in the system's encoding; `None` if that is not known, or longer than
    /// [`bounds::PATH`](crate::bounds::PATH).
    pub working_dir: Option<Vec<u8>>,
    /// The file that was started; unknown if it could not be looked at.
    pub identity: Option<FileIdentity>,
}

/// Tells a file from any other at its path, and from itself after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// The device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
    /// The size, in bytes.
    pub size: u64,
    /// The time at which the inode last changed, in seconds since 1970: every write sets it, and no program
    /// can set it back.
    pub changed_secs: i64,
    /// The nanoseconds of that.
    pub changed_nanos: i64,
}

/// A handoff or cold start that has not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnderWay {
    /// The handoff.
    pub handoff_id: HandoffId,
    /// The process that is to be replaced; none in a cold start.
    pub incumbent: Option<ProcessId>,
    /// The process that is to serve.
    pub successor: ProcessId,
    /// The binary that the successor was started from: a later supervisor may have to note its commit.
    pub binary: Binary,
    /// `true` if the successor serves, and is the binary that was committed; only the incumbent was still to
    /// leave.
    pub retiring: bool,
}

/// The processes that take part in a handoff that is noted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parties {
    /// The handoff.
    pub handoff_id: HandoffId,
    /// The process that is to be replaced; none in a cold start.
    pub incumbent: Option<ProcessId>,
    /// The process that is to serve and what it was started from, once it was started.
    pub successor: Option<(ProcessId, Binary)>,
    /// The name that the successor gives to its build.
    pub successor_build: Vec<u8>,
    /// The last revision of each shard that the incumbent has sealed.
    pub sealed: Option<Vec<u64>>,
    /// The data that the successor has opened, once it is ready.
    pub opened: Data,
    /// The journal before this handoff.
    pub before: Journal,
}

impl Journal {
    /// Returns what the journal says after a handoff's `note`. When it was written is the host's to say.
    #[must_use]
    pub fn noted(&self, note: Note, parties: &Parties) -> Journal {
        let mut journal = self.clone();
        if let Some(sealed) = &parties.sealed {
            journal.data = journal.data.at(sealed);
        }
        match (note, parties.successor.clone()) {
            (Note::UnderWay, Some((successor, binary))) => {
                let (handoff_id, incumbent, retiring) = (parties.handoff_id, parties.incumbent, false);
                journal.under_way = Some(UnderWay { handoff_id, incumbent, successor, binary, retiring });
            }
            (Note::Committed, Some((process, binary))) => {
                let build_id = parties.successor_build.clone();
                journal.running = Some(Running { process, build_id, is_committed: true });
                journal.commit(binary);
                journal.data = journal.data.updated(parties.opened.clone());
                // The incumbent is still to leave. If it hangs instead, a later supervisor must know its name.
                if let Some(under_way) = &mut journal.under_way {
                    under_way.retiring = true;
                }
            }
            (Note::Over(HandoffVerdict::FellBack), _) => {
                journal = Journal { under_way: None, data: journal.data, ..parties.before.clone() };
            }
            (Note::Over(HandoffVerdict::NobodyServes), _) => {
                journal.running = None;
                journal.under_way = None;
            }
            // No process has said that it serves, so all that take part are still to be known.
            (Note::Over(HandoffVerdict::Unconfirmed), _) => {}
            (Note::Over(_), _) => journal.under_way = None,
            (Note::UnderWay | Note::Committed, None) => {}
        }
        journal
    }

    /// Returns what the journal says after a recovery; `build_id` is that of the one that serves.
    #[must_use]
    pub fn recovered(&self, found: recovery::RecoveryVerdict, build_id: Vec<u8>) -> Journal {
        let mut journal = self.without_processes();
        let recovery::RecoveryVerdict::Serves(process) = found else { return journal };
        let was_committed = |running: &Running| running.process == process && running.is_committed;
        let mut is_committed = self.committed.is_none() || self.running.as_ref().is_some_and(was_committed);
        // Its supervisor was to write that it is committed, and could not.
        if let Some(under_way) = self.under_way.clone().filter(|under_way| under_way.successor == process) {
            journal.commit(under_way.binary);
            is_committed = true;
        }
        // The daemon was found running: a supervisor that stops it from now on notes that.
        journal.stopped = false;
        journal.running = Some(Running { process, build_id, is_committed });
        journal
    }

    /// Checks whether the one that serves may be told that its predecessor has ended: not if another binary
    /// would be started after it, which could not read what it makes then.
    ///
    /// # Errors
    /// Why not, and the remedy.
    pub fn allows_final(&self) -> Result<(), HostError> {
        match &self.running {
            Some(Running { process, is_committed: false, .. }) => {
                let why = format!(
                    "the journal doesn't say what process {process} was started from, and another binary is started \
                     after it: it is not told to migrate until it is swapped once more"
                );
                Err(HostError::new(ErrorKind::Caller, why))
            }
            _ => Ok(()),
        }
    }

    /// Returns what the journal says when the daemon was stopped on purpose.
    #[must_use]
    pub fn when_stopped(&self) -> Journal {
        Journal { stopped: true, ..self.without_processes() }
    }

    /// The processes that the journal names: the one that serves, and those that take part in what is under way.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> {
        let under_way = self.under_way.as_ref();
        let running = self.running.as_ref().map(|running| running.process);
        let incumbent = under_way.and_then(|under_way| under_way.incumbent);
        let successor = under_way.map(|under_way| under_way.successor);
        [running, incumbent, successor].into_iter().flatten()
    }

    /// Returns what the journal says in another boot: the processes that it names have ended.
    #[must_use]
    pub fn without_processes(&self) -> Journal {
        Journal { running: None, under_way: None, ..self.clone() }
    }

    /// Returns what the journal says when whatever data the next daemon opens are the right ones.
    #[must_use]
    pub fn accepting_data(&self) -> Journal {
        Journal { data: Data::default(), ..self.clone() }
    }

    /// To start the same once more replaces nothing: what went before stays known.
    fn commit(&mut self, binary: Binary) {
        self.stopped = false;
        if self.committed.as_ref() != Some(&binary) {
            self.previous = self.committed.replace(binary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(name: &str) -> Binary {
        Binary {
            handoff_id: HandoffId([1; 16]),
            path: name.into(),
            args: Vec::new(),
            working_dir: None,
            identity: None,
        }
    }

    fn process(pid: u32) -> ProcessId {
        ProcessId { pid, start_time: 7 }
    }

    fn under_way(journal: &Journal, pid: u32, name: &str) -> Journal {
        let parties = Parties {
            handoff_id: HandoffId([2; 16]),
            incumbent: None,
            successor: Some((process(pid), binary(name))),
            successor_build: Vec::new(),
            sealed: None,
            opened: Data::default(),
            before: journal.clone(),
        };
        journal.noted(Note::UnderWay, &parties)
    }

    fn finds(journal: &Journal, pid: u32) -> Journal {
        journal.recovered(recovery::RecoveryVerdict::Serves(process(pid)), Vec::new())
    }

    #[test]
    fn a_recovery_commits_the_successor_that_the_journal_names() {
        let committed = finds(&under_way(&Journal::default(), 1, "old"), 1);
        assert_eq!(committed.committed, Some(binary("old")));
        let next = finds(&under_way(&committed, 2, "new"), 2);
        assert_eq!((&next.committed, &next.previous), (&Some(binary("new")), &Some(binary("old"))));
        assert_eq!(next.allows_final(), Ok(()));
        assert_eq!(finds(&next, 2).allows_final(), Ok(()), "it still runs");
    }

    #[test]
    fn what_nobody_knows_how_to_start_again_must_not_migrate() {
        let committed = finds(&under_way(&Journal::default(), 1, "old"), 1);
        let stranger = finds(&committed, 3);
        assert_eq!(stranger.committed, Some(binary("old")));
        let why = stranger.allows_final().unwrap_err();
        assert!(why.detail.contains("what process 3") && why.detail.contains("swapped once more"), "{why}");
        assert!(finds(&stranger, 3).allows_final().is_err(), "to find it again tells nothing new");
        let swapped = finds(&under_way(&stranger, 4, "new"), 4);
        assert_eq!(swapped.allows_final(), Ok(()), "that is the remedy");
    }

    #[test]
    fn stopped_on_purpose_is_so_until_another_daemon_is_committed() {
        let committed = finds(&under_way(&Journal::default(), 1, "old"), 1);
        let nobody = committed.recovered(recovery::RecoveryVerdict::NobodyServes, Vec::new());
        assert!(!nobody.stopped, "nobody serves at the moment: what was committed is started");
        let stopped = committed.when_stopped();
        assert!(stopped.stopped && stopped.running.is_none());
        assert!(under_way(&stopped, 2, "new").stopped, "it may come to nothing");
        assert!(stopped.recovered(recovery::RecoveryVerdict::NobodyServes, Vec::new()).stopped);
        assert!(stopped.without_processes().stopped);
        assert!(!finds(&under_way(&stopped, 2, "new"), 2).stopped);
    }

    #[test]
    fn where_nothing_is_committed_nothing_else_would_be_started() {
        assert_eq!(finds(&Journal::default(), 3).allows_final(), Ok(()));
    }
}
