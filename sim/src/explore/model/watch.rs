//! What is seen, and done, while one step happens: gaps, cells, effects; a death in a gap, a mutation.
use std::ops::ControlFlow;

use handoff::host::{Crashed, Gap};
use handoff::machine::supervisor::{Note, Peer};
use handoff::machine::{Cell, EffectName, LinkId};
use handoff::message::{Message, MessageName};

use crate::kernel::Name;
use crate::mutant::{Meddling, Mutation};
use crate::trace::words::{is_repeated, message_name};

/// What a machine asked for, as a trace shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Sent {
        to: Name,
        message: String,
        /// It only repeats what was said or asked before.
        repeats: bool,
    },
    /// A look, or an attempt that came to nothing.
    Tried(String),
    Did(String),
}

#[derive(Default)]
pub(crate) struct Observer<'a> {
    /// The gap in which the process that acts dies, counted from 0.
    pub crash: Option<usize>,
    pub meddling: Meddling<'a>,
    /// Those that were passed.
    pub gaps: Vec<Gap>,
    /// Those that were met.
    pub cells: Vec<Cell>,
    /// What a daemon has sent, over which link.
    pub sent: Vec<(LinkId, MessageName)>,
    /// What a supervisor has sent, with its receiver.
    pub said: Vec<(Peer, MessageName)>,
    /// What a supervisor that recovers has sent, with its receiver.
    pub asked_of: Vec<(u32, MessageName)>,
    /// The hook that has returned was a drain or a seal; or what is written is its record.
    pub left_service: bool,
    /// What it is to say once it has failed.
    pub obliged: Option<MessageName>,
    /// The hook that has returned came before a successor serves.
    pub prepared: bool,
    /// What a supervisor has written into its journal, or tried to.
    pub persisted: Vec<Note>,
    /// A supervisor has looked which processes are there.
    pub looked: bool,
    /// The journal names the process that serves, which has said all that it was asked.
    pub noted: Option<u32>,
    /// The lock was tried, and another has it.
    pub found_busy: bool,
    /// Which links a daemon has closed.
    pub closed: Vec<LinkId>,
    /// What was asked for, if it is to be shown.
    pub asked: Option<Vec<Wish>>,
}

impl<'a> Observer<'a> {
    /// Something is wrong with a machine, if so.
    pub(crate) fn of(mutation: Option<&'a Mutation>) -> Self {
        let meddling = mutation.map_or(Meddling::No, Meddling::Mutates);
        Observer { meddling, ..Observer::default() }
    }

    /// Forgets the step before.
    pub(crate) fn clear(&mut self) {
        let (meddling, asked) = (self.meddling.take(), self.asked.take());
        *self = Observer { crash: self.crash, meddling, asked, ..Observer::default() };
    }

    pub(crate) fn gap(&mut self, gap: Gap) -> ControlFlow<Crashed> {
        self.gaps.push(gap);
        match self.crash {
            Some(n) if n + 1 == self.gaps.len() => ControlFlow::Break(Crashed),
            _ if self.is_endless() => ControlFlow::Break(Crashed),
            _ => ControlFlow::Continue(()),
        }
    }

    /// One turn had more gaps than any should: it would go on for ever.
    pub(crate) fn is_endless(&self) -> bool {
        self.gaps.len() > 1000
    }

    /// An effect was asked for.
    pub(crate) fn did_something(&self) -> bool {
        self.gaps.iter().any(|gap| gap.before.is_some())
    }

    /// One of these effects was asked for.
    pub(crate) fn asked_for(&self, effects: &[EffectName]) -> bool {
        self.gaps.iter().any(|gap| gap.before.is_some_and(|before| effects.contains(&before)))
    }

    pub(crate) fn did(&mut self, what: impl FnOnce() -> String) {
        if let Some(asked) = &mut self.asked {
            asked.push(Wish::Did(what()));
        }
    }

    /// A look, or an attempt that came to nothing.
    pub(crate) fn tried(&mut self, what: impl FnOnce() -> String) {
        if let Some(asked) = &mut self.asked {
            asked.push(Wish::Tried(what()));
        }
    }

    pub(crate) fn tells(&mut self, to: impl FnOnce() -> Name, message: &Message) {
        if let Some(asked) = &mut self.asked {
            let repeats = is_repeated(message);
            asked.push(Wish::Sent { to: to(), message: message_name(message), repeats });
        }
    }
}
