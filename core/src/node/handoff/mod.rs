//! The node of one handoff or cold start: the supervisor's machine, its two peers, what the journal says.
use alloc::{boxed::Box, format, vec::Vec};
use core::ops::ControlFlow;

mod held_up;
mod os;
mod purpose;

pub use os::{Answer, ControlConnection, Os, SpawnResult};
pub use purpose::Purpose;

use held_up::HeldUp;
use purpose::Errand;

use super::{Credentials, Driver, END_AT_HAND, FLOOD, Node, NodeOn, Read};
use crate::{
    data::Data,
    error::HostError,
    host::{Crashed, Notes, Processes, SupervisorHost, Transport},
    id::{HandoffId, InBoot, ProcessId},
    journal::{Journal, Parties},
    machine::{
        Machine, MachineRole, Reason, StateName, SupervisorMachine, Timer,
        supervisor::{Event, HandoffVerdict, Limits, Note, Outcome, Peer},
    },
    message::{Hello, Message},
    text::PlainText,
    time::{Duration, Time},
};

/// A control socket whose queue is full is tried again after so long.
const CONNECT_AGAIN: Duration = Duration::from_millis(10);

/// The time for which an answer at the control path is waited for before it is reported that nobody serves.
const DOUBT: Duration = Duration::from_millis(100);

/// In the order in which their frames are read.
const PEERS: [Peer; 2] = [Peer::Incumbent, Peer::Successor];

/// The facts that are known of a peer's process and of the link to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Party {
    linked: bool,
    process: Option<ProcessId>,
    end_told: bool,
    /// The link has closed, and why: told as such at that time, unless the process has ended by then.
    closed: Option<(Time, PlainText)>,
}

/// The progress of a pass.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pass {
    /// The number of messages that may still be taken from each peer.
    left: [usize; 2],
    handled: bool,
    over: bool,
    /// `true` if the pass before did not take all that had come.
    goes_on: bool,
}

impl Default for Pass {
    fn default() -> Self {
        Pass { left: [FLOOD; 2], handled: false, over: false, goes_on: false }
    }
}

impl Pass {
    /// Returns whether a peer has sent more than one pass takes.
    fn is_flooded(&self) -> bool {
        self.left.contains(&0)
    }
}

/// The progress of an attempt to connect to the control path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Attempt {
    /// No attempt is made, or it has succeeded.
    None,
    /// Its answer was put off.
    Asked,
    /// The socket's queue was full: it is made again then.
    Again(Time),
    /// Has failed, and the machine is to hear of it.
    Failed(HostError),
}

/// All of a handoff's node but the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rest {
    parties: Parties,
    /// The journal as it is, or was to be.
    knows: Journal,
    incumbent: Party,
    successor: Party,
    attempt: Attempt,
    /// `true` if the machine was told that the successor is unfit: what repeats it is nothing new.
    unfit_told: bool,
    errand: Errand,
    held_up: HeldUp,
    outcome: Option<Outcome>,
    /// Until when an answer at the control path is waited for, before it is believed that nobody serves.
    doubts_until: Option<Time>,
}

/// The node of one handoff, or one cold start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HandoffNode {
    machine: SupervisorMachine,
    rest: Rest,
    pass: Pass,
    replace: bool,
    cancel_told: bool,
}

impl HandoffNode {
    /// A handoff that has not begun; `before` is what the journal says. Without `replace` it is a cold start.
    pub fn new(config: Limits, handoff_id: HandoffId, replace: bool, before: Journal) -> HandoffNode {
        let parties = Parties {
            handoff_id,
            incumbent: None,
            successor: None,
            successor_build: Vec::new(),
            sealed: None,
            opened: Data::default(),
            before: before.clone(),
        };
        let rest = Rest {
            parties,
            knows: before,
            incumbent: Party::default(),
            successor: Party::default(),
            attempt: Attempt::None,
            unfit_told: false,
            errand: Errand::default(),
            held_up: HeldUp::new(&config),
            outcome: None,
            doubts_until: None,
        };
        let machine = SupervisorMachine::new(config);
        HandoffNode { machine, rest, pass: Pass::default(), replace, cancel_told: false }
    }

