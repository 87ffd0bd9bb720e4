//! A supervisor that comes anew, or has lost track: which process serves, and what is to become of the others.
//!
//! The recovery asks and waits, because daemons without a supervisor come to an end by themselves: the process that gets the lock under
//! the rule of the record serves, the others leave. It ends only what is in the way: a stray that the journal
//! names, once another serves; and one that may hold the lock and says nothing past a bound. It never tries the lock.
//!
//! `mod.rs` holds the state and the event's way in, `steps.rs` what follows from what is known.
use alloc::{collections::BTreeMap, vec::Vec};

use super::{EffectName, EventName, Machine, MachineRole, Out, StateName, Timer, Timers};
use crate::{
    error::HostError,
    id::ProcessId,
    message::{AwaitsFinal, Message, Standing},
    time::{Duration, Time},
};

mod names;
mod steps;

/// The longest times that things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The time for which the word of a process that serves holds. Every process is asked again after a small
    /// part of it.
    pub liveness: Duration,
    /// A process that may hold the lock is killed when it has said nothing for so long, and nobody serves. At most
    /// twice as long if it went silent later than another.
    pub unreachable_limit: Duration,
    /// A predecessor of the one that serves is killed when it has not left after so long.
    pub retire_limit: Duration,
    /// The longest time that all of it may take, while nobody serves; at least three times
    /// `unreachable_limit`, so that a process in the way does not outlast it.
    pub deadline: Duration,
    /// `true` if the listening sockets are wanted from a daemon that answers.
    pub take_listeners: bool,
}

impl Limits {
    fn whole(&self) -> Duration {
        self.deadline.max(3 * self.unreachable_limit)
    }

    /// The time between two questions.
    fn pause(&self) -> Duration {
        self.liveness / 50
    }
}

/// The reason why a process may be a daemon of this control path, and whether it may be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sight {
    /// A socket lies beside the control path, or the one that serves says that it succeeded it. It may be another
    /// supervisor's business.
    Beside,
    /// Listens at the control path, or record and kernel say that it holds the lock. It may be ended once it has spoken:
    /// nothing else says that it is a daemon of this control path.
    InPlace,
    /// The journal names it: it was started here, or has spoken to an earlier supervisor.
    Incumbent,
    /// The journal names it as the successor in a handoff that has no end.
    Successor,
}

/// A process that may be a daemon of this control path, and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sighting {
    /// The process.
    pub process: ProcessId,
    /// The sight that makes the process one.
    pub sight: Sight,
    /// `true` if the process holds the lock of the data directory, or still listens, and its control socket
    /// was removed: it may serve, and can't be asked.
    pub is_swept: bool,
}

/// The events of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Begin.
    Start,
    /// Processes were looked for, and these were found. Those that are known already may be among them or not.
    Looked(Vec<Sighting>),
    /// A message came.
    Frame(ProcessId, Message),
    /// The link has closed, or there is none.
    Closed(ProcessId),
    /// A process has ended.
    Ended(ProcessId),
    /// The journal was written, or could not be.
    Noted(RecoveryVerdict, Result<(), HostError>),
    /// A timer has expired.
    Timer(Timer),
    /// The caller wants it to end. Nothing was disturbed.
    Cancel,
}

/// The effects that a recovery asks for without waiting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Connect to a process's own control socket.
    Connect(ProcessId),
    /// Send a message. Buffered, not received.
    Send(ProcessId, Message),
    /// Kill a process, and what it has forked. Its end comes as an event.
    Kill(ProcessId),
}

/// The effects that a recovery asks for and waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Awaited {
    /// Look for processes that may be daemons, and for this one.
    Look(Option<ProcessId>),
    /// Write into the journal which process serves, and that nothing is under way.
    Note(RecoveryVerdict),
    /// End the recovery. No result ever comes.
    Finish(Outcome),
}

/// The finding of a recovery in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecoveryVerdict {
    /// The process that serves, as it said itself; no stray is left, and it knows that its predecessor has
    /// ended, unless that is among [`Outcome::left`].
    Serves(ProcessId),
    /// Every process that could serve has ended: a cold start is due.
    NobodyServes,
    /// The time is over: a process lives, but none has said that it serves.
    Unconfirmed,
    /// The caller called it off.
    Cancelled,
}

