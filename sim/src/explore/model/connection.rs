//! A client's connection, as the kernel has it, and what it costs to go on with it.
use std::collections::BTreeSet;

use handoff::carry::ConnectionState;

/// A client's connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientConnection {
    /// The processes that have its descriptor.
    pub holders: BTreeSet<u32>,
    /// Those that read it.
    pub readers: BTreeSet<u32>,
    /// The state that a process needs that goes on with it.
    pub state: ConnectionState,
    /// The process that has read it last.
    pub last_reader: u32,
    /// `true` if another process that has it has written down since that it serves.
    pub served_by_another: bool,
    /// `true` if a process that has read it, or has written down that it serves, has died with it.
    pub has_died: bool,

    /// `true` if its client has left.
    pub is_left: bool,
}

/// The reason why a process lets go of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetsGo {
    /// The process was a successor, and serves.
    Serves,
    /// The process has found nonsense in the link.
    GivesUp,
    /// The process has ended because another process serves.
    Retires,
    /// The process has died, or ended otherwise.
    Ends,
}
