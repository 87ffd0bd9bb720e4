//! The incumbent's side: serves, drains, seals, frees the lock; and comes back when nothing came of it.
//!
//! It writes only between a lock it got and the unlock that follows; a supervisor that is gone or silent never
//! keeps it from serving again, and a `Retire` never makes it leave while the lock is free.
use alloc::{boxed::Box, vec::Vec};

use super::{
    Awaited, DaemonEffect, DaemonEvent, EffectName, EventName, ExitReason, LinkId, LockAnswer, Machine,
    MachineRole, Op, Out, StateName, Timer, Timers,
};
use crate::{
    id::{Fingerprint, HandoffId, ProcessId},
    message::{AwaitsFinal, Hello, HelloAck, Message, SealProgress, Sealed, Standing},
    time::{Duration, Time},
};

mod frames;
mod steps;

/// The hooks of an incumbent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Stop accepting, answer what is in flight.
    Drain {
        /// For how long at most.
        grace: Duration,
        /// The process that is to serve afterwards; none if this one is asked to stop.
        successor: Option<ProcessId>,
    },
    /// Make everything durable and close it for writing.
    Seal,
    /// Serve again.
    Resume {
        /// `true` if the state is to be opened again: a seal was at least tried.
        from_disk: bool,
    },
    /// The predecessor has ended.
    Finalize,
}

/// The reports of an incumbent's hooks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Done {
    /// Drained.
    Drained {
        /// Connections still open.
        open_conns_remaining: u32,
        /// `true` if nothing is accepted any more.
        accept_closed: bool,
    },
    /// Sealed.
    Sealed {
        /// The last revision of each shard.
        last_revision_per_shard: Vec<u64>,
        /// A digest of what is on disk.
        data_dir_fingerprint: Fingerprint,
    },
    /// The hook had nothing to report.
    Ok,
}

/// The events of an incumbent.
pub type Event = DaemonEvent<Done>;
/// The effects that an incumbent asks for.
pub type Effect = DaemonEffect<Hook>;

/// The reason why the lock is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Why {
    /// Told to retire: once, to see that another process holds it.
    Retire,
    /// Told to resume: until it is free.
    Resume,
    /// The supervisor is silent: until it is free or another process serves.
    Orphan,
}

/// The states of an incumbent, each named for what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Serves: a supervisor, or its `PrepareHandoff`.
    Serving,
    /// The drain hook.
    Draining,
    /// `SealRequest`.
    Drained,
    /// The seal hook.
    Sealing,
    /// The record of what was sealed.
    NotingSeal,
    /// Holds nothing: `Retire` or `ResumeAfterAbort`.
    Sealed,
    /// The lock: its answer if it was asked, the time of the next attempt if not.
    Locking { why: Why, asked: bool },
    /// The record, having got the lock back.
    Claiming,
    /// The resume hook.
    Resuming,
    /// The control path.
    TakingPath,
    /// The record of serving.
    NotingServing,
    /// Nothing more.
    Gone,
}

/// The end to which what is under way leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Course {
    /// On, as the supervisor says.
    On,
    /// Back to serving, as soon as the running hook returns.
    Back,
    /// To the end of this process: it was asked to stop, and nothing changes that.
    Stop,
}

/// A handoff that this incumbent is, or was, part of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Session {
    handoff_id: HandoffId,
    /// `None` once it is closed.
    link: Option<LinkId>,
    successor: Option<ProcessId>,
    liveness: Duration,
    hook_limit: Duration,
    /// `true` if it came to nothing, or is complete: nothing more is done for it.
    over: bool,
    /// The last message that was sent, for the heartbeats.
    last: Option<Message>,
}

/// The incumbent's machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IncumbentMachine {
    hello: Hello,
    stop_grace: Duration,
    /// Of the record that this process wrote last.
    generation: u64,
    state: State,
    session: Option<Session>,
    course: Course,
    /// `true` if a seal was at least tried since it last served.
    tried_seal: bool,
    /// The report of the seal hook, for `SealComplete`.
    sealed: Option<Sealed>,
    /// Until it is told that its predecessor has ended.
    awaits_final: Option<AwaitsFinal>,
    op: Op,
    timers: Timers,
}

impl IncumbentMachine {
    /// A process that holds the lock, has written the record with `generation`, and serves.
    pub fn new(hello: Hello, generation: u64, stop_grace: Duration) -> Self {
        IncumbentMachine {
            hello,
            stop_grace,
            generation,
            state: State::Serving,
            session: None,
            course: Course::On,
            tried_seal: false,
            sealed: None,
            awaits_final: None,
            op: Op::default(),
            timers: Timers::default(),
        }
    }

    /// A successor that serves, still linked to the supervisor that let it.
    pub(super) fn promoted(mut self, now: Time, link: Option<LinkId>, ack: &HelloAck, op: Op) -> Self {
        self.op = op;
        self.awaits_final = Some(AwaitsFinal { handoff_id: ack.handoff_id, predecessor: ack.incumbent });
        if link.is_some() {
            self.join(now, link, ack);
            let handoff_id = ack.handoff_id;
            self.session = self.session.map(|s| Session {
                over: true,
                last: Some(Message::Serving { handoff_id }),
                ..s
            });
        }
        self
    }

