//! What is seen, and done, while one step happens: gaps, cells, effects; a death in a gap, a mutation.
use std::ops::ControlFlow;

use handoff::host::{Crashed, Gap};
use handoff::machine::Cell;
use handoff::message::Message;

use crate::mutant::Mutation;
use crate::process::message_name;
use crate::trace::Name;

/// What a machine asked for, as a trace shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A message, and whom it is for.
    Sent(Name, String),
    Did(String),
}

/// A cell, and the effects that were asked for in it.
pub(super) type Batch = (Cell, Vec<&'static str>);

#[derive(Default)]
pub(super) struct Watch<'a> {
    /// The gap in which the process that acts dies, counted from 0.
    pub crash: Option<usize>,
    pub mutation: Option<&'a Mutation>,
    /// Those that were passed.
    pub gaps: Vec<Gap>,
    /// Those that were met.
    pub cells: Vec<Cell>,
    /// What was asked for, if anybody wants to see it.
    pub asked: Option<Vec<Asked>>,
}

impl Watch<'_> {
    pub(super) fn gap(&mut self, gap: Gap) -> ControlFlow<Crashed> {
        self.gaps.push(gap);
        match self.crash {
            Some(n) if n + 1 == self.gaps.len() => ControlFlow::Break(Crashed),
            _ => ControlFlow::Continue(()),
        }
    }

    pub(super) fn did(&mut self, what: impl FnOnce() -> String) {
        if let Some(asked) = &mut self.asked {
            asked.push(Asked::Did(what()));
        }
    }

    pub(super) fn sent(&mut self, to: impl FnOnce() -> Name, message: &Message) {
        if let Some(asked) = &mut self.asked {
            asked.push(Asked::Sent(to(), message_name(message)));
        }
    }

    /// What a machine asked for in each of the cells that were met: effects, and the last one.
    pub(super) fn batches(&self) -> impl Iterator<Item = Batch> {
        // The gap after the last effect ends a batch.
        let batches = self.gaps.split_inclusive(|gap| gap.before.is_none());
        self.cells
            .iter()
            .zip(batches)
            .map(|(cell, gaps)| (*cell, gaps.iter().filter_map(|gap| gap.before).collect()))
    }
}