impl RecoveryVerdict {
    /// Returns whether it is known which process serves, if one does. If not, another recovery follows.
    pub fn is_clear(self) -> bool {
        match self {
            RecoveryVerdict::Serves(_) | RecoveryVerdict::NobodyServes => true,
            RecoveryVerdict::Unconfirmed | RecoveryVerdict::Cancelled => false,
        }
    }

    /// The process that serves, if one was found.
    pub fn serves(self) -> Option<ProcessId> {
        match self {
            RecoveryVerdict::Serves(process) => Some(process),
            RecoveryVerdict::NobodyServes | RecoveryVerdict::Unconfirmed | RecoveryVerdict::Cancelled => None,
        }
    }
}

/// The end of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// The finding.
    pub verdict: RecoveryVerdict,
    /// Strays, and processes past a bound.
    pub killed: Vec<ProcessId>,
    /// Other processes that may be daemons of this control path, and were still there.
    pub left: Vec<ProcessId>,
    /// The journal could not be written, or does not say what the one that serves was started from. It was not told
    /// then that its predecessor has ended.
    pub journal_error: Option<HostError>,
}

/// The states of a recovery, each named for what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Nothing has begun.
    Start,
    /// To see which processes are there.
    AwaitLook,
    /// Answers, ends, the next question.
    AwaitAnswers,
    /// The journal.
    AwaitNoted(RecoveryVerdict),
    /// Nothing more.
    Done,
}

/// The part of a process in the recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// Is in no other's way.
    Free,
    /// Is in the way, for less than the limit that runs.
    InTheWay,
    /// Has been in the way since that limit began: at its end it is overdue.
    Overdue,
    /// Was killed, and has not ended.
    Killed,
    /// Says nothing, and is not this supervisor's to end.
    Ignored,
}

/// The facts that are known of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Party {
    sight: Sight,
    /// `true` if its control socket was found removed when it was looked for last.
    is_swept: bool,
    part: Part,
    /// `true` if there is, or may be, a link.
    linked: bool,
    /// `true` if it was asked, and has not answered.
    asked: bool,
    /// `true` if the process has answered at least once.
    spoke: bool,
    /// Its last answer.
    standing: Option<Standing>,
    awaits_final: Option<AwaitsFinal>,
}

/// The machine of a supervisor that recovers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecoveryMachine {
    config: Limits,
    state: State,
    parties: BTreeMap<ProcessId, Party>,
    /// The one that serves.
    heir: Option<ProcessId>,
    /// Looked for, and not there: it has ended.
    missing: Option<ProcessId>,
    /// Have ended while it looked: what is seen may be older.
    ended: Vec<ProcessId>,
    /// The journal says so.
    noted: Option<RecoveryVerdict>,
    /// `true` if the deadline has passed.
    late: bool,
    has_listeners: bool,
    killed: Vec<ProcessId>,
    journal_error: Option<HostError>,
    timers: Timers,
}

impl RecoveryMachine {
    /// A recovery that has not begun.
    pub fn new(config: Limits) -> Self {
        RecoveryMachine {
            config,
            state: State::Start,
            parties: BTreeMap::new(),
            heir: None,
            missing: None,
            ended: Vec::new(),
            noted: None,
            late: false,
            has_listeners: !config.take_listeners,
            killed: Vec::new(),
            journal_error: None,
            timers: Timers::default(),
        }
    }

    /// Returns whether it is over.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }
}

impl Machine for RecoveryMachine {
    type Event = Event;
    type Effect = Effect;
    type Awaited = Awaited;

    const ROLE: MachineRole = MachineRole::Recovery;

    fn handle(&mut self, now: Time, event: Event, out: Out<'_, Self>) {
        match event {
            _ if self.is_done() => {}
            Event::Start if self.state != State::Start => {}
            Event::Start => self.look(out),
            Event::Looked(sightings) => self.looked(now, sightings, out),
            Event::Frame(process, message) => self.heard(now, process, message, out),
            Event::Closed(process) => self.closed(process),
            Event::Ended(process) => self.ended(process, out),
            Event::Noted(verdict, result) => self.noted(now, verdict, result, out),
            Event::Timer(timer) => self.expired(now, timer, out),
            Event::Cancel => self.report(RecoveryVerdict::Cancelled, out),
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
            State::AwaitLook => StateName::AwaitLook,
            State::AwaitAnswers if self.heir.is_some() => StateName::AwaitOthers,
            State::AwaitAnswers => StateName::AwaitServing,
            State::AwaitNoted(_) => StateName::AwaitNoted,
            State::Done => StateName::Done,
        }
    }
}
