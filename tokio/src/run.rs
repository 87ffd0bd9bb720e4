//! The entry: an async daemon in one call.
//!
//! The hooks have a thread of their own, as those of a daemon without a runtime have. It is the runtime's guest: a hook may spawn
//! tasks and use tokio's sockets and timers.
use std::thread;
use std::time::Duration;

use handoff::daemon::{
    Connections, Daemon, DrainReport, Drainable, Ended, HookResult, Listeners, Options, ReadinessSnapshot,
    ResumeFrom, SealProgress, SealReport, Sealed, StateSnapshot,
};
use handoff::{Error, Result};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::connections::AsyncConnections;
use crate::daemon::AsyncDaemon;
use crate::listeners::AsyncListeners;

/// Runs `daemon` until it is replaced or stopped, as [`handoff::run`] does. To be awaited by what keeps the runtime going,
/// such as `main`.
///
/// A dropped `run` stops nothing: the daemon goes on until it is replaced or stopped, or the process leaves.
///
/// # Errors
/// As [`handoff::run`].
///
/// # Panics
/// Without a runtime whose sockets and timers are enabled, as those of `#[tokio::main]` are.
pub async fn run(options: Options, daemon: impl AsyncDaemon + 'static) -> Result<Ended> {
    let runtime = Handle::current();
    let (tell, ended) = oneshot::channel();
    let hooks = move || {
        let _entered = runtime.enter();
        let _ = tell.send(handoff::run(options, OnRuntime { daemon, runtime: runtime.clone() }));
    };
    let started = thread::Builder::new().name("hooks".into()).spawn(hooks);
    started.map_err(|source| Error::System { context: "can't start the hooks' thread".into(), source })?;
    ended.await.unwrap_or_else(|_| Err(Error::Hook("the daemon's value panicked when it was dropped".into())))
}

/// An async daemon, as the library wants one.
struct OnRuntime<D> {
    daemon: D,
    runtime: Handle,
}

impl<D: AsyncDaemon> Drainable for OnRuntime<D> {
    fn drain(&mut self, grace: Duration) -> HookResult<DrainReport> {
        self.runtime.block_on(self.daemon.drain(grace))
    }

    fn seal(&mut self, progress: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        self.runtime.block_on(self.daemon.seal(progress))
    }

    fn resume_after_abort(&mut self, from: ResumeFrom) -> HookResult<()> {
        self.runtime.block_on(self.daemon.resume_after_abort(from))
    }

    fn snapshot_state(&self) -> StateSnapshot {
        self.daemon.snapshot_state()
    }

    fn connections(&self) -> Option<&Connections> {
        self.daemon.connections().map(AsyncConnections::registry)
    }

    fn finalize(&mut self) {
        self.runtime.block_on(self.daemon.finalize());
    }
}

impl<D: AsyncDaemon> Daemon for OnRuntime<D> {
    fn warm_up(&mut self) -> HookResult<()> {
        self.runtime.block_on(self.daemon.warm_up())
    }

    fn open(&mut self, sealed: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        self.runtime.block_on(self.daemon.open(sealed))
    }

    fn serve(&mut self, listeners: Listeners) -> HookResult<()> {
        self.runtime.block_on(self.daemon.serve(AsyncListeners::from(listeners)))
    }
}
