//! The hosts of all machines, on the simulated kernel.
//!
//! A process that is stopped in the middle of a turn does the rest of it when it goes on; one that dies there does not.
//! Answers that a machine waits for may come at once or later.
use std::ops::ControlFlow;

use handoff::ProcessId;
use handoff::host::{
    Clock, Crashed, Discovery, Gap, Gaps, Hooks, Journal, Process, RecoveryHost, Sockets, Storage,
    SupervisorHost, Transport,
};
use handoff::machine::recovery::{self, Sighting};
use handoff::machine::supervisor::{self, Note, Peer};
use handoff::machine::{Cell, Exit, LinkId, LockAnswer, Op, incumbent, successor};
use handoff::message::Message;
use handoff::record::{self, Record};
use handoff::slots;
use handoff::time::Time;

use crate::kernel::{Kind, Micros, RECORD, Side};
use crate::plan::{At, Operation};
use crate::process::{AnyHook, Input, Life, Pending, lock_answer, message_name, noted, written};
use crate::trace::Effect;
use crate::world::World;

/// The host of one process.
pub(crate) struct Host<'a> {
    pub world: &'a mut World,
    pub pid: u32,
}

impl Host<'_> {
    /// Performs an effect now or, in a stopped process, when it goes on.
    fn perform(&mut self, effect: impl FnOnce(&mut World, u32) + 'static) {
        match self.world.processes.get_mut(&self.pid) {
            Some(process) if process.life == Life::Stopped => process.deferred.push(Box::new(effect)),
            Some(process) if process.runs() => effect(self.world, self.pid),
            _ => {}
        }
    }

    /// Performs an operation and answers now or, in a stopped process, when it goes on.
    fn answer_at_once<T: 'static>(
        &mut self,
        operation: impl FnOnce(&mut World, u32) -> Option<T> + 'static,
        told: impl FnOnce(T) -> Pending + 'static,
    ) -> Option<T> {
        if self.world.runs(self.pid) {
            return operation(self.world, self.pid);
        }
        self.perform(move |world, pid| {
            if let Some(answer) = operation(world, pid) {
                world.put_off(pid, world.now, told(answer));
            }
        });
        None
    }

    /// Performs an operation and answers now, or does both later; later by `late` at least, if something makes it slow.
    fn answer<T: 'static>(
        &mut self,
        late: Micros,
        operation: impl FnOnce(&mut World, u32) -> Option<T> + 'static,
        told: impl FnOnce(T) -> Pending + 'static,
    ) -> Option<T> {
        if late == 0 && self.world.runs(self.pid) && self.world.choice(self.pid, 8) != 1 {
            return operation(self.world, self.pid);
        }
        self.perform(move |world, pid| {
            let at = world.now + world.length(pid, Kind::Operation) + late;
            let operation = move |world: &mut World, pid| operation(world, pid).map(told);
            world.put_off(pid, at, Pending::Operation(Box::new(operation)));
        });
        None
    }

    fn did(&mut self, what: impl FnOnce() -> String) {
        self.world.recorder.effect(|| Effect::Did(what()));
    }
}

