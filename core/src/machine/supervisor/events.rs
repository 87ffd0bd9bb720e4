//! The events of processes, links, timers and storage.
use super::{
    Awaited, Effect, HandoffVerdict, Note, Out, Peer, Reason, SpawnFate, State, SupervisorMachine, Then,
    Timer,
};
use crate::{error::HostError, id::ProcessId, text::PlainText, time::Time};

impl SupervisorMachine {
    pub(super) fn connect_failed(&mut self, now: Time, why: HostError, out: Out<'_, Self>) {
        match self.state {
            State::AwaitIncumbent => {
                self.blame(Reason::Unreachable(why));
                self.finish(HandoffVerdict::Unreachable, out);
            }
            State::AwaitResumed => self.timers.arm(Timer::Retry, now, self.config.heartbeat() / 4),
            State::Start
            | State::AwaitSpawn(_)
            | State::AwaitWarmed
            | State::AwaitDrained
            | State::AwaitSealed
            | State::AwaitReady
            | State::AwaitServing
            | State::AwaitCommitted
            | State::AwaitRetired
            | State::AwaitSuccessorEnd(_)
            | State::AwaitIncumbentEnd
            | State::AwaitNoted(_)
            | State::Done => {}
        }
    }

    pub(super) fn spawned(&mut self, now: Time, result: Result<ProcessId, HostError>, out: Out<'_, Self>) {
        let State::AwaitSpawn(fate) = self.state else { return };
        match result {
            Ok(id) => {
                self.successor.lives = true;
                self.successor.id = Some(id);
                self.successor.failed = fate == SpawnFate::CalledOff;
                match fate {
                    SpawnFate::TooLate => self.incumbent_busy(now, out),
                    SpawnFate::CalledOff => self.roll_back(now, Reason::Cancelled, out),
                    SpawnFate::Wanted => {
                        self.state = State::AwaitWarmed;
                        self.timers.arm(Timer::SuccessorSilent, now, self.config.liveness);
                        out.last(Awaited::Persist(Note::UnderWay));
                    }
                }
            }
            Err(why) => self.roll_back(now, Reason::NotStarted(why), out),
        }
    }

    pub(super) fn persisted(
        &mut self,
        now: Time,
        note: Note,
        result: Result<(), HostError>,
        out: Out<'_, Self>,
    ) {
        match (note, self.state, result) {
            (Note::UnderWay, state, result) => {
                self.journalled = true;
                self.journal_error = result.err();
                // If nobody serves, better a start without a journal than none.
                let why = self.journal_error.clone().filter(|_| self.incumbent.lives);
                if let (State::AwaitWarmed, Some(why)) = (state, why) {
                    self.roll_back(now, Reason::Journal(why), out);
                } else if let Some(hello) = self.successor.early.take().filter(|_| self.may_meet()) {
                    self.met_successor(now, hello, out);
                }
            }
            // A journal that can't be written never costs the service: the successor has it.
            (Note::Committed, State::AwaitCommitted, result) => {
                self.journal_error = result.err();
                self.retire(now, out);
            }
            // A process ended while it was written: it is not so any more.
            (Note::Over(noted), State::AwaitNoted(verdict), Ok(())) if noted != verdict => {
                out.last(Awaited::Persist(Note::Over(verdict)));
            }
            (Note::Over(_), State::AwaitNoted(verdict), result) => {
                self.journal_error = self.journal_error.take().or(result.err());
                self.report(verdict, out);
            }
            // The handoff went another way meanwhile.
            (Note::Committed | Note::Over(_), _, _) => {}
        }
    }

    pub(super) fn ended(&mut self, now: Time, peer: Peer, how: PlainText, out: Out<'_, Self>) {
        if !self.party(peer).lives {
            return;
        }
        *self.party(peer) = super::Party { id: self.party(peer).id, ..Default::default() };
        self.timers.disarm(peer.silent());
        match peer {
            Peer::Incumbent => self.incumbent_ended(now, how, out),
            Peer::Successor => self.successor_ended(now, how, out),
        }
    }

