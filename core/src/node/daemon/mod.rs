//! The node of a daemon: the successor's machine and then the incumbent's, their links, hooks and status.
//!
//! This file has the node and its pass; `role.rs` the two machines behind one type, `rest.rs` what the node keeps besides, `os.rs`
//! what it asks of its operating system, `hands.rs` what the machine stands on.
use alloc::collections::VecDeque;
use core::ops::ControlFlow;

use super::{Driver, FLOOD, Node, NodeOn, Read};
use crate::{
    host::Crashed,
    id::HandoffId,
    machine::{LinkId, MachineRole, Op, StateName},
    message::{Message, SealProgress, Status},
    time::{Duration, Time},
};

mod hands;
mod os;
mod rest;
mod role;

pub use os::{Accepted, HookReport, Os, StateSnapshot};
pub use rest::MOST_LINKS;
pub use role::{DaemonMachine, Done, Event, Hook, HookName};

use hands::Hands;
use rest::Rest;

/// The largest number of connections that are accepted in one pass: links that are there are read in between.
const MOST_ACCEPTED: usize = 16;

/// After descriptors or memory were exhausted, nothing is accepted for so long.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The longest sum of pauses between tries of a resume hook that returns an error. What exhausts descriptors or memory passes, and when
/// the daemon leaves no process serves.
#[cfg(feature = "unix")]
pub(crate) const RESUME_BOUND: Duration = Duration::from_millis(512);

/// The longest sum of pauses between tries of writing the record: short, because no heartbeat goes out meanwhile.
#[cfg(feature = "unix")]
pub(crate) const RECORD_BOUND: Duration = Duration::from_millis(32);

/// The thing that a pass looks for next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum PassStage {
    #[default]
    Answers,
    Links,
    Hooks,
    Stop,
    Connections,
    Timers,
    Over,
}

/// The progress of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Pass {
    stage: PassStage,
    /// Links that are still to be read, and how many messages may still be taken from the first of them.
    links: VecDeque<LinkId>,
    left: usize,
    accepted: usize,
    /// `true` if anything was handed over.
    handled: bool,
    /// `true` if there was no end to it: timers have their turn as well.
    flooded: bool,
    /// `true` if the pass before did not take all that had come.
    goes_on: bool,
}

/// The notice of a request to stop, as far as the machine has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StopRequest {
    /// Nothing, whether or not the process was asked.
    Untold,
    /// The machine was told that the process was asked.
    Told,
    /// The successor was told, on its way to serving: the incumbent that it has become is to carry it out.
    ToBeToldAgain,
}

/// The node of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DaemonNode {
    role: DaemonMachine,
    rest: Rest,
    pass: Pass,
    stop_grace: Duration,
    stop: StopRequest,
}

impl DaemonNode {
    /// A daemon that is about to start as `role`; `inherited` is the link that it was born with.
    pub fn new(role: DaemonMachine, inherited: Option<LinkId>, stop_grace: Duration) -> DaemonNode {
        let rest = Rest::new(inherited);
        DaemonNode { role, rest, pass: Pass::default(), stop_grace, stop: StopRequest::Untold }
    }

    /// The event with which it begins. A daemon that serves already, because no supervisor started it, has none: it waits for a peer.
    pub fn start(&self) -> Option<Event> {
        matches!(self.role, DaemonMachine::Successor(_)).then_some(Event::Start)
    }

    /// The machine, in whichever of its two lives.
    pub fn role(&self) -> &DaemonMachine {
        &self.role
    }

    /// The links that are open, the oldest first.
    pub fn links(&self) -> impl Iterator<Item = LinkId> {
        self.rest.links()
    }

    /// Returns whether a connection would be accepted at `now`.
    pub fn accepts(&self, now: Time) -> bool {
        self.rest.accept_again.is_none_or(|at| at <= now)
    }

    /// Returns whether the machine was told that the process was asked to stop.
    pub fn knows_of_stop(&self) -> bool {
        self.stop == StopRequest::Told
    }

