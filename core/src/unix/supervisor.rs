//! The supervisor's side of the blocking API.
use crate::error::Result;
use crate::id::{HandoffId, ProcessId};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct SpawnSpec {
    pub binary: PathBuf,
    pub args: Vec<OsString>,
    /// Added to (or replacing in) the environment of the supervisor.
    pub env: Vec<(OsString, OsString)>,
    /// default 5 min
    pub deadline: Duration,
    /// default 60 s
    pub drain_grace: Duration,
    /// default 5 s
    pub liveness: Duration,
}
impl SpawnSpec {
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        todo!()
    }
}

/// What became of a handoff
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// N serves, O ended.
    Committed,
    /// O serves, confirmed by itself.
    RolledBack,
    /// committed, then N died and O resumed; confirmed by O
    FellBack,
    /// O may or may not serve: it did not confirm
    Unconfirmed,
    /// nobody serves: cold start needed
    NobodyServes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    pub spawn: Duration,
    pub warm_up: Duration,
    pub drain: Duration,
    pub seal: Duration,
    pub open: Duration,
    pub commit: Duration,
    pub retire: Duration,
    pub total: Duration,
}

#[derive(Debug)]
pub struct HandoffOutcome {
    pub handoff_id: HandoffId,
    pub verdict: Verdict,
    pub committed: bool,
    pub abort_reason: Option<String>,
    /// the incumbent confirmed that it serves again
    pub resumed_confirmed: bool,
    /// N, if it lives: on a committed handoff
    pub child: Option<Child>,
    pub phases: Phases,
    /// what went wrong without changing the outcome (journal not writable after commit, connections cut...)
    pub warnings: Vec<String>,
}

/// A process that the supervisor watches: a child (reaped by `try_wait`).  Dropping doesn't kill.
#[derive(Debug)]
pub struct Child {}
impl Child {
    pub fn id(&self) -> ProcessId {
        todo!()
    }
    /// reaps; Some(text such as "exited with 1", "killed by SIGKILL") if it has ended
    pub fn try_wait(&mut self) -> Result<Option<String>> {
        todo!()
    }
    pub fn wait_timeout(&mut self, t: Duration) -> Result<Option<String>> {
        todo!()
    }
    /// signal to the process (SIGTERM)
    pub fn terminate(&self) -> Result<()> {
        todo!()
    }
    /// SIGKILL to the process group
    pub fn kill(&self) -> Result<()> {
        todo!()
    }
    /// a pollable descriptor readable when it has ended (pidfd on Linux), if the system has one
    pub fn as_pollable(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        todo!()
    }
}

/// Ends a running handoff one way or the other: before Commit it is rolled back, after it goes on
#[derive(Clone, Debug)]
pub struct CancelHandle {}
impl CancelHandle {
    pub fn cancel(&self) {
        todo!()
    }
}

#[derive(Debug)]
pub struct Supervisor {}
impl Supervisor {
    /// control_socket: where the incumbent answers
    pub fn new(control_socket: impl AsRef<Path>) -> Result<Self> {
        todo!()
    }
    pub fn with_listener(self, name: impl Into<String>, fd: impl Into<OwnedFd>) -> Self {
        todo!()
    }
    /// Err if another supervisor holds the journal
    pub fn with_journal(self, path: impl AsRef<Path>) -> Result<Self> {
        todo!()
    }
    pub fn with_build_id(self, id: impl Into<Vec<u8>>) -> Self {
        todo!()
    }
    /// replaces whoever answers at the control path; blocks. Err(Busy) if another call is under way on this Supervisor or if O is in another handoff. Err = nothing was touched; otherwise an outcome.
    pub fn perform_handoff(&self, spec: SpawnSpec) -> Result<HandoffOutcome> {
        todo!()
    }
    /// starts a daemon where nobody serves (the same protocol with no incumbent)
    pub fn cold_start(&self, spec: SpawnSpec) -> Result<HandoffOutcome> {
        todo!()
    }
    pub fn cancel_handle(&self) -> CancelHandle {
        todo!()
    }
    /// asks whoever answers at the control path
    pub fn status(&self) -> Result<crate::message::Status> {
        todo!()
    }
}
