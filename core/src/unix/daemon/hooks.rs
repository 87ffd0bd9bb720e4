//! The messages between the protocol's thread and the hooks' thread.
use std::sync::mpsc;
use std::time::Duration;

use crate::error::HostError;
use crate::id::ProcessId;
use crate::machine::{ExitReason, Op, incumbent, successor};
use crate::message::{SealProgress, Sealed};
use crate::node::daemon::{self as node, Done};
use crate::unix::reports::{DrainReport, ReadinessSnapshot, SealReport, StateSnapshot};
use crate::unix::wake::Waker;

/// The thing that the protocol wants done.
#[derive(Debug)]
pub(crate) enum Call {
    /// A successor's read-only warm-up; an error if this is no place for it.
    WarmUp(Op, Result<(), HostError>),
    /// A successor's opening, under the lock.
    Open(Op, Option<Sealed>),
    /// A successor's start of serving.
    Serve(Op),
    /// An incumbent's drain, and for which successor; an error if it could not take the lock back.
    Drain(Op, Duration, Option<ProcessId>, Result<(), HostError>),
    /// An incumbent's seal.
    Seal(Op),
    /// An incumbent's way back; from what is on disk, or from its memory.
    Resume(Op, bool),
    /// The predecessor has ended.
    Finalize,
    /// The state that a status is to show.
    Snapshot,
    /// The machine's end: leave.
    Exit(ExitReason),
}

/// The outcome of a hook. An `Err` says why it failed.
#[derive(Debug)]
pub(crate) enum HookReply {
    /// Nothing to report.
    Done(Op, Result<(), HostError>),
    /// A drain.
    Drained(Op, Result<DrainReport, HostError>),
    /// A seal.
    Sealed(Op, Result<SealReport, HostError>),
    /// An opening.
    Opened(Op, Result<ReadinessSnapshot, HostError>),
    /// The progress of a seal.
    Progress(SealProgress),
    /// The state that a status is to show.
    Snapshot(StateSnapshot),
}

impl HookReply {
    /// As a node takes it.
    pub(super) fn for_node(self) -> node::HookReport {
        match self {
            HookReply::Done(op, result) => node::HookReport::Done(op, result.map(|()| Done::Ok)),
            HookReply::Drained(op, result) => {
                let drained = |DrainReport { open_conns_remaining, accept_closed }| {
                    Done::Incumbent(incumbent::Done::Drained { open_conns_remaining, accept_closed })
                };
                node::HookReport::Done(op, result.map(drained))
            }
            HookReply::Sealed(op, result) => {
                let sealed = |SealReport { last_revision_per_shard, data_dir_fingerprint }| {
                    Done::Incumbent(incumbent::Done::Sealed { last_revision_per_shard, data_dir_fingerprint })
                };
                node::HookReport::Done(op, result.map(sealed))
            }
            HookReply::Opened(op, result) => {
                let opened = |readiness: ReadinessSnapshot| {
                    Done::Successor(successor::Done::Opened {
                        listening_on: readiness.listening_on,
                        healthz_ok: readiness.healthz_ok,
                        advertised_revision_per_shard: readiness.advertised_revision_per_shard,
                        data_dir_fingerprint: readiness.data_dir_fingerprint,
                    })
                };
                node::HookReport::Done(op, result.map(opened))
            }
            HookReply::Progress(progress) => node::HookReport::Progress(progress),
            HookReply::Snapshot(snapshot) => node::HookReport::Snapshot(snapshot),
        }
    }
}

/// The place where replies go.
#[derive(Clone, Debug)]
pub(crate) struct Replies {
    sender: mpsc::Sender<HookReply>,
    waker: Waker,
}

impl Replies {
    pub(super) fn new(sender: mpsc::Sender<HookReply>, waker: Waker) -> Self {
        Replies { sender, waker }
    }

    /// Hands in `reply`. If the protocol's thread is gone, it is not needed.
    pub(crate) fn send(&self, reply: HookReply) {
        let _ = self.sender.send(reply);
        self.waker.wake();
    }
}