impl World {
    /// An answer comes at `at`.
    pub(crate) fn put_off(&mut self, pid: u32, at: u64, pending: Pending) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let at = process.pending.back().map_or(at, |(last, _)| at.max(*last));
        process.pending.push_back((at, pending));
        self.poke(pid, at);
    }

    /// Sends a message over a link, from its end at `side`.
    pub(crate) fn send(&mut self, id: u64, side: Side, message: &Message) {
        let Some(link) = self.links.get(&id).filter(|link| link.is_open(side)) else { return };
        let (from, to) = (link.pid(side), link.pid(side.other()));
        let (fate, late) = self.frame_fate(from, to, side, message);
        let number = self.recorder.next_frame();
        self.recorder.frame(self.name_of(from), self.name_of(to), message.name());
        let name = self.name_of(to);
        let effect = || Effect::Sent { to: name, message: message_name(message), frame: number };
        self.recorder.effect(effect);
        let delay = self.length(from, Kind::Wire) + late;
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else { return };
        let arrives = link.send(side, message, now, delay, fate, number);
        if let Some(at) = arrives {
            self.poke(to, at);
            if self.links.get(&id).is_some_and(|link| !link.is_whole()) {
                self.poke(from, at);
            }
        }
    }

    /// The record, as it lies there.
    pub(crate) fn record(&self) -> Option<Record> {
        let disk = self.disk.lock();
        let slots = slots::decode_slots(disk.system_read(RECORD), record::MAGIC, record::SLOT_SIZE);
        slots.newest.map(|(_, record)| record)
    }

    fn try_lock(&mut self, pid: u32) -> LockAnswer {
        let last = self.record();
        if self.disk.lock().try_lock(pid) {
            let sealed = last.as_ref().filter(|record| record.sealed_for.is_some_and(|heir| heir.pid == pid));
            let scheme = sealed.map(|record| record.fingerprint.scheme);
            self.daemon_mut(pid).into_iter().for_each(|daemon| daemon.sealed_for_it = scheme);
            return LockAnswer::Held { last };
        }
        LockAnswer::Busy { hint: last }
    }

    fn write_record(&mut self, pid: u32, record: &Record) -> Result<(), String> {
        if !self.disk.lock().holders.contains(&pid) {
            self.violated("one writer", format!("process {pid} writes the record without the lock"));
        }
        self.audit.before_holder = self.daemon_mut(pid).and_then(|daemon| daemon.predecessor);
        let mut disk = self.disk.lock();
        let old = slots::decode_slots::<Record>(disk.system_read(RECORD), record::MAGIC, record::SLOT_SIZE);
        let bytes = slots::encode_slot(record::MAGIC, old.next_sequence(), record, record::SLOT_SIZE);
        let bytes = bytes.map_err(|error| error.to_string())?;
        disk.system_write(RECORD, old.next * record::SLOT_SIZE, &bytes)
    }
}

impl Clock for Host<'_> {
    fn now(&self) -> Time {
        let now = self.world.now;
        self.world.processes.get(&self.pid).map_or(Time::ZERO, |process| process.clock.at(now))
    }
}

impl Gaps for Host<'_> {
    fn handles(&mut self, cell: Cell) {
        self.world.meets(self.pid, cell);
        if cell.event.of == "timer" {
            self.world.silence_is_true(self.pid, cell.event.what);
        }
        self.world.recorder.step(self.world.name_of(self.pid), cell);
    }

    fn gap(&mut self, gap: Gap) -> ControlFlow<Crashed> {
        if self.world.runs(self.pid) {
            self.world.passes_gap(self.pid, gap);
        }
        match self.world.processes.get(&self.pid) {
            Some(process) if process.listens() => {
                let name = process.name;
                gap.before.into_iter().for_each(|effect| self.world.recorder.sees(name, effect));
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(Crashed),
        }
    }
}

impl Transport<LinkId> for Host<'_> {
    fn send(&mut self, to: LinkId, message: &Message) {
        let message = message.clone();
        self.perform(move |world, _| world.send(to.0, Side::Daemon, &message));
    }

    fn close(&mut self, link: LinkId) {
        self.perform(move |world, pid| {
            world.daemon_mut(pid).into_iter().for_each(|daemon| daemon.links.retain(|id| *id != link.0));
            world.close_link(link.0, Side::Daemon);
        });
    }
}

impl Sockets for Host<'_> {
    fn send_listeners(&mut self, to: LinkId) {
        self.perform(move |world, pid| {
            let has = world.listener.has(pid);
            let names = if has { vec!["main".to_string()] } else { Vec::new() };
            world.send(to.0, Side::Daemon, &Message::Listeners { names, more: false });
            if let Some(link) = world.links.get_mut(&to.0) {
                link.carries_listener |= has;
            }
        });
    }
}

impl Hooks<incumbent::Hook> for Host<'_> {
    fn start_hook(&mut self, op: Op, hook: incumbent::Hook) {
        // Nobody waits for the end of this one.
        let op = if hook == incumbent::Hook::Finalize { Op::UNAWAITED } else { op };
        self.run(op, AnyHook::Incumbent(hook));
    }

    fn exit(&mut self, exit: Exit) {
        self.leave(exit);
    }
}

impl Hooks<successor::Hook> for Host<'_> {
    fn start_hook(&mut self, op: Op, hook: successor::Hook) {
        self.run(op, AnyHook::Successor(hook));
    }

    fn exit(&mut self, exit: Exit) {
        self.leave(exit);
    }
}

