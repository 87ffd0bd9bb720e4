//! The node of a recovery: the machine that finds out which process serves, the processes that may be daemons, their links.
use alloc::{
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    vec::Vec,
};
use core::ops::ControlFlow;

use super::{Credentials, Driver, FLOOD, Node, NodeOn, Read};
use crate::{
    bounds,
    error::HostError,
    host::{Clock, Crashed, Discovery, Gaps, RecoveryHost, Transport},
    id::{HandoffId, ProcessId},
    journal::Journal,
    machine::{
        Machine, MachineRole, RecoveryMachine, StateName,
        recovery::{Event, Limits, Outcome, RecoveryVerdict, Sight, Sighting},
    },
    message::{Hello, Message},
    text::PlainText,
    time::Time,
};

/// The daemons that the system shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Living processes whose sockets lie beside the control path.
    pub beside: Vec<ProcessId>,
    /// The process that listens at the control path, as the kernel tells.
    pub owner: Option<ProcessId>,
    /// The holder of the data directory's lock, if the record and the kernel say the same, and it is a daemon of this control
    /// path.
    pub holder: Option<ProcessId>,
    /// A process that may serve and can't be asked: the lock's holder, if the record and the kernel say the same, and nothing lies
    /// where its own socket should be; or one that the journal names, and that listens by a name which was removed.
    pub swept: Option<ProcessId>,
}

/// The processes that may be daemons, whether or not they live. Only what a supervisor has written itself makes a process one that
/// may be ended without having spoken: the files beside the control path and a daemon's word (`also`) could name any process, and
/// the kernel names whichever process listens at the path or has the lock.
pub fn sightings(journal: &Journal, seen: &Seen, also: Option<ProcessId>) -> Vec<Sighting> {
    let under_way = journal.under_way.as_ref();
    let running = journal.running.as_ref().map(|running| running.process);
    let named = [running, under_way.and_then(|under_way| under_way.incumbent)];
    let beside = seen.beside.iter().copied().chain(also).map(|process| (process, Sight::Beside));
    let in_place = [seen.owner, seen.holder].into_iter().flatten().map(|process| (process, Sight::InPlace));
    let incumbents = named.into_iter().flatten().map(|process| (process, Sight::Incumbent));
    let successor = under_way.map(|under_way| (under_way.successor, Sight::Successor));
    let mut all = BTreeMap::new();
    for (process, sight) in beside.chain(in_place).chain(incumbents).chain(successor) {
        let known = all.entry(process).or_insert(sight);
        *known = sight.max(*known);
    }
    let is_swept = |process| seen.swept == Some(process);
    all.into_iter().map(|(process, sight)| Sighting { process, sight, is_swept: is_swept(process) }).collect()
}

/// An answer that was put off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Os::look`], which was asked `also` for this process.
    Looked(Seen, Option<ProcessId>),
    /// To [`Os::connect`].
    Connected(ProcessId, Result<(), HostError>),
    /// To [`Os::write_journal`].
    Written(RecoveryVerdict, Result<(), HostError>),
}

/// The operating system as a recovery's node needs it. A method that returns `Option` may put its answer off:
/// it comes as an [`Answer`].
pub trait Os: Clock + Gaps {
    /// Looks for daemons. `also` is to come back with an answer that is put off.
    fn look(&mut self, also: Option<ProcessId>) -> Option<Seen>;

    /// Watches a process from here on; `false` if it has ended.
    fn watch(&mut self, process: ProcessId) -> bool;

    /// Returns how a watched process has ended, if it has; its control sockets are removed then.
    fn ended(&mut self, process: ProcessId) -> Option<PlainText>;

    /// Connects to a process's own control socket. The new link replaces the one before.
    fn connect(&mut self, to: ProcessId) -> Option<Result<(), HostError>>;

    /// The process at the other end of a link.
    ///
    /// # Errors
    /// The system does not tell.
    fn credentials(&self, of: ProcessId) -> Result<Credentials, HostError>;

    /// The effective user of this process.
    fn uid(&self) -> u32;

    /// Reads what a process has sent. After [`Read::Closed`] the link is gone.
    fn read(&mut self, from: ProcessId) -> Read;

    /// Sends a message: buffered, not received.
    fn send(&mut self, to: ProcessId, message: &Message);

    /// Returns whether what was sent before waits for the process to read.
    fn is_clogged(&self, to: ProcessId) -> bool;

    /// Closes the link to a process; the listeners that came over it are dropped unless they were kept.
    fn hang_up(&mut self, from: ProcessId);

