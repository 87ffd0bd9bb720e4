//! Breadth-first through every reachable state; what was met, and the shortest way to each thing of note.
//!
//! Sequential and without a clock: the same bound, the same counts. Whether every state comes to a good end is looked at
//! afterwards, on the graph that is left (`liveness.rs`).
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use handoff::host::Gap;
use handoff::machine::Cell;
use handoff::machine::supervisor::HandoffVerdict;

use super::digest::{Digest, Digests};
use super::liveness::{self, Edge, NOWHERE, Vertex};
use super::samples::Samples;
use super::schedule::Schedule;
use crate::explore::bounds::Bound;
use crate::explore::checks;
use crate::explore::model::Model;
use crate::explore::model::clients::ClientBudget;
use crate::explore::model::faults::FaultBudget;
use crate::explore::model::flaws::CarryFlaw;
use crate::explore::model::names::Action;
use crate::explore::model::steps::ModelStep;
use crate::explore::model::watch::Observer;
use crate::explore::moves::apply::Move;
use crate::explore::moves::recover;
use crate::mutant::{Change, Meddling, Mutation};

/// The things to look for, besides violations.
#[derive(Clone, Copy, Debug)]
pub struct ExploreOptions<'a> {
    /// The mutation of a machine; the first violation is the last.
    pub mutation: Option<&'a Mutation>,
    /// The largest number of states. More are a violation: something grows without end.
    pub most_states: usize,
    /// Every machine that was met, for the tables.
    pub samples: bool,
    /// `true` if what could be wrong with a machine is to be found, for a score of mutants.
    pub changes: bool,
    /// The flaw in the carrying of connections; the first violation is the last.
    pub flaw: Option<CarryFlaw>,
}

impl Default for ExploreOptions<'_> {
    fn default() -> Self {
        ExploreOptions { mutation: None, most_states: 20_000_000, samples: false, changes: false, flaw: None }
    }
}

/// The findings of an exploration.
#[derive(Default)]
pub struct ExploreReport {
    /// Different states.
    pub states: usize,
    /// Steps from one to another, deaths included.
    pub transitions: usize,
    /// Steps on the shortest way to the farthest state.
    pub depth: usize,
    /// The verdicts that supervisors reported, each with the shortest way to it.
    pub verdicts: BTreeMap<HandoffVerdict, Schedule>,
    /// The findings of recoveries, likewise.
    pub recoveries: BTreeMap<&'static str, Schedule>,
    /// The gaps in which processes could die.
    pub gaps: BTreeSet<Gap>,
    /// The cells of the machines' tables that were met.
    pub cells: BTreeSet<Cell>,
    /// The changes that could be wrong in each cell, and where each would make a difference first.
    pub changes: BTreeMap<Cell, BTreeMap<Change, Root>>,
    /// Each kind of violation, and the shortest way to it.
    pub violations: BTreeMap<String, Schedule>,
    pub(crate) samples: Samples,
}

/// A step out of a state.
#[derive(Clone)]
pub struct Root {
    model: Model,
    step: ModelStep,
}

impl Root {
    /// The same, with other faults that may still happen.
    pub fn with(&self, change: impl Fn(&mut FaultBudget)) -> Root {
        let mut root = self.clone();
        change(&mut root.model.faults);
        root
    }
}

/// The way in which a state was met first: from which, by what step, and in which gap of it a process died.
struct Met {
    from: u32,
    depth: u16,
    made: Option<Move>,
}

impl ExploreReport {
    /// All that is not as it must be: violations, and verdicts that `bound` lists but no supervisor reports.
    pub fn wrong(&self, bound: &Bound) -> Vec<String> {
        let unheard = bound.verdicts.iter().filter(|verdict| !self.verdicts.contains_key(verdict));
        let unheard = unheard.map(|verdict| format!("{verdict:?} is never reported"));
        let unfound = bound.findings().iter().filter(|found| !self.recoveries.contains_key(*found));
        let unfound = unfound.map(|found| format!("no recovery finds {found}"));
        self.violations.keys().cloned().chain(unheard).chain(unfound).collect()
    }
}

