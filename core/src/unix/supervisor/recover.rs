//! The real host of a recovery: one `poll(2)` loop, on the caller's thread.
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

use super::discovery::{self, Names};
use super::recovery::{RecoveryOutcome, RecoverySpec};
use super::{Child, Supervisor, Workshop, journal};
use crate::drive::turn;
use crate::error::{Error, Result};
use crate::host::{Clock, Crashed, Discovery, Gap, Gaps, RecoveryHost, Transport};
use crate::id::ProcessId;
use crate::journal::Journal;
use crate::machine::recovery::{self as machine, Event, Outcome, Sighting, Verdict};
use crate::machine::{Cell, Machine, Recovery};
use crate::message::{Hello, Message};
use crate::time::{Duration, Time};
use crate::unix::context::Context;
use crate::unix::control::{self, Connect, Owner};
use crate::unix::gaps;
use crate::unix::link::{FLOOD, Link, Read1};
use crate::unix::listeners::Listeners;
use crate::unix::pid::{Watch, kill_leftovers};
use crate::unix::poller::{self, MonotonicClock};

/// How often a process is looked at where there is no pidfd.
const SHORTLY: Duration = Duration::from_millis(10);

/// No daemon is taken more listeners from: it must not exhaust this process's descriptors.
const MOST_LISTENERS: usize = 512;

/// Finds out who serves, and sees to the others.
pub(super) fn run(
    supervisor: &Supervisor,
    workshop: &mut Workshop,
    spec: &RecoverySpec,
) -> Result<RecoveryOutcome> {
    let before = workshop.knows.clone();
    let config = machine::Config {
        liveness: spec.liveness,
        unreachable_limit: spec.unreachable_limit,
        retire_limit: spec.retire_limit,
        deadline: spec.deadline,
        take_listeners: workshop.listeners.is_empty(),
    };
    let mut host = Host {
        clock: MonotonicClock::new(),
        supervisor,
        workshop,
        parties: BTreeMap::new(),
        pending: VecDeque::from([Event::Start]),
        cancel_told: false,
        owner: Owner::default(),
        listeners: None,
        outcome: None,
    };
    let mut machine = Recovery::new(config);
    host.settle(&mut machine);
    while host.outcome.is_none() {
        host.wait_and_handle(&mut machine)?;
    }
    host.conclude(before)
}

/// A process that may be a daemon.
struct Party {
    watch: Watch,
    end_told: bool,
    link: Option<Link>,
    /// Who it said that it is, once it has said so.
    hello: Option<Hello>,
    /// The listeners that came so far.
    listeners: Vec<Listeners>,
}

struct Host<'a> {
    clock: MonotonicClock,
    supervisor: &'a Supervisor,
    workshop: &'a mut Workshop,
    parties: BTreeMap<ProcessId, Party>,
    /// What happened while an effect was performed.
    pending: VecDeque<Event>,
    cancel_told: bool,
    owner: Owner,
    /// The first complete set that anybody gave.
    listeners: Option<Listeners>,
    outcome: Option<Outcome>,
}

