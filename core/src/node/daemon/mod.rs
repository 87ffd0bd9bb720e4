//! The node of a daemon: the successor's machine and then the incumbent's, their links, hooks and status.
use alloc::{collections::VecDeque, format, string::String, vec::Vec};
use core::ops::ControlFlow;

use super::{Credentials, Driver, FLOOD, Node, NodeOn, Read};
use crate::{
    host::{Clock, Crashed, Gap, Gaps, Hooks, Sockets, Storage, Transport},
    machine::{
        Cell, DaemonEvent, Exit, Incumbent, LinkId, LockAnswer, Machine, Op, Successor, Timer, Timers,
        incumbent, successor,
    },
    message::{Message, SealProgress, Sealed, Standing, Status},
    record::Record,
    time::{Duration, Time},
};

/// The largest number of links that a daemon keeps besides the one it was born with.
pub const MOST_LINKS: usize = 32;

/// The largest number of connections that are accepted in one pass: links that are there are read in between.
const MOST_ACCEPTED: usize = 16;

/// After descriptors or memory were exhausted, nothing is accepted for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A hook of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// One of an incumbent's.
    Incumbent(incumbent::Hook),
    /// One of a successor's.
    Successor(successor::Hook),
}

impl Hook {
    /// The hook's name, for traces.
    pub fn name(&self) -> &'static str {
        match self {
            Hook::Incumbent(incumbent::Hook::Drain { .. }) => "drain",
            Hook::Incumbent(incumbent::Hook::Seal) => "seal",
            Hook::Incumbent(incumbent::Hook::Resume { .. }) => "resume",
            Hook::Incumbent(incumbent::Hook::Finalize) => "finalize",
            Hook::Successor(successor::Hook::WarmUp) => "warm-up",
            Hook::Successor(successor::Hook::Open { .. }) => "open",
            Hook::Successor(successor::Hook::Serve) => "serve",
        }
    }

    /// What the incumbent sealed, for a hook that opens it.
    pub fn sealed(&self) -> Option<&Sealed> {
        match self {
            Hook::Successor(successor::Hook::Open { sealed }) => sealed.as_ref(),
            _ => None,
        }
    }
}

/// What a hook reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Done {
    /// Nothing.
    Ok,
    /// What only an incumbent's hook reports.
    Incumbent(incumbent::Done),
    /// What only a successor's hook reports.
    Successor(successor::Done),
}

impl Done {
    fn for_incumbent(self) -> Option<incumbent::Done> {
        match self {
            Done::Ok | Done::Successor(successor::Done::Ok) => Some(incumbent::Done::Ok),
            Done::Incumbent(done) => Some(done),
            Done::Successor(successor::Done::Opened { .. }) => None,
        }
    }

    fn for_successor(self) -> Option<successor::Done> {
        match self {
            Done::Ok => Some(successor::Done::Ok),
            Done::Successor(done) => Some(done),
            Done::Incumbent(_) => None,
        }
    }
}

/// What has happened to a daemon, whichever role it has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The process has started.
    Start,
    /// A peer has connected to the control socket.
    Connected(LinkId),
    /// A message has come.
    Frame(LinkId, Message),
    /// A link is at its end.
    Closed(LinkId),
    /// A hook has returned, or panicked.
    HookDone(Op, Result<Done, String>),
    /// The lock was tried.
    Locked(Op, LockAnswer),
    /// The record was written, or could not be.
    Recorded(Op, Result<(), String>),
    /// The control path was taken, or could not be.
    PathTaken(Op, Result<(), String>),
    /// A timer has expired.
    Timer(Timer),
    /// The process was asked to stop.
    Stop,
}

impl Event {
    /// The event, as the machine of one role knows it; `None` if a hook has reported what is not for that role.
    fn typed<D>(self, done: impl Fn(Done) -> Option<D>) -> Option<DaemonEvent<D>> {
        Some(match self {
            Event::Start => DaemonEvent::Start,
            Event::Connected(link) => DaemonEvent::Connected(link),
            Event::Frame(link, message) => DaemonEvent::Frame(link, message),
            Event::Closed(link) => DaemonEvent::Closed(link),
            Event::HookDone(op, Ok(report)) => DaemonEvent::HookDone(op, Ok(done(report)?)),
            Event::HookDone(op, Err(why)) => DaemonEvent::HookDone(op, Err(why)),
            Event::Locked(op, answer) => DaemonEvent::Locked(op, answer),
            Event::Recorded(op, result) => DaemonEvent::Recorded(op, result),
            Event::PathTaken(op, result) => DaemonEvent::PathTaken(op, result),
            Event::Timer(timer) => DaemonEvent::Timer(timer),
            Event::Stop => DaemonEvent::Stop,
        })
    }
}

