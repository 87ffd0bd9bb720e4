//! Names of what a daemon is told and what it asks for, in either role.
use super::{Awaited, DaemonEffect, DaemonEvent, LockAnswer};
use crate::machine::{EffectName, EventName, Speaker, TaskName};

pub(in crate::machine) fn of_event<D>(event: &DaemonEvent<D>) -> EventName {
    match event {
        DaemonEvent::Start => EventName::Start,
        DaemonEvent::Connected(_) => EventName::Connected,
        DaemonEvent::Frame(_, message) => EventName::Message(Speaker::Supervisor, message.name()),
        DaemonEvent::Closed(_) => EventName::Closed(Speaker::Supervisor),
        DaemonEvent::HookDone(_, done) => EventName::answered(TaskName::Hook, done),
        DaemonEvent::Locked(_, LockAnswer::Held { .. }) => EventName::LockHeld,
        DaemonEvent::Locked(_, LockAnswer::Busy { .. }) => EventName::LockBusy,
        DaemonEvent::Locked(_, LockAnswer::Error(_)) => EventName::LockFailed,
        DaemonEvent::Recorded(_, written) => EventName::answered(TaskName::Record, written),
        DaemonEvent::PathTaken(_, taken) => EventName::answered(TaskName::Path, taken),
        DaemonEvent::Timer(timer) => EventName::Timer(*timer),
        DaemonEvent::Stop => EventName::Stop,
    }
}

pub(in crate::machine) fn of_effect<H>(
    effect: &DaemonEffect<H>,
    hook: impl Fn(&H) -> EffectName,
) -> EffectName {
    match effect {
        DaemonEffect::Send(_, message) => EffectName::Send(message.name()),
        DaemonEffect::Close(_) => EffectName::Close,
        DaemonEffect::StartHook(_, started) => hook(started),
        DaemonEffect::Unlock => EffectName::Unlock,
        DaemonEffect::SendListeners(_) => EffectName::SendListeners,
    }
}

pub(in crate::machine) fn of_awaited(awaited: &Awaited) -> EffectName {
    match awaited {
        Awaited::Lock(_) => EffectName::Lock,
        Awaited::WriteRecord(..) => EffectName::WriteRecord,
        Awaited::TakePath(_) => EffectName::TakePath,
        Awaited::Exit(_) => EffectName::Exit,
    }
}
