//! The protocol's thread: one `poll(2)` loop that runs the successor's machine and then the incumbent's.
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender};

use super::hooks::{Call, Reply};
use super::links::Links;
use super::{Place, STOP_GRACE, StopHandle};
use crate::drive::turn;
use crate::host::{Clock, Crashed, Gap, Gaps, Hooks, Sockets, Storage, Transport};
use crate::machine::{
    Cell, DaemonEvent, Exit, Incumbent, LinkId, LockAnswer, Machine, Op, Successor, Timer, incumbent,
    successor,
};
use crate::message::{Message, Standing, Status};
use crate::record::Record;
use crate::time::{Duration, Time};
use crate::unix::env::Inherited;
use crate::unix::gaps;
use crate::unix::hooks::StateSnapshot;
use crate::unix::link::{FLOOD, Read1};
use crate::unix::listeners::Listeners;
use crate::unix::poller::{self, MonotonicClock};
use crate::unix::wake::WakeReceiver;

/// After descriptors or memory were exhausted, nothing is accepted for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A daemon's machine, in whichever of its two lives.
#[derive(Debug)]
pub(crate) enum Role {
    Successor(Successor),
    Incumbent(Incumbent),
}

/// What can happen, in whichever role.
enum Happening {
    Start,
    Connected(LinkId),
    Frame(LinkId, Message),
    Closed(LinkId),
    Hook(Reply),
    Timer(Timer),
    Stop,
}

/// The protocol's thread.
pub(super) struct Engine {
    host: Host,
    wake: WakeReceiver,
    results: Receiver<Reply>,
    stop: StopHandle,
    stop_told: bool,
    accept_again: Time,
}

impl Engine {
    pub(super) fn new(
        place: Place,
        wake: WakeReceiver,
        calls: Sender<Call>,
        results: Receiver<Reply>,
        stop: StopHandle,
    ) -> Self {
        let host = Host {
            clock: MonotonicClock::new(),
            place,
            links: Links::default(),
            calls,
            running: 0,
            snapshot: StateSnapshot::default(),
            asked: Vec::new(),
            exit: None,
        };
        Engine { host, wake, results, stop, stop_told: false, accept_again: Time::ZERO }
    }

    /// Runs until the machine leaves.
    pub(super) fn run(mut self, mut role: Role, inherited: Option<Inherited>) {
        if let Some(inherited) = inherited {
            self.host.links.inherit(inherited.link);
        }
        self.step(&mut role, Happening::Start);
        while self.host.exit.is_none() {
            if let Err(error) = self.wait_and_handle(&mut role) {
                self.host.exit = Some(Exit::Failed(format!("the protocol's thread can't go on: {error}")));
            }
        }
        let Host { place, links, calls, exit, .. } = self.host;
        // Whoever waits for the main thread finds the names gone and the links closed.
        drop((links, place));
        let _ = calls.send(Call::Exit(exit.unwrap_or(Exit::Stopped)));
    }

    fn wait_and_handle(&mut self, role: &mut Role) -> std::io::Result<()> {
        let now = self.host.now();
        let accepting = now >= self.accept_again;
        let accept_pause = (!accepting).then(|| self.accept_again.since(now));
        let timeout =
            [role.timers().next().map(|(at, _)| at.since(now)), accept_pause].into_iter().flatten().min();
        let ready = {
            let mut fds = vec![(self.wake.as_fd(), false)];
            fds.extend(self.host.links.pollables());
            fds.extend(accepting.then(|| (self.host.place.control.as_fd(), false)));
            poller::wait(&fds, timeout)?
        };
        let handled = ready.contains(&true) && self.handle_ready(role);
        // Frames before timers: one that has expired waits until nothing is left to read.
        if let Some((_, timer)) = role.timers().next().filter(|(at, _)| !handled && *at <= self.host.now()) {
            self.step(role, Happening::Timer(timer));
        }
        Ok(())
    }

    /// Handles all that has happened; `false` if nothing has, or if there is no end to it: then timers have
    /// their turn as well.
    fn handle_ready(&mut self, role: &mut Role) -> bool {
        self.wake.drain();
        let mut handled = false;
        // The older links first: what a supervisor said last over one comes before what it says over the next.
        let mut flooded = false;
        for id in self.host.links.ids() {
            let read = self.read(role, id);
            handled |= read > 0;
            flooded |= read == FLOOD;
        }
        while let Some(reply) = self.results.try_recv().ok().filter(|_| self.host.exit.is_none()) {
            handled = true;
            self.step(role, Happening::Hook(reply));
        }
        if self.stop.is_asked() && !std::mem::replace(&mut self.stop_told, true) {
            handled = true;
            self.step(role, Happening::Stop);
        }
        (handled | self.accept(role)) && !flooded
    }