/// What a daemon says of itself, for a status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StateSnapshot {
    /// The number of shards.
    pub shard_count: u32,
    /// The number of open connections.
    pub open_conns: u32,
    /// The last revision of each shard.
    pub last_revision_per_shard: Vec<u64>,
}

/// What the hooks' side has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A hook has returned, or panicked.
    Done(Op, Result<Done, String>),
    /// How far a seal has come.
    Progress(SealProgress),
    /// What a status is to show.
    Snapshot(StateSnapshot),
}

/// What an attempt to accept a connection found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// A connection, and the process at its other end.
    Link(LinkId, Credentials),
    /// Nobody waits.
    Nobody,
    /// Descriptors or memory are exhausted: the connection still waits.
    Failed,
}

/// What a daemon's node stands on.
pub trait Os: Clock + Gaps + Storage + Sockets {
    /// Reads what has come over a link. After [`Read::Closed`] the link is gone.
    fn read(&mut self, link: LinkId) -> Read;

    /// Sends a message: buffered, not received.
    fn send(&mut self, link: LinkId, message: &Message);

    /// Closes a link, after what was sent.
    fn close(&mut self, link: LinkId);

    /// Accepts a connection to the control socket, without waiting for it.
    fn accept(&mut self) -> Accepted;

    /// The effective user of this process.
    fn uid(&self) -> u32;

    /// An answer of the storage that was put off, once it has come.
    fn answer(&mut self) -> Option<Event>;

    /// What the hooks' side has said next.
    fn reply(&mut self) -> Option<Reply>;

    /// Runs `hook` beside the machine; what it reports comes as a [`Reply`] that carries `op`, unless that is
    /// [`Op::UNAWAITED`].
    fn start_hook(&mut self, op: Op, hook: Hook);

    /// Asks the hooks' side for what a status is to show; it comes as a [`Reply`].
    fn take_snapshot(&mut self);

    /// Whether the process was asked to stop.
    fn stop_asked(&self) -> bool;

    /// Leaves.
    fn exit(&mut self, exit: Exit);
}

/// A daemon's machine, in whichever of its two lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It does not serve yet.
    Successor(Successor),
    /// It serves, or has served.
    Incumbent(Incumbent),
}

impl Role {
    /// The role's name, for traces.
    pub fn name(&self) -> &'static str {
        match self {
            Role::Successor(_) => Successor::ROLE,
            Role::Incumbent(_) => Incumbent::ROLE,
        }
    }

    /// The machine's state, after what it awaits.
    pub fn state(&self) -> &'static str {
        match self {
            Role::Successor(machine) => machine.state(),
            Role::Incumbent(machine) => machine.state(),
        }
    }

    /// When each timer expires.
    pub fn timers(&self) -> &Timers {
        match self {
            Role::Successor(machine) => machine.timers(),
            Role::Incumbent(machine) => machine.timers(),
        }
    }

    /// Where the daemon stands, for a status.
    pub fn standing(&self) -> Standing {
        match self {
            Role::Successor(machine) => machine.standing(),
            Role::Incumbent(machine) => machine.standing(),
        }
    }

    /// The link of the supervisor whose handoff the daemon is part of.
    fn session_link(&self) -> Option<LinkId> {
        match self {
            Role::Successor(_) => None,
            Role::Incumbent(machine) => machine.session_link(),
        }
    }

    /// What the supervisor is to hear of a seal that goes on, and over which link.
    pub fn seal_progress(&self, progress: SealProgress) -> Option<(LinkId, Message)> {
        match self {
            Role::Successor(_) => None,
            Role::Incumbent(machine) => machine.seal_progress(progress),
        }
    }

    /// Lets a successor that serves be an incumbent from here on: whether it was one. `stop_grace` is how long open requests may
    /// take to finish when the daemon is asked to stop.
    pub fn promote(&mut self, now: Time, stop_grace: Duration) -> bool {
        let promoted = match self {
            Role::Successor(machine) => machine.promoted(now, stop_grace),
            Role::Incumbent(_) => None,
        };
        let is_promoted = promoted.is_some();
        promoted.into_iter().for_each(|incumbent| *self = Role::Incumbent(incumbent));
        is_promoted
    }
}

/// A link that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Link {
    id: LinkId,
    /// The process was born with it.
    inherited: bool,
    /// A message has come over it.
    has_spoken: bool,
}

/// What a pass looks for next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Stage {
    #[default]
    Answers,
    Links,
    Hooks,
    Stop,
    Connections,
    Timers,
    Over,
}