    /// Takes the descriptors that came beside the message that was read last.
    ///
    /// # Errors
    /// They are not listening sockets, or not as many as `names`.
    fn receive_listeners(&mut self, from: ProcessId, names: &[String]) -> Result<(), HostError>;

    /// Keeps the listeners that a process has given: they are all it has.
    fn keep_listeners(&mut self, from: ProcessId);

    /// Closes the listeners that a process has given: they are not needed.
    fn drop_listeners(&mut self, from: ProcessId);

    /// Kills a process and what it has forked.
    fn kill(&mut self, process: ProcessId);

    /// Makes `journal`, which says `verdict`, durable.
    fn write_journal(&mut self, verdict: RecoveryVerdict, journal: &Journal)
    -> Option<Result<(), HostError>>;

    /// An answer that was put off, once it has come.
    fn answer(&mut self) -> Option<Answer>;

    /// Returns whether the recovery was called off.
    fn is_cancelled(&self) -> bool;

    /// Called when the machine reports.
    fn reports(&mut self, _outcome: &Outcome) {}
}

/// A process that may be a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Party {
    linked: bool,
    /// The greeting in which the process has said what it is, over this link.
    hello: Option<Hello>,
    /// Listeners that have come over this link.
    listeners: usize,
    end_told: bool,
}

/// The progress of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Pass {
    has_begun: bool,
    /// Processes whose links are still to be read, and how many messages may still be taken from the first of them.
    links: VecDeque<ProcessId>,
    left: usize,
    handled: bool,
    flooded: bool,
    over: bool,
    /// `true` if the pass before did not take all that had come.
    goes_on: bool,
}

/// All of a recovery's node but the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rest {
    knows: Journal,
    parties: BTreeMap<ProcessId, Party>,
    /// Processes that could not be connected to.
    refused: VecDeque<ProcessId>,
    has_listeners: bool,
    outcome: Option<Outcome>,
}

/// The node of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecoveryNode {
    machine: RecoveryMachine,
    rest: Rest,
    pass: Pass,
    cancel_told: bool,
}

impl RecoveryNode {
    /// A recovery that has not begun; `before` is what the journal says.
    pub fn new(config: Limits, before: Journal) -> RecoveryNode {
        let rest = Rest {
            knows: before,
            parties: BTreeMap::new(),
            refused: VecDeque::new(),
            has_listeners: false,
            outcome: None,
        };
        RecoveryNode {
            machine: RecoveryMachine::new(config),
            rest,
            pass: Pass::default(),
            cancel_told: false,
        }
    }

    /// The machine.
    pub fn machine(&self) -> &RecoveryMachine {
        &self.machine
    }

    /// Returns whether the machine was told that it is called off.
    pub fn knows_of_cancel(&self) -> bool {
        self.cancel_told
    }

    /// Returns what the journal says by now, or was to say.
    pub fn knows(&self) -> &Journal {
        &self.rest.knows
    }

    /// The processes that were seen.
    pub fn parties(&self) -> impl Iterator<Item = ProcessId> {
        self.rest.parties.keys().copied()
    }

    /// Returns whether the machine was told of the end of a process that was seen.
    pub fn was_told_of_end(&self, process: ProcessId) -> bool {
        self.rest.parties.get(&process).is_some_and(|party| party.end_told)
    }

    /// Returns what a process has said that it is.
    pub fn hello(&self, process: ProcessId) -> Option<&Hello> {
        self.rest.parties.get(&process)?.hello.as_ref()
    }

    /// Returns what was found, once it is over.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.rest.outcome.as_ref()
    }

    fn pick<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        if self.machine.is_done() || self.pass.over {
            return None;
        }
        if !core::mem::replace(&mut self.pass.has_begun, true) {
            self.pass.links = self.parties().collect();
            self.pass.left = FLOOD;
        }
        let event = self.rest.answer(os).or_else(|| self.frame(os)).or_else(|| self.cancel(os));
        if event.is_some() {
            return event;
        }
        self.pass.over = true;
        let expired = self.machine.timers().next().filter(|(at, _)| *at <= os.now());
        expired.filter(|_| !self.pass.handled || self.pass.flooded).map(|(_, timer)| Event::Timer(timer))
    }

    /// The end of a process, or else what comes next over a link. Ends come before each frame: the word of a process that has ended decides nothing.
    fn frame<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        if let Some(end) = self.rest.end(os) {
            return Some(end);
        }
        while let Some(&process) = self.pass.links.front() {
            self.pass.flooded |= self.pass.left == 0;
            let event = if self.pass.left > 0 { self.rest.read(os, process) } else { None };
            self.pass.left = self.pass.left.saturating_sub(1);
            if event.is_some() {
                return event;
            }
            self.pass.links.pop_front();
            self.pass.left = FLOOD;
        }
        None
    }

    /// A cancel comes after all that was said before it.
    fn cancel<O: Os>(&mut self, os: &O) -> Option<Event> {
        let told = !os.is_cancelled() || core::mem::replace(&mut self.cancel_told, true);
        (!told).then_some(Event::Cancel)
    }
}

