//! Nodes: between a machine and its host, sans-IO.
//!
//! A node owns a machine, what the process knows of the machine's peers, and the order in which what has happened is handed to
//! the machine. It asks its operating system, a small trait, for what has come, and tells it what to perform; it never waits. A real
//! host calls it whenever `poll(2)` returns, the simulator whenever the process has its turn: the order, the bounds, the admission of peers and what
//! belongs to a machine's effects beyond the system call are written once, here.
//!
//! The order within one *pass*: answers that were put off; both ends of processes before each frame; frames, the older link first, a
//! bounded number of one link; what hooks have reported; requests to stop or to cancel; new connections; and a timer only if there was
//! nothing else, or if there was no end to it.
use core::ops::ControlFlow;

use crate::{
    drive::{self, Runs},
    host::{Clock, Crashed, Gap, Gaps},
    id::HandoffId,
    machine::{Cell, MachineRole, StateName},
    message::Message,
    text::PlainText,
    time::{Duration, Time},
};

pub mod daemon;
pub mod handoff;
pub mod keeper;
pub mod recovery;

/// The largest number of messages that a node takes from one link in one pass: a peer that floods its link delays no other.
pub const FLOOD: usize = 256;

/// The outcome of a read from a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A message.
    Message(Message),
    /// Nothing more for now.
    Nothing,
    /// The end of the link, and why. The link is gone: nothing more is read from it or sent over it.
    Closed(PlainText),
}

/// The process at the other end of a connection, as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The effective user of the process, when it connected or began to listen.
    pub uid: u32,
    /// The pid at that time; `None` where the system doesn't tell, 0 for a process of another pid namespace.
    pub pid: Option<u32>,
}

impl Credentials {
    /// Returns whether the peer may speak to a process of the user `own`: it must be the same user, or root.
    pub fn may_speak_to(self, own: u32) -> bool {
        self.uid == own || self.uid == 0
    }
}

/// Lets a machine take its turn. The simulator has a driver that makes a mistake on purpose.
pub trait Driver {
    /// Lets `machine` handle `event`, performs what it asks for on `host`, and hands it the results that come at once.
    fn turn<M, H>(&mut self, machine: &mut M, host: &mut H, event: M::Event) -> ControlFlow<Crashed>
    where
        M: Runs<H> + Clone + PartialEq,
        H: Clock + Gaps;
}

/// The machine as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faithful;

impl Driver for Faithful {
    fn turn<M, H>(&mut self, machine: &mut M, host: &mut H, event: M::Event) -> ControlFlow<Crashed>
    where
        M: Runs<H> + Clone + PartialEq,
        H: Clock + Gaps,
    {
        drive::turn(machine, host, event)
    }
}

/// A machine, and what its process knows of the machine's peers.
pub trait Node {
    /// The events of the node's machine.
    type Event;

    /// Returns the time at which the node has something to do although nothing new has come: its next timer,
    /// or at once if the pass before did not take all that had come. A link may have been read further than
    /// it was handed over, and does not wake its process for that. `None` is never.
    fn wake_at(&self) -> Option<Time>;

    /// The machine's role.
    fn role(&self) -> MachineRole;

    /// The machine's state, after what it awaits.
    fn state(&self) -> StateName;

    /// Returns whether nothing more is handed to the machine.
    fn is_over(&self) -> bool;

    /// The handoff that the machine takes part in; `None` if it is in none.
    fn handoff(&self) -> Option<HandoffId>;
}

/// A node on the operating system `O`: the order in which what has happened is handed to the machine.
pub trait NodeOn<O>: Node {
    /// Returns what comes next in this pass. `None` ends the pass: nothing more has happened, or enough was
    /// handed over for once.
    fn next(&mut self, os: &mut O) -> Option<Self::Event>;

    /// Hands `event` to the machine.
    fn step(&mut self, os: &mut O, event: Self::Event, driver: &mut impl Driver) -> ControlFlow<Crashed>;
}

/// The things that a machine stands on: the operating system, and what the node keeps besides the machine.
pub(crate) struct Hands<'a, R, O> {
    rest: &'a mut R,
    os: &'a mut O,
}

impl<R, O: Clock> Clock for Hands<'_, R, O> {
    fn now(&self) -> Time {
        self.os.now()
    }
}

impl<R, O: Gaps> Gaps for Hands<'_, R, O> {
    fn handles(&mut self, cell: Cell) {
        self.os.handles(cell);
    }

    fn gap(&mut self, gap: Gap) -> ControlFlow<Crashed> {
        self.os.gap(gap)
    }
}

/// The longest time for which a process's end is waited for once its link has closed. A process that ends
/// closes its links first, by some milliseconds, and that it has ended says more, to people and to a machine,
/// than that a link is closed.
pub const END_AT_HAND: Duration = Duration::from_millis(20);
