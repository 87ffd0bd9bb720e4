//! The daemon that serves, as a process.
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::error::Result;
use crate::id::ProcessId;
use crate::unix::context::Context;
use crate::unix::pid::{Exit, Watch};
use crate::unix::poller;

/// A daemon that this supervisor started, or found running: then it is no child of this process, and how it ends is
/// not known. Dropping it neither ends nor reaps it.
#[derive(Debug)]
pub struct Child {
    watch: Watch,
}

impl Child {
    pub(super) fn new(process: ProcessId) -> io::Result<Child> {
        Ok(Child { watch: Watch::child(process)? })
    }

    /// One that is watched already: a child, or a process that an earlier supervisor started.
    pub(super) fn from_watch(watch: Watch) -> Child {
        Child { watch }
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
        let ended = self.watch.ended().context(|| format!("can't wait for process {}", self.watch.id()))?;
        if ended.is_some() {
            end_leftovers(&mut self.watch);
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
            poller::wait(&fds, Some(pause)).context(|| "can't wait".into())?;
        }
    }

    /// Asks the process to stop (SIGTERM).
    ///
    /// # Errors
    /// No permission.
    pub fn terminate(&self) -> Result<()> {
        self.watch.signal(Signal::SIGTERM).context(|| format!("can't signal process {}", self.id()))
    }

    /// Kills the process (SIGKILL) and its process group.
    ///
    /// # Errors
    /// No permission.
    pub fn kill(&self) -> Result<()> {
        self.watch.kill_group().context(|| format!("can't kill process {}", self.id()))
    }

    /// A descriptor that is readable once the process has ended (a pidfd). `None` if it is known to have ended, or where the system
    /// has no pidfd: ask [`Child::try_wait`] now and then.
    pub fn as_pollable(&self) -> Option<BorrowedFd<'_>> {
        self.watch.pollable()
    }
}

/// Ends the helpers of a process that has ended: they may hold what its successor needs, and no other process would end them.
pub(super) fn end_leftovers(watch: &mut Watch) {
    let pid = watch.id().pid;
    match watch.kill_leftovers() {
        Ok(true) => {
            tracing::warn!(target: "handoff", pid, "killed what it left behind")
        }
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(target: "handoff", pid, %error, "can't kill what it left behind")
        }
    }
}
