//! Breadth-first through every reachable state; then, backwards, whether every state can come to rest without
//! another fault.
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::checks;
use crate::world::{Faults, World};

/// More are a sign of something that grows without bound.
const MOST_STATES: usize = 400_000;

/// What a search found out.
pub struct Report {
    pub states: usize,
    pub transitions: usize,
    pub depth: usize,
    /// What supervisors reported.
    pub verdicts: BTreeSet<String>,
}

/// A state that was seen: by what step, from which, and where it can go without a fault.
struct Seen {
    from: usize,
    step: String,
    depth: usize,
    at_rest: bool,
    calm: Vec<usize>,
}

fn digest(world: &World) -> (u64, u64) {
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        world.hash(&mut hasher);
        hasher.finish()
    };
    (hash(0), hash(1))
}

/// Goes through every state that is reachable with `faults`.
///
/// # Panics
/// With the shortest way to a state that breaks a rule.
pub fn explore(faults: Faults, handoffs: u8) -> Report {
    let first = World::new(faults, handoffs);
    let mut known = HashMap::from([(digest(&first), 0)]);
    let mut seen = vec![Seen { from: 0, step: "start".into(), depth: 0, at_rest: true, calm: Vec::new() }];
    let mut queue = VecDeque::from([(0, first)]);
    let mut report = Report { states: 0, transitions: 0, depth: 0, verdicts: BTreeSet::new() };
    while let Some((index, world)) = queue.pop_front() {
        assert!(
            seen.len() < MOST_STATES,
            "more states than a search is meant for; the last:\n{}",
            way(&seen, index)
        );
        for step in world.steps() {
            for (n, (label, next)) in world.after(&step).into_iter().enumerate() {
                report.transitions += 1;
                if let Some(outcome) = next.boss.as_ref().and_then(|boss| boss.outcome.as_ref()) {
                    report.verdicts.insert(format!("{:?}", outcome.verdict));
                }
                let target = *known.entry(digest(&next)).or_insert_with(|| {
                    let depth = seen[index].depth + 1;
                    let at_rest = checks::at_rest(&next);
                    seen.push(Seen { from: index, step: label, depth, at_rest, calm: Vec::new() });
                    report.depth = report.depth.max(depth);
                    if let Some(violation) = &next.violation {
                        panic!("{violation}\n{}{next:#?}", way(&seen, seen.len() - 1));
                    }
                    queue.push_back((seen.len() - 1, next));
                    seen.len() - 1
                });
                if n == 0 && !step.is_fault() {
                    seen[index].calm.push(target);
                }
            }
        }
    }
    report.states = seen.len();
    every_state_comes_to_rest(&seen);
    report
}

/// From every state, steps without a fault lead to one that a run may rest in.
fn every_state_comes_to_rest(seen: &[Seen]) {
    let mut back = vec![Vec::new(); seen.len()];
    for (from, state) in seen.iter().enumerate() {
        state.calm.iter().for_each(|to| back[*to].push(from));
    }
    let mut fine: Vec<bool> = seen.iter().map(|state| state.at_rest).collect();
    let mut queue: VecDeque<usize> = (0..seen.len()).filter(|index| fine[*index]).collect();
    while let Some(index) = queue.pop_front() {
        for from in &back[index] {
            if !std::mem::replace(&mut fine[*from], true) {
                queue.push_back(*from);
            }
        }
    }
    if let Some(stuck) = fine.iter().position(|fine| !fine) {
        panic!("no way from here to a state in which one process serves\n{}", way(seen, stuck));
    }
}

/// The steps from the start to `index`.
fn way(seen: &[Seen], mut index: usize) -> String {
    let mut steps = Vec::new();
    while index != 0 {
        steps.push(format!("{:4} {}\n", seen[index].depth, seen[index].step));
        index = seen[index].from;
    }
    steps.into_iter().rev().collect()
}
