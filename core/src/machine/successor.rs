//! The successor's side: warms up, takes the lock, opens, is ready, and serves when told to.
//!
//! Before `Begin` it is harmless. It serves without being told only when the supervisor is gone, and then
//! only under the lock and the rule of the record.
use alloc::{boxed::Box, format, string::String, vec::Vec};

use super::{
    Awaited, DaemonEffect, DaemonEvent, EffectName, EventName, ExitReason, IncumbentMachine, LinkId,
    LockAnswer, Machine, MachineRole, Op, Out, StateName, Timer, Timers,
};
use crate::{
    error::HostError,
    id::{Fingerprint, HandoffId, ProcessId},
    message::{Hello, HelloAck, Message, Role, Sealed, Standing},
    record::{Claim, Record},
    time::{Duration, Time},
};

mod steps;

/// The hooks of a successor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Open read-only, fill caches.
    WarmUp,
    /// Open the state for writing; the lock is held.
    Open {
        /// The state that the incumbent sealed, if it did.
        sealed: Option<Sealed>,
    },
    /// Accept connections.
    Serve,
}

/// The reports of a successor's hooks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Done {
    /// The state is open.
    Opened {
        /// The listeners it is about to serve, by name.
        listening_on: Vec<String>,
        /// `true` if the daemon calls itself healthy.
        healthz_ok: bool,
        /// The last revision of each shard.
        advertised_revision_per_shard: Vec<u64>,
        /// A digest of what was opened.
        data_dir_fingerprint: Fingerprint,
    },
    /// The hook had nothing to report.
    Ok,
}

/// The events of a successor.
pub type Event = DaemonEvent<Done>;
/// The effects that a successor asks for.
pub type Effect = DaemonEffect<Hook>;

/// A supervisor that was not met yet is given so long.
const FIRST_LIVENESS: Duration = Duration::from_secs(5);
/// `Hello` is said again after so long, until it is answered: well within the shortest liveness.
const FIRST_REPEAT: Duration = Duration::from_millis(20);

/// The states of a successor, each named for what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// `HelloAck`.
    AwaitAck,
    /// The warm-up hook.
    Warming,
    /// `Begin`.
    Warmed,
    /// The lock: its answer if it was asked, the time of the next attempt if not.
    Locking { asked: bool },
    /// The record, having got the lock.
    Claiming,
    /// The open hook.
    Opening,
    /// `Commit`.
    Ready,
    /// The control path.
    TakingPath,
    /// The record of serving.
    NotingServing,
    /// The serve hook.
    Starting,
    /// Serves; what comes next is an incumbent's business.
    Serving,
    /// Nothing more.
    Gone,
}

/// The successor's machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SuccessorMachine {
    hello: Hello,
    /// Of the record that it found when it was spawned.
    generation: u64,
    state: State,
    /// `None` once it is closed.
    link: Option<LinkId>,
    ack: Option<HelloAck>,
    /// `true` if it was told to take the lock, or has it.
    may_hold_lock: bool,
    sealed: Option<Sealed>,
    /// `true` if the supervisor is silent or gone.
    orphan: bool,
    /// `true` if the handoff's time is over, or the lock's.
    late: bool,
    /// Told to leave while a hook runs.
    abort: Option<ExitReason>,
    last: Option<Message>,
    op: Op,
    timers: Timers,
}

impl SuccessorMachine {
    /// A process that was spawned to succeed another, with a link to its supervisor. `generation` is that of
    /// the record as it found it, 0 if there was none.
    pub fn new(hello: Hello, generation: u64, link: LinkId) -> Self {
        SuccessorMachine {
            hello,
            generation,
            state: State::AwaitAck,
            link: Some(link),
            ack: None,
            may_hold_lock: false,
            sealed: None,
            orphan: false,
            late: false,
            abort: None,
            last: None,
            op: Op::default(),
            timers: Timers::default(),
        }
    }

    /// Once it serves, what it is from here on.
    pub fn promoted(&self, now: Time, stop_grace: Duration) -> Option<IncumbentMachine> {
        let ack = self.ack.as_ref().filter(|_| self.state == State::Serving)?;
        let hello = Hello { role: Role::Incumbent, ..self.hello.clone() };
        Some(IncumbentMachine::new(hello, self.generation, stop_grace).promoted(now, self.link, ack, self.op))
    }

    /// Returns where it stands, for a status.
    pub fn standing(&self) -> Standing {
        match self.state {
            State::AwaitAck | State::Warming => Standing::Warming,
            State::Warmed => Standing::Warmed,
            State::Locking { .. } | State::Claiming | State::Opening => Standing::Opening,
            State::Ready | State::TakingPath | State::NotingServing | State::Starting => Standing::Ready,
            State::Serving => Standing::Serving,
            State::Gone => Standing::Leaving,
        }
    }

    /// The process that may send its connections over now: the incumbent, until this process tries the lock.
    pub fn takes_connections_of(&self) -> Option<ProcessId> {
        let warm = matches!(self.state, State::Warmed | State::Locking { .. });
        self.ack.as_ref().filter(|_| warm)?.incumbent
    }

