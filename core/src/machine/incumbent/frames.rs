//! The frames of supervisors to an incumbent.
use alloc::format;

use super::{DaemonEffect as Effect, Hook, IncumbentMachine, LinkId, Message, Op, Out, State, Timer, Why};
use crate::{
    id::HandoffId,
    message::HelloAck,
    text::PlainText,
    time::{Duration, Time},
};

impl IncumbentMachine {
    /// Introduces this process to a peer that connects; the peer decides what to make of it.
    pub(super) fn connected(&mut self, link: LinkId, mut out: Out<'_, Self>) {
        out.push(Effect::<Hook>::Send(link, Message::Hello(self.hello.clone())));
    }

    pub(super) fn frame(&mut self, now: Time, link: LinkId, message: Message, mut out: Out<'_, Self>) {
        let in_session = self.session.as_ref().is_some_and(|session| session.link == Some(link));
        if in_session {
            self.heard_supervisor(now);
        }
        let message = match message {
            Message::Heartbeat { repeats: Some(repeated), .. } => *repeated,
            Message::Heartbeat { repeats: None, .. } => return,
            other => other,
        };
        match message {
            Message::HelloAck(ack) => self.acknowledged(now, link, &ack, &mut out),
            // Of any supervisor, whatever handoff is under way: one that comes anew recovers.
            Message::StandingQuery => {
                let (standing, awaits_final) = (self.standing(), self.awaits_final);
                out.push(Effect::Send(link, Message::StandingReport { standing, awaits_final }));
            }
            Message::ListenersQuery => out.push(Effect::SendListeners(link)),
            Message::Final { handoff_id } if self.awaits(handoff_id) && self.may_write() => {
                self.finalize(&mut out);
            }
            Message::Final { .. } if !in_session => {}
            message if in_session => self.command(now, link, message, out),
            message => refuse(link, format!("{} from one that is in no handoff", message.name()), &mut out),
        }
    }

    /// Returns whether this incumbent has the lock, and keeps it until a hook that begins now has run. A
    /// supervisor that says something in between has to say it again.
    fn may_write(&self) -> bool {
        match self.state {
            State::Serving
            | State::Draining
            | State::Drained
            | State::Claiming
            | State::Resuming
            | State::TakingPath
            | State::NotingServing => true,
            State::Sealing | State::NotingSeal | State::Sealed | State::Locking { .. } | State::Gone => false,
        }
    }

    fn awaits(&self, handoff_id: HandoffId) -> bool {
        self.awaits_final.is_some_and(|awaited| awaited.handoff_id == handoff_id)
    }

    /// The predecessor has ended, as whichever supervisor saw to it says.
    fn finalize(&mut self, out: &mut Out<'_, Self>) {
        self.awaits_final = None;
        out.push(Effect::StartHook(Op::UNAWAITED, Hook::Finalize));
    }

    /// The supervisor lives. An attempt to do without it ends, if it has not begun.
    fn heard_supervisor(&mut self, now: Time) {
        if let Some(session) = &self.session {
            self.timers.arm(Timer::SupervisorSilent, now, session.liveness);
        }
        if self.state == (State::Locking { why: Why::Orphan, asked: false }) {
            self.timers.disarm(Timer::Retry);
            self.state = State::Sealed;
        }
    }

    /// A supervisor wants this process in its handoff: the first gets it, and may come back over a new link.
    fn acknowledged(&mut self, now: Time, link: LinkId, ack: &HelloAck, out: &mut Out<'_, Self>) {
        let is_free = self.state == State::Serving && self.is_free();
        match &mut self.session {
            // Repeated by a heartbeat: it changes nothing, the time of our own next heartbeat least of all.
            Some(session) if session.handoff_id == ack.handoff_id && session.link == Some(link) => {}
            Some(session) if session.handoff_id == ack.handoff_id => {
                session.link.replace(link).into_iter().for_each(|old| out.push(Effect::Close(old)));
                self.timers.arm(Timer::SupervisorSilent, now, session.liveness);
                self.timers.arm(Timer::Heartbeat, now, session.liveness / 5);
            }
            _ if is_free => {
                let spoken = self.hello.proto_min..=self.hello.proto_max;
                if spoken.contains(&ack.proto_version_chosen) {
                    self.join(now, Some(link), ack);
                } else {
                    let why =
                        format!("version {} was chosen, which is not spoken here", ack.proto_version_chosen);
                    refuse(link, why, out);
                }
            }
            _ => {
                out.push(Effect::Send(link, Message::Busy));
                out.push(Effect::Close(link));
            }
        }
    }

