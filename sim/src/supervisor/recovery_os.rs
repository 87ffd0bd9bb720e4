//! The operating system of a recovery's node, in the simulated kernel.
use handoff::journal::Journal;
use handoff::machine::recovery::{Outcome, RecoveryVerdict};
use handoff::message::Message;
use handoff::node::recovery::{Answer, Os, Seen};
use handoff::node::{Credentials, Read};
use handoff::text::PlainText;
use handoff::{HostError, ProcessId};

use crate::host::{Host, UID};
use crate::kernel::Side;
use crate::plan::At;
use crate::program::{DeferredAnswer, Process, RecoveryTask};
use crate::trace::words::written;
use crate::world::{Doing, SimulatedWorld, Surroundings};

impl<S: Surroundings> Host<'_, S> {
    fn recovery(&self) -> Option<&RecoveryTask> {
        self.world.kernel.processes.get(&self.pid)?.supervisor()?.recovery()
    }

    /// Notes for the checks what the recovery does.
    fn of_recovery(&mut self, note: impl FnOnce(&mut RecoveryTask)) {
        if let Some(recovery) = self.world.recovery_mut(self.pid) {
            note(recovery);
        }
    }

    fn asked_link(&self, process: ProcessId) -> Option<u64> {
        self.recovery()?.watched.get(&process).copied().flatten()
    }
}

