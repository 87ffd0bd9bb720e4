//! The reason why a handoff has no outcome.
use std::fmt;

use crate::error::Error;
use crate::machine::Reason;

/// The reason why a handoff or a cold start has no outcome. A caller that has no use for the reason lets `?` make an [`Error`] of it. `Debug` is
/// the same text as `Display`.
#[non_exhaustive]
pub struct HandoffError {
    /// The error, by whose fault it is.
    pub error: Error,
    /// The reason why the handoff was not begun, if it is another process or a cancel: the daemon can't be reached, broke the protocol,
    /// speaks another version of it, is in another supervisor's handoff. `None` if the caller or the system is to blame.
    pub reason: Option<Reason>,
}

impl HandoffError {
    /// No daemon could be asked, for this reason.
    pub(super) fn unreachable(reason: Option<Reason>) -> HandoffError {
        let why = reason.as_ref().map(Reason::to_string).unwrap_or_default();
        let error = match reason {
            Some(
                Reason::Protocol(..)
                | Reason::Version { .. }
                | Reason::WrongRole { .. }
                | Reason::WrongProcess(_),
            ) => Error::Peer(why),
            _ => Error::Unreachable(why),
        };
        HandoffError { error, reason }
    }
}

impl fmt::Display for HandoffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl fmt::Debug for HandoffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for HandoffError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<Error> for HandoffError {
    fn from(error: Error) -> HandoffError {
        HandoffError { error, reason: None }
    }
}

impl From<HandoffError> for Error {
    fn from(failed: HandoffError) -> Error {
        failed.error
    }
}