    /// Turns a crash of the incumbent into an early takeover, if there is a successor.
    fn incumbent_ended(&mut self, now: Time, how: PlainText, mut out: Out<'_, Self>) {
        match self.state {
            State::AwaitRetired if self.successor.lives => return self.finalize(out),
            State::AwaitRetired => return self.finish(HandoffVerdict::NobodyServes, out),
            _ => {}
        }
        self.incumbent_ended_early = true;
        self.timers.arm(Timer::Deadline, now, self.config.deadline);
        match self.state {
            State::AwaitIncumbent => self.spawn(out),
            State::AwaitWarmed if self.successor.greeted => self.begin(&mut out),
            State::AwaitDrained | State::AwaitSealed | State::AwaitResumed | State::AwaitIncumbentEnd => {
                self.take_over_or_end(now, how, out);
            }
            // The other supervisor has retired it: that handoff is not ours to judge.
            State::AwaitSuccessorEnd(Then::Finish(HandoffVerdict::Busy))
            | State::AwaitNoted(HandoffVerdict::Busy) => {}
            State::AwaitSuccessorEnd(_) => {
                self.state = State::AwaitSuccessorEnd(Then::Finish(HandoffVerdict::NobodyServes));
                self.timers.disarm(Timer::Deadline);
            }
            State::AwaitNoted(_) => self.state = State::AwaitNoted(HandoffVerdict::NobodyServes),
            // Called off, it is wanted after all: there is no incumbent to go back to.
            State::AwaitSpawn(_) => self.state = State::AwaitSpawn(SpawnFate::Wanted),
            State::Start
            | State::AwaitWarmed
            | State::AwaitReady
            | State::AwaitServing
            | State::AwaitCommitted
            | State::AwaitRetired
            | State::Done => {}
        }
    }

    fn take_over_or_end(&mut self, now: Time, how: PlainText, mut out: Out<'_, Self>) {
        if self.successor.lives && self.successor.greeted {
            // However silent it was: it may serve by now, and no other process can.
            self.successor.failed = false;
            self.begin(&mut out);
        } else if self.successor.lives && !self.successor.failed {
            // It has just been started: it begins when it says `Hello`.
            self.state = State::AwaitWarmed;
        } else {
            self.blame(Reason::Ended(Peer::Incumbent, how));
            self.end_successor(now, Then::Finish(HandoffVerdict::NobodyServes), out);
        }
    }

    fn successor_ended(&mut self, now: Time, how: PlainText, out: Out<'_, Self>) {
        let why = Reason::Ended(Peer::Successor, how);
        match self.state {
            State::AwaitWarmed
            | State::AwaitDrained
            | State::AwaitSealed
            | State::AwaitReady
            | State::AwaitServing
            | State::AwaitCommitted => self.roll_back(now, why, out),
            State::AwaitRetired => {
                // It is the incumbent's turn: told to retire, it finds the lock free.
                self.blame(why);
                self.timers.arm(Timer::IncumbentSilent, now, self.config.liveness);
                self.timers.arm(Timer::Deadline, now, self.config.deadline);
            }
            State::AwaitResumed => self.blame(why),
            State::AwaitSuccessorEnd(then) => self.after_successor(now, then, out),
            State::AwaitNoted(HandoffVerdict::Committed) => {
                self.state = State::AwaitNoted(HandoffVerdict::NobodyServes)
            }
            State::Start
            | State::AwaitIncumbent
            | State::AwaitSpawn(_)
            | State::AwaitIncumbentEnd
            | State::AwaitNoted(_)
            | State::Done => {}
        }
    }

    /// A link is at its end. A process that can't be reached is as good as silent.
    pub(super) fn closed(&mut self, now: Time, peer: Peer, why: PlainText, out: Out<'_, Self>) {
        if self.party(peer).lives {
            self.parted(now, peer, Reason::Closed(peer, why), out);
        }
    }

    /// A peer says that it won't go on, and closes its end.
    pub(super) fn refused(&mut self, now: Time, peer: Peer, why: PlainText, out: Out<'_, Self>) {
        self.part(now, peer, Reason::Closed(peer, why), out);
    }

    /// The supervisor closes a link itself.
    pub(super) fn part(&mut self, now: Time, peer: Peer, why: Reason, mut out: Out<'_, Self>) {
        out.push(Effect::Close(peer));
        self.parted(now, peer, why, out);
    }

