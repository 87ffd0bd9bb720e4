//! The loop around the supervisor's machine: one handoff, or one cold start.
use handoff::journal::Parties;
use handoff::machine::supervisor::{Config, Event, Note, Outcome, Peer, Verdict};
use handoff::machine::{Machine, Supervisor};
use handoff::message::Message;
use handoff::{HandoffId, ProcessId};

use crate::host::Host;
use crate::kernel::{Kind, Micros, Read, Side};
use crate::mutation::mutant::drive;
use crate::plan::What as Fault;
use crate::process::{Daemon, Pending, Process, Program, message_name, written};
use crate::run::Planted;
use crate::supervisor::{SupervisorProcess, Task, binary};
use crate::world::{Happening, World};

/// More messages of one peer are not read in one turn.
const FLOOD: usize = 256;
/// A process that ends closes its links first: its end is waited for, for so long, since it says more.
const END_AT_HAND: Micros = 20_000;

const PEERS: [Peer; 2] = [Peer::Incumbent, Peer::Successor];

/// A handoff that is under way.
pub(crate) struct Handoff {
    /// `None` while it takes a turn.
    pub machine: Option<Supervisor>,
    pub parties: Parties,
    build: u32,
    replace: bool,
    incumbent: Party,
    successor: Party,
    cancel_told: bool,
    /// The machine has come to its end.
    pub outcome: Option<Outcome>,
    /// Its deadline has passed.
    pub late: bool,
    /// How often something had gone wrong by then, if nothing was wrong: if it is not more, it must commit.
    pub calm: Option<u64>,
}

/// A peer, as the supervisor sees it.
#[derive(Debug, Default)]
struct Party {
    link: Option<u64>,
    /// Its process is watched.
    process: Option<ProcessId>,
    end_told: bool,
    /// Its link is closed; told as such at that time, unless its process ends before.
    closed: Option<(Micros, String)>,
}

impl Handoff {
    fn party(&self, peer: Peer) -> &Party {
        match peer {
            Peer::Incumbent => &self.incumbent,
            Peer::Successor => &self.successor,
        }
    }

    fn party_mut(&mut self, peer: Peer) -> &mut Party {
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

    /// Whose end it knows of.
    pub(crate) fn was_told(&self, pid: u32) -> bool {
        let told = |party: &Party| party.end_told && party.process.is_some_and(|process| process.pid == pid);
        told(&self.incumbent) || told(&self.successor)
    }

    /// The link over which it talks to a peer.
    pub(crate) fn link(&self, peer: Peer) -> Option<u64> {
        self.party(peer).link
    }
}

impl World {
    /// A handoff, or a cold start, begins.
    pub(crate) fn begins_handoff(&mut self, pid: u32, build: u32, replace: bool) {
        let times = self.plan.times;
        let config = Config {
            liveness: times.liveness.duration(),
            deadline: times.deadline.duration(),
            drain_grace: times.drain_grace.duration(),
            hook_limit: times.hook_limit.duration(),
            retire_limit: times.retire_limit.duration(),
        };
        let calm = self.is_calm();
        let others = self
            .processes
            .values_mut()
            .filter_map(Process::supervisor_mut)
            .filter_map(SupervisorProcess::recovery_mut);
        others.for_each(|recovery| recovery.beside = true);
        let handoff_id = self.operator.next_handoff_id();
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        let before = supervisor.knows.clone();
        let parties =
            Parties { handoff_id, incumbent: None, successor: None, successor_build: Vec::new(), before };
        supervisor.cancelled = false;
        supervisor.child = None;
        supervisor.task = Task::Handoff(Box::new(Handoff {
            machine: Some(Supervisor::new(config)),
            parties,
            build,
            replace,
            incumbent: Party::default(),
            successor: Party::default(),
            cancel_told: false,
            outcome: None,
            late: false,
            calm,
        }));
        self.handoff_step(pid, Event::Start { handoff_id, replace }, None);
        self.poke(pid, self.now);
    }

    /// When there is something to do by itself.
    pub(crate) fn handoff_turn(
        &self,
        process: &Process,
        supervisor: &SupervisorProcess,
        handoff: &Handoff,
    ) -> Option<Micros> {
        let timer = handoff.machine.as_ref().and_then(|machine| machine.timers().next());
        let timer = timer.map(|(at, _)| process.clock.when(at));
        let peers = PEERS.into_iter().flat_map(|peer| {
            let party = handoff.party(peer);
            let ended =
                party.process.is_some_and(|p| !party.end_told && !self.processes.contains_key(&p.pid));
            let arrival = party.link.and_then(|id| self.links.get(&id)?.next_arrival(Side::Supervisor));
            let closed = party.closed.as_ref().map(|(at, _)| *at);
            arrival.into_iter().chain(closed).chain(ended.then_some(self.now))
        });
        let cancelled = (supervisor.cancelled && !handoff.cancel_told).then_some(self.now);
        peers.chain(timer).chain(cancelled).min()
    }

