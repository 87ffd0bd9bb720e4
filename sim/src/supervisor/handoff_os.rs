//! The operating system of a handoff's node, in the simulated kernel.
use handoff::id::{BootId, DirectoryId};
use handoff::journal::Journal;
use handoff::machine::supervisor::{Note, Outcome, Peer};
use handoff::message::Message;
use handoff::node::handoff::{Answer, ControlConnection, Os, SpawnResult};
use handoff::node::{Credentials, Read};
use handoff::text::PlainText;
use handoff::{HostError, ProcessId};

use super::binary;
use crate::happening::Happening;
use crate::host::{Host, UID};
use crate::kernel::{LengthOf, Side};
use crate::plan::{At, Planted, What as Fault};
use crate::program::{DaemonProgram, DeferredAnswer, HandoffTask, Program};
use crate::trace::words::written;
use crate::world::{Doing, SimulatedWorld, Surroundings};

impl<S: Surroundings> Host<'_, S> {
    fn handoff(&self) -> Option<&HandoffTask> {
        self.world.kernel.processes.get(&self.pid)?.supervisor()?.handoff()
    }

    /// Notes for the checks what happens to the handoff.
    fn of_handoff(&mut self, note: impl FnOnce(&mut HandoffTask)) {
        let supervisor = self.world.supervisor_mut(self.pid);
        if let Some(handoff) = supervisor.and_then(|supervisor| supervisor.handoff_mut()) {
            note(handoff);
        }
    }
}

