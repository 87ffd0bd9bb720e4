//! The reasons why a handoff was not committed, as a type that callers can branch on.
use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use super::peer::Peer;
use crate::{
    error::HostError,
    id::{DirectoryId, ProcessId},
    message::{PROTO_MAX, PROTO_MIN, ProtoVersion, Role, behind, listed},
    text::PlainText,
    time::Duration,
};

/// The reason why a handoff was not committed, or what went wrong before it was. `Display` says it in words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The caller called it off.
    Cancelled,
    /// The caller only wanted to see the successor warm, and it is.
    Tried,
    /// The successor is warm, and is not of the build that the caller expects.
    OtherBuild {
        /// The name that the successor gives to its build.
        said: PlainText,
        /// The name that it should give to its build.
        expected: PlainText,
    },
    /// The deadline has passed.
    Deadline,
    /// The incumbent can't be reached at the control path.
    Unreachable(HostError),
    /// Another supervisor has a handoff with the incumbent under way.
    Busy,
    /// Another process than the incumbent answers at the control path.
    AnotherAnswers(ProcessId),
    /// A peer calls itself by the wrong role.
    WrongRole {
        /// The role that it should have.
        expected: Role,
        /// The role that it says it has.
        said: Role,
    },
    /// A peer speaks no version of the protocol that the supervisor speaks.
    Version {
        /// The peer's role.
        role: Role,
        /// The lowest version that it speaks.
        min: ProtoVersion,
        /// The highest.
        max: ProtoVersion,
    },
    /// The successor calls itself another process than the one that was started.
    WrongProcess(u32),
    /// The successor could not be started.
    NotStarted(HostError),
    /// The journal can't be written, and nothing was touched yet.
    Journal(HostError),
    /// A peer broke the protocol.
    Protocol(Peer, PlainText),
    /// A peer closed its link, or the link was reset.
    Closed(Peer, PlainText),
    /// A peer said nothing for the handoff's liveness.
    Silent(Peer),
    /// A peer's process has ended, and how.
    Ended(Peer, PlainText),
    /// The incumbent's drain failed.
    DrainFailed(PlainText),
    /// The incumbent still accepts connections after its drain.
    StillAccepting,
    /// The incumbent's seal failed.
    SealFailed {
        /// The reason.
        error: PlainText,
        /// The progress of the seal, in words.
        partial_state: PlainText,
    },
    /// The successor calls itself unhealthy.
    Unhealthy,
    /// The successor is behind what the incumbent sealed.
    Behind {
        /// The last revision of each shard that the successor opened.
        opened: Vec<u64>,
        /// The last revision of each shard that the incumbent sealed.
        sealed: Vec<u64>,
    },
    /// The successor has become another user than daemons run as: as an incumbent it would not be believed.
    OtherUser {
        /// Its effective user.
        uid: u32,
        /// The user that daemons run as.
        expected: u32,
    },
    /// A daemon that replaces none has opened another data directory than the one that was served before.
    OtherData {
        /// The directory that it has opened.
        opened: DirectoryId,
        /// The directory that was served before.
        known: DirectoryId,
    },
    /// A daemon that replaces none is behind what was served before.
    BehindKnown {
        /// The last revision of each shard that it has opened.
        opened: Vec<u64>,
        /// The last revision of each shard that is known.
        known: Vec<u64>,
    },
    /// The successor says that it can't: its hook failed, or its own check of what it opened.
    SuccessorFailed(PlainText),
    /// Told to serve, the successor did not for a whole deadline.
    NotServing,
    /// The incumbent serves again without having been told to.
    ResumedByItself,
    /// The incumbent holds the lock and serves, though the successor says that it does.
    IncumbentServes,
    /// The supervisor itself could not be heard for so long that its peers gave it up, and what followed.
    HeldUp {
        /// The time for which the supervisor could not be heard.
        time: Duration,
        /// `true` if a write of its journal took that long; if not, the process did not run.
        by_journal: bool,
        /// The reason that followed.
        because: Box<Reason>,
    },
    /// A process that answers at the control path, though it seemed that nobody serves.
    Answered {
        /// The pid of that process.
        pid: u32,
        /// The reason why it seemed so.
        because: Option<Box<Reason>>,
    },
}

/// The advice that helps where a daemon has opened other data than those that were served before.
const MEND_DATA: &str = "let its data path lead to those data, or say that these are the right ones \
                         (`handoff-supervisor accept-data`, `Supervisor::accept_data`)";

impl Reason {
    /// Returns whether a daemon that replaces none was refused for the data that it has opened: no binary is
    /// to blame.
    pub fn is_of_data(&self) -> bool {
        matches!(self, Reason::OtherData { .. } | Reason::BehindKnown { .. })
    }

