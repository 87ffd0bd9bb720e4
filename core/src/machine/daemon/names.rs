//! Names of what a daemon is told and what it asks for, in either role.
use super::{Awaited, DaemonEffect, DaemonEvent, LockAnswer};
use crate::machine::EventName;
use crate::machine::names::{name, result};

pub(in crate::machine) fn of_event<D>(event: &DaemonEvent<D>) -> EventName {
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

pub(in crate::machine) fn of_effect<H>(
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

pub(in crate::machine) fn of_awaited(awaited: &Awaited) -> &'static str {
    match awaited {
        Awaited::Lock(_) => "Lock",
        Awaited::WriteRecord(..) => "WriteRecord",
        Awaited::TakePath(_) => "TakePath",
        Awaited::Exit(_) => "Exit",
    }
}
