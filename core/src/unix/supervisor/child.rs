//! The daemon that serves, as a process.
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::error::Result;
use crate::id::ProcessId;
use crate::journal::Journal;
use crate::unix::context::Context;
use crate::unix::kill::MayBeKilled;
use crate::unix::pid::{Exit, Watch};
use crate::unix::poller;

/// A daemon that this supervisor started, or found running: then it is no child of this process, and how it ends is
/// not known. Dropping it neither ends nor reaps it.
#[derive(Debug)]
pub struct Child {
    watch: Watch,
    /// `None` as long as it was neither started here nor has spoken.
    may: Option<MayBeKilled>,
}

impl Child {
    /// A process that this one has started.
    pub(super) fn started(process: ProcessId) -> io::Result<Child> {
        let watch = Watch::child(process)?;
        Ok(Child { may: MayBeKilled::started(&watch, &Journal::default()), watch })
    }

    /// A process that another has started: an earlier supervisor, if `journal` names it.
    pub(super) fn other(process: ProcessId, journal: &Journal) -> io::Result<Child> {
        let watch = Watch::other(process)?;
        Ok(Child { may: MayBeKilled::started(&watch, journal), watch })
    }

    /// Another handle of the same process. Nothing is opened for it, so it can't fail.
    pub(super) fn share(&self) -> Child {
        Child { watch: self.watch.share(), may: self.may }
    }

    /// Notes that the process may be ended, because it has spoken.
    pub(super) fn has_spoken(&mut self, may: MayBeKilled) {
        self.may = self.may.or(Some(may).filter(|may| may.process() == self.id()));
    }

    /// The process.
    pub fn id(&self) -> ProcessId {
        self.watch.id()
    }

    /// Reaps the process if it has ended, and tells how; `None` if it has not. Kills what it has left in its process group.
    ///
    /// # Errors
    /// The system's; none is expected.
    pub fn try_wait(&mut self) -> Result<Option<Exit>> {
        let ended = self.ended().context(|| format!("can't wait for process {}", self.id()))?;
        if ended.is_some() {
            self.end_leftovers();
        }
        Ok(ended)
    }

    /// Waits for the end of the process, for up to `timeout`; as [`Child::try_wait`].
    ///
    /// # Errors
    /// As there.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<Exit>> {
        let until = Instant::now() + timeout;
        loop {
            let ended = self.try_wait()?;
            let left = until.saturating_duration_since(Instant::now());
            if ended.is_some() || left.is_zero() {
                return Ok(ended);
            }
            let (fds, pause) = match self.as_pollable() {
                Some(fd) => (vec![(fd, false)], left),
                None => (Vec::new(), left.min(Duration::from_millis(10))),
            };
            poller::wait(&fds, Some(pause));
        }
    }

    /// Asks the process to stop (SIGTERM).
    ///
    /// # Errors
    /// No permission; or it is a process of another pid namespace, whose number here is not known.
    pub fn terminate(&self) -> Result<()> {
        let sent = self.may().and_then(|may| may.signal(&self.watch, Signal::SIGTERM));
        sent.context(|| format!("can't signal process {}", self.id()))
    }

    /// Kills the process (SIGKILL) and its process group.
    ///
    /// # Errors
    /// As [`Child::terminate`].
    pub fn kill(&self) -> Result<()> {
        let killed = self.may().and_then(|may| may.kill_group(&self.watch));
        killed.context(|| format!("can't kill process {}", self.id()))
    }

    /// Returns whether it has ended, and how; see [`Watch::ended`].
    pub(super) fn ended(&mut self) -> io::Result<Option<Exit>> {
        self.watch.ended()
    }

    /// Ends the helpers of a process that has ended: they may hold what its successor needs, and no other process would end them.
    pub(super) fn end_leftovers(&mut self) {
        if let Some(may) = self.may.filter(|_| self.watch.may_have_left()) {
            end_leftovers(may);
        }
    }

    /// The watch over the process.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    fn may(&self) -> io::Result<MayBeKilled> {
        self.may.ok_or_else(|| {
            let why =
                "this supervisor has not started it, and it has not spoken as a daemon of the control path";
            io::Error::new(io::ErrorKind::PermissionDenied, why)
        })
    }

    /// A descriptor that is readable once the process has ended (a pidfd). `None` if it is known to have ended, or where the system
    /// has no pidfd: ask [`Child::try_wait`] now and then.
    pub fn as_pollable(&self) -> Option<BorrowedFd<'_>> {
        self.watch.pollable()
    }
}

/// Ends what a process that has ended has left in its process group.
pub(super) fn end_leftovers(may: MayBeKilled) {
    let pid = may.process().pid;
    match may.kill_leftovers() {
        Ok(true) => {
            tracing::warn!(target: "handoff", pid, "killed what it left behind")
        }
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(target: "handoff", pid, %error, "can't kill what it left behind")
        }
    }
}
