//! Many seeds, on several threads: what failed, what was covered, how long nobody served.
//!
//! The result does not depend on the number of threads: seeds are handed out in order, and after a failure all seeds below
//! it are still run, so that the lowest one that fails is reported.
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::thread;

use handoff::host::Gap;
use handoff::machine::Cell;

use serde::{Deserialize, Serialize};

use super::threads::{share, usual_jobs};
use crate::harness::checks::{DETERMINISTIC, Violation};
use crate::plan::draw::draw;
use crate::run::{Planted, RunOptions, RunReport, run};
use crate::simulated::Make;
use crate::trace::text;

/// The sweep that is to be made.
#[derive(Clone)]
pub struct Sweep {
    /// The seeds.
    pub seeds: Range<u64>,
    /// On how many threads.
    pub jobs: usize,
    /// Makes the daemons.
    pub make: Arc<Make>,
    /// Broken on purpose.
    pub planted: Planted,
    /// The number of seeds of which one is run twice, the second time on a thread of its own: both must leave
    /// the same trace. 0: none.
    pub twice_every: u64,
}

/// The findings of a sweep.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// The number of seeds that were run.
    pub runs: u64,
    /// The number of things that happened in them.
    pub steps: u64,
    /// The number of requests that clients made.
    pub requests: u64,
    /// Virtual time, in microseconds.
    pub virtual_micros: u64,
    /// The number of seeds that were run twice.
    pub run_twice: u64,
    /// The verdicts that supervisors reported of the handoffs that were asked for.
    pub verdicts: BTreeMap<String, u64>,
    /// The number of times that each fault struck, by its class.
    pub faults: BTreeMap<String, u64>,
    /// The number of runs that had no fault, one class of them, more.
    pub classes_a_run: [u64; 3],
    /// In how many runs each gap was passed: places where a process could die.
    pub gaps: BTreeMap<String, u64>,
    /// In how many runs each cell of the machines' tables was met.
    pub cells: BTreeMap<String, u64>,
    /// The longest time that nobody served, by the class of the only fault of a run, with its seed.
    pub outages: BTreeMap<String, Outage>,
    /// The lowest seed that failed.
    pub failure: Option<Failure>,
}

/// A time when nobody served.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Outage {
    /// The time in microseconds, less the time that the daemon that serves was stopped.
    pub micros: u64,
    /// In the run of this seed.
    pub seed: u64,
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The check that failed, and the reason; two traces that differ are a check as well.
    pub violation: Violation,
}

/// The findings of one thread so far.
#[derive(Default)]
struct SweepPart {
    summary: Summary,
    gaps: BTreeMap<Gap, u64>,
    cells: BTreeMap<Cell, u64>,
}

impl Sweep {
    /// All that is usual: as many threads as there are processors, one seed in 64 twice.
    pub fn new(seeds: Range<u64>, make: Arc<Make>) -> Sweep {
        Sweep { seeds, jobs: usual_jobs(), make, planted: Planted::Nothing, twice_every: 64 }
    }

    /// Runs them; `progress` is called now and then with how many are done.
    pub fn run(&self, progress: impl Fn(u64) + Sync) -> Summary {
        let work = |part: &mut SweepPart, seed| match part.run(self, seed) {
            Some(violation) => {
                part.summary.fails(Failure { seed, violation });
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        };
        let parts = share(self.seeds.clone(), self.jobs, work, progress);
        let mut all = SweepPart::default();
        parts.into_iter().for_each(|part| all.add(part));
        all.finish()
    }
}

impl SweepPart {
    /// Runs one seed and counts what it met.
    fn run(&mut self, sweep: &Sweep, seed: u64) -> Option<Violation> {
        let plan = Arc::new(draw(seed));
        let twice = sweep.twice_every > 0 && seed.is_multiple_of(sweep.twice_every);
        let options = RunOptions { trace: twice, planted: sweep.planted, ..RunOptions::default() };
        let report = run(&plan, &sweep.make, options);
        self.count(seed, &report);
        if twice {
            self.summary.run_twice += 1;
            let again = thread::scope(|scope| scope.spawn(|| run(&plan, &sweep.make, options)).join());
            let again = again.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            return differs(&report, &again).or(report.violation);
        }
        report.violation
    }

    fn count(&mut self, seed: u64, report: &RunReport) {
        let summary = &mut self.summary;
        summary.runs += 1;
        summary.steps += report.steps;
        summary.requests += report.requests;
        summary.virtual_micros += report.length;
        for verdict in &report.verdicts {
            *summary.verdicts.entry(format!("{verdict:?}")).or_default() += 1;
        }
        for gap in &report.gaps {
            *self.gaps.entry(*gap).or_default() += 1;
        }
        for cell in &report.cells {
            *self.cells.entry(*cell).or_default() += 1;
        }
        for struck in &report.struck {
            *summary.faults.entry(struck.class.clone()).or_default() += 1;
        }
        let first = report.struck.first().map(|struck| struck.class.as_str());
        let only = report.struck.iter().all(|struck| Some(struck.class.as_str()) == first);
        let kinds = match first {
            None => 0,
            Some(_) if only => 1,
            Some(_) => 2,
        };
        summary.classes_a_run[kinds] += 1;
        let class = if kinds == 2 { "several classes" } else { first.unwrap_or("no fault") };
        longer(&mut summary.outages, class, Outage { micros: report.longest_outage, seed });
    }

    fn add(&mut self, other: SweepPart) {
        self.summary.add(other.summary);
        add_counts(&mut self.gaps, other.gaps);
        add_counts(&mut self.cells, other.cells);
    }

    fn finish(mut self) -> Summary {
        for (gap, count) in self.gaps {
            *self.summary.gaps.entry(gap.to_string()).or_default() += count;
        }
        for (cell, count) in self.cells {
            *self.summary.cells.entry(cell.to_string()).or_default() += count;
        }
        self.summary
    }
}

/// Adds counts to those under the same names.
pub(super) fn add_counts<K: Ord>(counts: &mut BTreeMap<K, u64>, more: BTreeMap<K, u64>) {
    more.into_iter().for_each(|(name, count)| *counts.entry(name).or_default() += count);
}

/// Returns what came of runs that no seed drew.
pub(crate) fn counted(reports: &[RunReport]) -> Summary {
    let mut part = SweepPart::default();
    reports.iter().for_each(|report| part.count(0, report));
    part.finish()
}

/// Keeps the longer outage; of two that are as long, that of the lower seed.
pub(super) fn longer(outages: &mut BTreeMap<String, Outage>, class: &str, outage: Outage) {
    match outages.get_mut(class) {
        Some(known) => {
            let is_longer = outage.micros > known.micros;
            let is_lower = outage.micros == known.micros && outage.seed < known.seed;
            if is_longer || is_lower {
                *known = outage;
            }
        }
        None => drop(outages.insert(class.to_string(), outage)),
    }
}

/// The first line in which two runs of one plan differ.
pub fn differs(first: &RunReport, second: &RunReport) -> Option<Violation> {
    if first.trace == second.trace {
        return None;
    }
    let (one, other) = (text::all_lines(&first.trace), text::all_lines(&second.trace));
    let line = one.iter().zip(&other).position(|(one, other)| one != other);
    let line = line.unwrap_or(one.len().min(other.len()));
    let show = |lines: &[String]| lines.get(line).map_or("(nothing)", |line| line.trim()).to_string();
    let why =
        format!("two runs of it differ, first in line {line}: {:?}, then {:?}", show(&one), show(&other));
    Some(Violation { check: DETERMINISTIC, why, at: first.trace.get(line).map_or(0, |entry| entry.at) })
}
