//! The loop around the recovery's machine: a supervisor that recovers.
use std::collections::{BTreeMap, BTreeSet};

use handoff::ProcessId;
use handoff::machine::recovery::{Config, Event, Outcome, Sight, Sighting, Verdict};
use handoff::machine::{Machine, Recovery};
use handoff::message::{Hello, Message};

use crate::host::Host;
use crate::kernel::{Link, Micros, Read, Side};
use crate::mutation::mutant::drive;
use crate::process::{Pending, Process, message_name, noted};
use crate::supervisor::{SupervisorProcess, Task};
use crate::world::World;

/// A recovery that is under way.
pub(crate) struct RecoveryTask {
    /// `None` while it takes a turn.
    pub machine: Option<Recovery>,
    pub parties: BTreeMap<ProcessId, Party>,
    /// Whom the journal, the kernel or the control path has named: those that it may end.
    pub named: BTreeSet<u32>,
    /// Who was found at the control path last.
    owner: Option<u32>,
    /// The machine has come to its end.
    pub outcome: Option<Outcome>,
    /// Another supervisor had a handoff under way meanwhile, or has died and not everything that it said was read: what daemons
    /// said may be over by the time it is reported.
    pub beside: bool,
}

/// A process that may be a daemon.
#[derive(Debug, Default)]
pub(crate) struct Party {
    pub link: Option<u64>,
    hello: Option<Hello>,
    end_told: bool,
}

impl World {
    pub(crate) fn begins_recovery(&mut self, pid: u32) {
        let times = self.plan.times;
        let config = Config {
            liveness: times.liveness.duration(),
            unreachable_limit: times.unreachable_limit.duration(),
            retire_limit: times.retire_limit.duration(),
            deadline: times.deadline.duration(),
            take_listeners: !self.listener.has(pid),
        };
        let recovery = RecoveryTask {
            machine: Some(Recovery::new(config)),
            parties: BTreeMap::new(),
            named: BTreeSet::new(),
            owner: None,
            outcome: None,
            beside: self
                .supervisors()
                .any(|(other, supervisor)| other != pid && supervisor.handoff().is_some())
                || self.links.values().any(Link::has_last_words),
        };
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        supervisor.task = Task::Recovery(Box::new(recovery));
        supervisor.cancelled = false;
        self.recovery_step(pid, Event::Start, None);
        self.poke(pid, self.now);
    }

    /// When there is something to do by itself.
    pub(crate) fn recovery_turn(
        &self,
        process: &Process,
        supervisor: &SupervisorProcess,
        recovery: &RecoveryTask,
    ) -> Option<Micros> {
        let timer = recovery.machine.as_ref().and_then(|machine| machine.timers().next());
        let timer = timer.map(|(at, _)| process.clock.when(at));
        let parties = recovery.parties.iter().flat_map(|(id, party)| {
            let ended = !party.end_told && !self.processes.contains_key(&id.pid);
            let arrival = party.link.and_then(|id| self.links.get(&id)?.next_arrival(Side::Supervisor));
            arrival.into_iter().chain(ended.then_some(self.now))
        });
        let cancelled = supervisor.cancelled.then_some(self.now);
        parties.chain(timer).chain(cancelled).min()
    }

    /// Handles all that has happened, a cancel and ends before anything else; a timer only if nothing has.
    pub(crate) fn run_recovery(&mut self, pid: u32) {
        let mut handled = false;
        while self.running_recovery(pid).is_some() {
            let Some(pending) = self.pending(pid) else { break };
            handled = true;
            if let Pending::Recovery(event) = pending {
                self.recovery_step(pid, event, None);
            }
        }
        if self.running_recovery(pid).is_some() && self.takes_cancel(pid) {
            handled = true;
            self.recovery_step(pid, Event::Cancel, None);
        }
        while let Some((event, came)) = self.recovery_event(pid) {
            handled = true;
            self.recovery_step(pid, event, came);
        }
        if handled {
            return;
        }
        let Some(process) = self.processes.get(&pid).filter(|process| process.runs()) else { return };
        let now = process.clock.at(self.now);
        let Some(Task::Recovery(recovery)) = process.supervisor().map(|supervisor| &supervisor.task) else {
            return;
        };
        let timer = recovery.machine.as_ref().and_then(|machine| machine.timers().next());
        if let Some((_, timer)) = timer.filter(|(at, _)| *at <= now) {
            self.recovery_step(pid, Event::Timer(timer), None);
        }
    }

