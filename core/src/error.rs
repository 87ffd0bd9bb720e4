//! Errors, by whose fault they are.
use std::io;
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer broke the protocol, went silent, or refused.
    #[error("peer: {0}")]
    Peer(String),
    /// The caller's argument or order of calls.
    #[error("{0}")]
    Caller(String),
    /// The system.
    #[error("{context}: {source}")]
    System {
        context: String,
        #[source]
        source: io::Error,
    },
    /// Another handoff is under way.
    #[error("another handoff is under way")]
    Busy,
    /// Another process holds the lock.
    #[error("locked")]
    Locked,
}
/// ..
pub type Result<T> = std::result::Result<T, Error>;
