//! The view that the checks of both worlds have of this one.
use std::borrow::Cow;

use handoff::message::MessageName;

use handoff::journal::Journal;
use handoff::machine::supervisor::Peer;

use crate::checks::{self, SeenHandoff, SeenParty, SeenRecovery, View, Work};
use crate::explore::model::{
    DaemonMachine, Model, ModelDaemon, ModelEnd, ModelLink, ModelSupervisor, journal,
};
use crate::kernel::Name;

/// No process has it: there is one supervisor at a time that has handoffs.
const SUPERVISOR: u32 = 0;

impl View for Model {
    fn daemons(&self) -> impl Iterator<Item = (u32, checks::SeenDaemon)> {
        self.processes.iter().map(|(pid, process)| (*pid, self.seen(*pid, process)))
    }

    fn daemon(&self, pid: u32) -> Option<checks::SeenDaemon> {
        self.processes.get(&pid).map(|process| self.seen(pid, process))
    }

    fn name(&self, pid: u32) -> Name {
        Name { kind: 'D', number: pid }
    }

    fn path(&self) -> Option<u32> {
        self.path
    }

    fn answers_at_path(&self) -> Option<u32> {
        self.path.filter(|pid| self.listens(*pid))
    }

    fn is_stop_wanted(&self) -> bool {
        self.signalled.is_some()
    }

    fn has_served(&self, _pid: u32) -> bool {
        true
    }

    fn holder(&self) -> Option<u32> {
        self.record.as_ref().map(|record| record.holder.pid)
    }

    fn before_holder(&self) -> Option<u32> {
        self.before_holder
    }

    fn journal(&self) -> Cow<'_, Journal> {
        Cow::Borrowed(&self.journal)
    }

    fn starts(&self, journal: &Journal, pid: u32) -> bool {
        journal::starts(journal, pid)
    }

    fn is_replaced_by_another(&self, _supervisor: u32, _pid: u32) -> bool {
        false
    }
}

impl Model {
    fn seen(&self, pid: u32, process: &ModelDaemon) -> checks::SeenDaemon {
        checks::SeenDaemon {
            is_unreachable: false,
            life: process.life,
            accepts: process.accepts,
            work: Work::of(process.hooks.iter().map(|(_, hook)| hook)),
            hangs: process.hung,
            waits: false,
            has_lock: self.lock == Some(pid),
            predecessor: process.predecessor,
            finalized: process.finalized,
            takes_part: matches!(process.daemon, DaemonMachine::Incumbent(_)) || process.handoff.is_some(),
            told_to_begin: process.told_to_begin,
            told_to_commit: process.told_to_commit,
            told_to_stop: self.signalled == Some(pid),
            is_suspect: process.suspect,
            is_unfit: process.alien,
            lags: false,
            ends_slowly: false,
        }
    }

    /// The handoff that is under way, or was last.
    pub(in crate::explore) fn handoff(&self) -> Option<SeenHandoff> {
        let supervisor = self.supervisor.as_ref()?;
        Some(SeenHandoff {
            supervisor: SUPERVISOR,
            incumbent: self.party(supervisor, Peer::Incumbent),
            successor: self.party(supervisor, Peer::Successor),
            late: supervisor.late,
            overdue: false,
            misjudges_time: false,
            called_off: supervisor.cancelled,
            must_commit: supervisor.must_commit,
            heard_failed: supervisor.heard_failed,
            has_journal: true,
            has_noted: supervisor.knows != supervisor.before,
            journal_failed: supervisor.journal_failed,
        })
    }

    /// The recovery that is under way, or was last.
    pub(in crate::explore) fn seen_recovery(&self) -> Option<SeenRecovery<'_>> {
        let recovery = self.recovery.as_ref()?;
        Some(SeenRecovery {
            named: &recovery.named,
            journaled: &recovery.journaled,
            heard: &recovery.heard,
            watched: recovery.watched.clone(),
            asked: &recovery.asked,
            killed: &recovery.killed,
            has_listeners: recovery.has_listeners,
            journal_failed: recovery.journal_failed,
            late: false,
            is_slow: false,
            lags: false,
            // The one that was stopped has gone on.
            has_rival: !self.idle() && self.supervisor_runs(),
            is_disturbed: false,
        })
    }

    fn party(&self, supervisor: &ModelSupervisor, peer: Peer) -> SeenParty {
        let pid = match peer {
            Peer::Incumbent => supervisor.incumbent,
            Peer::Successor => supervisor.successor,
        };
        let its = |is: &dyn Fn(&ModelLink) -> bool| {
            self.links
                .iter()
                .any(|link| Some(link.pid) == pid && link.end == ModelEnd::Supervisor(peer) && is(link))
        };
        SeenParty {
            pid,
            ended: pid.is_some_and(|pid| supervisor.told.contains(&pid)),
            killed: supervisor.killed.contains(&peer),
            linked: its(&|link| link.supervisor_open && link.daemon_open && !link.reset),
            open: its(&|link| link.supervisor_open),
            lost: !its(&|link| link.supervisor_open),
            acked: its(&|link| link.acked),
            told_final: its(&|link| link.supervisor_open && link.said == Some(MessageName::Final)),
        }
    }
}
