//! Names of what a recovery is told and what it asks for.
use super::{Awaited, Effect, Event};
use crate::machine::{EffectName, EventName, Speaker, TaskName};

pub(super) fn of_event(event: &Event) -> EventName {
    match event {
        Event::Start => EventName::Start,
        Event::Looked(seen) if seen.is_empty() => EventName::NobodySeen,
        Event::Looked(_) => EventName::SomebodySeen,
        Event::Frame(_, message) => EventName::Message(Speaker::Daemon, message.name()),
        Event::Closed(_) => EventName::Closed(Speaker::Daemon),
        Event::Ended(_) => EventName::Ended(Speaker::Daemon),
        Event::Noted(_, written) => EventName::answered(TaskName::Journal, written),
        Event::Timer(timer) => EventName::Timer(*timer),
        Event::Cancel => EventName::Cancel,
    }
}

pub(super) fn of_effect(effect: &Effect) -> EffectName {
    match effect {
        Effect::Connect(_) => EffectName::Connect,
        Effect::Send(_, message) => EffectName::Send(message.name()),
        Effect::Kill(_) => EffectName::Kill,
    }
}

pub(super) fn of_awaited(awaited: &Awaited) -> EffectName {
    match awaited {
        Awaited::Look(_) => EffectName::Look,
        Awaited::Note(_) => EffectName::Note,
        Awaited::Finish(_) => EffectName::Finish,
    }
}