    /// The same for `purpose`.
    #[must_use]
    pub fn for_purpose(mut self, purpose: Purpose) -> HandoffNode {
        self.rest.errand = Errand::new(purpose);
        self
    }

    /// The event with which it begins.
    pub fn start(&self) -> Event {
        Event::Start { handoff_id: self.rest.parties.handoff_id, replace: self.replace }
    }

    /// Returns whether it is to replace an incumbent: else it is a cold start.
    pub fn replaces(&self) -> bool {
        self.replace
    }

    /// The machine.
    pub fn machine(&self) -> &SupervisorMachine {
        &self.machine
    }

    /// The processes that take part.
    pub fn parties(&self) -> &Parties {
        &self.rest.parties
    }

    /// Returns whether the machine was told that it is called off.
    pub fn knows_of_cancel(&self) -> bool {
        self.cancel_told
    }

    /// Returns what the journal says by now, or was to say.
    pub fn knows(&self) -> &Journal {
        &self.rest.knows
    }

    /// A peer's process, once it is watched.
    pub fn process(&self, peer: Peer) -> Option<ProcessId> {
        self.rest.party(peer).process
    }

    /// Returns whether the machine was told of the end of a peer's process.
    pub fn was_told_of_end(&self, peer: Peer) -> bool {
        self.rest.party(peer).end_told
    }

    /// Returns what became of it, once it is over.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.rest.outcome.as_ref().filter(|_| self.rest.doubts_until.is_none())
    }

    fn pick<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        if self.pass.over {
            return None;
        }
        if self.machine.is_done() {
            self.rest.resolve_doubt(os);
            return None;
        }
        // What comes after the reason is known has not led to it.
        if self.machine.reason().is_none() {
            self.rest.held_up.is_behind(self.machine.timers().overdue(Timer::Heartbeat, os.now()));
        }
        let event = self.rest.answers(os).or_else(|| self.frame(os)).or_else(|| self.cancel(os));
        if event.is_some() {
            return event;
        }
        self.pass.over = true;
        let expired = self.machine.timers().next().filter(|(at, _)| *at <= os.now());
        expired.filter(|_| !self.pass.handled || self.pass.is_flooded()).map(|(_, timer)| Event::Timer(timer))
    }

    /// The end of either process, or else what a peer has sent next. Both ends come before each frame, since this process may have
    /// been stopped since it looked: the word of a process that has ended decides nothing. The successor's comes first: that the incumbent has left
    /// for it is worth nothing then.
    fn frame<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        let rest = &mut self.rest;
        let end = rest.end(os, Peer::Successor).or_else(|| rest.end(os, Peer::Incumbent));
        if end.is_some() {
            return end;
        }
        for (peer, left) in PEERS.into_iter().zip(&mut self.pass.left).filter(|(_, left)| **left > 0) {
            let event = rest.read(os, peer);
            if event.is_some() {
                *left -= 1;
                return event;
            }
        }
        None
    }

    /// A cancel comes after all that was said before it, like a timer: a successor may have said that it serves.
    fn cancel<O: Os>(&mut self, os: &O) -> Option<Event> {
        let told = !os.is_cancelled() || core::mem::replace(&mut self.cancel_told, true);
        (!told).then_some(Event::Cancel(Reason::Cancelled))
    }
}

impl Node for HandoffNode {
    type Event = Event;

    fn wake_at(&self) -> Option<Time> {
        let again = match self.rest.attempt {
            Attempt::Failed(_) => Some(Time::ZERO),
            Attempt::Again(at) => Some(at),
            Attempt::None | Attempt::Asked => None,
        };
        let at_once = self.pass.goes_on.then_some(Time::ZERO);
        let timer = self.machine.timers().next().map(|(at, _)| at).filter(|_| !self.machine.is_done());
        let closed = PEERS.into_iter().filter_map(|peer| Some(self.rest.party(peer).closed.as_ref()?.0));
        timer.into_iter().chain(closed).chain(at_once).chain(again).chain(self.rest.doubts_until).min()
    }

    fn role(&self) -> MachineRole {
        SupervisorMachine::ROLE
    }

    fn state(&self) -> StateName {
        self.machine.state()
    }

