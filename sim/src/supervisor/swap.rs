//! One handoff, or one cold start, of a simulated supervisor: the turns of its node.
use handoff::machine::supervisor::{Event, HandoffVerdict, Limits, Note, Outcome, Peer};
use handoff::machine::{Machine, SupervisorMachine, Timer};
use handoff::message::Message;
use handoff::node::keeper::TaskEnd;
use handoff::node::{Node, NodeOn, handoff as node};
use handoff::{HandoffId, HostError, ProcessId};

use super::{SupervisorProgram, TaskUnderWay};
use crate::host::Host;
use crate::kernel::{Micros, Side};
use crate::process::{Process, message_name, written};
use crate::run::Planted;
use crate::world::SimulatedWorld;

pub(super) const PEERS: [Peer; 2] = [Peer::Incumbent, Peer::Successor];

/// A handoff that is under way, as the kernel and the checks see it.
pub(crate) struct HandoffTask {
    /// `None` while it takes a turn.
    pub node: Option<node::HandoffNode>,
    pub handoff_id: HandoffId,
    pub build: u32,
    pub replace: bool,
    incumbent: Party,
    successor: Party,
    /// Its deadline has passed.
    pub late: bool,
    /// Whether it has passed once more since the successor was told to serve.
    pub overdue: bool,
    /// The successor was told to serve, or the incumbent to leave, or it was asked to be written that the successor serves.
    decided: bool,
    /// Whether it was called off before.
    pub called_off: bool,
    pub heard_failed: bool,
    /// What came of the last write of the journal, if one was.
    pub wrote: Option<bool>,
    /// How often something had gone wrong by then, if nothing was wrong: if it is not more, it must commit.
    pub calm: Option<u64>,
}

/// A peer, as the kernel sees it.
#[derive(Debug, Default)]
pub(crate) struct Party {
    pub link: Option<u64>,
    /// Its process is watched.
    pub process: Option<ProcessId>,
    /// The supervisor has seen its end.
    pub seen_to_end: bool,
    pub killed: bool,
    /// There is a link to it, as far as the supervisor was told.
    pub linked: bool,
    /// The supervisor has made it part of the handoff.
    pub acked: bool,
    told_to_commit: bool,
    pub told_final: bool,
}

impl Party {
    pub(super) fn is_linked(&mut self, link: u64) {
        (self.link, self.linked) = (Some(link), true);
    }
}

impl HandoffTask {
    pub(crate) fn party(&self, peer: Peer) -> &Party {
        match peer {
            Peer::Incumbent => &self.incumbent,
            Peer::Successor => &self.successor,
        }
    }

    pub(super) fn party_mut(&mut self, peer: Peer) -> &mut Party {
        match peer {
            Peer::Incumbent => &mut self.incumbent,
            Peer::Successor => &mut self.successor,
        }
    }

    pub(crate) fn successor(&self) -> Option<u32> {
        self.successor.process.map(|process| process.pid)
    }

    pub(crate) fn incumbent(&self) -> Option<u32> {
        self.incumbent.process.map(|process| process.pid)
    }

    /// The link over which it talks to a peer.
    pub(crate) fn link(&self, peer: Peer) -> Option<u64> {
        self.party(peer).link
    }

    /// Notes what it says.
    pub(super) fn says(&mut self, to: Peer, message: &Message) {
        self.decided |= matches!(message, Message::Commit { .. } | Message::Retire { .. });
        let party = self.party_mut(to);
        party.acked |= matches!(message, Message::HelloAck(_));
        party.told_to_commit |= matches!(message, Message::Commit { .. });
        party.told_final |= matches!(message, Message::Final { .. });
    }

    /// Notes what it hears, for the first time or again.
    fn hears(&mut self, from: Peer, message: &Message) {
        match message {
            Message::Heartbeat { repeats: Some(message), .. } => self.hears(from, message),
            Message::Failed { .. } => self.heard_failed |= from == Peer::Successor,
            _ => {}
        }
    }

    /// Notes what it asks to be written.
    pub(super) fn notes(&mut self, note: Note) {
        self.decided |= note == Note::Committed;
    }

    /// Notes whether it could be.
    pub(super) fn wrote(&mut self, result: &Result<(), HostError>) {
        self.wrote = Some(result.is_ok());
    }
}

