//! The supervisor's side of one handoff: decides, and waits for no process for ever.
//!
//! Two rules shape it. The successor is harmless before `Begin` and is killed only while the incumbent lives to
//! take over (or when both ways are closed and a cold start is what remains). And what is reported is what
//! a process said of itself: `RolledBack` only on the incumbent's `Resumed`.
//!
//! `mod.rs` holds the state and the event's way in, `frames.rs` what peers say, `events.rs` what happens to
//! processes, timers and storage, `steps.rs` the moves from one state to the next.
use super::{EffectName, EventName, Machine, MachineRole, Out, Reason, StateName, Timer, Timers};
use crate::{
    error::HostError,
    id::{HandoffId, ProcessId},
    message::{Hello, Message, Sealed},
    text::PlainText,
    time::{Duration, Time},
};

pub use super::peer::Peer;

mod events;
mod frames;
mod names;
mod steps;

/// The longest times that things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// A peer that was silent for so long counts as hung. Heartbeats go out at a fifth of it.
    pub liveness: Duration,
    /// The whole handoff. A successor whose incumbent has ended is given it once more.
    pub deadline: Duration,
    /// The longest time that the incumbent's open requests may take to finish.
    pub drain_grace: Duration,
    /// The longest time that one hook of a daemon may run before its process ends itself.
    pub hook_limit: Duration,
    /// The longest time that a retired incumbent may take to end before it is killed.
    pub retire_limit: Duration,
}

impl Limits {
    /// Returns how long an incumbent that is heard may take to serve again: what runs in it, and the way back
    /// itself, may each take a hook's limit.
    fn resume_limit(&self) -> Duration {
        2 * self.deadline.max(self.hook_limit)
    }

    /// The time between two heartbeats.
    pub fn heartbeat(&self) -> Duration {
        self.liveness / 5
    }
}

/// The events of a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Begin. Without an incumbent it is a cold start.
    Start {
        /// Drawn at random by the host.
        handoff_id: HandoffId,
        /// `true` if a process is expected to answer at the control path.
        replace: bool,
    },
    /// No process could be reached at the control path.
    ConnectFailed(HostError),
    /// A message came.
    Frame(Peer, Message),
    /// The successor is ready, and what it has opened is not what it must serve: it replaces no daemon, and the journal knows
    /// what was served before.
    Unfit(Reason),
    /// A link is at its end, whether closed, reset or broken by what came over it. Its host has closed this end, too.
    Closed(Peer, PlainText),
    /// A process has ended. Hosts report it before anything that it sent and that wasn't read yet.
    Ended(Peer, PlainText),
    /// The successor was started, or could not be.
    Spawned(Result<ProcessId, HostError>),
    /// The journal was written, or could not be. Carries the note that was asked for.
    Persisted(Note, Result<(), HostError>),
    /// A timer has expired.
    Timer(Timer),
    /// The caller wants it to end, one way or the other, and why.
    Cancel(Reason),
}

/// The effects that a supervisor asks for without waiting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Connect to the control path; the incumbent speaks first.
    Connect,
    /// Send a message. Buffered, not received.
    Send(Peer, Message),
    /// Close a link.
    Close(Peer),
    /// Kill a process, and what it has forked. Its end comes as an event.
    Kill(Peer),
}

/// The effects that a supervisor asks for and waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Awaited {
    /// Start the successor.
    Spawn,
    /// Write the journal, durably.
    Persist(Note),
    /// The handoff is over. No result ever comes.
    Finish(Outcome),
}

/// The entry that the journal is to have of this handoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// Is under way; the successor's process is known.
    UnderWay,
    /// The successor serves.
    Committed,
    /// Is over, and this is what became of it.
    Over(HandoffVerdict),
}