    fn is_over(&self) -> bool {
        self.outcome().is_some()
    }

    fn handoff(&self) -> Option<HandoffId> {
        Some(self.rest.parties.handoff_id)
    }
}

impl<O: Os> NodeOn<O> for HandoffNode {
    fn next(&mut self, os: &mut O) -> Option<Event> {
        let event = self.pick(os);
        match event {
            Some(_) => self.pass.handled = true,
            None => self.pass = Pass { goes_on: self.pass.is_flooded(), ..Pass::default() },
        }
        event
    }

    fn step(&mut self, os: &mut O, event: Event, driver: &mut impl Driver) -> ControlFlow<Crashed> {
        driver.turn(&mut self.machine, &mut Hands { rest: &mut self.rest, os }, event)
    }
}

impl Rest {
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

    /// Returns what was put off and has come; a connection that is to be tried again.
    fn answers<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        if matches!(self.attempt, Attempt::Again(at) if at <= os.now()) {
            self.connect(os);
        }
        loop {
            if let Attempt::Failed(why) = &self.attempt {
                let why = why.clone();
                self.attempt = Attempt::None;
                return Some(Event::ConnectFailed(why));
            }
            match os.answer()? {
                Answer::Connected(connection) => self.connected(os.now(), connection),
                Answer::Spawned(spawned) => return Some(Event::Spawned(self.spawned(spawned))),
                Answer::Written(note, result) => return Some(Event::Persisted(note, result)),
            }
        }
    }

    fn connect<O: Os>(&mut self, os: &mut O) {
        self.incumbent.closed = None;
        if core::mem::take(&mut self.incumbent.linked) {
            os.hang_up(Peer::Incumbent);
        }
        self.attempt = Attempt::Asked;
        if let Some(connection) = os.connect() {
            self.connected(os.now(), connection);
        }
    }

    fn connected(&mut self, now: Time, connection: ControlConnection) {
        self.attempt = match connection {
            ControlConnection::Made => {
                self.incumbent.linked = true;
                Attempt::None
            }
            ControlConnection::QueueFull => Attempt::Again(now + CONNECT_AGAIN),
            ControlConnection::Failed(why) => Attempt::Failed(why),
        };
    }

    fn spawned(&mut self, spawned: SpawnResult) -> Result<ProcessId, HostError> {
        let (process, binary) = spawned?;
        self.successor.linked = true;
        self.successor.process = Some(process);
        self.parties.successor = Some((process, binary));
        Ok(process)
    }

    /// The end of a peer's process, told once, with what it said last if that is why.
    fn end<O: Os>(&mut self, os: &mut O, peer: Peer) -> Option<Event> {
        let party = self.party(peer);
        party.process.filter(|_| !party.end_told)?;
        let how = os.ended(peer)?;
        let party = self.party_mut(peer);
        party.end_told = true;
        party.closed = None;
        let words = if core::mem::take(&mut party.linked) { last_words(os, peer) } else { None };
        Some(Event::Ended(peer, words.map_or(how.clone(), |why| format!("{how}: {why}").into())))
    }

    /// Returns what a peer says next; or that its link has closed, once its process has had the time to end.
    fn read<O: Os>(&mut self, os: &mut O, peer: Peer) -> Option<Event> {
        let now = os.now();
        if let Some((_, why)) = self.party_mut(peer).closed.take_if(|(at, _)| *at <= now) {
            return Some(Event::Closed(peer, why));
        }
        if !self.party(peer).linked {
            return None;
        }
        match os.read(peer) {
            Read::Nothing => None,
            Read::Message(message) => match self.admit(os, peer, &message) {
                Ok(()) => {
                    let unfit = self.learn(os, peer, &message).map(Event::Unfit);
                    // Once the incumbent has ended, the successor is wanted in any case: there is no way back.
                    let may_go = peer == Peer::Successor && !self.incumbent.end_told;
                    let build = &self.parties.successor_build;
                    let unwanted = if may_go { self.errand.objection(&message, build) } else { None };
                    let called_off = unwanted.map(Event::Cancel);
                    Some(unfit.or(called_off).unwrap_or(Event::Frame(peer, message)))
                }
                Err(HostError { detail: why, .. }) => {
                    os.hang_up(peer);
                    self.party_mut(peer).linked = false;
                    Some(Event::Closed(peer, why))
                }
            },
            Read::Closed(why) => {
                let party = self.party_mut(peer);
                party.linked = false;
                party.closed = Some((now + END_AT_HAND, why));
                self.end(os, peer)
            }
        }
    }

    /// Sees that `Hello` comes from the process that it names, and watches that process from here on.
    fn admit<O: Os>(&mut self, os: &mut O, peer: Peer, message: &Message) -> Result<(), HostError> {
        let Message::Hello(hello) = message else { return Ok(()) };
        match peer {
            Peer::Successor => self.parties.successor_build.clone_from(&hello.build_id),
            Peer::Incumbent => self.admit_incumbent(os, hello)?,
        }
        Ok(())
    }

    /// Learns from a message, or from what a heartbeat repeats, what the data are. Why the successor must not serve: it has become a
    /// user that no supervisor would believe afterwards; or it replaces no daemon, and other data were served before.
    fn learn<O: Os>(&mut self, os: &O, peer: Peer, message: &Message) -> Option<Reason> {
        match message {
            Message::Heartbeat { repeats: Some(repeated), .. } => self.learn(os, peer, repeated),
            Message::SealComplete { sealed, .. } if peer == Peer::Incumbent => {
                self.parties.sealed = Some(sealed.last_revision_per_shard.clone());
                None
            }
            Message::Ready { advertised_revision_per_shard: revisions, .. } if peer == Peer::Successor => {
                let replaces = self.parties.incumbent.is_some();
                // A successor has its incumbent's directory, which it has seen to itself: to look takes time, and clients wait.
                let directory = if replaces { None } else { os.directory() };
                self.parties.opened = Data::opened(os.boot(), directory, revisions);
                if self.unfit_told {
                    return None;
                }
                let of_data = || self.knows.data.objection(&self.parties.opened).filter(|_| !replaces);
                let why = other_user(os).or_else(of_data);
                self.unfit_told = why.is_some();
                why
            }
            Message::Serving { .. } if peer == Peer::Successor => {
                let incumbents = self.parties.incumbent.as_ref().and(self.knows.data.directory);
                let known = self.parties.opened.directory.or(incumbents);
                let look = || os.directory().map(|value| InBoot { boot: os.boot(), value });
                self.parties.opened.directory = known.or_else(look);
                None
            }
            _ => None,
        }
    }

    fn admit_incumbent<O: Os>(&mut self, os: &mut O, hello: &Hello) -> Result<(), HostError> {
        let process = hello.process();
        is_itself(os, hello)?;
        match self.incumbent.process {
            Some(known) if known != process => {
                Err(HostError::peer("another process than before answers at the control path"))
            }
            Some(_) => Ok(()),
            None => {
                os.watch(process)?;
                self.incumbent.process = Some(process);
                self.parties.incumbent = Some(process);
                Ok(())
            }
        }
    }

    /// Asks at the control path whether nobody serves, which is not so if a process answers: another supervisor has replaced the incumbent
    /// meanwhile.
    fn resolve_doubt<O: Os>(&mut self, os: &mut O) {
        let Some(until) = self.doubts_until else { return };
        // What else is answered so late says nothing of it.
        while self.answers(os).is_some() {}
        let hello = self.hello_at_path(os);
        let tries = matches!(self.attempt, Attempt::Asked | Attempt::Again(_));
        let waits = self.incumbent.linked || tries;
        if hello.is_some() || !waits || until <= os.now() {
            (self.doubts_until, self.attempt) = (None, Attempt::None);
        }
        hello.into_iter().for_each(|hello| self.is_answered_by(&hello));
    }

    /// The `Hello` that has come from a process at the control path; what else it says is of no interest.
    fn hello_at_path<O: Os>(&mut self, os: &mut O) -> Option<Hello> {
        for _ in 0..FLOOD {
            if !self.incumbent.linked {
                return None;
            }
            match os.read(Peer::Incumbent) {
                Read::Message(Message::Hello(hello)) if is_itself(os, &hello).is_ok() => return Some(hello),
                Read::Message(_) => {}
                Read::Nothing => return None,
                Read::Closed(_) => self.incumbent.linked = false,
            }
        }
        None
    }

    fn is_answered_by(&mut self, hello: &Hello) {
        let Some(outcome) = &mut self.outcome else { return };
        let because = outcome.reason.take().map(Box::new);
        outcome.verdict = HandoffVerdict::Unconfirmed;
        outcome.reason = Some(Reason::Answered { pid: hello.pid, because });
    }
}

