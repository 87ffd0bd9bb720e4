//! The operating system of a daemon's node in a real process: the control socket, the lock, the record, the
//! hooks' thread.
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use super::hooks::{Call, HookReply};
use super::links::Links;
use super::names::Names;
use super::{Place, STOP_GRACE, StopHandle};
use crate::error::HostError;
use crate::host::{Clock, Crashed, Gap, Gaps, Sockets, Storage};
use crate::id::ProcessId;
use crate::machine::{Cell, ExitReason, LinkId, LockAnswer, Op, incumbent, successor};
use crate::message::Message;
use crate::node::Read;
use crate::node::daemon::{self as node, Accepted, DaemonMachine, DaemonNode, Event, Hook, Os, RECORD_BOUND};
use crate::record::Record;
use crate::time::{Duration, Time};
use crate::unix::again::again;
use crate::unix::env::Inherited;
use crate::unix::gaps;
use crate::unix::listeners::Listeners;
use crate::unix::poller::MonotonicClock;
use crate::unix::reactor::{self, System};
use crate::unix::sparing::Sparing;
use crate::unix::wake::WakeReceiver;

/// The operating system, as a daemon's node sees it.
pub(super) struct Host {
    clock: MonotonicClock,
    place: Place,
    links: Links,
    wake: WakeReceiver,
    calls: Sender<Call>,
    replies: Receiver<HookReply>,
    stop: StopHandle,
    /// The process that this one is to replace, once it was told.
    incumbent: Option<ProcessId>,
    names: Names,
    /// `true` if the node accepts no connection now.
    is_full: bool,
    /// Peers that were refused, and accepts that failed: any local process may cause them.
    refusals: Sparing,
    exit: Option<ExitReason>,
}

impl Host {
    pub(super) fn new(
        place: Place,
        wake: WakeReceiver,
        calls: Sender<Call>,
        replies: Receiver<HookReply>,
        stop: StopHandle,
    ) -> Self {
        let (clock, links) = (MonotonicClock::new(), Links::default());
        let names = Names::new(place.control.path());
        Host {
            clock,
            place,
            links,
            wake,
            calls,
            replies,
            stop,
            incumbent: None,
            names,
            is_full: false,
            refusals: Sparing::default(),
            exit: None,
        }
    }

    /// Runs `role` on this thread until its process is to leave.
    pub(super) fn run(mut self, role: DaemonMachine, inherited: Option<Inherited>) {
        let link = inherited.map(|inherited| self.links.inherit(inherited.link));
        self.names.has_path = matches!(role, DaemonMachine::Incumbent(_));
        let mut node = DaemonNode::new(role, link, STOP_GRACE);
        let lives = node.start().is_none_or(|start| reactor::step(&mut node, &mut self, start).is_continue());
        if lives {
            reactor::run(&mut node, &mut self);
        }
        let Host { place, links, calls, exit, .. } = self;
        // The names are gone and the links closed before the main thread, and those that wait for it, go on.
        drop((links, place));
        let _ = calls.send(Call::Exit(exit.unwrap_or(ExitReason::Stopped)));
    }
}

impl System for Host {
    fn pollables(&self) -> Vec<(BorrowedFd<'_>, bool)> {
        let mut fds = vec![(self.wake.as_fd(), false)];
        fds.extend(self.links.pollables());
        fds.extend((!self.is_full).then(|| (self.place.control.as_fd(), false)));
        fds.extend(self.names.pollable().map(|fd| (fd, false)));
        fds
    }

    fn drain_wakes(&mut self) {
        self.wake.drain();
        self.names.look_after(&mut self.place.control);
    }

    fn look_again_after(&self) -> Option<Duration> {
        self.names.look_again_after()
    }
}

impl Os for Host {
    fn read(&mut self, link: LinkId) -> Read {
        let read = self.links.read(link);
        if let Read::Message(Message::HelloAck(ack)) = &read {
            self.incumbent = self.incumbent.or(ack.incumbent);
        }
        read
    }

    fn send(&mut self, link: LinkId, message: &Message) {
        if let Message::Refused { error } = message
            && let Some(left_out) = self.refusals.admits(Instant::now())
        {
            tracing::info!(target: "handoff.control", link = link.0, %error, left_out, "a peer is refused");
        }
        self.links.send(link, message);
    }

