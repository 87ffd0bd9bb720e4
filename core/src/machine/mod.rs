//! The three roles, and a supervisor's recovery, as pure state machines: an event in, effects out; no clock, no
//! thread, no I/O.
//!
//! A machine is `Clone + Eq + Hash`, so that it can be explored, and every collection in it is ordered. What a
//! machine asks of its host comes as a [`Batch`]: effects in order and at most one *last* effect whose result
//! matters. Nothing can follow that one in its batch; its result comes back as an event. "Persist before you
//! say so" therefore is a matter of types.
use alloc::vec::Vec;

use crate::time::Time;

mod daemon;
pub mod incumbent;
mod names;
mod peer;
mod phase;
mod reason;
pub mod recovery;
pub mod successor;
pub mod supervisor;
mod timer;

pub use daemon::{AnyDaemonMachine, Awaited, DaemonEffect, DaemonEvent, ExitReason, LinkId, LockAnswer, Op};
pub use incumbent::IncumbentMachine;
pub use names::{Cell, EffectName, EventName, MachineRole, Speaker, StateName, TaskName};
pub use phase::Phase;
pub use reason::Reason;
pub use recovery::RecoveryMachine;
pub use successor::SuccessorMachine;
pub use supervisor::SupervisorMachine;
pub use timer::{Timer, Timers};

/// One role of the protocol.
pub trait Machine {
    /// The events of the machine.
    type Event;
    /// The effects that the machine asks for without waiting for a result.
    type Effect;
    /// The effects that the machine asks for and must wait for.
    type Awaited;

    /// Handles one event at `now`.
    fn handle(&mut self, now: Time, event: Self::Event, out: Out<'_, Self>);

    /// Returns the timers, each with the time at which it expires. The host reports one that has with a timer
    /// event, after everything that could be read has been handled.
    fn timers(&self) -> &Timers;

    /// The state, after what it awaits.
    fn state(&self) -> StateName;

    /// An event's name, for the table of states and events.
    fn event_name(event: &Self::Event) -> EventName;

    /// An effect's name, for crash points and logs.
    fn effect_name(effect: &Self::Effect) -> EffectName;

    /// The name of an effect whose result matters.
    fn awaited_name(awaited: &Self::Awaited) -> EffectName;

    /// The role.
    const ROLE: MachineRole;
}

/// The effects that a machine asks for in answer to one event.
pub struct Batch<M: Machine + ?Sized> {
    /// In this order.
    pub effects: Vec<M::Effect>,
    /// After all the others; its result comes back as an event.
    pub last: Option<M::Awaited>,
}

impl<M: Machine + ?Sized> Batch<M> {
    /// An empty batch.
    pub fn new() -> Self {
        Batch { effects: Vec::new(), last: None }
    }

    /// Returns where a machine puts its effects.
    pub fn out(&mut self) -> Out<'_, M> {
        Out(self)
    }
}

impl<M: Machine + ?Sized> Default for Batch<M> {
    fn default() -> Self {
        Batch::new()
    }
}

/// The end of a [`Batch`] at which a machine writes.
pub struct Out<'a, M: Machine + ?Sized>(&'a mut Batch<M>);

impl<M: Machine + ?Sized> Out<'_, M> {
    /// Adds an effect.
    pub fn push(&mut self, effect: M::Effect) {
        self.0.effects.push(effect);
    }

    /// Adds the last effect, the one whose result matters. Consumes the batch's end: nothing can follow.
    pub fn last(self, awaited: M::Awaited) {
        self.0.last = Some(awaited);
    }
}
