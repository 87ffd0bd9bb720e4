//! A machine with one thing wrong, in one cell of its table of states and events: what a check is for is to notice.
//!
//! Made at run time, around the production machine, because tools that mutate sources make few mutants of a `match`. What
//! would make no difference anywhere is no mutant.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;

use handoff::message::MessageName;

use handoff::drive::{Runs, turn};
use handoff::host::{Clock, Crashed, Gaps};
use handoff::machine::{Batch, Cell, EffectName, EventName, Machine, MachineRole, Out, StateName, Timers};
use handoff::node::Driver;
use handoff::time::Time;

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// The place.
    pub cell: Cell,
    /// The change.
    pub change: Change,
}

/// The change that can be wrong in a cell. Effects are named as in gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// The event is ignored.
    Ignore,
    /// The effects are asked for, but the machine stays as it was.
    Stay,
    /// An effect is left out.
    Drop(EffectName),
    /// Two neighbouring effects change places.
    Swap(EffectName, EffectName),
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

/// The treatment of a machine while it has its turns.
#[derive(Default)]
pub(crate) enum Meddling<'a> {
    /// Nothing.
    #[default]
    No,
    /// The mutation that is wrong with it.
    Mutates(&'a Mutation),
    /// Nothing, but what could be wrong is noted, cell by cell: only what would make a difference.
    Notes(&'a mut BTreeMap<Cell, BTreeSet<Change>>),
}

impl<'a> Meddling<'a> {
    /// Returns what is wrong, if something is.
    pub(crate) fn mutation(&self) -> Option<&'a Mutation> {
        match self {
            Meddling::Mutates(mutation) => Some(mutation),
            Meddling::No | Meddling::Notes(_) => None,
        }
    }

    /// For a while: a machine's host can't be borrowed together with what is done to the machine.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// Returns how `machine` would be left by `event` at `now`, mutated if that is wanted; what it asks for comes
/// to nothing.
pub(crate) fn foresee<M: Machine + Clone + PartialEq>(
    machine: &M,
    now: Time,
    event: M::Event,
    mutation: Option<&Mutation>,
) -> M {
    let mut machine = machine.clone();
    let mut meddling = mutation.map_or(Meddling::No, Meddling::Mutates);
    let mut mutant = Mutant { machine: &mut machine, meddling: &mut meddling };
    let mut batch = Batch::new();
    mutant.handle(now, event, batch.out());
    machine
}

/// Lets `machine` have a turn, mutated if that is wanted.
pub(crate) fn drive<M, H>(
    machine: &mut M,
    host: &mut H,
    event: M::Event,
    meddling: &mut Meddling<'_>,
) -> ControlFlow<Crashed>
where
    M: Runs<H> + Clone + PartialEq,
    H: Clock + Gaps,
{
    match meddling {
        Meddling::No => turn(machine, host, event),
        meddling => turn(&mut Mutant { machine, meddling }, host, event),
    }
}

impl Driver for Meddling<'_> {
    fn turn<M, H>(&mut self, machine: &mut M, host: &mut H, event: M::Event) -> ControlFlow<Crashed>
    where
        M: Runs<H> + Clone + PartialEq,
        H: Clock + Gaps,
    {
        drive(machine, host, event, self)
    }
}

/// A machine, and what is wrong with it.
struct Mutant<'a, 'b, M> {
    machine: &'a mut M,
    meddling: &'a mut Meddling<'b>,
}

impl<M: Machine + Clone + PartialEq> Machine for Mutant<'_, '_, M> {
    type Event = M::Event;
    type Effect = M::Effect;
    type Awaited = M::Awaited;

    const ROLE: MachineRole = M::ROLE;

    fn handle(&mut self, now: Time, event: M::Event, mut out: Out<'_, Self>) {
        let cell = Cell { role: M::ROLE, state: self.machine.state(), event: M::event_name(&event) };
        let before = self.concerns(cell).then(|| self.machine.clone());
        let mut batch = Batch::<M>::new();
        self.machine.handle(now, event, batch.out());
        if let Some(before) = before {
            match self.meddling {
                Meddling::No => {}
                Meddling::Mutates(mutation) => mutate(self.machine, before, &mut batch, mutation),
                Meddling::Notes(notes) => {
                    notes.entry(cell).or_default().extend(changes(self.machine, &before, &batch));
                }
            }
        }
        batch.effects.into_iter().for_each(|effect| out.push(effect));
        if let Some(last) = batch.last {
            out.last(last);
        }
    }

