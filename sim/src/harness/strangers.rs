//! What others do to a daemon's surroundings: strangers that take its lock or its number, and a broom in the run directory.
use std::collections::BTreeSet;

use handoff::ProcessId;

use crate::happening::Happening;
use crate::kernel::{Life, Micros};
use crate::process::{BareProcess, Process, Program, STRANGER};
use crate::trace::Happened;
use crate::world::SimulatedWorld;

/// Sockets that were removed from the run directory while their processes live.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pids: BTreeSet<u32>,
    /// The process to which the control path led.
    path: Option<u32>,
    /// When sockets were put back last.
    put_back: Option<Micros>,
}

/// A daemon that could not take the control path tries again after so long.
const TRIES_AGAIN: Micros = 110_000;

impl Swept {
    /// The sockets of `pid` are gone.
    pub(crate) fn has(&self, pid: u32) -> bool {
        self.pids.contains(&pid)
    }

    /// Sockets were put back just before `now`: a daemon that wants the control path is still to find that out.
    pub(crate) fn was_there_lately(&self, now: Micros) -> bool {
        self.put_back.is_some_and(|at| now <= at + TRIES_AGAIN)
    }

    /// `pid` removes its sockets itself, as it leaves.
    pub(crate) fn forget(&mut self, pid: u32) {
        self.pids.remove(&pid);
        self.path = self.path.filter(|owner| *owner != pid);
    }
}

impl SimulatedWorld {
    /// A stranger that wants the lock comes, and stays for `span`.
    pub(crate) fn stranger_comes(&mut self, span: Micros) {
        let pid = self.start_process(STRANGER, Program::Bare(BareProcess::default()));
        self.note(Some(pid), || Happened::Note("waits for the lock".into()));
        self.disk.lock().wait_for_lock(pid);
        self.after(span, Happening::StrangerLeaves(pid));
    }

    pub(crate) fn stranger_leaves(&mut self, pid: u32) {
        if self.is_stranger(pid) {
            self.faults.passed(self.now);
            self.die(pid, "leaves", true);
        }
    }

    /// Those that came for the lock leave.
    pub(crate) fn strangers_leave(&mut self) {
        let all: Vec<u32> = self.processes.keys().copied().filter(|pid| self.wants_lock(*pid)).collect();
        all.into_iter().for_each(|pid| self.stranger_leaves(pid));
    }

    pub(crate) fn is_stranger(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(Process::is_stranger)
    }

    /// A stranger has the lock, or waits for it.
    pub(crate) fn wants_lock(&self, pid: u32) -> bool {
        self.is_stranger(pid) && self.disk.lock().wants(pid)
    }

    /// A stranger keeps daemons from the lock, or will.
    pub(crate) fn has_stranger_at_lock(&self) -> bool {
        self.processes.keys().any(|pid| self.wants_lock(*pid))
    }

    /// The sockets of all processes are removed. `false` if there are none.
    pub(crate) fn sockets_are_swept(&mut self, span: Micros) -> bool {
        if self.names_beside.is_empty() && self.control_path.is_none() {
            return false;
        }
        self.swept.pids.append(&mut self.names_beside);
        self.swept.path = self.control_path.take().or(self.swept.path);
        self.after(span, Happening::PutBack);
        true
    }

    /// Those that live have their sockets back; the control path, unless another has taken it meanwhile.
    pub(crate) fn sockets_are_put_back(&mut self) {
        let Swept { pids, path, .. } = std::mem::take(&mut self.swept);
        self.swept.put_back = Some(self.now);
        self.faults.passed(self.now);
        let lives = |pid: &u32| self.processes.get(pid).is_some_and(Process::listens);
        self.names_beside.extend(pids.iter().copied().filter(lives));
        self.control_path = self.control_path.or(path.filter(lives));
    }

    /// Power fails, and in the next boot strangers have the numbers of the processes that journal and record name.
    pub(crate) fn numbers_are_reused(&mut self) {
        let named = self.named_in_files();
        self.power_fails();
        self.reborn = named;
    }

    /// What has a dead process's number comes up before any supervisor does.
    pub(crate) fn reborn_come(&mut self) {
        for id in std::mem::take(&mut self.reborn) {
            self.process_comes(id, STRANGER, Program::Bare(BareProcess::default()));
            self.note(Some(id.pid), || Happened::Note("has a number that was another's".into()));
        }
    }

    /// The daemons that journal and record name. Not one that is about to end: in this world its end is still to come.
    fn named_in_files(&self) -> BTreeSet<ProcessId> {
        let journal = self.journal();
        let under_way = journal.under_way.as_ref();
        let running = journal.running.as_ref().map(|running| running.process);
        let holder = self.record().map(|record| record.holder);
        let successor = under_way.map(|under_way| under_way.successor);
        let incumbent = under_way.and_then(|under_way| under_way.incumbent);
        let named = [running, holder, successor, incumbent].into_iter().flatten();
        let lives = |id: &ProcessId| {
            let its = |process: &Process| process.daemon().is_some() && process.life != Life::Dying;
            self.processes.get(&id.pid).is_some_and(its)
        };
        named.filter(lives).collect()
    }

    /// A supervisor kills: never a stranger.
    pub(crate) fn spares_strangers(&mut self, supervisor: u32, pid: u32) {
        if self.is_stranger(pid) {
            let (supervisor, stranger) = (self.name_of(supervisor), self.name_of(pid));
            self.violated("serves again", format!("{supervisor} kills {stranger}, which is a stranger"));
        }
    }

    /// One that never came to anything, or was told to stop and does not, is ended.
    pub(crate) fn gives_up(&mut self, pid: u32) {
        if self.daemon_mut(pid).is_some() {
            self.die(pid, "dies", false);
        }
    }
}
