//! The steps that follow from what is known.
use alloc::vec::Vec;

use super::{
    Awaited, Effect, Out, Outcome, Part, Party, RecoveryMachine, RecoveryVerdict, Sight, Sighting, State,
    Timer,
};
use crate::{
    error::HostError,
    id::{HandoffId, ProcessId},
    message::{AwaitsFinal, Message, Standing},
    time::Time,
};

impl RecoveryMachine {
    /// Looks for processes: at first, after every end, and before all are asked again.
    pub(super) fn look(&mut self, out: Out<'_, Self>) {
        self.state = State::AwaitLook;
        out.last(Awaited::Look(self.predecessor()));
    }

    pub(super) fn looked(&mut self, now: Time, sightings: Vec<Sighting>, mut out: Out<'_, Self>) {
        if self.state != State::AwaitLook {
            return;
        }
        let ended = core::mem::take(&mut self.ended);
        let lives = |sighting: &Sighting| !ended.contains(&sighting.process);
        let sightings: Vec<Sighting> = sightings.into_iter().filter(lives).collect();
        let is_there = |process: &ProcessId| sightings.iter().any(|sighting| sighting.process == *process);
        self.missing = self.predecessor().filter(|process| !is_there(process));
        self.parties.values_mut().for_each(|party| party.is_swept = false);
        for Sighting { process, sight, is_swept } in sightings {
            let party = self.parties.entry(process).or_insert_with(|| Party::new(sight));
            party.sight = party.sight.max(sight);
            party.is_swept = is_swept;
        }
        self.state = State::AwaitAnswers;
        self.timers.arm(Timer::Heartbeat, now, self.config.pause());
        if !self.timers.is_armed(Timer::Deadline) {
            self.timers.arm(Timer::Deadline, now, self.config.whole());
        }
        self.ask(&mut out);
        self.decide(now, out);
    }

    /// Asks every process where it stands.
    fn ask(&mut self, out: &mut Out<'_, Self>) {
        for (process, party) in self.parties.iter_mut().filter(|(_, party)| party.part != Part::Killed) {
            if !core::mem::replace(&mut party.linked, true) {
                out.push(Effect::Connect(*process));
            }
            out.push(Effect::Send(*process, Message::StandingQuery));
            let silent = core::mem::replace(&mut party.asked, true);
            if silent && self.heir.is_none() && party.part == Part::Free {
                party.part = Part::InTheWay;
            }
        }
    }

    pub(super) fn heard(&mut self, now: Time, process: ProcessId, message: Message, mut out: Out<'_, Self>) {
        let Some(party) = self.parties.get_mut(&process).filter(|party| party.part != Part::Killed) else {
            return;
        };
        match message {
            Message::StandingReport { standing, awaits_final } => {
                party.asked = false;
                party.spoke = true;
                party.standing = Some(standing);
                party.awaits_final = awaits_final;
                if self.heir.is_none() || party.part == Part::Ignored {
                    party.part = Part::Free;
                }
                if !self.has_listeners {
                    out.push(Effect::Send(process, Message::ListenersQuery));
                }
                if standing == Standing::Serving {
                    self.timers.arm(Timer::IncumbentSilent, now, self.config.liveness);
                }
            }
            Message::Listeners { more, .. } => self.has_listeners |= !more,
            // Nothing else says where it stands.
            _ => return,
        }
        if self.state == State::AwaitAnswers {
            self.decide(now, out);
        }
    }

    /// Notes that the link to a process is closed: it is connected to again with the next question.
    pub(super) fn closed(&mut self, process: ProcessId) {
        if let Some(party) = self.parties.get_mut(&process) {
            party.linked = false;
        }
    }

    pub(super) fn ended(&mut self, process: ProcessId, out: Out<'_, Self>) {
        self.parties.remove(&process);
        match self.state {
            State::AwaitAnswers => self.look(out),
            State::AwaitNoted(RecoveryVerdict::Serves(heir)) if heir == process => self.look(out),
            State::AwaitLook => self.ended.push(process),
            State::Start | State::AwaitNoted(_) | State::Done => {}
        }
    }

