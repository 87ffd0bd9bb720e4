//! Does it find bugs? Every mutant of the machines before the exploration and the sweep, snapshots aside.
//!
//! What is mutated is what is met: each cell of the machines' tables that the small bounds or the swept seeds reach, with the
//! effects that were asked for there, in every way that makes a difference there.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use handoff::machine::Cell;
use handoff::machine::supervisor::Verdict::{self, *};

use crate::checks::Violation;
use crate::daemon::Make;
use crate::explore::{self, Bound, Faults, Options, Root, SMALL, explore, explore_from};
use crate::mutant::{Change, Mutation};
use crate::run::{Planted, ledgers};
use crate::sweep::Sweep;
use crate::threads::map;

/// What judges mutants.
pub struct Judge {
    /// The small bounds, fewest states first, with what is met in them.
    bounds: Vec<(&'static Bound, explore::Report)>,
    make: Arc<Make>,
    /// How many seeds are swept, from 0 on.
    pub seeds: u64,
    /// For each, bounds in which it makes a difference are explored, the small ones first, until they have had so many
    /// states.
    pub most_states: usize,
}

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// An exploration of this bound found this.
    Explored(&'static str, String),
    /// This seed failed this check.
    Swept(u64, Violation),
    /// Nobody noticed.
    Survived,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Explored(bound, why) => write!(f, "{bound}: {why}"),
            Fate::Swept(seed, violation) => write!(f, "seed {seed}: {}: {}", violation.check, violation.why),
            Fate::Survived => f.write_str("SURVIVES"),
        }
    }
}

/// So many states are gone through, in each bound, from where a mutant makes a difference first.
const NEAR: usize = 10_000;

/// A mutant that makes so many more states than there are grows without end.
const GROWTH: usize = 4;

impl Judge {
    /// Goes through the small bounds on `jobs` threads, to see what there is to mutate.
    pub fn new(jobs: usize, seeds: u64, most_states: usize) -> Judge {
        let options = Options { changes: true, ..Options::default() };
        let mut bounds = map(SMALL, jobs, |bound| (bound, explore(bound, options)), |_| {});
        bounds.sort_by_key(|(bound, report)| (report.states, bound.name));
        Judge { bounds, make: ledgers(), seeds, most_states }
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

    /// Whether anybody notices what is wrong: first near the places where it makes a difference, then within whole bounds,
    /// then in the sweep, and at last near those places again, with one fault more.
    pub fn judge(&self, mutation: &'static Mutation) -> Fate {
        let meet = || {
            self.bounds.iter().filter_map(|(bound, report)| {
                let root = report.changes.get(&mutation.cell)?.get(&mutation.change)?;
                Some((*bound, report, root))
            })
        };
        let near = meet().find_map(|(bound, _, root)| {
            let options = Options { mutation: Some(mutation), most_states: NEAR, ..Options::default() };
            let why = explore_from(bound, root, options).violations.into_keys().next()?;
            Some(Fate::Explored(bound.name, why))
        });
        let mut left = self.most_states;
        // At least one, however large.
        let mut affordable = meet().take_while(|(_, report, _)| {
            let yes = left > 0;
            left = left.saturating_sub(report.states);
            yes
        });
        let whole = || {
            affordable.find_map(|(bound, usual, _)| {
                let most_states = usual.states * GROWTH;
                let options = Options { mutation: Some(mutation), most_states, ..Options::default() };
                let why = explore(bound, options).wrong(bound).into_iter().next()?;
                Some(Fate::Explored(bound.name, why))
            })
        };
        near.or_else(whole)
            .or_else(|| self.swept(mutation))
            .or_else(|| meet().find_map(|(bound, _, root)| with_one_more(mutation, bound, root)))
            .unwrap_or(Fate::Survived)
    }

    fn swept(&self, mutation: &'static Mutation) -> Option<Fate> {
        let planted = Planted::Mutant(mutation);
        let sweep = Sweep::new(0..self.seeds, Arc::clone(&self.make));
        let failure = Sweep { planted, jobs: 1, twice_every: 0, ..sweep }.run(|_| {}).failure?;
        Some(Fate::Swept(failure.seed, failure.violation))
    }

    /// Judges all of `mutations` on `jobs` threads; `each` is told of each as it is done.
    pub fn judge_all(
        &self,
        mutations: &[&'static Mutation],
        jobs: usize,
        each: impl Fn(&Mutation, &Fate) + Sync,
    ) -> Vec<(&'static Mutation, Fate)> {
        let judge = |mutation: &&'static Mutation| (*mutation, self.judge(mutation));
        map(mutations, jobs, judge, |(mutation, fate)| each(mutation, fate))
    }
}

/// Looks near where a mutant makes a difference, with one fault more than the bound has. What is wrong there without the
/// mutant, too, counts for nothing: nobody has said that so many faults are to be survived.
fn with_one_more(mutation: &Mutation, bound: &Bound, root: &Root) -> Option<Fate> {
    const EVERY: &[Verdict] =
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable, Cancelled];
    const ONE_MORE: [fn(&mut Faults); 5] = [
        |faults| faults.crashes += 1,
        |faults| faults.stops += 1,
        |faults| faults.resets += 1,
        |faults| faults.bad_hooks += 1,
        |faults| faults.errors += 1,
    ];
    ONE_MORE.iter().find_map(|more| {
        let root = root.with(more);
        let wide = Bound { verdicts: EVERY, ..*bound };
        let usual = Options { most_states: NEAR / 3, ..Options::default() };
        let mutated = Options { mutation: Some(mutation), ..usual };
        let found = explore_from(&wide, &root, mutated).violations.into_keys().next()?;
        let usual = explore_from(&wide, &root, usual).violations;
        let fresh = !usual.contains_key(&found);
        fresh.then(|| Fate::Explored(bound.name, format!("with one fault more: {found}")))
    })
}
