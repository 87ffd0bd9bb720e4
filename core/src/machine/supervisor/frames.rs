//! The frames of peers.
use alloc::format;

use super::{Effect, HandoffVerdict, Out, Peer, Reason, SpawnFate, State, SupervisorMachine, Then};
use crate::{
    message::{Hello, Message, PROTO_MAX, PROTO_MIN, Role, Standing, negotiate_version, not_behind},
    text::PlainText,
    time::Time,
};

impl SupervisorMachine {
    /// A message came: its sender is not silent. A heartbeat stands for what it repeats.
    pub(super) fn heard(&mut self, now: Time, peer: Peer, message: Message, mut out: Out<'_, Self>) {
        if !self.party(peer).lives {
            return;
        }
        if self.timers.is_armed(peer.silent()) {
            self.timers.arm(peer.silent(), now, self.config.liveness);
        }
        if let Message::Heartbeat { standing, .. } = &message
            && (peer, self.state) == (Peer::Incumbent, State::AwaitRetired)
        {
            self.incumbent_serves = *standing == Standing::Serving;
        }
        let message = match message {
            Message::Heartbeat { repeats: Some(repeated), .. } => *repeated,
            Message::Heartbeat { repeats: None, .. } => return,
            other => other,
        };
        if let Some(why) = self.objection(peer, &message) {
            out.push(super::Effect::Send(peer, Message::Refused { error: why.clone() }));
            return self.part(now, peer, Reason::Protocol(peer, why), out);
        }
        match peer {
            Peer::Incumbent => self.heard_incumbent(now, message, out),
            Peer::Successor => self.heard_successor(now, message, out),
        }
    }

    /// Returns what is wrong with `message`, wherever in the handoff it comes: it belongs to another one, or
    /// it is not its sender's to say.
    fn objection(&self, peer: Peer, message: &Message) -> Option<PlainText> {
        if message.handoff_id().is_some_and(|id| id != self.handoff_id) {
            return Some(format!("{} belongs to another handoff", message.name()).into());
        }
        let is_its_to_say = match message {
            Message::Hello(_)
            | Message::Status(_)
            | Message::StandingReport { .. }
            | Message::Listeners { .. }
            | Message::Refused { .. }
            | Message::Heartbeat { .. } => true,
            Message::Drained { .. }
            | Message::DrainFailed { .. }
            | Message::SealProgress { .. }
            | Message::SealComplete { .. }
            | Message::SealFailed { .. }
            | Message::Resumed { .. }
            | Message::Busy => peer == Peer::Incumbent,
            Message::Warmed { .. }
            | Message::Ready { .. }
            | Message::Failed { .. }
            | Message::Serving { .. } => peer == Peer::Successor,
            Message::HelloAck(_)
            | Message::PrepareHandoff { .. }
            | Message::SealRequest { .. }
            | Message::Begin { .. }
            | Message::Commit { .. }
            | Message::Retire { .. }
            | Message::Final { .. }
            | Message::Abort { .. }
            | Message::ResumeAfterAbort { .. }
            | Message::StatusQuery
            | Message::StandingQuery
            | Message::ListenersQuery
            | Message::Connections => false,
        };
        (!is_its_to_say).then(|| format!("{} does not come from the {}", message.name(), peer.role()).into())
    }

