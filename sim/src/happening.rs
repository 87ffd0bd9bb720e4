//! The events to come on the simulated machine, as they lie on the timeline.
use crate::kernel::Due;

/// An event to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Happening {
    /// The kernel does something.
    Kernel(Due),
    /// A new daemon has its first turn.
    Exec(u32),
    /// A process that never came to anything is gone, or was killed for it.
    GivesUp(u32),
    SealGoesOn(u32),
    HookReturns(u32),
    /// A supervisor is started, if there is none.
    Restart,
    /// The operator looks, and asks for what is next.
    Operator,
    /// A client does what is next.
    Client(usize),
    /// A request has come to where its connection leads.
    Request(u64),
    /// Half of a request has.
    HalfRequest(u64),
    /// An answer has come to a client.
    Answer(usize, u64),
    /// A client finds its connection closed.
    Hangup(usize, u64),
    /// A fault whose time has come.
    Fault(usize),
    DiskHasRoom,
    /// A supervisor is told that what is under way is called off.
    Cancel(u32),
    /// A daemon that drains looks at its connections.
    Drains(u32),
    /// A stranger goes.
    StrangerLeaves(u32),
    /// The sockets that were swept are put back.
    PutBack,
    /// A client that is connected does what is next.
    Connected(usize),
    /// Bytes have come to where a connection leads.
    BytesCome(u64),
    /// Bytes, or a connection's end, have come to its client.
    BytesGo(u64),
    /// A daemon has waited as long as its successor may be silent about the connections that it is sent.
    Carries(u32),
}

impl From<Due> for Happening {
    fn from(due: Due) -> Self {
        Happening::Kernel(due)
    }
}