    fn pick<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        if self.stop == StopRequest::ToBeToldAgain {
            return self.tell_to_stop();
        }
        loop {
            let (found, then) = match self.pass.stage {
                PassStage::Answers => (os.answer(), PassStage::Links),
                PassStage::Links => (self.read(os), PassStage::Hooks),
                PassStage::Hooks => (self.hear(os), PassStage::Stop),
                PassStage::Stop => (self.take_stop(os), PassStage::Connections),
                PassStage::Connections => (self.accept(os), PassStage::Timers),
                PassStage::Timers => {
                    self.pass.stage = PassStage::Over;
                    return self.expired(os.now());
                }
                PassStage::Over => return None,
            };
            if found.is_some() {
                return found;
            }
            self.enter(then);
        }
    }

    fn enter(&mut self, stage: PassStage) {
        self.pass.stage = stage;
        self.pass.left = FLOOD;
        if stage == PassStage::Links {
            self.pass.links = self.links().collect();
        }
    }

    /// The older links first: what a supervisor said last over one comes before what it says over the next.
    fn read<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        while let Some(&id) = self.pass.links.front() {
            let read = if self.pass.left > 0 { self.rest.read(os, id) } else { Read::Nothing };
            self.pass.flooded |= self.pass.left == 0;
            self.pass.left = self.pass.left.saturating_sub(1);
            match read {
                Read::Message(Message::StatusQuery) => self.answer_status(os, id),
                Read::Message(Message::Connections) => self.take_connections(os, id),
                Read::Message(message) => return Some(Event::Frame(id, message)),
                Read::Closed(_) => return Some(Event::Closed(id)),
                Read::Nothing => {
                    self.pass.links.pop_front();
                    self.pass.left = FLOOD;
                }
            }
        }
        None
    }

    /// Connections are to come over a link: from now on it is that of the connections, and no protocol's.
    fn take_connections<O: Os>(&mut self, os: &mut O, link: LinkId) {
        self.pass.handled = true;
        let incumbent = self.role.takes_connections_of().map(|incumbent| incumbent.pid);
        if incumbent.is_some() && incumbent == self.rest.pid_at(link) {
            self.rest.forget(link);
            return os.receive_connections(link);
        }
        let error = "connections are taken of the incumbent only, and before it has sealed".into();
        os.send(link, &Message::Refused { error });
        self.rest.forget(link);
        os.close(link);
    }

    fn hear<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        while let Some(reply) = os.reply() {
            self.pass.handled = true;
            match reply {
                HookReport::Done(op, result) => {
                    self.rest.running = self.rest.running.saturating_sub(u32::from(op != Op::UNAWAITED));
                    return Some(Event::HookDone(op, result));
                }
                HookReport::Progress(progress) => self.seal_goes_on(os, progress),
                HookReport::Snapshot(snapshot) => {
                    self.rest.snapshot = snapshot;
                    for link in core::mem::take(&mut self.rest.asked) {
                        self.tell_status(os, link);
                    }
                }
            }
        }
        None
    }

    /// A seal has come so far: the supervisor hears of it.
    pub fn seal_goes_on<O: Os>(&self, os: &mut O, progress: SealProgress) {
        if let Some((link, message)) = self.role.seal_progress(progress) {
            os.send(link, &message);
        }
    }

    fn take_stop<O: Os>(&mut self, os: &O) -> Option<Event> {
        if os.stop_asked() && self.stop == StopRequest::Untold { self.tell_to_stop() } else { None }
    }

    fn tell_to_stop(&mut self) -> Option<Event> {
        self.stop = StopRequest::Told;
        Some(Event::Stop)
    }

    fn accept<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        while self.accepts(os.now()) && self.pass.accepted < MOST_ACCEPTED {
            self.rest.accept_again = None;
            match os.accept() {
                Accepted::Link(id, peer) => {
                    (self.pass.handled, self.pass.accepted) = (true, self.pass.accepted + 1);
                    if self.rest.admit(os, id, peer, self.role.session_link()) {
                        return Some(Event::Connected(id));
                    }
                }
                Accepted::Nobody => break,
                Accepted::Failed => self.rest.accept_again = Some(os.now() + ACCEPT_PAUSE),
            }
        }
        self.pass.flooded |= self.pass.accepted == MOST_ACCEPTED;
        None
    }

    /// A timer that has expired, if it has its turn.
    fn expired(&self, now: Time) -> Option<Event> {
        let (_, timer) = self.role.timers().next().filter(|(at, _)| *at <= now)?;
        (!self.pass.handled || self.pass.flooded).then_some(Event::Timer(timer))
    }

    /// A status is always answered: with what the daemon says now or, while a hook runs, said last.
    fn answer_status<O: Os>(&mut self, os: &mut O, link: LinkId) {
        self.pass.handled = true;
        let knows_itself = matches!(self.role, DaemonMachine::Incumbent(_));
        if self.rest.running > 0 || !knows_itself {
            return self.tell_status(os, link);
        }
        let is_first = self.rest.asked.is_empty();
        // A peer that asks again before it was answered gets one answer: what waits is no more than there are links.
        if !self.rest.asked.contains(&link) {
            self.rest.asked.push(link);
        }
        if is_first {
            os.take_snapshot();
        }
    }

    fn tell_status<O: Os>(&self, os: &mut O, link: LinkId) {
        let StateSnapshot { shard_count, open_conns, last_revision_per_shard } = self.rest.snapshot.clone();
        let standing = self.role.standing();
        let status = Status { standing, shard_count, open_conns, last_revision_per_shard };
        os.send(link, &Message::Status(status));
    }
}

impl Node for DaemonNode {
    type Event = Event;

    fn wake_at(&self) -> Option<Time> {
        let timer = self.role.timers().next().map(|(at, _)| at);
        let at_once = self.pass.goes_on.then_some(Time::ZERO);
        at_once.into_iter().chain(timer).chain(self.rest.accept_again).min().filter(|_| !self.rest.has_left)
    }

    fn role(&self) -> MachineRole {
        self.role.kind()
    }

    fn state(&self) -> StateName {
        self.role.state()
    }

    fn is_over(&self) -> bool {
        self.rest.has_left
    }

    fn handoff(&self) -> Option<HandoffId> {
        self.role.handoff_id()
    }
}

impl<O: Os> NodeOn<O> for DaemonNode {
    fn next(&mut self, os: &mut O) -> Option<Event> {
        let event = if self.rest.has_left { None } else { self.pick(os) };
        match event {
            Some(_) => self.pass.handled = true,
            None => self.pass = Pass { goes_on: self.pass.flooded, ..Pass::default() },
        }
        event
    }

    /// A successor that serves is an incumbent from then on.
    fn step(&mut self, os: &mut O, event: Event, driver: &mut impl Driver) -> ControlFlow<Crashed> {
        let hands = &mut Hands { rest: &mut self.rest, os };
        let flow = match &mut self.role {
            DaemonMachine::Incumbent(machine) => match event.typed(Done::for_incumbent) {
                Some(event) => driver.turn(machine, hands, event),
                None => ControlFlow::Continue(()),
            },
            DaemonMachine::Successor(machine) => match event.typed(Done::for_successor) {
                Some(event) => driver.turn(machine, hands, event),
                None => ControlFlow::Continue(()),
            },
        };
        let promoted =
            flow.is_continue() && !self.rest.has_left && self.role.promote(os.now(), self.stop_grace);
        if promoted && self.stop == StopRequest::Told {
            self.stop = StopRequest::ToBeToldAgain;
        }
        flow
    }
}
