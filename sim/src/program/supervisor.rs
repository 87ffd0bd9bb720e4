//! The program of a supervisor's process.
use handoff::ProcessId;
use handoff::journal::{Binary, Journal};
use handoff::node::Node;
use handoff::node::keeper::{Keeper, Kept, Which};

use super::{HandoffTask, RecoveryTask};
use crate::kernel::Micros;

/// A supervisor.
pub(crate) struct SupervisorProgram {
    /// `true` if it has no journal, does one handoff, and leaves.
    pub rival: bool,
    /// `None` until it has begun.
    pub keeper: Option<Keeper>,
    pub knows: Journal,
    /// Of the next write of the journal.
    pub sequence: u64,
    pub slot: usize,
    pub task: TaskUnderWay,
    /// The daemon that serves or has served, as far as it knows, and since when.
    pub child: Option<(ProcessId, Micros)>,
    /// The build that the operator wants to run.
    pub configured: u32,
    /// The build that the operator wants to run by a signal that was heard, if no daemon has met it since.
    pub untried: Option<u32>,
    /// `true` if the operator has called off what is under way.
    pub cancelled: bool,
}

/// The task that is under way.
pub(crate) enum TaskUnderWay {
    Idle,
    Recovery(Box<RecoveryTask>),
    Handoff(Box<HandoffTask>),
}

impl SupervisorProgram {
    pub(crate) fn new(rival: bool) -> SupervisorProgram {
        SupervisorProgram {
            rival,
            keeper: None,
            knows: Journal::default(),
            sequence: 1,
            slot: 0,
            task: TaskUnderWay::Idle,
            child: None,
            configured: 1,
            untried: None,
            cancelled: false,
        }
    }

    /// Returns whether nothing is under way or due, and a daemon serves.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.task, TaskUnderWay::Idle) && self.keeper.as_ref().is_some_and(Keeper::is_settled)
    }

    pub(crate) fn state(&self) -> &'static str {
        match &self.task {
            TaskUnderWay::Idle => "idle",
            TaskUnderWay::Recovery(recovery) => recovery.node.as_ref().map_or("", |node| node.state().name()),
            TaskUnderWay::Handoff(handoff) => handoff.node.as_ref().map_or("", |node| node.state().name()),
        }
    }

    pub(crate) fn handoff(&self) -> Option<&HandoffTask> {
        match &self.task {
            TaskUnderWay::Handoff(handoff) => Some(handoff),
            _ => None,
        }
    }

    pub(crate) fn handoff_mut(&mut self) -> Option<&mut HandoffTask> {
        match &mut self.task {
            TaskUnderWay::Handoff(handoff) => Some(handoff),
            _ => None,
        }
    }

    pub(crate) fn recovery_mut(&mut self) -> Option<&mut RecoveryTask> {
        match &mut self.task {
            TaskUnderWay::Recovery(recovery) => Some(recovery),
            _ => None,
        }
    }

    pub(crate) fn recovery(&self) -> Option<&RecoveryTask> {
        match &self.task {
            TaskUnderWay::Recovery(recovery) => Some(recovery),
            _ => None,
        }
    }

    /// The process that is to serve in the handoff that is under way.
    pub(crate) fn successor(&self) -> Option<u32> {
        self.handoff()?.successor()
    }

    /// The build that is started.
    pub(crate) fn build(&self, which: Which) -> u32 {
        let build = match which {
            Which::Last => build_of(self.knows.committed.as_ref()),
            Which::Before => build_of(self.knows.previous.as_ref()),
            Which::Configured | Which::Asked => None,
        };
        build.unwrap_or(self.configured)
    }

    /// Returns what it can start once more.
    pub(crate) fn kept(&self) -> Kept {
        match (&self.knows.committed, &self.knows.previous) {
            (None, _) => Kept::Nothing,
            (Some(_), None) => Kept::Last,
            (Some(_), Some(_)) => Kept::Both,
        }
    }

    /// The build that a supervisor starts which reads `journal`.
    pub(crate) fn build_to_start(journal: &Journal) -> u32 {
        build_of(journal.committed.as_ref()).unwrap_or(1)
    }

    /// The build that a journal says was committed last.
    pub(crate) fn committed_build(journal: &Journal) -> Option<u32> {
        build_of(journal.committed.as_ref())
    }
}

fn build_of(binary: Option<&Binary>) -> Option<u32> {
    String::from_utf8_lossy(&binary?.path).rsplit('/').next()?.parse().ok()
}
