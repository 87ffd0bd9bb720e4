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
use handoff::machine::{Cell, EventName, LockAnswer};
use handoff::message::Message;
use handoff::node::Read;
use handoff::record::{self, Record};
use handoff::slots;
use handoff::time::Time;

use crate::kernel::{self, LengthOf, Life, Micros, RECORD, Side};
use crate::process::DeferredAnswer;
use crate::trace::TracedEffect;
use crate::trace::words::message_name;
use crate::world::SimulatedWorld;

/// The user of all processes.
pub(crate) const UID: u32 = 1000;

/// The host of one process.
pub(crate) struct Host<'a> {
    pub world: &'a mut SimulatedWorld,
    pub pid: u32,
    /// The link and the number of the frame that was read last.
    pub came: Option<(u64, u64)>,
}

impl<'a> Host<'a> {
    pub(crate) fn new(world: &'a mut SimulatedWorld, pid: u32) -> Host<'a> {
        Host { world, pid, came: None }
    }
}

impl Host<'_> {
    /// Performs an effect now or, in a stopped process, when it goes on.
    pub(crate) fn perform(&mut self, effect: impl FnOnce(&mut SimulatedWorld, u32) + 'static) {
        match self.world.processes.get_mut(&self.pid) {
            Some(process) if process.life == Life::Stopped => process.deferred.push(Box::new(effect)),
            Some(process) if process.runs() => effect(self.world, self.pid),
            _ => {}
        }
    }

    /// Performs an operation and answers now or, in a stopped process, when it goes on.
    pub(crate) fn answer_at_once<T: 'static>(
        &mut self,
        operation: impl FnOnce(&mut SimulatedWorld, u32) -> Option<T> + 'static,
        told: impl FnOnce(T) -> DeferredAnswer + 'static,
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
    pub(crate) fn answer<T: 'static>(
        &mut self,
        late: Micros,
        operation: impl FnOnce(&mut SimulatedWorld, u32) -> Option<T> + 'static,
        told: impl FnOnce(T) -> DeferredAnswer + 'static,
    ) -> Option<T> {
        if late == 0 && self.world.runs(self.pid) && self.world.choice(self.pid, 8) != 1 {
            return operation(self.world, self.pid);
        }
        self.perform(move |world, pid| {
            let at = world.now + world.length(pid, LengthOf::Operation) + late;
            let operation = move |world: &mut SimulatedWorld, pid| operation(world, pid).map(told);
            world.put_off(pid, at, DeferredAnswer::Operation(Box::new(operation)));
        });
        None
    }

    /// Reads what has come over a link, to its end at `side`.
    pub(crate) fn read_link(&mut self, id: u64, side: Side) -> Read {
        match self.world.reads(id, side) {
            None => Read::Nothing,
            Some(kernel::Received::Closed(why)) => {
                self.world.close_link(id, side);
                Read::Closed(why.to_string().into())
            }
            Some(kernel::Received::Message(message, number)) => {
                self.came = Some((id, number));
                self.world.hears_over(self.pid, id, &message);
                Read::Message(message)
            }
        }
    }

    pub(crate) fn did(&mut self, what: impl FnOnce() -> String) {
        self.world.recorder.effect(|| TracedEffect::Did(what()));
    }
}

impl SimulatedWorld {
    /// An answer comes at `at`.
    pub(crate) fn put_off(&mut self, pid: u32, at: u64, pending: DeferredAnswer) {
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
        let effect = || TracedEffect::Sent { to: name, message: message_name(message), frame: number };
        self.recorder.effect(effect);
        let delay = self.length(from, LengthOf::Wire) + late;
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

    /// The record, as it lies there: what another boot has left says nothing.
    pub(crate) fn record(&self) -> Option<Record> {
        let disk = self.disk.lock();
        let slots = slots::decode_slots(disk.system_read(RECORD), record::MAGIC, record::SLOT_SIZE);
        let of_this_boot = |kept: &InBoot<Record>| kept.boot.is_also(self.boot());
        slots.newest.map(|(_, kept)| kept).filter(of_this_boot).map(|kept| kept.value)
    }

    pub(crate) fn try_lock(&mut self, pid: u32) -> LockAnswer {
        let last = self.record();
        if self.disk.lock().try_lock(pid) {
            let sealed = last.as_ref().filter(|record| record.sealed_for.is_some_and(|heir| heir.pid == pid));
            let scheme = sealed.map(|record| record.fingerprint.scheme);
            self.daemon_mut(pid).into_iter().for_each(|daemon| daemon.sealed_for_it = scheme);
            return LockAnswer::Held { last };
        }
        let holder = self.disk.lock().holders.iter().next().copied();
        let in_words = holder.map(|pid| format!("process {pid} ({})", self.name_of(pid)).into());
        LockAnswer::busy(last, holder, in_words)
    }

    pub(crate) fn write_record(&mut self, pid: u32, record: &Record) -> Result<(), HostError> {
        if !self.disk.lock().holders.contains(&pid) {
            self.violated("one writer", format!("process {pid} writes the record without the lock"));
        }
        self.audit.before_holder = self.daemon_mut(pid).and_then(|daemon| daemon.predecessor);
        let boot = self.boot();
        let mut disk = self.disk.lock();
        let old =
            slots::decode_slots::<InBoot<Record>>(disk.system_read(RECORD), record::MAGIC, record::SLOT_SIZE);
        let record = InBoot { boot, value: record };
        let bytes = slots::encode_slot(record::MAGIC, old.next_sequence(), &record, record::SLOT_SIZE);
        let bytes = bytes.map_err(|error| HostError::system(error.to_string()))?;
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
        if let EventName::Timer(timer) = cell.event {
            self.world.silence_is_true(self.pid, timer);
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
