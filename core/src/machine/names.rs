//! Names of events and effects: for the table of states and events, for crash points, for traces.
use core::fmt;

use super::{Awaited, DaemonEffect, DaemonEvent, LockAnswer, Timer, recovery, supervisor};

/// An event's name: whose or what it is, and what of it matters. Not which process, link or operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName {
    /// Whose or what it is, such as `incumbent` or `timer`.
    pub of: &'static str,
    /// What of it, such as `Drained` or `Deadline`; empty if there is only one.
    pub what: &'static str,
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            "" => f.write_str(self.of),
            what => write!(f, "{} {what}", self.of),
        }
    }
}

/// A cell of a machine's table: a state, and an event in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// The role.
    pub role: &'static str,
    /// The state, after what it awaits.
    pub state: &'static str,
    /// The event.
    pub event: EventName,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}: {}", self.role, self.state, self.event)
    }
}

const fn name(of: &'static str, what: &'static str) -> EventName {
    EventName { of, what }
}

fn result<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { "ok" } else { "error" }
}

impl Timer {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Timer::Heartbeat => "Heartbeat",
            Timer::SupervisorSilent => "SupervisorSilent",
            Timer::IncumbentSilent => "IncumbentSilent",
            Timer::SuccessorSilent => "SuccessorSilent",
            Timer::Deadline => "Deadline",
            Timer::Retry => "Retry",
            Timer::HookLimit => "HookLimit",
            Timer::Patience => "Patience",
        }
    }
}

pub(super) fn of_supervisor(event: &supervisor::Event) -> EventName {
    use supervisor::{Event, Note, Peer};
    let whose = |peer: Peer| match peer {
        Peer::Incumbent => "incumbent",
        Peer::Successor => "successor",
    };
    match event {
        Event::Start { replace: true, .. } => name("start", "to replace"),
        Event::Start { replace: false, .. } => name("start", "cold"),
        Event::ConnectFailed(_) => name("connect", "failed"),
        Event::Frame(peer, message) => name(whose(*peer), message.name()),
        Event::Closed(peer, _) => name(whose(*peer), "closed"),
        Event::Ended(peer, _) => name(whose(*peer), "ended"),
        Event::Spawned(spawned) => name("spawned", result(spawned)),
        Event::Persisted(Note::UnderWay, written) => name("journal UnderWay", result(written)),
        Event::Persisted(Note::Committed, written) => name("journal Committed", result(written)),
        Event::Persisted(Note::Over(_), written) => name("journal Over", result(written)),
        Event::Timer(timer) => name("timer", timer.name()),
        Event::Cancel => name("cancel", ""),
    }
}

pub(super) fn of_recovery(event: &recovery::Event) -> EventName {
    use recovery::Event;
    match event {
        Event::Start => name("start", ""),
        Event::Looked(seen) => name("looked", if seen.is_empty() { "nobody" } else { "somebody" }),
        Event::Frame(_, message) => name("daemon", message.name()),
        Event::Closed(_) => name("daemon", "closed"),
        Event::Ended(_) => name("daemon", "ended"),
        Event::Noted(_, written) => name("journal", result(written)),
        Event::Timer(timer) => name("timer", timer.name()),
        Event::Cancel => name("cancel", ""),
    }
}

pub(super) fn of_daemon<D>(event: &DaemonEvent<D>) -> EventName {
    match event {
        DaemonEvent::Start => name("start", ""),
        DaemonEvent::Connected(_) => name("connected", ""),
        DaemonEvent::Frame(_, message) => name("supervisor", message.name()),
        DaemonEvent::Closed(_) => name("supervisor", "closed"),
        DaemonEvent::HookDone(_, done) => name("hook", result(done)),
        DaemonEvent::Locked(_, LockAnswer::Held { .. }) => name("lock", "held"),
        DaemonEvent::Locked(_, LockAnswer::Busy { .. }) => name("lock", "busy"),
        DaemonEvent::Locked(_, LockAnswer::Error(_)) => name("lock", "error"),
        DaemonEvent::Recorded(_, written) => name("record", result(written)),
        DaemonEvent::PathTaken(_, taken) => name("path", result(taken)),
        DaemonEvent::Timer(timer) => name("timer", timer.name()),
        DaemonEvent::Stop => name("stop", ""),
    }
}

pub(super) fn of_supervisor_effect(effect: &supervisor::Effect) -> &'static str {
    use supervisor::{Effect, Peer};
    match effect {
        Effect::Connect => "Connect",
        Effect::Send(_, message) => message.name(),
        Effect::Close(_) => "Close",
        Effect::Kill(Peer::Incumbent) => "KillIncumbent",
        Effect::Kill(Peer::Successor) => "KillSuccessor",
    }
}

pub(super) fn of_supervisor_awaited(awaited: &supervisor::Awaited) -> &'static str {
    use supervisor::{Awaited, Note};
    match awaited {
        Awaited::Spawn => "Spawn",
        Awaited::Persist(Note::UnderWay) => "PersistUnderWay",
        Awaited::Persist(Note::Committed) => "PersistCommitted",
        Awaited::Persist(Note::Over(_)) => "PersistOver",
        Awaited::Finish(_) => "Finish",
    }
}

pub(super) fn of_recovery_effect(effect: &recovery::Effect) -> &'static str {
    use recovery::Effect;
    match effect {
        Effect::Connect(_) => "Connect",
        Effect::Send(_, message) => message.name(),
        Effect::Kill(_) => "Kill",
    }
}

pub(super) fn of_recovery_awaited(awaited: &recovery::Awaited) -> &'static str {
    use recovery::Awaited;
    match awaited {
        Awaited::Look(_) => "Look",
        Awaited::Note(_) => "Note",
        Awaited::Finish(_) => "Finish",
    }
}

pub(super) fn of_daemon_effect<H>(
    effect: &DaemonEffect<H>,
    hook: impl Fn(&H) -> &'static str,
) -> &'static str {
    match effect {
        DaemonEffect::Send(_, message) => message.name(),
        DaemonEffect::Close(_) => "Close",
        DaemonEffect::StartHook(_, started) => hook(started),
        DaemonEffect::Unlock => "Unlock",
        DaemonEffect::SendListeners(_) => "SendListeners",
    }
}

pub(super) fn of_daemon_awaited(awaited: &Awaited) -> &'static str {
    match awaited {
        Awaited::Lock(_) => "Lock",
        Awaited::WriteRecord(..) => "WriteRecord",
        Awaited::TakePath(_) => "TakePath",
        Awaited::Exit(_) => "Exit",
    }
}