    fn heard_incumbent(&mut self, now: Time, message: Message, mut out: Out<'_, Self>) {
        match (message, self.state) {
            (Message::Hello(hello), State::AwaitIncumbent) => self.met_incumbent(now, hello, out),
            (Message::Hello(hello), State::AwaitResumed) if !self.incumbent.greeted => {
                self.met_again(now, hello, out);
            }
            (Message::Busy, State::AwaitSpawn(_)) => self.state = State::AwaitSpawn(SpawnFate::TooLate),
            // It may come late: the successor may have been warm before.
            (Message::Busy, State::AwaitWarmed | State::AwaitDrained | State::AwaitResumed) => {
                self.incumbent_busy(now, out);
            }
            (Message::Drained { accept_closed: false, .. }, State::AwaitDrained) => {
                self.roll_back(now, Reason::StillAccepting, out);
            }
            (Message::Drained { open_conns_remaining, .. }, State::AwaitDrained) => {
                self.open_conns_remaining = open_conns_remaining;
                self.state = State::AwaitSealed;
                self.say(Peer::Incumbent, Message::SealRequest { handoff_id: self.handoff_id }, &mut out);
            }
            (Message::DrainFailed { error, .. }, State::AwaitDrained) => {
                self.roll_back(now, Reason::DrainFailed(error), out);
            }
            (Message::SealComplete { sealed, .. }, State::AwaitSealed) => {
                self.sealed = Some(sealed);
                self.begin(&mut out);
            }
            (Message::SealFailed { error, partial_state, .. }, State::AwaitSealed) => {
                self.roll_back(now, Reason::SealFailed { error, partial_state }, out);
            }
            (Message::Resumed { .. }, _) => self.incumbent_resumed(now, out),
            (Message::Refused { error }, _) => self.refused(now, Peer::Incumbent, error, out),
            // What is left repeats something that was handled, or says nothing.
            (_, _) => {}
        }
    }

    fn met_incumbent(&mut self, now: Time, hello: Hello, mut out: Out<'_, Self>) {
        match check_hello(&hello, Role::Incumbent) {
            Ok(version) => {
                self.incumbent.id = Some(hello.process());
                self.acknowledge(now, Peer::Incumbent, version, &mut out);
                self.spawn(out);
            }
            Err(why) => {
                self.blame(why);
                self.finish(HandoffVerdict::Unreachable, out);
            }
        }
    }

    /// A process answers at the control path. If it is another than before, it is an earlier handoff's successor,
    /// which took the path from the incumbent.
    fn met_again(&mut self, now: Time, hello: Hello, mut out: Out<'_, Self>) {
        if self.successor.id == Some(hello.process()) && self.successor.greeted {
            return; // it says so itself, over its own link
        }
        if self.incumbent.id != Some(hello.process()) {
            self.blame(Reason::AnotherAnswers(hello.process()));
            let verdict = if self.may_hold_lock { HandoffVerdict::Unconfirmed } else { HandoffVerdict::Busy };
            return self.end_successor(now, Then::Finish(verdict), out);
        }
        if let Ok(version) = check_hello(&hello, Role::Incumbent) {
            self.acknowledge(now, Peer::Incumbent, version, &mut out);
            self.ask_to_resume(now, &mut out);
        }
    }

    pub(super) fn incumbent_busy(&mut self, now: Time, out: Out<'_, Self>) {
        self.blame(Reason::Busy);
        self.end_successor(now, Then::Finish(HandoffVerdict::Busy), out);
    }

    /// The incumbent holds the lock and serves, whether it was told to or found the supervisor silent.
    fn incumbent_resumed(&mut self, now: Time, out: Out<'_, Self>) {
        match self.state {
            State::AwaitDrained | State::AwaitSealed | State::AwaitReady | State::AwaitResumed => {
                self.blame(Reason::ResumedByItself);
                self.end_successor(now, Then::Finish(HandoffVerdict::RolledBack), out);
            }
            State::AwaitCommitted | State::AwaitRetired if !self.successor.lives => {
                self.blame(Reason::ResumedByItself);
                self.finish(HandoffVerdict::FellBack, out);
            }
            // Both have said that they hold the lock, so one of them is about to end; it is seen which.
            State::AwaitServing | State::AwaitCommitted | State::AwaitRetired => {}
            // It is told to, and says so again, when the successor has ended.
            State::AwaitSuccessorEnd(Then::Resume) => {}
            State::Start
            | State::AwaitIncumbent
            | State::AwaitSpawn(_)
            | State::AwaitWarmed
            | State::AwaitSuccessorEnd(Then::Finish(_))
            | State::AwaitIncumbentEnd
            | State::AwaitNoted(_)
            | State::Done => {}
        }
    }