    /// Returns whether no supervisor has anything more to say of a handoff: there is none, or it was rolled
    /// back, or this process has been told that its predecessor has ended.
    fn is_free(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.over && !self.awaits(session.handoff_id))
    }

    /// A command of the supervisor whose handoff this is.
    fn command(&mut self, now: Time, link: LinkId, message: Message, mut out: Out<'_, Self>) {
        let Some(session) = &mut self.session else { return };
        let over = session.over;
        if message.handoff_id().is_some_and(|id| id != session.handoff_id) {
            refuse(link, format!("{} belongs to another handoff", message.name()), &mut out);
            return self.closed(now, link, out);
        }
        match message {
            Message::PrepareHandoff { successor, drain_grace_ms, .. }
                if self.state == State::Serving && !over =>
            {
                session.successor = Some(successor);
                self.drain(now, Duration::from_millis(drain_grace_ms), Some(successor), &mut out);
            }
            Message::SealRequest { .. } if self.state == State::Drained => self.seal(now, &mut out),
            Message::Retire { .. } => self.retire(out),
            Message::ResumeAfterAbort { .. } => self.resume_after_abort(now, out),
            // Repeated, though this incumbent went back on its own.
            Message::PrepareHandoff { .. } | Message::SealRequest { .. } if self.state == State::Serving => {
                self.report(|handoff_id| Message::Resumed { handoff_id }, &mut out);
            }
            // Repeated, though it was heard.
            Message::PrepareHandoff { .. } | Message::SealRequest { .. } | Message::Final { .. } => {}
            // What made this process serve, repeated; or it is past that.
            Message::Begin { .. } | Message::Commit { .. } | Message::Abort { .. } if over => {}
            Message::StatusQuery => {}
            other => {
                refuse(link, format!("{} does not go to an incumbent", other.name()), &mut out);
                self.closed(now, link, out);
            }
        }
    }

    /// Leaves, if another process holds the lock: the supervisor says that the successor serves.
    fn retire(&mut self, mut out: Out<'_, Self>) {
        match self.state {
            State::Sealed | State::Locking { asked: false, .. } => self.try_lock(Why::Retire, out),
            State::Locking { asked: true, .. } => {
                self.state = State::Locking { why: Why::Retire, asked: true }
            }
            State::Serving => self.report(|handoff_id| Message::Resumed { handoff_id }, &mut out),
            // It holds the lock: the successor can't. What is under way ends in `Resumed`.
            State::Draining
            | State::Drained
            | State::Sealing
            | State::NotingSeal
            | State::Claiming
            | State::Resuming
            | State::TakingPath
            | State::NotingServing
            | State::Gone => {}
        }
    }

    fn resume_after_abort(&mut self, now: Time, mut out: Out<'_, Self>) {
        match self.state {
            State::Serving => self.report(|handoff_id| Message::Resumed { handoff_id }, &mut out),
            State::Draining | State::Sealing | State::NotingSeal => self.turn_back(),
            State::Drained => self.resume(now, &mut out),
            State::Sealed | State::Locking { why: Why::Orphan, asked: false } => {
                self.try_lock(Why::Resume, out)
            }
            State::Locking { why: Why::Orphan, asked: true } => {
                self.state = State::Locking { why: Why::Resume, asked: true };
            }
            State::Locking { why: Why::Retire | Why::Resume, .. }
            | State::Claiming
            | State::Resuming
            | State::TakingPath
            | State::NotingServing
            | State::Gone => {}
        }
    }
}

/// Tells a peer what was wrong, and is done with it.
fn refuse(link: LinkId, error: impl Into<PlainText>, out: &mut Out<'_, IncumbentMachine>) {
    out.push(Effect::Send(link, Message::Refused { error: error.into() }));
    out.push(Effect::Close(link));
}
