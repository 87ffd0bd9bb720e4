//! The corpus of small plans that meet for certain what random plans meet too seldom; found by long sweeps.
//!
//! Names are those of cells (`role.state: event`) and of gaps (`role.state.before-Effect`), as a sweep's summary has them.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use super::shrink::shrink_while;
use super::sweep::{Summary, counted};
use super::threads::map;
use crate::plan::draw::{Dice, draw};
use crate::plan::mutate::{Places, mutate};
use crate::plan::{BadPlan, Plan};
use crate::run::{CoveragePoint, Planted, RunOptions, RunReport, run};
use crate::simulated::Make;

/// So many seeds begin with what all before them have found.
const GENERATION: u64 = 512;

/// So many plans are made of one.
const LITTER: usize = 8;

/// The fault of a folder of plans.
#[derive(Debug, thiserror::Error)]
pub enum BadCorpus {
    /// The folder can't be read.
    #[error("can't read {}: {error}", folder.display())]
    Read {
        /// The folder.
        folder: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// A plan in it can't be read.
    #[error(transparent)]
    Plan(#[from] BadPlan),
    /// A plan in it does not say why it is there.
    #[error("{} does not say why", .0.display())]
    NoReason(PathBuf),
    /// A plan in it fails.
    #[error("{name} fails the check {check:?}: {why}")]
    Fails {
        /// The name.
        name: String,
        /// The check.
        check: &'static str,
        /// The finding of the check.
        why: String,
    },
    /// A plan can't be saved in it.
    #[error("can't save {file}: {error}")]
    Save {
        /// The plan's name.
        file: String,
        /// The reason.
        error: io::Error,
    },
}

/// The plans in a folder, in the order of their names, which come with them.
///
/// # Errors
/// One can't be read, or does not say why it is there: says which, and why.
pub fn load_corpus(folder: &Path) -> Result<Vec<(String, Plan)>, BadCorpus> {
    let load = |path: PathBuf| {
        let plan = Plan::load(&path)?;
        match plan.why.is_empty() {
            true => Err(BadCorpus::NoReason(path)),
            false => Ok((path.display().to_string(), plan)),
        }
    };
    plans_in(folder)?.into_iter().map(load).collect()
}

/// Runs the plans in a folder, in the order of their names, and counts what they meet.
///
/// # Errors
/// As [`load_corpus`]; or a check fails.
pub fn run_corpus(folder: &Path, make: &Arc<Make>) -> Result<Summary, BadCorpus> {
    let mut reports = Vec::new();
    for (name, plan) in load_corpus(folder)? {
        let report = run(&Arc::new(plan), make, RunOptions::default());
        if let Some(violation) = &report.violation {
            return Err(BadCorpus::Fails { name, check: violation.check, why: violation.why.clone() });
        }
        reports.push(report);
    }
    Ok(counted(&reports))
}

/// Looks for `wanted`, and saves in `folder` the smallest plan that was found for each of them which no plan before it meets.
///
/// It begins with the plans that are in `folder` already. Each of `seeds` draws one, or mutates one that has led to where
/// none before it had been: mostly one that came near what is wanted. What is found does not depend on the number of threads.
/// `progress` is told how many seeds are done.
///
/// # Errors
/// A plan can't be read, or saved.
pub fn collect(
    wanted: BTreeSet<String>,
    seeds: Range<u64>,
    jobs: usize,
    make: &Arc<Make>,
    folder: &Path,
    progress: impl Fn(u64),
) -> Result<Collected, BadCorpus> {
    let known = if folder.exists() { load_corpus(folder)? } else { Vec::new() };
    let mut search = PlanSearch::new(wanted, jobs, make, folder);
    search.tries(&known, |_, (_, plan)| vec![plan.clone()])?;
    let mut next = seeds.start;
    while next < seeds.end && !search.wanted.is_empty() {
        let end = seeds.end.min(next.saturating_add(GENERATION));
        search.generation(next..end)?;
        progress(end - next);
        next = end;
    }
    Ok(Collected { missing: search.wanted, failing: search.failing.into_values().collect() })
}

/// The outcome of a search, besides plans in a folder.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// The names that were not met.
    pub missing: BTreeSet<String>,
    /// For each check that failed in a run, the first plan in which it did.
    pub failing: Vec<Plan>,
}

/// A search for plans.
struct PlanSearch<'a> {
    /// The names that are not met yet.
    wanted: BTreeSet<String>,
    pool: Pool,
    failing: BTreeMap<&'static str, Plan>,
    jobs: usize,
    make: &'a Arc<Make>,
    folder: &'a Path,
}