    /// Handles all that has happened, ends before anything else, a cancel last; a timer only if nothing has.
    pub(crate) fn run_handoff(&mut self, pid: u32) {
        let mut handled = self.handoff_pending(pid);
        // The successor's first: that the incumbent has left for it is worth nothing then.
        for peer in [Peer::Successor, Peer::Incumbent] {
            if let Some(event) = self.end_of(pid, peer) {
                handled = true;
                self.handoff_step(pid, event, None);
            }
        }
        for peer in PEERS {
            for _ in 0..FLOOD {
                if let Some(event) = self.end_of(pid, peer) {
                    self.handoff_step(pid, event, None);
                } else if let Some((event, came)) = self.hears(pid, peer) {
                    self.handoff_step(pid, event, came);
                } else {
                    break;
                }
                handled = true;
            }
        }
        // After all that has come before it, like a timer.
        handled |= self.tells_cancel(pid);
        if handled {
            return;
        }
        let Some(process) = self.processes.get(&pid).filter(|process| process.runs()) else { return };
        let now = process.clock.at(self.now);
        let machine = process
            .supervisor()
            .and_then(SupervisorProcess::handoff)
            .and_then(|handoff| handoff.machine.as_ref());
        let timer = machine.and_then(|machine| machine.timers().next()).filter(|(at, _)| *at <= now);
        if let Some((_, timer)) = timer {
            if let Some(handoff) = self.running_handoff(pid) {
                handoff.late |= timer == handoff::machine::Timer::Deadline;
            }
            self.handoff_step(pid, Event::Timer(timer), None);
        }
    }

    fn tells_cancel(&mut self, pid: u32) -> bool {
        let cancelled = self.supervisor_mut(pid).is_some_and(|supervisor| supervisor.cancelled);
        let untold = |handoff: &&mut Handoff| cancelled && !handoff.cancel_told;
        let Some(handoff) = self.running_handoff(pid).filter(untold) else { return false };
        handoff.cancel_told = true;
        self.handoff_step(pid, Event::Cancel, None);
        true
    }

    fn running_handoff(&mut self, pid: u32) -> Option<&mut Handoff> {
        let process = self.processes.get_mut(&pid).filter(|process| process.runs())?;
        process.supervisor_mut()?.handoff_mut()
    }

    fn handoff_pending(&mut self, pid: u32) -> bool {
        let mut handled = false;
        while self.running_handoff(pid).is_some() {
            let Some(pending) = self.pending(pid) else { break };
            handled = true;
            if let Pending::Handoff(event) = pending {
                self.handoff_step(pid, event, None);
            }
        }
        handled
    }

    /// The end of a peer's process, told once.
    fn end_of(&mut self, pid: u32, peer: Peer) -> Option<Event> {
        let process = self.running_handoff(pid)?.party(peer).process?;
        if self.processes.contains_key(&process.pid) {
            return None;
        }
        let party = self.running_handoff(pid)?.party_mut(peer);
        if std::mem::replace(&mut party.end_told, true) {
            return None;
        }
        party.closed = None;
        if let Some(link) = party.link.take() {
            self.close_link(link, Side::Supervisor);
        }
        self.sweep_names();
        Some(Event::Ended(peer, "has ended".into()))
    }

    /// The link to a peer whose silence `timer` is about.
    pub(crate) fn link_of_timer(&self, pid: u32, timer: &str) -> Option<u64> {
        let handoff = self.processes.get(&pid)?.supervisor()?.handoff()?;
        match timer {
            "IncumbentSilent" => handoff.incumbent.link,
            "SuccessorSilent" => handoff.successor.link,
            _ => None,
        }
    }

    /// What a peer says next, or that it says nothing any more.
    fn hears(&mut self, pid: u32, peer: Peer) -> Option<(Event, Option<(u64, u64)>)> {
        let now = self.now;
        let party = self.running_handoff(pid)?.party_mut(peer);
        if let Some((_, why)) = party.closed.take_if(|(at, _)| *at <= now) {
            return Some((Event::Closed(peer, why), None));
        }
        let id = party.link?;
        match self.reads(id, Side::Supervisor)? {
            Read::Message(message, number) => match self.admit(pid, peer, id, &message) {
                Ok(()) => {
                    self.hears_over(pid, id, &message);
                    Some((Event::Frame(peer, message), Some((id, number))))
                }
                Err(why) => {
                    self.close_link(id, Side::Supervisor);
                    self.running_handoff(pid)?.party_mut(peer).link = None;
                    Some((Event::Closed(peer, why), None))
                }
            },
            Read::Closed(why) => {
                let party = self.running_handoff(pid)?.party_mut(peer);
                party.link = None;
                party.closed = Some((now + END_AT_HAND, why));
                None
            }
        }
    }