impl<S: Surroundings> Os for Host<'_, S> {
    fn connect(&mut self) -> Option<ControlConnection> {
        self.tried(|| "connects".into());
        let told = |connection| DeferredAnswer::Handoff(Answer::Connected(connection));
        self.answer_at_once(|world, pid| Some(world.supervisor_connects(pid)), told)
    }

    fn read(&mut self, peer: Peer) -> Read {
        let Some(id) = self.handoff().and_then(|handoff| handoff.link(peer)) else { return Read::Nothing };
        let read = self.read_link(id, Side::Supervisor);
        if matches!(read, Read::Closed(_)) {
            self.world.forgets_link(self.pid, peer);
        }
        read
    }

    fn send(&mut self, peer: Peer, message: &Message) {
        self.world.shows(self.pid, Doing::Says(peer, message));
        self.of_handoff(|handoff| handoff.says(peer, message));
        let message = message.clone();
        self.perform(move |world, pid| world.supervisor_says(pid, peer, &message));
    }

    fn hang_up(&mut self, peer: Peer) {
        self.of_handoff(|handoff| handoff.party_mut(peer).linked = false);
        self.perform(move |world, pid| {
            if let Some(link) = world.forgets_link(pid, peer) {
                world.kernel.close_link(link, Side::Supervisor);
            }
        });
    }

    fn credentials(&self, peer: Peer) -> Result<Credentials, HostError> {
        let link = self.handoff().and_then(|handoff| handoff.link(peer));
        let link = link
            .and_then(|link| self.world.kernel.links.get(&link))
            .ok_or_else(|| HostError::system("the link is gone"))?;
        Ok(Credentials { uid: UID, pid: Some(link.pid(Side::Daemon)) })
    }

    fn uid(&self) -> u32 {
        UID
    }

    fn user(&self) -> Option<u32> {
        Some(UID)
    }

    fn directory(&self) -> Option<DirectoryId> {
        let successor = self.handoff()?.successor()?;
        Some(self.world.kernel.disk.lock().directory_of(successor))
    }

    fn boot(&self) -> BootId {
        self.world.kernel.boot()
    }

    fn spawn(&mut self, _replaces: bool) -> Option<SpawnResult> {
        let told = |spawned| DeferredAnswer::Handoff(Answer::Spawned(spawned));
        let late = S::slowness(self.world, self.pid, &At::Spawn);
        let spawn = |world: &mut SimulatedWorld<S>, pid| Some(world.supervisor_spawns(pid));
        let spawned = match late {
            0 => self.answer_at_once(spawn, told),
            late => self.answer(late, spawn, told),
        };
        let spawned_as = match &spawned {
            Some(Ok((id, _))) => self.world.kernel.name_of(id.pid).to_string(),
            Some(Err(why)) => why.to_string(),
            None => "...".into(),
        };
        self.did(|| format!("spawns {spawned_as}"));
        spawned
    }

    fn watch(&mut self, incumbent: ProcessId) -> Result<(), HostError> {
        let handoff =
            self.world.running_handoff(self.pid).ok_or_else(|| HostError::system("it is stopped"))?;
        handoff.party_mut(Peer::Incumbent).process = Some(incumbent);
        Ok(())
    }

    fn ended(&mut self, peer: Peer) -> Option<PlainText> {
        let process = self.handoff()?.party(peer).process?;
        if self.world.kernel.processes.contains_key(&process.pid) {
            return None;
        }
        self.world.running_handoff(self.pid)?.party_mut(peer).seen_to_end = true;
        self.world.sweep_names();
        Some("has ended".into())
    }

    fn kill(&mut self, peer: Peer) {
        self.did(|| format!("kills the {}", format!("{peer:?}").to_lowercase()));
        self.world.shows(self.pid, Doing::Kills(peer));
        self.of_handoff(|handoff| handoff.party_mut(peer).killed = true);
        self.perform(move |world, pid| world.supervisor_kills(pid, peer));
    }

    fn write_journal(&mut self, note: Note, journal: &Journal) -> Option<Result<(), HostError>> {
        let told = move |result| DeferredAnswer::Handoff(Answer::Written(note, result));
        let late = S::slowness(self.world, self.pid, &At::JournalWrite);
        self.of_handoff(|handoff| handoff.notes(note));
        let (of, journal) = (self.world.handoff_of(self.pid), journal.clone());
        let write = move |world: &mut SimulatedWorld<S>, pid| {
            // The handoff is over, and another one under way: that is not the one of which this was to be noted.
            if world.handoff_of(pid) != of {
                return None;
            }
            let result = world.writes_journal(pid, journal)?;
            let handoff = world.supervisor_mut(pid).and_then(|supervisor| supervisor.handoff_mut());
            handoff.into_iter().for_each(|handoff| handoff.wrote(&result));
            Some(result)
        };
        let result = self.answer(late, write, told);
        self.did(|| format!("journal {note:?} {}", result.as_ref().map_or("asked for", written)));
        result
    }

    fn answer(&mut self) -> Option<Answer> {
        loop {
            if let DeferredAnswer::Handoff(answer) = self.world.pending(self.pid)? {
                return Some(answer);
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        self.world.supervisor(self.pid).is_some_and(|supervisor| supervisor.cancelled)
    }

    fn reports(&mut self, outcome: &Outcome) {
        self.did(|| match &outcome.reason {
            Some(reason) => format!("reports {:?}: {reason}", outcome.verdict),
            None => format!("reports {:?}", outcome.verdict),
        });
    }
}

impl<S: Surroundings> SimulatedWorld<S> {
    /// The link to a peer, which is one no more.
    fn forgets_link(&mut self, pid: u32, peer: Peer) -> Option<u64> {
        self.supervisor_mut(pid)?.handoff_mut()?.party_mut(peer).link.take()
    }

    /// Takes note of what a daemon is told, once it is said.
    fn daemon_is_told(&mut self, supervisor: u32, to: Peer, message: &Message) {
        let successor = self.supervisor_mut(supervisor).and_then(|supervisor| supervisor.successor());
        let told = successor.filter(|_| to == Peer::Successor);
        if let Some(daemon) = told.and_then(|pid| self.daemon_mut(pid)) {
            daemon.told_to_leave |= matches!(message, Message::Abort { .. });
            daemon.told_to_begin |= matches!(message, Message::Begin { .. });
            daemon.told_to_commit |= matches!(message, Message::Commit { .. });
        }
    }

    fn supervisor_says(&mut self, pid: u32, to: Peer, message: &Message) {
        self.daemon_is_told(pid, to, message);
        let link = self.supervisor_mut(pid).and_then(|supervisor| supervisor.handoff()?.link(to));
        link.into_iter().for_each(|link| self.send(link, Side::Supervisor, message));
    }

    /// Connects to the process that listens at the control path.
    fn supervisor_connects(&mut self, pid: u32) -> ControlConnection {
        let exhausted =
            self.kernel.processes.get(&pid).is_some_and(|p| p.no_descriptors_until > self.kernel.now);
        match self.kernel.who_answers_at_path().filter(|_| !exhausted) {
            Some(owner) => {
                let link = self.kernel.connect(pid, owner);
                let handoff = self.supervisor_mut(pid).and_then(|supervisor| supervisor.handoff_mut());
                handoff.into_iter().for_each(|handoff| handoff.party_mut(Peer::Incumbent).is_linked(link));
                ControlConnection::Made
            }
            None if exhausted => ControlConnection::Failed(HostError::system("too many open files")),
            None => ControlConnection::Failed(HostError::system("nobody listens")),
        }
    }

    /// Starts a daemon.
    fn supervisor_spawns(&mut self, pid: u32) -> SpawnResult {
        let fate = S::spawn_fate(self, pid);
        let exhausted =
            self.kernel.processes.get(&pid).is_some_and(|p| p.no_descriptors_until > self.kernel.now);
        let handoff = self
            .supervisor_mut(pid)
            .and_then(|supervisor| supervisor.handoff())
            .ok_or_else(|| HostError::system("it has died"))?;
        if fate.is_some_and(|(what, _)| what == Fault::Fail) {
            return Err(HostError::system("injected"));
        }
        if exhausted {
            return Err(HostError::system("too many open files"));
        }
        let (build, predecessor, handoff_id) = (handoff.build, handoff.incumbent(), handoff.handoff_id);
        let daemon =
            DaemonProgram::new(build, fate.map(|(what, _)| what), predecessor, self.kernel.disk.clone());
        let child = self.start_process('D', Program::Daemon(Box::new(daemon)));
        let link = self.kernel.link(pid, child, true);
        let disk = self.kernel.disk.of(child);
        if let Some(daemon) = self.daemon_mut(child) {
            daemon.inherited = link;
            daemon.disk = disk;
        }
        if self.kernel.listener.has(pid) && self.planted != Planted::ListenerIsGivenAway {
            self.kernel.listener.give(child);
        } else if self.kernel.listener.has(pid) {
            self.kernel.listener.give(child);
            self.kernel.listener.take(pid, true);
        }
        let exec = self.kernel.length(child, LengthOf::Exec);
        self.kernel.after(exec, Happening::Exec(child));
        if let Some((Fault::Hang, span)) = fate {
            self.kernel.after(span, Happening::GivesUp(child));
        }
        let id = self.kernel.processes[&child].id;
        if let Some(handoff) = self.supervisor_mut(pid).and_then(|supervisor| supervisor.handoff_mut()) {
            let party = handoff.party_mut(Peer::Successor);
            party.is_linked(link);
            party.process = Some(id);
        }
        Ok((id, binary(build, handoff_id)))
    }

    fn supervisor_kills(&mut self, pid: u32, peer: Peer) {
        let handoff = self.supervisor_mut(pid).and_then(|supervisor| supervisor.handoff());
        let Some(target) = handoff.and_then(|handoff| handoff.party(peer).process) else { return };
        self.shows(pid, Doing::Strikes(target.pid));
        self.die(target.pid, "is killed by the supervisor", false);
    }
}
