//! Breadth-first through every reachable state; then, backwards, whether every state can come to rest without
//! another fault.
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use handoff::host::Gap;
use handoff::machine::supervisor::Verdict;

use crate::checks;
use crate::steps::Step;
use crate::table::Samples;
use crate::world::{Faults, World};

/// More are a sign of something that grows without bound.
const MOST_STATES: usize = 1_500_000;

/// What a search found out.
#[derive(Default)]
pub(crate) struct Report {
    pub states: usize,
    pub transitions: usize,
    pub depth: usize,
    /// What supervisors reported, and the shortest way to it.
    pub verdicts: BTreeMap<Verdict, String>,
    /// The same of those who took stock.
    pub recoveries: BTreeMap<&'static str, String>,
    /// Where processes died.
    pub gaps: BTreeSet<Gap>,
    pub samples: Samples,
    /// The shortest way to each kind of violation.
    pub violations: BTreeMap<String, String>,
}

/// A state that was seen: from which, by what step, and where in that step somebody died.
struct Seen {
    from: usize,
    step: Option<Step>,
    died: Option<Gap>,
    depth: usize,
    at_rest: bool,
}

struct Search {
    known: HashMap<(u64, u64), usize>,
    seen: Vec<Seen>,
    /// Steps without a fault, backwards.
    calm: Vec<(usize, usize)>,
    queue: VecDeque<(usize, World)>,
    report: Report,
}

/// Goes through every state that is reachable with `faults`.
///
/// # Panics
/// If there are too many states.
pub(crate) fn explore(faults: Faults, handoffs: u8) -> Report {
    let first = World::new(faults, handoffs);
    let start = Seen { from: 0, step: None, died: None, depth: 0, at_rest: false };
    let mut search = Search {
        known: HashMap::from([(digest(&first), 0)]),
        seen: vec![start],
        calm: Vec::new(),
        queue: VecDeque::from([(0, first)]),
        report: Report::default(),
    };
    while let Some((from, world)) = search.queue.pop_front() {
        let states = search.seen.len();
        assert!(states < MOST_STATES, "too many states; the last:\n{}", way(&search.seen, states - 1));
        for step in world.steps() {
            let (lived, died) = world.after(&step);
            let calm = !matches!(step, Step::Fault(_));
            let to = search.visit(from, &step, None, lived);
            if calm {
                search.calm.push((to, from));
            }
            for (gap, world) in died {
                search.report.gaps.insert(gap);
                search.visit(from, &step, Some(gap), world);
            }
        }
    }
    search.every_state_comes_to_rest();
    search.report.states = search.seen.len();
    search.report
}

impl Search {
    /// Notes a state, and that it is to be looked at if it is new.
    fn visit(&mut self, from: usize, step: &Step, died: Option<Gap>, world: World) -> usize {
        self.report.transitions += 1;
        let digest = digest(&world);
        if let Some(index) = self.known.get(&digest) {
            return *index;
        }
        let index = self.seen.len();
        let depth = self.seen[from].depth + 1;
        let at_rest = checks::at_rest(&world) || world.violation.is_some();
        self.known.insert(digest, index);
        self.seen.push(Seen { from, step: Some(step.clone()), died, depth, at_rest });
        self.report.depth = depth;
        self.report.samples.collect(&world);
        if let Some(outcome) = world.boss.as_ref().and_then(|boss| boss.outcome.as_ref()) {
            self.report.verdicts.entry(outcome.verdict).or_insert_with(|| way(&self.seen, index));
        }
        if let Some(outcome) = world.surveyor.as_ref().and_then(|surveyor| surveyor.outcome.as_ref()) {
            self.report
                .recoveries
                .entry(crate::surveyor::name(outcome.verdict))
                .or_insert_with(|| way(&self.seen, index));
        }
        match &world.violation {
            Some(violation) => {
                let way = || format!("{}{world:?}", way(&self.seen, index));
                self.report.violations.entry(violation.clone()).or_insert_with(way);
            }
            None => self.queue.push_back((index, world)),
        }
        index
    }

    /// From every state, steps without a fault lead to one that a run may rest in.
    fn every_state_comes_to_rest(&mut self) {
        let mut back = vec![Vec::new(); self.seen.len()];
        self.calm.iter().for_each(|(to, from)| back[*to].push(*from));
        let mut fine: Vec<bool> = self.seen.iter().map(|state| state.at_rest).collect();
        let mut queue: VecDeque<usize> = (0..fine.len()).filter(|index| fine[*index]).collect();
        while let Some(index) = queue.pop_front() {
            for from in &back[index] {
                if !std::mem::replace(&mut fine[*from], true) {
                    queue.push_back(*from);
                }
            }
        }
        if let Some(stuck) = fine.iter().position(|fine| !fine) {
            let violation =
                "no way from here to a state in which one process serves and can be reached".into();
            self.report.violations.insert(violation, way(&self.seen, stuck));
        }
    }
}

/// Two hashes: one alone would confuse two states now and then.
fn digest(world: &World) -> (u64, u64) {
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        world.hash(&mut hasher);
        hasher.finish()
    };
    (hash(0), hash(1))
}

/// The steps from the start to `index`.
fn way(seen: &[Seen], mut index: usize) -> String {
    let mut steps = Vec::new();
    while let Seen { from, step: Some(step), died, depth, .. } = &seen[index] {
        let died = died.map(|gap| match gap.before {
            Some(effect) => format!(", {} dies in {} before {effect}", gap.role, gap.state),
            None => format!(", {} dies after {}", gap.role, gap.state),
        });
        steps.push(format!("{depth:4} {step:?}{}\n", died.unwrap_or_default()));
        index = *from;
    }
    steps.into_iter().rev().collect()
}
