//! The conditions that hold after whatever has happened.
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use handoff::Supervisor;
use handoff::message::Standing;
use thiserror::Error;

use crate::layout::Layout;
use crate::processes;
use crate::supervisor_process::SupervisorProcess;
use crate::wait::until_ok;
use crate::world::World;
use crate::writer::Writer;

/// The reason why a world is not at rest with one process that serves.
#[derive(Debug, Error)]
pub enum NotAtRest {
    /// Not one process runs, but these.
    #[error("processes besides the supervisor: {0:?}")]
    Processes(Vec<u32>),
    /// The lock is not its own.
    #[error("{pid} runs, and the lock is held by {holders:?}")]
    Lock {
        /// The process that runs.
        pid: u32,
        /// Those that hold it.
        holders: Vec<u32>,
    },
    /// The process does not answer.
    #[error("{pid} does not answer: {error}")]
    Mute {
        /// The process that runs.
        pid: u32,
        /// The reason why not.
        error: handoff::Error,
    },
    /// Another one answers, or it does not serve.
    #[error("{pid} runs, and {answers} answers that it is {standing:?}")]
    Answers {
        /// The process that runs.
        pid: u32,
        /// The process that answers.
        answers: u32,
        /// The standing of that process in its own words.
        standing: Standing,
    },
    /// The control path leads elsewhere.
    #[error("the control path does not lead to {0}")]
    Path(u32),
    /// Files are left where none should be.
    #[error("there are stray files: {0:?}")]
    Stray(Vec<String>),
}

/// The findings of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The process that serves.
    pub pid: u32,
    /// The last sequence number in the log, when it was read.
    pub last_seq: u64,
}

impl World {
    /// Checks that one process serves, everything acknowledged is in the log once and in order, the next
    /// handoff commits, and after that the same holds again. Nothing stray is left: no process, no file.
    #[track_caller]
    pub fn assert_one_serves_and_nothing_lost(
        &self,
        supervisor: &SupervisorProcess,
        writer: &Writer,
    ) -> Findings {
        let before = self.assert_one_serves(&[supervisor.pid()]);
        writer.wait_for_write_by(before);
        self.assert_nothing_lost(writer);
        let next = supervisor.handoff(&self.build()).assert_committed();
        let pid = self.assert_one_serves(&[supervisor.pid()]);
        assert_eq!(pid, next, "what was committed serves");
        writer.wait_for_write_by(pid);
        let last_seq = self.assert_nothing_lost(writer);
        Findings { pid, last_seq }
    }

    /// Comes to rest with one process besides `supervisors`: it holds the lock, and it answers at the control path
    /// that it serves. No other file is left where sockets and the journal are. Returns its pid.
    #[track_caller]
    pub fn assert_one_serves(&self, supervisors: &[u32]) -> u32 {
        until_ok("one process serves", || self.who_serves(supervisors))
    }

    /// The process that serves, if everything is at rest: what [`World::assert_one_serves`] waits for.
    ///
    /// # Errors
    /// What is not as it is to be.
    pub fn who_serves(&self, supervisors: &[u32]) -> Result<u32, NotAtRest> {
        let mut others = processes::of_world(self.layout());
        others.retain(|pid| !supervisors.contains(pid));
        let [pid] = others[..] else { return Err(NotAtRest::Processes(others)) };
        let holders = processes::lock_holders(&self.layout().data());
        if holders != [pid] {
            return Err(NotAtRest::Lock { pid, holders });
        }
        let asked = Supervisor::new(self.layout().control()).and_then(|supervisor| supervisor.status());
        let status = asked.map_err(|error| NotAtRest::Mute { pid, error })?;
        let (answers, standing) = (status.hello.pid, status.status.standing);
        if (answers, standing) != (pid, Standing::Serving) {
            return Err(NotAtRest::Answers { pid, answers, standing });
        }
        no_stray_files(self.layout(), pid)?;
        Ok(pid)
    }

