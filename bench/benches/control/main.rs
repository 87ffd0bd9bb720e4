//! `cargo bench --bench control`: one handoff of a daemon with nothing to do, on this library and on the peer, each
//! with and without a journal, and the floor: to start the same binary and see it end.
//!
//! The arms take turns, round by round, so that whatever else the machine does falls on all of them. Supervisors
//! live in this process; daemons are `idle-daemon`. No process has a tracing subscriber.
use std::path::Path;

use clap::Parser;

mod arm;
mod filesystem;
mod ours;
mod report;
mod syscalls;
mod theirs;

use arm::{Arm, BenchResult};
use report::Series;

#[derive(Debug, Parser)]
struct BenchOptions {
    /// The number of handoffs that each arm does.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// The number of handoffs that each arm does before that, unmeasured.
    #[arg(long, default_value_t = 5)]
    warm_up: usize,
    /// Only this arm; may be repeated. All by default.
    #[arg(long = "arm", value_parser = arm::NAMES)]
    arms: Vec<String>,
    /// Also count system calls, with strace(1).
    #[arg(long)]
    syscalls: bool,
    /// The flag that cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> BenchResult<()> {
    let mut options = BenchOptions::parse();
    if options.arms.is_empty() {
        options.arms = arm::NAMES.map(Into::into).to_vec();
    }
    // Below the target directory: that is on a disk, the system's directory for temporary files may not be.
    let dir = tempfile::Builder::new().prefix("b").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (rounds, kind) = (options.rounds, filesystem::describe(dir.path()));
    println!("{rounds} handoffs of a daemon with nothing to do; data and journal on {kind}");
    report::print(&measure(&options, dir.path())?);
    if options.syscalls {
        syscalls::print(&options.arms, dir.path())?;
    }
    Ok(())
}

fn measure(options: &BenchOptions, dir: &Path) -> BenchResult<Vec<Series>> {
    let mut arms: Vec<(Box<dyn Arm>, Series)> = Vec::new();
    for name in &options.arms {
        let series = Series { name: name.clone(), samples: Vec::with_capacity(options.rounds) };
        arms.push((arm::start(name, dir)?, series));
    }
    for round in 0..options.warm_up + options.rounds {
        for (arm, series) in &mut arms {
            let sample = arm.round().map_err(|error| format!("{}, round {round}: {error}", series.name))?;
            if round >= options.warm_up {
                series.samples.push(sample);
            }
        }
        // Each comes after either of its neighbours in turn, and never after itself.
        arms.reverse();
        arms.rotate_left(1);
    }
    arms.sort_by_key(|(_, series)| options.arms.iter().position(|name| *name == series.name));
    Ok(arms.into_iter().map(|(_, series)| series).collect())
}
