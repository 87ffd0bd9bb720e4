//! A process, as the kernel has it, whatever runs in it.
use std::collections::VecDeque;
use std::fmt;

use handoff::ProcessId;

use super::{LengthOf, Micros, ProcessClock};

/// A process, by order of birth: `S1`, `S2` are supervisors, `R1` a rival one or, in an exploration, one that recovers,
/// `D1`, `D2` daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// `S`, `R` or `D`.
    pub kind: char,
    /// From 1 on.
    pub number: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind, self.number)
    }
}

/// The life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Life {
    Runs,
    Stopped,
    /// Its links are closed; the kernel has not freed its lock yet.
    Dying,
}

/// A process, in which `P` runs.
pub(crate) struct Process<P> {
    pub id: ProcessId,
    pub name: Name,
    pub life: Life,
    /// `true` if it is dying, and its control socket is not closed yet: the kernel closes what a process has
    /// in no certain order.
    pub lets_in: bool,
    pub clock: ProcessClock,
    /// The time at which it has its next turn.
    pub run_at: Option<Micros>,
    pub no_descriptors_until: Micros,
    /// The number of times that it asked for each kind of noise.
    pub draws: [u32; LengthOf::COUNT],
    /// `true` if it was stopped or slowed down, so others may think that it hangs.
    pub suspect: bool,
    /// `true` if it has a control socket.
    pub has_socket: bool,
    /// Connections to its control socket that it has not accepted, and when they have come.
    pub waiting: VecDeque<(Micros, u64)>,
    pub program: P,
}

impl<P> Process<P> {
    pub(crate) fn runs(&self) -> bool {
        self.life == Life::Runs
    }

    /// Returns whether it has what it had, though it may be stopped.
    pub(crate) fn lives(&self) -> bool {
        matches!(self.life, Life::Runs | Life::Stopped)
    }

    /// A process that connects to its control socket is put into its queue, though it be stopped, or dying.
    pub(crate) fn answers(&self) -> bool {
        self.has_socket && (self.lives() || self.lets_in)
    }
}
