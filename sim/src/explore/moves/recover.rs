//! The supervisor that recovers, on the searched kernel: its host, and its turns.
use std::collections::BTreeSet;
use std::sync::Arc;

use handoff::host::*;
use handoff::machine::{
    RecoveryMachine,
    recovery::{self, Awaited, Event, Limits, Outcome, RecoveryVerdict, Sighting},
};
use handoff::message::Message;
use handoff::node::recovery as node;
use handoff::{HostError, ProcessId};

use super::host::ModelHost;
use crate::checks::{recovery as checks, supervisor::finalizes};
use crate::explore::checks::obligations;
use crate::explore::model::steps::ModelStep;
use crate::explore::model::watch::Observer;
use crate::explore::model::{
    LIVENESS, Model, ModelEnd, ModelLink, ModelRecovery, SECOND, id, journal, names,
};
use crate::mutant::drive;

impl Model {
    fn recovery_starts(&mut self, watch: &mut Observer<'_>) {
        let config = Limits {
            liveness: LIVENESS,
            unreachable_limit: 60 * SECOND,
            retire_limit: 10 * SECOND,
            deadline: 300 * SECOND,
            take_listeners: true,
        };
        // A supervisor that is merely stopped holds its journal.
        let has_journal = self.idle();
        self.recovery = Some(ModelRecovery {
            machine: RecoveryMachine::new(config),
            stopped: false,
            has_journal,
            knows: if has_journal { self.journal.clone() } else { Arc::default() },
            watched: Vec::new(),
            named: BTreeSet::new(),
            journaled: BTreeSet::new(),
            heard: BTreeSet::new(),
            has_listeners: false,
            killed: BTreeSet::new(),
            asked: BTreeSet::new(),
            refused: Vec::new(),
            pending: Vec::new(),
            journal_failed: false,
            outcome: None,
        });
        self.recovery(Event::Start, watch)
    }

    /// Lets a step of its happen.
    pub(crate) fn apply_to_recovery(&mut self, step: &ModelStep, watch: &mut Observer<'_>) {
        match *step {
            ModelStep::Recover => self.recovery_starts(watch),
            ModelStep::TellRecovery(pid) => self.tell_recovery(pid, watch),
            ModelStep::Refused(pid) => {
                self.recovery.iter_mut().for_each(|recovery| {
                    recovery.refused.remove(0);
                });
                self.recovery(Event::Closed(id(pid)), watch);
            }
            ModelStep::RecoveryComplete => self.recovery_complete(true, watch),
            ModelStep::RecoveryTimer(timer) => self.recovery(Event::Timer(timer), watch),
            ModelStep::ContinueRecovery => {
                self.recovery.iter_mut().for_each(|recovery| recovery.stopped = false)
            }
            _ => {}
        }
    }

    fn tell_recovery(&mut self, pid: u32, watch: &mut Observer<'_>) {
        let its = |link: &&mut ModelLink| link.pid == pid && link.end == ModelEnd::Recovery;
        self.links.iter_mut().filter(its).for_each(|link| link.supervisor_open = false);
        if let Some(recovery) = &mut self.recovery {
            recovery.watched.retain(|watched| *watched != pid);
            recovery.asked.remove(&pid);
            recovery.heard.remove(&pid);
        }
        self.recovery(Event::Ended(id(pid)), watch)
    }

    /// Lets the recovery handle `event`.
    pub(crate) fn recovery(&mut self, event: Event, watch: &mut Observer<'_>) {
        let Some(mut machine) = self.recovery.as_ref().map(|recovery| recovery.machine.clone()) else {
            return;
        };
        if let Event::Timer(timer) = &event {
            self.violated(obligations::fires_again(&machine, *timer, Event::Timer, watch));
        }
        let mut meddling = watch.meddling.take();
        let mut host = ModelHost { model: self, pid: 0, watch };
        let lives = drive(&mut machine, &mut host, event, &mut meddling).is_continue();
        watch.meddling = meddling;
        match &mut self.recovery {
            Some(recovery) if lives => recovery.machine = machine,
            _ => return self.recovery_dies(),
        }
        let mute = self
            .recovery
            .as_ref()
            .is_some_and(|recovery| recovery.machine.is_done() && recovery.outcome.is_none());
        self.violated(mute.then(|| "the recovery is done, and reports nothing".into()));
        self.violated(obligations::recovery::looks(self, watch));
        self.violated(obligations::recovery::tells(watch));
        self.violated(obligations::recovery::notes(self, watch));
    }

