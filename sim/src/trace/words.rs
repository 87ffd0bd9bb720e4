//! The words for events, one each.
use handoff::HostError;
use handoff::machine::LockAnswer;
use handoff::message::Message;
use handoff::node::daemon::Event;

/// Returns what has happened to a daemon, in a word.
pub(crate) fn daemon_event_name(event: &Event) -> String {
    match event {
        Event::Start => "starts".into(),
        Event::Connected(_) => "is connected to".into(),
        Event::Frame(_, message) => message_name(message),
        Event::Closed(_) => "link closed".into(),
        Event::HookDone(_, Ok(_)) => "hook returned".into(),
        Event::HookDone(_, Err(_)) => "hook failed".into(),
        Event::Locked(_, answer) => format!("lock: {}", lock_answer(answer)),
        Event::Recorded(_, result) => format!("record {}", written(result)),
        Event::PathTaken(_, result) => format!("path {}", written(result)),
        Event::Timer(timer) => format!("timer {timer:?}"),
        Event::Stop => "SIGTERM".into(),
    }
}

/// A message's name; a heartbeat's with what it repeats.
pub(crate) fn message_name(message: &Message) -> String {
    match message {
        Message::Heartbeat { repeats: Some(repeats), .. } => format!("Heartbeat({})", repeats.name()),
        message => message.name().to_string(),
    }
}

/// Returns what came of it.
pub(crate) fn lock_answer(answer: &LockAnswer) -> &'static str {
    match answer {
        LockAnswer::Held { .. } => "held",
        LockAnswer::Busy { .. } => "busy",
        LockAnswer::Error(_) => "error",
    }
}

/// Returns what a recovery hears of its note. It was written, and is enough for `Final`.
pub(crate) fn noted(result: &Result<(), HostError>) -> &'static str {
    if result.is_ok() { "written" } else { "not written, or not enough" }
}

/// Returns what came of it.
pub(crate) fn written(result: &Result<(), HostError>) -> &'static str {
    if result.is_ok() { "written" } else { "not written" }
}
