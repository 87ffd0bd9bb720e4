//! A simulated supervisor's process: what it does between two handoffs.
//!
//! What follows from what is the keeper's to decide, as in production. `swap.rs` and `recover.rs` give its two nodes their turns, `handoff_os.rs` and `recovery_os.rs` are what these stand on.
use handoff::id::InBoot;
use handoff::journal::{Binary, Journal, MAGIC};
use handoff::node::keeper::{self, Keeper, KeeperStep};
use handoff::time::{Duration, Time};
use handoff::{HandoffId, HostError, slots};

use crate::kernel::{JOURNAL, Micros};
use crate::plan::Planted;
use crate::plan::What as Fault;
use crate::program::{Process, SupervisorProgram, TaskUnderWay};
use crate::world::{SimulatedWorld, Surroundings};

mod handoff_os;
mod recover;
mod recovery_os;
mod swap;

/// As in production, but that slots are smaller there is no difference.
const JOURNAL_SLOT: usize = 2048;

/// The pauses between two starts.
pub(crate) const RESTART: (Micros, Micros) = (20_000, 400_000);

/// Returns what build `build` is started from.
pub(crate) fn binary(build: u32, handoff_id: HandoffId) -> Binary {
    Binary {
        handoff_id,
        path: format!("/builds/{build}").into_bytes(),
        args: Vec::new(),
        working_dir: None,
        identity: None,
    }
}

impl<S: Surroundings> SimulatedWorld<S> {
    /// Returns the time at which a supervisor has something to do by itself.
    pub(crate) fn supervisor_turn(
        &self,
        process: &Process<Self>,
        supervisor: &SupervisorProgram,
    ) -> Option<Micros> {
        let Some(keeper) = &supervisor.keeper else { return Some(self.kernel.now) };
        match &supervisor.task {
            TaskUnderWay::Idle => {
                let due = keeper.wake_at().map(|at| process.clock.when(at));
                due.into_iter().chain(self.child_ended(supervisor).map(|_| self.kernel.now)).min()
            }
            TaskUnderWay::Recovery(recovery) => self.recovery_turn(process, supervisor, recovery),
            TaskUnderWay::Handoff(handoff) => self.handoff_turn(process, supervisor, handoff),
        }
    }

    /// The daemon has ended: how long it served.
    fn child_ended(&self, supervisor: &SupervisorProgram) -> Option<Micros> {
        let (child, since) = supervisor.child?;
        (!self.kernel.processes.contains_key(&child.pid)).then(|| self.kernel.now.saturating_sub(since))
    }

    pub(crate) fn run_supervisor(&mut self, pid: u32) {
        let Some(supervisor) = self.kernel.processes.get(&pid).and_then(Process::supervisor) else { return };
        if supervisor.keeper.is_none() {
            self.supervisor_begins(pid);
        }
        let Some(supervisor) = self.kernel.processes.get(&pid).and_then(Process::supervisor) else { return };
        match &supervisor.task {
            TaskUnderWay::Recovery(_) => return self.run_recovery(pid),
            TaskUnderWay::Handoff(_) => return self.run_handoff(pid),
            TaskUnderWay::Idle => {}
        }
        let lived = self.child_ended(supervisor);
        // An answer to what is over has no receiver.
        while self.pending(pid).is_some() {}
        if let Some(lived) = lived {
            self.supervisor_mut(pid).into_iter().for_each(|supervisor| supervisor.child = None);
            let lived = Duration::from_micros(lived);
            self.tell(pid, |keeper, now| keeper.daemon_ended(now, lived));
        }
        self.does_what_is_due(pid);
    }

    /// Tells a supervisor's keeper something, at the time that the supervisor's clock says.
    pub(crate) fn tell<T>(&mut self, pid: u32, tell: impl FnOnce(&mut Keeper, Time) -> T) -> Option<T> {
        let now = self.kernel.now;
        let process = self.kernel.processes.get_mut(&pid)?;
        let now = process.clock.at(now);
        Some(tell(process.supervisor_mut()?.keeper.as_mut()?, now))
    }

    fn does_what_is_due(&mut self, pid: u32) {
        let Some(kept) = self.supervisor_mut(pid).map(|supervisor| supervisor.kept()) else { return };
        match self.tell(pid, |keeper, now| keeper.next(now, kept)).flatten() {
            Some(KeeperStep::Begin(task)) => self.begins(pid, task),
            // A simulated supervisor is never asked to stop its daemon.
            Some(KeeperStep::CallOff | KeeperStep::Terminate | KeeperStep::Kill | KeeperStep::LeaveAlone)
            | None => {}
        }
    }