    /// Handles what came over one link, but not without end. Returns how much that was.
    fn read(&mut self, role: &mut Role, id: LinkId) -> usize {
        for read in 0..FLOOD {
            let happening = match self.host.links.read(id) {
                Read1::Message(message) => Happening::Frame(id, message),
                Read1::Closed(_) => Happening::Closed(id),
                Read1::Nothing => return read,
            };
            let closed = matches!(happening, Happening::Closed(_));
            self.step(role, happening);
            if closed || self.host.exit.is_some() {
                return read + 1;
            }
        }
        FLOOD
    }

    fn accept(&mut self, role: &mut Role) -> bool {
        let mut handled = false;
        while self.host.exit.is_none() && self.host.now() >= self.accept_again {
            match self.host.place.control.accept() {
                Ok(Some((stream, peer))) => {
                    handled = true;
                    if let Some(id) = self.host.links.admit(stream, peer, role.session_link()) {
                        self.step(role, Happening::Connected(id));
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(target: "handoff.control", %error, "can't accept");
                    self.accept_again = self.host.now() + ACCEPT_PAUSE;
                }
            }
        }
        handled
    }

    /// Lets the machine handle what has happened. A successor that serves is an incumbent from then on.
    fn step(&mut self, role: &mut Role, happening: Happening) {
        if self.host.exit.is_some() {
            return;
        }
        match &happening {
            Happening::Frame(link, Message::StatusQuery) => return self.host.asked_for_status(*link, role),
            Happening::Hook(Reply::Snapshot(snapshot)) => {
                return self.host.snapshot_taken(snapshot.clone(), role);
            }
            Happening::Hook(Reply::Progress(progress)) => {
                if let Some((link, message)) = role.seal_progress(*progress) {
                    self.host.links.send(link, &message);
                }
                return;
            }
            Happening::Hook(_) => self.host.running -= 1,
            _ => {}
        }
        match role {
            Role::Incumbent(machine) => {
                run_turn(machine, &mut self.host, happening, Reply::for_incumbent);
            }
            Role::Successor(machine) => {
                run_turn(machine, &mut self.host, happening, Reply::for_successor);
                if let Some(incumbent) = machine.promoted(self.host.now(), STOP_GRACE) {
                    *role = Role::Incumbent(incumbent);
                    // A stop that came on the way is the incumbent's to carry out.
                    if self.stop_told {
                        self.step(role, Happening::Stop);
                    }
                }
            }
        }
    }
}

/// One turn of the driver, if what happened concerns the machine.
fn run_turn<M, D>(
    machine: &mut M,
    host: &mut Host,
    happening: Happening,
    reply: impl Fn(Reply) -> Option<(Op, Result<D, String>)>,
) where
    M: crate::drive::Runs<Host> + Machine<Event = DaemonEvent<D>>,
    D: std::fmt::Debug,
{
    let event = match happening {
        Happening::Start => DaemonEvent::Start,
        Happening::Connected(link) => DaemonEvent::Connected(link),
        Happening::Frame(link, message) => DaemonEvent::Frame(link, message),
        Happening::Closed(link) => DaemonEvent::Closed(link),
        Happening::Timer(timer) => DaemonEvent::Timer(timer),
        Happening::Stop => DaemonEvent::Stop,
        Happening::Hook(result) => match reply(result) {
            Some((op, result)) => DaemonEvent::HookDone(op, result),
            None => return,
        },
    };
    let before = machine.state();
    tracing::trace!(target: "handoff.event", role = M::ROLE, state = before, ?event);
    let ControlFlow::Continue(()) = turn(machine, host, event) else { return };
    if before != machine.state() {
        tracing::debug!(target: "handoff.state", role = M::ROLE, from = before, to = machine.state());
    }
}

impl Role {
    fn timers(&self) -> &crate::machine::Timers {
        match self {
            Role::Successor(machine) => machine.timers(),
            Role::Incumbent(machine) => machine.timers(),
        }
    }

    fn standing(&self) -> Standing {
        match self {
            Role::Successor(machine) => machine.standing(),
            Role::Incumbent(machine) => machine.standing(),
        }
    }

    fn session_link(&self) -> Option<LinkId> {
        match self {
            Role::Successor(_) => Some(LinkId(0)),
            Role::Incumbent(machine) => machine.session_link(),
        }
    }

    fn seal_progress(&self, progress: crate::message::SealProgress) -> Option<(LinkId, Message)> {
        match self {
            Role::Successor(_) => None,
            Role::Incumbent(machine) => machine.seal_progress(progress),
        }
    }
}

/// What the machines stand on.
struct Host {
    clock: MonotonicClock,
    place: Place,
    links: Links,
    calls: Sender<Call>,
    /// Hooks that have been called and have not replied.
    running: usize,
    /// The last one taken, for a status while a hook runs.
    snapshot: StateSnapshot,
    /// Who waits for a status.
    asked: Vec<LinkId>,
    exit: Option<Exit>,
}

impl Host {
    fn call(&mut self, call: Call) {
        self.running += 1;
        let _ = self.calls.send(call);
    }

