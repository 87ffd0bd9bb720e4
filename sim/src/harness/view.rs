//! The view that the checks of both worlds have of this one.
use std::borrow::Cow;

use handoff::journal::Journal;
use handoff::machine::supervisor::Peer;

use super::{Process, RunWorld};
use crate::checks::{self, View, Work};
use crate::kernel::{KernelLink, Life, Micros, Name};
use crate::plan::What as Fault;
use crate::program::{DaemonProgram, Party, SupervisorProgram};

impl View for RunWorld {
    fn daemons(&self) -> impl Iterator<Item = (u32, checks::SeenDaemon)> {
        self.daemons().map(|(pid, process, daemon)| (pid, self.seen(pid, process, daemon)))
    }

    fn daemon(&self, pid: u32) -> Option<checks::SeenDaemon> {
        let process = self.kernel.processes.get(&pid)?;
        Some(self.seen(pid, process, process.daemon()?))
    }

    fn name(&self, pid: u32) -> Name {
        self.kernel.name_of(pid)
    }

    fn path(&self) -> Option<u32> {
        self.kernel.control_path
    }

    fn answers_at_path(&self) -> Option<u32> {
        self.kernel.who_answers_at_path()
    }

    fn is_stop_wanted(&self) -> bool {
        !self.around.audit.signalled.is_empty()
    }

    fn has_served(&self, pid: u32) -> bool {
        self.around.audit.has_served.contains(&pid)
    }

    fn holder(&self) -> Option<u32> {
        self.record().map(|record| record.holder.pid)
    }

    fn before_holder(&self) -> Option<u32> {
        self.around.audit.before_holder
    }

    fn journal(&self) -> Cow<'_, Journal> {
        Cow::Owned(self.journal())
    }

    fn starts(&self, journal: &Journal, pid: u32) -> bool {
        let build = self.kernel.processes.get(&pid).and_then(Process::daemon).map(|daemon| daemon.build);
        build == Some(SupervisorProgram::build_to_start(journal))
    }

    fn is_replaced_by_another(&self, supervisor: u32, pid: u32) -> bool {
        let replaces =
            |rival: &SupervisorProgram| rival.handoff().is_some_and(|it| it.incumbent() == Some(pid));
        self.supervisors().any(|(other, rival)| other != supervisor && replaces(rival))
    }
}

/// A daemon that could not take the control path tries again after so long.
const TRIES_AGAIN: Micros = 110_000;

impl RunWorld {
    /// Returns whether sockets were put back just before: a daemon that wants the control path is still to
    /// find that out.
    fn was_swept_lately(&self) -> bool {
        self.kernel.swept.put_back.is_some_and(|at| self.kernel.now <= at + TRIES_AGAIN)
    }

    fn seen(&self, pid: u32, process: &Process, daemon: &DaemonProgram) -> checks::SeenDaemon {
        let is_unfit = matches!(daemon.quirk, Some(Fault::DieEarly | Fault::WrongPid | Fault::OtherVersion))
            || self.kernel.disk.lock().elsewhere.contains(&pid);
        checks::SeenDaemon {
            life: process.life,
            accepts: daemon.accepts,
            work: Work::of(daemon.hooks.iter().map(|(_, hook)| hook)),
            hangs: daemon.hangs() || daemon.quirk == Some(Fault::Hang),
            waits: !process.program.pending.is_empty() || self.was_swept_lately(),
            has_lock: self.kernel.disk.lock().holders.contains(&pid),
            predecessor: daemon.predecessor,
            finalized: daemon.finalizes,
            takes_part: daemon.is_incumbent() || daemon.joined,
            told_to_begin: daemon.told_to_begin,
            told_to_commit: daemon.told_to_commit,
            told_to_stop: self.around.audit.signalled.contains(&pid),
            is_suspect: process.suspect || daemon.told_to_leave,
            is_unfit,
            lags: process.suspect,
            is_unreachable: self.kernel.swept.has(pid),
            ends_slowly: process.life == Life::Dying && self.around.faults.core_dumps(pid) > 0,
        }
    }

    /// The handoff that a supervisor has under way.
    pub(crate) fn handoff(&self, supervisor: u32) -> Option<checks::SeenHandoff> {
        let process = self.kernel.processes.get(&supervisor)?;
        let handoff = process.supervisor()?.handoff()?;
        Some(checks::SeenHandoff {
            supervisor,
            incumbent: self.party(handoff.party(Peer::Incumbent)),
            successor: self.party(handoff.party(Peer::Successor)),
            late: handoff.late,
            overdue: handoff.overdue,
            called_off: handoff.called_off,
            must_commit: self.still_calm(handoff.calm),
            misjudges_time: process.clock.was_stepped(),
            heard_failed: handoff.heard_failed,
            has_journal: !process.supervisor()?.rival,
            has_noted: handoff.wrote.is_some(),
            journal_failed: handoff.wrote == Some(false),
        })
    }

    fn party(&self, party: &Party) -> checks::SeenParty {
        let link = party.link.and_then(|link| self.kernel.links.get(&link));
        checks::SeenParty {
            pid: party.process.map(|process| process.pid),
            ended: party.seen_to_end,
            killed: party.killed,
            linked: link.is_some_and(KernelLink::is_whole),
            open: party.link.is_some(),
            lost: !party.linked,
            acked: party.acked,
            told_final: party.told_final,
        }
    }

    /// The recovery that a supervisor has under way.
    pub(crate) fn recovery(&self, supervisor: u32) -> Option<checks::SeenRecovery<'_>> {
        let process = self.kernel.processes.get(&supervisor)?;
        let recovery = process.supervisor()?.recovery()?;
        let others = || self.supervisors().filter(|(other, _)| *other != supervisor);
        Some(checks::SeenRecovery {
            named: &recovery.named,
            journaled: &recovery.journaled,
            heard: &recovery.heard,
            watched: recovery.watched.keys().map(|process| process.pid).collect(),
            asked: &recovery.asked,
            killed: &recovery.killed,
            has_listeners: recovery.was_given_listeners || self.kernel.listener.has(supervisor),
            journal_failed: recovery.journal_failed,
            late: recovery.late,
            is_slow: recovery.is_slow,
            lags: process.suspect,
            has_rival: others().next().is_some(),
            is_disturbed: recovery.beside || others().any(|(_, other)| other.handoff().is_some()),
        })
    }
}
