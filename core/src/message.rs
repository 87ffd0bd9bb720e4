//! The messages that travel between supervisor, incumbent and successor.
//!
//! The layout of [`Hello`] is the same in every version of the protocol, and enums grow only at their end. All
//! times are durations.
use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::{fmt, ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Serialize};

use crate::id::{Fingerprint, HandoffId, ProcessId};
use crate::names::names;
use crate::text::PlainText;

/// A version of the protocol.
pub type ProtoVersion = u16;

/// The oldest version that this build speaks.
pub const PROTO_MIN: ProtoVersion = 1;
/// The newest version that this build speaks.
pub const PROTO_MAX: ProtoVersion = 1;

/// The longest time for which a supervisor may be silent, whatever it asks for: until it is over, no other one is
/// heard.
pub const MAX_LIVENESS: Duration = Duration::from_secs(60);

/// The shortest liveness that a supervisor takes: below that, a loaded machine would look like a hung process.
pub const MIN_LIVENESS: Duration = Duration::from_millis(50);

/// The role of a process in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Holds the listening sockets and drives the swap.
    Supervisor,
    /// Serves, and is to be replaced.
    Incumbent,
    /// Is to replace the incumbent.
    Successor,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Supervisor => "supervisor",
            Role::Incumbent => "incumbent",
            Role::Successor => "successor",
        })
    }
}

/// The abilities of a peer beyond its version, a bit each. Unknown bits are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// The capability of a successor that takes over connections that are open ([`Message::Connections`]).
    pub const CONNECTIONS: Capabilities = Capabilities(1);

    /// Returns whether all of `other` is among these.
    pub fn include(self, other: Capabilities) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A process's introduction: the first frame of an incumbent, to every peer that connects, and of a successor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's role.
    pub role: Role,
    /// The sender's pid.
    pub pid: u32,
    /// The sender's start time, as in [`ProcessId`].
    pub start_time: u64,
    /// Names the build, to people; the library does not interpret it.
    #[serde(deserialize_with = "crate::bounds::deserialize_build_id")]
    pub build_id: Vec<u8>,
    /// The oldest version that the sender speaks.
    pub proto_min: ProtoVersion,
    /// The newest version that the sender speaks.
    pub proto_max: ProtoVersion,
    /// The other abilities of the sender.
    pub capabilities: Capabilities,
}

impl Hello {
    /// The sender's identity.
    pub fn process(&self) -> ProcessId {
        ProcessId { pid: self.pid, start_time: self.start_time }
    }

    /// The build's name, as it is shown.
    pub fn build(&self) -> PlainText {
        String::from_utf8_lossy(&self.build_id).as_ref().into()
    }
}

/// The supervisor's answer to [`Hello`]: from here on the peer belongs to this handoff.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HelloAck {
    /// The highest version that both speak.
    pub proto_version_chosen: ProtoVersion,
    /// The handoff.
    pub handoff_id: HandoffId,
    /// The process that the successor is to replace; none in a cold start.
    pub incumbent: Option<ProcessId>,
    /// A peer that was silent for so long counts as hung; heartbeats come at a fifth of it.
    pub liveness_ms: u64,
    /// The longest time that the whole handoff may take, in milliseconds.
    pub deadline_ms: u64,
    /// The longest time that one hook of the daemon may run before its process ends itself, in milliseconds.
    pub hook_limit_ms: u64,
}

impl HelloAck {
    /// Returns for how long the supervisor may be silent: what it asks for, but not longer than
    /// [`MAX_LIVENESS`].
    pub fn liveness(&self) -> Duration {
        Duration::from_millis(self.liveness_ms).min(MAX_LIVENESS)
    }
}

/// The progress of a seal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SealProgress {
    /// Shards sealed so far.
    pub shards_sealed: u32,
    /// Shards in all.
    pub shards_total: u32,
    /// The last revision sealed.
    pub last_revision: u64,
}

/// The state that was sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sealed {
    /// The generation of the record under which it was sealed.
    pub generation: u64,
    /// The last revision of each shard.
    pub last_revision_per_shard: Vec<u64>,
    /// The fingerprint of what is on disk.
    pub data_dir_fingerprint: Fingerprint,
}