impl SimulatedWorld {
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
        let calm = self.is_calm().filter(|_| replace);
        let others = self
            .processes
            .values_mut()
            .filter_map(Process::supervisor_mut)
            .filter_map(SupervisorProgram::recovery_mut);
        others.for_each(|recovery| recovery.beside = true);
        let handoff_id = self.operator.next_handoff_id();
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
        self.poke(pid, self.now);
    }

    /// When there is something to do by itself.
    pub(crate) fn handoff_turn(
        &self,
        process: &Process,
        supervisor: &SupervisorProgram,
        handoff: &HandoffTask,
    ) -> Option<Micros> {
        let timer = handoff.node.as_ref().and_then(Node::wake_at).map(|at| process.clock.when(at));
        let peers = PEERS.into_iter().flat_map(|peer| {
            let party = handoff.party(peer);
            let ended =
                party.process.is_some_and(|p| !party.seen_to_end && !self.processes.contains_key(&p.pid));
            let arrival = party.link.and_then(|id| self.links.get(&id)?.next_arrival(Side::Supervisor));
            arrival.into_iter().chain(ended.then_some(self.now))
        });
        let knows = handoff.node.as_ref().is_some_and(node::HandoffNode::knows_of_cancel);
        let cancelled = (supervisor.cancelled && !knows).then_some(self.now);
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
        let process = self.processes.get_mut(&pid).filter(|process| process.runs())?;
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
        let handoff = self.processes.get(&pid)?.supervisor()?.handoff()?;
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
            handoff.called_off |= event == Event::Cancel && !decided;
            match &event {
                Event::Frame(from, message) => handoff.hears(*from, message),
                Event::Closed(peer, _) | Event::Ended(peer, _) => handoff.party_mut(*peer).linked = false,
                _ => {}
            }
        }
        let name = if self.recorder.on { event_name(&event) } else { String::new() };
        let begun = self.turn_begins(pid, SupervisorMachine::ROLE, name, came, node.state());
        let mut meddling = self.meddling();
        let _ = node.step(&mut Host::new(self, pid), event, &mut meddling);
        self.turn_ends(begun, node.state());
    }

    /// What has come to its end is told after the turn: a supervisor can die before.
    pub(crate) fn supervisor_concludes(&mut self, pid: u32) {
        let Some(supervisor) =
            self.processes.get_mut(&pid).filter(|process| process.runs()).and_then(Process::supervisor_mut)
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
        Some(self.processes.get(&pid)?.supervisor()?.handoff()?.handoff_id)
    }

    fn handoff_is_over(&mut self, pid: u32, mut outcome: Outcome) {
        if self.planted == Planted::RollBackIsDenied && outcome.verdict == HandoffVerdict::RolledBack {
            outcome.verdict = HandoffVerdict::Committed;
        }
        self.report_is_true(pid, &outcome);
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        let TaskUnderWay::Handoff(handoff) = std::mem::replace(&mut supervisor.task, TaskUnderWay::Idle)
        else {
            return;
        };
        let rival = supervisor.rival;
        let met_nobody = matches!(outcome.verdict, HandoffVerdict::Busy | HandoffVerdict::Unreachable);
        if !met_nobody && handoff.build == supervisor.configured {
            supervisor.owed = None;
        }
        for peer in PEERS {
            if let Some(link) = handoff.party(peer).link {
                self.close_link(link, Side::Supervisor);
            }
        }
        self.sweep_names();
        if handoff.replace && !rival {
            self.operator.handoff_ended(self.now, outcome.verdict);
        }
        if rival {
            return self.die(pid, "leaves", true);
        }
        let (end, now) = (TaskEnd::from(&outcome), self.now);
        if let (true, Some(process), Some(supervisor)) =
            (end.is_committed(), handoff.successor.process, self.supervisor_mut(pid))
        {
            supervisor.child = Some((process, now));
        }
        self.tell(pid, |keeper, now| keeper.ended(now, end));
        let process = self.processes.get(&pid);
        let turn = process.and_then(|process| self.supervisor_turn(process, process.supervisor()?));
        turn.into_iter().for_each(|at| self.poke(pid, at));
    }

    /// Sockets of processes that have ended have no owner.
    pub(crate) fn sweep_names(&mut self) {
        if self.planted == Planted::SocketsStay {
            return;
        }
        let processes = &self.processes;
        self.names_beside.retain(|pid| processes.contains_key(pid));
    }
}

fn event_name(event: &Event) -> String {
    let peer = |peer: &Peer| format!("{peer:?}").to_lowercase();
    match event {
        Event::Start { replace: true, .. } => "asked to swap".into(),
        Event::Start { replace: false, .. } => "cold start".into(),
        Event::ConnectFailed(why) => format!("can't connect: {why}"),
        Event::Frame(_, message) => message_name(message),
        Event::Unfit(why) => format!("unfit: {why}"),
        Event::Closed(from, why) => format!("{} closed: {why}", peer(from)),
        Event::Ended(from, _) => format!("{} has ended", peer(from)),
        Event::Spawned(Ok(_)) => "spawned".into(),
        Event::Spawned(Err(why)) => format!("not spawned: {why}"),
        Event::Persisted(note, result) => format!("journal {note:?} {}", written(result)),
        Event::Timer(timer) => format!("timer {timer:?}"),
        Event::Cancel => "cancelled".into(),
    }
}

/// A number that no other has.
pub(crate) fn handoff_id(nth: u64) -> HandoffId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&nth.to_le_bytes());
    HandoffId(id)
}