impl Node for RecoveryNode {
    type Event = Event;

    fn wake_at(&self) -> Option<Time> {
        if self.machine.is_done() {
            return None;
        }
        let at_once = self.pass.goes_on || !self.rest.refused.is_empty();
        let timer = self.machine.timers().next().map(|(at, _)| at);
        if at_once { Some(Time::ZERO) } else { timer }
    }

    fn role(&self) -> MachineRole {
        RecoveryMachine::ROLE
    }

    fn state(&self) -> StateName {
        self.machine.state()
    }

    fn is_over(&self) -> bool {
        self.rest.outcome.is_some()
    }

    /// A recovery is no handoff, though it may end one that was interrupted.
    fn handoff(&self) -> Option<HandoffId> {
        None
    }
}

impl<O: Os> NodeOn<O> for RecoveryNode {
    fn next(&mut self, os: &mut O) -> Option<Event> {
        let event = self.pick(os);
        match event {
            Some(_) => self.pass.handled = true,
            None => self.pass = Pass { goes_on: self.pass.flooded, ..Pass::default() },
        }
        event
    }

    fn step(&mut self, os: &mut O, event: Event, driver: &mut impl Driver) -> ControlFlow<Crashed> {
        driver.turn(&mut self.machine, &mut Hands { rest: &mut self.rest, os }, event)
    }
}

