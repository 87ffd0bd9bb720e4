//! The purpose of a handoff, if it is not merely to replace the incumbent.
use alloc::string::String;

use crate::machine::Reason;
use crate::message::Message;
use crate::text::PlainText;

/// The purpose that a successor is started for. One that does not answer it is let go once it is warm, before
/// the incumbent is told anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Purpose {
    /// The name that the successor must give to its build; `None` if that does not matter.
    pub build_id: Option<PlainText>,
    /// `true` if the successor is only to become warm.
    pub is_trial: bool,
}

/// A purpose, and whether the machine was told that the successor does not answer it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Errand {
    purpose: Purpose,
    told: bool,
}

impl Errand {
    pub(super) fn new(purpose: Purpose) -> Errand {
        Errand { purpose, told: false }
    }

    /// Returns why the successor that says `message`, and calls its build `build`, is let go. Told once.
    pub(super) fn objection(&mut self, message: &Message, build: &[u8]) -> Option<Reason> {
        let message = match message {
            Message::Heartbeat { repeats: Some(repeated), .. } => repeated,
            other => other,
        };
        if self.told || !matches!(message, Message::Warmed { .. }) {
            return None;
        }
        let said = PlainText::from(String::from_utf8_lossy(build).as_ref());
        let why = match &self.purpose.build_id {
            Some(expected) if *expected != said => {
                Some(Reason::OtherBuild { said, expected: expected.clone() })
            }
            _ => self.purpose.is_trial.then_some(Reason::Tried),
        };
        self.told = why.is_some();
        why
    }
}