/// The result of a handoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandoffVerdict {
    /// The successor serves and the incumbent has ended.
    Committed,
    /// The incumbent serves, as it said itself.
    RolledBack,
    /// The successor served and died; the incumbent serves again, as it said itself.
    FellBack,
    /// The incumbent is there, but did not say that it serves.
    Unconfirmed,
    /// Incumbent and successor have ended. If no other process answers at the control path, such as a successor that a
    /// supervisor before this one left behind, a cold start is due.
    NobodyServes,
    /// Another supervisor has, or had, a handoff with the incumbent that is not over; nothing was touched.
    Busy,
    /// The incumbent can't be reached or doesn't speak this protocol; nothing was touched.
    Unreachable,
    /// The caller called it off before anything was touched.
    Cancelled,
}

/// The end of a handoff.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// The result.
    pub verdict: HandoffVerdict,
    /// The reason why it wasn't committed, or what went wrong before it was.
    pub reason: Option<Reason>,
    /// Connections that were still open when the incumbent's grace was over.
    pub open_conns_remaining: u32,
    /// `true` if the incumbent ended before it had handed over.
    pub incumbent_ended_early: bool,
    /// The journal could not be written. A successor that serves all the same was not told that its predecessor has
    /// ended: a recovery tells it once the journal names the process that serves.
    pub journal_error: Option<HostError>,
}

/// The states of a supervisor, each named for what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Nothing has begun.
    Start,
    /// The incumbent's `Hello`.
    AwaitIncumbent,
    /// The successor's process, and what becomes of it when it is there.
    AwaitSpawn(SpawnFate),
    /// The journal, and the successor's `Hello` and `Warmed`.
    AwaitWarmed,
    /// The incumbent's `Drained`.
    AwaitDrained,
    /// The incumbent's `SealComplete`.
    AwaitSealed,
    /// The successor's `Ready`.
    AwaitReady,
    /// The successor's `Serving`.
    AwaitServing,
    /// The journal, before the incumbent is retired.
    AwaitCommitted,
    /// The incumbent's end.
    AwaitRetired,
    /// The incumbent's `Resumed`.
    AwaitResumed,
    /// The successor's end, and what then.
    AwaitSuccessorEnd(Then),
    /// The end of a silent incumbent; then the successor begins.
    AwaitIncumbentEnd,
    /// The journal's last note.
    AwaitNoted(HandoffVerdict),
    /// Nothing more.
    Done,
}

/// The fate of a successor that is being started: it must be there before it can be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SpawnFate {
    /// Is to succeed the incumbent.
    Wanted,
    /// The handoff was called off, or its time is over.
    CalledOff,
    /// The incumbent is in another supervisor's handoff.
    TooLate,
}

/// The course after the successor's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Then {
    /// The incumbent is told to resume.
    Resume,
    /// Is over.
    Finish(HandoffVerdict),
}

/// The facts that are known of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Party {
    /// `true` if there is, or may be, such a process.
    lives: bool,
    id: Option<ProcessId>,
    /// The `Hello` that it has said and that could not be answered yet.
    early: Option<Hello>,
    /// `true` if it has said `Hello` on a link that is still open.
    greeted: bool,
    /// `true` if it has said that it can't, or gave reason to think so; or it is not wanted any more.
    failed: bool,
    /// The last message that was sent to the peer, for the heartbeats.
    last: Option<Message>,
}

/// The supervisor's machine: one handoff, or one cold start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SupervisorMachine {
    config: Limits,
    state: State,
    handoff_id: HandoffId,
    incumbent: Party,
    successor: Party,
    /// `true` if `UnderWay` is in the journal, or can't be written.
    journalled: bool,
    /// `true` if the successor may hold the lock: it was told to take it, or can't be told not to.
    may_hold_lock: bool,
    /// `true` if the incumbent, told to retire, goes on saying that it serves.
    incumbent_serves: bool,
    /// The state that the incumbent sealed.
    sealed: Option<Sealed>,
    reason: Option<Reason>,
    open_conns_remaining: u32,
    incumbent_ended_early: bool,
    journal_error: Option<HostError>,
    timers: Timers,
}

