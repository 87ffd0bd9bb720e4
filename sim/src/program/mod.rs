//! The program of a simulated process, and what it is to be told by itself. `W` is the world in which it does
//! what was put off.
use std::collections::VecDeque;

use handoff::node;

use crate::kernel::{self, Micros};

pub(crate) use self::byte_service::{ByteService, OwnByteConn, is_idle};
pub(crate) use self::carrying::{CarryStage, DaemonCarrying, carry_hook};
pub(crate) use self::daemon::DaemonProgram;
pub(crate) use self::handoff_task::{HandoffTask, Party};
pub(crate) use self::numbered::{NumberedReply, NumberedRequest};
pub(crate) use self::recovery_task::RecoveryTask;
pub(crate) use self::supervisor::{SupervisorProgram, TaskUnderWay};

mod byte_service;
mod carrying;
mod daemon;
mod handoff_task;
mod numbered;
mod recovery_task;
mod supervisor;

/// The kind of a stranger's name.
pub(crate) const STRANGER: char = 'X';

/// A process of the world `W`.
pub(crate) type Process<W> = kernel::Process<RunningProgram<W>>;

/// The program of a process.
pub(crate) enum Program {
    Supervisor(Box<SupervisorProgram>),
    Daemon(Box<DaemonProgram>),
    /// Neither of them: a process that came by, for the lock or for a number.
    Stranger,
}

/// A program, and what is between it and the world.
pub(crate) struct RunningProgram<W> {
    pub what: Program,
    /// The effects that its process was about to have when it was stopped.
    pub deferred: Vec<Deferred<W>>,
    /// The answers that were put off, which it is to be told by itself.
    pub pending: VecDeque<(Micros, DeferredAnswer<W>)>,
}

/// An effect that waits for its process to be continued.
pub(crate) type Deferred<W> = Box<dyn FnOnce(&mut W, u32)>;

/// An operation that is still to be performed: what is answered then is so then.
pub(crate) type DeferredOperation<W> = Box<dyn FnOnce(&mut W, u32) -> Option<DeferredAnswer<W>>>;

/// An answer that was put off.
pub(crate) enum DeferredAnswer<W> {
    Operation(DeferredOperation<W>),
    Handoff(node::handoff::Answer),
    Recovery(node::recovery::Answer),
    Daemon(node::daemon::Event),
}

impl<W> From<Program> for RunningProgram<W> {
    fn from(what: Program) -> Self {
        RunningProgram { what, deferred: Vec::new(), pending: VecDeque::new() }
    }
}

impl<W> Process<W> {
    /// Returns whether it is neither a supervisor nor a daemon.
    pub(crate) fn is_stranger(&self) -> bool {
        matches!(self.program.what, Program::Stranger)
    }

    pub(crate) fn supervisor(&self) -> Option<&SupervisorProgram> {
        match &self.program.what {
            Program::Supervisor(supervisor) => Some(supervisor),
            Program::Daemon(_) | Program::Stranger => None,
        }
    }

    pub(crate) fn supervisor_mut(&mut self) -> Option<&mut SupervisorProgram> {
        match &mut self.program.what {
            Program::Supervisor(supervisor) => Some(supervisor),
            Program::Daemon(_) | Program::Stranger => None,
        }
    }

    pub(crate) fn daemon(&self) -> Option<&DaemonProgram> {
        match &self.program.what {
            Program::Daemon(daemon) => Some(daemon),
            Program::Supervisor(_) | Program::Stranger => None,
        }
    }

    pub(crate) fn daemon_mut(&mut self) -> Option<&mut DaemonProgram> {
        match &mut self.program.what {
            Program::Daemon(daemon) => Some(daemon),
            Program::Supervisor(_) | Program::Stranger => None,
        }
    }
}
