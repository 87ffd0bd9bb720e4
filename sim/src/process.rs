//! A simulated process, whatever runs in it.
use std::collections::VecDeque;

use handoff::ProcessId;
use handoff::connections::Drain;
use handoff::machine::{ExitReason, Op, incumbent};
use handoff::node::daemon::Hook as AnyHook;
use handoff::node::{self, daemon::Event};

use crate::kernel::{Disk, LengthOf as Noisy, Life, Micros, Name, ProcessClock};
use crate::plan;
use crate::simulated::Simulated;
use crate::supervisor::SupervisorProgram;
use crate::world::SimulatedWorld;

/// The kind of a stranger's name.
pub(crate) const STRANGER: char = 'X';

/// A process.
pub(crate) struct Process {
    pub id: ProcessId,
    pub name: Name,
    pub life: Life,
    /// Whether it is dying, and its control socket is not closed yet: the kernel closes what a process has in no certain order.
    pub lets_in: bool,
    pub clock: ProcessClock,
    /// When it has its next turn.
    pub run_at: Option<Micros>,
    /// What it was about to do when it was stopped.
    pub deferred: Vec<Deferred>,
    /// What it is to be told by itself: answers that were put off.
    pub pending: VecDeque<(Micros, DeferredAnswer)>,
    pub no_descriptors_until: Micros,
    /// How often it asked for each kind of noise.
    pub draws: [u32; Noisy::COUNT],
    /// Whether it was stopped or slowed down, so others may think that it hangs.
    pub suspect: bool,
    pub program: Program,
}

/// An effect that waits for its process to be continued.
pub(crate) type Deferred = Box<dyn FnOnce(&mut SimulatedWorld, u32)>;

/// What runs in a process.
pub(crate) enum Program {
    Supervisor(Box<SupervisorProgram>),
    Daemon(Box<DaemonProgram>),
    Bare(BareProcess),
}

/// A process without a program: the tests that hold this kernel to a real one make its system calls.
#[derive(Debug, Default)]
pub(crate) struct BareProcess {
    /// Whether it listens beside the control path.
    pub listens: bool,
    waiting: VecDeque<(Micros, u64)>,
}

/// An operation that is still to be performed: what is answered then is so then.
pub(crate) type DeferredOperation = Box<dyn FnOnce(&mut SimulatedWorld, u32) -> Option<DeferredAnswer>>;

/// An answer that was put off.
pub(crate) enum DeferredAnswer {
    Operation(DeferredOperation),
    Handoff(node::handoff::Answer),
    Recovery(node::recovery::Answer),
    Daemon(Event),
}

/// A daemon.
pub(crate) struct DaemonProgram {
    pub build: u32,
    /// What its spawn was told to go wrong with.
    pub quirk: Option<plan::What>,
    /// None before its first turn, and while it takes one.
    pub node: Option<node::daemon::DaemonNode>,
    pub has_started: bool,
    /// Whether it has come to be the incumbent.
    pub promoted: bool,
    /// The incumbent of the handoff for which it was started.
    pub predecessor: Option<u32>,
    pub app: Option<Box<dyn Simulated>>,
    pub disk: Disk,
    /// The link to the supervisor that started it.
    pub inherited: u64,
    /// Connections to its control socket that it has not accepted.
    pub waiting: VecDeque<(Micros, u64)>,
    /// Run one after the other; the first one runs.
    pub hooks: VecDeque<(Op, AnyHook)>,
    /// When the first one returns, and what goes wrong with it; never, if it hangs.
    pub returns: Option<(Micros, Option<plan::What>)>,
    pub replies: VecDeque<node::daemon::HookReport>,
    pub stop_asked: bool,
    /// Whether it accepts clients, and does what they ask for.
    pub accepts: bool,
    /// It drains: its hook returns when that is over.
    pub drain: Option<Drain>,
    /// How many connections its last drain has left.
    pub left: u32,
    /// How the fingerprint of what was sealed for it was made, as it found that when it got the lock.
    pub sealed_for_it: Option<u16>,
    /// What its supervisor has told it.
    pub told_to_begin: bool,
    pub told_to_commit: bool,
    pub told_to_leave: bool,
    /// Whether it has read that it is part of a handoff.
    pub joined: bool,
    /// Whether it was told that its predecessor has ended.
    pub finalizes: bool,
    pub exit: Option<ExitReason>,
}

