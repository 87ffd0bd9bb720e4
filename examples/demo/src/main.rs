//! `handoff` at work: a durable database daemon is replaced ten times under load, and once by a build that is broken,
//! while clients keep the books of every request.
//!
//! Everything is real: the processes of `handoff-supervisor` and `handoff-kv`, the sockets, the disk. `cargo run
//! --release --bin handoff-demo` builds them and shows them; `--help` lists the options.
#![warn(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nothing can be written")]

mod builds;
mod filesystem;
mod options;
mod process;
mod progress;
mod report;
mod show;
mod stage;
mod watch;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use handoff_kv::load::{self, Load};
use tempfile::TempDir;

use crate::builds::Cast;
use crate::options::DemoOptions;
use crate::progress::Progress;
use crate::report::DemoReport;
use crate::show::Show;
use crate::stage::DemoStage;
use crate::watch::{DemoWatch, Stop};

/// The longest time that building may take: it begins with a fresh clone on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
/// The longest time that the rest may take, and how much more for each swap.
const SHOW_LIMIT: Duration = Duration::from_secs(300);
const SWAP_LIMIT: Duration = Duration::from_secs(5);
/// A client that gets no reply for so long counts as failed.
const REPLY_LIMIT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let options = DemoOptions::parse();
    let mut report = DemoReport::default();
    let stop = run(&options, &mut report);
    report.conclude();
    let text = if options.json { json(&report) } else { format!("\n{report}") };
    // The exit status tells the outcome also to a reader that has closed the pipe.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    if !report.ok && !options.keep {
        progress::note("\n--keep keeps data, configuration and log");
    }
    match stop {
        // As a shell reports it.
        Some(Stop::Signal(signal)) => ExitCode::from(128 + u8::try_from(signal).unwrap_or(0)),
        _ => ExitCode::from(u8::from(!report.ok)),
    }
}

fn json(report: &DemoReport) -> String {
    // Nothing in it can't be expressed, the path of the data aside.
    let failed = |error: serde_json::Error| format!("{{\"ok\":false,\"error\":{:?}}}", error.to_string());
    serde_json::to_string(report).unwrap_or_else(failed)
}

/// Does it all; what goes wrong is in the report. Returns what cut it short, if anything did.
fn run(options: &DemoOptions, report: &mut DemoReport) -> Option<Stop> {
    let watch = match DemoWatch::start(BUILD_LIMIT) {
        Ok(watch) => watch,
        Err(error) => {
            report.problem(format!("{error:#}"));
            return None;
        }
    };
    let result = make_dir(options).and_then(|mut dir| {
        let result = perform(options, &dir, &watch, report);
        dir.disable_cleanup(options.keep);
        result
    });
    if let Err(error) = result {
        report.problem(format!("{error:#}"));
    }
    watch.stop()
}

/// A new directory in the one that was asked for, or in the build directory: `/tmp` may be in memory, where durable
/// writes cost nothing.
fn make_dir(options: &DemoOptions) -> Result<TempDir> {
    let parent = match &options.dir {
        Some(dir) => dir.clone(),
        None => {
            build_dir().context("can't tell where the build directory is; --dir says where to put data")?
        }
    };
    let help = || format!("can't make a directory in {}; --dir can name another place", parent.display());
    // Without links in it, so that the programs that run from there are recognized.
    let parent = std::fs::create_dir_all(&parent).and_then(|()| parent.canonicalize()).with_context(help)?;
    let dir = tempfile::Builder::new().prefix("handoff-demo-").tempdir_in(&parent);
    dir.with_context(help)
}

/// Two levels up from the program: `target` for `target/release/handoff-demo`.
fn build_dir() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.parent()?.into())
}

/// From the build to the end of the last process.
fn perform(options: &DemoOptions, dir: &TempDir, watch: &DemoWatch, report: &mut DemoReport) -> Result<()> {
    watch.own(dir.path());
    report.data_dir = dir.path().into();
    report.filesystem = filesystem::of(dir.path());
    let swaps = options.swaps;
    let cast = Cast::assemble(options, dir.path(), watch)?;
    watch.check()?;
    watch.limit(SHOW_LIMIT + SWAP_LIMIT * swaps);
    let stage = DemoStage::set(dir.path(), &cast.supervisor, &cast.builds[0], watch)?;
    let options = load_options(options);
    let (load, started) = (Load::start(stage.resp(), options.clone())?, Instant::now());
    let shown = show(&stage, &cast, &load, swaps, report);
    if let Err(error) = shown {
        // No use in reading everything back from a server that may not answer.
        let (connections, seconds) = (options.connections, started.elapsed().as_secs_f64());
        report.load = load::LoadReport {
            connections,
            seconds,
            counters: load.progress(),
            ..load::LoadReport::default()
        };
        return Err(error);
    }
    report.load = load.stop();
    stage.strike()
}

fn show(stage: &DemoStage, cast: &Cast, load: &Load, swaps: u32, report: &mut DemoReport) -> Result<()> {
    let progress = Progress::new(u64::from(swaps) + 1);
    progress.say(&format!("{} serves at {}", cast.builds[0].name, stage.resp()));
    Show { stage, load, builds: &cast.builds, progress: &progress, report }.run(swaps)
}

fn load_options(options: &DemoOptions) -> load::LoadOptions {
    load::LoadOptions {
        connections: options.connections.into(),
        pace: options.pace,
        reply_timeout: REPLY_LIMIT,
        give_up: REPLY_LIMIT,
        ..load::LoadOptions::default()
    }
}