impl Rest {
    /// Returns what was put off and has come.
    fn answer<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        while self.refused.is_empty() {
            match os.answer()? {
                Answer::Looked(seen, also) => return Some(Event::Looked(self.sighted(os, &seen, also))),
                Answer::Connected(process, result) => self.connected(os, process, result),
                Answer::Written(verdict, result) => return Some(Event::Noted(verdict, self.noted(result))),
            }
        }
        self.refused.pop_front().map(Event::Closed)
    }

    fn sighted<O: Os>(&mut self, os: &mut O, seen: &Seen, also: Option<ProcessId>) -> Vec<Sighting> {
        let mut all = sightings(&self.knows, seen, also);
        all.retain(|sighting| self.watch(os, sighting.process));
        all
    }

    /// Watches a process, unless it has ended.
    fn watch<O: Os>(&mut self, os: &mut O, process: ProcessId) -> bool {
        if let Some(party) = self.parties.get(&process) {
            return !party.end_told;
        }
        let lives = os.watch(process);
        if lives {
            self.parties.insert(process, Party::default());
        }
        lives
    }

    fn connected<O: Os>(&mut self, os: &mut O, process: ProcessId, result: Result<(), HostError>) {
        let admitted = result.and_then(|()| is_itself(os, process).inspect_err(|_| os.hang_up(process)));
        if let Err(why) = &admitted {
            tracing::debug!(target: "handoff.recovery", pid = process.pid, %why, "can't connect");
            self.refused.push_back(process);
        }
        if let Some(party) = self.parties.get_mut(&process) {
            party.linked = admitted.is_ok();
        }
    }

    /// The end of a process, told once.
    fn end<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        let (&process, how) = self
            .parties
            .iter()
            .filter(|(_, party)| !party.end_told)
            .find_map(|(process, _)| Some((process, os.ended(*process)?)))?;
        tracing::info!(target: "handoff.recovery", pid = process.pid, %how, "a daemon has ended");
        self.close(os, process);
        self.parties.entry(process).and_modify(|party| party.end_told = true);
        Some(Event::Ended(process))
    }

    fn close<O: Os>(&mut self, os: &mut O, process: ProcessId) {
        let Some(party) = self.parties.get_mut(&process) else { return };
        if core::mem::take(&mut party.linked) {
            os.hang_up(process);
        }
    }

    fn read<O: Os>(&mut self, os: &mut O, process: ProcessId) -> Option<Event> {
        self.parties.get(&process).filter(|party| party.linked)?;
        let admitted = match os.read(process) {
            Read::Nothing => return None,
            Read::Message(message) => {
                self.admit(os, process, &message).map(|()| message).map_err(|why| why.detail)
            }
            Read::Closed(why) => Err(why),
        };
        match admitted {
            Ok(message) => Some(Event::Frame(process, message)),
            Err(why) => {
                tracing::debug!(target: "handoff.recovery", pid = process.pid, %why, "the link is closed");
                self.close(os, process);
                Some(Event::Closed(process))
            }
        }
    }

    /// Sees that what comes is from the process that it is taken for.
    fn admit<O: Os>(&mut self, os: &mut O, process: ProcessId, message: &Message) -> Result<(), HostError> {
        let party = self.parties.get_mut(&process).ok_or_else(|| HostError::peer("it was never seen"))?;
        match message {
            Message::Hello(hello) if hello.process() != process => {
                return Err(HostError::peer(format!("{} answers for {process}", hello.pid)));
            }
            Message::Hello(hello) => party.hello = Some(hello.clone()),
            _ if party.hello.is_none() => {
                return Err(HostError::peer(format!("{} before Hello", message.name())));
            }
            Message::Refused { error } => return Err(HostError::peer(error.clone())),
            Message::Listeners { names, more } => {
                party.listeners += names.len();
                if party.listeners > bounds::LISTENERS {
                    return Err(HostError::peer(format!("more than {} listeners", bounds::LISTENERS)));
                }
                os.receive_listeners(process, names)?;
                if !more {
                    self.complete(os, process);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A daemon has given all its listeners. The first set that is not empty is kept: a daemon that has none says so, and another may
    /// have them.
    fn complete<O: Os>(&mut self, os: &mut O, process: ProcessId) {
        let Some(party) = self.parties.get_mut(&process) else { return };
        let count = core::mem::take(&mut party.listeners);
        if self.has_listeners {
            return os.drop_listeners(process);
        }
        os.keep_listeners(process);
        self.has_listeners = count > 0;
    }

    fn noted(&self, written: Result<(), HostError>) -> Result<(), HostError> {
        let written = written.map_err(|error| error.context("the journal could not be written"));
        written.and_then(|()| self.knows.allows_final())
    }
}

/// Checks whether a process is at the other end of the link to it, as far as the system tells, and may be
/// talked to.
fn is_itself<O: Os>(os: &O, process: ProcessId) -> Result<(), HostError> {
    let peer = os.credentials(process)?;
    if !peer.may_speak_to(os.uid()) {
        return Err(HostError::peer(format!("it runs as uid {}, which is not allowed here", peer.uid)));
    }
    // 0 is a process of another pid namespace.
    match peer.pid.filter(|pid| *pid != 0 && *pid != process.pid) {
        Some(pid) => Err(HostError::peer(format!("process {pid} listens there"))),
        None => Ok(()),
    }
}

/// The things that a recovery's machine stands on: the operating system, and what the node keeps of it.
type Hands<'a, O> = super::Hands<'a, Rest, O>;

impl<O: Os> Transport<ProcessId> for Hands<'_, O> {
    fn send(&mut self, to: ProcessId, message: &Message) {
        let linked = self.rest.parties.get(&to).is_some_and(|party| party.linked);
        // A process that does not read is not asked again and again.
        if linked && !(*message == Message::StandingQuery && self.os.is_clogged(to)) {
            self.os.send(to, message);
        }
    }

    fn close(&mut self, link: ProcessId) {
        self.rest.close(self.os, link);
    }
}

impl<O: Os> Discovery for Hands<'_, O> {
    fn look(&mut self, also: Option<ProcessId>) -> Option<Vec<Sighting>> {
        let seen = self.os.look(also)?;
        Some(self.rest.sighted(self.os, &seen, also))
    }

    fn connect(&mut self, to: ProcessId) {
        let Some(party) = self.rest.parties.get_mut(&to) else { return };
        (party.hello, party.listeners) = (None, 0);
        self.rest.close(self.os, to);
        if let Some(result) = self.os.connect(to) {
            self.rest.connected(self.os, to, result);
        }
    }

    fn kill(&mut self, process: ProcessId) {
        self.os.kill(process);
    }

    fn note(&mut self, verdict: RecoveryVerdict) -> Option<Result<(), HostError>> {
        let hello = match verdict {
            RecoveryVerdict::Serves(process) => {
                self.rest.parties.get(&process).and_then(|party| party.hello.as_ref())
            }
            _ => None,
        };
        let build_id = hello.map(|hello| hello.build_id.clone()).unwrap_or_default();
        self.rest.knows = self.rest.knows.recovered(verdict, build_id);
        let written = self.os.write_journal(verdict, &self.rest.knows)?;
        Some(self.rest.noted(written))
    }
}

impl<O: Os> RecoveryHost for Hands<'_, O> {
    fn finish(&mut self, outcome: Outcome) {
        self.os.reports(&outcome);
        self.rest.outcome = Some(outcome);
    }
}
