//! In which order a daemon's host does what concerns connections, and the daemon's own hook.
//!
//! The order is what keeps one reader: an incumbent takes its connections back before its hook reads again, a successor adopts
//! them after its hook serves.

/// A hook that concerns connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CarryHook {
    /// An incumbent's drain.
    Drain {
        /// `true` if there is a process that is to serve afterwards.
        for_successor: bool,
    },
    /// An incumbent's seal.
    Seal,
    /// An incumbent's way back.
    Resume,
    /// A successor's start of serving.
    Serve,
}

/// The step that a host takes for connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CarryStep {
    /// Connect to the successor and let it have what is open ([`Outgoing::follow`](super::Outgoing::follow)); the drain that follows
    /// keeps it. A successor of a build that takes none over is left alone: the drain ends the connections. If one that does fails
    /// to, so does the part [`CarryStep::Offered`]: the daemon drains and keeps them all the same, since a process that was told to stop
    /// goes on to its seal whether its drain has failed or not.
    Offer,
    /// See that the offer has not failed. If it has, so has the drain.
    Offered,
    /// Send the rest ([`Outgoing::finish`](super::Outgoing::finish)). If that fails, so does the part [`CarryStep::Confirm`]: the daemon's
    /// seal does not wait for it.
    Finish,
    /// Wait until the successor has confirmed all ([`Outgoing::confirm`](super::Outgoing::confirm)). If that fails, the seal has
    /// failed.
    Confirm,
    /// Hear all that has come from the successor. If it has adopted the connections
    /// ([`Outgoing::is_adopted`](super::Outgoing::is_adopted)), end them, since it may have read from them; else revoke them
    /// ([`Outgoing::revocation`](super::Outgoing::revocation)). Then close the link.
    TakeBack,
    /// Take all that has come in ([`Incoming::take`](super::Incoming::take)). If it counts, say that it is adopted
    /// ([`Incoming::adoption`](super::Incoming::adoption)), and serve it; else close it.
    Adopt,
}

impl CarryHook {
    /// Returns what is done before the daemon's hook, in this order.
    pub fn before(self) -> &'static [CarryStep] {
        match self {
            CarryHook::Drain { for_successor: true } => &[CarryStep::Offer],
            CarryHook::Seal => &[CarryStep::Finish],
            CarryHook::Resume => &[CarryStep::TakeBack],
            CarryHook::Drain { for_successor: false } | CarryHook::Serve => &[],
        }
    }

    /// Returns what is done after the daemon's hook, unless the hook has failed.
    pub fn after(self) -> &'static [CarryStep] {
        match self {
            CarryHook::Drain { for_successor: true } => &[CarryStep::Offered],
            CarryHook::Seal => &[CarryStep::Confirm],
            CarryHook::Serve => &[CarryStep::Adopt],
            CarryHook::Drain { for_successor: false } | CarryHook::Resume => &[],
        }
    }
}