/// How far a pass has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Pass {
    stage: Stage,
    /// Links that are still to be read, and how many messages may still be taken from the first of them.
    links: VecDeque<LinkId>,
    left: usize,
    accepted: usize,
    /// Something was handed over.
    handled: bool,
    /// There was no end to it: timers have their turn as well.
    flooded: bool,
}

/// All of a daemon's node but the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rest {
    /// The oldest first.
    links: Vec<Link>,
    /// Hooks that have begun and have not returned.
    running: u32,
    /// What was shown last, for a status while a hook runs.
    snapshot: StateSnapshot,
    /// The links that wait for a status.
    asked: Vec<LinkId>,
    accept_again: Option<Time>,
    has_left: bool,
}

/// The node of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Daemon {
    role: Role,
    rest: Rest,
    pass: Pass,
    stop_grace: Duration,
    stop_told: bool,
    /// A stop came on the way to serving: the incumbent is to carry it out.
    stop_again: bool,
}

impl Daemon {
    /// A daemon that is about to start as `role`; `inherited` is the link that it was born with.
    pub fn new(role: Role, inherited: Option<LinkId>, stop_grace: Duration) -> Daemon {
        let link = |id| Link { id, inherited: true, has_spoken: true };
        let rest = Rest {
            links: inherited.map(link).into_iter().collect(),
            running: 0,
            snapshot: StateSnapshot::default(),
            asked: Vec::new(),
            accept_again: None,
            has_left: false,
        };
        Daemon { role, rest, pass: Pass::default(), stop_grace, stop_told: false, stop_again: false }
    }

    /// The machine, in whichever of its two lives.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The links that are open, the oldest first.
    pub fn links(&self) -> impl Iterator<Item = LinkId> {
        self.rest.links.iter().map(|link| link.id)
    }

    /// Whether a connection would be accepted at `now`.
    pub fn accepts(&self, now: Time) -> bool {
        self.rest.accept_again.is_none_or(|at| at <= now)
    }

    /// Whether the machine was told that the process was asked to stop.
    pub fn knows_of_stop(&self) -> bool {
        self.stop_told && !self.stop_again
    }

