//! The benchmark's daemon that keeps its clients' connections, and dies where it is told.
//!
//! `echo DATA_DIR CONTROL_SOCKET threads|tokio [GAP]...`: with a thread or a task for each connection; it kills itself in each of the
//! gaps, as [`Gap`] is shown.
use std::env;
use std::path::PathBuf;

use handoff::daemon::Options;
use handoff::host::Gap;
use handoff::machine::Cell;
use handoff::message::Message;
use handoff::unix::probe::{self, Fate, FrameFate, Probe, Receiver, SystemCall};

#[path = "../../../../bench/src/echo/daemon.rs"]
mod daemon;
mod on_tokio;

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
    let on_tokio = args.next().is_some_and(|kind| kind == "tokio");
    probe::install(Deadly(args.map(|gap| gap.to_string_lossy().into_owned()).collect()));
    let options = Options::new(data, control);
    if on_tokio { on_tokio::run(options) } else { handoff::run(options, daemon::Echo::new()?).map(drop) }
}