    fn begins(&mut self, pid: u32, task: keeper::Task) {
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        match task {
            keeper::Task::Recover => self.begins_recovery(pid),
            keeper::Task::ColdStart(which) => {
                let build = supervisor.build(which);
                self.starts_cold(pid, build);
            }
            keeper::Task::Swap => {
                let build = supervisor.configured;
                self.begins_handoff(pid, build, true);
            }
        }
    }

    /// The operator asks for `build`. Whether that can be done now.
    pub(crate) fn asks_for(&mut self, pid: u32, build: u32) -> bool {
        let Some(Ok(task)) = self.tell(pid, |keeper, _| keeper.ask()) else { return false };
        self.supervisor_mut(pid).into_iter().for_each(|supervisor| supervisor.configured = build);
        self.begins(pid, task);
        true
    }

    /// Starts `build`. It can't open a listening socket that another process has, and ends as in production:
    /// the one that is started after it finds out anew which daemon serves.
    fn starts_cold(&mut self, pid: u32, build: u32) {
        if self.planted == Planted::NoDaemonAgain && self.orders.asked > 0 {
            return;
        }
        if !self.kernel.listener.has(pid) && self.kernel.listener.is_open() {
            return self.die(pid, "can't listen: the address is in use", true);
        }
        self.kernel.listener.give(pid);
        self.begins_handoff(pid, build, false);
    }

    /// The journal, as it lies there.
    pub(crate) fn journal(&self) -> Journal {
        let slots = slots::decode_slots::<InBoot<Journal>>(
            self.kernel.disk.lock().system_read(JOURNAL),
            MAGIC,
            JOURNAL_SLOT,
        );
        slots.newest.map(|(_, kept)| kept.value).unwrap_or_default()
    }

    /// Reads the journal. A rival has none.
    fn supervisor_begins(&mut self, pid: u32) {
        let (times, fall_back_after) = (self.plan.times, self.plan.fall_back_after);
        let slots = slots::decode_slots::<InBoot<Journal>>(
            self.kernel.disk.lock().system_read(JOURNAL),
            MAGIC,
            JOURNAL_SLOT,
        );
        let configured = self.orders.newest_build.max(1);
        let (boot, forgetful) = (self.kernel.boot(), self.planted == Planted::BootIsForgotten);
        let believed = |kept: InBoot<Journal>| match kept.boot.is_also(boot) || forgetful {
            true => kept.value,
            false => kept.value.without_processes(),
        };
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        let config = keeper::Limits {
            liveness: times.liveness.duration(),
            restart_min: Duration::from_micros(RESTART.0),
            restart_max: Duration::from_micros(RESTART.1),
            fall_back_after,
            stop_grace: Duration::ZERO,
        };
        supervisor.configured = configured;
        if supervisor.rival {
            let mut keeper = Keeper::new(config, true);
            let _ = keeper.reload();
            supervisor.keeper = Some(keeper);
            return;
        }
        supervisor.sequence = slots.next_sequence();
        supervisor.slot = slots.next;
        supervisor.knows = slots.newest.map(|(_, kept)| believed(kept)).unwrap_or_default();
        supervisor.keeper = Some(Keeper::new(config, supervisor.knows.stopped));
    }

    /// Returns what it knows from here on, written if there is a file for it. `None` if it dies over it.
    pub(crate) fn writes_journal(&mut self, pid: u32, journal: Journal) -> Option<Result<(), HostError>> {
        let boot = self.kernel.boot();
        let supervisor = self.supervisor_mut(pid)?;
        supervisor.knows = journal.clone();
        if supervisor.rival {
            return Some(Ok(()));
        }
        let (sequence, slot) = (supervisor.sequence, supervisor.slot);
        let kept = InBoot { boot, value: &journal };
        let bytes = slots::encode_slot(MAGIC, sequence, &kept, JOURNAL_SLOT).unwrap_or_default();
        let fate = S::journal_fate(self, pid);
        self.supervisor_mut(pid)?;
        let mut disk = self.kernel.disk.lock();
        let result = match fate {
            Some(Fault::Torn) => {
                let _ = disk.system_write(JOURNAL, slot * JOURNAL_SLOT, &bytes[..bytes.len() / 2]);
                drop(disk);
                self.die(pid, "dies in the middle of a write", false);
                return None;
            }
            Some(_) => Err(HostError::system("injected")),
            None => disk
                .system_write(JOURNAL, slot * JOURNAL_SLOT, &bytes)
                .and_then(|()| disk.system_sync(JOURNAL)),
        };
        drop(disk);
        if result.is_ok() {
            let supervisor = self.supervisor_mut(pid)?;
            supervisor.sequence += 1;
            supervisor.slot = (supervisor.slot + 1) % slots::SLOTS;
        }
        Some(result)
    }
}