struct GraphSearch<'a> {
    bound: &'a Bound,
    options: ExploreOptions<'a>,
    digests: Digests,
    known: HashMap<Digest, u32>,
    met: Vec<Met>,
    states: Vec<Vertex>,
    /// Steps without a fault.
    calm: Vec<Edge>,
    actions: HashMap<Action, u16>,
    queue: VecDeque<(u32, Model)>,
    gaps: HashSet<Gap>,
    cells: HashSet<Cell>,
    report: ExploreReport,
}

/// Goes through every state within `bound`.
pub fn explore(bound: &Bound, options: ExploreOptions<'_>) -> ExploreReport {
    let first = Model::new(bound.faults, bound.handoffs).with(bound.clients, options.flaw);
    let mut search = GraphSearch::new(bound, options);
    search.visit(0, None, first);
    while let Some((from, model)) = search.queue.pop_front() {
        search.expand(from, &model);
        if search.met.len() > options.most_states {
            search.violated("there is no end to the states".into(), from);
            return search.finish();
        }
        if search.is_settled() {
            return search.finish();
        }
    }
    search.look_at_the_ends();
    search.finish()
}

/// Takes the step of `root`, mutated, and goes on from there, as far as `options` say; what lies beyond is taken to be good.
///
/// Nothing before it was mutated, for there was nothing to mutate: so what is wrong here would be found by [`explore`].
pub fn explore_from(bound: &Bound, root: &Root, options: ExploreOptions<'_>) -> ExploreReport {
    let mut search = GraphSearch::new(bound, options);
    search.visit(0, None, root.model.clone());
    search.queue.clear();
    search.take(0, &root.model, &root.step);
    while let Some((from, model)) = search.queue.pop_front() {
        if search.is_settled() {
            return search.finish();
        }
        search.expand(from, &model);
        if search.met.len() > options.most_states {
            break;
        }
    }
    let beyond = search.queue.iter().map(|(index, _)| *index).chain([0]);
    beyond.for_each(|index| search.states[index as usize] = Vertex::GOOD);
    search.look_at_the_ends();
    search.finish()
}

/// Returns what is wrong with the ways that lead on from `model` without a further fault, though nothing is
/// wrong in it.
pub(crate) fn lies_ahead(model: &Model, mutation: Option<&Mutation>) -> Vec<String> {
    let faults = model.faults.spent();
    let clients = model.clients.as_ref().map_or(ClientBudget::default(), |clients| clients.budget.spent());
    let bound = Bound { name: "what lies ahead", faults, handoffs: model.handoffs, verdicts: &[], clients };
    let mut search = GraphSearch::new(&bound, ExploreOptions { mutation, ..ExploreOptions::default() });
    let mut model = Model { faults, ..model.clone() };
    model.clients.iter_mut().for_each(|found| found.budget = clients);
    search.visit(0, None, model);
    while let Some((from, model)) = search.queue.pop_front() {
        search.expand(from, &model);
    }
    // Whatever is reported on the way is no matter here.
    liveness::check(&search.states, &search.calm).into_iter().map(|(why, _)| why.to_string()).collect()
}

impl<'a> GraphSearch<'a> {
    fn new(bound: &'a Bound, options: ExploreOptions<'a>) -> Self {
        GraphSearch {
            bound,
            options,
            digests: Digests::default(),
            known: HashMap::new(),
            met: Vec::new(),
            states: Vec::new(),
            calm: Vec::new(),
            actions: HashMap::new(),
            queue: VecDeque::new(),
            gaps: HashSet::new(),
            cells: HashSet::new(),
            report: ExploreReport::default(),
        }
    }

    /// A mutant is caught by one violation.
    fn is_settled(&self) -> bool {
        (self.options.mutation.is_some() || self.options.flaw.is_some()) && !self.report.violations.is_empty()
    }

    fn expand(&mut self, from: u32, model: &Model) {
        for (due, needs) in model.due() {
            let action = self.number(model.action(&due));
            self.calm.push(Edge { from, to: NOWHERE, action, needs });
        }
        for step in model.steps() {
            self.take(from, model, &step);
        }
    }

