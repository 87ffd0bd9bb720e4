//! Errors, by whose fault they are.
use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt;

use crate::text::PlainText;

/// The errors of the calls of this library. `Debug` is the same text as `Display`: a `main` that returns it
/// prints it for people.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer broke the protocol, or speaks another version of it.
    #[error("{0}")]
    Peer(String),
    /// No daemon that could be asked answers at the control path, or the one there went silent.
    #[error("{0}")]
    Unreachable(String),
    /// The caller's argument, configuration or order of calls.
    #[error("{0}")]
    Caller(String),
    /// The system refused.
    #[cfg(feature = "unix")]
    #[error("{context}: {source}")]
    System {
        /// The attempt, its object, and what helps.
        context: String,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// A file or a directory can't be trusted: another user could have put it there, or can change it. The text names
    /// the command that helps.
    #[cfg(feature = "unix")]
    #[error(transparent)]
    Untrusted(#[from] crate::distrust::Distrust),
    /// A hook of the daemon failed.
    #[error("{0}")]
    Hook(String),
    /// Another handoff is under way; nothing was touched. Try again when it is over.
    #[error("another handoff is under way; try again when it is over")]
    Busy,
    /// The caller cancelled before anything was touched.
    #[error("cancelled before anything was touched")]
    Cancelled,
    /// Another process holds what only one process can have.
    #[error("{0}")]
    Locked(String),
    /// A defect of this library: what was begun has come to no end. Which process serves is not known.
    #[error("a defect of the library: {0}")]
    Defect(&'static str),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The result of a call of this library.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// The party at fault in an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A peer: it broke the protocol, went silent, or can't be reached.
    Peer,
    /// The caller: an argument, the configuration, the order of calls.
    Caller,
    /// The system: it refused.
    System,
    /// A hook of the daemon: it failed or panicked.
    Hook,
}

/// The reason why a host could not do what a machine asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct HostError {
    /// The party at fault.
    pub kind: ErrorKind,
    /// The fault, in words for people.
    pub detail: PlainText,
}

impl HostError {
    /// Makes an error of this kind.
    pub fn new(kind: ErrorKind, detail: impl Into<PlainText>) -> Self {
        HostError { kind, detail: detail.into() }
    }

    /// Makes an error of a peer.
    pub fn peer(detail: impl Into<PlainText>) -> Self {
        HostError::new(ErrorKind::Peer, detail)
    }

    /// Makes an error of the system.
    pub fn system(detail: impl Into<PlainText>) -> Self {
        HostError::new(ErrorKind::System, detail)
    }

    /// Makes an error of a hook.
    pub fn hook(detail: impl Into<PlainText>) -> Self {
        HostError::new(ErrorKind::Hook, detail)
    }
}

impl HostError {
    /// Puts what was tried in front.
    #[must_use]
    pub fn context(self, what: &str) -> Self {
        HostError::new(self.kind, format!("{what}: {}", self.detail))
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.detail, f)
    }
}

impl core::error::Error for HostError {}

impl From<Error> for HostError {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Peer(_) | Error::Unreachable(_) => ErrorKind::Peer,
            Error::Caller(_) | Error::Busy | Error::Cancelled | Error::Locked(_) => ErrorKind::Caller,
            #[cfg(feature = "unix")]
            Error::Untrusted(_) => ErrorKind::Caller,
            #[cfg(feature = "unix")]
            Error::System { .. } => ErrorKind::System,
            Error::Defect(_) => ErrorKind::System,
            Error::Hook(_) => ErrorKind::Hook,
        };
        HostError::new(kind, error.to_string())
    }
}

#[cfg(feature = "unix")]
impl From<std::io::Error> for HostError {
    fn from(error: std::io::Error) -> Self {
        HostError::system(error.to_string())
    }
}
