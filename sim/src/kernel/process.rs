//! A process, as the kernel has it, whatever runs in it.
use std::fmt;

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

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Life {
    Runs,
    Stopped,
    /// Its links are closed; the kernel has not freed its lock yet.
    Dying,
}
