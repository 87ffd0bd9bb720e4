//! The machines that a search met, for the tables of states and events.
use std::collections::HashSet;

use handoff::HandoffId;
use handoff::machine::{IncumbentMachine, LinkId, Op, RecoveryMachine, SuccessorMachine, SupervisorMachine};

use crate::explore::model::{DaemonMachine, Model};

/// The surroundings that a daemon's events refer to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Around {
    pub link: Option<LinkId>,
    pub handoff_id: HandoffId,
    pub op: Op,
}

/// The machines that were met, each once.
#[derive(Default)]
pub(crate) struct Samples {
    pub incumbents: HashSet<(IncumbentMachine, Around)>,
    pub successors: HashSet<(SuccessorMachine, Around)>,
    pub supervisors: HashSet<SupervisorMachine>,
    pub recoveries: HashSet<RecoveryMachine>,
}

impl Samples {
    pub(crate) fn collect(&mut self, model: &Model) {
        if let Some(supervisor) = &model.supervisor {
            self.supervisors.insert(supervisor.machine.clone());
        }
        if let Some(recovery) = &model.recovery {
            self.recoveries.insert(recovery.machine.clone());
        }
        for (pid, process) in &model.processes {
            let link = model.links.iter().rfind(|link| link.pid == *pid && link.daemon_open);
            let handoff_id = link.map_or(HandoffId([model.started; 16]), |link| link.handoff_id);
            let around = Around { link: link.map(|link| link.id), handoff_id, op: process.last_op };
            match &process.daemon {
                DaemonMachine::Incumbent(machine) => {
                    self.incumbents.insert((machine.clone(), around));
                }
                DaemonMachine::Successor(machine) => {
                    self.successors.insert((machine.clone(), around));
                }
            }
        }
    }
}
