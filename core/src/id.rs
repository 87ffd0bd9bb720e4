//! Identities: of a process, of a handoff, of a state on disk.
use core::fmt;

use serde::{Deserialize, Serialize};

/// A process, told apart from a later one that was given the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id, as in `getpid(2)`.
    pub pid: u32,
    /// The start time of the process, in clock ticks since boot (`starttime`, field 22 of
    /// `proc_pid_stat(5)`); 0 where the system has no such figure, and then the pid alone identifies it.
    pub start_time: u64,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)
    }
}

/// A directory, as `stat(2)` tells it from any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DirectoryId {
    /// The device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
}

/// One run of the operating system, from its start to its end; zeros where that is not known. The numbers of processes
/// mean nothing beyond it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// Returns whether processes that were named in this boot may be believed to be those of `now`.
    pub fn is_also(self, now: BootId) -> bool {
        self == now && now != BootId::default()
    }
}

/// A value that names processes, as it is kept in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InBoot<T> {
    /// The boot in which it was written.
    pub boot: BootId,
    /// The value.
    pub value: T,
}

/// One handoff. Drawn at random by the supervisor; every message of the handoff carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HandoffId(pub [u8; 16]);

impl fmt::Display for HandoffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A digest of the state on disk, by which a successor can tell that it opened what the incumbent sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The way in which `digest` was made. The daemon's author chooses numbers; 0 means that there is no
    /// fingerprint. Two fingerprints are compared only if their schemes are equal.
    pub scheme: u16,
    /// The digest itself.
    pub digest: [u8; 32],
}
