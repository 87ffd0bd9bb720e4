//! The operating system of a daemon's node, in the simulated kernel.
use handoff::HostError;
use handoff::host::{Sockets, Storage};
use handoff::machine::{ExitReason, LinkId, LockAnswer, Op, incumbent};
use handoff::message::Message;
use handoff::node::daemon::Hook as AnyHook;
use handoff::node::daemon::{Accepted, Event, HookReport, Os};
use handoff::node::{Credentials, Read};
use handoff::record::Record;

use crate::host::{Host, UID};
use crate::kernel::Side;
use crate::plan::Operation;
use crate::program::DeferredAnswer;
use crate::trace::words::{lock_answer, written};
use crate::world::{Doing, SimulatedWorld, Surroundings};

impl<S: Surroundings> Os for Host<'_, S> {
    fn read(&mut self, link: LinkId) -> Read {
        let read = self.read_link(link.0, Side::Daemon);
        if let (Read::Message(Message::HelloAck(_)), Some(daemon)) = (&read, self.world.daemon_mut(self.pid))
        {
            daemon.joined = true;
        }
        read
    }

    fn send(&mut self, link: LinkId, message: &Message) {
        let message = message.clone();
        self.perform(move |world, _| world.send(link.0, Side::Daemon, &message));
    }

    fn close(&mut self, link: LinkId) {
        self.perform(move |world, _| world.kernel.close_link(link.0, Side::Daemon));
    }

    fn accept(&mut self) -> Accepted {
        let now = self.world.kernel.now;
        let Some(process) = self.world.kernel.processes.get_mut(&self.pid) else { return Accepted::Nobody };
        let exhausted = process.no_descriptors_until > now;
        if process.waiting.front().is_none_or(|(at, _)| *at > now) {
            return Accepted::Nobody;
        }
        if exhausted {
            return Accepted::Failed;
        }
        let Some((_, id)) = process.waiting.pop_front() else { return Accepted::Nobody };
        // One whose peer has gone before it was accepted is accepted all the same, on a real system.
        let Some(link) = self.world.kernel.links.get_mut(&id) else { return self.accept() };
        link.accepted = true;
        Accepted::Link(LinkId(id), Credentials { uid: UID, pid: Some(link.pid(Side::Supervisor)) })
    }

    fn uid(&self) -> u32 {
        UID
    }

    fn answer(&mut self) -> Option<Event> {
        loop {
            if let DeferredAnswer::Daemon(event) = self.world.pending(self.pid)? {
                return Some(event);
            }
        }
    }

    fn reply(&mut self) -> Option<HookReport> {
        self.world.running_daemon(self.pid)?.replies.pop_front()
    }

    fn start_hook(&mut self, op: Op, hook: AnyHook) {
        let name = hook.name();
        self.did(|| format!("{name} begins"));
        self.perform(move |world, pid| {
            let Some(daemon) = world.daemon_mut(pid) else { return };
            daemon.finalizes |= hook == AnyHook::Incumbent(incumbent::Hook::Finalize);
            daemon.hooks.push_back((op, hook));
            if daemon.hooks.len() == 1 {
                world.hook_begins(pid);
            }
        });
    }

    /// No simulated peer asks for a status.
    fn take_snapshot(&mut self) {}

    fn stop_asked(&self) -> bool {
        self.world.daemon(self.pid).is_some_and(|daemon| daemon.stop_asked)
    }

    fn exit(&mut self, exit: ExitReason) {
        self.did(|| "exits".into());
        self.perform(move |world, pid| {
            if let Some(daemon) = world.daemon_mut(pid) {
                daemon.exit = Some(exit);
            }
        });
    }
}

impl<S: Surroundings> Sockets for Host<'_, S> {
    fn send_listeners(&mut self, to: LinkId) {
        self.perform(move |world, pid| {
            let has = world.kernel.listener.has(pid);
            let names = if has { vec!["main".to_string()] } else { Vec::new() };
            world.send(to.0, Side::Daemon, &Message::Listeners { names, more: false });
            if let Some(link) = world.kernel.links.get_mut(&to.0) {
                link.carries_listener |= has;
            }
        });
    }

    fn receive_connections(&mut self, from: LinkId) {
        self.perform(move |world, pid| world.begins_to_receive(pid, from.0));
    }
}

impl<S: Surroundings> Storage for Host<'_, S> {
    fn lock(&mut self, op: Op) -> Option<LockAnswer> {
        let told = move |answer| DeferredAnswer::Daemon(Event::Locked(op, answer));
        let (late, fails) = S::operation_fate(self.world, self.pid, Operation::Lock);
        let answer = move |world: &mut SimulatedWorld<S>, pid| match fails {
            true => Some(LockAnswer::Error(HostError::system("injected"))),
            false => Some(world.try_lock(pid)),
        };
        let answer = self.answer(late, answer, told);
        let words = || format!("lock: {}", answer.as_ref().map_or("asked", lock_answer));
        match &answer {
            Some(LockAnswer::Busy { .. }) => self.tried(words),
            _ => self.did(words),
        }
        answer
    }

    fn unlock(&mut self) {
        self.did(|| "unlocks".into());
        self.perform(|world, pid| {
            world.shows(pid, Doing::Unlocks);
            world.kernel.disk.lock().unlock(pid);
        });
    }

    fn write_record(&mut self, op: Op, record: &Record) -> Option<Result<(), HostError>> {
        let written_record = record.clone();
        let told = move |result| DeferredAnswer::Daemon(Event::Recorded(op, result));
        let (late, fails) = S::operation_fate(self.world, self.pid, Operation::Record);
        let write = move |world: &mut SimulatedWorld<S>, pid| match fails {
            true => Some(Err(HostError::system("injected"))),
            false => Some(world.write_record(pid, &written_record)),
        };
        let answer = self.answer(late, write, told);
        self.did(|| format!("record {} {}", record.generation, answer.as_ref().map_or("asked for", written)));
        answer
    }

    fn take_path(&mut self, op: Op) -> Option<Result<(), HostError>> {
        let told = move |result| DeferredAnswer::Daemon(Event::PathTaken(op, result));
        let (late, fails) = S::operation_fate(self.world, self.pid, Operation::Path);
        let take = move |world: &mut SimulatedWorld<S>, pid| {
            if fails {
                return Some(Err(HostError::system("injected")));
            }
            if world.kernel.swept.has(pid) {
                return Some(Err(HostError::system("no such file or directory")));
            }
            world.kernel.takes_path(pid);
            Some(Ok(()))
        };
        let answer = self.answer(late, take, told);
        self.did(|| "takes the path".into());
        answer
    }
}
