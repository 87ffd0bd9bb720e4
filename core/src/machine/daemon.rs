//! The things that incumbent and successor have in common: links, the lock, hooks, the way out.
use crate::{error::HostError, message::Message, record::Record, text::PlainText};

use super::{Machine, Timer};

pub(super) mod names;

/// A connection to a daemon, as its host numbers it. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// An operation whose result comes later. A result that carries another number than the machine waits for is
/// stale and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Op(pub u32);

impl Op {
    /// An operation whose result is not waited for.
    pub const UNAWAITED: Op = Op(u32::MAX);

    /// The next operation's number.
    pub(super) fn bump(&mut self) -> Op {
        self.0 = self.0.wrapping_add(1);
        *self
    }
}

/// The outcome of an attempt to take the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LockAnswer {
    /// The lock is held now; `last` is the record that was read under it.
    Held {
        /// The record that the last holder left.
        last: Option<Record>,
    },
    /// Another process holds it; `hint` was read without the lock.
    Busy {
        /// The record as far as the holder has written it, if it is a daemon.
        hint: Option<Record>,
        /// The holder as the system names it, for people: it may be no daemon at all.
        holder: Option<PlainText>,
    },
    /// The lock could not even be tried.
    Error(HostError),
}

impl LockAnswer {
    /// The lock is busy; `last` is the record as it was read without the lock. The record is no hint if the system says that
    /// another process than the one that wrote it holds the lock: that one has ended.
    pub fn busy(last: Option<Record>, holder: Option<u32>, in_words: Option<PlainText>) -> LockAnswer {
        let is_of_holder = |last: &Record| holder.is_none_or(|pid| pid == last.holder.pid);
        LockAnswer::Busy { hint: last.filter(is_of_holder), holder: in_words }
    }
}

/// The reason why a daemon's process leaves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ExitReason {
    /// A successor serves.
    Retired,
    /// Was asked to stop.
    Stopped,
    /// The handoff was rolled back, or another process serves: this successor is not needed.
    Aborted(PlainText),
    /// Can't serve.
    Failed(PlainText),
    /// A hook ran past its limit: leave at once, running nothing.
    HookLimit,
}

/// The events of a daemon. `D` is what its hooks report.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DaemonEvent<D> {
    /// The process has started.
    Start,
    /// A peer has connected to the control socket.
    Connected(LinkId),
    /// A message came.
    Frame(LinkId, Message),
    /// A link is at its end, whether closed, reset or broken by what came over it.
    Closed(LinkId),
    /// A hook has returned, or panicked.
    HookDone(Op, Result<D, HostError>),
    /// The lock was tried.
    Locked(Op, LockAnswer),
    /// The record was written, or could not be.
    Recorded(Op, Result<(), HostError>),
    /// The control path was taken, or could not be.
    PathTaken(Op, Result<(), HostError>),
    /// A timer has expired.
    Timer(Timer),
    /// The process was asked to stop.
    Stop,
}

/// The effects that a daemon asks for without waiting. `H` are its hooks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DaemonEffect<H> {
    /// Send a message. Buffered, not received.
    Send(LinkId, Message),
    /// Close a link, after what was sent.
    Close(LinkId),
    /// Run a hook beside the machine.
    StartHook(Op, H),
    /// Free the lock.
    Unlock,
    /// Give the listening sockets to the peer at the other end of a link, and go on using them.
    SendListeners(LinkId),
}

/// The effects that a daemon asks for and waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Awaited {
    /// Try the lock, without waiting for it.
    Lock(Op),
    /// Write the record. The lock is held.
    WriteRecord(Op, Record),
    /// Take the control path.
    TakePath(Op),
    /// Leave. No result ever comes.
    Exit(ExitReason),
}

/// A daemon's machine, whichever of the two roles it has.
pub trait AnyDaemonMachine:
    Machine<Event = DaemonEvent<Self::Done>, Effect = DaemonEffect<Self::Hook>, Awaited = Awaited>
{
    /// Its hooks.
    type Hook;
    /// The reports of the hooks.
    type Done;
}
