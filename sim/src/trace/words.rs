//! The words for events, one each.
use handoff::HostError;
use handoff::machine::{LockAnswer, Timer};
use handoff::message::Message;
use handoff::node::daemon::Event;

/// An event in a word.
#[derive(Debug, Default)]
pub(crate) struct EventWords {
    pub text: String,
    /// `true` if the event only repeats what was said, asked or tried before.
    pub repeats: bool,
}

impl EventWords {
    /// A message that has come.
    pub(crate) fn message(message: &Message) -> EventWords {
        EventWords { text: message_name(message), repeats: is_repeated(message) }
    }

    /// A timer that has expired.
    pub(crate) fn timer(timer: Timer) -> EventWords {
        let repeats = matches!(timer, Timer::Heartbeat | Timer::Retry);
        EventWords { text: format!("timer {timer:?}"), repeats }
    }

    /// The same for what was tried before and failed again.
    pub(crate) fn again(self) -> EventWords {
        EventWords { repeats: true, ..self }
    }
}

impl<T: Into<String>> From<T> for EventWords {
    fn from(text: T) -> EventWords {
        EventWords { text: text.into(), repeats: false }
    }
}

/// Returns whether `message` only repeats what was said or asked before.
pub(crate) fn is_repeated(message: &Message) -> bool {
    matches!(message, Message::Heartbeat { .. } | Message::StandingQuery | Message::StandingReport { .. })
}

/// Returns what has happened to a daemon, in a word.
pub(crate) fn daemon_event(event: &Event) -> EventWords {
    match event {
        Event::Start => "starts".into(),
        Event::Connected(_) => "is connected to".into(),
        Event::Frame(_, message) => EventWords::message(message),
        Event::Closed(_) => "link closed".into(),
        Event::HookDone(_, Ok(_)) => "hook returned".into(),
        Event::HookDone(_, Err(_)) => "hook failed".into(),
        Event::Locked(_, answer) => format!("lock: {}", lock_answer(answer)).into(),
        Event::Recorded(_, result) => format!("record {}", written(result)).into(),
        Event::PathTaken(_, result) => format!("path {}", written(result)).into(),
        Event::Timer(timer) => EventWords::timer(*timer),
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
