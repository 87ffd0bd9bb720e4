//! Names of what a supervisor is told and what it asks for.
use super::{Awaited, Effect, Event, Note, Peer};
use crate::machine::EventName;
use crate::machine::names::{name, result};

pub(super) fn of_event(event: &Event) -> EventName {
    let whose = |peer: Peer| match peer {
        Peer::Incumbent => "incumbent",
        Peer::Successor => "successor",
    };
    match event {
        Event::Start { replace: true, .. } => name("start", "to replace"),
        Event::Start { replace: false, .. } => name("start", "cold"),
        Event::ConnectFailed(_) => name("connect", "failed"),
        Event::Frame(peer, message) => name(whose(*peer), message.name()),
        Event::Unfit(_) => name("successor", "unfit"),
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

pub(super) fn of_effect(effect: &Effect) -> &'static str {
    match effect {
        Effect::Connect => "Connect",
        Effect::Send(_, message) => message.name(),
        Effect::Close(_) => "Close",
        Effect::Kill(Peer::Incumbent) => "KillIncumbent",
        Effect::Kill(Peer::Successor) => "KillSuccessor",
    }
}

pub(super) fn of_awaited(awaited: &Awaited) -> &'static str {
    match awaited {
        Awaited::Spawn => "Spawn",
        Awaited::Persist(Note::UnderWay) => "PersistUnderWay",
        Awaited::Persist(Note::Committed) => "PersistCommitted",
        Awaited::Persist(Note::Over(_)) => "PersistOver",
        Awaited::Finish(_) => "Finish",
    }
}