impl SupervisorMachine {
    /// A supervisor that has not begun.
    pub fn new(config: Limits) -> Self {
        SupervisorMachine {
            config,
            state: State::Start,
            handoff_id: HandoffId([0; 16]),
            incumbent: Party::default(),
            successor: Party::default(),
            journalled: false,
            may_hold_lock: false,
            incumbent_serves: false,
            sealed: None,
            reason: None,
            open_conns_remaining: 0,
            incumbent_ended_early: false,
            journal_error: None,
            timers: Timers::default(),
        }
    }

    /// The incumbent, once it has introduced itself.
    pub fn incumbent(&self) -> Option<ProcessId> {
        self.incumbent.id
    }

    /// Returns why it will not be committed, or what has gone wrong so far; the first reason stands.
    pub fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// Returns whether the handoff is over.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn party(&mut self, peer: Peer) -> &mut Party {
        match peer {
            Peer::Incumbent => &mut self.incumbent,
            Peer::Successor => &mut self.successor,
        }
    }

    /// Says `message` to `peer`, if there is a link; heartbeats repeat it until something else is said.
    fn say(&mut self, peer: Peer, message: Message, out: &mut Out<'_, Self>) {
        let party = self.party(peer);
        if party.greeted {
            party.last = Some(message.clone());
            out.push(Effect::Send(peer, message));
        }
    }

    /// Notes why this won't be committed; the first reason stands.
    fn blame(&mut self, why: Reason) {
        self.reason.get_or_insert(why);
    }

    /// Returns whether the successor could take over if it were told to.
    fn successor_usable(&self) -> bool {
        self.successor.lives && self.successor.greeted && !self.successor.failed
    }
}

impl Machine for SupervisorMachine {
    type Event = Event;
    type Effect = Effect;
    type Awaited = Awaited;

    const ROLE: MachineRole = MachineRole::Supervisor;

    fn handle(&mut self, now: Time, event: Event, out: Out<'_, Self>) {
        match event {
            _ if self.is_done() => {}
            Event::Start { .. } if self.state != State::Start => {}
            Event::Start { handoff_id, replace } => self.start(now, handoff_id, replace, out),
            Event::ConnectFailed(why) => self.connect_failed(now, why, out),
            Event::Frame(peer, message) => self.heard(now, peer, message, out),
            Event::Unfit(why) => self.unfit(now, why, out),
            Event::Closed(peer, why) => self.closed(now, peer, why, out),
            Event::Ended(peer, how) => self.ended(now, peer, how, out),
            Event::Spawned(result) => self.spawned(now, result, out),
            Event::Persisted(note, result) => self.persisted(now, note, result, out),
            Event::Timer(timer) => self.expired(now, timer, out),
            Event::Cancel(why) => self.cancel(now, why, out),
        }
    }

    fn event_name(event: &Event) -> EventName {
        names::of_event(event)
    }

    fn effect_name(effect: &Effect) -> EffectName {
        names::of_effect(effect)
    }

    fn awaited_name(awaited: &Awaited) -> EffectName {
        names::of_awaited(awaited)
    }

    fn timers(&self) -> &Timers {
        &self.timers
    }

    fn state(&self) -> StateName {
        match self.state {
            State::Start => StateName::Start,
            State::AwaitIncumbent => StateName::AwaitIncumbent,
            State::AwaitSpawn(_) => StateName::AwaitSpawn,
            State::AwaitWarmed => StateName::AwaitWarmed,
            State::AwaitDrained => StateName::AwaitDrained,
            State::AwaitSealed => StateName::AwaitSealed,
            State::AwaitReady => StateName::AwaitReady,
            State::AwaitServing => StateName::AwaitServing,
            State::AwaitCommitted => StateName::AwaitCommitted,
            State::AwaitRetired => StateName::AwaitRetired,
            State::AwaitResumed => StateName::AwaitResumed,
            State::AwaitSuccessorEnd(Then::Resume) => StateName::AwaitSuccessorEndToResume,
            State::AwaitSuccessorEnd(Then::Finish(_)) => StateName::AwaitSuccessorEnd,
            State::AwaitIncumbentEnd => StateName::AwaitIncumbentEnd,
            State::AwaitNoted(_) => StateName::AwaitNoted,
            State::Done => StateName::Done,
        }
    }
}