    /// Sees that `Hello` comes from the process that it names, and watches that process from here on.
    fn admit(&mut self, pid: u32, peer: Peer, link: u64, message: &Message) -> Result<(), String> {
        let Message::Hello(hello) = message else { return Ok(()) };
        let listens = self.links.get(&link).map(|link| link.pid(Side::Daemon));
        let Some(handoff) = self.running_handoff(pid) else { return Ok(()) };
        if peer == Peer::Successor {
            handoff.parties.successor_build.clone_from(&hello.build_id);
            return Ok(());
        }
        if listens != Some(hello.pid) {
            return Err(format!("it calls itself process {}, but is another", hello.pid));
        }
        match handoff.incumbent.process {
            Some(known) if known != hello.process() => {
                Err("another process than before answers at the control path".into())
            }
            _ => {
                handoff.incumbent.process = Some(hello.process());
                handoff.parties.incumbent = Some(hello.process());
                Ok(())
            }
        }
    }

    /// Lets the machine handle `event`.
    pub(crate) fn handoff_step(&mut self, pid: u32, event: Event, came: Option<(u64, u64)>) {
        let Some(mut machine) = self.running_handoff(pid).and_then(|handoff| handoff.machine.take()) else {
            return;
        };
        let name = if self.recorder.on { event_name(&event) } else { String::new() };
        let begun = self.turn_begins(pid, Supervisor::ROLE, name, came, machine.state());
        let mut meddling = self.meddling();
        let _ = drive(&mut machine, &mut Host { world: self, pid }, event, &mut meddling);
        self.turn_ends(begun, machine.state());
        let handoff = self.supervisor_mut(pid).and_then(SupervisorProcess::handoff_mut);
        if let Some(handoff) = handoff.filter(|handoff| handoff.machine.is_none()) {
            handoff.machine = Some(machine);
        }
        self.supervisor_concludes(pid);
    }

    /// Whoever asked for what has come to its end is told after the turn: a supervisor can die before.
    pub(crate) fn supervisor_concludes(&mut self, pid: u32) {
        let Some(supervisor) =
            self.processes.get_mut(&pid).filter(|process| process.runs()).and_then(Process::supervisor_mut)
        else {
            return;
        };
        if let Some(outcome) = supervisor.handoff_mut().and_then(|handoff| handoff.outcome.take()) {
            self.handoff_is_over(pid, outcome);
        } else if let Some(outcome) = supervisor.recovery_mut().and_then(|recovery| recovery.outcome.take()) {
            self.recovery_is_over(pid, outcome);
        }
    }

    pub(crate) fn supervisor_says(&mut self, pid: u32, to: Peer, message: &Message) {
        self.word_is_lawful(pid, to, message);
        if let Some(link) = self
            .supervisor_mut(pid)
            .and_then(SupervisorProcess::handoff_mut)
            .and_then(|handoff| handoff.link(to))
        {
            self.send(link, Side::Supervisor, message);
        }
    }

    pub(crate) fn supervisor_closes(&mut self, pid: u32, peer: Peer) {
        let party = self
            .supervisor_mut(pid)
            .and_then(SupervisorProcess::handoff_mut)
            .map(|handoff| handoff.party_mut(peer));
        if let Some(link) = party.and_then(|party| party.link.take()) {
            self.close_link(link, Side::Supervisor);
        }
    }

    /// Connects to whoever listens at the control path.
    pub(crate) fn supervisor_connects(&mut self, pid: u32) {
        let exhausted = self.processes.get(&pid).is_some_and(|p| p.no_descriptors_until > self.now);
        match self.who_answers_at_path().filter(|_| !exhausted) {
            Some(owner) => {
                let link = self.connect(pid, owner);
                let Some(handoff) = self.supervisor_mut(pid).and_then(SupervisorProcess::handoff_mut) else {
                    return;
                };
                handoff.incumbent.closed = None;
                if let Some(before) = handoff.incumbent.link.replace(link) {
                    self.close_link(before, Side::Supervisor);
                }
            }
            None => {
                let why = if exhausted { "too many open files" } else { "nobody listens" };
                self.put_off(pid, self.now, Pending::Handoff(Event::ConnectFailed(why.into())));
            }
        }
    }