/// The standing of a daemon; part of every heartbeat and of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// A supervisor that drives a handoff.
    Supervising,
    /// A successor before or in its warm-up.
    Warming,
    /// A successor that waits to begin.
    Warmed,
    /// A successor that takes the lock and opens the state.
    Opening,
    /// A successor that holds the lock and the open state.
    Ready,
    /// The one that serves.
    Serving,
    /// An incumbent that drains or has drained.
    Draining,
    /// An incumbent that seals.
    Sealing,
    /// An incumbent that has sealed and freed the lock.
    Sealed,
    /// An incumbent on its way back to serving.
    Resuming,
    /// On its way out.
    Leaving,
}

/// The answer to a status query.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The daemon's standing.
    pub standing: Standing,
    /// The daemon's shards, as it says itself.
    pub shard_count: u32,
    /// The daemon's open connections, as it says itself.
    pub open_conns: u32,
    /// The last revision of each shard, as it says itself.
    pub last_revision_per_shard: Vec<u64>,
}

impl Status {
    /// The status of a daemon that stands there and says nothing of its data.
    pub fn of(standing: Standing) -> Status {
        Status { standing, shard_count: 0, open_conns: 0, last_revision_per_shard: Vec::new() }
    }
}

/// A process that serves and was not yet told that its predecessor has ended: until then it does nothing that the
/// predecessor could not undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AwaitsFinal {
    /// The handoff by which it came to serve.
    pub handoff_id: HandoffId,
    /// The process that it replaced; none in a cold start.
    pub predecessor: Option<ProcessId>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// O, N → S: an introduction.
    Hello(Hello),
    /// S → O, N: you are part of this handoff.
    HelloAck(HelloAck),
    /// N → S: read-only warm-up is done; nothing was disturbed.
    Warmed {
        /// The handoff.
        handoff_id: HandoffId,
    },
    /// S → O: drain.
    PrepareHandoff {
        /// The handoff.
        handoff_id: HandoffId,
        /// The process for which the state is sealed.
        successor: ProcessId,
        /// The rest of the handoff's time, in milliseconds.
        deadline_ms: u64,
        /// The longest time that open requests may take to finish, in milliseconds.
        drain_grace_ms: u64,
    },
    /// O → S: drained.
    Drained {
        /// The handoff.
        handoff_id: HandoffId,
        /// Connections still open.
        open_conns_remaining: u32,
        /// `true` if no connection is accepted any more.
        accept_closed: bool,
    },
    /// O → S: the drain failed; O resumes.
    DrainFailed {
        /// The handoff.
        handoff_id: HandoffId,
        /// The reason.
        error: PlainText,
    },
    /// S → O: seal.
    SealRequest {
        /// The handoff.
        handoff_id: HandoffId,
    },
    /// O → S: how far the seal has come.
    SealProgress {
        /// The handoff.
        handoff_id: HandoffId,
        /// The progress.
        progress: SealProgress,
    },
    /// O → S: sealed, fsynced, recorded, unlocked.
    SealComplete {
        /// The handoff.
        handoff_id: HandoffId,
        /// The state that was sealed.
        sealed: Sealed,
    },
    /// O → S: the seal failed; O keeps the lock and resumes.
    SealFailed {
        /// The handoff.
        handoff_id: HandoffId,
        /// The reason.
        error: PlainText,
        /// The progress of the seal, in words.
        partial_state: PlainText,
    },
    /// S → N: take the lock and open the state.
    Begin {
        /// The handoff.
        handoff_id: HandoffId,
        /// The state that the incumbent sealed; nothing if it ended, or if there was none.
        sealed: Option<Sealed>,
    },
    /// N → S: I hold the lock and the open state.
    Ready {
        /// The handoff.
        handoff_id: HandoffId,
        /// The listeners that the successor is about to serve, by name.
        listening_on: Vec<String>,
        /// `true` if the daemon calls itself healthy.
        healthz_ok: bool,
        /// The last revision of each shard that it opened.
        advertised_revision_per_shard: Vec<u64>,
    },
    /// N → S: I can't; I have unlocked and leave.
    Failed {
        /// The handoff.
        handoff_id: HandoffId,
        /// The reason.
        error: PlainText,
    },
    /// S → N: take the control path and serve.
    Commit {
        /// The handoff.
        handoff_id: HandoffId,
    },
    /// N → S: I serve.
    Serving {
        /// The handoff.
        handoff_id: HandoffId,
    },
    /// S → O: the successor serves; leave.
    Retire {
        /// The handoff.
        handoff_id: HandoffId,
    },
    /// S → N: your predecessor has ended; you may do what it could not undo.
    Final {
        /// The handoff.
        handoff_id: HandoffId,
    },
    /// S → N: leave.
    Abort {
        /// The handoff.
        handoff_id: HandoffId,
        /// The reason.
        reason: PlainText,
    },
    /// S → O: serve again.
    ResumeAfterAbort {
        /// The handoff.
        handoff_id: HandoffId,
    },
    /// O → S: I hold the lock and serve again.
    Resumed {
        /// The handoff.
        handoff_id: HandoffId,
    },
    /// O → S: another handoff is under way.
    Busy,
    /// Any → any: I live. Repeats the sender's last message, so that a lost one is mended.
    Heartbeat {
        /// The sender's standing.
        standing: Standing,
        /// The sender's last message of the protocol, if it sent one. Never a heartbeat.
        #[serde(with = "repeated")]
        repeats: Option<Box<Message>>,
    },
    /// Any peer → O: where do you stand?
    StatusQuery,
    /// O → the peer that has asked.
    Status(Status),
    /// Any process → its peer, before it closes the link: what was wrong.
    Refused {
        /// The fault.
        error: PlainText,
    },
    /// A supervisor that comes anew → any daemon: where do you stand?
    StandingQuery,
    /// The answer, whatever else is under way.
    StandingReport {
        /// The daemon's standing.
        standing: Standing,
        /// The thing that the daemon waits for, if it serves and was not yet told `Final`.
        awaits_final: Option<AwaitsFinal>,
    },
    /// A supervisor that comes anew → any daemon: give me the listening sockets.
    ListenersQuery,
    /// The answer. The sockets themselves travel beside the frame (`SCM_RIGHTS`, `unix(7)`), in this order.
    Listeners {
        /// Their names.
        names: Vec<String>,
        /// `true` if another such message follows: one can carry only so many.
        more: bool,
    },
    /// O → N, over a link that it has opened for this: my connections follow ([`crate::carry`]), and no message.
    Connections,
}

