//! A successor's moves, from the supervisor's acknowledgement to serving.
use alloc::format;

use super::{
    Awaited, Claim, DaemonEffect as Effect, Done, ExitReason, HelloAck, Hook, LockAnswer, Message, Op, Out,
    ProcessId, Record, Sealed, State, SuccessorMachine, Timer,
};
use crate::{
    error::HostError,
    text::PlainText,
    time::{Duration, Time},
};

impl SuccessorMachine {
    pub(super) fn acknowledged(&mut self, now: Time, ack: HelloAck, out: &mut Out<'_, Self>) {
        self.timers.arm(Timer::Deadline, now, Duration::from_millis(ack.deadline_ms));
        self.ack = Some(ack);
        self.timers.arm(Timer::SupervisorSilent, now, self.patience());
        self.timers.arm(Timer::Heartbeat, now, self.heartbeat());
        self.state = State::Warming;
        self.start_hook(now, Hook::WarmUp, out);
    }

    fn start_hook(&mut self, now: Time, hook: Hook, out: &mut Out<'_, Self>) {
        if let Some(ack) = &self.ack {
            self.timers.arm(Timer::HookLimit, now, Duration::from_millis(ack.hook_limit_ms));
        }
        out.push(Effect::StartHook(self.op.bump(), hook));
    }

    pub(super) fn warmed(&mut self, now: Time, mut out: Out<'_, Self>) {
        if let Some(exit) = self.abort.take() {
            return self.exit(exit, out);
        }
        self.state = State::Warmed;
        self.report(|handoff_id| Message::Warmed { handoff_id }, &mut out);
        if self.may_hold_lock {
            self.begin_locking(now, out);
        } else if self.orphan {
            self.try_lock(out);
        }
    }

    /// Told to take the lock; kept in mind if the warm-up still runs.
    pub(super) fn begin(&mut self, now: Time, sealed: Option<Sealed>, out: Out<'_, Self>) {
        if self.may_hold_lock || self.state == State::AwaitAck {
            return;
        }
        self.sealed = sealed;
        self.may_hold_lock = true;
        self.timers.arm(Timer::SupervisorSilent, now, self.patience());
        match self.state {
            State::Warmed | State::Locking { asked: false } => self.begin_locking(now, out),
            State::Locking { asked: true } => self.lock_until(now),
            State::AwaitAck
            | State::Warming
            | State::Claiming
            | State::Opening
            | State::Ready
            | State::TakingPath
            | State::NotingServing
            | State::Starting
            | State::Serving
            | State::Gone => {}
        }
    }

    fn begin_locking(&mut self, now: Time, out: Out<'_, Self>) {
        self.lock_until(now);
        self.try_lock(out);
    }

    /// The lock is free when a successor is told to begin, but for a moment: a process that has ended may be
    /// seen to before the kernel has freed what it held.
    fn lock_until(&mut self, now: Time) {
        self.late = false;
        self.timers.arm(Timer::Patience, now, self.liveness());
        if let Some(ack) = &self.ack {
            self.timers.arm(Timer::Deadline, now, Duration::from_millis(ack.deadline_ms));
        }
    }

    pub(super) fn try_lock(&mut self, out: Out<'_, Self>) {
        self.state = State::Locking { asked: true };
        self.timers.disarm(Timer::Retry);
        out.last(Awaited::Lock(self.op));
    }

    pub(super) fn locked(&mut self, now: Time, op: Op, answer: LockAnswer, out: Out<'_, Self>) {
        if op != self.op || self.state != (State::Locking { asked: true }) {
            return;
        }
        match answer {
            LockAnswer::Held { last } => self.got_lock(now, last, out),
            _ if self.abort.is_some() => {
                let exit = self.abort.take().unwrap_or(ExitReason::Stopped);
                self.exit(exit, out);
            }
            LockAnswer::Busy { holder, .. } => self.lock_busy(now, holder, out),
            LockAnswer::Error(why) => self.fail(false, format!("the lock can't be tried: {why}"), out),
        }
    }

    fn got_lock(&mut self, now: Time, last: Option<Record>, out: Out<'_, Self>) {
        if let Some(exit) = self.abort.take() {
            return self.unlock_and_exit(exit, out);
        }
        if !self.claim().holds(self.me(), last.as_ref()) {
            return self.fail(true, "the data directory has passed to another process meanwhile", out);
        }
        let last = last.unwrap_or_else(|| self.record(0, false));
        // No supervisor says what the incumbent sealed, but it wrote it down.
        if self.sealed.is_none() && last.sealed_for == Some(self.me()) {
            self.sealed = Some(Sealed {
                generation: last.generation,
                last_revision_per_shard: last.revisions.clone(),
                data_dir_fingerprint: last.fingerprint,
            });
        }
        // A fingerprint is that of a generation: it says nothing of what another process wrote since.
        if let Some(sealed) = self.sealed.as_mut().filter(|sealed| sealed.generation != last.generation) {
            sealed.data_dir_fingerprint.scheme = 0;
        }
        self.generation = last.generation + 1;
        // From here on it makes no difference whether it was told to.
        self.may_hold_lock = true;
        if self.timers.is_armed(Timer::SupervisorSilent) {
            self.timers.arm(Timer::SupervisorSilent, now, self.patience());
        }
        self.state = State::Claiming;
        self.write_record(false, out);
    }