    pub(super) fn expired(&mut self, now: Time, timer: Timer, mut out: Out<'_, Self>) {
        // This process slept over its deadline, stopped itself: those that it asks now have not been heard out.
        if timer == Timer::Deadline && self.timers.overdue(timer, now) > self.config.pause() {
            return self.timers.arm(timer, now, self.config.liveness);
        }
        self.timers.disarm(timer);
        self.late |= timer == Timer::Deadline;
        // What it said is not known to be so any more.
        if timer == Timer::IncumbentSilent {
            let heir = self.heir.and_then(|heir| self.parties.get_mut(&heir));
            heir.into_iter().for_each(|party| party.standing = None);
        }
        if self.state != State::AwaitAnswers {
            return;
        }
        match timer {
            Timer::Heartbeat => self.look(out),
            Timer::Patience => {
                self.out_of_patience(&mut out);
                self.decide(now, out);
            }
            Timer::IncumbentSilent | Timer::Deadline => self.decide(now, out),
            Timer::SupervisorSilent | Timer::SuccessorSilent | Timer::Retry | Timer::HookLimit => {}
        }
    }

    /// Draws the consequences of what is known now.
    fn decide(&mut self, now: Time, out: Out<'_, Self>) {
        let serves = |party: &Party| party.standing == Some(Standing::Serving) && party.part != Part::Killed;
        let heir = self.parties.iter().find(|(_, party)| serves(party)).map(|(process, _)| *process);
        if heir != self.heir {
            self.heir = heir;
            self.timers.disarm(Timer::Patience);
            let waiting = |party: &&mut Party| matches!(party.part, Part::InTheWay | Part::Overdue);
            self.parties.values_mut().filter(waiting).for_each(|party| party.part = Part::Free);
        }
        match heir {
            // Whatever else is there: one serves.
            Some(heir) if self.late && !self.is_predecessor_unknown() => {
                self.conclude(RecoveryVerdict::Serves(heir), out);
            }
            Some(heir) => self.settle(now, heir, out),
            None if self.late => self.report(RecoveryVerdict::Unconfirmed, out),
            None => {
                self.be_patient(now);
                if self.parties.values().all(|party| party.part == Part::Ignored) {
                    self.conclude(RecoveryVerdict::NobodyServes, out);
                }
            }
        }
    }

    /// Sees to it that the others end once `heir` serves, and that it is told so.
    fn settle(&mut self, now: Time, heir: ProcessId, mut out: Out<'_, Self>) {
        let predecessor = self.predecessor();
        for (process, party) in self.parties.iter_mut().filter(|(process, _)| **process != heir) {
            let is_predecessor = Some(*process) == predecessor;
            match (party.sight, party.part) {
                (Sight::Beside, Part::Free) if !is_predecessor => {}
                // It was to serve in a handoff that no supervisor drives any more.
                (Sight::Successor, Part::Free) if !is_predecessor => {
                    kill(*process, party, &mut self.killed, &mut out);
                }
                (_, Part::Free) => party.part = Part::InTheWay,
                (_, Part::InTheWay | Part::Overdue | Part::Killed | Part::Ignored) => {}
            }
        }
        self.be_patient(now);
        // A predecessor that lives, and is not to be ended here, is another supervisor's to wait for.
        let ignored =
            |process: &ProcessId| self.parties.get(process).is_some_and(|party| party.part == Part::Ignored);
        match self.awaits_final().filter(|awaited| !awaited.predecessor.as_ref().is_some_and(ignored)) {
            Some(AwaitsFinal { predecessor: Some(process), .. }) if self.parties.contains_key(&process) => {}
            Some(AwaitsFinal { predecessor: Some(process), .. }) if self.missing != Some(process) => {
                self.look(out);
            }
            _ if !self.has_listeners || self.is_anyone_in_the_way() => {}
            // It makes what its predecessor can't undo: not before it is sure which binary is started next.
            Some(awaited) if self.noted == Some(RecoveryVerdict::Serves(heir)) => {
                self.finalize(heir, awaited.handoff_id, &mut out);
            }
            _ => self.conclude(RecoveryVerdict::Serves(heir), out),
        }
    }

    /// Tells the one that serves that its predecessor has ended, unless it is yet to say what it made of that, or is to be
    /// connected to again.
    fn finalize(&mut self, heir: ProcessId, handoff_id: HandoffId, out: &mut Out<'_, Self>) {
        let is_free = |party: &&mut Party| party.linked && !party.asked;
        let Some(party) = self.parties.get_mut(&heir).filter(is_free) else { return };
        party.asked = true;
        out.push(Effect::Send(heir, Message::Final { handoff_id }));
        out.push(Effect::Send(heir, Message::StandingQuery));
    }

    /// Returns what the one that serves waits for.
    fn awaits_final(&self) -> Option<AwaitsFinal> {
        self.parties.get(&self.heir?)?.awaits_final
    }

    fn predecessor(&self) -> Option<ProcessId> {
        self.awaits_final()?.predecessor
    }

    /// Returns whether the one that serves has a predecessor that was not looked for yet.
    fn is_predecessor_unknown(&self) -> bool {
        self.predecessor()
            .is_some_and(|process| !self.parties.contains_key(&process) && self.missing != Some(process))
    }

