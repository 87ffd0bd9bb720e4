//! `handoff-sim sweep`.
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use handoff_sim::corpus::{Collected, collect};
use handoff_sim::merge::SweepResult;
use handoff_sim::sweep::{Outage, Summary, Sweep};
use handoff_sim::threads::usual_jobs;
use handoff_sim::{Explain, version};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::Subject;
use crate::refusal::Refusal;
use crate::shard::Shard;

impl super::SweepArgs {
    pub(super) fn run(self, subject: &Subject) -> Result<ExitCode, Refusal> {
        let shard = self.shard.map_or_else(Shard::from_environment, Ok)?;
        let seeds = shard.of(self.seeds.clone());
        if let (Some(folder), Some(wanted)) = (&self.collect, &self.wanted) {
            return self.collects(wanted, seeds, subject, folder);
        }
        let (make, planted) = (Arc::clone(&subject.make), subject.planted);
        let mut sweep = Sweep { planted, twice_every: self.twice_every, ..Sweep::new(seeds.clone(), make) };
        sweep.jobs = self.jobs.unwrap_or(sweep.jobs).max(1);
        note!("seeds {} to {}, {} threads, {}", seeds.start, seeds.end, sweep.jobs, version());
        let bar = bar(seeds.end - seeds.start, "seeds");
        let start = Instant::now();
        let summary = sweep.run(|runs| bar.inc(runs));
        bar.finish_and_clear();
        note!("{}", told(&summary, start.elapsed(), sweep.jobs));
        let result = SweepResult {
            made_by: version(),
            from: seeds.start,
            to: seeds.end,
            twice_every: self.twice_every,
            summary,
        };
        self.json.as_deref().map_or(Ok(()), |path| write_json(&result, path))?;
        let Some(failure) = &result.summary.failure else { return Ok(ExitCode::SUCCESS) };
        say!("{}", self.explain(subject).text(failure));
        Ok(ExitCode::FAILURE)
    }

    /// Saves plans that meet what is wanted; says what was not met, and what has failed on the way.
    fn collects(
        &self,
        wanted: &Path,
        seeds: Range<u64>,
        subject: &Subject,
        folder: &Path,
    ) -> Result<ExitCode, Refusal> {
        let text = if wanted == Path::new("-") {
            io::read_to_string(io::stdin())
        } else {
            fs::read_to_string(wanted)
        };
        let text = text.map_err(Refusal::read(wanted))?;
        let names = text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_string).collect();
        let jobs = self.jobs.unwrap_or_else(usual_jobs);
        let bar = bar(seeds.end - seeds.start, "seeds");
        let Collected { missing, failing } =
            collect(names, seeds, jobs, &subject.make, folder, |seeds| bar.inc(seeds))?;
        bar.finish_and_clear();
        missing.iter().for_each(|name| say!("not met: {name}"));
        let explain = self.explain(subject);
        for (nth, plan) in failing.iter().enumerate() {
            say!("{}", explain.text_of(&format!("mutated plan {}", nth + 1), plan));
        }
        let all_is_well = missing.is_empty() && failing.is_empty();
        Ok(if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn explain<'a>(&'a self, subject: &'a Subject) -> Explain<'a> {
        let replay = "cargo run --release --bin handoff-sim -- replay {}";
        Explain { make: &subject.make, planted: subject.planted, directory: &self.failures, replay }
    }
}

/// So many of `what` are to be done.
pub(crate) fn bar(runs: u64, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!(
        "{{bar:40}} {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left"
    ));
    let bar = ProgressBar::new(runs);
    bar.enable_steady_tick(Duration::from_millis(200));
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

/// The summary, for people.
fn told(summary: &Summary, took: Duration, jobs: usize) -> String {
    let secs = took.as_secs_f64();
    let rate = summary.runs as f64 / secs;
    let [none, one, more] = summary.classes_a_run;
    let mut lines = vec![
        format!(
            "{} runs in {secs:.1} s: {rate:.0} a second, {:.0} a thread; {:.0} virtual seconds a second",
            summary.runs,
            rate / jobs as f64,
            summary.virtual_micros as f64 / 1e6 / secs
        ),
        format!(
            "{none} runs without a fault, {one} with one class of them, {more} with more; {} run twice",
            summary.run_twice
        ),
        format!("{} requests, {} steps, verdicts {:?}", summary.requests, summary.steps, summary.verdicts),
        format!("{} gaps passed in which a process could die", summary.gaps.len()),
        "longest time that nobody served (ms), where a run had faults of one class only:".to_string(),
    ];
    let outage = |(class, outage): (&String, &Outage)| {
        let times =
            summary.faults.get(class).map_or(String::new(), |times| format!("struck {times} times, "));
        format!("  {:<28} {:>9.3}  {times}seed {}", class, outage.micros as f64 / 1000.0, outage.seed)
    };
    lines.extend(summary.outages.iter().map(outage));
    lines.join("\n")
}

/// Writes `result` to the standard output or to a file, which is there whole or not at all: of a process that was killed, no result
/// is left that could be taken for one.
pub(crate) fn write_json(result: &impl Serialize, path: &Path) -> Result<(), Refusal> {
    let json = serde_json::to_string_pretty(result)?;
    if path == Path::new("-") {
        say!("{json}");
        return Ok(());
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".part");
    fs::write(&draft, json).and_then(|()| fs::rename(&draft, path)).map_err(Refusal::write(path))
}