impl Host<'_> {
    fn run(&mut self, op: Op, hook: AnyHook) {
        let name = hook.name();
        self.did(|| format!("{name} begins"));
        self.perform(move |world, pid| {
            world.hook_is_lawful(pid, &hook);
            let Some(daemon) = world.daemon_mut(pid) else { return };
            daemon.finalizes |= hook == AnyHook::Incumbent(incumbent::Hook::Finalize);
            daemon.hooks.push_back((op, hook));
            if daemon.hooks.len() == 1 {
                world.hook_begins(pid);
            }
        });
    }

    fn leave(&mut self, exit: Exit) {
        self.did(|| "exits".into());
        self.perform(move |world, pid| {
            if let Some(daemon) = world.daemon_mut(pid) {
                daemon.exit = Some(exit);
            }
        });
    }
}

impl Storage for Host<'_> {
    fn lock(&mut self, op: Op) -> Option<LockAnswer> {
        let told = move |answer| Pending::Daemon(Input::Locked(op, answer));
        let (late, fails) = self.world.operation_fate(self.pid, Operation::Lock);
        let answer = move |world: &mut World, pid| match fails {
            true => Some(LockAnswer::Error("injected".into())),
            false => Some(world.try_lock(pid)),
        };
        let answer = self.answer(late, answer, told);
        self.did(|| format!("lock: {}", answer.as_ref().map_or("asked", lock_answer)));
        answer
    }

    fn unlock(&mut self) {
        self.did(|| "unlocks".into());
        self.perform(|world, pid| {
            world.disk.lock().unlock(pid);
        });
    }

    fn write_record(&mut self, op: Op, record: &Record) -> Option<Result<(), String>> {
        let written_record = record.clone();
        let told = move |result| Pending::Daemon(Input::Recorded(op, result));
        let (late, fails) = self.world.operation_fate(self.pid, Operation::Record);
        let write = move |world: &mut World, pid| match fails {
            true => Some(Err("injected".into())),
            false => Some(world.write_record(pid, &written_record)),
        };
        let answer = self.answer(late, write, told);
        self.did(|| format!("record {} {}", record.generation, answer.as_ref().map_or("asked for", written)));
        answer
    }

    fn take_path(&mut self, op: Op) -> Option<Result<(), String>> {
        let told = move |result| Pending::Daemon(Input::PathTaken(op, result));
        let (late, fails) = self.world.operation_fate(self.pid, Operation::Path);
        let take = move |world: &mut World, pid| {
            if fails {
                return Some(Err("injected".into()));
            }
            world.takes_path(pid);
            Some(Ok(()))
        };
        let answer = self.answer(late, take, told);
        self.did(|| "takes the path".into());
        answer
    }
}

impl Transport<Peer> for Host<'_> {
    fn send(&mut self, to: Peer, message: &Message) {
        let message = message.clone();
        self.perform(move |world, pid| world.supervisor_says(pid, to, &message));
    }

    fn close(&mut self, peer: Peer) {
        self.perform(move |world, pid| world.supervisor_closes(pid, peer));
    }
}

impl Process for Host<'_> {
    fn connect(&mut self) {
        self.did(|| "connects".into());
        self.perform(|world, pid| world.supervisor_connects(pid));
    }

    fn spawn(&mut self) -> Option<Result<ProcessId, String>> {
        // Nothing that the new process says is read before it is known that it was started.
        let told = |result| Pending::Handoff(supervisor::Event::Spawned(result));
        let late = self.world.slowness(self.pid, &At::Spawn);
        let spawn = |world: &mut World, pid| Some(world.supervisor_spawns(pid));
        let spawned = match late {
            0 => self.answer_at_once(spawn, told),
            late => self.answer(late, spawn, told),
        };
        let spawned_as = match &spawned {
            Some(Ok(id)) => self.world.name_of(id.pid).to_string(),
            Some(Err(why)) => why.clone(),
            None => "...".into(),
        };
        self.did(|| format!("spawns {spawned_as}"));
        spawned
    }

    fn kill(&mut self, peer: Peer) {
        self.did(|| format!("kills the {}", format!("{peer:?}").to_lowercase()));
        self.perform(move |world, pid| world.supervisor_kills(pid, peer));
    }
}

