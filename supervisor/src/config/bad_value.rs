//! The reasons why a value of the configuration is not what its key wants.
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use handoff::unix::trusted::Distrust;
use thiserror::Error;

use crate::fields::Mistyped;

/// The reason why a value is not what its key wants.
#[derive(Debug, Error)]
pub(super) enum BadValue {
    #[error(transparent)]
    Mistyped(#[from] Mistyped),
    #[error("must be a number of seconds from {least} to {most}, not {found}")]
    Seconds { least: f64, most: f64, found: f64 },
    #[error("must be a path, not empty")]
    NoPath,
    #[error("{} has {len} bytes; a socket's path has at most {most}", path.display())]
    LongPath { path: PathBuf, len: usize, most: usize },
    #[error("there is no directory {0}: mkdir -p {0}", directory.display())]
    NoDirectory { directory: PathBuf },
    #[error("{} is not the path of a socket", .0.display())]
    NoSocketPath(PathBuf),
    #[error(
        "{0:?} is not an address; allowed: \"127.0.0.1:6379\", \"[::]:80\", \"unix:/path\", \"unix:@name\""
    )]
    NoAddress(String),
    #[error(
        "{0} is not a loopback address, and every peer that reaches it would be answered: give 127.0.0.1 or [::1] as in \
         \"127.0.0.1:9180\", or \"unix:/path\", and let a proxy let others in"
    )]
    NotLoopback(SocketAddr),
    #[error("{0} has no port that a client could know: give one, as in \"127.0.0.1:9180\"")]
    NoPort(SocketAddr),
    #[error("abstract Unix sockets (unix:@name) are Linux's: give a path")]
    OnlyLinux,
    #[error("the name after unix:@ must have 1 to {most} bytes")]
    AbstractName { most: usize },
    #[error("must be \"user\", \"user:group\" or \":group\", not empty")]
    NoOwner,
    /// The system knows no such user or group.
    #[error(transparent)]
    NoUser(#[from] handoff::Error),
    #[error("{0:?} must be 1 to 255 printable ASCII characters without space and colon")]
    ListenerName(String),
    #[error("{0:?} is not the name of an environment variable")]
    VariableName(String),
    #[error("is the supervisor's own: names must not begin with LISTEN_ or HANDOFF_")]
    OwnVariable,
    #[error(
        "{0} is what systemd gives the supervisor for itself: it is never passed on; set it in [env] if the daemon needs a \
         value of its own"
    )]
    NeverPassed(String),
}

/// The reason why a file is not one that this process may execute.
#[derive(Debug, Error)]
pub enum NotExecutable {
    /// Another user could have put something else in its place.
    #[error("{0}")]
    Distrusted(Distrust),
    /// The path can't be looked at.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The reason why not.
        error: io::Error,
    },
    /// The user has no right to.
    #[error("{}: not executable by this user", .0.display())]
    Refused(PathBuf),
}
