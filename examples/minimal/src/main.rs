//! The smallest whole daemon: appends each line that a client sends to a file, and answers with the line's number.
use std::io::{BufRead, Read, Write};
use std::{env, path::PathBuf, sync::Arc, time::Duration};

use handoff::daemon::*;
use log::Log;

mod log;

struct Minimal {
    log: Arc<Log>,
    connections: Connections,
}

fn answer(client: &mut Connection, log: &Log) -> HookResult<()> {
    while client.next_request()? {
        let mut line = Vec::new();
        Read::take(&mut *client, 1024).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Err("a line that is too long, or no whole one".into());
        }
        let number = log.append(&line)?;
        client.write_all(format!("{number}\n").as_bytes())?;
    }
    Ok(())
}

impl Daemon for Minimal {
    fn open(&mut self, _: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        Ok(ReadinessSnapshot::healthy(vec![self.log.open()?]))
    }
    fn serve(&mut self, mut listeners: Listeners) -> HookResult<()> {
        let listener = listeners.take_tcp("lines").ok_or("there is no listener called \"lines\"")?;
        let log = self.log.clone();
        Ok(self.connections.serve(listener, move |client| answer(client, &log))?)
    }
}

impl Drainable for Minimal {
    fn drain(&mut self, grace: Duration) -> HookResult<DrainReport> {
        Ok(self.connections.drain(grace).into())
    }
    fn seal(&mut self, _: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        Ok(SealReport::new(vec![self.log.close()?]))
    }
    fn resume_after_abort(&mut self, from: ResumeFrom) -> HookResult<()> {
        if from == ResumeFrom::Disk {
            self.log.open()?;
        }
        self.connections.resume();
        Ok(())
    }
    fn connections(&self) -> Option<&Connections> {
        Some(&self.connections)
    }
    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot::new(self.connections.counts().open(), Vec::new())
    }
}

fn main() -> handoff::Result<()> {
    let [data, control] = [1, 2].map(|at| PathBuf::from(env::args_os().nth(at).unwrap_or_default()));
    let log = Arc::new(Log::new(data.join("log")));
    let minimal = Minimal { log, connections: Connections::new(Patience::default())? };
    let options = Options::new(data, control).listener("lines", "127.0.0.1:7000");
    handoff::run(options, minimal).map(|_| ())
}
