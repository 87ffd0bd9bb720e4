//! The moves from one state to the next.
use alloc::{boxed::Box, string::ToString};

use super::{
    Awaited, Effect, HandoffVerdict, Note, Out, Outcome, Peer, Reason, SpawnFate, State, SupervisorMachine,
    Then, Timer,
};
use crate::{
    id::HandoffId,
    message::{self, HelloAck, Message, ProtoVersion, Standing},
    time::Time,
};

impl SupervisorMachine {
    pub(super) fn start(&mut self, now: Time, handoff_id: HandoffId, replace: bool, mut out: Out<'_, Self>) {
        self.handoff_id = handoff_id;
        self.timers.arm(Timer::Deadline, now, self.config.deadline);
        self.timers.arm(Timer::Heartbeat, now, self.config.heartbeat());
        if !replace {
            return self.spawn(out);
        }
        self.incumbent.lives = true;
        self.state = State::AwaitIncumbent;
        self.timers.arm(Timer::IncumbentSilent, now, self.config.liveness);
        out.push(Effect::Connect);
    }

    pub(super) fn spawn(&mut self, out: Out<'_, Self>) {
        self.state = State::AwaitSpawn(SpawnFate::Wanted);
        out.last(Awaited::Spawn);
    }

    /// Makes `peer` part of this handoff.
    pub(super) fn acknowledge(
        &mut self,
        now: Time,
        peer: Peer,
        version: ProtoVersion,
        out: &mut Out<'_, Self>,
    ) {
        self.party(peer).greeted = true;
        self.timers.arm(peer.silent(), now, self.config.liveness);
        let ack = self.ack(version);
        self.say(peer, Message::HelloAck(ack), out);
    }

    pub(super) fn ack(&self, version: ProtoVersion) -> HelloAck {
        HelloAck {
            proto_version_chosen: version,
            handoff_id: self.handoff_id,
            incumbent: self.incumbent.id,
            liveness_ms: message::millis(self.config.liveness),
            deadline_ms: message::millis(self.config.deadline),
            hook_limit_ms: message::millis(self.config.hook_limit),
        }
    }

    /// Goes on once the successor is warm: the first step that the incumbent feels.
    pub(super) fn prepare(&mut self, now: Time, out: &mut Out<'_, Self>) {
        let Some(successor) = self.successor.id else { return };
        if !self.incumbent.lives {
            return self.begin(out);
        }
        self.state = State::AwaitDrained;
        let prepare = Message::PrepareHandoff {
            handoff_id: self.handoff_id,
            successor,
            deadline_ms: message::millis(self.timers.left(Timer::Deadline, now)),
            drain_grace_ms: message::millis(self.config.drain_grace),
        };
        self.say(Peer::Incumbent, prepare, out);
    }

    /// Lets the successor take the lock. From here on it may hold it.
    pub(super) fn begin(&mut self, out: &mut Out<'_, Self>) {
        self.may_hold_lock = true;
        self.state = State::AwaitReady;
        let begin = Message::Begin { handoff_id: self.handoff_id, sealed: self.sealed.clone() };
        self.say(Peer::Successor, begin, out);
    }

    /// Lets the successor serve. One that lives and doesn't, for a whole deadline, is no successor.
    pub(super) fn commit(&mut self, now: Time, out: &mut Out<'_, Self>) {
        self.state = State::AwaitServing;
        self.timers.arm(Timer::Deadline, now, self.config.deadline);
        self.say(Peer::Successor, Message::Commit { handoff_id: self.handoff_id }, out);
    }

    /// The successor serves: durably so before the incumbent is told to leave.
    pub(super) fn served(&mut self, out: Out<'_, Self>) {
        self.may_hold_lock = true;
        self.state = State::AwaitCommitted;
        out.last(Awaited::Persist(Note::Committed));
    }

    /// The successor serves and the journal says so.
    pub(super) fn retire(&mut self, now: Time, mut out: Out<'_, Self>) {
        if !self.incumbent.lives {
            return self.finalize(out);
        }
        self.state = State::AwaitRetired;
        self.timers.arm(Timer::Patience, now, self.config.retire_limit);
        self.say(Peer::Incumbent, Message::Retire { handoff_id: self.handoff_id }, &mut out);
    }

