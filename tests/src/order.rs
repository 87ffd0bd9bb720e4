//! The messages between a test and its supervisor: one JSON object a line.
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use handoff::machine::{recovery, supervisor::HandoffVerdict};
use handoff::node::keeper::TaskEnd;
use handoff::{Error, HandoffError, HandoffOutcome, ProcessId, RecoveryOutcome, RecoverySpec, SpawnSpec};
use serde::{Deserialize, Serialize};

/// The deed that a supervisor is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Start a daemon where none serves.
    #[default]
    ColdStart,
    /// Replace the one that serves.
    Handoff,
    /// Find the daemon that serves.
    Recover,
    /// Start what was committed where none serves; the build of the order, if nothing was.
    StartAgain,
    /// The same, with what was committed before.
    StartBefore,
    /// End what is under way; orders that come after it are carried out again.
    Cancel,
}

/// An order to a supervisor; durations in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Order {
    /// Comes back with the outcome.
    pub id: u64,
    /// The deed.
    pub deed: Deed,
    /// As in [`SpawnSpec`], and so are the rest.
    pub binary: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Added to the environment.
    pub env: Vec<(OsString, OsString)>,
    /// The whole handoff.
    pub deadline_ms: u64,
    /// For open requests.
    pub drain_grace_ms: u64,
    /// Silence that counts as a hang.
    pub liveness_ms: u64,
    /// For one hook; the deadline if absent.
    pub hook_limit_ms: Option<u64>,
    /// For a retired incumbent.
    pub retire_limit_ms: u64,
    /// For one that may hold the lock and says nothing, in a recovery.
    pub unreachable_limit_ms: u64,
    /// The addresses to listen at, by name, if no process has the sockets any more.
    pub listen: Vec<(String, String)>,
}

impl Order {
    /// Returns what the library is to be given.
    pub fn spec(&self) -> SpawnSpec {
        let mut spec = SpawnSpec::new(&self.binary);
        spec.args.clone_from(&self.args);
        spec.env.clone_from(&self.env);
        spec.deadline = Duration::from_millis(self.deadline_ms);
        spec.drain_grace = Duration::from_millis(self.drain_grace_ms);
        spec.liveness = Duration::from_millis(self.liveness_ms);
        spec.hook_limit = self.hook_limit_ms.map(Duration::from_millis);
        spec.retire_limit = Duration::from_millis(self.retire_limit_ms);
        spec
    }
}

impl Order {
    /// Returns what the library is to be given for a recovery.
    pub fn recovery(&self) -> RecoverySpec {
        let mut spec = RecoverySpec::default();
        spec.liveness = Duration::from_millis(self.liveness_ms);
        spec.unreachable_limit = Duration::from_millis(self.unreachable_limit_ms);
        spec.retire_limit = Duration::from_millis(self.retire_limit_ms);
        spec.deadline = Duration::from_millis(self.deadline_ms);
        spec
    }
}

/// The news of an order that a supervisor tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToldOfOrder {
    /// The order's.
    pub id: u64,
    /// The outcome of the order.
    pub outcome: OrderOutcome,
}

/// The outcome of an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrderOutcome {
    /// The name of the [`handoff::Verdict`], or of the [`handoff::Error`].
    pub verdict: String,
    /// The reason why it was not committed, or what the error says.
    pub reason: String,
    /// `true` if the incumbent said that it serves again.
    pub resumed_confirmed: bool,
    /// The successor, if it serves.
    pub pid: Option<u32>,
    /// The time that it took, in milliseconds.
    pub total_ms: u64,
    /// The other faults.
    pub warnings: Vec<String>,
}

impl From<Result<HandoffOutcome, HandoffError>> for OrderOutcome {
    fn from(result: Result<HandoffOutcome, HandoffError>) -> OrderOutcome {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok(outcome) => OrderOutcome {
                verdict: format!("{:?}", outcome.verdict),
                reason: outcome.abort_reason.as_ref().map(ToString::to_string).unwrap_or_default(),
                resumed_confirmed: outcome.is_resumed(),
                pid: outcome.child.map(|child| child.id().pid),
                total_ms: millis(outcome.phases.total),
                warnings: outcome.warnings,
            },
            Err(failed) => failed.error.into(),
        }
    }
}

