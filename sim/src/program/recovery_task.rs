//! A recovery that a supervisor has under way.
use std::collections::{BTreeMap, BTreeSet};

use handoff::ProcessId;
use handoff::node::recovery as node;

/// A recovery that is under way, as the kernel and the checks see it.
pub(crate) struct RecoveryTask {
    /// `None` while it takes a turn.
    pub node: Option<node::RecoveryNode>,
    /// The processes that it watches and whose end it has not seen, and its links to them.
    pub watched: BTreeMap<ProcessId, Option<u64>>,
    /// The processes that the journal, the record or the control path has named.
    pub named: BTreeSet<u32>,
    /// The processes that the journal has named.
    pub journaled: BTreeSet<u32>,
    /// The processes that have said something to it.
    pub heard: BTreeSet<u32>,
    /// The processes whose answer is still to come.
    pub asked: BTreeSet<u32>,
    /// The processes that it has killed.
    pub killed: BTreeSet<u32>,
    /// `true` if its deadline has passed.
    pub late: bool,
    /// `true` if its write of the journal took its time.
    pub is_slow: bool,
    /// `true` if it was given the listening sockets: what it was given outlives the process that had it.
    pub was_given_listeners: bool,
    /// `true` if the last write of the journal has failed, or says too little.
    pub journal_failed: bool,
    /// The process that was found at the control path last.
    pub owner: Option<u32>,
    /// The process that was to serve in the handoff that had no end before.
    pub interrupted: Option<ProcessId>,
    /// `true` if another supervisor had a handoff under way meanwhile, or has died and not everything that it
    /// said was read: what daemons said may be over by the time it is reported.
    pub beside: bool,
}
