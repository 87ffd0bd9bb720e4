//! An incumbent's moves: drain, seal, free the lock; or get it back and serve again.
use alloc::format;

use super::{
    Awaited, Course, DaemonEffect as Effect, Done, ExitReason, Hook, IncumbentMachine, LockAnswer, Op, Out,
    State, Timer, Why,
};
use crate::{
    error::HostError,
    id::{HandoffId, ProcessId},
    message::{Message, Sealed},
    record::{Claim, Record},
    text::PlainText,
    time::{Duration, Time},
};

impl IncumbentMachine {
    pub(super) fn start_hook(&mut self, now: Time, hook: Hook, out: &mut Out<'_, Self>) {
        if let Some(session) = &self.session {
            self.timers.arm(Timer::HookLimit, now, session.hook_limit);
        }
        out.push(Effect::StartHook(self.op.bump(), hook));
    }

    pub(super) fn drain(
        &mut self,
        now: Time,
        grace: Duration,
        successor: Option<ProcessId>,
        out: &mut Out<'_, Self>,
    ) {
        self.state = State::Draining;
        self.goes_on();
        self.tried_seal = false;
        self.start_hook(now, Hook::Drain { grace, successor }, out);
    }

    pub(super) fn seal(&mut self, now: Time, out: &mut Out<'_, Self>) {
        self.state = State::Sealing;
        self.tried_seal = true;
        self.start_hook(now, Hook::Seal, out);
    }

    /// Serves again; the lock is held.
    pub(super) fn resume(&mut self, now: Time, out: &mut Out<'_, Self>) {
        self.state = State::Resuming;
        self.goes_on();
        self.start_hook(now, Hook::Resume { from_disk: self.tried_seal }, out);
    }

    /// Serves again after a seal that was recorded or at least tried; the lock is held.
    pub(super) fn claim(&mut self, generation: u64, out: Out<'_, Self>) {
        self.state = State::Claiming;
        self.generation = generation;
        self.write_record(false, None, out);
    }

    pub(super) fn write_record(&mut self, serving: bool, sealed_for: Option<ProcessId>, out: Out<'_, Self>) {
        let sealed = self.sealed.clone().filter(|_| sealed_for.is_some()).unwrap_or_default();
        let record = Record {
            generation: self.generation,
            holder: self.me(),
            sealed_for,
            serving,
            revisions: sealed.last_revision_per_shard,
            fingerprint: sealed.data_dir_fingerprint,
        };
        out.last(Awaited::WriteRecord(self.op.bump(), record));
    }

    pub(super) fn try_lock(&mut self, why: Why, out: Out<'_, Self>) {
        self.state = State::Locking { why, asked: true };
        self.timers.disarm(Timer::Retry);
        out.last(Awaited::Lock(self.op));
    }

    pub(super) fn exit(&mut self, exit: ExitReason, out: Out<'_, Self>) {
        self.state = State::Gone;
        self.timers.clear();
        out.last(Awaited::Exit(exit));
    }

    pub(super) fn unlock_and_exit(&mut self, exit: ExitReason, mut out: Out<'_, Self>) {
        out.push(Effect::Unlock);
        self.exit(exit, out);
    }

    pub(super) fn hook_done(
        &mut self,
        now: Time,
        op: Op,
        result: Result<Done, HostError>,
        out: Out<'_, Self>,
    ) {
        if op != self.op {
            return;
        }
        self.timers.disarm(Timer::HookLimit);
        match self.state {
            State::Draining => self.drained(now, result, out),
            State::Sealing => self.seal_done(result, out),
            State::Resuming => match result {
                Ok(_) => self.take_path(out),
                Err(why) => {
                    self.unlock_and_exit(ExitReason::Failed(format!("can't serve again: {why}").into()), out)
                }
            },
            State::Serving
            | State::Drained
            | State::NotingSeal
            | State::Sealed
            | State::Locking { .. }
            | State::Claiming
            | State::TakingPath
            | State::NotingServing
            | State::Gone => {}
        }
    }

    pub(super) fn drained(&mut self, now: Time, result: Result<Done, HostError>, mut out: Out<'_, Self>) {
        if self.is_stopping() {
            return self.seal(now, &mut out);
        }
        match result {
            Ok(Done::Drained { open_conns_remaining, accept_closed }) if self.course != Course::Back => {
                self.state = State::Drained;
                self.report(
                    |handoff_id| Message::Drained { handoff_id, open_conns_remaining, accept_closed },
                    &mut out,
                );
            }
            Ok(_) => self.resume(now, &mut out),
            Err(HostError { detail: error, .. }) => {
                self.report(|handoff_id| Message::DrainFailed { handoff_id, error }, &mut out);
                self.resume(now, &mut out);
            }
        }
    }

    pub(super) fn seal_done(&mut self, result: Result<Done, HostError>, mut out: Out<'_, Self>) {
        match result {
            Ok(Done::Sealed { last_revision_per_shard, data_dir_fingerprint })
                if self.course != Course::Back =>
            {
                let generation = self.generation;
                self.sealed = Some(Sealed { generation, last_revision_per_shard, data_dir_fingerprint });
                self.state = State::NotingSeal;
                let successor = self.session.as_ref().and_then(|session| session.successor);
                self.write_record(false, successor, out);
            }
            Ok(_) => self.claim(self.generation, out),
            Err(error) if self.is_stopping() => {
                self.unlock_and_exit(ExitReason::Failed(format!("the seal failed: {error}").into()), out);
            }
            Err(error) => {
                self.seal_failed(error.detail, &mut out);
                self.claim(self.generation, out);
            }
        }
    }

