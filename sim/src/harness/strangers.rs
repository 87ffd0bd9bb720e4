//! The others in a daemon's surroundings: strangers that take its lock or its number, and a broom in the run
//! directory.
use std::collections::BTreeSet;

use handoff::ProcessId;

use super::{Process, RunWorld};
use crate::happening::Happening;
use crate::kernel::{Life, Micros};
use crate::program::{Program, STRANGER};
use crate::trace::Happened;

impl RunWorld {
    /// A stranger that wants the lock comes, and stays for `span`.
    pub(crate) fn stranger_comes(&mut self, span: Micros) {
        let pid = self.start_process(STRANGER, Program::Stranger);
        self.note(Some(pid), || Happened::Note("waits for the lock".into()));
        self.kernel.disk.lock().wait_for_lock(pid);
        self.kernel.after(span, Happening::StrangerLeaves(pid));
    }

    pub(crate) fn stranger_leaves(&mut self, pid: u32) {
        if self.is_stranger(pid) {
            self.around.faults.passed(self.kernel.now);
            self.die(pid, "leaves", true);
        }
    }

    /// Those that came for the lock leave.
    pub(crate) fn strangers_leave(&mut self) {
        let all: Vec<u32> =
            self.kernel.processes.keys().copied().filter(|pid| self.wants_lock(*pid)).collect();
        all.into_iter().for_each(|pid| self.stranger_leaves(pid));
    }

    pub(crate) fn is_stranger(&self, pid: u32) -> bool {
        self.kernel.processes.get(&pid).is_some_and(Process::is_stranger)
    }

    /// Returns whether a stranger has the lock, or waits for it.
    pub(crate) fn wants_lock(&self, pid: u32) -> bool {
        self.is_stranger(pid) && self.kernel.disk.lock().wants(pid)
    }

    /// Returns whether a stranger keeps daemons from the lock, or will.
    pub(crate) fn has_stranger_at_lock(&self) -> bool {
        self.kernel.processes.keys().any(|pid| self.wants_lock(*pid))
    }

    /// The sockets of all processes are removed for `span`. `false` if there are none.
    pub(super) fn sockets_are_swept(&mut self, span: Micros) -> bool {
        let are_swept = self.kernel.sockets_are_swept();
        if are_swept {
            self.kernel.after(span, Happening::PutBack);
        }
        are_swept
    }

    /// Gives the daemons that live their sockets back.
    pub(super) fn sockets_are_put_back(&mut self) {
        self.around.faults.passed(self.kernel.now);
        self.kernel.sockets_are_put_back();
    }

    /// Power fails, and in the next boot strangers have the numbers of the processes that journal and record name.
    pub(crate) fn numbers_are_reused(&mut self) {
        let named = self.named_in_files();
        self.power_fails();
        self.around.reborn = named;
    }

    /// Starts what has a dead process's number, before any supervisor comes up.
    pub(crate) fn reborn_come(&mut self) {
        for id in std::mem::take(&mut self.around.reborn) {
            self.process_comes(id, STRANGER, Program::Stranger);
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
            self.kernel.processes.get(&id.pid).is_some_and(its)
        };
        named.filter(lives).collect()
    }

    /// A supervisor kills: never a stranger.
    pub(crate) fn spares_strangers(&mut self, supervisor: u32, pid: u32) {
        if self.is_stranger(pid) {
            let (supervisor, stranger) = (self.kernel.name_of(supervisor), self.kernel.name_of(pid));
            self.violated("serves again", format!("{supervisor} kills {stranger}, which is a stranger"));
        }
    }

    /// Ends a process that never came to anything, or was told to stop and does not.
    pub(crate) fn gives_up(&mut self, pid: u32) {
        if self.daemon_mut(pid).is_some() {
            self.die(pid, "dies", false);
        }
    }
}