    fn take(&mut self, from: u32, model: &Model, step: &ModelStep) {
        let action = (!step.is_bounded()).then(|| model.action(step));
        let mut watch = Observer::of(self.options.mutation);
        let mut notes = BTreeMap::new();
        if self.options.changes {
            watch.meddling = Meddling::Notes(&mut notes);
        }
        let (lived, died) = model.after(step, &mut watch);
        self.gaps.extend(&watch.gaps);
        self.cells.extend(&watch.cells);
        self.note(notes, model, step);
        let to = self.visit(from, Some(Move { step: step.clone(), dies: None }), lived);
        if let Some(action) = action {
            let action = self.number(action);
            self.calm.push(Edge { from, to, action, needs: step.needs() });
        }
        for (n, model) in died.into_iter().enumerate() {
            self.visit(from, Some(Move { step: step.clone(), dies: Some(n as u8) }), model);
        }
    }

    /// Notes what could be wrong with a step.
    fn note(&mut self, notes: BTreeMap<Cell, BTreeSet<Change>>, model: &Model, step: &ModelStep) {
        for (cell, changes) in notes {
            let known = self.report.changes.entry(cell).or_default();
            for change in changes {
                known.entry(change).or_insert_with(|| Root { model: model.clone(), step: step.clone() });
            }
        }
    }

    fn number(&mut self, action: Action) -> u16 {
        let fresh = self.actions.len() as u16;
        *self.actions.entry(action).or_insert(fresh)
    }

    /// Notes a state, and that it is to be looked at if it is new.
    fn visit(&mut self, from: u32, made: Option<Move>, model: Model) -> u32 {
        self.report.transitions += usize::from(made.is_some());
        let digest = self.digests.of(&model);
        if let Some(index) = self.known.get(&digest) {
            return *index;
        }
        let index = self.met.len() as u32;
        let depth = if made.is_some() { self.met[from as usize].depth + 1 } else { 0 };
        self.known.insert(digest, index);
        self.met.push(Met { from, depth, made });
        self.report.depth = depth.into();
        let over = model.violation.is_some();
        self.states.push(Vertex {
            at_rest: over || checks::at_rest(&model),
            serves: over || checks::somebody_serves(&model),
            over: over || checks::nobody_is_at_work(&model),
        });
        if self.options.samples {
            self.report.samples.collect(&model);
        }
        self.hear(index, &model);
        match &model.violation {
            Some(violation) => self.violated(violation.clone(), index),
            None => self.queue.push_back((index, model)),
        }
        index
    }

    /// Takes note of what supervisors report, and of whether that is expected.
    fn hear(&mut self, index: u32, model: &Model) {
        let supervisor = model.supervisor.as_ref().and_then(|supervisor| supervisor.outcome.as_ref());
        if let Some(verdict) = supervisor.map(|outcome| outcome.verdict)
            && !self.report.verdicts.contains_key(&verdict)
        {
            self.report.verdicts.insert(verdict, self.way(index));
            if !self.bound.verdicts.contains(&verdict) {
                self.violated(format!("{verdict:?} is reported, which is not expected here"), index);
            }
        }
        let recovery = model.recovery.as_ref().and_then(|recovery| recovery.outcome.as_ref());
        if let Some(found) = recovery.map(|outcome| recover::name(outcome.verdict))
            && !self.report.recoveries.contains_key(found)
        {
            self.report.recoveries.insert(found, self.way(index));
            if !self.bound.findings().contains(&found) {
                self.violated(format!("a recovery finds {found}, which is not expected here"), index);
            }
        }
    }

    fn violated(&mut self, why: String, index: u32) {
        let way = Schedule { why: why.clone(), ..self.way(index) };
        self.report.violations.entry(why).or_insert(way);
    }

    /// The steps from the start to `index`.
    fn way(&self, mut index: u32) -> Schedule {
        let mut moves = Vec::new();
        while let Met { from, made: Some(made), .. } = &self.met[index as usize] {
            moves.push(made.clone());
            index = *from;
        }
        moves.reverse();
        Schedule {
            why: String::new(),
            faults: self.bound.faults,
            handoffs: self.bound.handoffs,
            clients: self.bound.clients,
            moves,
        }
    }

    /// From every state, whatever the order of steps, one process comes to serve.
    fn look_at_the_ends(&mut self) {
        for (why, index) in liveness::check(&self.states, &self.calm) {
            self.violated(why.to_string(), index);
        }
    }

    fn finish(mut self) -> ExploreReport {
        self.report.states = self.met.len();
        self.report.gaps.extend(self.gaps);
        self.report.cells.extend(self.cells);
        self.report
    }
}