impl<S: Surroundings> Os for Host<'_, S> {
    fn look(&mut self, also: Option<ProcessId>) -> Option<Seen> {
        let told = move |seen| DeferredAnswer::Recovery(Answer::Looked(seen, also));
        let seen = self.answer(0, move |world, pid| Some(world.supervisor_looks(pid, also)), told);
        self.tried(|| if seen.is_some() { "looks".into() } else { "looks later".into() });
        seen
    }

    fn watch(&mut self, process: ProcessId) -> bool {
        let its = |known: &Process<SimulatedWorld<S>>| known.id == process && known.supervisor().is_none();
        let lives = self.world.kernel.processes.get(&process.pid).is_some_and(its);
        let name = self.world.kernel.name_of(process.pid);
        if lives && let Some(recovery) = self.world.recovery_mut(self.pid) {
            recovery.watched.insert(process, None);
            self.did(|| format!("sees {name}"));
        }
        lives
    }

    fn ended(&mut self, process: ProcessId) -> Option<PlainText> {
        if self.world.kernel.processes.contains_key(&process.pid) {
            return None;
        }
        let recovery = self.world.recovery_mut(self.pid)?;
        recovery.asked.remove(&process.pid);
        if let Some(link) = recovery.watched.remove(&process).flatten() {
            self.world.kernel.close_link(link, Side::Supervisor);
        }
        self.world.sweep_names();
        Some("has ended".into())
    }

    fn connect(&mut self, to: ProcessId) -> Option<Result<(), HostError>> {
        let name = self.world.kernel.name_of(to.pid);
        self.did(|| format!("connects to {name}"));
        let told = move |result| DeferredAnswer::Recovery(Answer::Connected(to, result));
        self.answer_at_once(move |world, pid| Some(world.supervisor_asks(pid, to)), told)
    }

    fn credentials(&self, of: ProcessId) -> Result<Credentials, HostError> {
        let link = self
            .asked_link(of)
            .and_then(|link| self.world.kernel.links.get(&link))
            .ok_or_else(|| HostError::system("the link is gone"))?;
        Ok(Credentials { uid: UID, pid: Some(link.pid(Side::Daemon)) })
    }

    fn uid(&self) -> u32 {
        UID
    }

    fn read(&mut self, from: ProcessId) -> Read {
        let Some(link) = self.asked_link(from) else { return Read::Nothing };
        let read = self.read_link(link, Side::Supervisor);
        if let Read::Message(message) = &read {
            self.of_recovery(|recovery| {
                recovery.heard.insert(from.pid);
                if let Message::StandingReport { .. } = message {
                    recovery.asked.remove(&from.pid);
                }
            });
        }
        read
    }

    fn send(&mut self, to: ProcessId, message: &Message) {
        match message {
            Message::StandingQuery => self.of_recovery(|recovery| _ = recovery.asked.insert(to.pid)),
            Message::Final { .. } => self.world.shows(self.pid, Doing::SaysFinal(to.pid)),
            _ => {}
        }
        let (link, message) = (self.asked_link(to), message.clone());
        self.perform(move |world, _| {
            link.into_iter().for_each(|link| world.send(link, Side::Supervisor, &message));
        });
    }

    /// A simulated link takes whatever is written.
    fn is_clogged(&self, _to: ProcessId) -> bool {
        false
    }

    fn hang_up(&mut self, from: ProcessId) {
        self.perform(move |world, pid| {
            let link = world.recovery_mut(pid).and_then(|recovery| recovery.watched.get_mut(&from)?.take());
            link.into_iter().for_each(|link| world.kernel.close_link(link, Side::Supervisor));
        });
    }

    fn receive_listeners(&mut self, _from: ProcessId, _names: &[String]) -> Result<(), HostError> {
        Ok(())
    }

    fn keep_listeners(&mut self, from: ProcessId) {
        let link = self.asked_link(from).and_then(|link| self.world.kernel.links.get(&link));
        if link.is_some_and(|link| link.carries_listener) {
            self.of_recovery(|recovery| recovery.was_given_listeners = true);
            self.world.kernel.receives_listener(self.pid);
        }
    }

    /// A simulated listener is one: to have it twice is to have it.
    fn drop_listeners(&mut self, _from: ProcessId) {}

    fn kill(&mut self, process: ProcessId) {
        let name = self.world.kernel.name_of(process.pid);
        self.did(|| format!("kills {name}"));
        self.world.shows(self.pid, Doing::KillsFound(process.pid));
        self.of_recovery(|recovery| _ = recovery.killed.insert(process.pid));
        self.perform(move |world, pid| {
            world.shows(pid, Doing::Strikes(process.pid));
            world.die(process.pid, "is killed by the supervisor", false);
        });
    }

    fn write_journal(
        &mut self,
        verdict: RecoveryVerdict,
        journal: &Journal,
    ) -> Option<Result<(), HostError>> {
        let told = move |result| DeferredAnswer::Recovery(Answer::Written(verdict, result));
        let (late, journal) = (S::slowness(self.world, self.pid, &At::JournalWrite), journal.clone());
        self.of_recovery(|recovery| recovery.is_slow |= late > 0);
        let write = move |world: &mut SimulatedWorld<S>, pid| {
            let is_enough = journal.allows_final().is_ok();
            let result = world.writes_journal(pid, journal)?;
            let failed = result.is_err() || !is_enough;
            world.recovery_mut(pid).into_iter().for_each(|recovery| recovery.journal_failed = failed);
            Some(result)
        };
        let result = self.answer(late, write, told);
        self.did(|| format!("journal {}", result.as_ref().map_or("asked for", written)));
        result
    }

    fn answer(&mut self) -> Option<Answer> {
        loop {
            if let DeferredAnswer::Recovery(answer) = self.world.pending(self.pid)? {
                return Some(answer);
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        self.world.supervisor(self.pid).is_some_and(|supervisor| supervisor.cancelled)
    }

    fn reports(&mut self, outcome: &Outcome) {
        let found = match outcome.verdict {
            RecoveryVerdict::Serves(process) => format!("{} serves", self.world.kernel.name_of(process.pid)),
            verdict => format!("{verdict:?}"),
        };
        self.did(|| format!("finds: {found}"));
    }
}

impl<S: Surroundings> SimulatedWorld<S> {
    fn recovery_mut(&mut self, pid: u32) -> Option<&mut RecoveryTask> {
        self.supervisor_mut(pid)?.recovery_mut()
    }

    /// Returns what the kernel shows of daemons; the processes that the recovery may end are noted for the
    /// checks.
    fn supervisor_looks(&mut self, pid: u32, also: Option<ProcessId>) -> Seen {
        let id = |pid: u32| self.kernel.processes.get(&pid).map(|process| process.id);
        let holder = self.record().map(|record| record.holder);
        let holder = holder.filter(|holder| self.kernel.disk.lock().holders.contains(&holder.pid));
        let knows =
            self.kernel.processes.get(&pid).and_then(Process::supervisor).map(|supervisor| &supervisor.knows);
        let known = knows.into_iter().flat_map(|journal| journal.processes());
        let is_swept = |process: &ProcessId| {
            self.kernel.swept.has(process.pid) && self.kernel.processes.contains_key(&process.pid)
        };
        let seen = Seen {
            beside: self.kernel.names_beside.iter().filter_map(|pid| id(*pid)).collect(),
            owner: self.kernel.control_path.and_then(id),
            // As in production, where a daemon is known by its own socket beside the control path.
            holder: holder.filter(|holder| !self.kernel.swept.has(holder.pid)),
            swept: holder.into_iter().chain(known).find(is_swept),
        };
        self.finds_owner(pid, seen.owner);
        let Some(supervisor) = self.supervisor_mut(pid) else { return seen };
        let under_way = supervisor.knows.under_way.as_ref();
        let running = supervisor.knows.running.as_ref().map(|running| running.process);
        let parties = under_way.map(|under_way| [under_way.incumbent, Some(under_way.successor)]);
        let journaled: Vec<Option<ProcessId>> = parties.into_iter().flatten().chain([running]).collect();
        let pids = |processes: &[Option<ProcessId>]| -> Vec<u32> {
            let known = processes.iter().flatten();
            known.filter(|process| Some(**process) != also).map(|process| process.pid).collect()
        };
        supervisor.recovery_mut().into_iter().for_each(|recovery| {
            recovery.journaled.extend(pids(&journaled));
            recovery.named.extend(&recovery.journaled);
            recovery.named.extend(pids(&[seen.owner, seen.holder]));
        });
        seen
    }

    /// The process that listens at the control path shows only to one that connects to it, once for each that does.
    fn finds_owner(&mut self, pid: u32, owner: Option<ProcessId>) {
        let listens = |world: &SimulatedWorld<S>, pid| {
            world.kernel.processes.get(&pid).is_some_and(|process| process.lives() && process.has_socket)
        };
        let Some(owner) = owner.map(|owner| owner.pid).filter(|owner| listens(self, *owner)) else { return };
        let Some(recovery) = self.recovery_mut(pid) else { return };
        if recovery.owner.replace(owner) != Some(owner) {
            let link = self.kernel.connect(pid, owner);
            self.kernel.close_link(link, Side::Supervisor);
        }
    }

    /// Connects to a process's own control socket.
    fn supervisor_asks(&mut self, pid: u32, to: ProcessId) -> Result<(), HostError> {
        let exhausted =
            self.kernel.processes.get(&pid).is_some_and(|p| p.no_descriptors_until > self.kernel.now);
        let link = (self.kernel.answers(to.pid) && !exhausted).then(|| self.kernel.connect(pid, to.pid));
        let watched = self.recovery_mut(pid).and_then(|recovery| recovery.watched.get_mut(&to));
        watched.into_iter().for_each(|watched| *watched = link);
        link.map(drop).ok_or_else(|| HostError::peer("it can't be connected to"))
    }
}
