//! The processes that a supervisor talks to in a handoff.
use super::Timer;
use crate::message::Role;

/// A process that the supervisor talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// The process that serves.
    Incumbent,
    /// The process that is to serve.
    Successor,
}

impl Peer {
    /// The peer's role in the handoff.
    pub fn role(self) -> Role {
        match self {
            Peer::Incumbent => Role::Incumbent,
            Peer::Successor => Role::Successor,
        }
    }

    /// The timer of its silence.
    pub(super) fn silent(self) -> Timer {
        match self {
            Peer::Incumbent => Timer::IncumbentSilent,
            Peer::Successor => Timer::SuccessorSilent,
        }
    }
}
