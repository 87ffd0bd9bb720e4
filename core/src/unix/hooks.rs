//! The hooks that a daemon's author implements.
use std::time::Duration;

use crate::message::{SealProgress, Sealed};
use crate::node::daemon::StateSnapshot;
use crate::unix::connections::Connections;
use crate::unix::listeners::Listeners;
use crate::unix::reports::{DrainReport, HookResult, ReadinessSnapshot, ResumeFrom, SealReport};

/// The hooks of a daemon that can be replaced. They run one at a time on a thread of their own; the library
/// sends the heartbeats meanwhile.
pub trait Drainable: Send {
    /// Stops accepting, answers what is in flight within `grace`, refuses what comes after.
    fn drain(&mut self, grace: Duration) -> HookResult<DrainReport>;

    /// Makes every acknowledged write durable (`fsync`) and closes the state for writing. The library frees the
    /// lock afterwards. `progress` may be called, for people that watch.
    fn seal(&mut self, progress: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport>;

    /// Serves again, accepting included. Called after `drain`, whether it succeeded or not, and whatever came
    /// after. Must be idempotent: one that returns an error is called again for up to half a second, because the process leaves
    /// if it can't resume.
    fn resume_after_abort(&mut self, from: ResumeFrom) -> HookResult<()>;

    /// Tells what a status shows.
    fn snapshot_state(&self) -> StateSnapshot;

    /// The connections that are to outlive this process, if the daemon's are. Of each one that is between two requests, or in one of
    /// which no byte of the reply was written yet, the successor goes on: no client notices the swap. See the guide for what the
    /// handlers must heed.
    fn connections(&self) -> Option<&Connections> {
        None
    }

    /// Makes what the predecessor could not undo: it has ended, and from here on the daemon may write what the old binary could not
    /// read.
    fn finalize(&mut self) {}
}

/// A whole daemon, for [`crate::run`]: the hooks, and what a start does. `main` builds it with its
/// configuration; nothing is opened before the library says so.
pub trait Daemon: Drainable {
    /// Opens what can be opened read-only, fills caches. The lock is not held: an older binary may be writing.
    /// What is read here is a hint, to be checked again in [`Daemon::open`]. Must not truncate or repair.
    fn warm_up(&mut self) -> HookResult<()> {
        Ok(())
    }

    /// Opens the state for writing, recovers if need be. The lock is held. Accepts nothing yet. `sealed` is what
    /// the predecessor sealed; `None` in a cold start and after a crash.
    fn open(&mut self, sealed: Option<&Sealed>) -> HookResult<ReadinessSnapshot>;

    /// Starts to accept on `listeners`, and returns: the threads that serve are the daemon's own.
    fn serve(&mut self, listeners: Listeners) -> HookResult<()>;
}
