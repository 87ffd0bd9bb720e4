//! `handoff-sim`: sweeps over seeds, replays, shrinks and shows runs.
#![warn(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nothing can be written")]

#[macro_use]
mod say;

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use handoff_sim::corpus::names_of;
use handoff_sim::explore::Schedule;
use handoff_sim::run::{Planted, RunOptions, RunReport, forgetful_ledgers, ledgers, run};
use handoff_sim::trace::{page, perfetto, text};
use handoff_sim::{Make, Plan, draw, shrink, version};

mod explore;
mod merge;
mod mutants;
mod outage;
mod refusal;
mod shard;
mod sweep;

use explore::ExploreArgs;
use merge::MergeArgs;
use mutants::MutantsArgs;
use refusal::Refusal;
use shard::Shard;

/// Runs handoff's protocol under seeds and faults, on a simulated machine. The same seed and code, the same run.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct SimulatorCli {
    /// Breaks something, to see that it is noticed: `flock` excludes no process, or a `seal` loses writes.
    #[arg(long, global = true, env = handoff_sim::CANARY, value_enum)]
    canary: Option<Canary>,
    #[command(subcommand)]
    command: SimulatorCommand,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Canary {
    Flock,
    Seal,
}

/// The subject of the run: the daemons that the simulator brings along, and what is broken on purpose.
struct Subject {
    make: Arc<Make>,
    planted: Planted,
}

impl Subject {
    fn new(canary: Option<Canary>) -> Subject {
        match canary {
            None => Subject { make: ledgers(), planted: Planted::Nothing },
            Some(Canary::Flock) => Subject { make: ledgers(), planted: Planted::FlockExcludesNobody },
            Some(Canary::Seal) => Subject { make: forgetful_ledgers(), planted: Planted::Nothing },
        }
    }

    fn traced(&self, plan: &Plan) -> RunReport {
        run(
            &Arc::new(plan.clone()),
            &self.make,
            RunOptions { trace: true, planted: self.planted, ..RunOptions::default() },
        )
    }
}