names! {
    /// A message, without what it says.
    pub enum MessageName {
        Hello = "Hello",
        HelloAck = "HelloAck",
        Warmed = "Warmed",
        PrepareHandoff = "PrepareHandoff",
        Drained = "Drained",
        DrainFailed = "DrainFailed",
        SealRequest = "SealRequest",
        SealProgress = "SealProgress",
        SealComplete = "SealComplete",
        SealFailed = "SealFailed",
        Begin = "Begin",
        Ready = "Ready",
        Failed = "Failed",
        Commit = "Commit",
        Serving = "Serving",
        Retire = "Retire",
        Final = "Final",
        Abort = "Abort",
        ResumeAfterAbort = "ResumeAfterAbort",
        Resumed = "Resumed",
        Busy = "Busy",
        Heartbeat = "Heartbeat",
        StatusQuery = "StatusQuery",
        Status = "Status",
        Refused = "Refused",
        StandingQuery = "StandingQuery",
        StandingReport = "StandingReport",
        ListenersQuery = "ListenersQuery",
        Listeners = "Listeners",
        Connections = "Connections",
    }
}

impl Message {
    /// The message's name.
    pub fn name(&self) -> MessageName {
        match self {
            Message::Hello(_) => MessageName::Hello,
            Message::HelloAck(_) => MessageName::HelloAck,
            Message::Warmed { .. } => MessageName::Warmed,
            Message::PrepareHandoff { .. } => MessageName::PrepareHandoff,
            Message::Drained { .. } => MessageName::Drained,
            Message::DrainFailed { .. } => MessageName::DrainFailed,
            Message::SealRequest { .. } => MessageName::SealRequest,
            Message::SealProgress { .. } => MessageName::SealProgress,
            Message::SealComplete { .. } => MessageName::SealComplete,
            Message::SealFailed { .. } => MessageName::SealFailed,
            Message::Begin { .. } => MessageName::Begin,
            Message::Ready { .. } => MessageName::Ready,
            Message::Failed { .. } => MessageName::Failed,
            Message::Commit { .. } => MessageName::Commit,
            Message::Serving { .. } => MessageName::Serving,
            Message::Retire { .. } => MessageName::Retire,
            Message::Final { .. } => MessageName::Final,
            Message::Abort { .. } => MessageName::Abort,
            Message::ResumeAfterAbort { .. } => MessageName::ResumeAfterAbort,
            Message::Resumed { .. } => MessageName::Resumed,
            Message::Busy => MessageName::Busy,
            Message::Heartbeat { .. } => MessageName::Heartbeat,
            Message::StatusQuery => MessageName::StatusQuery,
            Message::Status(_) => MessageName::Status,
            Message::Refused { .. } => MessageName::Refused,
            Message::StandingQuery => MessageName::StandingQuery,
            Message::StandingReport { .. } => MessageName::StandingReport,
            Message::ListenersQuery => MessageName::ListenersQuery,
            Message::Listeners { .. } => MessageName::Listeners,
            Message::Connections => MessageName::Connections,
        }
    }