    /// Whether it was called off; it is told so once.
    fn takes_cancel(&mut self, pid: u32) -> bool {
        self.supervisor_mut(pid).is_some_and(|supervisor| std::mem::take(&mut supervisor.cancelled))
    }

    fn running_recovery(&mut self, pid: u32) -> Option<&mut RecoveryTask> {
        let process = self.processes.get_mut(&pid).filter(|process| process.runs())?;
        process.supervisor_mut()?.recovery_mut()
    }

    fn recovery_event(&mut self, pid: u32) -> Option<(Event, Option<(u64, u64)>)> {
        let known: Vec<ProcessId> = self.running_recovery(pid)?.parties.keys().copied().collect();
        for process in &known {
            if !self.processes.contains_key(&process.pid) {
                let party = self.running_recovery(pid)?.parties.get_mut(process)?;
                if !std::mem::replace(&mut party.end_told, true) {
                    let link = party.link.take();
                    link.into_iter().for_each(|link| self.close_link(link, Side::Supervisor));
                    self.sweep_names();
                    return Some((Event::Ended(*process), None));
                }
            }
        }
        known.into_iter().find_map(|process| self.recovery_hears(pid, process))
    }

    fn recovery_hears(&mut self, pid: u32, process: ProcessId) -> Option<(Event, Option<(u64, u64)>)> {
        let link = self.running_recovery(pid)?.parties.get(&process)?.link?;
        let carries = self.links.get(&link).is_some_and(|link| link.carries_listener);
        let read = self.reads(link, Side::Supervisor)?;
        let party = self.running_recovery(pid)?.parties.get_mut(&process)?;
        let admitted = match read {
            Read::Message(Message::Hello(hello), _) if hello.process() != process => None,
            Read::Message(Message::Hello(hello), number) => {
                party.hello = Some(hello.clone());
                Some((Message::Hello(hello), number))
            }
            Read::Message(..) if party.hello.is_none() => None,
            Read::Message(Message::Refused { .. }, _) | Read::Closed(_) => None,
            Read::Message(message, number) => Some((message, number)),
        };
        match admitted {
            Some((message, number)) => {
                if matches!(message, Message::Listeners { .. }) && carries {
                    self.receives_listener(pid);
                }
                Some((Event::Frame(process, message), Some((link, number))))
            }
            None => {
                party.link = None;
                self.close_link(link, Side::Supervisor);
                Some((Event::Closed(process), None))
            }
        }
    }

    fn recovery_step(&mut self, pid: u32, event: Event, came: Option<(u64, u64)>) {
        let Some(mut machine) = self.running_recovery(pid).and_then(|recovery| recovery.machine.take())
        else {
            return;
        };
        let name = if self.recorder.on { self.recovery_event_name(&event) } else { String::new() };
        let begun = self.turn_begins(pid, Recovery::ROLE, name, came, machine.state());
        let mut meddling = self.meddling();
        let _ = drive(&mut machine, &mut Host { world: self, pid }, event, &mut meddling);
        self.turn_ends(begun, machine.state());
        let recovery = self.supervisor_mut(pid).and_then(SupervisorProcess::recovery_mut);
        if let Some(recovery) = recovery.filter(|recovery| recovery.machine.is_none()) {
            recovery.machine = Some(machine);
        }
        self.supervisor_concludes(pid);
    }

