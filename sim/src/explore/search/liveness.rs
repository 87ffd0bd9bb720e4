//! The check that every fault-free way on from every state comes to a good end, whatever the order of its
//! steps.
//!
//! Three things are looked for. A *trap*: a state, or a cycle of states, in which nobody serves and out of which no step leads
//! that must come; that a stopped process goes on is no such step, since it need never be continued, and neither is a
//! deadline. A *handoff without end*: likewise, a supervisor that runs and is at work, whichever others are stopped, unless a
//! deadline ends it that can pass. And a *dead end*: a state or a cycle short of rest, out of which no step leads, a stopped
//! process' going on included. Steps are fair: one that can happen again and again does happen (a heartbeat that is repeated
//! for ever does not keep a hook from returning). So a cycle counts only if each step that can be taken from somewhere in it
//! can also be taken within it.

use std::collections::BTreeSet;

use crate::explore::model::steps::Needs;

/// The parts of a state that matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vertex {
    /// `true` if a run may rest in it.
    pub at_rest: bool,
    /// `true` if a process serves and can be reached; or none is to.
    pub serves: bool,
    /// `true` if no supervisor that runs is at work.
    pub over: bool,
}

impl Vertex {
    /// Nothing is wrong with it, whatever follows.
    pub(crate) const GOOD: Vertex = Vertex { at_rest: true, serves: true, over: true };
}

/// A step without a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub from: u32,
    /// [`NOWHERE`], if the step is only due: it must come soon, but is not next.
    pub to: u32,
    /// The step, whatever the state: by this, steps of different states are the same.
    pub action: u16,
    pub needs: Needs,
}

/// The end of a step that is due, such as a heartbeat behind a frame that is still to be read.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// The first state of each kind of bad end.
pub(crate) fn check(states: &[Vertex], edges: &[Edge]) -> Vec<(&'static str, u32)> {
    let is_good = |good: &dyn Fn(&Vertex) -> bool| states.iter().map(good).collect::<Vec<_>>();
    let must: Vec<Edge> = edges.iter().copied().filter(|edge| edge.needs == Needs::Nothing).collect();
    let trap = Graph::new(&must, is_good(&|state| state.serves)).bad_end();
    let endless = Graph::new(&must, is_good(&|state| state.over)).bad_end();
    let dead_end = Graph::new(edges, is_good(&|state| state.at_rest)).bad_end();
    let trap = trap.map(|at| ("nobody serves, and no step that must come changes that", at));
    let endless = endless.map(|at| ("a supervisor is at work, and no step that must come ends that", at));
    let dead_end = dead_end.map(|at| ("it never comes to rest, though nothing goes wrong any more", at));
    trap.into_iter().chain(endless).chain(dead_end).collect()
}

struct Graph<'a> {
    edges: &'a [Edge],
    /// The position at which each state's edges begin.
    starts: Vec<usize>,
    /// `true` for each state that is not among those that are looked at (any more).
    out: Vec<bool>,
    /// Of which region it is: only within one, components are looked for.
    region: Vec<u32>,
}

impl<'a> Graph<'a> {
    /// `edges` are sorted by where they come from: states are expanded in their order.
    fn new(edges: &'a [Edge], out: Vec<bool>) -> Self {
        let mut starts = vec![0; out.len() + 1];
        edges.iter().for_each(|edge| starts[edge.from as usize + 1] += 1);
        (0..out.len()).for_each(|state| starts[state + 1] += starts[state]);
        let region = vec![0; out.len()];
        Graph { edges, starts, out, region }
    }

    fn edges(&self, state: u32) -> &'a [Edge] {
        &self.edges[self.starts[state as usize]..self.starts[state as usize + 1]]
    }

    /// A state from which a fair run may never get to a good one.
    fn bad_end(mut self) -> Option<u32> {
        let looked_at: Vec<u32> =
            (0..self.out.len() as u32).filter(|state| !self.out[*state as usize]).collect();
        let stuck =
            looked_at.iter().copied().find(|state| self.edges(*state).iter().all(|edge| edge.to == NOWHERE));
        let mut tarjan = Tarjan::new(self.out.len());
        let (mut regions, mut number) = (vec![looked_at], 0);
        while let Some(region) = regions.pop() {
            number += 1;
            region.iter().for_each(|state| self.region[*state as usize] = number);
            for component in tarjan.components(&self, &region) {
                let leaving = self.leaving(&component);
                if leaving.is_empty() {
                    return component.into_iter().chain(stuck).min();
                }
                leaving.iter().for_each(|state| self.out[*state as usize] = true);
                if leaving.len() < component.len() {
                    regions.push(component.into_iter().filter(|state| !self.out[*state as usize]).collect());
                }
            }
        }
        stuck
    }

    /// The states of a component in which a step can be taken that is not one within it: if that happens again and again, the
    /// component is left. If there are none, a run may stay for ever.
    fn leaving(&self, component: &[u32]) -> Vec<u32> {
        let members: BTreeSet<u32> = component.iter().copied().collect();
        let edges = component.iter().flat_map(|state| self.edges(*state));
        let inner: BTreeSet<u16> =
            edges.filter(|edge| members.contains(&edge.to)).map(|edge| edge.action).collect();
        let leaves = |state: &u32| self.edges(*state).iter().any(|edge| !inner.contains(&edge.action));
        // Out of a single state without a step to itself, any step leads.
        component.iter().copied().filter(|state| inner.is_empty() || leaves(state)).collect()
    }

    /// Returns where a state's steps lead within its region.
    fn next(&self, state: u32, nth: usize) -> Option<Option<u32>> {
        let edge = self.edges(state).get(nth)?;
        let (here, there) = (state as usize, edge.to as usize);
        let same = edge.to != NOWHERE && !self.out[there] && self.region[there] == self.region[here];
        Some(same.then_some(edge.to))
    }
}

