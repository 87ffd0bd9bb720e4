//! The hosts of the machines, on the searched kernel.
use std::collections::VecDeque;
use std::ops::ControlFlow;

use handoff::host::*;
use handoff::machine::{
    Awaited, Cell, ExitReason, LinkId, LockAnswer, Op, incumbent, successor,
    supervisor::{self, Note, Outcome, Peer},
};
use handoff::message::Message;
use handoff::node::daemon::Hook as AnyHook;
use handoff::record::Record;
use handoff::time::Time;
use handoff::{HostError, ProcessId};

use crate::checks::{GivesUp, daemon, supervisor as checks};
use crate::explore::checks as explored;
use crate::explore::checks::obligations;
use crate::explore::checks::obligations::supervisor::is_anothers_to_say;
use crate::explore::model::watch::Observer;
use crate::explore::model::{Model, ModelEnd, id, names};
use crate::trace::words::lock_answer;

/// The host of one process; pid 0 is the supervisor.
pub(crate) struct ModelHost<'a, 'w> {
    pub model: &'a mut Model,
    pub pid: u32,
    pub watch: &'a mut Observer<'w>,
}

impl ModelHost<'_, '_> {
    /// The process that the supervisor knows as `peer`.
    fn peer(&self, peer: Peer) -> Option<u32> {
        let supervisor = self.model.supervisor.as_ref()?;
        match peer {
            Peer::Incumbent => supervisor.incumbent,
            Peer::Successor => supervisor.successor,
        }
    }

    /// Results come later.
    pub(crate) fn defers(&self) -> bool {
        self.model.faults.deferred || self.model.faults.errors > 0
    }

    fn put_off(&mut self, awaited: Awaited) {
        if let Some(process) = self.model.processes.get_mut(&self.pid) {
            process.last_op = op_of(&awaited).unwrap_or(process.last_op);
            process.pending.push(awaited);
        }
    }

    fn put_off_supervisor(&mut self, awaited: supervisor::Awaited) {
        self.model.supervisor.iter_mut().for_each(|supervisor| supervisor.pending.push(awaited.clone()));
    }

    /// Looks at what the supervisor says, and notes what a daemon may take it for.
    fn note(&mut self, to: Peer, message: &Message) {
        let model = &*self.model;
        let wrong = model.handoff().and_then(|handoff| match message {
            Message::Abort { .. } | Message::Retire { .. } => {
                checks::gives_up(model, &handoff, to, GivesUp::Says(message.name()))
            }
            Message::Final { .. } => checks::finalizes(model, handoff.successor.pid?),
            Message::Commit { .. } => checks::commits(&handoff),
            Message::Begin { .. } => checks::begins(model, &handoff),
            Message::ResumeAfterAbort { .. } => checks::resumes(model, &handoff),
            _ => None,
        });
        self.model.violated(wrong);
        let successor = self.model.supervisor.as_ref().and_then(|supervisor| supervisor.successor);
        let told = successor.filter(|_| to == Peer::Successor);
        if let Some(process) = told.and_then(|pid| self.model.processes.get_mut(&pid)) {
            process.suspect |= matches!(message, Message::Abort { .. });
            process.told_to_begin |= matches!(message, Message::Begin { .. });
            process.told_to_commit |= matches!(message, Message::Commit { .. });
        }
    }

    fn run(&mut self, op: Op, hook: AnyHook) {
        self.watch.did(|| format!("{} begins", hook.name()));
        self.model.violated(explored::starts(self.model, self.pid, &hook));
        if let Some(process) = self.model.processes.get_mut(&self.pid) {
            let finalizes = hook == AnyHook::Incumbent(incumbent::Hook::Finalize);
            let again = finalizes && process.finalized;
            process.finalized |= finalizes;
            process.last_op = op;
            process.hooks.push((op, hook));
            self.model.violated(again.then(|| format!("{} finalizes again", self.pid)));
        }
    }

    fn leave(&mut self, exit: ExitReason) {
        self.watch.did(|| format!("exits: {exit:?}"));
        self.model.violated(daemon::leaves(self.model, self.pid, &exit));
        if let Some(process) = self.model.processes.get_mut(&self.pid) {
            process.exited = Some(exit);
        }
    }
}

impl Clock for ModelHost<'_, '_> {
    fn now(&self) -> Time {
        Time::ZERO
    }
}

impl Gaps for ModelHost<'_, '_> {
    fn handles(&mut self, cell: Cell) {
        self.watch.cells.push(cell);
    }

    fn gap(&mut self, gap: Gap) -> ControlFlow<Crashed> {
        self.watch.gap(gap)
    }
}