    fn heard_successor(&mut self, now: Time, message: Message, mut out: Out<'_, Self>) {
        match message {
            Message::Hello(hello) if self.may_meet() => self.met_successor(now, hello, out),
            // Said again: it has not heard the answer.
            Message::Hello(hello) if self.successor.greeted => {
                if let Ok(version) = check_hello(&hello, Role::Successor) {
                    out.push(Effect::Send(Peer::Successor, Message::HelloAck(self.ack(version))));
                }
            }
            Message::Warmed { .. } if self.state == State::AwaitWarmed => self.prepare(now, &mut out),
            Message::Ready { healthz_ok, advertised_revision_per_shard, .. } if self.may_commit() => {
                let sealed = self.sealed.as_ref().map_or(&[][..], |s| &s.last_revision_per_shard);
                if !healthz_ok {
                    self.unfit(now, Reason::Unhealthy, out);
                } else if !not_behind(&advertised_revision_per_shard, sealed) {
                    let sealed = sealed.to_vec();
                    self.unfit(now, Reason::Behind { opened: advertised_revision_per_shard, sealed }, out);
                } else {
                    self.may_hold_lock = true;
                    self.commit(now, &mut out);
                }
            }
            Message::Serving { .. } if self.may_commit() || self.state == State::AwaitServing => {
                self.served(out)
            }
            Message::Failed { error, .. } => {
                self.successor_failed(now, Reason::SuccessorFailed(error), out);
            }
            Message::Refused { error } => self.refused(now, Peer::Successor, error, out),
            // What is left repeats something that was handled, or says nothing.
            _ => {}
        }
    }

    /// The successor holds the lock and the open state, and must not serve it.
    pub(super) fn unfit(&mut self, now: Time, why: Reason, out: Out<'_, Self>) {
        if self.may_commit() {
            self.may_hold_lock = true;
            self.roll_back(now, why, out);
        }
    }

    /// A successor's first word, which may come while the incumbent is asked whether it still serves.
    pub(super) fn may_meet(&self) -> bool {
        let waits = self.state == State::AwaitWarmed || self.state == State::AwaitResumed;
        waits && !self.successor.greeted && !self.successor.failed
    }

    /// Returns whether a `Ready` or `Serving` that comes now counts: the successor holds the lock, told to or
    /// not.
    fn may_commit(&self) -> bool {
        match self.state {
            State::AwaitWarmed
            | State::AwaitDrained
            | State::AwaitSealed
            | State::AwaitReady
            | State::AwaitResumed
            | State::AwaitIncumbentEnd => true,
            // It was asked to leave, and was past that.
            State::AwaitSuccessorEnd(Then::Finish(_)) => !self.may_hold_lock,
            State::Start
            | State::AwaitIncumbent
            | State::AwaitSpawn(_)
            | State::AwaitServing
            | State::AwaitCommitted
            | State::AwaitRetired
            | State::AwaitSuccessorEnd(Then::Resume)
            | State::AwaitNoted(_)
            | State::Done => false,
        }
    }

    /// Takes the successor's `Hello`. It is answered once the journal names the process, which may come to serve from then on.
    pub(super) fn met_successor(&mut self, now: Time, hello: Hello, mut out: Out<'_, Self>) {
        if !self.journalled {
            self.successor.early = Some(hello);
            return;
        }
        let checked = check_hello(&hello, Role::Successor);
        let wrong_pid = self.successor.id.is_some_and(|spawned| spawned.pid != hello.pid);
        match checked {
            Ok(_) if wrong_pid => {
                self.successor_failed(now, Reason::WrongProcess(hello.pid), out);
            }
            Ok(version) => {
                self.successor.id = Some(hello.process());
                self.acknowledge(now, Peer::Successor, version, &mut out);
                if !self.incumbent.lives && self.incumbent_ended_early {
                    self.begin(&mut out);
                }
            }
            Err(why) => self.successor_failed(now, why, out),
        }
    }
}

/// Returns whether `hello` is from a `role` that speaks a version that this build speaks.
fn check_hello(hello: &Hello, role: Role) -> Result<u16, Reason> {
    if hello.role != role {
        return Err(Reason::WrongRole { expected: role, said: hello.role });
    }
    let (min, max) = (hello.proto_min, hello.proto_max);
    negotiate_version(PROTO_MIN..=PROTO_MAX, min..=max).ok_or(Reason::Version { role, min, max })
}
