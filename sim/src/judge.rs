//! Does it find bugs? Every mutant of the machines before the exploration and the sweep, snapshots aside.
//!
//! What is mutated is what is met: each cell of the machines' tables that the small bounds or the swept seeds reach, with the
//! effects that were asked for there, in every way that makes a difference there.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use handoff::machine::Cell;
use handoff::machine::supervisor::HandoffVerdict::{self, *};

use crate::explore::{self, Bound, ExploreOptions, FaultBudget, Root, SMALL, explore, explore_from};
use crate::harness::checks::Violation;
use crate::mutant::{Change, Mutation};
use crate::plan::Plan;
use crate::run::{self, Planted, ledgers, run};
use crate::search::corpus::{BadCorpus, load_corpus};
use crate::search::sweep::Sweep;
use crate::search::threads::map;
use crate::simulated::Make;

/// The judge of mutants.
pub struct Judge {
    /// The small bounds, fewest states first, with what is met in them.
    bounds: Vec<(&'static Bound, explore::ExploreReport)>,
    make: Arc<Make>,
    /// Plans that meet what is rare, by their names.
    plans: Vec<(String, Arc<Plan>)>,
    /// The number of seeds that are swept, from 0 on.
    seeds: u64,
}

/// The judgment of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgment {
    /// An exploration of this bound found this.
    Explored(&'static str, String),
    /// A run of this plan failed this check.
    Ran(String, Violation),
    /// The seed that failed the check.
    Swept(u64, Violation),
    /// No check has noticed.
    Survived,
}

impl fmt::Display for Judgment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Judgment::Explored(bound, why) => write!(f, "{bound}: {why}"),
            Judgment::Ran(plan, violation) => write!(f, "{plan}: {}: {}", violation.check, violation.why),
            Judgment::Swept(seed, violation) => {
                write!(f, "seed {seed}: {}: {}", violation.check, violation.why)
            }
            Judgment::Survived => f.write_str("SURVIVES"),
        }
    }
}

/// So many states are gone through, in each bound, from where a mutant makes a difference first.
const NEAR: usize = 10_000;

impl Judge {
    /// Goes through the small bounds on `jobs` threads, to see what there is to mutate. `plans` is a folder of plans that
    /// meet what seeds meet too seldom.
    ///
    /// # Errors
    /// A plan can't be read: says which, and why.
    pub fn new(jobs: usize, seeds: u64, plans: &Path) -> Result<Judge, BadCorpus> {
        let options = ExploreOptions { changes: true, ..ExploreOptions::default() };
        let plans = load_corpus(plans)?.into_iter().map(|(name, plan)| (name, Arc::new(plan))).collect();
        let mut bounds = map(SMALL, jobs, |bound| (bound, explore(bound, options)), |_| {});
        bounds.sort_by_key(|(bound, report)| (report.states, bound.name));
        Ok(Judge { bounds, make: ledgers(), plans, seeds })
    }

    /// All that can be wrong, cell by cell.
    pub fn mutations(&self) -> Vec<&'static Mutation> {
        let mut changes: BTreeMap<Cell, BTreeSet<Change>> = BTreeMap::new();
        for (cell, found) in self.bounds.iter().flat_map(|(_, report)| &report.changes) {
            changes.entry(*cell).or_default().extend(found.keys());
        }
        let mutations = changes.into_iter().flat_map(|(cell, changes)| {
            changes.into_iter().map(move |change| &*Box::leak(Box::new(Mutation { cell, change })))
        });
        mutations.collect()
    }

    /// Returns whether a check notices what is wrong: first near the places where it makes a difference, then
    /// in runs, and at last near those places again, with one fault more.
    pub fn judge(&self, mutation: &'static Mutation) -> Judgment {
        let meet = || {
            self.bounds.iter().filter_map(|(bound, report)| {
                Some((*bound, report.changes.get(&mutation.cell)?.get(&mutation.change)?))
            })
        };
        let near = |(bound, root): (&'static Bound, &Root)| {
            let options =
                ExploreOptions { mutation: Some(mutation), most_states: NEAR, ..ExploreOptions::default() };
            let why = explore_from(bound, root, options).violations.into_keys().next()?;
            Some(Judgment::Explored(bound.name, why))
        };
        meet()
            .find_map(near)
            .or_else(|| self.ran(mutation))
            .or_else(|| self.swept(mutation))
            .or_else(|| meet().find_map(|(bound, root)| with_one_more(mutation, bound, root)))
            .unwrap_or(Judgment::Survived)
    }

    fn ran(&self, mutation: &'static Mutation) -> Option<Judgment> {
        let options = run::RunOptions { planted: Planted::Mutant(mutation), ..run::RunOptions::default() };
        self.plans.iter().find_map(|(name, plan)| {
            let violation = run(plan, &self.make, options).violation?;
            Some(Judgment::Ran(name.clone(), violation))
        })
    }

    fn swept(&self, mutation: &'static Mutation) -> Option<Judgment> {
        let planted = Planted::Mutant(mutation);
        let sweep = Sweep::new(0..self.seeds, Arc::clone(&self.make));
        let failure = Sweep { planted, jobs: 1, twice_every: 0, ..sweep }.run(|_| {}).failure?;
        Some(Judgment::Swept(failure.seed, failure.violation))
    }

    /// Judges all of `mutations` on `jobs` threads; `each` is told of each as it is done.
    pub fn judge_all(
        &self,
        mutations: &[&'static Mutation],
        jobs: usize,
        each: impl Fn(&Mutation, &Judgment) + Sync,
    ) -> Vec<(&'static Mutation, Judgment)> {
        let judge = |mutation: &&'static Mutation| (*mutation, self.judge(mutation));
        map(mutations, jobs, judge, |(mutation, fate)| each(mutation, fate))
    }
}

/// Looks near where a mutant makes a difference, with one fault more than the bound has. What is wrong there without the
/// mutant, too, counts for nothing: no bound promises that so many faults are survived.
fn with_one_more(mutation: &Mutation, bound: &Bound, root: &Root) -> Option<Judgment> {
    const EVERY: &[HandoffVerdict] =
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable, Cancelled];
    const ONE_MORE: [fn(&mut FaultBudget); 5] = [
        |faults| faults.crashes += 1,
        |faults| faults.stops += 1,
        |faults| faults.resets += 1,
        |faults| faults.bad_hooks += 1,
        |faults| faults.errors += 1,
    ];
    ONE_MORE.iter().find_map(|more| {
        let root = root.with(more);
        let mut wide = Bound { verdicts: EVERY, ..*bound };
        more(&mut wide.faults);
        let usual = ExploreOptions { most_states: NEAR / 3, ..ExploreOptions::default() };
        let mutated = ExploreOptions { mutation: Some(mutation), ..usual };
        let found = explore_from(&wide, &root, mutated).violations.into_keys().next()?;
        let usual = explore_from(&wide, &root, usual).violations;
        let fresh = !usual.contains_key(&found);
        fresh.then(|| Judgment::Explored(bound.name, format!("with one fault more: {found}")))
    })
}
