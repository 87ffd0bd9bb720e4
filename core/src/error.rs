//! Errors, by whose fault they are.
use alloc::string::String;
use core::fmt;

/// What can go wrong in a call of this library. `Debug` is the same text as `Display`: a `main` that returns it prints it
/// for people.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer broke the protocol, went silent, or can't be reached.
    #[error("{0}")]
    Peer(String),
    /// The caller's argument, configuration or order of calls.
    #[error("{0}")]
    Caller(String),
    /// The system refused.
    #[cfg(feature = "unix")]
    #[error("{context}: {source}")]
    System {
        /// What was tried, on what, and what helps.
        context: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file or a directory can't be trusted: another user could have put it there, or can change it. The text names
    /// the command that helps.
    #[cfg(feature = "unix")]
    #[error(transparent)]
    Untrusted(#[from] crate::unix::trusted::Distrust),
    /// A hook of the daemon failed.
    #[error("{0}")]
    Hook(String),
    /// Another handoff is under way; nothing was touched. Try again when it is over.
    #[error("another handoff is under way; try again when it is over")]
    Busy,
    /// The caller cancelled before anything was touched.
    #[error("cancelled before anything was touched")]
    Cancelled,
    /// Another process holds what only one can have.
    #[error("{0}")]
    Locked(String),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The result of a call of this library.
pub type Result<T> = core::result::Result<T, Error>;
