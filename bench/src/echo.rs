//! A daemon that answers each line with the line, and keeps its clients' connections through a swap.
//!
//! `echo-daemon DATA_DIR CONTROL_SOCKET`
use std::env;
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;

use handoff::daemon::*;

/// More than any benchmark opens.
const MOST: u32 = 100_000;

struct BenchEcho(Connections);

fn answer(client: &mut Connection) -> HookResult<()> {
    let mut line = Vec::new();
    while client.next_request()? {
        line.clear();
        client.read_until(b'\n', &mut line)?;
        client.write_all(&line)?;
    }
    Ok(())
}

impl Daemon for BenchEcho {
    fn open(&mut self, _: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        Ok(ReadinessSnapshot {
            healthz_ok: true,
            advertised_revision_per_shard: vec![1],
            ..Default::default()
        })
    }

    fn serve(&mut self, mut listeners: Listeners) -> HookResult<()> {
        let listener = listeners.take_tcp("echo").ok_or("there is no listener called \"echo\"")?;
        Ok(self.0.serve(listener, answer)?)
    }
}

impl Drainable for BenchEcho {
    fn drain(&mut self, grace: Duration) -> HookResult<DrainReport> {
        Ok(self.0.drain(grace).into())
    }

    fn seal(&mut self, _: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        Ok(SealReport { last_revision_per_shard: vec![1], ..Default::default() })
    }

    fn resume_after_abort(&mut self, _: ResumeFrom) -> HookResult<()> {
        self.0.resume();
        Ok(())
    }

    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot { open_conns: self.0.counts().open(), ..Default::default() }
    }

    fn connections(&self) -> Option<&Connections> {
        Some(&self.0)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let [data, control] = [1, 2].map(|at| PathBuf::from(env::args_os().nth(at).unwrap_or_default()));
    let echo = BenchEcho(Connections::new(Patience::default())?.limit(MOST));
    handoff::run(Options::new(data, control), echo)?;
    Ok(())
}
