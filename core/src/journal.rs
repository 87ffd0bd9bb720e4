//! What a supervisor keeps across its own death: what runs, what it last committed, what is under way.
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{HandoffId, ProcessId};
use crate::slots::Magic;

/// What a journal's file begins with.
pub const MAGIC: Magic = Magic { name: *b"HOJRNL", version: 1 };

/// The size of each of its two slots, in bytes: room for the arguments of a binary.
pub const SLOT_SIZE: usize = 64 * 1024;

/// What a supervisor knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Journal {
    /// The daemon that serves.
    pub running: Option<Running>,
    /// The binary to start if nobody serves.
    pub committed: Option<Binary>,
    /// A handoff or cold start that has not come to its end.
    pub under_way: Option<UnderWay>,
    /// When this was written, in milliseconds since 1970; for people only.
    pub written_at_unix_ms: u64,
}

/// The daemon that serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Running {
    /// Its process.
    pub process: ProcessId,
    /// What it calls its build.
    pub build_id: Vec<u8>,
}

/// A binary that was committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Binary {
    /// Its path, in the system's encoding.
    pub path: Vec<u8>,
    /// Its arguments after the zeroth, in the system's encoding.
    pub args: Vec<Vec<u8>>,
}

/// A handoff or cold start that has not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnderWay {
    /// The handoff.
    pub handoff_id: HandoffId,
    /// Whom it is to replace; nobody in a cold start.
    pub incumbent: Option<ProcessId>,
    /// Who is to serve.
    pub successor: ProcessId,
    /// `Commit` has been, or is about to be, sent: the successor may serve.
    pub committing: bool,
}