impl Host<'_> {
    /// Hands the machine what has happened and was not handed to it yet, unless it is done.
    fn settle(&mut self, machine: &mut Recovery) {
        while let Some(event) = self.pending.pop_front().filter(|_| !machine.is_done()) {
            tracing::trace!(target: "handoff.event", state = machine.state(), ?event);
            let ControlFlow::Continue(()) = turn(machine, self, event) else { return };
        }
    }

    /// Waits for what comes next. Timers are looked at only when there was nothing else.
    fn wait_and_handle(&mut self, machine: &mut Recovery) -> Result<()> {
        let until_timer = machine.timers().next().map(|(at, _)| at.since(self.now()));
        let pollable = |party: &Party| party.end_told || party.watch.pollable().is_some();
        let shortly = (!self.parties.values().all(pollable)).then_some(SHORTLY);
        let timeout = [until_timer, shortly].into_iter().flatten().min();
        poller::wait(&self.pollables(), timeout).context(|| "can't wait for the daemons".into())?;
        self.workshop.wake.drain();
        if self.handle_ready(machine) {
            return Ok(());
        }
        if let Some((_, timer)) = machine.timers().next().filter(|(at, _)| *at <= self.now()) {
            self.pending.push_back(Event::Timer(timer));
            self.settle(machine);
        }
        Ok(())
    }

    fn pollables(&self) -> Vec<(BorrowedFd<'_>, bool)> {
        let mut fds = vec![(self.workshop.wake.as_fd(), false)];
        for party in self.parties.values() {
            fds.extend(party.watch.pollable().filter(|_| !party.end_told).map(|fd| (fd, false)));
            fds.extend(party.link.as_ref().map(|link| (link.as_fd(), link.wants_write())));
        }
        fds
    }

    /// Handles all that has happened, ends before anything else; `false` if nothing has, or if there is no end to it.
    fn handle_ready(&mut self, machine: &mut Recovery) -> bool {
        let mut handled = 0;
        if self.supervisor.cancel.is_cancelled() && !std::mem::replace(&mut self.cancel_told, true) {
            self.pending.push_back(Event::Cancel);
        }
        while self.outcome.is_none() && handled < FLOOD {
            let all = self.parties.keys().copied().collect::<Vec<_>>();
            let next = all.iter().find_map(|process| self.end_of(*process));
            let next = next.or_else(|| all.iter().find_map(|process| self.read(*process)));
            self.pending.extend(next);
            if self.pending.is_empty() {
                break;
            }
            handled += 1;
            self.settle(machine);
        }
        (1..FLOOD).contains(&handled)
    }

    /// The end of a process, told once.
    fn end_of(&mut self, process: ProcessId) -> Option<Event> {
        let party = self.parties.get_mut(&process).filter(|party| !party.end_told)?;
        let how = party.watch.ended().ok().flatten()?;
        tracing::info!(target: "handoff.recovery", pid = process.pid, %how, "a daemon has ended");
        party.end_told = true;
        party.link = None;
        // Its control sockets are nobody's now.
        if let Err(error) = control::remove_stale(&self.supervisor.control, process.pid) {
            tracing::debug!(target: "handoff", pid = process.pid, %error, "its socket is still there");
        }
        Some(Event::Ended(process))
    }

    fn read(&mut self, process: ProcessId) -> Option<Event> {
        let party = self.parties.get_mut(&process)?;
        let link = party.link.as_mut()?;
        link.flush();
        let admitted = match link.read() {
            Read1::Nothing => return None,
            Read1::Message(message) => admit(process, party, message),
            Read1::Closed(why) => Err(why),
        };
        match admitted {
            Ok(message) => {
                if matches!(message, Message::Listeners { more: false, .. }) {
                    let all = party.listeners.drain(..).flat_map(Listeners::into_entries).collect();
                    let all = Listeners::from_entries(all).ok();
                    // Whoever has none says so: another may have them.
                    self.listeners = self.listeners.take().filter(|held| !held.is_empty()).or(all);
                }
                Some(Event::Frame(process, message))
            }
            Err(why) => {
                tracing::debug!(target: "handoff.recovery", pid = process.pid, why, "the link is closed");
                party.link = None;
                party.listeners.clear();
                Some(Event::Closed(process))
            }
        }
    }

    /// What the caller gets.
    fn conclude(mut self, before: Journal) -> Result<RecoveryOutcome> {
        let Some(outcome) = self.outcome.take() else {
            return Err(Error::Peer("the recovery has no end".into()));
        };
        control::sweep(&self.supervisor.control);
        if outcome.verdict == Verdict::NobodyServes {
            self.end_leftovers(&before);
        }
        if let Some(listeners) = self.listeners.take().filter(|_| self.workshop.listeners.is_empty()) {
            self.workshop.listeners = listeners;
        }
        let (daemon, build_id) = match outcome.verdict {
            Verdict::Serves(process) => match self.parties.remove(&process) {
                Some(party) => {
                    let build = party.hello.map(|hello| hello.build_id).unwrap_or_default();
                    (Some(Child::from_watch(party.watch)), build)
                }
                None => (None, Vec::new()),
            },
            _ => (None, Vec::new()),
        };
        let took = self.now().since(Time::ZERO);
        RecoveryOutcome::new(outcome, daemon, build_id, before.under_way, took)
    }

    /// Ends what daemons that have ended left in their process groups: it may hold a copy of the lock's descriptor,
    /// and nobody could serve then.
    fn end_leftovers(&self, before: &Journal) {
        for process in discovery::names(self.supervisor, before, None, None).all() {
            match kill_leftovers(process) {
                Ok(true) => {
                    tracing::warn!(target: "handoff.recovery", pid = process.pid, "killed what it left behind")
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(target: "handoff.recovery", pid = process.pid, %error, "can't kill what it left behind")
                }
            }
        }
    }

    fn names(&mut self, also: Option<ProcessId>) -> Names {
        let owner = self.owner.of(&self.supervisor.control);
        discovery::names(self.supervisor, &self.workshop.knows, owner, also)
    }

    /// Watches `process`, unless it has ended.
    fn watch(&mut self, process: ProcessId) -> bool {
        if let Some(party) = self.parties.get_mut(&process) {
            return !party.end_told;
        }
        let known = self.workshop.children.iter().position(|child| child.id() == process);
        let watch = match known {
            Some(at) => Ok(self.workshop.children.swap_remove(at)),
            None => Watch::other(process),
        };
        let Ok(mut watch) = watch else { return false };
        if !matches!(watch.ended(), Ok(None)) {
            return false;
        }
        let party = Party { watch, end_told: false, link: None, hello: None, listeners: Vec::new() };
        self.parties.insert(process, party);
        true
    }
}

