//! A recovery of a simulated supervisor: the turns of its node.
use std::collections::{BTreeMap, BTreeSet};

use handoff::ProcessId;
use handoff::machine::recovery::{Event, Limits, Outcome};
use handoff::machine::{Machine, RecoveryMachine, Timer};
use handoff::node::keeper::Activity;
use handoff::node::{Node, NodeOn, recovery as node};

use crate::host::Host;
use crate::kernel::{KernelLink, Micros, Side};
use crate::program::{Process, RecoveryTask, SupervisorProgram, TaskUnderWay};
use crate::trace::words::{EventWords, noted};
use crate::world::{Doing, SimulatedWorld, Surroundings};

impl<S: Surroundings> SimulatedWorld<S> {
    pub(crate) fn begins_recovery(&mut self, pid: u32) {
        let times = self.plan.times;
        let config = Limits {
            liveness: times.liveness.duration(),
            unreachable_limit: times.unreachable_limit.duration(),
            retire_limit: times.retire_limit.duration(),
            deadline: times.deadline.duration(),
            take_listeners: !self.kernel.listener.has(pid),
        };
        let interrupted = self.supervisor_mut(pid).and_then(|supervisor| supervisor.knows.under_way.clone());
        let interrupted = interrupted.filter(|under_way| !under_way.retiring);
        let recovery = RecoveryTask {
            node: None,
            interrupted: interrupted.map(|under_way| under_way.successor),
            watched: BTreeMap::new(),
            named: BTreeSet::new(),
            journaled: BTreeSet::new(),
            heard: BTreeSet::new(),
            asked: BTreeSet::new(),
            killed: BTreeSet::new(),
            late: false,
            is_slow: false,
            was_given_listeners: false,
            journal_failed: false,
            owner: None,
            beside: self
                .supervisors()
                .any(|(other, supervisor)| other != pid && supervisor.handoff().is_some())
                || self.kernel.links.values().any(KernelLink::has_last_words),
        };
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        let mut node = node::RecoveryNode::new(config, supervisor.knows.clone());
        supervisor.task = TaskUnderWay::Recovery(Box::new(recovery));
        supervisor.cancelled = false;
        self.recovery_step(pid, &mut node, Event::Start, None);
        self.recovery_rests(pid, node);
        self.kernel.poke(pid, self.kernel.now);
    }

    /// Returns the time at which there is something to do by itself.
    pub(crate) fn recovery_turn(
        &self,
        process: &Process<Self>,
        supervisor: &SupervisorProgram,
        recovery: &RecoveryTask,
    ) -> Option<Micros> {
        let timer = recovery.node.as_ref().and_then(Node::wake_at).map(|at| process.clock.when(at));
        let parties = recovery.watched.iter().flat_map(|(id, link)| {
            let ended = !self.kernel.processes.contains_key(&id.pid);
            let arrival = link.and_then(|id| self.kernel.links.get(&id)?.next_arrival(Side::Supervisor));
            arrival.into_iter().chain(ended.then_some(self.kernel.now))
        });
        let knows = recovery.node.as_ref().is_some_and(node::RecoveryNode::knows_of_cancel);
        let cancelled = (supervisor.cancelled && !knows).then_some(self.kernel.now);
        parties.chain(timer).chain(cancelled).min()
    }

    /// Handles all that has happened, in the node's order.
    pub(crate) fn run_recovery(&mut self, pid: u32) {
        let Some(mut node) = self.running_recovery(pid).and_then(|recovery| recovery.node.take()) else {
            return;
        };
        while self.running_recovery(pid).is_some() {
            let mut host = Host::new(self, pid);
            let (event, came) = (node.next(&mut host), host.came);
            let Some(event) = event else { break };
            self.recovery_step(pid, &mut node, event, came);
        }
        self.recovery_rests(pid, node);
    }

    pub(crate) fn running_recovery(&mut self, pid: u32) -> Option<&mut RecoveryTask> {
        let process = self.kernel.processes.get_mut(&pid).filter(|process| process.runs())?;
        process.supervisor_mut()?.recovery_mut()
    }

    /// The turns are over, for now or for good.
    fn recovery_rests(&mut self, pid: u32, node: node::RecoveryNode) {
        let recovery = self.supervisor_mut(pid).and_then(SupervisorProgram::recovery_mut);
        recovery.into_iter().for_each(|recovery| recovery.node = Some(node.clone()));
        self.supervisor_concludes(pid);
    }

    fn recovery_step(
        &mut self,
        pid: u32,
        node: &mut node::RecoveryNode,
        event: Event,
        came: Option<(u64, u64)>,
    ) {
        if let Some(recovery) = self.supervisor_mut(pid).and_then(SupervisorProgram::recovery_mut) {
            recovery.late |= event == Event::Timer(Timer::Deadline);
        }
        let name = if self.recorder.on { self.recovery_event(&event) } else { EventWords::default() };
        let begun = self.turn_begins(pid, RecoveryMachine::ROLE, name, came, node.state());
        let mut meddling = self.meddling();
        let _ = node.step(&mut Host::new(self, pid), event, &mut meddling);
        self.turn_ends(begun, node.state());
    }

    pub(super) fn recovery_is_over(&mut self, pid: u32, outcome: Outcome) {
        self.shows(pid, Doing::Finds(&outcome));
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        let TaskUnderWay::Recovery(recovery) = std::mem::replace(&mut supervisor.task, TaskUnderWay::Idle)
        else {
            return;
        };
        let links = recovery.watched.values().copied().flatten();
        links.for_each(|link| self.kernel.close_link(link, Side::Supervisor));
        self.sweep_names();
        let serves = outcome.verdict.serves();
        let finished = serves.is_some() && serves == recovery.interrupted;
        let activity = self.tell(pid, |keeper, now| {
            keeper.recovered(now, outcome.verdict, finished);
            keeper.activity()
        });
        match serves {
            Some(process) => self.adopts(pid, process),
            None if self.supervisor_mut(pid).is_some_and(|supervisor| supervisor.rival) => {
                return self.die(pid, "leaves", true);
            }
            // There is no process whose end is still to be seen.
            None if activity == Some(Activity::BackingOff) => {
                self.supervisor_mut(pid).into_iter().for_each(|supervisor| supervisor.child = None);
            }
            None => {}
        }
        self.kernel.poke(pid, self.kernel.now);
    }

    /// A rival does the same build once more: the first supervisor knows no other that it could start.
    fn adopts(&mut self, pid: u32, process: ProcessId) {
        let (now, build) = (self.kernel.now, self.daemon_mut(process.pid).map_or(1, |daemon| daemon.build));
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        if supervisor.rival {
            supervisor.configured = build;
        }
        if supervisor.child.is_none_or(|(known, _)| known != process) {
            supervisor.child = Some((process, now));
        }
    }

    fn recovery_event(&self, event: &Event) -> EventWords {
        match event {
            Event::Start => "recovers".into(),
            Event::Looked(_) => "has looked".into(),
            Event::Frame(_, message) => EventWords::message(message),
            Event::Closed(process) => format!("{} closed", self.kernel.name_of(process.pid)).into(),
            Event::Ended(_) => "a daemon has ended".into(),
            Event::Noted(_, result) => format!("journal {}", noted(result)).into(),
            Event::Timer(timer) => EventWords::timer(*timer),
            Event::Cancel => "cancelled".into(),
        }
    }
}