    /// Returns where it stands, for a status.
    pub fn standing(&self) -> Standing {
        match self.state {
            State::Serving => Standing::Serving,
            State::Draining | State::Drained => Standing::Draining,
            State::Sealing | State::NotingSeal => Standing::Sealing,
            State::Sealed | State::Locking { .. } => Standing::Sealed,
            State::Claiming | State::Resuming | State::TakingPath | State::NotingServing => {
                Standing::Resuming
            }
            State::Gone => Standing::Leaving,
        }
    }

    fn me(&self) -> ProcessId {
        self.hello.process()
    }

    /// Becomes part of the handoff that `ack` names.
    fn join(&mut self, now: Time, link: Option<LinkId>, ack: &HelloAck) {
        let liveness = ack.liveness();
        self.timers.arm(Timer::SupervisorSilent, now, liveness);
        self.timers.arm(Timer::Heartbeat, now, liveness / 5);
        self.session = Some(Session {
            handoff_id: ack.handoff_id,
            link,
            successor: None,
            liveness,
            hook_limit: Duration::from_millis(ack.hook_limit_ms),
            over: false,
            last: None,
        });
    }

    /// The handoff that is under way: one that is not over yet, or that was not said to be final yet.
    pub fn handoff_id(&self) -> Option<HandoffId> {
        let session = self.session.as_ref().filter(|session| !session.over);
        let awaited = || self.awaits_final.as_ref().map(|awaited| awaited.handoff_id);
        session.map(|session| session.handoff_id).or_else(awaited)
    }

    fn say(&mut self, message: Message, out: &mut Out<'_, Self>) {
        let Some(session) = &mut self.session else { return };
        session.last = Some(message.clone());
        if let Some(link) = session.link {
            out.push(Effect::Send(link, message));
        }
    }

    /// Says what `message` makes of the handoff's id, if there is a handoff.
    fn report(&mut self, message: impl FnOnce(HandoffId) -> Message, out: &mut Out<'_, Self>) {
        if let Some(id) = self.session.as_ref().map(|session| session.handoff_id) {
            self.say(message(id), out);
        }
    }

    fn leave_session(&mut self) {
        self.session = None;
        self.timers.clear();
    }

    fn expired(&mut self, now: Time, timer: Timer, out: Out<'_, Self>) {
        self.timers.disarm(timer);
        match timer {
            Timer::Heartbeat => self.heartbeat(now, out),
            Timer::SupervisorSilent => self.supervisor_silent(now, out),
            Timer::Retry => match self.state {
                State::Locking { why, asked: false } => self.try_lock(why, out),
                State::TakingPath => self.take_path(out),
                State::Serving
                | State::Draining
                | State::Drained
                | State::Sealing
                | State::NotingSeal
                | State::Sealed
                | State::Locking { .. }
                | State::Claiming
                | State::Resuming
                | State::NotingServing
                | State::Gone => {}
            },
            Timer::HookLimit => self.exit(ExitReason::HookLimit, out),
            Timer::IncumbentSilent | Timer::SuccessorSilent | Timer::Deadline | Timer::Patience => {}
        }
    }

    fn heartbeat(&mut self, now: Time, mut out: Out<'_, Self>) {
        let standing = self.standing();
        if let Some(Session { link: Some(link), liveness, last, .. }) = &self.session {
            self.timers.arm(Timer::Heartbeat, now, *liveness / 5);
            let repeats = last.clone().map(Box::new);
            out.push(Effect::Send(*link, Message::Heartbeat { standing, repeats }));
        }
    }

    /// Told again for as long as it lasts.
    fn supervisor_silent(&mut self, now: Time, out: Out<'_, Self>) {
        if let Some(Session { link: Some(_), liveness, .. }) = &self.session {
            self.timers.arm(Timer::SupervisorSilent, now, *liveness);
        }
        self.supervisor_gone(now, out);
    }

    /// The supervisor is silent, or its link is closed: it will not say what comes next.
    fn supervisor_gone(&mut self, now: Time, mut out: Out<'_, Self>) {
        match self.state {
            State::Serving => {
                if let Some(link) = self.session.as_ref().and_then(|session| session.link) {
                    out.push(Effect::Close(link));
                }
                self.leave_session();
            }
            State::Draining | State::Sealing | State::NotingSeal => self.turn_back(),
            State::Drained => self.resume(now, &mut out),
            State::Sealed => self.try_lock(Why::Orphan, out),
            // No supervisor is left to see to it that the lock becomes free.
            State::Locking { why: Why::Resume, asked } => {
                self.state = State::Locking { why: Why::Orphan, asked };
            }
            State::Locking { why: Why::Retire | Why::Orphan, .. }
            | State::Claiming
            | State::Resuming
            | State::TakingPath
            | State::NotingServing
            | State::Gone => {}
        }
    }

