//! The daemon on this library.
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use handoff::message::{SealProgress, Sealed};
use handoff::{
    Daemon, DrainReport, Drainable, Fingerprint, HookResult, Listeners, Options, ReadinessSnapshot,
    ResumeFrom, SealReport, StateSnapshot,
};

/// Serves until it is replaced.
pub(crate) fn run(data_dir: &Path, control: &Path) -> Result<(), Box<dyn Error>> {
    handoff::run(Options::new(data_dir, control), OurIdle::default())?;
    Ok(())
}

#[derive(Default)]
struct OurIdle {
    listeners: Listeners,
}

impl Daemon for OurIdle {
    fn open(&mut self, _sealed: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        Ok(ReadinessSnapshot {
            listening_on: vec!["main".into()],
            healthz_ok: true,
            advertised_revision_per_shard: vec![1],
            data_dir_fingerprint: Fingerprint::default(),
        })
    }

    fn serve(&mut self, listeners: Listeners) -> HookResult<()> {
        self.listeners = listeners;
        Ok(())
    }
}

impl Drainable for OurIdle {
    fn drain(&mut self, _grace: Duration) -> HookResult<DrainReport> {
        Ok(DrainReport { open_conns_remaining: 0, accept_closed: true })
    }

    fn seal(&mut self, _progress: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        Ok(SealReport { last_revision_per_shard: vec![1], data_dir_fingerprint: Fingerprint::default() })
    }

    fn resume_after_abort(&mut self, _from: ResumeFrom) -> HookResult<()> {
        Ok(())
    }

    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot { shard_count: 1, open_conns: 0, last_revision_per_shard: vec![1] }
    }
}
