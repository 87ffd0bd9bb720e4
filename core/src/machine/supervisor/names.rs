//! Names of what a supervisor is told and what it asks for.
use super::{Awaited, Effect, Event, Note, Peer};
use crate::machine::{EffectName, EventName, Speaker, TaskName};

pub(super) fn of_event(event: &Event) -> EventName {
    match event {
        Event::Start { replace: true, .. } => EventName::StartToReplace,
        Event::Start { replace: false, .. } => EventName::StartCold,
        Event::ConnectFailed(_) => EventName::ConnectFailed,
        Event::Frame(peer, message) => EventName::Message(speaker(*peer), message.name()),
        Event::Unfit(_) => EventName::Unfit,
        Event::Closed(peer, _) => EventName::Closed(speaker(*peer)),
        Event::Ended(peer, _) => EventName::Ended(speaker(*peer)),
        Event::Spawned(spawned) => EventName::answered(TaskName::Spawned, spawned),
        Event::Persisted(Note::UnderWay, written) => EventName::answered(TaskName::JournalUnderWay, written),
        Event::Persisted(Note::Committed, written) => {
            EventName::answered(TaskName::JournalCommitted, written)
        }
        Event::Persisted(Note::Over(_), written) => EventName::answered(TaskName::JournalOver, written),
        Event::Timer(timer) => EventName::Timer(*timer),
        Event::Cancel(_) => EventName::Cancel,
    }
}

fn speaker(peer: Peer) -> Speaker {
    match peer {
        Peer::Incumbent => Speaker::Incumbent,
        Peer::Successor => Speaker::Successor,
    }
}

pub(super) fn of_effect(effect: &Effect) -> EffectName {
    match effect {
        Effect::Connect => EffectName::Connect,
        Effect::Send(_, message) => EffectName::Send(message.name()),
        Effect::Close(_) => EffectName::Close,
        Effect::Kill(Peer::Incumbent) => EffectName::KillIncumbent,
        Effect::Kill(Peer::Successor) => EffectName::KillSuccessor,
    }
}

pub(super) fn of_awaited(awaited: &Awaited) -> EffectName {
    match awaited {
        Awaited::Spawn => EffectName::Spawn,
        Awaited::Persist(Note::UnderWay) => EffectName::PersistUnderWay,
        Awaited::Persist(Note::Committed) => EffectName::PersistCommitted,
        Awaited::Persist(Note::Over(_)) => EffectName::PersistOver,
        Awaited::Finish(_) => EffectName::Finish,
    }
}
