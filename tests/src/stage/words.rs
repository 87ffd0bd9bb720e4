//! The messages between the processes of a stage and the controller: one JSON object a line.
use handoff_sim::plan::{HitRole, What};
use serde::{Deserialize, Serialize};

/// The word of a process, which says or asks something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// Is there. Asks what is wrong with it from its birth on.
    Born {
        /// A supervisor, not a daemon.
        is_supervisor: bool,
        /// Its pid.
        pid: u32,
    },
    /// A machine is about to handle an event. Needs no answer.
    Handles {
        /// The state, and the event in it.
        cell: String,
    },
    /// Is in a gap, or between two system calls of the effect after it.
    Gap {
        /// The machine's role.
        role: String,
        /// Its state.
        state: String,
        /// The effect that it does not live to see; none after the last.
        before: Option<String>,
        /// The system call that it does not.
        step: Option<String>,
    },
    /// Is about to send a frame.
    Frame {
        /// The receiver's role in a handoff, if the sender knows.
        role: Option<HitRole>,
        /// The receiver.
        pid: Option<u32>,
        /// The message's name.
        message: String,
    },
    /// A hook begins.
    Hook(String),
    /// Is about to write to its data directory.
    DataWrite,
}

/// The instruction that something goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Instruction {
    /// The fault; nothing, if none.
    pub what: Option<What>,
    /// For how long, in milliseconds.
    pub ms: u64,
    /// The way in which it is to die, if it is.
    pub death: Death,
}

/// The way in which a process that crashes dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Death {
    /// Kills itself: SIGKILL.
    #[default]
    Kill,
    /// Ends by `_exit(2)`, without a destructor.
    Exit,
}