    pub(super) fn seal_failed(&mut self, error: impl Into<PlainText>, out: &mut Out<'_, Self>) {
        let partial_state = "the lock is still held, the state is opened again from disk".into();
        let error = error.into();
        self.report_unless_over(|handoff_id| Message::SealFailed { handoff_id, error, partial_state }, out);
    }

    /// After the handoff, what a stop leads to means nothing to it.
    fn report_unless_over(&mut self, message: impl FnOnce(HandoffId) -> Message, out: &mut Out<'_, Self>) {
        if self.session.as_ref().is_some_and(|session| !session.over) {
            self.report(message, out);
        }
    }

    pub(super) fn recorded(
        &mut self,
        now: Time,
        op: Op,
        result: Result<(), HostError>,
        mut out: Out<'_, Self>,
    ) {
        if op != self.op {
            return;
        }
        match (self.state, result) {
            (State::NotingSeal, Ok(())) if self.course != Course::Back => self.seal_noted(out),
            (State::NotingSeal, Ok(())) => self.claim(self.generation, out),
            (State::NotingSeal, Err(why)) => {
                self.seal_failed(format!("the record can't be written: {why}"), &mut out);
                self.claim(self.generation, out);
            }
            (State::Claiming, Ok(())) => self.resume(now, &mut out),
            (State::Claiming, Err(why)) => {
                self.unlock_and_exit(
                    ExitReason::Failed(format!("the record can't be written: {why}").into()),
                    out,
                );
            }
            // Only a hint: it serves, whether that could be noted or not.
            (State::NotingServing, _) => self.serving_again(now, out),
            (
                State::Serving
                | State::Draining
                | State::Drained
                | State::Sealing
                | State::Sealed
                | State::Locking { .. }
                | State::Resuming
                | State::TakingPath
                | State::Gone,
                _,
            ) => {}
        }
    }

    pub(super) fn seal_noted(&mut self, mut out: Out<'_, Self>) {
        self.state = State::Sealed;
        out.push(Effect::Unlock);
        let sealed = self.sealed.clone().unwrap_or_default();
        self.report_unless_over(|handoff_id| Message::SealComplete { handoff_id, sealed }, &mut out);
        if self.is_stopping() {
            self.exit(ExitReason::Stopped, out);
        } else if self.session.as_ref().is_none_or(|session| session.link.is_none()) {
            self.try_lock(Why::Orphan, out);
        }
    }

    pub(super) fn locked(&mut self, now: Time, op: Op, answer: LockAnswer, out: Out<'_, Self>) {
        let State::Locking { why, asked: true } = self.state else { return };
        if op != self.op {
            return;
        }
        match answer {
            LockAnswer::Held { last } => {
                let successor =
                    self.session.as_ref().and_then(|session| session.successor).unwrap_or(self.me());
                if self.is_stopping() {
                    self.unlock_and_exit(ExitReason::Stopped, out);
                } else if (Claim::Incumbent { successor }).holds(self.me(), last.as_ref()) {
                    let generation = last.as_ref().map_or(self.generation, |record| record.generation);
                    self.claim(generation + 1, out);
                } else {
                    self.unlock_and_exit(ExitReason::Retired, out);
                }
            }
            LockAnswer::Busy { hint, .. } => self.lock_busy(now, why, hint, out),
            // That does not say whether another process holds it: to leave because of it could leave no process that serves.
            LockAnswer::Error(_) => self.lock_later(now, why),
        }
    }

    pub(super) fn lock_busy(&mut self, now: Time, why: Why, hint: Option<Record>, out: Out<'_, Self>) {
        let another_serves = hint.is_some_and(|record| record.serving && record.holder != self.me());
        match why {
            Why::Retire => self.exit(ExitReason::Retired, out),
            Why::Orphan | Why::Resume if self.is_stopping() => self.exit(ExitReason::Stopped, out),
            Why::Orphan if another_serves => self.exit(ExitReason::Retired, out),
            Why::Orphan | Why::Resume => self.lock_later(now, why),
        }
    }

    fn lock_later(&mut self, now: Time, why: Why) {
        let liveness = self.session.as_ref().map_or(Duration::from_secs(5), |session| session.liveness);
        let pause = match why {
            Why::Orphan => liveness / 5,
            Why::Retire | Why::Resume => liveness / 100,
        };
        self.state = State::Locking { why, asked: false };
        self.timers.arm(Timer::Retry, now, pause);
    }

    pub(super) fn take_path(&mut self, out: Out<'_, Self>) {
        self.state = State::TakingPath;
        out.last(Awaited::TakePath(self.op.bump()));
    }

    pub(super) fn path_taken(
        &mut self,
        now: Time,
        op: Op,
        result: Result<(), HostError>,
        mut out: Out<'_, Self>,
    ) {
        if op != self.op || self.state != State::TakingPath {
            return;
        }
        match result {
            Ok(()) => {
                self.state = State::NotingServing;
                self.write_record(true, None, out);
            }
            Err(_) if self.is_stopping() => self.drain(now, self.stop_grace, None, &mut out),
            // It serves, but can't be reached: that may pass.
            Err(_) => self.timers.arm(Timer::Retry, now, Duration::from_millis(100)),
        }
    }

    pub(super) fn serving_again(&mut self, now: Time, mut out: Out<'_, Self>) {
        self.state = State::Serving;
        self.tried_seal = false;
        self.sealed = None;
        self.report_unless_over(|handoff_id| Message::Resumed { handoff_id }, &mut out);
        match &mut self.session {
            Some(session) if session.link.is_some() => {
                session.over = true;
                // One that stays silent does not keep every other supervisor away.
                self.timers.arm(Timer::SupervisorSilent, now, session.liveness);
            }
            _ => self.leave_session(),
        }
        if self.is_stopping() {
            self.drain(now, self.stop_grace, None, &mut out);
        }
    }
}
