//! Replaces the binary of a running, stateful daemon with no refused connection, no lost acknowledged write
//! and never two writers.
//!
//! [`daemon`] is for a daemon's author, [`supervisor`] for a supervisor's; most of what they list is at the crate's root as well. [`error`], [`id`],
//! [`data`], [`message`], [`text`] and [`time`] have the types that appear in them, [`bounds`] their limits, and [`metrics`] names for
//! what is counted. All other modules are hidden: the simulator stands on them, and they change with any release.
//!
//! The protocol lives in pure state machines (`machine`) that know no clock, thread, descriptor or random number; nodes (`node`) decide
//! in which order they hear what has happened; the feature `unix` (on by default) brings real sockets and processes and the
//! blocking API on top of them. Without that feature the crate is `no_std` + `alloc`.
#![cfg_attr(not(feature = "unix"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod bounds;
#[doc(hidden)]
pub mod carry;
#[doc(hidden)]
pub mod codec;
#[doc(hidden)]
pub mod connections;
pub mod data;
#[cfg(feature = "unix")]
mod distrust;
#[doc(hidden)]
pub mod drive;
pub mod error;
#[doc(hidden)]
pub mod frame;
#[doc(hidden)]
pub mod host;
pub mod id;
#[doc(hidden)]
pub mod journal;
#[doc(hidden)]
pub mod machine;
pub mod message;
#[cfg(feature = "unix")]
pub mod metrics;
mod names;
#[doc(hidden)]
pub mod node;
#[doc(hidden)]
pub mod record;
#[doc(hidden)]
pub mod slots;
pub mod text;
pub mod time;

#[cfg(feature = "unix")]
#[doc(hidden)]
pub mod unix;

/// A daemon that can be replaced: [`run`] does it all, [`detect_role`] leaves the steps to the caller.
#[cfg(feature = "unix")]
pub mod daemon {
    pub use crate::message::{SealProgress, Sealed};
    pub use crate::unix::{
        Acceptor, Arrival, ConnId, Connection, Connections, Counts, Daemon, DataDirLock, DetectedRole,
        DrainReport, DrainState, Drainable, Drained, Ended, EventLoop, HookResult, Incumbent, Listener,
        Listeners, LossyWriter, Options, Patience, Pusher, ReadinessSnapshot, Remaining, ResumeFrom,
        SealReport, StateSnapshot, StopHandle, Successor, bind, detect_role, outlive_file_size_limit, run,
    };
}

/// A supervisor: holds the listening sockets, starts daemons, drives handoffs and recoveries.
#[cfg(feature = "unix")]
pub mod supervisor {
    pub use crate::machine::{Phase, Reason};
    pub use crate::unix::{
        BindOptions, CancelHandle, Child, CommittedBinary, DaemonStatus, HandoffError, HandoffOutcome,
        HandoffProgress, Image, Interrupted, InterruptedEnd, Listeners, Participant, Phases, RecoveryOutcome,
        RecoverySpec, RunAs, Setting, SpawnSpec, Supervisor, Verdict, bind,
    };
}

pub use error::{Error, ErrorKind, HostError, Result};
pub use id::{Fingerprint, HandoffId, ProcessId};
pub use machine::{Phase, Reason};
pub use names::UnknownName;
#[cfg(feature = "unix")]
pub use unix::{
    Arrival, BindOptions, CancelHandle, Child, CommittedBinary, ConnId, Connection, Connections, Counts,
    Daemon, DaemonStatus, DataDir, DataDirLock, DetectedRole, DrainReport, Drainable, Drained, Ended,
    HandoffError, HandoffOutcome, HandoffProgress, HookResult, Image, Incumbent, Interrupted, InterruptedEnd,
    Listener, Listeners, Options, Participant, Patience, Phases, Pusher, ReadinessSnapshot, RecoveryOutcome,
    RecoverySpec, Remaining, ResumeFrom, RunAs, SealReport, Setting, SpawnSpec, StateSnapshot, StopHandle,
    Successor, Supervisor, Verdict, bind, bind_with, detect_role, run,
};
