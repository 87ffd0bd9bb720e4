//! The record beside the lock: which process held it last, and which may take it next.
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{Fingerprint, ProcessId};
use crate::slots::Magic;

/// The bytes with which a record's file begins. Its slots hold a [`Record`] [in its boot](crate::id::InBoot).
pub const MAGIC: Magic = Magic { name: *b"HORECD", version: 2 };

/// The size of each of its two slots, in bytes: room for about two thousand shards.
pub const SLOT_SIZE: usize = 16 * 1024;

/// The record that a holder of the data directory's lock leaves for the next one. Written only under the
/// lock; a process that reads it without the lock has a hint, not a fact. It arbitrates among living
/// processes and therefore is not fsynced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// Raised by every taker.
    pub generation: u64,
    /// The last process that took the lock.
    pub holder: ProcessId,
    /// The process for which the holder sealed the state, if it did.
    pub sealed_for: Option<ProcessId>,
    /// `true` if the holder serves: it has taken the control path and accepts connections.
    pub serving: bool,
    /// The last revision of each shard that was sealed.
    pub revisions: Vec<u64>,
    /// The fingerprint of the state that was sealed.
    pub fingerprint: Fingerprint,
}

/// The ground on which a process wants the free lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// A successor, spawned against `incumbent`.
    Successor {
        /// The process that it is to replace.
        incumbent: ProcessId,
    },
    /// An incumbent that resumes, after a handoff to `successor` that came to nothing.
    Incumbent {
        /// The process that was to replace it.
        successor: ProcessId,
    },
    /// A process that replaces none. `generation` is what it read when it was spawned.
    ColdStart {
        /// The generation at its spawn; 0 if there was no record.
        generation: u64,
    },
}

impl Claim {
    /// Returns whether the process `me`, which has just got the lock and read `last` under it, may keep it.
    /// With no record at all the lock itself is the only arbiter.
    pub fn holds(self, me: ProcessId, last: Option<&Record>) -> bool {
        let Some(last) = last else { return true };
        match self {
            Claim::Successor { incumbent } => {
                last.holder == incumbent && last.sealed_for.is_none_or(|to| to == me)
            }
            Claim::Incumbent { successor } => {
                last.holder == me || (last.holder == successor && last.sealed_for.is_none())
            }
            Claim::ColdStart { generation } => last.generation == generation,
        }
    }
}
