//! What the processes of a stage and the controller say to each other: one JSON object a line.
use handoff_sim::plan::{HitRole, What};
use serde::{Deserialize, Serialize};

/// What a process says, or asks.
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

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Instruction {
    /// What; nothing, if none.
    pub what: Option<What>,
    /// For how long, in milliseconds.
    pub ms: u64,
    /// How, if it is to die.
    pub death: Death,
}

/// How a process that crashes does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Death {
    /// Kills itself: SIGKILL.
    #[default]
    Kill,
    /// Ends by `_exit(2)`, without a destructor.
    Exit,
}
