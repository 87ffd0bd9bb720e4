//! The number of system calls that a handoff is: this program run under `strace(1)`, with some rounds and
//! with none.
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::arm::BenchResult;

/// The number of rounds that are counted.
const ROUNDS: u32 = 20;
/// The calls that a vain attempt to be answered makes: socket, connect, close, and the yield that follows.
/// They are the benchmark's.
const VAIN_ATTEMPT: u32 = 4;

/// System calls.
#[derive(Clone, Copy, Debug, Default)]
struct SyscallCounts {
    supervisor: u32,
    all: u32,
    syncs: u32,
}

/// Prints the counts a round of each arm.
pub(crate) fn print(arms: &[String], dir: &Path) -> BenchResult<()> {
    println!("\nsystem calls a round  {:>11}{:>16}{:>9}", "supervisor", "all processes", "fsyncs");
    for arm in arms {
        let (none, some) = (count(arm, 0, dir)?, count(arm, ROUNDS, dir)?);
        let each = |of: fn(&SyscallCounts) -> u32| {
            f64::from(of(&some).saturating_sub(of(&none))) / f64::from(ROUNDS)
        };
        let (supervisor, all, syncs) = (each(|c| c.supervisor), each(|c| c.all), each(|c| c.syncs));
        println!("{arm:20}{supervisor:>13.0}{all:>16.0}{syncs:>9.1}");
    }
    Ok(())
}

fn count(arm: &str, rounds: u32, dir: &Path) -> BenchResult<SyscallCounts> {
    let trace = dir.join("trace");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&trace)
        .arg(env::current_exe()?)
        .args(["--warm-up", "0", "--arm", arm, "--rounds", &rounds.to_string()])
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("strace is needed to count system calls: {error}"))?;
    if !status.success() {
        return Err(format!("strace: {status}").into());
    }
    Ok(tally(&fs::read_to_string(trace)?))
}

/// A line is the pid and the call. The first is the supervisor's; a call that was interrupted has a second line,
/// and signals and ends are no calls.
fn tally(trace: &str) -> SyscallCounts {
    let mut counts = SyscallCounts::default();
    let supervisor = trace.split_whitespace().next();
    let mut vain = 0;
    for line in trace.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if !call.starts_with(|first: char| first.is_ascii_alphabetic()) {
            continue;
        }
        counts.all += 1;
        counts.supervisor += u32::from(Some(pid) == supervisor);
        vain += u32::from(call.starts_with("sched_yield("));
        counts.syncs += u32::from(["fsync(", "fdatasync("].iter().any(|name| call.starts_with(name)));
    }
    counts.all = counts.all.saturating_sub(vain * VAIN_ATTEMPT);
    counts.supervisor = counts.supervisor.saturating_sub(vain * VAIN_ATTEMPT);
    counts
}