    fn closed(&mut self, now: Time, link: LinkId, out: Out<'_, Self>) {
        let Some(session) = &mut self.session else { return };
        if session.link == Some(link) {
            session.link = None;
            self.timers.disarm(Timer::SupervisorSilent);
            self.timers.disarm(Timer::Heartbeat);
            self.supervisor_gone(now, out);
        }
    }

    fn stop(&mut self, now: Time, mut out: Out<'_, Self>) {
        if core::mem::replace(&mut self.course, Course::Stop) == Course::Stop {
            return;
        }
        match self.state {
            State::Serving => self.drain(now, self.stop_grace, None, &mut out),
            State::Drained => self.seal(now, &mut out),
            State::Sealed | State::Locking { asked: false, .. } => self.exit(ExitReason::Stopped, out),
            // When what is under way is done: to stop takes the same way.
            State::Draining
            | State::Sealing
            | State::NotingSeal
            | State::Locking { asked: true, .. }
            | State::Claiming
            | State::Resuming
            | State::TakingPath
            | State::NotingServing
            | State::Gone => {}
        }
    }

    /// Serves again as soon as the running hook returns, unless it was asked to stop.
    fn turn_back(&mut self) {
        if self.course == Course::On {
            self.course = Course::Back;
        }
    }

    /// Goes on from here, unless it was asked to stop: it has turned back, or begins anew.
    fn goes_on(&mut self) {
        if self.course == Course::Back {
            self.course = Course::On;
        }
    }

    fn is_stopping(&self) -> bool {
        self.course == Course::Stop
    }

    /// A seal's progress as a message, and the link that it goes over; `None` if no supervisor waits for it.
    pub fn seal_progress(&self, progress: SealProgress) -> Option<(LinkId, Message)> {
        let session =
            self.session.as_ref().filter(|session| self.state == State::Sealing && !session.over)?;
        Some((session.link?, Message::SealProgress { handoff_id: session.handoff_id, progress }))
    }

    /// The link of the supervisor whose handoff this process is part of.
    pub fn session_link(&self) -> Option<LinkId> {
        self.session.as_ref()?.link
    }
}

impl Machine for IncumbentMachine {
    type Event = Event;
    type Effect = Effect;
    type Awaited = Awaited;

    const ROLE: MachineRole = MachineRole::Incumbent;

    fn handle(&mut self, now: Time, event: Event, out: Out<'_, Self>) {
        match event {
            _ if self.state == State::Gone => {}
            Event::Start => {}
            Event::Connected(link) => self.connected(link, out),
            Event::Frame(link, message) => self.frame(now, link, message, out),
            Event::Closed(link) => self.closed(now, link, out),
            Event::HookDone(op, result) => self.hook_done(now, op, result, out),
            Event::Locked(op, answer) => self.locked(now, op, answer, out),
            Event::Recorded(op, result) => self.recorded(now, op, result, out),
            Event::PathTaken(op, result) => self.path_taken(now, op, result, out),
            Event::Timer(timer) => self.expired(now, timer, out),
            Event::Stop => self.stop(now, out),
        }
    }

    fn event_name(event: &Event) -> EventName {
        super::daemon::names::of_event(event)
    }

    fn effect_name(effect: &Effect) -> EffectName {
        super::daemon::names::of_effect(effect, hook_name)
    }

    fn awaited_name(awaited: &Awaited) -> EffectName {
        super::daemon::names::of_awaited(awaited)
    }

    fn timers(&self) -> &Timers {
        &self.timers
    }

    fn state(&self) -> StateName {
        match self.state {
            State::Serving if self.session.is_some() => StateName::ServingInSession,
            State::Serving => StateName::Serving,
            State::Draining => StateName::Draining,
            State::Drained => StateName::Drained,
            State::Sealing => StateName::Sealing,
            State::NotingSeal => StateName::NotingSeal,
            State::Sealed => StateName::Sealed,
            State::Locking { why: Why::Retire, .. } => StateName::LockingToRetire,
            State::Locking { why: Why::Resume, .. } => StateName::LockingToResume,
            State::Locking { why: Why::Orphan, .. } => StateName::LockingAsOrphan,
            State::Claiming => StateName::Claiming,
            State::Resuming => StateName::Resuming,
            State::TakingPath => StateName::TakingPath,
            State::NotingServing => StateName::NotingServing,
            State::Gone => StateName::Gone,
        }
    }
}

impl super::AnyDaemonMachine for IncumbentMachine {
    type Hook = Hook;
    type Done = Done;
}

fn hook_name(hook: &Hook) -> EffectName {
    match hook {
        Hook::Drain { .. } => EffectName::StartDrain,
        Hook::Seal => EffectName::StartSeal,
        Hook::Resume { .. } => EffectName::StartResume,
        Hook::Finalize => EffectName::StartFinalize,
    }
}