const UNSEEN: u32 = u32::MAX;

/// Tarjan's algorithm for strongly connected components, without recursion.
struct Tarjan {
    seen: Vec<u32>,
    low: Vec<u32>,
    open: Vec<u32>,
    is_open: Vec<bool>,
    count: u32,
}

impl Tarjan {
    fn new(states: usize) -> Self {
        Tarjan {
            seen: vec![UNSEEN; states],
            low: vec![0; states],
            open: Vec::new(),
            is_open: vec![false; states],
            count: 0,
        }
    }

    /// The components of `region`.
    fn components(&mut self, graph: &Graph<'_>, region: &[u32]) -> Vec<Vec<u32>> {
        region.iter().for_each(|state| self.seen[*state as usize] = UNSEEN);
        let mut found = Vec::new();
        for start in region {
            if self.seen[*start as usize] == UNSEEN {
                self.search(graph, *start, &mut found);
            }
        }
        found
    }

    fn enter(&mut self, state: u32) {
        self.seen[state as usize] = self.count;
        self.low[state as usize] = self.count;
        self.count += 1;
        self.open.push(state);
        self.is_open[state as usize] = true;
    }

    fn search(&mut self, graph: &Graph<'_>, start: u32, found: &mut Vec<Vec<u32>>) {
        self.enter(start);
        let mut path = vec![(start, 0)];
        while let Some((state, nth)) = path.last_mut() {
            let (from, next) = (*state, graph.next(*state, *nth));
            *nth += 1;
            match next {
                Some(Some(to)) if self.seen[to as usize] == UNSEEN => {
                    self.enter(to);
                    path.push((to, 0));
                }
                Some(Some(to)) if self.is_open[to as usize] => {
                    self.low[from as usize] = self.low[from as usize].min(self.seen[to as usize]);
                }
                Some(_) => {}
                None => {
                    path.pop();
                    self.leave(from, path.last().map(|(above, _)| *above), found);
                }
            }
        }
    }

    fn leave(&mut self, state: u32, above: Option<u32>, found: &mut Vec<Vec<u32>>) {
        let low = self.low[state as usize];
        if let Some(above) = above {
            self.low[above as usize] = self.low[above as usize].min(low);
        }
        if low == self.seen[state as usize] {
            let from = self.open.iter().rposition(|open| *open == state).unwrap_or(0);
            let component = self.open.split_off(from);
            component.iter().for_each(|member| self.is_open[*member as usize] = false);
            found.push(component);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTLESS: Vertex = Vertex { at_rest: false, serves: false, over: false };
    const REST: Vertex = Vertex { at_rest: true, serves: true, over: true };

    fn edge((from, to, action): (u32, u32, u16)) -> Edge {
        Edge { from, to, action, needs: Needs::Nothing }
    }

    fn kinds(states: &[Vertex], edges: &[(u32, u32, u16)]) -> Vec<u32> {
        let edges: Vec<Edge> = edges.iter().copied().map(edge).collect();
        check(states, &edges).into_iter().map(|(_, at)| at).collect()
    }

    #[test]
    fn a_heartbeat_that_goes_on_for_ever_does_not_keep_a_hook_from_returning() {
        assert!(kinds(&[RESTLESS, RESTLESS, REST], &[(0, 1, 0), (0, 2, 9), (1, 0, 1), (1, 2, 9)]).is_empty());
    }

    #[test]
    fn a_step_that_can_be_taken_again_and_again_is_taken() {
        assert!(kinds(&[RESTLESS, RESTLESS, REST], &[(0, 1, 0), (1, 0, 1), (1, 2, 9)]).is_empty());
    }

    #[test]
    fn a_cycle_that_each_of_its_steps_may_stay_in_is_a_bad_end() {
        assert_eq!(
            kinds(&[REST, RESTLESS, RESTLESS], &[(0, 1, 0), (1, 2, 0), (2, 1, 0), (2, 0, 0)]),
            [1, 1, 1]
        );
    }

    #[test]
    fn a_state_without_a_step_is_a_bad_end() {
        assert_eq!(kinds(&[REST, RESTLESS], &[(0, 1, 0)]), [1, 1, 1]);
    }

    #[test]
    fn a_cycle_within_one_that_is_left_again_and_again_is_found() {
        // 1 and 2 may go on for ever; from 1, and only from there, 0 can be reached, by a step that leads out nowhere else.
        let edges = [(0, 1, 0), (1, 2, 1), (2, 1, 2), (2, 3, 5), (3, 2, 6), (3, 0, 7)];
        assert!(kinds(&[REST, RESTLESS, RESTLESS, RESTLESS], &edges).is_empty());
        let trap = [(0, 1, 0), (1, 2, 1), (2, 1, 2), (2, 3, 2), (3, 2, 6), (3, 0, 7)];
        assert_eq!(kinds(&[REST, RESTLESS, RESTLESS, RESTLESS], &trap), [1, 1, 1]);
    }

    #[test]
    fn that_a_stopped_process_goes_on_is_not_waited_for_while_nobody_serves() {
        let goes_on = Edge { needs: Needs::Somebody, ..edge((0, 1, 0)) };
        let ends = check(&[RESTLESS, REST], &[goes_on]);
        assert_eq!(ends.len(), 2);
        let serves = Vertex { at_rest: false, serves: true, over: true };
        assert!(check(&[serves, REST], &[goes_on]).is_empty());
    }
}