impl Process {
    pub(crate) fn runs(&self) -> bool {
        self.life == Life::Runs
    }

    pub(crate) fn listens(&self) -> bool {
        matches!(self.life, Life::Runs | Life::Stopped)
    }

    /// Whether it is neither a supervisor nor a daemon.
    pub(crate) fn is_stranger(&self) -> bool {
        self.name.kind == STRANGER
    }

    pub(crate) fn supervisor(&self) -> Option<&SupervisorProgram> {
        match &self.program {
            Program::Supervisor(supervisor) => Some(supervisor),
            Program::Daemon(_) | Program::Bare(_) => None,
        }
    }

    pub(crate) fn supervisor_mut(&mut self) -> Option<&mut SupervisorProgram> {
        match &mut self.program {
            Program::Supervisor(supervisor) => Some(supervisor),
            Program::Daemon(_) | Program::Bare(_) => None,
        }
    }

    pub(crate) fn daemon(&self) -> Option<&DaemonProgram> {
        match &self.program {
            Program::Daemon(daemon) => Some(daemon),
            Program::Supervisor(_) | Program::Bare(_) => None,
        }
    }

    pub(crate) fn daemon_mut(&mut self) -> Option<&mut DaemonProgram> {
        match &mut self.program {
            Program::Daemon(daemon) => Some(daemon),
            Program::Supervisor(_) | Program::Bare(_) => None,
        }
    }

    /// A process that connects to its control socket is put into its queue, though it be stopped, or dying.
    pub(crate) fn answers(&self) -> bool {
        let listens = match &self.program {
            Program::Supervisor(_) => false,
            Program::Daemon(daemon) => daemon.has_started,
            Program::Bare(process) => process.listens,
        };
        listens && (self.listens() || self.lets_in)
    }

    /// Connections to its control socket that it has not accepted, and when they have come.
    pub(crate) fn waiting_mut(&mut self) -> Option<&mut VecDeque<(Micros, u64)>> {
        match &mut self.program {
            Program::Supervisor(_) => None,
            Program::Daemon(daemon) => Some(&mut daemon.waiting),
            Program::Bare(process) => Some(&mut process.waiting),
        }
    }
}

impl DaemonProgram {
    pub(crate) fn new(
        build: u32,
        quirk: Option<plan::What>,
        predecessor: Option<u32>,
        disk: Disk,
    ) -> DaemonProgram {
        DaemonProgram {
            build,
            quirk,
            node: None,
            has_started: false,
            promoted: false,
            predecessor,
            app: None,
            disk,
            inherited: 0,
            waiting: VecDeque::new(),
            hooks: VecDeque::new(),
            returns: None,
            replies: VecDeque::new(),
            stop_asked: false,
            accepts: false,
            drain: None,
            left: 0,
            sealed_for_it: None,
            told_to_begin: false,
            told_to_commit: false,
            told_to_leave: false,
            joined: false,
            finalizes: false,
            exit: None,
        }
    }

    pub(crate) fn is_incumbent(&self) -> bool {
        self.promoted
    }

    /// A hook runs that will never return.
    pub(crate) fn hangs(&self) -> bool {
        !self.hooks.is_empty() && self.returns.is_none()
    }

    /// What its hooks do to it when they begin: a drain stops accepting, a seal can't but have.
    pub(crate) fn hook_begins(&mut self) {
        if matches!(
            self.hooks.front(),
            Some((_, AnyHook::Incumbent(incumbent::Hook::Drain { .. } | incumbent::Hook::Seal)))
        ) {
            self.accepts = false;
        }
    }
}