impl Transport<Peer> for ModelHost<'_, '_> {
    fn send(&mut self, to: Peer, message: &Message) {
        let pid = self.peer(to).unwrap_or_default();
        self.watch.tells(|| names::daemon(pid), message);
        self.watch.said.push((to, message.name()));
        self.note(to, message);
        let mut links = self
            .model
            .links
            .iter_mut()
            .filter(|link| link.end == ModelEnd::Supervisor(to) && link.supervisor_open);
        let name = message.name();
        let Some(link) = links.next() else {
            let wrong = format!("the supervisor says {name} to the {to:?}, to whom it has no link");
            return self.model.violated(Some(wrong));
        };
        link.acked |= matches!(message, Message::HelloAck(_));
        let early = !link.acked && !matches!(message, Message::Refused { .. });
        let wrong = obligations::says(&mut link.said, &mut true, message);
        if link.daemon_open && !link.reset {
            push(&mut link.down, message);
        }
        self.model.violated(wrong.map(|wrong| format!("the supervisor: {wrong}")));
        let wrong =
            || format!("the supervisor says {name} to the {to:?}, which is not part of its handoff yet");
        self.model.violated(early.then(wrong));
    }

    fn close(&mut self, peer: Peer) {
        for link in self.model.links.iter_mut().filter(|link| link.end == ModelEnd::Supervisor(peer)) {
            link.supervisor_open = false;
        }
    }
}

impl Transport<LinkId> for ModelHost<'_, '_> {
    fn send(&mut self, to: LinkId, message: &Message) {
        let end = self.model.links.iter().find(|link| link.id == to).map(|link| link.end);
        self.watch.tells(|| end.map_or(names::SUPERVISOR, ModelEnd::name), message);
        let name = message.name();
        let its = |end: ModelEnd| matches!(end, ModelEnd::Supervisor(peer) if is_anothers_to_say(peer, name));
        let wrong =
            end.is_some_and(its).then(|| format!("{} says {name}, which is not its to say", self.pid));
        self.model.violated(wrong);
        let mut links = self.model.links.iter_mut().filter(|link| link.id == to && link.daemon_open);
        let Some(link) = links.next() else {
            return self.model.violated(Some(format!("{} speaks into a link that is closed", self.pid)));
        };
        // The process that hears it may want the lock.
        let early = matches!(message, Message::SealComplete { .. } | Message::Failed { .. })
            && self.model.lock == Some(self.pid);
        self.watch.sent.push((to, message.name()));
        link.joined &= !matches!(message, Message::Busy | Message::Refused { .. });
        if link.supervisor_open && !link.reset {
            push(&mut link.up, message);
        }
        let process = self.model.processes.get_mut(&self.pid);
        let finalized = process.as_ref().is_some_and(|process| process.finalized);
        let waits = matches!(message, Message::StandingReport { awaits_final: Some(_), .. });
        let wrong =
            process.and_then(|process| obligations::says(&mut process.said, &mut link.answered, message));
        self.model.violated(wrong.map(|wrong| format!("{}: {wrong}", self.pid)));
        self.model.violated(early.then(|| format!("{} says {name}, and has the lock", self.pid)));
        let forgets = || format!("{} waits to hear that its predecessor has ended, and was told", self.pid);
        self.model.violated((waits && finalized).then(forgets));
    }

    fn close(&mut self, link: LinkId) {
        self.watch.closed.push(link);
        for link in self.model.links.iter_mut().filter(|l| l.id == link) {
            link.daemon_open = false;
        }
    }
}

impl Processes for ModelHost<'_, '_> {
    fn connect(&mut self) {
        self.watch.tried(|| "connects".into());
        let mut links =
            self.model.links.iter().filter(|link| link.end == ModelEnd::Supervisor(Peer::Incumbent));
        let again = links.any(|link| link.supervisor_open);
        let wrong = || "the supervisor connects to the incumbent, and has a link to it".into();
        self.model.violated(again.then(wrong));
        self.model.supervisor.iter_mut().for_each(|supervisor| supervisor.wants_connect = true);
    }

    fn spawn(&mut self) -> Option<Result<ProcessId, HostError>> {
        self.watch.did(|| format!("spawns D{}", self.model.next_pid));
        if self.defers() {
            self.put_off_supervisor(supervisor::Awaited::Spawn);
            return None;
        }
        Some(Ok(id(self.model.spawn())))
    }