    /// Notes that there is no link to a peer any more.
    fn parted(&mut self, now: Time, peer: Peer, why: Reason, out: Out<'_, Self>) {
        let greeted = core::mem::replace(&mut self.party(peer).greeted, false);
        // One that knows of this handoff and can't hear that its supervisor lives takes a free lock.
        self.may_hold_lock |= peer == Peer::Successor && greeted;
        match peer {
            Peer::Incumbent => match self.state {
                State::AwaitResumed => self.timers.arm(Timer::Retry, now, self.config.heartbeat() / 4),
                // It has been told what there is to tell: its end is awaited, and comes later than its link's.
                State::AwaitRetired => {}
                _ => self.incumbent_silent(now, why, out),
            },
            Peer::Successor => {
                self.timers.disarm(Timer::SuccessorSilent);
                self.successor_failed(now, why, out);
            }
        }
    }

    pub(super) fn expired(&mut self, now: Time, timer: Timer, mut out: Out<'_, Self>) {
        match timer {
            Timer::Heartbeat => {
                self.hears_others_out(now);
                self.heartbeat(now, out);
            }
            Timer::IncumbentSilent | Timer::SuccessorSilent => self.silent(now, timer, out),
            Timer::Deadline => {
                self.timers.disarm(timer);
                self.deadline(now, out);
            }
            Timer::Retry => {
                self.timers.disarm(timer);
                if self.state == State::AwaitResumed {
                    out.push(Effect::Connect);
                }
            }
            Timer::Patience => {
                self.timers.disarm(timer);
                self.out_of_patience(now, out);
            }
            Timer::SupervisorSilent | Timer::HookLimit => self.timers.disarm(timer),
        }
    }

    /// Begins silences anew if this process's own heartbeat is late by more than another one: it was stopped itself, and a peer that it
    /// has just connected to could say nothing meanwhile. The deadline bounds how often that happens.
    fn hears_others_out(&mut self, now: Time) {
        if self.timers.overdue(Timer::Heartbeat, now) <= self.config.heartbeat() {
            return;
        }
        for silence in [Timer::IncumbentSilent, Timer::SuccessorSilent] {
            if self.timers.is_armed(silence) {
                self.timers.arm(silence, now, self.config.liveness);
            }
        }
    }

    /// Nothing came from a peer for too long. If this process slept over its timer, it was stopped itself, perhaps
    /// with all others (a virtual machine that is moved): that nothing came meanwhile says nothing of the peer.
    fn silent(&mut self, now: Time, timer: Timer, out: Out<'_, Self>) {
        let slept = self.timers.overdue(timer, now) > self.config.heartbeat();
        self.timers.arm(timer, now, self.config.liveness);
        match timer {
            _ if slept => {}
            Timer::IncumbentSilent => self.incumbent_silent(now, Reason::Silent(Peer::Incumbent), out),
            _ => self.successor_failed(now, Reason::Silent(Peer::Successor), out),
        }
    }

    /// The incumbent can't be heard. Before `Begin` it may serve or hold the lock, so it is asked to resume;
    /// if it stays silent it is killed for the successor's sake, if there is one.
    fn incumbent_silent(&mut self, now: Time, why: Reason, mut out: Out<'_, Self>) {
        match self.state {
            State::AwaitIncumbent => {
                self.blame(why);
                self.finish(HandoffVerdict::Unreachable, out);
            }
            State::AwaitWarmed | State::AwaitDrained | State::AwaitSealed => self.roll_back(now, why, out),
            State::AwaitResumed if self.successor_usable() && !self.may_hold_lock => {
                self.state = State::AwaitIncumbentEnd;
                self.timers.disarm(Timer::Retry);
                out.push(Effect::Kill(Peer::Incumbent));
            }
            // It may be usable as soon as the journal names it.
            State::AwaitResumed if self.successor.lives && !self.successor.failed && !self.journalled => {}
            State::AwaitResumed => self.end_successor(now, Then::Finish(HandoffVerdict::Unconfirmed), out),
            State::AwaitRetired if !self.successor.lives => self.finish(HandoffVerdict::Unconfirmed, out),
            // Sealed, it is not needed; before the successor is there, `Busy` or its end is heard in time.
            State::Start
            | State::AwaitSpawn(_)
            | State::AwaitReady
            | State::AwaitServing
            | State::AwaitCommitted
            | State::AwaitRetired
            | State::AwaitSuccessorEnd(_)
            | State::AwaitIncumbentEnd
            | State::AwaitNoted(_)
            | State::Done => {}
        }
    }

