//! The hooks that an async daemon's author implements.
use std::time::Duration;

use handoff::daemon::{
    DrainReport, HookResult, ReadinessSnapshot, ResumeFrom, SealProgress, SealReport, Sealed, StateSnapshot,
};

use crate::connections::AsyncConnections;
use crate::listeners::AsyncListeners;

/// The hooks of a daemon, as [`handoff::Daemon`] and [`handoff::Drainable`] have them, each a future. What each must do, and when
/// it is called, is said there and in the project's guide.
///
/// The library never drops a hook's future before its end, and runs one hook at a time. A hook that blocks its thread blocks
/// nothing else: it is the hooks' own.
#[allow(async_fn_in_trait, reason = "a hook's future stays on the hooks' thread, so it need not be Send")]
pub trait AsyncDaemon: Send {
    /// Opens what can be opened read-only, fills caches; another process may be writing.
    async fn warm_up(&mut self) -> HookResult<()> {
        Ok(())
    }

    /// Opens the state for writing, under the lock. `sealed` is what the predecessor sealed, if there was one.
    async fn open(&mut self, sealed: Option<&Sealed>) -> HookResult<ReadinessSnapshot>;

    /// Starts to accept on `listeners`, and returns: the tasks that serve are the daemon's own.
    async fn serve(&mut self, listeners: AsyncListeners) -> HookResult<()>;

    /// Stops accepting, answers what is in flight within `grace`, refuses what comes after.
    async fn drain(&mut self, grace: Duration) -> HookResult<DrainReport>;

    /// Makes every acknowledged write durable and closes the state for writing. `progress` may be called, for people that
    /// watch.
    async fn seal(&mut self, progress: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport>;

    /// Serves again, accepting included, after a drain or a seal. Must be idempotent.
    async fn resume_after_abort(&mut self, from: ResumeFrom) -> HookResult<()>;

    /// Tells what a status shows, without waiting.
    fn snapshot_state(&self) -> StateSnapshot;

    /// The connections that are to outlive this process, if the daemon's are. The registry must exist before [`run`](crate::run) is
    /// called: a successor receives connections before it serves.
    fn connections(&self) -> Option<&AsyncConnections> {
        None
    }

    /// Makes what the predecessor could not undo: it has ended.
    async fn finalize(&mut self) {}
}