    fn timers(&self) -> &Timers {
        self.machine.timers()
    }

    fn state(&self) -> StateName {
        self.machine.state()
    }

    fn event_name(event: &M::Event) -> EventName {
        M::event_name(event)
    }

    fn effect_name(effect: &M::Effect) -> EffectName {
        M::effect_name(effect)
    }

    fn awaited_name(awaited: &M::Awaited) -> EffectName {
        M::awaited_name(awaited)
    }
}

impl<M: Runs<H> + Clone + PartialEq, H> Runs<H> for Mutant<'_, '_, M> {
    fn perform(effect: M::Effect, host: &mut H) {
        M::perform(effect, host);
    }

    fn perform_last(awaited: M::Awaited, host: &mut H) -> Option<M::Event> {
        M::perform_last(awaited, host)
    }
}

impl<M> Mutant<'_, '_, M> {
    fn concerns(&mut self, cell: Cell) -> bool {
        match self.meddling {
            Meddling::No => false,
            Meddling::Mutates(mutation) => mutation.cell == cell,
            Meddling::Notes(_) => true,
        }
    }
}

/// All that could be wrong with a step from `before` to `after`. The effect whose result is awaited can't change places: its
/// type says that nothing follows it.
fn changes<M: Machine + PartialEq>(after: &M, before: &M, batch: &Batch<M>) -> Vec<Change> {
    let effects: Vec<_> = batch.effects.iter().map(M::effect_name).collect();
    let last = batch.last.as_ref().map(M::awaited_name);
    let asks = !effects.is_empty() || last.is_some();
    let mut changes = Vec::new();
    changes.extend((asks || after != before).then_some(Change::Ignore));
    // Without effects, that is the same.
    // Nor does it matter how a machine is left that never has another turn.
    let ends = matches!(last, Some(EffectName::Exit | EffectName::Finish));
    changes.extend((asks && after != before && !ends).then_some(Change::Stay));
    changes.extend(effects.iter().copied().chain(last).map(Change::Drop));
    let matters = |pair: &&[EffectName]| pair[0] != pair[1] && !commute(pair[0], pair[1]);
    changes.extend(effects.windows(2).filter(matters).map(|pair| Change::Swap(pair[0], pair[1])));
    changes
}

/// A hook begins beside the machine, and what is said is on its way: neither waits for the other. Nor does what concerns one
/// process wait for what concerns the next: a question and a connection, a question and a kill. One that is killed is not heard any
/// more, whether or not its link is closed.
fn commute(one: EffectName, other: EffectName) -> bool {
    if matches!(
        (one, other),
        (EffectName::Send(MessageName::StandingQuery), EffectName::Connect)
            | (EffectName::Send(MessageName::ListenersQuery), EffectName::Kill)
            | (EffectName::Close, EffectName::KillSuccessor)
    ) {
        return true;
    }
    let (hook, effect) = if one.starts_hook() { (one, other) } else { (other, one) };
    hook.starts_hook() && !effect.starts_hook() && effect != EffectName::Unlock
}

fn mutate<M: Machine + PartialEq>(machine: &mut M, before: M, batch: &mut Batch<M>, mutation: &Mutation) {
    let named = |effect: &M::Effect, name: EffectName| M::effect_name(effect) == name;
    match mutation.change {
        Change::Ignore => {
            *batch = Batch::new();
            *machine = before;
        }
        Change::Stay => *machine = before,
        Change::Drop(name) => {
            batch.effects.retain(|effect| !named(effect, name));
            batch.last = batch.last.take().filter(|last| M::awaited_name(last) != name);
        }
        Change::Swap(one, other) => {
            let pair = |pair: &[M::Effect]| named(&pair[0], one) && named(&pair[1], other);
            let at = batch.effects.windows(2).position(pair);
            at.into_iter().for_each(|at| batch.effects.swap(at, at + 1));
        }
    }
}
