//! The observer of a step: it sees, and does, gaps, cells, effects; a death in a gap, a mutation.
use std::ops::ControlFlow;

use handoff::host::{Crashed, Gap};
use handoff::machine::supervisor::{Note, Peer};
use handoff::machine::{Cell, EffectName, LinkId};
use handoff::message::{Message, MessageName};

use crate::kernel::Name;
use crate::mutant::{Meddling, Mutation};
use crate::trace::words::{is_repeated, message_name};

/// The wish of a machine, as a trace shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Sent {
        to: Name,
        message: String,
        /// `true` if it only repeats what was said or asked before.
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
    /// The messages that a daemon has sent, each with its link.
    pub sent: Vec<(LinkId, MessageName)>,
    /// The messages that a supervisor has sent, each with its receiver.
    pub said: Vec<(Peer, MessageName)>,
    /// The messages that a supervisor that recovers has sent, each with its receiver.
    pub asked_of: Vec<(u32, MessageName)>,
    /// `true` if the hook that has returned was a drain or a seal; or what is written is its record.
    pub left_service: bool,
    /// The message that the process is to send once it has failed.
    pub obliged: Option<MessageName>,
    /// `true` if the hook that has returned came before a successor serves.
    pub prepared: bool,
    /// The notes that a supervisor has written into its journal, or tried to.
    pub persisted: Vec<Note>,
    /// `true` if a supervisor has looked which processes are there.
    pub looked: bool,
    /// The journal names the process that serves, which has said all that it was asked.
    pub noted: Option<u32>,
    /// `true` if the lock was tried, and another has it.
    pub found_busy: bool,
    /// The links that a daemon has closed.
    pub closed: Vec<LinkId>,
    /// The wishes of the machine, if they are to be shown.
    pub asked: Option<Vec<Wish>>,
}

impl<'a> Observer<'a> {
    /// Makes the watch of a machine with which something is wrong, if so.
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

    /// Returns whether one turn had more gaps than any should: it would go on for ever.
    pub(crate) fn is_endless(&self) -> bool {
        self.gaps.len() > 1000
    }

    /// Returns whether an effect was asked for.
    pub(crate) fn did_something(&self) -> bool {
        self.gaps.iter().any(|gap| gap.before.is_some())
    }

    /// Returns whether one of these effects was asked for.
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
