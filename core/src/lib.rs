//! Replaces the binary of a running, stateful daemon with no refused connection, no lost acknowledged write
//! and never two writers.
//!
//! The protocol lives in pure state machines ([`machine`]) that know no clock, thread, descriptor or random
//! number. [`drive`] runs a machine on a [`host`]; the feature `unix` (on by default) brings the host
//! for real sockets and processes and the blocking API on top of it. Without that feature the crate is
//! `no_std` + `alloc`.
#![cfg_attr(not(feature = "unix"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod bounds;
pub mod codec;
pub mod drive;
pub mod error;
pub mod frame;
pub mod host;
pub mod id;
pub mod journal;
pub mod machine;
pub mod message;
#[cfg(feature = "unix")]
pub mod metrics;
pub mod node;
pub mod record;
pub mod slots;
pub mod time;

#[cfg(feature = "unix")]
pub mod unix;

pub use error::{Error, Result};
pub use id::{Fingerprint, HandoffId, ProcessId};
pub use machine::Reason;
#[cfg(feature = "unix")]
pub use unix::{
    CancelHandle, Child, CommittedBinary, Daemon, DaemonStatus, DataDir, DataDirLock, DrainReport, Drainable,
    Ended, HandoffOutcome, HookResult, Image, Incumbent, Interrupted, InterruptedEnd, Listeners, Options,
    Phases, ReadinessSnapshot, RecoveryOutcome, RecoverySpec, ResumeFrom, Role, SealReport, SpawnSpec,
    StateSnapshot, StopHandle, Successor, Supervisor, Verdict, bind, detect_role, run,
};