    pub(crate) fn recovery_hears(&mut self, pid: u32, message: Message, watch: &mut Observer<'_>) {
        self.recovery.iter_mut().for_each(|recovery| _ = recovery.heard.insert(pid));
        match (&mut self.recovery, &message) {
            (Some(recovery), Message::StandingReport { .. }) => {
                recovery.asked.remove(&pid);
            }
            (Some(recovery), Message::Listeners { more: false, .. }) => {
                recovery.has_listeners |= !recovery.killed.contains(&pid);
            }
            _ => {}
        }
        let name = message.name();
        self.recovery(Event::Frame(id(pid), message), watch);
        if watch.crash.is_none() {
            self.violated(obligations::recovery::hears(self, pid, name, watch));
        }
    }

    pub(crate) fn recovery_complete(&mut self, good: bool, watch: &mut Observer<'_>) {
        let Some(recovery) = &mut self.recovery else { return };
        let event = match recovery.pending.remove(0) {
            Awaited::Look(also) => {
                watch.looked = true;
                Event::Looked(self.sightings(also))
            }
            Awaited::Note(verdict) => {
                watch.noted = self.heir_that_is_free(verdict).filter(|_| good);
                Event::Noted(verdict, self.note_recovery(verdict, good))
            }
            Awaited::Finish(_) => return,
        };
        self.recovery(event, watch)
    }

    /// Returns what the kernel shows of daemons, taken as production takes it. Sockets lie beside the path
    /// from a process's first turn to its end; the record's holder counts only if it has the lock.
    fn sightings(&mut self, also: Option<ProcessId>) -> Vec<Sighting> {
        let Some(recovery) = &mut self.recovery else { return Vec::new() };
        let begun = self.processes.iter().filter(|(_, process)| process.has_started);
        let holder = self.record.as_ref().map(|record| record.holder);
        let seen = node::Seen {
            beside: begun.map(|(pid, _)| id(*pid)).collect(),
            owner: self.path.map(id),
            holder: holder.filter(|holder| self.lock == Some(holder.pid)),
            // No socket is removed here.
            swept: None,
        };
        let (incumbent, successor) = recovery.under_way();
        let journaled = [incumbent, successor, journal::running(&recovery.knows)];
        let there = |processes: &[Option<ProcessId>]| {
            let pids = processes.iter().flatten().map(|process| process.pid);
            pids.filter(|pid| self.processes.contains_key(pid)).collect::<BTreeSet<u32>>()
        };
        recovery.journaled.extend(there(&journaled));
        recovery.named.extend(&recovery.journaled);
        recovery.named.extend(there(&[seen.owner, seen.holder]));
        let mut sightings = node::sightings(&recovery.knows, &seen, also);
        sightings.retain(|sighting| self.processes.contains_key(&sighting.process.pid));
        recovery.watched.extend(sightings.iter().map(|sighting| sighting.process.pid));
        recovery.watched.sort_unstable();
        recovery.watched.dedup();
        sightings
    }

    /// The process that serves, unless it is still to answer.
    fn heir_that_is_free(&self, verdict: RecoveryVerdict) -> Option<u32> {
        let RecoveryVerdict::Serves(process) = verdict else { return None };
        let asked = self.recovery.as_ref().is_some_and(|recovery| recovery.asked.contains(&process.pid));
        (!asked).then_some(process.pid)
    }
}

