//! What random plans meet too seldom: a corpus of small ones, found by long sweeps, that meet it for certain.
//!
//! Names are those of cells (`role.state: event`) and of gaps (`role.state.before-Effect`), as a sweep's summary has them.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use crate::checks::{CellKey, GapKey};
use crate::daemon::Make;
use crate::draw::{draw, with_more};
use crate::plan::Plan;
use crate::run::{Options, Planted, Report, gap_name, run};
use crate::shrink::shrink_while;
use crate::sweep::{Summary, counted};
use crate::threads::share;

/// So many plans are kept that lead into a state.
const NEAR: usize = 200;

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

fn save_plan(folder: &Path, name: &str, plan: &Plan) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(format!("{name}.toml")), plan.to_toml())
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
/// no plan before it meets. Then it adds faults to plans that came near, as many times as there are seeds. Returns what was
/// not met.
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
    let drawn = search(&wanted, seeds.clone(), jobs, make, draw);
    save_smallest(&drawn.met, &mut wanted, make, folder)?;
    let near: Vec<Plan> = drawn.near.into_values().flatten().map(|(_, plan)| plan).collect();
    if !near.is_empty() && !wanted.is_empty() {
        let more = |seed| with_more(&near[(seed % near.len() as u64) as usize], seed);
        save_smallest(&search(&wanted, seeds, jobs, make, more).met, &mut wanted, make, folder)?;
    }
    Ok(wanted)
}

fn save_smallest(
    met: &BTreeMap<String, (u64, Plan)>,
    wanted: &mut BTreeSet<String>,
    make: &Arc<Make>,
    folder: &Path,
) -> Result<(), String> {
    for (name, (_, plan)) in met {
        if !wanted.contains(name) {
            continue;
        }
        let meets = |report: &Report| report.violation.is_none() && names_of(report).any(|met| met == *name);
        let Some(mut plan) = shrink_while(plan, make, Planted::Nothing, meets) else { continue };
        let report = run(&Arc::new(plan.clone()), make, Options::default());
        wanted.retain(|name| !names_of(&report).any(|met| met == *name));
        plan.why = format!("meets {name}");
        let file = name.replace(": ", ".").replace(' ', "-").to_lowercase();
        save_plan(folder, &file, &plan).map_err(|error| format!("can't save {file}: {error}"))?;
    }
    Ok(())
}

/// What a search has found.
#[derive(Default)]
struct Found {
    /// What is spelled only once.
    cells: BTreeSet<CellKey>,
    gaps: BTreeSet<GapKey>,
    /// The first plan that meets each.
    met: BTreeMap<String, (u64, Plan)>,
    /// Some plans that lead into the state of something that is wanted.
    near: BTreeMap<String, Vec<(u64, Plan)>>,
}

/// Runs the plan that `plan_of` makes of each seed; one in which a check fails is none.
fn search(
    wanted: &BTreeSet<String>,
    seeds: Range<u64>,
    jobs: usize,
    make: &Arc<Make>,
    plan_of: impl Fn(u64) -> Plan + Sync,
) -> Found {
    let states: BTreeSet<&str> = wanted.iter().map(|name| state_of(name)).collect();
    let work = |found: &mut Found, seed| {
        let plan = plan_of(seed);
        let report = run(&Arc::new(plan.clone()), make, Options::default());
        if report.violation.is_some() {
            return ControlFlow::Continue(());
        }
        let cells = report.cells.iter().filter(|cell| found.cells.insert(CellKey(**cell)));
        let gaps = report.gaps.iter().filter(|gap| found.gaps.insert(GapKey(**gap)));
        let met = cells.map(ToString::to_string).chain(gaps.map(gap_name));
        let met: Vec<String> = met.filter(|name| wanted.contains(name)).collect();
        found.met.extend(met.into_iter().map(|name| (name, (seed, plan.clone()))));
        for cell in &report.cells {
            let state = format!("{}.{}", cell.role, cell.state);
            if states.contains(state.as_str()) && found.near.get(&state).is_none_or(|near| near.len() < NEAR)
            {
                let near = found.near.entry(state).or_default();
                if near.last().is_none_or(|(last, _)| *last != seed) {
                    near.push((seed, plan.clone()));
                }
            }
        }
        ControlFlow::Continue(())
    };
    let mut all = Found::default();
    for found in share(seeds, jobs, work, |_| {}) {
        for (name, first) in found.met {
            let known = all.met.entry(name).or_insert_with(|| first.clone());
            if first.0 < known.0 {
                *known = first;
            }
        }
        for (state, near) in found.near {
            all.near.entry(state).or_default().extend(near);
        }
    }
    all
}

/// The role and the state of a cell or a gap.
fn state_of(name: &str) -> &str {
    name.split_once(": ")
        .map_or_else(|| name.rsplit_once('.').map_or(name, |(state, _)| state), |(state, _)| state)
}

/// What a run has met, cells and gaps, by name.
pub fn names_of(report: &Report) -> impl Iterator<Item = String> + '_ {
    report.cells.iter().map(ToString::to_string).chain(report.gaps.iter().map(gap_name))
}