    /// The handoff, once the supervisor has named it.
    pub fn handoff_id(&self) -> Option<HandoffId> {
        self.ack.as_ref().map(|ack| ack.handoff_id)
    }

    fn liveness(&self) -> Duration {
        self.ack.as_ref().map_or(FIRST_LIVENESS, HelloAck::liveness)
    }

    /// Returns how long the supervisor may be silent: longer while the incumbent may be the one to act.
    fn patience(&self) -> Duration {
        if self.may_hold_lock { self.liveness() } else { 2 * self.liveness() }
    }

    /// The time between two heartbeats.
    fn heartbeat(&self) -> Duration {
        if self.ack.is_some() { self.liveness() / 5 } else { FIRST_REPEAT }
    }

    fn say(&mut self, message: Message, out: &mut Out<'_, Self>) {
        self.last = Some(message.clone());
        if let Some(link) = self.link {
            out.push(Effect::Send(link, message));
        }
    }

    fn report(&mut self, message: impl FnOnce(HandoffId) -> Message, out: &mut Out<'_, Self>) {
        if let Some(id) = self.handoff_id() {
            self.say(message(id), out);
        }
    }

    fn heard(&mut self, now: Time, link: LinkId, message: Message, mut out: Out<'_, Self>) {
        match message {
            Message::StandingQuery => {
                let standing = self.standing();
                return out
                    .push(Effect::Send(link, Message::StandingReport { standing, awaits_final: None }));
            }
            Message::ListenersQuery => return out.push(Effect::SendListeners(link)),
            _ if self.link != Some(link) => return refuse(link, "this process does not serve yet", &mut out),
            _ => {}
        }
        self.timers.arm(Timer::SupervisorSilent, now, self.patience());
        self.not_orphaned();
        let message = match message {
            Message::Heartbeat { repeats: Some(repeated), .. } => *repeated,
            Message::Heartbeat { repeats: None, .. } => return,
            other => other,
        };
        let ours = self.handoff_id();
        if ours.is_some() && message.handoff_id().is_some_and(|id| Some(id) != ours) {
            refuse(link, &format!("{} belongs to another handoff", message.name()), &mut out);
            return self.closed(link, out);
        }
        self.command(now, link, message, out);
    }

    /// The supervisor lives. An attempt to do without it ends, if it has not begun.
    fn not_orphaned(&mut self) {
        self.orphan = false;
        if !self.may_hold_lock && self.state == (State::Locking { asked: false }) {
            self.timers.disarm(Timer::Retry);
            self.state = State::Warmed;
        }
    }

    fn command(&mut self, now: Time, link: LinkId, message: Message, mut out: Out<'_, Self>) {
        match message {
            Message::HelloAck(ack) if self.state == State::AwaitAck => self.acknowledged(now, ack, &mut out),
            Message::Begin { sealed, .. } => self.begin(now, sealed, out),
            Message::Commit { .. } if self.state == State::Ready => self.take_path(out),
            Message::Abort { reason, .. } => self.abort(ExitReason::Aborted(reason), out),
            Message::Refused { error } => self.abort(ExitReason::Aborted(error), out),
            // Repeated, though it was heard.
            Message::HelloAck(_) | Message::Commit { .. } => {}
            other => {
                refuse(link, &format!("{} does not go to a successor", other.name()), &mut out);
                self.closed(link, out);
            }
        }
    }

    fn hook_done(&mut self, now: Time, op: Op, result: Result<Done, HostError>, mut out: Out<'_, Self>) {
        if op != self.op {
            return;
        }
        self.timers.disarm(Timer::HookLimit);
        match (self.state, result) {
            (State::Warming, Err(why)) => self.fail(false, format!("warm-up: {why}"), out),
            (State::Warming, Ok(_)) => self.warmed(now, out),
            (State::Opening, Err(why)) => self.fail(true, format!("can't open: {why}"), out),
            (State::Opening, Ok(done)) => self.opened(done, out),
            (State::Starting, Err(why)) => self.fail(true, format!("can't serve: {why}"), out),
            (State::Starting, Ok(_)) => {
                self.state = State::Serving;
                self.report(|handoff_id| Message::Serving { handoff_id }, &mut out);
            }
            (
                State::AwaitAck
                | State::Warmed
                | State::Locking { .. }
                | State::Claiming
                | State::Ready
                | State::TakingPath
                | State::NotingServing
                | State::Serving
                | State::Gone,
                _,
            ) => {}
        }
    }