impl From<handoff::Result<RecoveryOutcome>> for OrderOutcome {
    fn from(result: handoff::Result<RecoveryOutcome>) -> OrderOutcome {
        match result {
            Ok(outcome) => OrderOutcome {
                verdict: match &outcome.daemon {
                    Some(_) => "Serves",
                    None if outcome.nobody_serves => "NobodyServes",
                    None => "Unconfirmed",
                }
                .into(),
                reason: String::new(),
                resumed_confirmed: false,
                pid: outcome.daemon.map(|child| child.id().pid),
                total_ms: 0,
                warnings: outcome.warnings,
            },
            Err(error) => error.into(),
        }
    }
}

impl From<Error> for OrderOutcome {
    fn from(error: Error) -> OrderOutcome {
        OrderOutcome {
            verdict: name(&error).into(),
            reason: error.to_string(),
            resumed_confirmed: false,
            pid: None,
            total_ms: 0,
            warnings: Vec::new(),
        }
    }
}

fn name(error: &Error) -> &'static str {
    match error {
        Error::Peer(_) | Error::Unreachable(_) => "Peer",
        Error::Caller(_) => "Caller",
        Error::Untrusted(_) => "Untrusted",
        Error::System { .. } => "System",
        Error::Busy => "Busy",
        Error::Cancelled => "Cancelled",
        Error::Locked(_) => "Locked",
        Error::Hook(_) => "Hook",
        #[allow(unreachable_patterns, reason = "the list may grow")]
        _ => "other",
    }
}

impl OrderOutcome {
    /// Returns what the keeper is to know of the end of a handoff, or of a cold start.
    pub fn end(&self) -> TaskEnd {
        let verdict = match self.verdict.as_str() {
            "Caller" => return TaskEnd::NotBegun,
            "Committed" => HandoffVerdict::Committed,
            "RolledBack" => HandoffVerdict::RolledBack,
            "FellBack" => HandoffVerdict::FellBack,
            "NobodyServes" => HandoffVerdict::NobodyServes,
            "Busy" => HandoffVerdict::Busy,
            "Peer" => HandoffVerdict::Unreachable,
            "Cancelled" => HandoffVerdict::Cancelled,
            _ => HandoffVerdict::Unconfirmed,
        };
        let journalled = !self.warnings.iter().any(|warning| warning.contains("journal"));
        TaskEnd::Over { verdict, journalled, of_data: false }
    }

    /// Returns what the keeper is to know of the end of a recovery, but for the start time of the one that
    /// serves.
    pub fn found(&self) -> recovery::RecoveryVerdict {
        match (self.verdict.as_str(), self.pid) {
            ("Serves", Some(pid)) => recovery::RecoveryVerdict::Serves(ProcessId { pid, start_time: 0 }),
            ("NobodyServes", _) => recovery::RecoveryVerdict::NobodyServes,
            _ => recovery::RecoveryVerdict::Unconfirmed,
        }
    }

    /// Of what has no outcome.
    pub fn done() -> OrderOutcome {
        OrderOutcome {
            verdict: "Done".into(),
            reason: String::new(),
            resumed_confirmed: false,
            pid: None,
            total_ms: 0,
            warnings: Vec::new(),
        }
    }

    /// The successor serves; returns its pid.
    #[track_caller]
    pub fn assert_committed(&self) -> u32 {
        assert_eq!(self.verdict, "Committed", "{self:#?}");
        self.pid.expect("a committed successor has a pid")
    }

    /// The incumbent has said that it serves again, and the reason has `why` in it.
    #[track_caller]
    pub fn assert_rolled_back(&self, why: &str) {
        assert_eq!(self.verdict, "RolledBack", "{self:#?}");
        assert!(self.resumed_confirmed, "{self:#?}");
        self.assert_names(why);
    }

    /// Nothing was begun: the error is called `error`, and what it says has `why` in it.
    #[track_caller]
    pub fn assert_refused(&self, error: &str, why: &str) {
        assert_eq!(self.verdict, error, "{self:#?}");
        self.assert_names(why);
    }

    #[track_caller]
    fn assert_names(&self, why: &str) {
        assert!(self.reason.contains(why), "the reason does not say {why:?}: {self:#?}");
    }
}