    /// A status is always answered: with what the daemon says now, or, while a hook runs, said last.
    fn asked_for_status(&mut self, link: LinkId, role: &Role) {
        let knows_itself = matches!(role, Role::Incumbent(_));
        if self.running > 0 || !knows_itself {
            return self.answer(link, role);
        }
        self.asked.push(link);
        if self.asked.len() == 1 {
            let _ = self.calls.send(Call::Snapshot);
        }
    }

    fn snapshot_taken(&mut self, snapshot: StateSnapshot, role: &Role) {
        self.snapshot = snapshot;
        for link in std::mem::take(&mut self.asked) {
            self.answer(link, role);
        }
    }

    fn answer(&mut self, link: LinkId, role: &Role) {
        let StateSnapshot { shard_count, open_conns, last_revision_per_shard } = self.snapshot.clone();
        let status = Status { standing: role.standing(), shard_count, open_conns, last_revision_per_shard };
        self.links.send(link, &Message::Status(status));
    }
}

impl Clock for Host {
    fn now(&self) -> Time {
        self.clock.now()
    }
}

impl Gaps for Host {
    fn handles(&mut self, cell: Cell) {
        gaps::handles(cell);
    }

    fn gap(&mut self, gap: Gap) -> ControlFlow<Crashed> {
        gaps::gap(gap)
    }
}

impl Transport<LinkId> for Host {
    fn send(&mut self, to: LinkId, message: &Message) {
        self.links.send(to, message);
    }

    fn close(&mut self, link: LinkId) {
        self.links.close(link);
    }
}

impl Sockets for Host {
    fn send_listeners(&mut self, to: LinkId) {
        match self.place.listeners.try_clone().map(Listeners::into_entries) {
            Ok(entries) => self.links.send_listeners(to, entries),
            // It asks again.
            Err(error) => tracing::warn!(target: "handoff.control", %error, "can't give the listeners away"),
        }
    }
}

impl Hooks<incumbent::Hook> for Host {
    fn start_hook(&mut self, op: Op, hook: incumbent::Hook) {
        match hook {
            incumbent::Hook::Drain { grace } => self.call(Call::Drain(op, grace)),
            incumbent::Hook::Seal => self.call(Call::Seal(op)),
            incumbent::Hook::Resume { from_disk } => self.call(Call::Resume(op, from_disk)),
            incumbent::Hook::Finalize => drop(self.calls.send(Call::Finalize)),
        }
    }

    fn exit(&mut self, exit: Exit) {
        self.leave(exit);
    }
}

impl Hooks<successor::Hook> for Host {
    fn start_hook(&mut self, op: Op, hook: successor::Hook) {
        match hook {
            successor::Hook::WarmUp => self.call(Call::WarmUp(op)),
            successor::Hook::Open { sealed } => self.call(Call::Open(op, sealed)),
            successor::Hook::Serve => self.call(Call::Serve(op)),
        }
    }

    fn exit(&mut self, exit: Exit) {
        self.leave(exit);
    }
}

impl Host {
    fn leave(&mut self, exit: Exit) {
        tracing::info!(target: "handoff", ?exit, "leaving");
        if exit == Exit::HookLimit {
            // The hook holds its thread and whatever locks it took: nothing can be run down in order.
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
        self.exit = Some(exit);
    }
}

impl Storage for Host {
    fn lock(&mut self, _op: Op) -> Option<LockAnswer> {
        let locked = self.place.lock.try_lock();
        let record = self.place.record.read();
        Some(match (locked, record) {
            (Ok(true), Ok((last, problems))) => {
                for problem in problems {
                    tracing::warn!(target: "handoff.record", %problem);
                }
                LockAnswer::Held { last }
            }
            (Ok(true), Err(error)) => {
                let _ = self.place.lock.unlock();
                LockAnswer::Error(format!("the record can't be read: {error}"))
            }
            (Ok(false), hint) => LockAnswer::Busy { hint: hint.ok().and_then(|(record, _)| record) },
            (Err(error), _) => LockAnswer::Error(error.to_string()),
        })
    }

    fn unlock(&mut self) {
        if let Err(error) = self.place.lock.unlock() {
            tracing::error!(target: "handoff", %error, "can't unlock the data directory");
        }
    }

    fn write_record(&mut self, _op: Op, record: &Record) -> Option<Result<(), String>> {
        Some(self.place.record.write(record).map_err(|error| error.to_string()))
    }

    fn take_path(&mut self, _op: Op) -> Option<Result<(), String>> {
        Some(self.place.control.take_path().map_err(|error| error.to_string()))
    }
}
