//! The faults that may happen while an exploration goes on, and their numbers.
use serde::{Deserialize, Serialize};

/// The number of faults of each kind that may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FaultBudget {
    /// A process dies, in any gap or while it is idle.
    pub crashes: u8,
    /// A process is stopped, for any time.
    pub stops: u8,
    /// A frame is lost.
    pub drops: u8,
    /// A link is reset.
    pub resets: u8,
    /// A process is told something that belongs to another handoff: its peer breaks the protocol.
    pub strays: u8,
    /// A hook fails, hangs, or returns what is not good enough.
    pub bad_hooks: u8,
    /// The deadline comes early, at any moment.
    pub late: u8,
    /// The caller calls the handoff off.
    pub cancels: u8,
    /// A daemon is told to stop.
    pub signals: u8,
    /// An awaited operation fails.
    pub errors: u8,
    /// A daemon is of a build with another version of the protocol.
    pub versions: u8,
    /// No fault: a seal says how far it has come.
    pub progress: u8,
    /// No fault: results of awaited operations come later, in any order with other events.
    pub deferred: bool,
    /// No fault: heartbeats go out, and questions are asked again, only when nothing else happens.
    pub sparse: bool,
    /// No fault: a supervisor that comes anew recovers before it does anything else.
    pub recovers: bool,
    /// No fault: a supervisor that recovers has its answers at once. The order in which processes are asked is still free.
    pub prompt: bool,
}

impl FaultBudget {
    /// All of them have happened; what is no fault stays.
    pub(crate) fn spent(self) -> FaultBudget {
        let FaultBudget { sparse, recovers, prompt, .. } = self;
        FaultBudget {
            deferred: self.deferred || self.errors > 0,
            sparse,
            recovers,
            prompt,
            ..FaultBudget::default()
        }
    }
}
