//! Answers `WORD` with `WORD`, and `WORD SIZE` with so many bytes after it. It keeps its clients' connections through a swap.
use std::io::{BufRead, Write};
use std::time::Duration;

use handoff::daemon::*;

/// More than any benchmark or test opens.
const MOST: u32 = 100_000;

/// The daemon.
pub(crate) struct Echo(Connections);

impl Echo {
    /// A daemon that has not been started.
    pub(crate) fn new() -> handoff::Result<Echo> {
        Ok(Echo(Connections::new(Patience::default())?.limit(MOST)))
    }
}

fn answer(client: &mut Connection) -> HookResult<()> {
    let mut line = String::new();
    while client.next_request()? {
        line.clear();
        client.read_line(&mut line)?;
        let (word, size) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), "0"));
        let reply = format!("{word}{}\n", "x".repeat(size.parse()?));
        client.write_all(reply.as_bytes())?;
    }
    Ok(())
}

impl Daemon for Echo {
    fn open(&mut self, _: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        Ok(ReadinessSnapshot::healthy(vec![1]))
    }

    fn serve(&mut self, mut listeners: Listeners) -> HookResult<()> {
        let listener = listeners.take_tcp("echo").ok_or("there is no listener called \"echo\"")?;
        Ok(self.0.serve(listener, answer)?)
    }
}

impl Drainable for Echo {
    fn drain(&mut self, grace: Duration) -> HookResult<DrainReport> {
        Ok(self.0.drain(grace).into())
    }

    fn seal(&mut self, _: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        Ok(SealReport::new(vec![1]))
    }

    fn resume_after_abort(&mut self, _: ResumeFrom) -> HookResult<()> {
        self.0.resume();
        Ok(())
    }

    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot::new(self.0.counts().open(), Vec::new())
    }

    fn connections(&self) -> Option<&Connections> {
        Some(&self.0)
    }
}
