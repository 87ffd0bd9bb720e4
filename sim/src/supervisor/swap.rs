//! One handoff, or one cold start, of a simulated supervisor: the turns of its node.
use handoff::HandoffId;
use handoff::machine::supervisor::{Event, HandoffVerdict, Limits, Outcome, Peer};
use handoff::machine::{Machine, SupervisorMachine, Timer};
use handoff::node::keeper::TaskEnd;
use handoff::node::{Node, NodeOn, handoff as node};

use crate::host::Host;
use crate::kernel::{Micros, Side};
use crate::plan::Planted;
use crate::program::{HandoffTask, Party, Process, SupervisorProgram, TaskUnderWay};
use crate::trace::words::{EventWords, written};
use crate::world::{Doing, SimulatedWorld, Surroundings};

pub(super) const PEERS: [Peer; 2] = [Peer::Incumbent, Peer::Successor];

impl<S: Surroundings> SimulatedWorld<S> {
    /// A handoff, or a cold start, begins.
    pub(crate) fn begins_handoff(&mut self, pid: u32, build: u32, replace: bool) {
        let times = self.plan.times;
        let config = Limits {
            liveness: times.liveness.duration(),
            deadline: times.deadline.duration(),
            drain_grace: times.drain_grace.duration(),
            hook_limit: times.hook_limit.duration(),
            retire_limit: times.retire_limit.duration(),
        };
        // A cold start beside a daemon that serves, because no supervisor could find it, ends as it must.
        let calm = S::is_calm(self).filter(|_| replace);
        let others = self
            .kernel
            .processes
            .values_mut()
            .filter_map(Process::supervisor_mut)
            .filter_map(SupervisorProgram::recovery_mut);
        others.for_each(|recovery| recovery.beside = true);
        self.orders.begun += 1;
        let handoff_id = handoff_id(self.orders.begun);
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        let mut node = node::HandoffNode::new(config, handoff_id, replace, supervisor.knows.clone());
        supervisor.cancelled = false;
        supervisor.task = TaskUnderWay::Handoff(Box::new(HandoffTask {
            node: None,
            handoff_id,
            build,
            replace,
            incumbent: Party::default(),
            successor: Party::default(),
            late: false,
            overdue: false,
            decided: false,
            called_off: false,
            heard_failed: false,
            wrote: None,
            calm,
        }));
        let start = node.start();
        self.handoff_step(pid, &mut node, start, None);
        self.handoff_rests(pid, node);
        self.kernel.poke(pid, self.kernel.now);
    }

    /// Returns the time at which there is something to do by itself.
    pub(crate) fn handoff_turn(
        &self,
        process: &Process<Self>,
        supervisor: &SupervisorProgram,
        handoff: &HandoffTask,
    ) -> Option<Micros> {
        let timer = handoff.node.as_ref().and_then(Node::wake_at).map(|at| process.clock.when(at));
        let peers = PEERS.into_iter().flat_map(|peer| {
            let party = handoff.party(peer);
            let ended = party
                .process
                .is_some_and(|p| !party.seen_to_end && !self.kernel.processes.contains_key(&p.pid));
            let arrival =
                party.link.and_then(|id| self.kernel.links.get(&id)?.next_arrival(Side::Supervisor));
            arrival.into_iter().chain(ended.then_some(self.kernel.now))
        });
        let knows = handoff.node.as_ref().is_some_and(node::HandoffNode::knows_of_cancel);
        let cancelled = (supervisor.cancelled && !knows).then_some(self.kernel.now);
        peers.chain(timer).chain(cancelled).min()
    }

    /// Handles all that has happened, in the node's order.
    pub(crate) fn run_handoff(&mut self, pid: u32) {
        let Some(mut node) = self.running_handoff(pid).and_then(|handoff| handoff.node.take()) else {
            return;
        };
        while self.running_handoff(pid).is_some() {
            let mut host = Host::new(self, pid);
            let (event, came) = (node.next(&mut host), host.came);
            let Some(event) = event else { break };
            self.handoff_step(pid, &mut node, event, came);
        }
        self.handoff_rests(pid, node);
    }

    pub(crate) fn running_handoff(&mut self, pid: u32) -> Option<&mut HandoffTask> {
        let process = self.kernel.processes.get_mut(&pid).filter(|process| process.runs())?;
        process.supervisor_mut()?.handoff_mut()
    }

    /// The turns are over, for now or for good.
    fn handoff_rests(&mut self, pid: u32, node: node::HandoffNode) {
        let handoff = self.supervisor_mut(pid).and_then(SupervisorProgram::handoff_mut);
        handoff.into_iter().for_each(|handoff| handoff.node = Some(node.clone()));
        self.supervisor_concludes(pid);
    }

    /// The link to a peer whose silence `timer` is about.
    pub(crate) fn link_of_timer(&self, pid: u32, timer: Timer) -> Option<u64> {
        let handoff = self.kernel.processes.get(&pid)?.supervisor()?.handoff()?;
        match timer {
            Timer::IncumbentSilent => handoff.incumbent.link,
            Timer::SuccessorSilent => handoff.successor.link,
            _ => None,
        }
    }

