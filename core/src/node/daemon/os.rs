//! The things that a daemon's node asks of its operating system, and what comes from there.
use alloc::vec::Vec;

use super::{Done, Event, Hook};
use crate::{
    error::HostError,
    host::{Clock, Gaps, Sockets, Storage},
    machine::{ExitReason, LinkId, Op},
    message::{Message, SealProgress},
    node::{Credentials, Read},
};

/// The state of a daemon in its own words, for a status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StateSnapshot {
    /// The number of shards.
    pub shard_count: u32,
    /// The number of open connections.
    pub open_conns: u32,
    /// The last revision of each shard.
    pub last_revision_per_shard: Vec<u64>,
}

impl StateSnapshot {
    /// Of a daemon with so many open connections, and shards whose last revisions are these; empty, if it counts none.
    pub fn new(open_conns: u32, last_revision_per_shard: Vec<u64>) -> StateSnapshot {
        let shard_count = u32::try_from(last_revision_per_shard.len()).unwrap_or(u32::MAX);
        StateSnapshot { shard_count, open_conns, last_revision_per_shard }
    }
}

/// The report of the hooks' side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookReport {
    /// A hook has returned, or panicked.
    Done(Op, Result<Done, HostError>),
    /// The progress of a seal.
    Progress(SealProgress),
    /// The state that a status is to show.
    Snapshot(StateSnapshot),
}

/// The outcome of an attempt to accept a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// A connection, and the process at its other end.
    Link(LinkId, Credentials),
    /// No connection waits.
    Nobody,
    /// Descriptors or memory are exhausted: the connection still waits.
    Failed,
}

/// The operating system as a daemon's node needs it.
pub trait Os: Clock + Gaps + Storage + Sockets {
    /// Reads what has come over a link. After [`Read::Closed`] the link is gone.
    fn read(&mut self, link: LinkId) -> Read;

    /// Sends a message: buffered, not received.
    fn send(&mut self, link: LinkId, message: &Message);

    /// Closes a link, after what was sent.
    fn close(&mut self, link: LinkId);

    /// Accepts a connection to the control socket, without waiting for it.
    fn accept(&mut self) -> Accepted;

    /// The effective user of this process.
    fn uid(&self) -> u32;

    /// An answer of the storage that was put off, once it has come.
    fn answer(&mut self) -> Option<Event>;

    /// Returns what the hooks' side has said next.
    fn reply(&mut self) -> Option<HookReport>;

    /// Runs `hook` beside the machine; what it reports comes as a [`HookReport`] that carries `op`, unless that is
    /// [`Op::UNAWAITED`].
    fn start_hook(&mut self, op: Op, hook: Hook);

    /// Asks the hooks' side for what a status is to show; it comes as a [`HookReport`].
    fn take_snapshot(&mut self);

    /// Returns whether the process was asked to stop.
    fn stop_asked(&self) -> bool;

    /// Leaves.
    fn exit(&mut self, exit: ExitReason);
}
