//! Names of what a recovery is told and what it asks for.
use super::{Awaited, Effect, Event};
use crate::machine::EventName;
use crate::machine::names::{name, result};

pub(super) fn of_event(event: &Event) -> EventName {
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

pub(super) fn of_effect(effect: &Effect) -> &'static str {
    match effect {
        Effect::Connect(_) => "Connect",
        Effect::Send(_, message) => message.name(),
        Effect::Kill(_) => "Kill",
    }
}

pub(super) fn of_awaited(awaited: &Awaited) -> &'static str {
    match awaited {
        Awaited::Look(_) => "Look",
        Awaited::Note(_) => "Note",
        Awaited::Finish(_) => "Finish",
    }
}
