//! The things that a machine stands on: clock, transport, processes, storage.
//!
//! There are two hosts: real sockets and processes (feature `unix`), and a simulated kernel. Both are driven by
//! [`crate::drive`]. A method that returns `Option` may put its answer off: `None` means that the host will
//! hand in the answer as an event later.
use alloc::vec::Vec;
use core::{fmt, ops::ControlFlow};

use crate::{
    error::HostError,
    id::ProcessId,
    machine::{
        Cell, EffectName, ExitReason, LinkId, LockAnswer, MachineRole, Op, StateName, recovery, supervisor,
    },
    message::Message,
    record::Record,
    time::Time,
};

/// A monotonic clock.
pub trait Clock {
    /// Returns the time now.
    fn now(&self) -> Time;
}

/// Links to peers. `L` tells them apart.
pub trait Transport<L> {
    /// Sends `message`: buffered, not received. A send that fails is the link's end, which comes as an event.
    fn send(&mut self, to: L, message: &Message);

    /// Closes a link, after what was sent.
    fn close(&mut self, link: L);
}

/// The place where a process can die: the gap before an effect, or after the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gap {
    /// The machine whose process dies.
    pub role: MachineRole,
    /// The state that it was in when the event came.
    pub state: StateName,
    /// The effect that it does not live to see; none if it dies after the last.
    pub before: Option<EffectName>,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gap { role, state, before } = self;
        match before {
            Some(effect) => write!(f, "{role}.{state}.before-{effect}"),
            None => write!(f, "{role}.{state}.after"),
        }
    }
}

/// The process is dead: nothing that follows happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed;

/// Lets a host see what the driver does, and end a process between two effects. Real hosts let it live.
pub trait Gaps {
    /// Called before a machine handles an event.
    fn handles(&mut self, _cell: Cell) {}

    /// Called before every effect and after the last.
    fn gap(&mut self, _gap: Gap) -> ControlFlow<Crashed> {
        ControlFlow::Continue(())
    }
}

/// The processes that a supervisor starts and ends.
pub trait Processes {
    /// Connects to the control path. The incumbent's `Hello` is the sign that it worked.
    fn connect(&mut self);

    /// Starts the successor.
    fn spawn(&mut self) -> Option<Result<ProcessId, HostError>>;

    /// Kills a peer's process and what it has forked.
    fn kill(&mut self, peer: supervisor::Peer);
}

/// The supervisor's durable record.
pub trait Notes {
    /// Makes `note` durable.
    fn persist(&mut self, note: supervisor::Note) -> Option<Result<(), HostError>>;
}

/// All that a supervisor stands on.
pub trait SupervisorHost: Clock + Transport<supervisor::Peer> + Processes + Notes + Gaps {
    /// The handoff is over.
    fn finish(&mut self, outcome: supervisor::Outcome);
}

/// The things that a supervisor can find out and do about daemons that it did not start.
pub trait Discovery {
    /// Looks for processes that may be daemons at this control path and have not ended: those whose sockets lie beside it, those that
    /// the journal or the record names, and `also`. Their ends come as events from here on.
    fn look(&mut self, also: Option<ProcessId>) -> Option<Vec<recovery::Sighting>>;

    /// Connects to a process's own control socket. That it can't be is the link's end.
    fn connect(&mut self, to: ProcessId);

    /// Kills a process and what it has forked.
    fn kill(&mut self, process: ProcessId);

    /// Makes durable which process serves, and that nothing is under way. An error too if the journal does not
    /// [allow](crate::journal::Journal::allows_final) what comes next.
    fn note(&mut self, verdict: recovery::RecoveryVerdict) -> Option<Result<(), HostError>>;
}

/// All that a recovery stands on.
pub trait RecoveryHost: Clock + Transport<ProcessId> + Discovery + Gaps {
    /// The recovery is over.
    fn finish(&mut self, outcome: recovery::Outcome);
}

/// A daemon's own process and hooks. `H` are the role's hooks.
pub trait Hooks<H> {
    /// Runs `hook` beside the machine; its result comes as an event that carries `op`.
    fn start_hook(&mut self, op: Op, hook: H);

    /// Leaves.
    fn exit(&mut self, exit: ExitReason);
}

/// The sockets that a daemon serves: listening, and connected to clients.
pub trait Sockets {
    /// Sends them to the peer at the other end of `to` ([`Message::Listeners`]); this process keeps its own.
    fn send_listeners(&mut self, to: LinkId);

    /// Receives connections over `from` ([`Message::Connections`]), which is no link of the protocol any more.
    fn receive_connections(&mut self, from: LinkId);
}

/// The storage that daemons share: the data directory's lock, its record, the control path. `op` comes back
/// with an answer that was put off.
pub trait Storage {
    /// Tries the lock, without waiting for it, and reads the record.
    fn lock(&mut self, op: Op) -> Option<LockAnswer>;

    /// Frees the lock.
    fn unlock(&mut self);

    /// Writes the record. The lock is held.
    fn write_record(&mut self, op: Op, record: &Record) -> Option<Result<(), HostError>>;

    /// Makes the control path lead to this process.
    fn take_path(&mut self, op: Op) -> Option<Result<(), HostError>>;
}

/// All that a daemon stands on.
pub trait DaemonHost<H>: Clock + Transport<LinkId> + Sockets + Hooks<H> + Storage + Gaps {}

impl<H, T: Clock + Transport<LinkId> + Sockets + Hooks<H> + Storage + Gaps> DaemonHost<H> for T {}
