//! What random plans meet too seldom: a corpus of small ones, found by long sweeps, that meet it for certain.
//!
//! Names are those of cells (`role.state: event`) and of gaps (`role.state.before-Effect`), as a sweep's summary has them.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checks::{CellKey, GapKey};
use crate::daemon::Make;
use crate::draw::draw;
use crate::failure::save_plan;
use crate::plan::Plan;
use crate::run::{Options, Planted, Report, gap_name, run};
use crate::shrink::shrink_while;
use crate::sweep::{Summary, counted};
use crate::threads::share;

/// Runs the plans in a folder, in the order of their names, and counts what they meet.
///
/// # Errors
/// One can't be read, does not say why it is there, or a check fails: says which, and why.
pub fn run_corpus(folder: &Path, make: &Arc<Make>) -> Result<Summary, String> {
    let mut reports = Vec::new();
    for path in plans_in(folder)? {
        let plan = Plan::load(&path).map_err(|error| error.to_string())?;
        if plan.why.is_empty() {
            return Err(format!("{} does not say why", path.display()));
        }
        let report = run(&Arc::new(plan), make, Options::default());
        if let Some(violation) = &report.violation {
            let name = path.display();
            return Err(format!("{name} fails the check \"{}\": {}", violation.check, violation.why));
        }
        reports.push(report);
    }
    Ok(counted(&reports))
}

fn plans_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let cant = |error| format!("can't read {}: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(cant)?.collect::<Result<Vec<_>, _>>().map_err(cant)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    Ok(paths)
}

/// Looks for `wanted` in the runs of `seeds`, and saves in `folder` the smallest plan that was found for each of them which
/// no plan before it meets. Returns what was not met.
///
/// # Errors
/// A plan can't be saved.
pub fn collect(
    mut wanted: BTreeSet<String>,
    seeds: Range<u64>,
    jobs: usize,
    make: &Arc<Make>,
    folder: &Path,
) -> Result<BTreeSet<String>, String> {
    let mut first: Vec<(u64, String)> =
        first_met(&wanted, seeds, jobs, make).into_iter().map(|(name, seed)| (seed, name)).collect();
    first.sort();
    for (seed, name) in first {
        if !wanted.contains(&name) {
            continue;
        }
        let meets = |report: &Report| report.violation.is_none() && names_of(report).any(|met| met == name);
        let Some(mut plan) = shrink_while(&draw(seed), make, Planted::Nothing, meets) else { continue };
        let report = run(&Arc::new(plan.clone()), make, Options::default());
        wanted.retain(|name| !names_of(&report).any(|met| met == *name));
        plan.why = format!("meets {name}");
        let file = name.replace(": ", ".").replace(' ', "-").to_lowercase();
        save_plan(folder, &file, &plan.why, &plan).map_err(|error| format!("can't save {file}: {error}"))?;
    }
    Ok(wanted)
}

/// The lowest seed that meets each, of those that are met, in a run in which no check fails.
fn first_met(
    wanted: &BTreeSet<String>,
    seeds: Range<u64>,
    jobs: usize,
    make: &Arc<Make>,
) -> BTreeMap<String, u64> {
    /// What was seen is not spelled twice.
    #[derive(Default)]
    struct Part {
        cells: BTreeSet<CellKey>,
        gaps: BTreeSet<GapKey>,
        first: BTreeMap<String, u64>,
    }
    let work = |part: &mut Part, seed| {
        let report = run(&Arc::new(draw(seed)), make, Options::default());
        if report.violation.is_none() {
            let cells = report.cells.iter().filter(|cell| part.cells.insert(CellKey(**cell)));
            let gaps = report.gaps.iter().filter(|gap| part.gaps.insert(GapKey(**gap)));
            let met = cells.map(ToString::to_string).chain(gaps.map(gap_name));
            part.first.extend(met.filter(|name| wanted.contains(name)).map(|name| (name, seed)));
        }
        ControlFlow::Continue(())
    };
    let mut first: BTreeMap<String, u64> = BTreeMap::new();
    for (name, seed) in share(seeds, jobs, work, |_| {}).into_iter().flat_map(|part| part.first) {
        let known = first.entry(name).or_insert(seed);
        *known = seed.min(*known);
    }
    first
}

fn names_of(report: &Report) -> impl Iterator<Item = String> + '_ {
    report.cells.iter().map(ToString::to_string).chain(report.gaps.iter().map(gap_name))
}