impl Transport<ProcessId> for ModelHost<'_, '_> {
    fn send(&mut self, to: ProcessId, message: &Message) {
        let has_journal = self.model.recovery.as_ref().is_some_and(|recovery| recovery.has_journal);
        if let (true, Message::Final { .. }) = (has_journal, message) {
            self.model.violated(finalizes(self.model, to.pid));
        }
        self.watch.tells(|| names::daemon(to.pid), message);
        self.watch.asked_of.push((to.pid, message.name()));
        if let Some(recovery) = &mut self.model.recovery {
            match message {
                Message::StandingQuery => {
                    recovery.asked.insert(to.pid);
                }
                Message::ListenersQuery if recovery.has_listeners => {
                    self.model
                        .violated(Some("the recovery asks for the listening sockets, and has them".into()));
                }
                _ => {}
            }
        }
        let refused = self.model.recovery.as_ref().is_some_and(|recovery| recovery.refused.contains(&to.pid));
        let mine = |link: &&mut ModelLink| link.end == ModelEnd::Recovery && link.pid == to.pid;
        let mut links =
            self.model.links.iter_mut().filter(mine).filter(|link| link.supervisor_open).peekable();
        if links.peek().is_none() && !refused {
            let wrong = format!("the recovery says {} to {}, to whom it has no link", message.name(), to.pid);
            return self.model.violated(Some(wrong));
        }
        if let Some(link) = links.find(|link| link.daemon_open && !link.reset) {
            // A question that was not read yet is not asked twice.
            if link.down.back() != Some(message) {
                link.down.push_back(message.clone());
            }
        }
    }

    fn close(&mut self, _link: ProcessId) {}
}

impl Discovery for ModelHost<'_, '_> {
    fn look(&mut self, also: Option<ProcessId>) -> Option<Vec<Sighting>> {
        self.watch.tried(|| "looks".into());
        if self.defers() {
            self.model.recovery.iter_mut().for_each(|s| s.pending.push(Awaited::Look(also)));
            return None;
        }
        self.watch.looked = true;
        Some(self.model.sightings(also))
    }

    fn connect(&mut self, to: ProcessId) {
        self.watch.did(|| format!("connects to D{to}"));
        let listens = self.model.processes.get(&to.pid).is_some_and(|process| process.has_started);
        if listens && self.model.listens(to.pid) {
            self.model.link(ModelEnd::Recovery, to.pid);
        } else {
            self.model.recovery.iter_mut().for_each(|recovery| recovery.refused.push(to.pid));
        }
    }

    fn kill(&mut self, process: ProcessId) {
        self.watch.did(|| format!("kills D{process}"));
        let seen = self.model.seen_recovery();
        let wrong = seen.and_then(|seen| checks::kills(self.model, &seen, process.pid));
        self.model.violated(wrong);
        self.model.recovery.iter_mut().for_each(|recovery| {
            recovery.killed.insert(process.pid);
        });
        if self.model.processes.contains_key(&process.pid) {
            self.model.dies(process.pid);
        }
    }

    fn note(&mut self, verdict: RecoveryVerdict) -> Option<Result<(), HostError>> {
        self.watch.did(|| format!("journal {}", name(verdict)));
        if self.defers() {
            self.model.recovery.iter_mut().for_each(|s| s.pending.push(Awaited::Note(verdict)));
            return None;
        }
        self.watch.noted = self.model.heir_that_is_free(verdict);
        Some(self.model.note_recovery(verdict, true))
    }
}

impl RecoveryHost for ModelHost<'_, '_> {
    fn finish(&mut self, outcome: Outcome) {
        self.watch.did(|| match outcome.verdict {
            RecoveryVerdict::Serves(process) => format!("finds: D{process} serves"),
            verdict => format!("finds: {}", name(verdict)),
        });
        let seen = self.model.seen_recovery();
        let wrong = seen.and_then(|seen| checks::finds(self.model, &seen, &outcome));
        self.model.violated(wrong);
        self.model.astray &= !outcome.verdict.is_clear();
        self.model.recovery.iter_mut().for_each(|recovery| recovery.outcome = Some(outcome.clone()));
    }
}

/// Its name, for the list of verdicts that a search met.
pub(crate) fn name(verdict: recovery::RecoveryVerdict) -> &'static str {
    match verdict {
        RecoveryVerdict::Serves(_) => "Serves",
        RecoveryVerdict::NobodyServes => "NobodyServes",
        RecoveryVerdict::Unconfirmed => "Unconfirmed",
        RecoveryVerdict::Cancelled => "Cancelled",
    }
}