    fn close(&mut self, link: LinkId) {
        self.links.close(link);
    }

    fn accept(&mut self) -> Accepted {
        let accepted = self.place.control.accept();
        self.is_full = accepted.is_err();
        match accepted {
            Ok(Some((stream, peer))) => Accepted::Link(self.links.add(stream), peer),
            Ok(None) => Accepted::Nobody,
            Err(error) => {
                if let Some(left_out) = self.refusals.admits(Instant::now()) {
                    tracing::warn!(target: "handoff.control", %error, left_out, "can't accept");
                }
                Accepted::Failed
            }
        }
    }

    fn uid(&self) -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    fn answer(&mut self) -> Option<Event> {
        None
    }

    fn reply(&mut self) -> Option<node::HookReport> {
        self.replies.try_recv().ok().map(HookReply::for_node)
    }

    fn start_hook(&mut self, op: Op, hook: Hook) {
        let call = match hook {
            Hook::Incumbent(incumbent::Hook::Drain { grace, successor }) => {
                Call::Drain(op, grace, successor, self.place.check(None))
            }
            Hook::Incumbent(incumbent::Hook::Seal) => Call::Seal(op),
            Hook::Incumbent(incumbent::Hook::Resume { from_disk }) => Call::Resume(op, from_disk),
            Hook::Incumbent(incumbent::Hook::Finalize) => Call::Finalize,
            Hook::Successor(successor::Hook::WarmUp) => Call::WarmUp(op, self.place.check(self.incumbent)),
            Hook::Successor(successor::Hook::Open { sealed }) => Call::Open(op, sealed),
            Hook::Successor(successor::Hook::Serve) => Call::Serve(op),
        };
        let _ = self.calls.send(call);
    }

    fn take_snapshot(&mut self) {
        let _ = self.calls.send(Call::Snapshot);
    }

    fn stop_asked(&self) -> bool {
        self.stop.is_asked()
    }

    fn exit(&mut self, exit: ExitReason) {
        tracing::info!(target: "handoff", ?exit, "leaving");
        if exit == ExitReason::HookLimit {
            // The hook holds its thread and whatever locks it took: nothing can be run down in order.
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
        self.exit = Some(exit);
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

impl Sockets for Host {
    fn send_listeners(&mut self, to: LinkId) {
        match self.place.listeners.try_clone().map(Listeners::into_entries) {
            Ok(entries) => self.links.send_listeners(to, entries),
            // The supervisor asks again.
            Err(error) => tracing::warn!(target: "handoff.control", %error, "can't give the listeners away"),
        }
    }

    fn receive_connections(&mut self, from: LinkId) {
        let Some(stream) = self.links.take(from) else { return };
        if let Some(inbound) = &self.place.inbound {
            inbound.receive(stream);
        }
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
                LockAnswer::Error(HostError::from(error).context("the record can't be read"))
            }
            (Ok(false), hint) => {
                let holder = self.place.lock.holder();
                let in_words = holder.as_ref().map(|holder| holder.to_string().into());
                let last = hint.ok().and_then(|(record, _)| record);
                LockAnswer::busy(last, holder.map(|holder| holder.pid), in_words)
            }
            (Err(error), _) => LockAnswer::Error(error.into()),
        })
    }

    fn unlock(&mut self) {
        // The path is the next one's to take.
        self.names.has_path = false;
        if let Err(error) = self.place.lock.unlock() {
            tracing::error!(target: "handoff", %error, "can't unlock the data directory");
        }
    }

    fn write_record(&mut self, _op: Op, record: &Record) -> Option<Result<(), HostError>> {
        // An incumbent that can't write it leaves, and then no process serves.
        let written = again(RECORD_BOUND, "the record", || self.place.record.write(record));
        Some(written.map_err(HostError::from))
    }

    fn take_path(&mut self, _op: Op) -> Option<Result<(), HostError>> {
        let taken = self.place.control.take_path();
        self.names.has_path |= taken.is_ok();
        Some(taken.map_err(HostError::from))
    }
}