    /// A word for what kind of reason it is, for programs and for what counts: one of a few, and never another for the same kind.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::Cancelled => "cancelled",
            Reason::Tried => "tried",
            Reason::OtherBuild { .. } => "other_build",
            Reason::Deadline => "deadline",
            Reason::Unreachable(_) => "unreachable",
            Reason::Busy => "busy",
            Reason::AnotherAnswers(_) => "another_answers",
            Reason::WrongRole { .. } => "wrong_role",
            Reason::Version { .. } => "version",
            Reason::WrongProcess(_) => "wrong_process",
            Reason::NotStarted(_) => "not_started",
            Reason::Journal(_) => "journal",
            Reason::Protocol(..) => "protocol",
            Reason::Closed(..) => "closed",
            Reason::Silent(_) => "silent",
            Reason::Ended(..) => "ended",
            Reason::DrainFailed(_) => "drain_failed",
            Reason::StillAccepting => "still_accepting",
            Reason::SealFailed { .. } => "seal_failed",
            Reason::Unhealthy => "unhealthy",
            Reason::Behind { .. } => "behind",
            Reason::OtherUser { .. } => "other_user",
            Reason::OtherData { .. } => "other_data",
            Reason::BehindKnown { .. } => "behind_known",
            Reason::SuccessorFailed(_) => "successor_failed",
            Reason::NotServing => "not_serving",
            Reason::ResumedByItself => "resumed_by_itself",
            Reason::IncumbentServes => "incumbent_serves",
            Reason::HeldUp { .. } => "held_up",
            Reason::Answered { .. } => "answered",
        }
    }
}

/// Returns what kept a supervisor from being heard, and what helps.
fn held_up_by(journal: bool) -> &'static str {
    match journal {
        true => "its journal took so long to be written: look at that disk",
        false => "it did not run: it was stopped, or the machine is overloaded",
    }
}

fn other_build(f: &mut fmt::Formatter<'_>, said: &PlainText, expected: &PlainText) -> fmt::Result {
    write!(f, "the successor calls its build {said:?}, and {expected:?} is expected: it is let go")
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Cancelled => f.write_str("cancelled"),
            Reason::Tried => f.write_str("the successor is warm, and was only tried"),
            Reason::OtherBuild { said, expected } => other_build(f, said, expected),
            Reason::Deadline => f.write_str("the deadline has passed"),
            Reason::Unreachable(why) | Reason::NotStarted(why) => write!(f, "{why}"),
            Reason::Busy => f.write_str("another supervisor has a handoff with this incumbent under way"),
            Reason::AnotherAnswers(process) => {
                write!(f, "process {process}, not the incumbent, answers at the control path")
            }
            Reason::WrongRole { expected, said } => {
                write!(f, "expected the {expected}, but the peer calls itself the {said}")
            }
            Reason::Version { role, min, max } => write!(
                f,
                "no common protocol version: the supervisor speaks {PROTO_MIN} to {PROTO_MAX}, the {role} {min} to {max}"
            ),
            Reason::WrongProcess(pid) => {
                write!(f, "the successor calls itself process {pid}, but is another")
            }
            Reason::Journal(why) => write!(f, "the journal can't be written: {why}"),
            Reason::Protocol(peer, why) => write!(f, "the {} broke the protocol: {why}", peer.role()),
            Reason::Closed(peer, why) => write!(f, "the {} closed the link: {why}", peer.role()),
            Reason::Silent(peer) => write!(f, "the {} was silent for too long", peer.role()),
            Reason::Ended(peer, how) => write!(f, "the {} {how}", peer.role()),
            Reason::DrainFailed(error) => write!(f, "the incumbent's drain failed: {error}"),
            Reason::StillAccepting => f.write_str("the incumbent still accepts connections after its drain"),
            Reason::SealFailed { error, partial_state } => {
                write!(f, "the incumbent's seal failed: {error} ({partial_state})")
            }
            Reason::Unhealthy => f.write_str("the successor calls itself unhealthy"),
            Reason::Behind { opened, sealed } => f.write_str(&behind(opened, sealed)),
            Reason::OtherUser { uid, expected } => write!(
                f,
                "the daemon has become uid {uid}, and nobody but uid {expected} would be believed: let the supervisor start it \
                 as that user (`user` in its configuration, `Supervisor::with_user`)"
            ),
            Reason::OtherData { opened, known } => write!(
                f,
                "it has opened another data directory (device {}, inode {}) than the one that was served before (device {}, \
                 inode {}): {MEND_DATA}",
                opened.dev, opened.ino, known.dev, known.ino
            ),
            Reason::BehindKnown { opened, known } => write!(
                f,
                "it has opened revisions [{}], behind [{}], which were served before: {MEND_DATA}",
                listed(opened),
                listed(known)
            ),
            Reason::SuccessorFailed(error) => write!(f, "the successor failed: {error}"),
            Reason::NotServing => f.write_str("told to, the successor did not serve"),
            Reason::ResumedByItself => f.write_str("the incumbent resumed on its own"),
            Reason::IncumbentServes => {
                f.write_str("the incumbent holds the lock and serves, whatever the successor says")
            }
            Reason::HeldUp { time, by_journal, because } => write!(
                f,
                "{because}; before, the supervisor itself could not be heard for {time:.1?}, because {}",
                held_up_by(*by_journal)
            ),
            Reason::Answered { pid, because } => {
                if let Some(because) = because {
                    write!(f, "{because}; but ")?;
                }
                write!(f, "process {pid} answers at the control path")
            }
        }
    }
}