    /// The handoff that the message belongs to, if it belongs to one. A heartbeat belongs to that of what it
    /// repeats.
    pub fn handoff_id(&self) -> Option<HandoffId> {
        match self {
            Message::HelloAck(HelloAck { handoff_id, .. })
            | Message::Warmed { handoff_id }
            | Message::PrepareHandoff { handoff_id, .. }
            | Message::Drained { handoff_id, .. }
            | Message::DrainFailed { handoff_id, .. }
            | Message::SealRequest { handoff_id }
            | Message::SealProgress { handoff_id, .. }
            | Message::SealComplete { handoff_id, .. }
            | Message::SealFailed { handoff_id, .. }
            | Message::Begin { handoff_id, .. }
            | Message::Ready { handoff_id, .. }
            | Message::Failed { handoff_id, .. }
            | Message::Commit { handoff_id }
            | Message::Serving { handoff_id }
            | Message::Retire { handoff_id }
            | Message::Final { handoff_id }
            | Message::Abort { handoff_id, .. }
            | Message::ResumeAfterAbort { handoff_id }
            | Message::Resumed { handoff_id } => Some(*handoff_id),
            Message::Heartbeat { repeats, .. } => repeats.as_ref().and_then(|message| message.handoff_id()),
            Message::Hello(_)
            | Message::Busy
            | Message::StatusQuery
            | Message::Status(_)
            | Message::Refused { .. }
            | Message::StandingQuery
            | Message::StandingReport { .. }
            | Message::ListenersQuery
            | Message::Listeners { .. }
            | Message::Connections => None,
        }
    }
}

/// The message that a heartbeat repeats, as bytes of its own: a heartbeat in a heartbeat in a
/// heartbeat would be decoded by recursion, and a hostile peer would choose how deep.
mod repeated {
    use alloc::{boxed::Box, vec::Vec};

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

    use super::{Message, Standing};
    use crate::codec;

    pub(super) fn serialize<S: Serializer>(
        repeats: &Option<Box<Message>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let bytes = repeats.as_ref().map(|message| codec::encode(&**message)).transpose();
        bytes.map_err(ser::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Box<Message>>, D::Error> {
        let Some(bytes) = Option::<Vec<u8>>::deserialize(deserializer)? else { return Ok(None) };
        let heartbeat = Message::Heartbeat { standing: Standing::Serving, repeats: None };
        let tag = codec::encode(&heartbeat).map_err(de::Error::custom)?;
        if bytes.get(..4) == tag.get(..4) {
            return Err(de::Error::custom("a heartbeat repeats a heartbeat"));
        }
        codec::decode(&bytes).map(|message| Some(Box::new(message))).map_err(de::Error::custom)
    }
}

/// The highest version that is in both ranges, if there is one.
pub fn negotiate_version(
    ours: RangeInclusive<ProtoVersion>,
    theirs: RangeInclusive<ProtoVersion>,
) -> Option<ProtoVersion> {
    let highest = *ours.end().min(theirs.end());
    (highest >= *ours.start().max(theirs.start())).then_some(highest)
}

/// `duration` as it travels: whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns whether every shard of `opened` is at least where `sealed` has it.
pub(crate) fn not_behind(opened: &[u64], sealed: &[u64]) -> bool {
    opened.len() >= sealed.len() && opened.iter().zip(sealed).all(|(opened, sealed)| opened >= sealed)
}

/// The same in words, if it isn't so.
pub(crate) fn behind(opened: &[u64], sealed: &[u64]) -> String {
    format!("opened revisions [{}], behind the sealed [{}]", listed(opened), listed(sealed))
}

/// Revisions, for people.
pub(crate) fn listed(revisions: &[u64]) -> String {
    revisions.iter().map(|revision| format!("{revision}")).collect::<Vec<_>>().join(", ")
}