/// Plans, each of which was the first to show something.
#[derive(Default)]
struct Pool {
    plans: Vec<Plan>,
    shown: BTreeSet<CoveragePoint>,
    /// By the state of a role, and by an event in any state: plans that were the first to show something there, once for each
    /// such thing.
    near: BTreeMap<String, Vec<usize>>,
}

/// The new things that a plan has shown.
struct NewlyShown {
    plan: Plan,
    coverage: Vec<CoveragePoint>,
    /// The names that are wanted, and were met.
    met: Vec<String>,
    /// The check that fails.
    fails: Option<&'static str>,
}

impl<'a> PlanSearch<'a> {
    fn new(wanted: BTreeSet<String>, jobs: usize, make: &'a Arc<Make>, folder: &'a Path) -> PlanSearch<'a> {
        PlanSearch { wanted, pool: Pool::default(), failing: BTreeMap::new(), jobs, make, folder }
    }

    fn generation(&mut self, seeds: Range<u64>) -> Result<(), BadCorpus> {
        self.tries(&seeds.collect::<Vec<_>>(), |search, seed| search.litter(*seed))
    }

    /// Runs the plans that are made of each of `items`, keeps those that show something new, and saves the smallest ones that
    /// meet what is wanted.
    fn tries<T: Sync>(
        &mut self,
        items: &[T],
        plans_of: impl Fn(&Self, &T) -> Vec<Plan> + Sync,
    ) -> Result<(), BadCorpus> {
        let this = &*self;
        let show = |item| -> Vec<NewlyShown> {
            plans_of(this, item).into_iter().filter_map(|plan| this.shows(plan)).collect()
        };
        let mut met = BTreeMap::new();
        for shown in map(items, self.jobs, show, |_| {}).into_iter().flatten() {
            if let Some(check) = shown.fails {
                self.failing.entry(check).or_insert(shown.plan);
                continue;
            }
            for name in shown.met {
                met.entry(name).or_insert_with(|| shown.plan.clone());
            }
            self.pool.add(shown.plan, shown.coverage);
        }
        met.into_iter().try_for_each(|(name, plan)| self.save(&name, &plan))
    }

    /// Returns what is new in the run of `plan`, if anything is; where a check fails, that alone.
    fn shows(&self, plan: Plan) -> Option<NewlyShown> {
        let options = RunOptions { coverage: true, ..RunOptions::default() };
        let report = run(&Arc::new(plan.clone()), self.make, options);
        if let Some(violation) = report.violation {
            return Some(NewlyShown {
                plan,
                coverage: Vec::new(),
                met: Vec::new(),
                fails: Some(violation.check),
            });
        }
        let met: Vec<String> = names_of(&report).filter(|name| self.wanted.contains(name)).collect();
        let mut coverage: Vec<CoveragePoint> = report.coverage.into_iter().collect();
        coverage.retain(|point| !self.pool.shown.contains(point));
        let is_new = !coverage.is_empty() || !met.is_empty();
        is_new.then_some(NewlyShown { plan, coverage, met, fails: None })
    }

    /// The plans that a seed makes of those that are known.
    fn litter(&self, seed: u64) -> Vec<Plan> {
        let mut dice = Dice::of(seed);
        if self.pool.plans.is_empty() || dice.once_in(8) {
            return vec![draw(seed)];
        }
        let (plan, other) = (self.choose(&mut dice), self.choose(&mut dice));
        let options = RunOptions { places: true, ..RunOptions::default() };
        let places = Places::of(&run(&Arc::new(plan.clone()), self.make, options).passed);
        (0..LITTER).map(|_| mutate(plan, other, &places, &mut dice)).collect()
    }

    /// Mostly a plan that has come into the state of something that is wanted, or has met its event in another one.
    fn choose(&self, dice: &mut Dice) -> &Plan {
        let name = self.wanted.iter().nth(dice.below(self.wanted.len() as u64) as usize);
        let (state, event) = name.map_or(("", String::new()), |name| leads_to(name));
        let near = match dice.below(8) {
            0 => None,
            1..=2 => self.pool.near.get(&event),
            _ => self.pool.near.get(state),
        };
        // What was shown later is rarer.
        let mut late = |count: usize| dice.below(count as u64).max(dice.below(count as u64)) as usize;
        match near {
            Some(near) => &self.pool.plans[near[late(near.len())]],
            None => &self.pool.plans[late(self.pool.plans.len())],
        }
    }

    /// Saves the smallest plan that meets `name`, unless one that was saved before it does.
    fn save(&mut self, name: &str, plan: &Plan) -> Result<(), BadCorpus> {
        if !self.wanted.contains(name) {
            return Ok(());
        }
        let meets =
            |report: &RunReport| report.violation.is_none() && names_of(report).any(|met| met == name);
        let Some(mut plan) = shrink_while(plan, self.make, Planted::Nothing, meets) else { return Ok(()) };
        let report = run(&Arc::new(plan.clone()), self.make, RunOptions::default());
        let met: BTreeSet<String> = names_of(&report).collect();
        self.wanted.retain(|name| !met.contains(name));
        plan.why = format!("meets {name}");
        let file = name.replace(": ", ".").replace(' ', "-").to_lowercase();
        save_plan(self.folder, &file, &plan).map_err(|error| BadCorpus::Save { file, error })
    }
}

