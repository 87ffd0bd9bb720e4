//! Names of events and effects: for the table of states and events, for crash points, for traces.
use core::fmt;

/// An event's name: whose or what it is, and what of it matters. Not which process, link or operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName {
    /// Whose or what it is, such as `incumbent` or `timer`.
    pub of: &'static str,
    /// What of it, such as `Drained` or `Deadline`; empty if there is only one.
    pub what: &'static str,
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            "" => f.write_str(self.of),
            what => write!(f, "{} {what}", self.of),
        }
    }
}

/// A cell of a machine's table: a state, and an event in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// The role.
    pub role: &'static str,
    /// The state, after what it awaits.
    pub state: &'static str,
    /// The event.
    pub event: EventName,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}: {}", self.role, self.state, self.event)
    }
}

/// Makes a name of its two parts.
pub(super) const fn name(of: &'static str, what: &'static str) -> EventName {
    EventName { of, what }
}

/// What an answer says of itself in an event's name.
pub(super) fn result<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { "ok" } else { "error" }
}
