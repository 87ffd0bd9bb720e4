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
    /// What was committed before that: another binary, or the same with other arguments.
    pub previous: Option<Binary>,
    /// The handoff or cold start that was not seen to come to its end, or, with `retiring`, that was last.
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

/// A binary that was committed, or may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Binary {
    /// The first handoff that started this very file; names the copy that is kept of it.
    pub handoff_id: HandoffId,
    /// Its path, in the system's encoding.
    pub path: Vec<u8>,
    /// Its arguments after the zeroth, in the system's encoding.
    pub args: Vec<Vec<u8>>,
    /// The file that was started; unknown if it could not be looked at.
    pub identity: Option<FileIdentity>,
}

/// Tells a file from any other at its path, and from itself after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// The device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
    /// The size, in bytes.
    pub size: u64,
    /// When the inode last changed, in seconds since 1970: every write sets it, and nobody can set it back.
    pub changed_secs: i64,
    /// The nanoseconds of that.
    pub changed_nanos: i64,
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
    /// What the successor was started from: a later supervisor may have to note its commit.
    pub binary: Binary,
    /// The successor serves, and is the binary that was committed; only the incumbent was still to leave.
    pub retiring: bool,
}
