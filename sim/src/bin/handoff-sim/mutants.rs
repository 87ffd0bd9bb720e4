//! `handoff-sim mutants`: whether what is wrong with a machine is noticed.
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use handoff_sim::judge::{Judge, Judgment};
use handoff_sim::mutant::Mutation;
use handoff_sim::threads::usual_jobs;
use handoff_sim::version;
use indicatif::{ProgressBar, ProgressStyle};

use crate::refusal::Refusal;

#[derive(Debug, clap::Args)]
pub(crate) struct MutantsArgs {
    /// Only mutants in whose name this text is, such as `incumbent.sealed` or `without Unlock`.
    #[arg(default_value = "")]
    name: String,
    /// Only those that are named in this file, a line each: as they are printed, what follows the name's colon aside.
    #[arg(long, value_name = "FILE")]
    only: Option<PathBuf>,
    /// Only one in so many, evenly spread.
    #[arg(long, value_name = "N", default_value_t = 1)]
    one_in: usize,
    /// Only says which there are.
    #[arg(long)]
    list: bool,
    /// The number of seeds that are swept for each, from 0 on.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The directory of the plans that meet what seeds meet too seldom.
    #[arg(long, value_name = "DIR", default_value = "scenarios/corpus")]
    plans: PathBuf,
    /// The number of mutants that are judged at a time; by default as many as there are processors.
    #[arg(long)]
    jobs: Option<usize>,
    /// Says of each what has caught it, not only of those that survive.
    #[arg(long)]
    all: bool,
}

impl MutantsArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Refusal> {
        let jobs = self.jobs.unwrap_or_else(usual_jobs);
        let begun = Instant::now();
        let judge = Judge::new(jobs, self.seeds, &self.plans)?;
        let mut mutations = judge.mutations();
        let read = |path: &PathBuf| fs::read_to_string(path).map_err(Refusal::read(path));
        let only = self.only.as_ref().map(read).transpose()?;
        mutations.retain(|mutation| {
            let name = mutation.to_string();
            let listed = |only: &String| only.lines().any(|line| line.strip_prefix(&name).is_some_and(ends));
            name.contains(&self.name) && only.as_ref().is_none_or(listed)
        });
        let mutations: Vec<_> = mutations.into_iter().step_by(self.one_in.max(1)).collect();
        if self.list {
            mutations.iter().for_each(|mutation| say!("{mutation}"));
            return Ok(ExitCode::SUCCESS);
        }
        let bar = bar(mutations.len() as u64);
        let tell = |mutation: &Mutation, fate: &Judgment| {
            if self.all || *fate == Judgment::Survived {
                bar.suspend(|| say!("{mutation}: {fate}"));
            }
            bar.inc(1);
        };
        let fates = judge.judge_all(&mutations, jobs, tell);
        bar.finish_and_clear();
        self.conclude(&fates.into_iter().map(|(_, fate)| fate).collect::<Vec<_>>());
        say!("in {:.0} s ({})", begun.elapsed().as_secs_f64(), version());
        Ok(ExitCode::SUCCESS)
    }

    fn conclude(&self, fates: &[Judgment]) {
        let mut by: BTreeMap<String, usize> = BTreeMap::new();
        for fate in fates {
            let judge = match fate {
                Judgment::Explored(..) => "caught by exploration".into(),
                Judgment::Ran(_, violation) | Judgment::Swept(_, violation) => {
                    format!("caught in a run, {}", violation.check)
                }
                Judgment::Survived => "survived".into(),
            };
            *by.entry(judge).or_default() += 1;
        }
        by.iter().for_each(|(judge, count)| say!("{count:>6} {judge}"));
        let caught = fates.iter().filter(|fate| **fate != Judgment::Survived).count();
        let score = 100.0 * caught as f64 / fates.len().max(1) as f64;
        say!("{caught} of {} mutants caught: {score:.1} %", fates.len());
    }
}

/// Returns whether `rest` is what follows a mutant's name in a line.
fn ends(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(':')
}

fn bar(mutants: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} mutants, {eta} left");
    let bar = ProgressBar::new(mutants);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}