    fn pick<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        if core::mem::take(&mut self.stop_again) {
            return Some(Event::Stop);
        }
        loop {
            let (found, then) = match self.pass.stage {
                Stage::Answers => (os.answer(), Stage::Links),
                Stage::Links => (self.read(os), Stage::Hooks),
                Stage::Hooks => (self.hear(os), Stage::Stop),
                Stage::Stop => (self.take_stop(os), Stage::Connections),
                Stage::Connections => (self.accept(os), Stage::Timers),
                Stage::Timers => {
                    self.pass.stage = Stage::Over;
                    return self.expired(os.now());
                }
                Stage::Over => return None,
            };
            if found.is_some() {
                return found;
            }
            self.enter(then);
        }
    }

    fn enter(&mut self, stage: Stage) {
        self.pass.stage = stage;
        self.pass.left = FLOOD;
        if stage == Stage::Links {
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

    fn hear<O: Os>(&mut self, os: &mut O) -> Option<Event> {
        while let Some(reply) = os.reply() {
            self.pass.handled = true;
            match reply {
                Reply::Done(op, result) => {
                    self.rest.running = self.rest.running.saturating_sub(u32::from(op != Op::UNAWAITED));
                    return Some(Event::HookDone(op, result));
                }
                Reply::Progress(progress) => self.seal_goes_on(os, progress),
                Reply::Snapshot(snapshot) => {
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
        let told = !os.stop_asked() || core::mem::replace(&mut self.stop_told, true);
        (!told).then_some(Event::Stop)
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
        let knows_itself = matches!(self.role, Role::Incumbent(_));
        if self.rest.running > 0 || !knows_itself {
            return self.tell_status(os, link);
        }
        self.rest.asked.push(link);
        if self.rest.asked.len() == 1 {
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

impl Node for Daemon {
    type Event = Event;

    fn wake_at(&self) -> Option<Time> {
        let timer = self.role.timers().next().map(|(at, _)| at);
        timer.into_iter().chain(self.rest.accept_again).min().filter(|_| !self.rest.has_left)
    }

    fn state(&self) -> &'static str {
        self.role.state()
    }

    fn is_over(&self) -> bool {
        self.rest.has_left
    }
}

impl<O: Os> NodeOn<O> for Daemon {
    fn next(&mut self, os: &mut O) -> Option<Event> {
        let event = if self.rest.has_left { None } else { self.pick(os) };
        match event {
            Some(_) => self.pass.handled = true,
            None => self.pass = Pass::default(),
        }
        event
    }

    /// A successor that serves is an incumbent from then on.
    fn step(&mut self, os: &mut O, event: Event, driver: &mut impl Driver) -> ControlFlow<Crashed> {
        let hands = &mut Hands { rest: &mut self.rest, os };
        let flow = match &mut self.role {
            Role::Incumbent(machine) => match event.typed(Done::for_incumbent) {
                Some(event) => driver.turn(machine, hands, event),
                None => ControlFlow::Continue(()),
            },
            Role::Successor(machine) => match event.typed(Done::for_successor) {
                Some(event) => driver.turn(machine, hands, event),
                None => ControlFlow::Continue(()),
            },
        };
        if flow.is_continue() && !self.rest.has_left && self.role.promote(os.now(), self.stop_grace) {
            self.stop_again = self.stop_told;
        }
        flow
    }
}

impl Rest {
    fn read<O: Os>(&mut self, os: &mut O, id: LinkId) -> Read {
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else { return Read::Nothing };
        let read = os.read(id);
        match &read {
            Read::Message(_) => link.has_spoken = true,
            Read::Closed(_) => self.forget(id),
            Read::Nothing => {}
        }
        read
    }

    fn forget(&mut self, id: LinkId) {
        self.links.retain(|link| link.id != id);
        self.asked.retain(|link| *link != id);
    }

    /// Keeps a connection, if its peer may speak here. `session` is not made room of, nor is the link that the process was born
    /// with; links over which nothing has come go first, so that a flood of connections displaces no peer that speaks.
    fn admit<O: Os>(&mut self, os: &mut O, id: LinkId, peer: Credentials, session: Option<LinkId>) -> bool {
        if !peer.may_speak_to(os.uid()) {
            let error = format!("uid {} is not allowed here", peer.uid);
            os.send(id, &Message::Refused { error });
            os.close(id);
            return false;
        }
        if self.links.len() >= MOST_LINKS {
            let spare = self.links.iter().filter(|link| !link.inherited && Some(link.id) != session);
            let oldest = spare.min_by_key(|link| link.has_spoken).map(|link| link.id);
            oldest.into_iter().for_each(|oldest| {
                os.close(oldest);
                self.forget(oldest);
            });
        }
        self.links.push(Link { id, inherited: false, has_spoken: false });
        true
    }
}

/// What a daemon's machine stands on: the operating system, and what the node keeps of it.
struct Hands<'a, O> {
    rest: &'a mut Rest,
    os: &'a mut O,
}

impl<O: Os> Clock for Hands<'_, O> {
    fn now(&self) -> Time {
        self.os.now()
    }
}

impl<O: Os> Gaps for Hands<'_, O> {
    fn handles(&mut self, cell: Cell) {
        self.os.handles(cell);
    }

    fn gap(&mut self, gap: Gap) -> ControlFlow<Crashed> {
        self.os.gap(gap)
    }
}

impl<O: Os> Transport<LinkId> for Hands<'_, O> {
    fn send(&mut self, to: LinkId, message: &Message) {
        self.os.send(to, message);
    }

    fn close(&mut self, link: LinkId) {
        self.rest.forget(link);
        self.os.close(link);
    }
}

impl<O: Os> Sockets for Hands<'_, O> {
    fn send_listeners(&mut self, to: LinkId) {
        self.os.send_listeners(to);
    }
}

impl<O: Os> Storage for Hands<'_, O> {
    fn lock(&mut self, op: Op) -> Option<LockAnswer> {
        self.os.lock(op)
    }

    fn unlock(&mut self) {
        self.os.unlock();
    }

    fn write_record(&mut self, op: Op, record: &Record) -> Option<Result<(), String>> {
        self.os.write_record(op, record)
    }

    fn take_path(&mut self, op: Op) -> Option<Result<(), String>> {
        self.os.take_path(op)
    }
}

impl<O: Os> Hands<'_, O> {
    fn start(&mut self, op: Op, hook: Hook) {
        self.rest.running += u32::from(op != Op::UNAWAITED);
        self.os.start_hook(op, hook);
    }

    fn leave(&mut self, exit: Exit) {
        self.rest.has_left = true;
        self.os.exit(exit);
    }
}

impl<O: Os> Hooks<incumbent::Hook> for Hands<'_, O> {
    fn start_hook(&mut self, op: Op, hook: incumbent::Hook) {
        // No machine waits for the end of this one.
        let op = if hook == incumbent::Hook::Finalize { Op::UNAWAITED } else { op };
        self.start(op, Hook::Incumbent(hook));
    }

    fn exit(&mut self, exit: Exit) {
        self.leave(exit);
    }
}

impl<O: Os> Hooks<successor::Hook> for Hands<'_, O> {
    fn start_hook(&mut self, op: Op, hook: successor::Hook) {
        self.start(op, Hook::Successor(hook));
    }

    fn exit(&mut self, exit: Exit) {
        self.leave(exit);
    }
}