    fn expired(&mut self, now: Time, timer: Timer, mut out: Out<'_, Self>) {
        self.timers.disarm(timer);
        match timer {
            Timer::Heartbeat => {
                self.timers.arm(Timer::Heartbeat, now, self.heartbeat());
                if let Some(link) = self.link {
                    let repeats = self.last.clone().map(Box::new);
                    out.push(Effect::Send(link, Message::Heartbeat { standing: self.standing(), repeats }));
                }
            }
            // Told again for as long as it lasts.
            Timer::SupervisorSilent => {
                self.timers.arm(Timer::SupervisorSilent, now, self.patience());
                self.supervisor_gone(out);
            }
            // A process that serves may hold the lock: as an orphan it is worth waiting for longer.
            Timer::Patience if self.orphan => {}
            Timer::Deadline | Timer::Patience => self.late = true,
            Timer::Retry if self.state == (State::Locking { asked: false }) => self.try_lock(out),
            Timer::HookLimit => self.exit(ExitReason::HookLimit, out),
            Timer::Retry | Timer::IncumbentSilent | Timer::SuccessorSilent => {}
        }
    }

    /// The supervisor is silent, or its link is closed: it will not say what comes next. A process that replaces no other leaves:
    /// its supervisor alone knows which data were served before.
    fn supervisor_gone(&mut self, out: Out<'_, Self>) {
        if self.ack.as_ref().is_some_and(|ack| ack.incumbent.is_none()) {
            return self.abort(
                ExitReason::Aborted("the supervisor is gone before it has judged the data".into()),
                out,
            );
        }
        match self.state {
            State::AwaitAck => self.exit(ExitReason::Aborted("the supervisor is gone".into()), out),
            State::Warming | State::Locking { .. } | State::Claiming | State::Opening => self.orphan = true,
            State::Warmed => {
                self.orphan = true;
                self.try_lock(out);
            }
            State::Ready => self.take_path(out),
            State::TakingPath | State::NotingServing | State::Starting | State::Serving | State::Gone => {}
        }
    }

    fn closed(&mut self, link: LinkId, out: Out<'_, Self>) {
        if self.link == Some(link) {
            self.link = None;
            self.timers.disarm(Timer::SupervisorSilent);
            self.timers.disarm(Timer::Heartbeat);
            self.supervisor_gone(out);
        }
    }

    /// Told to leave. What has taken the path is past that.
    fn abort(&mut self, exit: ExitReason, out: Out<'_, Self>) {
        match self.state {
            State::AwaitAck | State::Warmed | State::Locking { asked: false } => self.exit(exit, out),
            State::Ready => self.unlock_and_exit(exit, out),
            State::Warming | State::Locking { asked: true } | State::Claiming | State::Opening => {
                self.abort = Some(exit);
            }
            State::TakingPath | State::NotingServing | State::Starting | State::Serving | State::Gone => {}
        }
    }
}

/// Tells a peer what was wrong, and is done with it.
fn refuse(link: LinkId, error: &str, out: &mut Out<'_, SuccessorMachine>) {
    out.push(Effect::Send(link, Message::Refused { error: error.into() }));
    out.push(Effect::Close(link));
}

impl Machine for SuccessorMachine {
    type Event = Event;
    type Effect = Effect;
    type Awaited = Awaited;

    const ROLE: MachineRole = MachineRole::Successor;

    fn handle(&mut self, now: Time, event: Event, mut out: Out<'_, Self>) {
        match event {
            _ if self.state == State::Gone => {}
            Event::Start => {
                self.timers.arm(Timer::Heartbeat, now, self.heartbeat());
                self.timers.arm(Timer::SupervisorSilent, now, self.patience());
                let hello = Message::Hello(self.hello.clone());
                self.say(hello, &mut out);
            }
            Event::Connected(link) => out.push(Effect::Send(link, Message::Hello(self.hello.clone()))),
            Event::Frame(link, message) => self.heard(now, link, message, out),
            Event::Closed(link) => self.closed(link, out),
            Event::HookDone(op, result) => self.hook_done(now, op, result, out),
            Event::Locked(op, answer) => self.locked(now, op, answer, out),
            Event::Recorded(op, result) => self.recorded(now, op, result, out),
            Event::PathTaken(op, result) => self.path_taken(op, result, out),
            Event::Timer(timer) => self.expired(now, timer, out),
            Event::Stop => self.abort(ExitReason::Stopped, out),
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
            State::AwaitAck => StateName::AwaitAck,
            State::Warming => StateName::Warming,
            State::Warmed => StateName::Warmed,
            State::Locking { .. } if self.may_hold_lock => StateName::Locking,
            State::Locking { .. } => StateName::LockingAsOrphan,
            State::Claiming => StateName::Claiming,
            State::Opening => StateName::Opening,
            State::Ready => StateName::Ready,
            State::TakingPath => StateName::TakingPath,
            State::NotingServing => StateName::NotingServing,
            State::Starting => StateName::Starting,
            State::Serving => StateName::Serving,
            State::Gone => StateName::Gone,
        }
    }
}

impl super::AnyDaemonMachine for SuccessorMachine {
    type Hook = Hook;
    type Done = Done;
}

fn hook_name(hook: &Hook) -> EffectName {
    match hook {
        Hook::WarmUp => EffectName::StartWarmUp,
        Hook::Open { .. } => EffectName::StartOpen,
        Hook::Serve => EffectName::StartServe,
    }
}