    fn kill(&mut self, peer: Peer) {
        self.watch.did(|| format!("kills the {}", format!("{peer:?}").to_lowercase()));
        if let Some(pid) = self.peer(peer).filter(|pid| self.model.processes.contains_key(pid)) {
            let model = &*self.model;
            let handoff = model.handoff();
            let wrong = handoff.and_then(|handoff| checks::gives_up(model, &handoff, peer, GivesUp::Kills));
            self.model.violated(wrong);
            self.model.supervisor.iter_mut().for_each(|supervisor| supervisor.killed.push(peer));
            self.model.dies(pid);
        }
    }
}

impl Notes for ModelHost<'_, '_> {
    fn persist(&mut self, note: Note) -> Option<Result<(), HostError>> {
        self.watch.did(|| format!("journal {note:?}"));
        if self.defers() {
            self.put_off_supervisor(supervisor::Awaited::Persist(note));
            return None;
        }
        self.watch.persisted.push(note);
        self.model.note(note, true);
        Some(Ok(()))
    }
}

impl SupervisorHost for ModelHost<'_, '_> {
    fn finish(&mut self, outcome: Outcome) {
        self.watch.did(|| format!("reports {:?}", outcome.verdict));
        let handoff = self.model.handoff();
        let wrong = handoff.and_then(|handoff| checks::reports(self.model, &handoff, &outcome));
        self.model.violated(wrong);
        self.model.finished(&outcome);
        self.model.supervisor.iter_mut().for_each(|supervisor| supervisor.outcome = Some(outcome.clone()));
    }
}

impl Sockets for ModelHost<'_, '_> {
    fn send_listeners(&mut self, to: LinkId) {
        Transport::<LinkId>::send(self, to, &Message::Listeners { names: Vec::new(), more: false });
    }

    /// No daemon of the model has clients that stay.
    fn receive_connections(&mut self, from: LinkId) {
        Transport::<LinkId>::close(self, from);
    }
}

impl Hooks<incumbent::Hook> for ModelHost<'_, '_> {
    fn start_hook(&mut self, op: Op, hook: incumbent::Hook) {
        self.run(op, AnyHook::Incumbent(hook));
    }

    fn exit(&mut self, exit: ExitReason) {
        self.leave(exit);
    }
}

impl Hooks<successor::Hook> for ModelHost<'_, '_> {
    fn start_hook(&mut self, op: Op, hook: successor::Hook) {
        self.run(op, AnyHook::Successor(hook));
    }

    fn exit(&mut self, exit: ExitReason) {
        self.leave(exit);
    }
}

impl Storage for ModelHost<'_, '_> {
    fn lock(&mut self, op: Op) -> Option<LockAnswer> {
        self.model.violated(explored::seizes(self.model, self.pid));
        if self.defers() {
            self.put_off(Awaited::Lock(op));
            return None;
        }
        let answer = self.model.try_lock(self.pid);
        self.watch.found_busy |= matches!(answer, LockAnswer::Busy { .. });
        let words = || format!("lock: {}", lock_answer(&answer));
        match answer {
            LockAnswer::Busy { .. } => self.watch.tried(words),
            _ => self.watch.did(words),
        }
        Some(answer)
    }

    fn unlock(&mut self) {
        self.watch.did(|| "unlocks".into());
        self.model.violated(daemon::unlocks(self.model, self.pid));
        self.model.lock = self.model.lock.filter(|holder| *holder != self.pid);
    }

    fn write_record(&mut self, op: Op, record: &Record) -> Option<Result<(), HostError>> {
        self.model.violated(explored::records(self.model, self.pid, record));
        if self.defers() {
            self.put_off(Awaited::WriteRecord(op, record.clone()));
            return None;
        }
        self.watch.did(|| format!("record {} written", record.generation));
        self.model.write_record(self.pid, record.clone());
        Some(Ok(()))
    }

    fn take_path(&mut self, op: Op) -> Option<Result<(), HostError>> {
        self.model.violated(explored::serves_by_itself(self.model, self.pid));
        if self.defers() {
            self.put_off(Awaited::TakePath(op));
            return None;
        }
        self.watch.did(|| "takes the path".into());
        self.model.path = Some(self.pid);
        Some(Ok(()))
    }
}

/// Adds what is said over a link, unless it is a heartbeat that only repeats the one before, which was not
/// read yet.
fn push(frames: &mut VecDeque<Message>, message: &Message) {
    let again = matches!(message, Message::Heartbeat { .. }) && frames.back() == Some(message);
    if !again {
        frames.push_back(message.clone());
    }
}

/// An operation's number, to be kept for the table.
fn op_of(awaited: &Awaited) -> Option<Op> {
    match awaited {
        Awaited::Lock(op) | Awaited::WriteRecord(op, _) | Awaited::TakePath(op) => Some(*op),
        Awaited::Exit(_) => None,
    }
}