    /// The successor serves and the incumbent has ended. What the successor does then, the binary before it can't undo: so
    /// it is not told unless a supervisor that comes anew is sure to start the right one.
    pub(super) fn finalize(&mut self, mut out: Out<'_, Self>) {
        if self.journal_error.is_none() {
            self.say(Peer::Successor, Message::Final { handoff_id: self.handoff_id }, &mut out);
        }
        self.finish(HandoffVerdict::Committed, out);
    }

    /// Back to the incumbent if it lives, to a cold start if not.
    pub(super) fn roll_back(&mut self, now: Time, why: Reason, mut out: Out<'_, Self>) {
        self.blame(why);
        if !self.incumbent.lives {
            self.end_successor(now, Then::Finish(HandoffVerdict::NobodyServes), out);
        } else if self.may_hold_lock && self.successor.lives {
            self.end_successor(now, Then::Resume, out);
        } else {
            self.ask_to_resume(now, &mut out);
        }
    }

    /// Tells the incumbent to serve again, over a new link if the old one is gone.
    pub(super) fn ask_to_resume(&mut self, now: Time, out: &mut Out<'_, Self>) {
        self.state = State::AwaitResumed;
        self.timers.arm(Timer::Deadline, now, self.config.resume_limit());
        self.timers.disarm(Timer::Patience);
        self.timers.arm(Timer::IncumbentSilent, now, self.config.liveness);
        if self.incumbent.greeted {
            self.say(Peer::Incumbent, Message::ResumeAfterAbort { handoff_id: self.handoff_id }, out);
        } else {
            out.push(Effect::Connect);
        }
    }

    /// Sees the successor end. One that was never told to begin is asked first, others are killed at once:
    /// the incumbent waits.
    pub(super) fn end_successor(&mut self, now: Time, then: Then, mut out: Out<'_, Self>) {
        if !self.successor.lives {
            return self.after_successor(now, then, out);
        }
        self.state = State::AwaitSuccessorEnd(then);
        self.timers.disarm(Timer::Deadline);
        if self.may_hold_lock || !self.successor.greeted {
            return out.push(Effect::Kill(Peer::Successor));
        }
        self.timers.arm(Timer::Patience, now, self.config.heartbeat());
        let reason = self.reason.as_ref().map(|reason| reason.to_string().into()).unwrap_or_default();
        self.say(Peer::Successor, Message::Abort { handoff_id: self.handoff_id, reason }, &mut out);
    }

    pub(super) fn after_successor(&mut self, now: Time, then: Then, mut out: Out<'_, Self>) {
        match then {
            Then::Resume => self.ask_to_resume(now, &mut out),
            Then::Finish(verdict) => self.finish(verdict, out),
        }
    }

    /// Leaves the last note in the journal and reports.
    pub(super) fn finish(&mut self, verdict: HandoffVerdict, out: Out<'_, Self>) {
        self.timers.clear();
        if self.journalled && verdict != HandoffVerdict::Committed {
            self.state = State::AwaitNoted(verdict);
            return out.last(Awaited::Persist(Note::Over(verdict)));
        }
        self.report(verdict, out);
    }

    pub(super) fn report(&mut self, verdict: HandoffVerdict, out: Out<'_, Self>) {
        self.state = State::Done;
        out.last(Awaited::Finish(Outcome {
            verdict,
            reason: self.reason.take(),
            open_conns_remaining: self.open_conns_remaining,
            incumbent_ended_early: self.incumbent_ended_early,
            journal_error: self.journal_error.take(),
        }));
    }

    /// Tells both peers that the supervisor lives, and again what it said last.
    pub(super) fn heartbeat(&mut self, now: Time, mut out: Out<'_, Self>) {
        self.timers.arm(Timer::Heartbeat, now, self.config.heartbeat());
        for peer in [Peer::Incumbent, Peer::Successor] {
            let party = self.party(peer);
            if party.greeted {
                let repeats = party.last.clone().map(Box::new);
                let beat = Message::Heartbeat { standing: Standing::Supervising, repeats };
                out.push(Effect::Send(peer, beat));
            }
        }
    }
}
