//! The daemon on this library.
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use handoff::message::{SealProgress, Sealed};
use handoff::{
    Daemon, DrainReport, Drainable, HookResult, Listeners, Options, ReadinessSnapshot, ResumeFrom,
    SealReport, StateSnapshot,
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
        Ok(ReadinessSnapshot::healthy(vec![1]).with_listeners(["main"]))
    }

    fn serve(&mut self, listeners: Listeners) -> HookResult<()> {
        self.listeners = listeners;
        Ok(())
    }
}

impl Drainable for OurIdle {
    fn drain(&mut self, _grace: Duration) -> HookResult<DrainReport> {
        Ok(DrainReport::closed(0))
    }

    fn seal(&mut self, _progress: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        Ok(SealReport::new(vec![1]))
    }

    fn resume_after_abort(&mut self, _from: ResumeFrom) -> HookResult<()> {
        Ok(())
    }

    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot::new(0, vec![1])
    }
}