/// Sees that what comes is from the process that it is taken for.
fn admit(process: ProcessId, party: &mut Party, message: Message) -> std::result::Result<Message, String> {
    let link = party.link.as_mut().ok_or("the link is gone")?;
    match &message {
        Message::Hello(hello) if hello.process() != process => {
            return Err(format!("{} answers for {process}", hello.pid));
        }
        Message::Hello(hello) => party.hello = Some(hello.clone()),
        _ if party.hello.is_none() => return Err(format!("{} before Hello", message.name())),
        Message::Listeners { names, .. } => {
            let fds = link.take_descriptors();
            let so_far: usize = party.listeners.iter().map(|listeners| listeners.entries().count()).sum();
            if so_far + names.len() > MOST_LISTENERS {
                return Err(format!("more than {MOST_LISTENERS} listeners"));
            }
            party.listeners.push(Listeners::received(names, fds).map_err(|error| error.to_string())?);
        }
        Message::Refused { error } => return Err(error.clone()),
        _ => {}
    }
    Ok(message)
}

impl Drop for Host<'_> {
    /// Keeps what is not reaped for the next time.
    fn drop(&mut self) {
        let parties = std::mem::take(&mut self.parties).into_values();
        self.workshop.children.extend(parties.filter(|party| !party.end_told).map(|party| party.watch));
    }
}

impl Clock for Host<'_> {
    fn now(&self) -> Time {
        self.clock.now()
    }
}

impl Gaps for Host<'_> {
    fn handles(&mut self, cell: Cell) {
        gaps::handles(cell);
    }

    fn gap(&mut self, gap: Gap) -> ControlFlow<Crashed> {
        gaps::gap(gap)
    }
}

impl Transport<ProcessId> for Host<'_> {
    fn send(&mut self, to: ProcessId, message: &Message) {
        if let Some(link) = self.parties.get_mut(&to).and_then(|party| party.link.as_mut()) {
            // One that does not read is not asked again and again.
            if !(link.wants_write() && *message == Message::StandingQuery) {
                #[cfg(feature = "crash-points")]
                link.will_send(message, None, Some(to.pid));
                link.send(message);
            }
        }
    }

    fn close(&mut self, link: ProcessId) {
        self.parties.entry(link).and_modify(|party| party.link = None);
    }
}

impl Discovery for Host<'_> {
    fn look(&mut self, also: Option<ProcessId>) -> Option<Vec<Sighting>> {
        let sightings = self.names(also).sightings();
        Some(sightings.into_iter().filter(|sighting| self.watch(sighting.process)).collect())
    }

    fn connect(&mut self, to: ProcessId) {
        let link = match control::connect_to(&self.supervisor.control, to.pid) {
            Ok(Connect::Connected(stream)) => {
                discovery::check_peer(&stream, to).map(|()| Link::receiving(stream))
            }
            Ok(Connect::NotThere) => Err("nobody listens at its control socket".into()),
            Ok(Connect::Retry) => Err("its control socket's queue is full".into()),
            Err(error) => Err(error.to_string()),
        };
        let Some(party) = self.parties.get_mut(&to) else { return };
        party.hello = None;
        party.listeners.clear();
        match link {
            Ok(link) => party.link = Some(link),
            Err(why) => {
                tracing::debug!(target: "handoff.recovery", pid = to.pid, why, "can't connect");
                self.pending.push_back(Event::Closed(to));
            }
        }
    }

    fn kill(&mut self, process: ProcessId) {
        let Some(party) = self.parties.get(&process) else { return };
        tracing::warn!(target: "handoff.recovery", pid = process.pid, "killing: it is in the way");
        if let Err(error) = party.watch.kill_group() {
            tracing::error!(target: "handoff.recovery", pid = process.pid, %error, "can't kill");
        }
    }

    fn note(&mut self, verdict: Verdict) -> Option<std::result::Result<(), String>> {
        let hello = match verdict {
            Verdict::Serves(process) => self.parties.get(&process).and_then(|party| party.hello.as_ref()),
            _ => None,
        };
        let build_id = hello.map(|hello| hello.build_id.clone()).unwrap_or_default();
        let journal = journal::dated(self.workshop.knows.recovered(verdict, build_id));
        let written = journal::write(self.workshop.journal.as_mut(), &journal);
        self.workshop.is_written = written.is_ok();
        let written = written.map_err(|error| format!("the journal could not be written: {error}"));
        let result = written.and_then(|()| journal.allows_final());
        self.workshop.knows = journal;
        Some(result)
    }
}

impl RecoveryHost for Host<'_> {
    fn finish(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}
