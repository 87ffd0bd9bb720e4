//! `handoff-sim explore`: every interleaving within a bound.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use handoff_sim::explore::{Bound, CARRY, ExploreOptions, ExploreReport, LARGE, SMALL, Schedule, explore};
use handoff_sim::run::by_name;
use handoff_sim::threads::{map, usual_jobs};
use handoff_sim::trace::{Shown, page, text};
use handoff_sim::version;

use crate::refusal::Refusal;

#[derive(Debug, clap::Args)]
pub(crate) struct ExploreArgs {
    /// The bounds: `small`, those that fit into two minutes; `large`, those that take longer; `carry`, those
    /// in which connections are carried; `all`; or one by its name.
    #[arg(default_value = "small")]
    bound: String,
    /// Only says which bounds there are.
    #[arg(long)]
    list: bool,
    /// Also says which cells of the machines' tables of states and events were met.
    #[arg(long)]
    cells: bool,
    /// The number of bounds that are gone through at a time; by default as many as there are processors. A
    /// large one takes some gigabytes.
    #[arg(long)]
    jobs: Option<usize>,
    /// The directory in which schedules that fail, and their pages, are saved.
    #[arg(long, value_name = "DIR", default_value = "handoff-failures")]
    failures: PathBuf,
}

/// A bound that was gone through.
struct ExploredBound {
    bound: &'static Bound,
    report: ExploreReport,
    took: Duration,
}

impl ExploredBound {
    fn new(bound: &'static Bound) -> ExploredBound {
        let begun = Instant::now();
        let report = explore(bound, ExploreOptions::default());
        ExploredBound { bound, report, took: begun.elapsed() }
    }
}

impl ExploreArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Refusal> {
        let bounds = self.bounds()?;
        if self.list {
            bounds.iter().for_each(|bound| say!("{:<36} {:?}", bound.name, bound.faults));
            return Ok(ExitCode::SUCCESS);
        }
        say!("{:<36} {:>9} {:>11} {:>6} {:>9}", "bound", "states", "transitions", "depth", "states/s");
        let begun = Instant::now();
        // What is said of one is not said in the middle of another.
        let said = Mutex::new(Ok(()));
        let tell = |explored: &ExploredBound| {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            let ExploredBound { bound, report: ExploreReport { states, transitions, depth, .. }, took } =
                explored;
            let rate = *states as f64 / took.as_secs_f64();
            say!("{:<36} {states:>9} {transitions:>11} {depth:>6} {rate:>9.0}", bound.name);
            let explained = self.explain(bound, &explored.report);
            *said = std::mem::replace(&mut *said, Ok(())).and(explained);
        };
        let explored =
            map(&bounds, self.jobs.unwrap_or_else(usual_jobs), |bound| ExploredBound::new(bound), tell);
        said.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        let reports = || explored.iter().map(|explored| &explored.report);
        let states: usize = reports().map(|report| report.states).sum();
        let transitions: usize = reports().map(|report| report.transitions).sum();
        let cells = by_name(reports().flat_map(|report| &report.cells));
        let failed = explored.iter().any(|explored| !explored.report.wrong(explored.bound).is_empty());
        if self.cells {
            cells.iter().for_each(|cell| say!("{cell}"));
        }
        let took = begun.elapsed().as_secs_f64();
        let rate = states as f64 / took;
        say!(
            "{:<36} {states:>9} {transitions:>11} {:>6} {rate:>9.0}   in {took:.1} s ({})",
            "all",
            "",
            version()
        );
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn bounds(&self) -> Result<Vec<&'static Bound>, Refusal> {
        let all = || SMALL.iter().chain(LARGE).chain(CARRY);
        let bounds: Vec<_> = match self.bound.as_str() {
            "small" => SMALL.iter().collect(),
            "large" => LARGE.iter().collect(),
            "carry" => CARRY.iter().collect(),
            "all" => all().collect(),
            name => all().filter(|bound| bound.name == name).collect(),
        };
        if bounds.is_empty() {
            let known = all().map(|bound| bound.name).collect();
            return Err(Refusal::NoBound { asked: self.bound.clone(), known });
        }
        Ok(bounds)
    }

    /// Says what is wrong, and saves the shortest way to it, as a file that `replay` takes and as a page.
    fn explain(&self, bound: &Bound, report: &ExploreReport) -> Result<(), Refusal> {
        // There is no way to what never happens.
        let wrong = report.wrong(bound);
        let missing = wrong.iter().filter(|why| !report.violations.contains_key(*why));
        missing.for_each(|why| say!("\n{}: {why}\n", bound.name));
        for (nth, (why, schedule)) in report.violations.iter().enumerate() {
            let path = self.failures.join(format!("{}-{}.toml", bound.name, nth + 1));
            let page = path.with_extension("html");
            let cant = Refusal::write(&path);
            fs::create_dir_all(&self.failures).map_err(&cant)?;
            fs::write(&path, schedule.to_toml()).map_err(&cant)?;
            fs::write(&page, shown(schedule)).map_err(cant)?;
            say!("\n{}: {why}; the shortest way to it has {} steps:", bound.name, schedule.len());
            text::lines(&schedule.replay(None).trace, 0).iter().for_each(|line| say!("{line}"));
            say!("saved as {} and {}\nreplay it: handoff-sim replay {0}\n", path.display(), page.display());
        }
        Ok(())
    }
}

/// The page of a schedule.
pub(crate) fn shown(schedule: &Schedule) -> String {
    let replayed = schedule.replay(None);
    let said = replayed.violation.as_deref() == Some(&schedule.why);
    let shown = Shown {
        why: if said { "" } else { &schedule.why },
        plan: schedule.to_toml(),
        facts: "no time passes: each step is shown as a millisecond".into(),
        violation: replayed.violation,
        trace: &replayed.trace,
    };
    page(&shown)
}

/// Lets the schedule in a file happen once more.
pub(crate) fn replay(path: &Path, all: bool) -> Result<ExitCode, Refusal> {
    let schedule = Schedule::load(path)?;
    let replayed = schedule.replay(None);
    let lines = if all { text::all_lines(&replayed.trace) } else { text::lines(&replayed.trace, 0) };
    lines.iter().for_each(|line| say!("{line}"));
    Ok(match replayed.violation {
        Some(why) => {
            say!("\nFAILS: {why} ({})", version());
            ExitCode::FAILURE
        }
        None => {
            say!("\nno check fails in any of these states");
            if !schedule.why.is_empty() {
                say!("what is to be seen in them: {}", schedule.why);
            }
            ExitCode::SUCCESS
        }
    })
}