    fn lock_busy(&mut self, now: Time, holder: Option<PlainText>, out: Out<'_, Self>) {
        if self.late {
            let holder = holder.unwrap_or_else(|| "another process".into());
            return self.fail(false, format!("the lock is held by {holder}"), out);
        }
        self.state = State::Locking { asked: false };
        let pause = if self.orphan { self.liveness() / 5 } else { self.liveness() / 500 };
        self.timers.arm(Timer::Retry, now, pause);
    }

    fn claim(&self) -> Claim {
        match self.ack.as_ref().and_then(|ack| ack.incumbent) {
            Some(incumbent) => Claim::Successor { incumbent },
            None => Claim::ColdStart { generation: self.generation },
        }
    }

    fn me(&self) -> ProcessId {
        self.hello.process()
    }

    fn record(&self, generation: u64, serving: bool) -> Record {
        Record {
            generation,
            holder: self.me(),
            sealed_for: None,
            serving,
            revisions: Default::default(),
            fingerprint: Default::default(),
        }
    }

    fn write_record(&mut self, serving: bool, out: Out<'_, Self>) {
        let record = self.record(self.generation, serving);
        out.last(Awaited::WriteRecord(self.op.bump(), record));
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
            (State::Claiming, Ok(())) => {
                self.timers.disarm(Timer::Patience);
                self.state = State::Opening;
                let sealed = self.sealed.clone();
                self.start_hook(now, Hook::Open { sealed }, &mut out);
            }
            (State::Claiming, Err(why)) => {
                self.fail(true, format!("the record can't be written: {why}"), out)
            }
            // Only a hint: it is about to serve, whether that could be noted or not.
            (State::NotingServing, _) => {
                self.state = State::Starting;
                self.start_hook(now, Hook::Serve, &mut out);
            }
            (
                State::AwaitAck
                | State::Warming
                | State::Warmed
                | State::Locking { .. }
                | State::Opening
                | State::Ready
                | State::TakingPath
                | State::Starting
                | State::Serving
                | State::Gone,
                _,
            ) => {}
        }
    }

    pub(super) fn opened(&mut self, done: Done, mut out: Out<'_, Self>) {
        if let Some(exit) = self.abort.take() {
            return self.unlock_and_exit(exit, out);
        }
        let why = match &done {
            Done::Opened { healthz_ok, advertised_revision_per_shard, data_dir_fingerprint, .. } => {
                let sealed = self.sealed.as_ref();
                gate(*healthz_ok, advertised_revision_per_shard, data_dir_fingerprint, sealed)
            }
            Done::Ok => Some("the open hook did not say what it opened".into()),
        };
        if let Some(why) = why {
            return self.fail(true, why, out);
        }
        self.state = State::Ready;
        if let Done::Opened { listening_on, healthz_ok, advertised_revision_per_shard, .. } = done {
            self.report(
                |handoff_id| Message::Ready {
                    handoff_id,
                    listening_on,
                    healthz_ok,
                    advertised_revision_per_shard,
                },
                &mut out,
            );
        }
        if self.orphan {
            self.take_path(out);
        }
    }

    /// From here on it goes its way, whether its supervisor lives or not.
    pub(super) fn take_path(&mut self, out: Out<'_, Self>) {
        self.state = State::TakingPath;
        self.orphan = false;
        out.last(Awaited::TakePath(self.op.bump()));
    }

    pub(super) fn path_taken(&mut self, op: Op, result: Result<(), HostError>, out: Out<'_, Self>) {
        if op != self.op || self.state != State::TakingPath {
            return;
        }
        match result {
            Ok(()) => {
                self.state = State::NotingServing;
                self.write_record(true, out);
            }
            Err(why) => self.fail(true, format!("can't take the control path: {why}"), out),
        }
    }

    /// Gives up: frees the lock before it says so, so that a peer that hears of it finds the lock free.
    pub(super) fn fail(&mut self, locked: bool, error: impl Into<PlainText>, mut out: Out<'_, Self>) {
        if locked {
            out.push(Effect::Unlock);
        }
        let error = error.into();
        let said = error.clone();
        self.report(|handoff_id| Message::Failed { handoff_id, error: said }, &mut out);
        self.exit(ExitReason::Failed(error), out);
    }

    pub(super) fn unlock_and_exit(&mut self, exit: ExitReason, mut out: Out<'_, Self>) {
        out.push(Effect::Unlock);
        self.exit(exit, out);
    }

    pub(super) fn exit(&mut self, exit: ExitReason, out: Out<'_, Self>) {
        self.state = State::Gone;
        self.timers.clear();
        out.last(Awaited::Exit(exit));
    }
}

/// Returns why what was opened is not to be served, if so.
fn gate(
    healthy: bool,
    opened: &[u64],
    fingerprint: &crate::id::Fingerprint,
    sealed: Option<&Sealed>,
) -> Option<PlainText> {
    if !healthy {
        return Some("it calls itself unhealthy".into());
    }
    let sealed = sealed?;
    if !crate::message::not_behind(opened, &sealed.last_revision_per_shard) {
        return Some(crate::message::behind(opened, &sealed.last_revision_per_shard).into());
    }
    let expected = &sealed.data_dir_fingerprint;
    let comparable = expected.scheme != 0 && expected.scheme == fingerprint.scheme;
    (comparable && expected != fingerprint)
        .then(|| "what it opened has another fingerprint than what was sealed".into())
}