    fn is_anyone_in_the_way(&self) -> bool {
        self.parties.values().any(|party| matches!(party.part, Part::InTheWay | Part::Overdue | Part::Killed))
    }

    /// Gives those in the way their time. One that comes later has that of the others first, and then a whole one.
    fn be_patient(&mut self, now: Time) {
        let waits = |party: &Party| matches!(party.part, Part::InTheWay | Part::Overdue);
        if !self.parties.values().any(waits) {
            return self.timers.disarm(Timer::Patience);
        }
        if self.timers.is_armed(Timer::Patience) {
            return;
        }
        let limit = match self.heir {
            Some(_) => self.config.retire_limit,
            None => self.config.unreachable_limit,
        };
        self.timers.arm(Timer::Patience, now, limit);
        let begins = self.parties.values_mut().filter(|party| party.part == Part::InTheWay);
        begins.for_each(|party| party.part = Part::Overdue);
    }

    /// Ends the processes that were in the way all the time, if this supervisor may. A process that holds the lock, or still listens,
    /// and whose socket was removed is spared: it may serve. A daemon that leaves frees the lock before it removes
    /// its socket.
    fn out_of_patience(&mut self, out: &mut Out<'_, Self>) {
        let nobody_serves = self.heir.is_none();
        for (process, party) in self.parties.iter_mut().filter(|(_, party)| party.part == Part::Overdue) {
            if !party.may_be_killed() {
                party.part = Part::Ignored;
            } else if nobody_serves && party.is_swept {
                party.part = Part::InTheWay;
            } else {
                kill(*process, party, &mut self.killed, out);
            }
        }
    }

    /// Leaves in the journal what was found, and reports it.
    fn conclude(&mut self, verdict: RecoveryVerdict, out: Out<'_, Self>) {
        if self.noted == Some(verdict) {
            return self.report_noted(verdict, out);
        }
        self.state = State::AwaitNoted(verdict);
        out.last(Awaited::Note(verdict));
    }

    /// Reports what the journal says. If the time was over before the one that serves was told that its predecessor has ended, it is
    /// told now, and its answer is not waited for: no other process would tell it.
    fn report_noted(&mut self, verdict: RecoveryVerdict, mut out: Out<'_, Self>) {
        let has_ended = |process| !self.parties.contains_key(&process) && self.missing == Some(process);
        if let (Some(heir), Some(awaited)) = (verdict.serves(), self.awaits_final())
            && awaited.predecessor.is_none_or(has_ended)
        {
            out.push(Effect::Send(heir, Message::Final { handoff_id: awaited.handoff_id }));
        }
        self.report(verdict, out);
    }

    pub(super) fn noted(
        &mut self,
        now: Time,
        verdict: RecoveryVerdict,
        result: Result<(), HostError>,
        out: Out<'_, Self>,
    ) {
        if self.state != State::AwaitNoted(verdict) {
            return;
        }
        match (verdict, result) {
            (RecoveryVerdict::Serves(_), Ok(())) => {
                self.noted = Some(verdict);
                self.state = State::AwaitAnswers;
                self.timers.arm(Timer::Heartbeat, now, self.config.pause());
                self.decide(now, out);
            }
            (_, result) => {
                self.journal_error = result.err();
                self.report(verdict, out);
            }
        }
    }

    pub(super) fn report(&mut self, verdict: RecoveryVerdict, out: Out<'_, Self>) {
        self.state = State::Done;
        self.timers.clear();
        let left = |process: &ProcessId| verdict != RecoveryVerdict::Serves(*process);
        out.last(Awaited::Finish(Outcome {
            verdict,
            killed: core::mem::take(&mut self.killed),
            left: self.parties.keys().copied().filter(left).collect(),
            journal_error: self.journal_error.take(),
        }));
    }
}

impl Party {
    fn new(sight: Sight) -> Self {
        let (part, linked, asked, spoke, is_swept) = (Part::Free, false, false, false, false);
        Party { sight, is_swept, part, linked, asked, spoke, standing: None, awaits_final: None }
    }

    fn may_be_killed(&self) -> bool {
        match self.sight {
            Sight::Beside => false,
            Sight::InPlace => self.spoke,
            Sight::Incumbent | Sight::Successor => true,
        }
    }
}

fn kill(
    process: ProcessId,
    party: &mut Party,
    killed: &mut Vec<ProcessId>,
    out: &mut Out<'_, RecoveryMachine>,
) {
    party.part = Part::Killed;
    party.standing = None;
    killed.push(process);
    out.push(Effect::Kill(process));
}