    /// Every acknowledged write is in the log, once, where it was said to be; the log has no gap, no line twice,
    /// and no line of a process after a line of its successor. Returns the log's last sequence number.
    #[track_caller]
    pub fn assert_nothing_lost(&self, writer: &Writer) -> u64 {
        // First the history: what is acknowledged by then must be in the log that is read afterwards.
        let history = writer.history();
        let log = ActorLog::read(self.layout());
        for (seq, token) in &history.acknowledged {
            assert_eq!(log.seqs.get(token), Some(seq), "write {token} was acknowledged as {seq}");
        }
        let in_order = history.acknowledged.windows(2).all(|pair| pair[0].0 < pair[1].0);
        assert!(in_order, "the sequence numbers of one client's acknowledgements go up");
        log.last
    }

    /// The process `pid` holds the lock, and is reached at the control path. Unlike for [`World::assert_one_serves`], no process is
    /// asked.
    ///
    /// # Errors
    /// That is not so, or a file is left where none should be.
    pub fn holds_all(&self, pid: u32) -> Result<(), NotAtRest> {
        let holders = processes::lock_holders(&self.layout().data());
        if holders != [pid] {
            return Err(NotAtRest::Lock { pid, holders });
        }
        let inode = |path: std::path::PathBuf| fs::symlink_metadata(path).map(|found| found.ino()).ok();
        if inode(self.layout().control()) != inode(self.layout().run().join(format!("control.{pid}"))) {
            return Err(NotAtRest::Path(pid));
        }
        no_stray_files(self.layout(), pid)
    }

    /// Writes that were acknowledged to `writer` and are not in the log.
    pub fn lost(&self, writer: &Writer) -> Vec<String> {
        let history = writer.history();
        let log = ActorLog::read(self.layout());
        let lost = history.acknowledged.iter().filter(|(seq, token)| log.seqs.get(token) != Some(seq));
        lost.map(|(seq, token)| format!("write {token}, acknowledged as {seq}, is lost")).collect()
    }

    /// As [`World::assert_nothing_lost`], and what the client may expect while no process is killed: no failure, and
    /// nothing executed of which it saw no reply.
    #[track_caller]
    pub fn assert_clean(&self, writer: &Writer) {
        self.assert_nothing_lost(writer);
        writer.assert_no_failure();
        let log = ActorLog::read(self.layout());
        for token in writer.history().unanswered {
            assert!(
                !log.seqs.contains_key(&token),
                "write {token} got the end of the stream but is in the log"
            );
        }
    }
}

/// The actor's log.
struct ActorLog {
    /// The sequence number of each token.
    seqs: BTreeMap<String, u64>,
    last: u64,
}

impl ActorLog {
    /// Reads it; a last line without its end is being written.
    #[track_caller]
    fn read(layout: &Layout) -> ActorLog {
        let text = fs::read_to_string(layout.log()).unwrap_or_default();
        let mut log = ActorLog { seqs: BTreeMap::new(), last: 0 };
        let mut writers: Vec<u32> = Vec::new();
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let words: Vec<&str> = line.split(' ').collect();
            let [seq, pid, token] = words[..] else { panic!("not a line of the log: {line:?}") };
            let (seq, pid): (u64, u32) = (seq.parse().unwrap(), pid.parse().unwrap());
            assert_eq!(seq, log.last + 1, "two writers, or a gap: {line:?}");
            assert_eq!(log.seqs.insert(token.into(), seq), None, "a token twice: {line:?}");
            log.last = seq;
            if writers.last() != Some(&pid) {
                writers.push(pid);
            }
        }
        log
    }
}

/// No file has no business where it is, once `pid` serves and nothing is under way.
fn no_stray_files(layout: &Layout, pid: u32) -> Result<(), NotAtRest> {
    let names = |dir: std::path::PathBuf| -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let beside = format!("control.{pid}");
    let known =
        ["control", &beside, "journal", "handoff.toml", "trigger", "trigger.lock", "log", "handoff.record"];
    let all = names(layout.run()).into_iter().chain(names(layout.data()));
    // What was committed and the swaps that have ended are kept beside the journal, complete or in the making.
    let is_kept = |name: &String| name.starts_with("journal.binary-") || name.starts_with("journal.history");
    let stray: Vec<String> = all.filter(|name| !known.contains(&name.as_str()) && !is_kept(name)).collect();
    if stray.is_empty() { Ok(()) } else { Err(NotAtRest::Stray(stray)) }
}
