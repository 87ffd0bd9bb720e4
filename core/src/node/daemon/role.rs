//! The two lives of a daemon, behind one type: its hooks, its events, its machine.
use crate::{
    error::HostError,
    id::{HandoffId, ProcessId},
    machine::{
        DaemonEvent, IncumbentMachine, LinkId, LockAnswer, Machine, MachineRole, Op, StateName,
        SuccessorMachine, Timer, Timers, incumbent, successor,
    },
    message::{Message, SealProgress, Sealed, Standing},
    names::names,
    time::{Duration, Time},
};

/// A hook of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// The hook of an incumbent.
    Incumbent(incumbent::Hook),
    /// The hook of a successor.
    Successor(successor::Hook),
}

names! {
    /// A hook of a daemon, without what it is called with.
    pub enum HookName {
        WarmUp = "warm-up",
        Drain = "drain",
        Seal = "seal",
        Open = "open",
        Serve = "serve",
        Resume = "resume",
        Finalize = "finalize",
    }
}

impl Hook {
    /// The hook's name.
    pub fn name(&self) -> HookName {
        match self {
            Hook::Incumbent(incumbent::Hook::Drain { .. }) => HookName::Drain,
            Hook::Incumbent(incumbent::Hook::Seal) => HookName::Seal,
            Hook::Incumbent(incumbent::Hook::Resume { .. }) => HookName::Resume,
            Hook::Incumbent(incumbent::Hook::Finalize) => HookName::Finalize,
            Hook::Successor(successor::Hook::WarmUp) => HookName::WarmUp,
            Hook::Successor(successor::Hook::Open { .. }) => HookName::Open,
            Hook::Successor(successor::Hook::Serve) => HookName::Serve,
        }
    }

    /// Returns what the incumbent sealed, for a hook that opens it.
    pub fn sealed(&self) -> Option<&Sealed> {
        match self {
            Hook::Successor(successor::Hook::Open { sealed }) => sealed.as_ref(),
            _ => None,
        }
    }
}

/// The report of a hook.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Done {
    /// Nothing.
    Ok,
    /// The report that only an incumbent's hook makes.
    Incumbent(incumbent::Done),
    /// The report that only a successor's hook makes.
    Successor(successor::Done),
}

impl Done {
    pub(super) fn for_incumbent(self) -> Option<incumbent::Done> {
        match self {
            Done::Ok | Done::Successor(successor::Done::Ok) => Some(incumbent::Done::Ok),
            Done::Incumbent(done) => Some(done),
            Done::Successor(successor::Done::Opened { .. }) => None,
        }
    }

    pub(super) fn for_successor(self) -> Option<successor::Done> {
        match self {
            Done::Ok => Some(successor::Done::Ok),
            Done::Successor(done) => Some(done),
            Done::Incumbent(_) => None,
        }
    }
}

/// The events of a daemon, whichever role it has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The process has started.
    Start,
    /// A peer has connected to the control socket.
    Connected(LinkId),
    /// A message has come.
    Frame(LinkId, Message),
    /// A link is at its end.
    Closed(LinkId),
    /// A hook has returned, or panicked.
    HookDone(Op, Result<Done, HostError>),
    /// The lock was tried.
    Locked(Op, LockAnswer),
    /// The record was written, or could not be.
    Recorded(Op, Result<(), HostError>),
    /// The control path was taken, or could not be.
    PathTaken(Op, Result<(), HostError>),
    /// A timer has expired.
    Timer(Timer),
    /// The process was asked to stop.
    Stop,
}

impl Event {
    /// The event, as the machine of one role knows it; `None` if a hook has reported what is not for that role.
    pub(super) fn typed<D>(self, done: impl Fn(Done) -> Option<D>) -> Option<DaemonEvent<D>> {
        Some(match self {
            Event::Start => DaemonEvent::Start,
            Event::Connected(link) => DaemonEvent::Connected(link),
            Event::Frame(link, message) => DaemonEvent::Frame(link, message),
            Event::Closed(link) => DaemonEvent::Closed(link),
            Event::HookDone(op, Ok(report)) => DaemonEvent::HookDone(op, Ok(done(report)?)),
            Event::HookDone(op, Err(why)) => DaemonEvent::HookDone(op, Err(why)),
            Event::Locked(op, answer) => DaemonEvent::Locked(op, answer),
            Event::Recorded(op, result) => DaemonEvent::Recorded(op, result),
            Event::PathTaken(op, result) => DaemonEvent::PathTaken(op, result),
            Event::Timer(timer) => DaemonEvent::Timer(timer),
            Event::Stop => DaemonEvent::Stop,
        })
    }
}

/// A daemon's machine, in whichever of its two lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DaemonMachine {
    /// Does not serve yet.
    Successor(SuccessorMachine),
    /// Serves, or has served.
    Incumbent(IncumbentMachine),
}

impl DaemonMachine {
    /// Returns which of the two it is.
    pub fn kind(&self) -> MachineRole {
        match self {
            DaemonMachine::Successor(_) => SuccessorMachine::ROLE,
            DaemonMachine::Incumbent(_) => IncumbentMachine::ROLE,
        }
    }

    /// The machine's state, after what it awaits.
    pub fn state(&self) -> StateName {
        match self {
            DaemonMachine::Successor(machine) => machine.state(),
            DaemonMachine::Incumbent(machine) => machine.state(),
        }
    }

    /// Returns the timers, each with the time at which it expires.
    pub fn timers(&self) -> &Timers {
        match self {
            DaemonMachine::Successor(machine) => machine.timers(),
            DaemonMachine::Incumbent(machine) => machine.timers(),
        }
    }

    /// Returns where the daemon stands, for a status.
    pub fn standing(&self) -> Standing {
        match self {
            DaemonMachine::Successor(machine) => machine.standing(),
            DaemonMachine::Incumbent(machine) => machine.standing(),
        }
    }

    /// The handoff that the daemon is part of, as far as it knows.
    pub(super) fn handoff_id(&self) -> Option<HandoffId> {
        match self {
            DaemonMachine::Successor(machine) => machine.handoff_id(),
            DaemonMachine::Incumbent(machine) => machine.handoff_id(),
        }
    }

    /// The link of the supervisor whose handoff the daemon is part of.
    pub(super) fn session_link(&self) -> Option<LinkId> {
        match self {
            DaemonMachine::Successor(_) => None,
            DaemonMachine::Incumbent(machine) => machine.session_link(),
        }
    }

    /// The process that may send its connections over now.
    pub(super) fn takes_connections_of(&self) -> Option<ProcessId> {
        match self {
            DaemonMachine::Successor(machine) => machine.takes_connections_of(),
            DaemonMachine::Incumbent(_) => None,
        }
    }

    /// Returns what the supervisor is to hear of a seal that goes on, and over which link.
    pub fn seal_progress(&self, progress: SealProgress) -> Option<(LinkId, Message)> {
        match self {
            DaemonMachine::Successor(_) => None,
            DaemonMachine::Incumbent(machine) => machine.seal_progress(progress),
        }
    }

    /// Lets a successor that serves be an incumbent from here on: whether it was one. `stop_grace` is how long open requests may
    /// take to finish when the daemon is asked to stop.
    pub fn promote(&mut self, now: Time, stop_grace: Duration) -> bool {
        let promoted = match self {
            DaemonMachine::Successor(machine) => machine.promoted(now, stop_grace),
            DaemonMachine::Incumbent(_) => None,
        };
        let is_promoted = promoted.is_some();
        promoted.into_iter().for_each(|incumbent| *self = DaemonMachine::Incumbent(incumbent));
        is_promoted
    }
}
