//! `handoff-sim explore`: every interleaving within a bound.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use handoff::machine::Cell;
use handoff_sim::explore::{Bound, LARGE, Options, Report, SMALL, Schedule, explore};
use handoff_sim::trace::{Shown, page, text};
use handoff_sim::version;

#[derive(Debug, clap::Args)]
pub(crate) struct Explore {
    /// Which bounds: `small`, those that fit into two minutes; `large`, those that take longer; `all`; or one by its name.
    #[arg(default_value = "small")]
    bound: String,
    /// Only says which bounds there are.
    #[arg(long)]
    list: bool,
    /// Also says which cells of the machines' tables of states and events were met.
    #[arg(long)]
    cells: bool,
    /// How many are gone through at a time; by default as many as there are processors. A large one takes some gigabytes.
    #[arg(long)]
    jobs: Option<usize>,
    /// Where schedules that fail, and their pages, are saved.
    #[arg(long, value_name = "DIR", default_value = "handoff-failures")]
    failures: PathBuf,
}

/// A bound that was gone through.
struct Explored {
    bound: &'static Bound,
    report: Report,
    took: Duration,
}

impl Explore {
    pub(crate) fn run(&self) -> Result<ExitCode, String> {
        let bounds = self.bounds()?;
        if self.list {
            bounds.iter().for_each(|bound| println!("{:<32} {:?}", bound.name, bound.faults));
            return Ok(ExitCode::SUCCESS);
        }
        println!("{:<32} {:>9} {:>11} {:>6} {:>9}", "bound", "states", "transitions", "depth", "states/s");
        let begun = Instant::now();
        let (mut states, mut transitions, mut failed) = (0, 0, false);
        let mut cells: BTreeSet<Cell> = BTreeSet::new();
        self.each(&bounds, |explored| {
            let Explored { bound, report, took } = explored;
            states += report.states;
            transitions += report.transitions;
            failed |= !report.violations.is_empty();
            cells.extend(&report.cells);
            let rate = report.states as f64 / took.as_secs_f64();
            let Report { states, transitions, depth, .. } = report;
            println!("{:<32} {states:>9} {transitions:>11} {depth:>6} {rate:>9.0}", bound.name);
            self.explain(bound, report)
        })?;
        if self.cells {
            cells.iter().for_each(|cell| println!("{cell}"));
        }
        let took = begun.elapsed().as_secs_f64();
        let rate = states as f64 / took;
        println!(
            "{:<32} {states:>9} {transitions:>11} {:>6} {rate:>9.0}   in {took:.1} s ({})",
            "all",
            "",
            version()
        );
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn bounds(&self) -> Result<Vec<&'static Bound>, String> {
        let all = || SMALL.iter().chain(LARGE);
        let bounds: Vec<_> = match self.bound.as_str() {
            "small" => SMALL.iter().collect(),
            "large" => LARGE.iter().collect(),
            "all" => all().collect(),
            name => all().filter(|bound| bound.name == name).collect(),
        };
        let names = || all().map(|bound| bound.name).collect::<Vec<_>>().join(", ");
        if bounds.is_empty() {
            return Err(format!(
                "there is no bound {:?}; there are small, large, all, {}",
                self.bound,
                names()
            ));
        }
        Ok(bounds)
    }

    /// Goes through `bounds`, several at a time, and hands each on when it is done.
    fn each(
        &self,
        bounds: &[&'static Bound],
        mut done: impl FnMut(&Explored) -> Result<(), String>,
    ) -> Result<(), String> {
        let jobs = self.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let next = AtomicUsize::new(0);
        let (sender, receiver) = channel();
        thread::scope(|scope| {
            for _ in 0..jobs.clamp(1, bounds.len()) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while let Some(bound) = bounds.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let begun = Instant::now();
                        let report = explore(bound, Options::default());
                        let explored = Explored { bound, report, took: begun.elapsed() };
                        if sender.send(explored).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            receiver.iter().try_for_each(|explored| done(&explored))
        })
    }

    /// Says what is wrong, and saves the shortest way to it, as a file that `replay` takes and as a page.
    fn explain(&self, bound: &Bound, report: &Report) -> Result<(), String> {
        for (nth, (why, schedule)) in report.violations.iter().enumerate() {
            let path = self.failures.join(format!("{}-{}.toml", bound.name, nth + 1));
            let page = path.with_extension("html");
            let cant = |error: std::io::Error| format!("can't write {}: {error}", path.display());
            fs::create_dir_all(&self.failures).map_err(cant)?;
            fs::write(&path, schedule.to_toml()).map_err(cant)?;
            fs::write(&page, shown(schedule)).map_err(cant)?;
            println!("\n{}: {why}; the shortest way to it has {} steps:", bound.name, schedule.len());
            text::lines(&schedule.replay(None).trace, 0).iter().for_each(|line| println!("{line}"));
            println!(
                "saved as {} and {}\nreplay it: handoff-sim replay {0}\n",
                path.display(),
                page.display()
            );
        }
        Ok(())
    }
}

/// The page of a schedule.
pub(crate) fn shown(schedule: &Schedule) -> String {
    let replayed = schedule.replay(None);
    let shown = Shown {
        why: &schedule.why,
        plan: schedule.to_toml(),
        violation: replayed.violation,
        ..Shown::of(&replayed.trace)
    };
    page(&shown)
}

/// Lets the schedule in a file happen once more.
pub(crate) fn replay(path: &Path, all: bool) -> Result<ExitCode, String> {
    let schedule = Schedule::load(path)?;
    let replayed = schedule.replay(None);
    let lines = if all { text::all_lines(&replayed.trace) } else { text::lines(&replayed.trace, 0) };
    lines.iter().for_each(|line| println!("{line}"));
    Ok(match replayed.violation {
        Some(why) => {
            println!("\nFAILS: {why} ({})", version());
            ExitCode::FAILURE
        }
        None => {
            println!("\nno check fails in any of these states");
            if !schedule.why.is_empty() {
                println!("what is to be seen in them: {}", schedule.why);
            }
            ExitCode::SUCCESS
        }
    })
}
