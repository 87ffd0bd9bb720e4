//! A small durable daemon that misbehaves as its script says: `actor WORLD NAME [staged]`; on a stage, as its controller does.
//!
//! What it does well: a line that comes over one of its listeners is appended to a log, with a sequence number and
//! the process's pid, and synced; then it answers `ok SEQ PID`. The checks read that log.
#![allow(clippy::unwrap_used, reason = "a process of a test that cannot go on should panic")]
mod server;
mod store;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use handoff::message::{SealProgress, Sealed};
use handoff::{
    Daemon, DrainReport, Drainable, Ended, HookResult, Listeners, Options, ReadinessSnapshot, ResumeFrom,
    SealReport, StateSnapshot,
};
use handoff_tests::{Act, HookName, Layout, script, start_log};
use server::ActorServer;
use store::ActorStore;

struct ActorDaemon {
    layout: Layout,
    name: String,
    store: Arc<Mutex<ActorStore>>,
    server: Arc<ActorServer>,
    is_staged: bool,
}

impl ActorDaemon {
    fn acts(&self, hook: HookName) -> HookResult<Vec<Act>> {
        #[allow(unused_mut, reason = "off the stage there is nothing more to do")]
        let mut acts = script::take(&self.layout, &self.name, hook)?;
        #[cfg(all(feature = "sim", feature = "crash-points"))]
        acts.extend(handoff_tests::stage::cue(hook));
        Ok(acts)
    }

    fn play(&self, hook: HookName) -> HookResult<Vec<Act>> {
        script::play(&self.layout, &self.name, hook, self.acts(hook)?)
    }
}

impl Daemon for ActorDaemon {
    fn warm_up(&mut self) -> HookResult<()> {
        self.play(HookName::WarmUp).map(drop)
    }

    fn open(&mut self, _sealed: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        let acts = self.play(HookName::Open)?;
        let mut store = self.store.lock().unwrap();
        store.open()?;
        let behind = u64::from(acts.contains(&Act::Behind));
        let mut fingerprint = store.fingerprint();
        fingerprint.digest[31] = acts.contains(&Act::Foreign).into();
        let mut ready = ReadinessSnapshot::healthy(vec![store.last() - behind])
            .with_listeners(Layout::LISTENERS)
            .with_fingerprint(fingerprint);
        ready.healthz_ok = !acts.contains(&Act::Unhealthy);
        Ok(ready)
    }

    fn serve(&mut self, listeners: Listeners) -> HookResult<()> {
        self.play(HookName::Serve)?;
        self.server.set_listeners(listeners)?;
        Ok(self.server.start(&self.store)?)
    }
}

impl Drainable for ActorDaemon {
    fn drain(&mut self, grace: Duration) -> HookResult<DrainReport> {
        // Stop first: a drain that fails afterwards has already turned clients away.
        let open = self.server.drain(grace);
        let acts = self.play(HookName::Drain)?;
        let told =
            acts.iter().find_map(|act| if let Act::Remaining(count) = act { Some(*count) } else { None });
        let mut report = DrainReport::closed(told.unwrap_or(open));
        report.accept_closed = !acts.contains(&Act::StillAccepting);
        Ok(report)
    }

    fn seal(&mut self, progress: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        for act in self.acts(HookName::Seal)? {
            let play = |act| script::play(&self.layout, &self.name, HookName::Seal, vec![act]);
            if let Act::Slow(ms) = act {
                let begun = Instant::now();
                play(Act::Slow(ms / 2))?;
                progress(SealProgress { shards_sealed: 0, shards_total: 1, last_revision: 0 });
                // One that was stopped meanwhile takes no longer than it would have.
                play(Act::Slow(ms.saturating_sub(begun.elapsed().as_millis() as u64)))?;
            } else {
                play(act)?;
            }
        }
        let mut store = self.store.lock().unwrap();
        store.close()?;
        // The simulator's daemon says it halfway, if it is slow, and not again.
        if !self.is_staged {
            progress(SealProgress { shards_sealed: 1, shards_total: 1, last_revision: store.last() });
        }
        Ok(SealReport::new(vec![store.last()]).with_fingerprint(store.fingerprint()))
    }

    fn resume_after_abort(&mut self, from: ResumeFrom) -> HookResult<()> {
        self.play(HookName::Resume)?;
        if from == ResumeFrom::Disk {
            let mut store = self.store.lock().unwrap();
            store.close()?;
            store.open()?;
        }
        Ok(self.server.start(&self.store)?)
    }

    fn snapshot_state(&self) -> StateSnapshot {
        let last_revision_per_shard = vec![self.store.lock().unwrap().last()];
        StateSnapshot::new(self.server.open_connections(), last_revision_per_shard)
    }

    fn finalize(&mut self) {
        let _ = self.play(HookName::Finalize);
        tracing::info!("finalized");
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (layout, name) = (Layout::new(args.next().unwrap()), args.next().unwrap());
    start_log(&name);
    let is_staged = args.any(|arg| arg == Layout::STAGED);
    #[cfg(all(feature = "sim", feature = "crash-points"))]
    if is_staged {
        handoff_tests::stage::Agent::enter(&layout, false);
    }
    let server = Arc::new(ActorServer::default());
    let store = Arc::new(Mutex::new(ActorStore::new(layout.log())));
    let mut options = Options::new(layout.data(), layout.control()).build_id(name.clone());
    for listener in Layout::LISTENERS {
        options = options.listener(listener, "127.0.0.1:0");
    }
    let ended =
        handoff::run(options, ActorDaemon { layout, name, store, server: Arc::clone(&server), is_staged });
    server.linger();
    match ended {
        Ok(Ended::Retired | Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::Aborted(why)) => {
            tracing::warn!(%why, "aborted");
            ExitCode::from(75)
        }
        Ok(other) => {
            tracing::error!(?other, "ended");
            ExitCode::from(70)
        }
        Err(error) => {
            tracing::error!(%error, "failed");
            ExitCode::from(70)
        }
    }
}