    /// Who may be a daemon here, and has not ended.
    pub(crate) fn supervisor_looks(&mut self, pid: u32, also: Option<ProcessId>) -> Vec<Sighting> {
        let Some(supervisor) = self.processes.get(&pid).and_then(Process::supervisor) else {
            return Vec::new();
        };
        let journal = &supervisor.knows;
        let under_way = journal.under_way.as_ref();
        let successor = under_way.map(|under_way| under_way.successor);
        let running = journal.running.as_ref().map(|running| running.process);
        let holder = self.record().map(|record| record.holder);
        let holder = holder.filter(|holder| self.disk.lock().holders.contains(&holder.pid));
        let owner = self.control_path.and_then(|owner| self.processes.get(&owner)).map(|process| process.id);
        let named = [under_way.and_then(|under_way| under_way.incumbent), running, owner, holder];
        let seen =
            self.processes.values().filter(|process| process.daemon().is_some()).filter_map(|process| {
                let sight = match Some(process.id) {
                    id if id == successor => Sight::Successor,
                    id if named.contains(&id) => Sight::Incumbent,
                    id if self.names_beside.contains(&process.id.pid) || id == also => Sight::Beside,
                    _ => return None,
                };
                Some(Sighting { process: process.id, sight })
            });
        let seen: Vec<Sighting> = seen.collect();
        self.finds_owner(pid, owner);
        if let Some(recovery) = self.supervisor_mut(pid).and_then(SupervisorProcess::recovery_mut) {
            for sighting in &seen {
                recovery.parties.entry(sighting.process).or_default();
                if sighting.sight != Sight::Beside {
                    recovery.named.insert(sighting.process.pid);
                }
            }
        }
        seen
    }

    /// Who listens at the control path shows only to one that connects to it, once for each that does.
    fn finds_owner(&mut self, pid: u32, owner: Option<ProcessId>) {
        let listens = |world: &World, pid| {
            world.processes.get(&pid).is_some_and(|p| p.listens() && p.daemon().is_some_and(|d| d.begun))
        };
        let Some(owner) = owner.map(|owner| owner.pid).filter(|owner| listens(self, *owner)) else { return };
        let Some(recovery) = self.supervisor_mut(pid).and_then(SupervisorProcess::recovery_mut) else {
            return;
        };
        if recovery.owner.replace(owner) != Some(owner) {
            let link = self.connect(pid, owner);
            self.close_link(link, Side::Supervisor);
        }
    }

    /// Connects to a process's own control socket.
    pub(crate) fn supervisor_asks(&mut self, pid: u32, to: ProcessId) {
        let exhausted = self.processes.get(&pid).is_some_and(|p| p.no_descriptors_until > self.now);
        let link = (self.answers(to.pid) && !exhausted).then(|| self.connect(pid, to.pid));
        if let Some(party) = self
            .supervisor_mut(pid)
            .and_then(SupervisorProcess::recovery_mut)
            .and_then(|s| s.parties.get_mut(&to))
        {
            party.link = link;
            party.hello = None;
        }
        if link.is_none() {
            self.put_off(pid, self.now, Pending::Recovery(Event::Closed(to)));
        }
    }

    pub(crate) fn recovery_kills(&mut self, pid: u32, process: ProcessId) {
        self.recovery_kill_is_lawful(pid, process.pid);
        self.die(process.pid, "is killed by the supervisor", false);
    }

    pub(crate) fn recovery_notes(&mut self, pid: u32, verdict: Verdict) -> Option<Result<(), String>> {
        let supervisor = self.supervisor_mut(pid)?;
        let knows = supervisor.knows.clone();
        let hello = match verdict {
            Verdict::Serves(process) => {
                supervisor.recovery_mut()?.parties.get(&process).and_then(|p| p.hello.as_ref())
            }
            _ => None,
        };
        let build = hello.map(|hello| hello.build_id.clone()).unwrap_or_default();
        let journal = knows.recovered(verdict, build);
        let allowed = journal.allows_final();
        Some(self.writes_journal(pid, journal)?.and(allowed))
    }

    pub(crate) fn recovery_is_over(&mut self, pid: u32, outcome: Outcome) {
        self.finding_is_true(pid, &outcome);
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        let Task::Recovery(recovery) = std::mem::replace(&mut supervisor.task, Task::Idle) else { return };
        let links = recovery.parties.values().filter_map(|party| party.link);
        links.for_each(|link| self.close_link(link, Side::Supervisor));
        self.sweep_names();
        self.goes_on_with(pid, outcome.verdict);
        self.poke(pid, self.now);
    }

    fn recovery_event_name(&self, event: &Event) -> String {
        match event {
            Event::Start => "recovers".into(),
            Event::Looked(_) => "has looked".into(),
            Event::Frame(_, message) => message_name(message),
            Event::Closed(process) => format!("{} closed", self.name_of(process.pid)),
            Event::Ended(_) => "a daemon has ended".into(),
            Event::Noted(_, result) => format!("journal {}", noted(result)),
            Event::Timer(timer) => format!("timer {timer:?}"),
            Event::Cancel => "cancelled".into(),
        }
    }
}
