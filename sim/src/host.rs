//! The operating system of all nodes: what a process does to the simulated kernel.
//!
//! `daemon/os.rs`, `supervisor/handoff_os.rs` and `supervisor/recovery_os.rs` are what each node stands on besides.
//!
//! A process that is stopped in the middle of a turn does the rest of it when it goes on; one that dies there does not.
//! Answers that a machine waits for may come at once or later.
use std::ops::ControlFlow;

use handoff::HostError;

use handoff::host::{Clock, Crashed, Gap, Gaps};
use handoff::id::InBoot;
use handoff::machine::{Cell, LockAnswer};
use handoff::message::Message;
use handoff::node::Read;
use handoff::record::{self, Record};
use handoff::slots;
use handoff::time::Time;

use crate::kernel::{self, LengthOf, Life, Micros, RECORD, Side};
use crate::program::DeferredAnswer;
use crate::trace::TracedEffect;
use crate::trace::words::{is_repeated, message_name};
use crate::world::{Doing, SimulatedWorld, Surroundings};

/// The user of all processes.
pub(crate) const UID: u32 = 1000;

/// The host of one process.
pub(crate) struct Host<'a, S> {
    pub world: &'a mut SimulatedWorld<S>,
    pub pid: u32,
    /// The link and the number of the frame that was read last.
    pub came: Option<(u64, u64)>,
}

impl<'a, S> Host<'a, S> {
    pub(crate) fn new(world: &'a mut SimulatedWorld<S>, pid: u32) -> Host<'a, S> {
        Host { world, pid, came: None }
    }
}

impl<S: Surroundings> Host<'_, S> {
    /// Performs an effect now or, in a stopped process, when it goes on.
    pub(crate) fn perform(&mut self, effect: impl FnOnce(&mut SimulatedWorld<S>, u32) + 'static) {
        match self.world.kernel.processes.get_mut(&self.pid) {
            Some(process) if process.life == Life::Stopped => process.program.deferred.push(Box::new(effect)),
            Some(process) if process.runs() => effect(self.world, self.pid),
            _ => {}
        }
    }

    /// Performs an operation and answers now or, in a stopped process, when it goes on.
    pub(crate) fn answer_at_once<T: 'static>(
        &mut self,
        operation: impl FnOnce(&mut SimulatedWorld<S>, u32) -> Option<T> + 'static,
        told: impl FnOnce(T) -> DeferredAnswer<SimulatedWorld<S>> + 'static,
    ) -> Option<T> {
        if self.world.kernel.runs(self.pid) {
            return operation(self.world, self.pid);
        }
        self.perform(move |world, pid| {
            if let Some(answer) = operation(world, pid) {
                world.put_off(pid, world.kernel.now, told(answer));
            }
        });
        None
    }

    /// Performs an operation and answers now, or does both later; later by `late` at least, if something makes it slow.
    pub(crate) fn answer<T: 'static>(
        &mut self,
        late: Micros,
        operation: impl FnOnce(&mut SimulatedWorld<S>, u32) -> Option<T> + 'static,
        told: impl FnOnce(T) -> DeferredAnswer<SimulatedWorld<S>> + 'static,
    ) -> Option<T> {
        if late == 0 && self.world.kernel.runs(self.pid) && self.world.kernel.choice(self.pid, 8) != 1 {
            return operation(self.world, self.pid);
        }
        self.perform(move |world, pid| {
            let at = world.kernel.now + world.kernel.length(pid, LengthOf::Operation) + late;
            let operation = move |world: &mut SimulatedWorld<S>, pid| operation(world, pid).map(told);
            world.put_off(pid, at, DeferredAnswer::Operation(Box::new(operation)));
        });
        None
    }

    /// Reads what has come over a link, to its end at `side`.
    pub(crate) fn read_link(&mut self, id: u64, side: Side) -> Read {
        match self.world.kernel.reads(id, side) {
            None => Read::Nothing,
            Some(kernel::Received::Closed(why)) => {
                self.world.kernel.close_link(id, side);
                Read::Closed(why.to_string().into())
            }
            Some(kernel::Received::Message(message, number)) => {
                self.came = Some((id, number));
                self.world.shows(self.pid, Doing::Hears(id, &message));
                Read::Message(message)
            }
        }
    }

    pub(crate) fn did(&mut self, what: impl FnOnce() -> String) {
        self.world.recorder.effect(|| TracedEffect::Did(what()));
    }

    /// A look, or an attempt that came to nothing.
    pub(crate) fn tried(&mut self, what: impl FnOnce() -> String) {
        self.world.recorder.effect(|| TracedEffect::Tried(what()));
    }
}

impl<S: Surroundings> SimulatedWorld<S> {
    /// An answer comes at `at`.
    pub(crate) fn put_off(&mut self, pid: u32, at: u64, pending: DeferredAnswer<SimulatedWorld<S>>) {
        let Some(process) = self.kernel.processes.get_mut(&pid) else { return };
        let at = process.program.pending.back().map_or(at, |(last, _)| at.max(*last));
        process.program.pending.push_back((at, pending));
        self.kernel.poke(pid, at);
    }