    /// The successor can't, or can't be heard. It is never killed once the incumbent was told to retire.
    pub(super) fn successor_failed(&mut self, now: Time, why: Reason, out: Out<'_, Self>) {
        self.successor.failed = true;
        match self.state {
            State::AwaitWarmed
            | State::AwaitDrained
            | State::AwaitSealed
            | State::AwaitReady
            | State::AwaitServing
            | State::AwaitCommitted => self.roll_back(now, why, out),
            State::AwaitResumed => self.blame(why),
            State::AwaitIncumbentEnd => self.blame(why),
            State::Start
            | State::AwaitIncumbent
            | State::AwaitSpawn(_)
            | State::AwaitRetired
            | State::AwaitSuccessorEnd(_)
            | State::AwaitNoted(_)
            | State::Done => {}
        }
    }

    fn deadline(&mut self, now: Time, out: Out<'_, Self>) {
        let why = Reason::Deadline;
        match self.state {
            State::AwaitIncumbent => {
                self.blame(why);
                self.finish(HandoffVerdict::Unreachable, out);
            }
            State::AwaitWarmed | State::AwaitDrained | State::AwaitSealed | State::AwaitReady => {
                self.roll_back(now, why, out);
            }
            State::AwaitSpawn(fate) => self.call_off(fate, why),
            // The second, which began with `Commit`. The incumbent was not told to retire: it can serve.
            State::AwaitServing => self.roll_back(now, Reason::NotServing, out),
            // It lives, but something keeps it from serving.
            State::AwaitResumed => self.end_successor(now, Then::Finish(HandoffVerdict::Unconfirmed), out),
            State::AwaitRetired if !self.successor.lives => self.finish(HandoffVerdict::Unconfirmed, out),
            // What is awaited here has another bound.
            State::Start
            | State::AwaitCommitted
            | State::AwaitRetired
            | State::AwaitSuccessorEnd(_)
            | State::AwaitIncumbentEnd
            | State::AwaitNoted(_)
            | State::Done => {}
        }
    }

    fn out_of_patience(&mut self, now: Time, mut out: Out<'_, Self>) {
        match self.state {
            State::AwaitSuccessorEnd(_) => out.push(Effect::Kill(Peer::Successor)),
            // Told to retire, it found the lock its own: what the successor says can't be so.
            State::AwaitRetired if self.successor.lives && self.incumbent_serves => {
                self.blame(Reason::IncumbentServes);
                self.end_successor(now, Then::Finish(HandoffVerdict::FellBack), out);
            }
            State::AwaitRetired if self.successor.lives => out.push(Effect::Kill(Peer::Incumbent)),
            State::Start
            | State::AwaitIncumbent
            | State::AwaitSpawn(_)
            | State::AwaitWarmed
            | State::AwaitDrained
            | State::AwaitSealed
            | State::AwaitReady
            | State::AwaitServing
            | State::AwaitCommitted
            | State::AwaitRetired
            | State::AwaitResumed
            | State::AwaitIncumbentEnd
            | State::AwaitNoted(_)
            | State::Done => {}
        }
    }

    /// Goes back before `Commit`, if the incumbent lives or there never was one; after it the handoff goes on.
    pub(super) fn cancel(&mut self, now: Time, why: Reason, out: Out<'_, Self>) {
        match self.state {
            _ if self.incumbent_ended_early => {}
            State::AwaitIncumbent => {
                self.blame(why);
                self.finish(HandoffVerdict::Cancelled, out);
            }
            State::AwaitWarmed | State::AwaitDrained | State::AwaitSealed | State::AwaitReady => {
                self.roll_back(now, why, out);
            }
            State::AwaitSpawn(fate) => self.call_off(fate, why),
            State::Start
            | State::AwaitServing
            | State::AwaitCommitted
            | State::AwaitRetired
            | State::AwaitResumed
            | State::AwaitSuccessorEnd(_)
            | State::AwaitIncumbentEnd
            | State::AwaitNoted(_)
            | State::Done => {}
        }
    }

    /// The successor is not wanted any more, unless the incumbent ends before it is there.
    fn call_off(&mut self, fate: SpawnFate, why: Reason) {
        self.blame(why);
        if fate == SpawnFate::Wanted {
            self.state = State::AwaitSpawn(SpawnFate::CalledOff);
        }
    }
}