impl Pool {
    /// Keeps `plan` if it is still the first to show a point of `coverage`.
    fn add(&mut self, plan: Plan, coverage: Vec<CoveragePoint>) {
        let place = self.plans.len();
        let mut is_first = false;
        for point in coverage {
            let cell = point.cell;
            if self.shown.insert(point) {
                is_first = true;
                for near in
                    [format!("{}.{}", cell.role, cell.state), format!("{}: {}", cell.role, cell.event)]
                {
                    self.near.entry(near).or_default().push(place);
                }
            }
        }
        if is_first {
            self.plans.push(plan);
        }
    }
}

fn save_plan(folder: &Path, name: &str, plan: &Plan) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(format!("{name}.toml")), plan.to_toml())
}

fn plans_in(folder: &Path) -> Result<Vec<PathBuf>, BadCorpus> {
    let cant = |error| BadCorpus::Read { folder: folder.to_path_buf(), error };
    let entries = fs::read_dir(folder).map_err(cant)?.collect::<Result<Vec<_>, _>>().map_err(cant)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    Ok(paths)
}

/// The state of a cell or a gap, and the event of a cell, as a pool knows what leads there.
fn leads_to(name: &str) -> (&str, String) {
    match name.split_once(": ") {
        Some((state, event)) => {
            let role = state.split_once('.').map_or(state, |(role, _)| role);
            (state, format!("{role}: {event}"))
        }
        None => (name.rsplit_once('.').map_or(name, |(state, _)| state), String::new()),
    }
}

/// Returns what a run has met, cells and gaps, by name.
pub fn names_of(report: &RunReport) -> impl Iterator<Item = String> + '_ {
    report.cells.iter().map(ToString::to_string).chain(report.gaps.iter().map(ToString::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::ledgers;

    #[test]
    fn the_same_plans_are_kept_on_any_number_of_threads() {
        let kept = |jobs| {
            let (folder, make) = (tempfile::tempdir().expect("a folder"), ledgers());
            let wanted = ["supervisor.await-noted: timer Deadline".to_string()].into();
            let mut search = PlanSearch::new(wanted, jobs, &make, folder.path());
            let done = [0..256, 256..288].map(|seeds| search.generation(seeds));
            assert!(done.iter().all(Result::is_ok), "{done:?}");
            search.pool.plans
        };
        let one = kept(1);
        assert!(one.len() > 256);
        assert_eq!(one, kept(3));
    }

    #[test]
    fn what_leads_to_a_cell_is_its_state_and_its_event_in_any_state() {
        let cell = leads_to("supervisor.await-ready: incumbent Hello");
        assert_eq!(cell, ("supervisor.await-ready", "supervisor: incumbent Hello".into()));
        assert_eq!(leads_to("incumbent.sealed.before-Lock"), ("incumbent.sealed", String::new()));
    }
}
