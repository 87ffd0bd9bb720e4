//! A machine with one thing wrong, in one cell of its table of states and events: what a check is for is to notice.
//!
//! Made at run time, around the production machine, because tools that mutate sources make few mutants of a `match`. What a
//! mutation does to nothing that was met is no mutant: [`Mutation::bites`] says whether it ever did.
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use handoff::drive::Runs;
use handoff::machine::{Batch, Cell, EventName, Machine, Out, Timers};
use handoff::time::Time;

/// One thing that is wrong.
#[derive(Debug)]
pub struct Mutation {
    /// Where.
    pub cell: Cell,
    /// What.
    pub change: Change,
    bit: AtomicBool,
}

/// What can be wrong in a cell. Effects are named as in gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// The event is ignored.
    Ignore,
    /// The effects are asked for, but the machine stays as it was.
    Stay,
    /// An effect is left out.
    Drop(&'static str),
    /// Two neighbouring effects change places.
    Swap(&'static str, &'static str),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Ignore => f.write_str("ignored"),
            Change::Stay => f.write_str("state kept"),
            Change::Drop(effect) => write!(f, "without {effect}"),
            Change::Swap(one, other) => write!(f, "{other} before {one}"),
        }
    }
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.cell, self.change)
    }
}

impl Mutation {
    /// `change` in `cell`.
    pub fn new(cell: Cell, change: Change) -> Mutation {
        Mutation { cell, change, bit: AtomicBool::new(false) }
    }

    /// Whether it has ever changed what a machine did.
    pub fn bites(&self) -> bool {
        self.bit.load(Ordering::Relaxed)
    }
}

/// What can be wrong in a cell in which a machine was seen to ask for `effects`, in this order. One whose result it waits
/// for can't change places: nothing can follow it, by its type.
pub fn changes(effects: &[&'static str]) -> Vec<Change> {
    let mut changes = vec![Change::Ignore, Change::Stay];
    changes.extend(effects.iter().copied().map(Change::Drop));
    let differ = |pair: &&[&'static str]| pair[0] != pair[1];
    changes.extend(effects.windows(2).filter(differ).map(|pair| Change::Swap(pair[0], pair[1])));
    changes
}

/// A machine, and what is wrong with it.
pub(crate) struct Mutant<'a, M> {
    pub machine: &'a mut M,
    pub mutation: &'a Mutation,
}

impl<M: Machine + Clone + PartialEq> Machine for Mutant<'_, M> {
    type Event = M::Event;
    type Effect = M::Effect;
    type Awaited = M::Awaited;

    const ROLE: &'static str = M::ROLE;

    fn handle(&mut self, now: Time, event: M::Event, mut out: Out<'_, Self>) {
        let Cell { role, state, event: name } = self.mutation.cell;
        let hit = role == M::ROLE && state == self.machine.state() && name == M::event_name(&event);
        let before = hit.then(|| self.machine.clone());
        let mut batch = Batch::<M>::new();
        self.machine.handle(now, event, batch.out());
        if let Some(before) = before {
            self.mutate(before, &mut batch);
        }
        batch.effects.into_iter().for_each(|effect| out.push(effect));
        if let Some(last) = batch.last {
            out.last(last);
        }
    }

    fn timers(&self) -> &Timers {
        self.machine.timers()
    }

    fn state(&self) -> &'static str {
        self.machine.state()
    }

    fn event_name(event: &M::Event) -> EventName {
        M::event_name(event)
    }

    fn effect_name(effect: &M::Effect) -> &'static str {
        M::effect_name(effect)
    }

    fn awaited_name(awaited: &M::Awaited) -> &'static str {
        M::awaited_name(awaited)
    }
}

impl<M: Runs<H> + Clone + PartialEq, H> Runs<H> for Mutant<'_, M> {
    fn perform(effect: M::Effect, host: &mut H) {
        M::perform(effect, host);
    }

    fn perform_last(awaited: M::Awaited, host: &mut H) -> Option<M::Event> {
        M::perform_last(awaited, host)
    }
}

impl<M: Machine + Clone + PartialEq> Mutant<'_, M> {
    fn mutate(&mut self, before: M, batch: &mut Batch<M>) {
        let named = |effect: &M::Effect, name: &str| M::effect_name(effect) == name;
        let asked = batch.effects.len() + usize::from(batch.last.is_some());
        let bites = match self.mutation.change {
            Change::Ignore => {
                *batch = Batch::new();
                let stays = *self.machine == before;
                *self.machine = before;
                asked > 0 || !stays
            }
            Change::Stay => std::mem::replace(self.machine, before) != *self.machine,
            Change::Drop(name) => {
                batch.effects.retain(|effect| !named(effect, name));
                batch.last = batch.last.take().filter(|last| M::awaited_name(last) != name);
                batch.effects.len() + usize::from(batch.last.is_some()) < asked
            }
            Change::Swap(one, other) => {
                let pair = |pair: &[M::Effect]| named(&pair[0], one) && named(&pair[1], other);
                let at = batch.effects.windows(2).position(pair);
                at.into_iter().for_each(|at| batch.effects.swap(at, at + 1));
                at.is_some()
            }
        };
        if bites {
            self.mutation.bit.store(true, Ordering::Relaxed);
        }
    }
}