/// Returns why a successor is refused that has become another user than daemons run as: as an incumbent it
/// would not be believed.
fn other_user<O: Os>(os: &O) -> Option<Reason> {
    let (uid, expected) = (os.user()?, os.uid());
    let is_believed = Credentials { uid, pid: None }.may_speak_to(expected);
    (!is_believed).then_some(Reason::OtherUser { uid, expected })
}

/// Checks whether the incumbent's `Hello` comes from the process that it names, of a user that may speak
/// here.
fn is_itself<O: Os>(os: &O, hello: &Hello) -> Result<(), HostError> {
    let peer = os.credentials(Peer::Incumbent)?;
    if !peer.may_speak_to(os.uid()) {
        let why = format!("process {} runs as uid {}, which is not allowed here", hello.pid, peer.uid);
        return Err(HostError::peer(why));
    }
    // 0 is a process of another pid namespace.
    if peer.pid.is_some_and(|pid| pid != 0 && pid != hello.pid) {
        return Err(HostError::peer(format!("it calls itself process {}, but is another", hello.pid)));
    }
    Ok(())
}

/// Returns why a process has ended, if it said so: for people only, since the word of a process that has
/// ended decides nothing.
fn last_words<O: Os>(os: &mut O, peer: Peer) -> Option<PlainText> {
    let mut words = None;
    for _ in 0..FLOOD {
        match os.read(peer) {
            Read::Message(Message::Failed { error, .. } | Message::Refused { error }) => words = Some(error),
            Read::Message(_) => {}
            Read::Nothing => break,
            Read::Closed(_) => return words,
        }
    }
    os.hang_up(peer);
    words
}