    /// Returns what was put off and is due.
    pub(crate) fn pending(&mut self, pid: u32) -> Option<DeferredAnswer<SimulatedWorld<S>>> {
        let now = self.kernel.now;
        let process = self.kernel.processes.get_mut(&pid).filter(|process| process.runs())?;
        process.program.pending.front().filter(|(at, _)| *at <= now)?;
        match process.program.pending.pop_front()?.1 {
            DeferredAnswer::Operation(operation) => {
                let answer = operation(self, pid)?;
                self.unless_stopped(pid, answer)
            }
            pending => Some(pending),
        }
    }

    /// Performs an operation; a process that is stopped during the operation is told its result when the process goes on.
    fn unless_stopped(
        &mut self,
        pid: u32,
        answer: DeferredAnswer<SimulatedWorld<S>>,
    ) -> Option<DeferredAnswer<SimulatedWorld<S>>> {
        let now = self.kernel.now;
        match self.kernel.processes.get_mut(&pid) {
            Some(process) if process.life == Life::Stopped => {
                process.program.pending.push_front((now, answer));
                None
            }
            _ => Some(answer),
        }
    }

    /// Sends a message over a link, from its end at `side`.
    pub(crate) fn send(&mut self, id: u64, side: Side, message: &Message) {
        let Some(link) = self.kernel.links.get(&id).filter(|link| link.is_open(side)) else { return };
        let (from, to) = (link.pid(side), link.pid(side.other()));
        let (fate, late) = S::frame_fate(self, from, to, side, message);
        let number = self.recorder.next_frame();
        self.recorder.frame(self.kernel.name_of(from), self.kernel.name_of(to), message.name());
        let name = self.kernel.name_of(to);
        let repeats = is_repeated(message);
        let effect =
            || TracedEffect::Sent { to: name, message: message_name(message), frame: number, repeats };
        self.recorder.effect(effect);
        let delay = self.kernel.length(from, LengthOf::Wire) + late;
        let now = self.kernel.now;
        let Some(link) = self.kernel.links.get_mut(&id) else { return };
        let arrives = link.send(side, message, now, delay, fate, number);
        if let Some(at) = arrives {
            self.kernel.poke(to, at);
            if self.kernel.links.get(&id).is_some_and(|link| !link.is_whole()) {
                self.kernel.poke(from, at);
            }
        }
    }

    /// The record, as it lies there: what another boot has left says nothing.
    pub(crate) fn record(&self) -> Option<Record> {
        let disk = self.kernel.disk.lock();
        let slots = slots::decode_slots(disk.system_read(RECORD), record::MAGIC, record::SLOT_SIZE);
        let of_this_boot = |kept: &InBoot<Record>| kept.boot.is_also(self.kernel.boot());
        slots.newest.map(|(_, kept)| kept).filter(of_this_boot).map(|kept| kept.value)
    }

    pub(crate) fn try_lock(&mut self, pid: u32) -> LockAnswer {
        let last = self.record();
        if self.kernel.disk.lock().try_lock(pid) {
            let sealed = last.as_ref().filter(|record| record.sealed_for.is_some_and(|heir| heir.pid == pid));
            let scheme = sealed.map(|record| record.fingerprint.scheme);
            self.daemon_mut(pid).into_iter().for_each(|daemon| daemon.sealed_for_it = scheme);
            return LockAnswer::Held { last };
        }
        let holder = self.kernel.disk.lock().holders.iter().next().copied();
        let in_words = holder.map(|pid| format!("process {pid} ({})", self.kernel.name_of(pid)).into());
        LockAnswer::busy(last, holder, in_words)
    }

    pub(crate) fn write_record(&mut self, pid: u32, record: &Record) -> Result<(), HostError> {
        self.shows(pid, Doing::WritesRecord);
        let boot = self.kernel.boot();
        let mut disk = self.kernel.disk.lock();
        let old =
            slots::decode_slots::<InBoot<Record>>(disk.system_read(RECORD), record::MAGIC, record::SLOT_SIZE);
        let record = InBoot { boot, value: record };
        let bytes = slots::encode_slot(record::MAGIC, old.next_sequence(), &record, record::SLOT_SIZE);
        let bytes = bytes.map_err(|error| HostError::system(error.to_string()))?;
        disk.system_write(RECORD, old.next * record::SLOT_SIZE, &bytes)
    }
}

impl<S: Surroundings> Clock for Host<'_, S> {
    fn now(&self) -> Time {
        let now = self.world.kernel.now;
        self.world.kernel.processes.get(&self.pid).map_or(Time::ZERO, |process| process.clock.at(now))
    }
}

impl<S: Surroundings> Gaps for Host<'_, S> {
    fn handles(&mut self, cell: Cell) {
        self.world.shows(self.pid, Doing::Meets(cell));
        self.world.recorder.step(self.world.kernel.name_of(self.pid), cell);
    }

    fn gap(&mut self, gap: Gap) -> ControlFlow<Crashed> {
        if self.world.kernel.runs(self.pid) {
            self.world.shows(self.pid, Doing::PassesGap(gap));
        }
        match self.world.kernel.processes.get(&self.pid) {
            Some(process) if process.lives() => {
                let name = process.name;
                gap.before.into_iter().for_each(|effect| self.world.recorder.sees(name, effect));
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(Crashed),
        }
    }
}