#[derive(Debug, Subcommand)]
enum SimulatorCommand {
    /// Runs many seeds, and explains the lowest that fails.
    Sweep(SweepArgs),
    /// Puts together what the shards of a sweep have found.
    Merge(MergeArgs),
    /// Goes through every state within a bound: every interleaving, a death in every gap.
    Explore(ExploreArgs),
    /// Breaks every cell of the machines' tables in every way, and says what no check notices. Takes long.
    Mutants(MutantsArgs),
    /// Runs every single fault at every place, and says how long nobody serves, and which limit sets that.
    Outage(outage::OutageArgs),
    /// Runs one seed, one plan or one schedule, and prints what happened.
    Replay {
        /// A seed, or the path of a plan, or of a schedule that an exploration has saved.
        what: String,
        /// Heartbeats and repeated questions, too.
        #[arg(long)]
        all: bool,
        /// Only which cells of the machines' tables and which gaps a plan meets.
        #[arg(long)]
        cells: bool,
    },
    /// Prints the smallest plan that fails in the same way as a seed, or a plan, does.
    Shrink {
        /// A seed, or the path of a plan.
        what: String,
    },
    /// Draws one run: as a page for a browser, or a timeline for ui.perfetto.dev.
    Trace {
        /// A seed, or the path of a plan.
        what: String,
        /// The path at which the page is written.
        #[arg(long, value_name = "FILE", required_unless_present = "perfetto")]
        html: Option<PathBuf>,
        /// The path at which the timeline is written.
        #[arg(long, value_name = "FILE")]
        perfetto: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct SweepArgs {
    /// The seeds: from the first to before the last.
    #[arg(long, value_name = "A..B", default_value = "0..100000", value_parser = seeds)]
    seeds: Range<u64>,
    /// On how many threads; by default as many as there are processors.
    #[arg(long)]
    jobs: Option<usize>,
    /// Only the k-th of n parts of the seeds, k from 0 on. Also from the environment: of a Kubernetes Indexed Job
    /// (`JOB_COMPLETION_INDEX` and `HANDOFF_SHARDS`), a Slurm array, GitLab CI, CircleCI, Buildkite.
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// The number of seeds of which one is run twice, and must leave the same trace.
    #[arg(long, default_value_t = 64)]
    twice_every: u64,
    /// The path at which the summary is written, as JSON; `-` is the standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The directory in which plans that fail are saved.
    #[arg(long, value_name = "DIR", default_value = "handoff-failures")]
    failures: PathBuf,
    /// Instead: saves in this directory small plans that meet what `--wanted` names, one for each that no other one meets.
    #[arg(long, value_name = "DIR", requires = "wanted")]
    collect: Option<PathBuf>,
    /// Names of cells and gaps, one a line, as the test of coverage lists those that are missing; `-` is the standard input.
    #[arg(long, value_name = "FILE")]
    wanted: Option<PathBuf>,
}

fn main() -> ExitCode {
    let SimulatorCli { canary, command } = SimulatorCli::parse();
    let subject = Subject::new(canary);
    let done = match command {
        SimulatorCommand::Outage(outage) => outage.run(&subject),
        SimulatorCommand::Sweep(sweep) => sweep.run(&subject),
        SimulatorCommand::Merge(merge) => merge.run(),
        SimulatorCommand::Explore(_) | SimulatorCommand::Mutants(_) if canary.is_some() => {
            Err(Refusal::NoCanary)
        }
        SimulatorCommand::Explore(explore) => explore.run(),
        SimulatorCommand::Mutants(mutants) => mutants.run(),
        SimulatorCommand::Replay { what, cells: true, .. } => plan_of(&what).map(|plan| met(&subject, &plan)),
        SimulatorCommand::Replay { what, .. } if is_schedule(&what) && canary.is_some() => {
            Err(Refusal::NoCanary)
        }
        SimulatorCommand::Replay { what, all, .. } if is_schedule(&what) => {
            explore::replay(Path::new(&what), all)
        }
        SimulatorCommand::Replay { what, all, .. } => plan_of(&what).map(|plan| replay(&subject, &plan, all)),
        SimulatorCommand::Shrink { what } => plan_of(&what).and_then(|plan| shrunk(&subject, &plan)),
        SimulatorCommand::Trace { what, html, perfetto } => {
            plan_of(&what).and_then(|plan| show(&subject, &plan, html, perfetto))
        }
    };
    done.unwrap_or_else(|refusal| {
        note!("handoff-sim: {refusal}");
        ExitCode::from(2)
    })
}

/// Returns whether `what` is what an exploration has saved, rather than a plan.
fn is_schedule(what: &str) -> bool {
    fs::read_to_string(what).is_ok_and(|text| Schedule::is_one(&text))
}

/// The plan of a seed, or in a file.
fn plan_of(what: &str) -> Result<Plan, Refusal> {
    match what.parse() {
        Ok(seed) => Ok(draw(seed)),
        Err(_) => Ok(Plan::load(what)?),
    }
}

fn replay(subject: &Subject, plan: &Plan, all: bool) -> ExitCode {
    let report = subject.traced(plan);
    say!("{}", plan.to_toml());
    let lines = if all { text::all_lines(&report.trace) } else { text::lines(&report.trace, 0) };
    lines.iter().for_each(|line| say!("{line}"));
    say!("\n{}", conclusion(&report));
    if report.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn met(subject: &Subject, plan: &Plan) -> ExitCode {
    let report = subject.traced(plan);
    names_of(&report).collect::<BTreeSet<_>>().iter().for_each(|name| say!("{name}"));
    say!("{}", conclusion(&report));
    if report.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn conclusion(report: &RunReport) -> String {
    let outage = report.longest_outage as f64 / 1000.0;
    let facts =
        format!("verdicts {:?}, longest outage {outage} ms, {} requests", report.verdicts, report.requests);
    match &report.violation {
        Some(violation) => {
            format!("FAILS \"{}\": {}\n{facts} ({})", violation.check, violation.why, version())
        }
        None => format!("all checks hold; {facts}"),
    }
}

fn shrunk(subject: &Subject, plan: &Plan) -> Result<ExitCode, Refusal> {
    let smallest = shrink(plan, &subject.make, subject.planted).ok_or(Refusal::NothingToShrink)?;
    say!("{}", smallest.to_toml());
    Ok(ExitCode::FAILURE)
}

fn show(
    subject: &Subject,
    plan: &Plan,
    html: Option<PathBuf>,
    timeline: Option<PathBuf>,
) -> Result<ExitCode, Refusal> {
    let report = subject.traced(plan);
    let write = |path: PathBuf, text: String| {
        fs::write(&path, text).map_err(Refusal::write(&path))?;
        say!("{}", path.display());
        Ok::<(), Refusal>(())
    };
    html.map_or(Ok(()), |path| write(path, page(&report.shown(plan))))?;
    timeline.map_or(Ok(()), |path| write(path, perfetto(&report.trace)))?;
    say!("{}", conclusion(&report));
    Ok(ExitCode::SUCCESS)
}

fn seeds(text: &str) -> Result<Range<u64>, Refusal> {
    let bad = || Refusal::NoSeeds(text.to_owned());
    let (first, last) = text.split_once("..").ok_or_else(bad)?;
    let range = first.parse().map_err(|_| bad())?..last.parse().map_err(|_| bad())?;
    if range.is_empty() { Err(bad()) } else { Ok(range) }
}