impl Journal for Host<'_> {
    fn persist(&mut self, note: Note) -> Option<Result<(), String>> {
        let told = move |result| Pending::Handoff(supervisor::Event::Persisted(note, result));
        let late = self.world.slowness(self.pid, &At::JournalWrite);
        let of = self.world.handoff_of(self.pid);
        let write = move |world: &mut World, pid| {
            // The handoff is over, and another one under way: that is not the one of which this was to be noted.
            if world.handoff_of(pid) != of {
                return None;
            }
            world.supervisor_notes(pid, note)
        };
        let result = self.answer(late, write, told);
        self.did(|| format!("journal {note:?} {}", result.as_ref().map_or("asked for", written)));
        result
    }
}

impl SupervisorHost for Host<'_> {
    fn finish(&mut self, outcome: supervisor::Outcome) {
        self.did(|| match &outcome.reason {
            Some(reason) => format!("reports {:?}: {reason}", outcome.verdict),
            None => format!("reports {:?}", outcome.verdict),
        });
        self.perform(move |world, pid| {
            let handoff = world.supervisor_mut(pid).and_then(|supervisor| supervisor.handoff_mut());
            handoff.into_iter().for_each(|handoff| handoff.outcome = Some(outcome.clone()));
        });
    }
}

impl Transport<ProcessId> for Host<'_> {
    fn send(&mut self, to: ProcessId, message: &Message) {
        let message = message.clone();
        self.perform(move |world, pid| {
            if let Some(link) = world.supervisor_mut(pid).and_then(|supervisor| supervisor.asked_link(to)) {
                world.send(link, Side::Supervisor, &message);
            }
        });
    }

    fn close(&mut self, link: ProcessId) {
        self.perform(move |world, pid| {
            if let Some(id) = world.supervisor_mut(pid).and_then(|supervisor| supervisor.asked_link(link)) {
                world.close_link(id, Side::Supervisor);
            }
        });
    }
}

impl Discovery for Host<'_> {
    fn look(&mut self, also: Option<ProcessId>) -> Option<Vec<Sighting>> {
        let told = |sightings| Pending::Recovery(recovery::Event::Looked(sightings));
        let sightings = self.answer(0, move |world, pid| Some(world.supervisor_looks(pid, also)), told);
        let name = |sighting: &Sighting| self.world.name_of(sighting.process.pid).to_string();
        let seen = match &sightings {
            None => String::new(),
            Some(seen) if seen.is_empty() => ": nobody".into(),
            Some(seen) => format!(": {}", seen.iter().map(name).collect::<Vec<_>>().join(", ")),
        };
        self.did(|| format!("looks{seen}"));
        sightings
    }

    fn connect(&mut self, to: ProcessId) {
        let name = self.world.name_of(to.pid);
        self.did(|| format!("connects to {name}"));
        self.perform(move |world, pid| world.supervisor_asks(pid, to));
    }

    fn kill(&mut self, process: ProcessId) {
        let name = self.world.name_of(process.pid);
        self.did(|| format!("kills {name}"));
        self.perform(move |world, pid| world.recovery_kills(pid, process));
    }

    fn note(&mut self, verdict: recovery::Verdict) -> Option<Result<(), String>> {
        let told = move |result| Pending::Recovery(recovery::Event::Noted(verdict, result));
        let late = self.world.slowness(self.pid, &At::JournalWrite);
        let result = self.answer(late, move |world, pid| world.recovery_notes(pid, verdict), told);
        self.did(|| format!("journal {}", result.as_ref().map_or("asked for", noted)));
        result
    }
}

impl RecoveryHost for Host<'_> {
    fn finish(&mut self, outcome: recovery::Outcome) {
        let found = match outcome.verdict {
            recovery::Verdict::Serves(process) => format!("{} serves", self.world.name_of(process.pid)),
            verdict => format!("{verdict:?}"),
        };
        self.did(|| format!("finds: {found}"));
        self.perform(move |world, pid| {
            let recovery = world.supervisor_mut(pid).and_then(|supervisor| supervisor.recovery_mut());
            recovery.into_iter().for_each(|recovery| recovery.outcome = Some(outcome.clone()));
        });
    }
}