    /// Starts a daemon.
    pub(crate) fn supervisor_spawns(&mut self, pid: u32) -> Result<ProcessId, String> {
        let fate = self.spawn_fate(pid);
        let exhausted = self.processes.get(&pid).is_some_and(|p| p.no_descriptors_until > self.now);
        let handoff =
            self.supervisor_mut(pid).and_then(SupervisorProcess::handoff_mut).ok_or("it has died")?;
        if fate.is_some_and(|(what, _)| what == Fault::Fail) {
            return Err("injected".into());
        }
        if exhausted {
            return Err("too many open files".into());
        }
        let (build, predecessor, handoff_id) =
            (handoff.build, handoff.incumbent(), handoff.parties.handoff_id);
        let daemon = Daemon::new(build, fate.map(|(what, _)| what), predecessor, self.disk.clone());
        let child = self.start_process('D', Program::Daemon(Box::new(daemon)));
        let link = self.link(pid, child, true);
        let disk = self.disk.of(child);
        if let Some(daemon) = self.daemon_mut(child) {
            daemon.links.push(link);
            daemon.disk = disk;
        }
        if self.listener.has(pid) && self.planted != Planted::ListenerIsGivenAway {
            self.listener.give(child);
        } else if self.listener.has(pid) {
            self.listener.give(child);
            self.listener.take(pid, true);
        }
        let exec = self.length(child, Kind::Exec);
        self.after(exec, Happening::Exec(child));
        if let Some((Fault::Hang, span)) = fate {
            self.after(span, Happening::GivesUp(child));
        }
        let id = self.processes[&child].id;
        if let Some(handoff) = self.supervisor_mut(pid).and_then(SupervisorProcess::handoff_mut) {
            handoff.successor.link = Some(link);
            handoff.successor.process = Some(id);
            handoff.parties.successor = Some((id, binary(build, handoff_id)));
        }
        Ok(id)
    }

    pub(crate) fn supervisor_kills(&mut self, pid: u32, peer: Peer) {
        let handoff = self.supervisor_mut(pid).and_then(|supervisor| supervisor.handoff_mut());
        let Some(target) = handoff.and_then(|handoff| handoff.party(peer).process) else { return };
        self.kill_is_lawful(pid, peer);
        self.die(target.pid, "is killed by the supervisor", false);
    }

    /// The handoff that a supervisor is at.
    pub(crate) fn handoff_of(&self, pid: u32) -> Option<HandoffId> {
        Some(self.processes.get(&pid)?.supervisor()?.handoff()?.parties.handoff_id)
    }

    /// Writes a note into the journal. `None` if it dies over it.
    pub(crate) fn supervisor_notes(&mut self, pid: u32, note: Note) -> Option<Result<(), String>> {
        let supervisor = self.supervisor_mut(pid)?;
        let journal = supervisor.knows.noted(note, &supervisor.handoff()?.parties);
        self.writes_journal(pid, journal)
    }

    pub(crate) fn handoff_is_over(&mut self, pid: u32, mut outcome: Outcome) {
        if self.planted == Planted::RollBackIsDenied && outcome.verdict == Verdict::RolledBack {
            outcome.verdict = Verdict::Committed;
        }
        self.report_is_true(pid, &outcome);
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        let Task::Handoff(handoff) = std::mem::replace(&mut supervisor.task, Task::Idle) else { return };
        let rival = supervisor.rival;
        for peer in PEERS {
            if let Some(link) = handoff.party(peer).link {
                self.close_link(link, Side::Supervisor);
            }
        }
        self.sweep_names();
        if handoff.replace && !rival {
            self.operator.handoff_ended(self.now, outcome.verdict);
        }
        let serves = match outcome.verdict {
            Verdict::Committed => handoff.successor.process,
            _ => handoff.incumbent.process,
        };
        self.goes_on_after(pid, &outcome, serves, handoff.replace);
    }

    /// Sockets of processes that have ended are nobody's.
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
        Event::Closed(from, why) => format!("{} closed: {why}", peer(from)),
        Event::Ended(from, _) => format!("{} has ended", peer(from)),
        Event::Spawned(Ok(_)) => "spawned".into(),
        Event::Spawned(Err(why)) => format!("not spawned: {why}"),
        Event::Persisted(note, result) => format!("journal {note:?} {}", written(result)),
        Event::Timer(timer) => format!("timer {timer:?}"),
        Event::Cancel => "cancelled".into(),
    }
}

/// A number nobody else has.
pub(crate) fn handoff_id(nth: u64) -> HandoffId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&nth.to_le_bytes());
    HandoffId(id)
}
