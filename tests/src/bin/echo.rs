//! A daemon that keeps its clients' connections, and dies where it is told.
//!
//! `echo DATA_DIR CONTROL_SOCKET [GAP]...`: answers `WORD` with `WORD`, and `WORD SIZE` with so many bytes after it. It kills itself
//! in each of the gaps, as [`Gap`] is shown.
use std::env;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;

use handoff::daemon::*;
use handoff::host::Gap;
use handoff::machine::Cell;
use handoff::message::Message;
use handoff::unix::probe::{self, Fate, FrameFate, Probe, Receiver, SystemCall};

/// More than any test opens.
const MOST: u32 = 100_000;

struct Echo(Connections);

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

impl Drainable for Echo {
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

/// The gaps in which the process dies.
struct Deadly(Vec<String>);

impl Probe for Deadly {
    fn handles(&self, _: Cell) {}

    fn gap(&self, gap: Gap, step: Option<SystemCall>) -> Fate {
        if step.is_none() && self.0.contains(&gap.to_string()) { Fate::IsKilled } else { Fate::LivesOn }
    }

    fn frame(&self, _: Receiver, _: &Message) -> FrameFate {
        FrameFate::Arrives
    }
}

fn main() -> handoff::Result<()> {
    let mut args = env::args_os().skip(1);
    let [data, control] = [args.next(), args.next()].map(|path| PathBuf::from(path.unwrap_or_default()));
    probe::install(Deadly(args.map(|gap| gap.to_string_lossy().into_owned()).collect()));
    let echo = Echo(Connections::new(Patience::default())?.limit(MOST));
    handoff::run(Options::new(data, control), echo).map(drop)
}
