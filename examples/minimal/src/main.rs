//! The smallest whole daemon: appends each line that a client sends to a file, and answers with the line's number.
use std::{env, path::PathBuf, time::Duration};

use handoff::message::{SealProgress, Sealed};
use handoff::{Daemon, DrainReport, Drainable, HookResult, Listeners, Options};
use handoff::{ReadinessSnapshot, ResumeFrom, SealReport, StateSnapshot};
use log::Log;
use server::Server;

mod log;
mod server;

struct Minimal {
    path: PathBuf,
    log: Option<Log>,
    server: Server,
}

impl Daemon for Minimal {
    fn open(&mut self, _: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        let log = self.log.insert(Log::open(&self.path)?);
        let advertised_revision_per_shard = vec![log.lines()];
        Ok(ReadinessSnapshot { healthz_ok: true, advertised_revision_per_shard, ..Default::default() })
    }
    fn serve(&mut self, mut listeners: Listeners) -> HookResult<()> {
        self.server.listener = listeners.take_tcp("lines");
        self.server.start(&mut self.log)
    }
}

impl Drainable for Minimal {
    fn drain(&mut self, _grace: Duration) -> HookResult<DrainReport> {
        self.server.stop(&mut self.log)?;
        Ok(DrainReport { open_conns_remaining: 0, accept_closed: true })
    }
    fn seal(&mut self, _: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        let log = self.log.take().ok_or("the log is not open")?;
        Ok(SealReport { last_revision_per_shard: vec![log.close()?], ..Default::default() })
    }
    fn resume_after_abort(&mut self, from: ResumeFrom) -> HookResult<()> {
        if from == ResumeFrom::Disk {
            self.log = Some(Log::open(&self.path)?);
        }
        self.server.start(&mut self.log)
    }
    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot::default()
    }
}

fn main() -> handoff::Result<()> {
    let [data, control] = [1, 2].map(|at| PathBuf::from(env::args_os().nth(at).unwrap_or_default()));
    let minimal = Minimal { path: data.join("log"), log: None, server: Server::default() };
    let options = Options::new(data, control).listener("lines", "127.0.0.1:7000");
    handoff::run(options, minimal).map(|_| ())
}
