//! Does it find bugs? Every mutant of the machines before the exploration and the sweep, snapshots aside.
//!
//! What is mutated is what is met: each cell of the machines' tables that the small bounds or the swept seeds reach, with the
//! effects that were asked for there, in every way that makes a difference there.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use handoff::machine::Cell;

use crate::checks::Violation;
use crate::daemon::Make;
use crate::explore::{self, Bound, Options, SMALL, explore};
use crate::mutant::{Change, Mutation};
use crate::run::{Planted, ledgers};
use crate::sweep::Sweep;

/// What judges mutants.
pub struct Judge {
    /// The small bounds, fewest states first, with what is met in them.
    bounds: Vec<(&'static Bound, explore::Report)>,
    make: Arc<Make>,
    /// How many seeds are swept, from 0 on.
    pub seeds: u64,
    /// For each, bounds in which its cell is met are explored, the small ones first, until they have had so many states.
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

/// A mutant that makes so many more states than there are grows without end.
const GROWTH: usize = 4;

impl Judge {
    /// Goes through the small bounds on `jobs` threads, to see what there is to mutate.
    pub fn new(jobs: usize, seeds: u64, most_states: usize) -> Judge {
        let options = Options { changes: true, ..Options::default() };
        let mut bounds = in_parallel(SMALL, jobs, |bound| (bound, explore(bound, options)), |_| {});
        bounds.sort_by_key(|(bound, report)| (report.states, bound.name));
        Judge { bounds, make: ledgers(), seeds, most_states }
    }

    /// All that can be wrong, cell by cell.
    pub fn mutations(&self) -> Vec<&'static Mutation> {
        let mut changes: BTreeMap<Cell, BTreeSet<Change>> = BTreeMap::new();
        for (cell, found) in self.bounds.iter().flat_map(|(_, report)| &report.changes) {
            changes.entry(*cell).or_default().extend(found);
        }
        let mutations = changes.into_iter().flat_map(|(cell, changes)| {
            changes.into_iter().map(move |change| &*Box::leak(Box::new(Mutation { cell, change })))
        });
        mutations.collect()
    }

    /// Whether anybody notices what is wrong.
    pub fn judge(&self, mutation: &'static Mutation) -> Fate {
        let meets = |(_, report): &&(&Bound, explore::Report)| report.cells.contains(&mutation.cell);
        let mut left = self.most_states;
        // At least one, however large.
        let affordable = |(_, report): &&(&Bound, explore::Report)| {
            let yes = left > 0;
            left = left.saturating_sub(report.states);
            yes
        };
        let mut bounds = self.bounds.iter().filter(meets).take_while(affordable);
        let explored = |(bound, usual): &(&'static Bound, explore::Report)| {
            let most_states = usual.states * GROWTH;
            let options = Options { mutation: Some(mutation), most_states, ..Options::default() };
            let why = explore(bound, options).wrong(bound).into_iter().next()?;
            Some(Fate::Explored(bound.name, why))
        };
        let caught = bounds.find_map(explored).or_else(|| self.swept(mutation));
        caught.unwrap_or(Fate::Survived)
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
        in_parallel(mutations, jobs, judge, |(mutation, fate)| each(mutation, fate))
    }
}

/// What `work` makes of each of `items`, in their order, on `jobs` threads.
fn in_parallel<'a, T: Sync, R: Send>(
    items: &'a [T],
    jobs: usize,
    work: impl Fn(&'a T) -> R + Sync,
    done: impl Fn(&R) + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let one = || {
        let mut results = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return results };
            let result = work(item);
            done(&result);
            results.push((place, result));
        }
    };
    let mut results = thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(one)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Vec<(usize, R)>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}