    /// Lets the machine handle `event`.
    fn handoff_step(
        &mut self,
        pid: u32,
        node: &mut node::HandoffNode,
        event: Event,
        came: Option<(u64, u64)>,
    ) {
        if let Some(handoff) = self.running_handoff(pid) {
            let is_deadline = event == Event::Timer(Timer::Deadline);
            handoff.overdue |= is_deadline && handoff.successor.told_to_commit;
            handoff.late |= is_deadline;
            let decided = handoff.decided || handoff.incumbent.seen_to_end;
            handoff.called_off |= matches!(event, Event::Cancel(_)) && !decided;
            match &event {
                Event::Frame(from, message) => handoff.hears(*from, message),
                Event::Closed(peer, _) | Event::Ended(peer, _) => handoff.party_mut(*peer).linked = false,
                _ => {}
            }
        }
        let name = if self.recorder.on { handoff_event(&event) } else { EventWords::default() };
        let begun = self.turn_begins(pid, SupervisorMachine::ROLE, name, came, node.state());
        let mut meddling = self.meddling();
        let _ = node.step(&mut Host::new(self, pid), event, &mut meddling);
        self.turn_ends(begun, node.state());
    }

    /// Tells what has come to its end, after the turn: a supervisor can die before.
    pub(crate) fn supervisor_concludes(&mut self, pid: u32) {
        let Some(supervisor) = self
            .kernel
            .processes
            .get_mut(&pid)
            .filter(|process| process.runs())
            .and_then(Process::supervisor_mut)
        else {
            return;
        };
        match &supervisor.task {
            TaskUnderWay::Idle => {}
            TaskUnderWay::Handoff(handoff) => {
                let outcome = handoff.node.as_ref().and_then(|node| node.outcome().cloned());
                outcome.into_iter().for_each(|outcome| self.handoff_is_over(pid, outcome));
            }
            TaskUnderWay::Recovery(recovery) => {
                let outcome = recovery.node.as_ref().and_then(|node| node.outcome().cloned());
                outcome.into_iter().for_each(|outcome| self.recovery_is_over(pid, outcome));
            }
        }
    }

    /// The handoff that a supervisor is at.
    pub(crate) fn handoff_of(&self, pid: u32) -> Option<HandoffId> {
        Some(self.kernel.processes.get(&pid)?.supervisor()?.handoff()?.handoff_id)
    }

    fn handoff_is_over(&mut self, pid: u32, mut outcome: Outcome) {
        if self.planted == Planted::RollBackIsDenied && outcome.verdict == HandoffVerdict::RolledBack {
            outcome.verdict = HandoffVerdict::Committed;
        }
        self.shows(pid, Doing::Reports(&outcome));
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        let TaskUnderWay::Handoff(handoff) = std::mem::replace(&mut supervisor.task, TaskUnderWay::Idle)
        else {
            return;
        };
        let rival = supervisor.rival;
        let end = TaskEnd::from(&outcome);
        if !end.met_nobody() && handoff.build == supervisor.configured {
            supervisor.untried = None;
        }
        for peer in PEERS {
            if let Some(link) = handoff.party(peer).link {
                self.kernel.close_link(link, Side::Supervisor);
            }
        }
        self.sweep_names();
        if handoff.replace && !rival {
            self.shows(pid, Doing::IsOver(outcome.verdict));
        }
        if rival {
            return self.die(pid, "leaves", true);
        }
        let now = self.kernel.now;
        if let (true, Some(process), Some(supervisor)) =
            (end.is_committed(), handoff.successor.process, self.supervisor_mut(pid))
        {
            supervisor.child = Some((process, now));
        }
        self.tell(pid, |keeper, now| keeper.ended(now, end));
        let process = self.kernel.processes.get(&pid);
        let turn = process.and_then(|process| self.supervisor_turn(process, process.supervisor()?));
        turn.into_iter().for_each(|at| self.kernel.poke(pid, at));
    }
}

fn handoff_event(event: &Event) -> EventWords {
    let peer = |peer: &Peer| format!("{peer:?}").to_lowercase();
    match event {
        Event::Start { replace: true, .. } => "asked to swap".into(),
        Event::Start { replace: false, .. } => "cold start".into(),
        Event::ConnectFailed(why) => EventWords::from(format!("can't connect: {why}")).again(),
        Event::Frame(_, message) => EventWords::message(message),
        Event::Unfit(why) => format!("unfit: {why}").into(),
        Event::Closed(from, why) => format!("{} closed: {why}", peer(from)).into(),
        Event::Ended(from, _) => format!("{} has ended", peer(from)).into(),
        Event::Spawned(Ok(_)) => "spawned".into(),
        Event::Spawned(Err(why)) => format!("not spawned: {why}").into(),
        Event::Persisted(note, result) => format!("journal {note:?} {}", written(result)).into(),
        Event::Timer(timer) => EventWords::timer(*timer),
        Event::Cancel(why) => why.to_string().into(),
    }
}

/// A number that no other has.
fn handoff_id(nth: u64) -> HandoffId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&nth.to_le_bytes());
    HandoffId(id)
}