/// The things that a supervisor's machine stands on: the operating system, and what the node keeps of it.
type Hands<'a, O> = super::Hands<'a, Rest, O>;

impl<O: Os> Transport<Peer> for Hands<'_, O> {
    fn send(&mut self, to: Peer, message: &Message) {
        if self.rest.party(to).linked {
            self.os.send(to, message);
        }
    }

    fn close(&mut self, peer: Peer) {
        if core::mem::take(&mut self.rest.party_mut(peer).linked) {
            self.os.hang_up(peer);
        }
    }
}

impl<O: Os> Processes for Hands<'_, O> {
    fn connect(&mut self) {
        self.rest.connect(self.os);
    }

    fn spawn(&mut self) -> Option<Result<ProcessId, HostError>> {
        let spawned = self.os.spawn(self.rest.parties.incumbent.is_some())?;
        Some(self.rest.spawned(spawned))
    }

    fn kill(&mut self, peer: Peer) {
        self.os.kill(peer);
    }
}

impl<O: Os> Notes for Hands<'_, O> {
    fn persist(&mut self, note: Note) -> Option<Result<(), HostError>> {
        // What could not be written is known all the same, and comes with the next write.
        self.rest.knows = self.rest.knows.noted(note, &self.rest.parties);
        let began = self.os.now();
        let written = self.os.write_journal(note, &self.rest.knows);
        if !matches!(note, Note::Over(_)) {
            self.rest.held_up.wrote(self.os.now().since(began));
        }
        written
    }
}

impl<O: Os> SupervisorHost for Hands<'_, O> {
    fn finish(&mut self, outcome: Outcome) {
        let reason = outcome.reason.map(|reason| self.rest.held_up.explains(reason));
        let outcome = Outcome { reason, ..outcome };
        self.os.reports(&outcome);
        let doubtful = outcome.verdict == HandoffVerdict::NobodyServes;
        self.rest.outcome = Some(outcome);
        if doubtful {
            self.rest.doubts_until = Some(self.os.now() + DOUBT);
            self.rest.connect(self.os);
        }
    }
}
