//! The messages that travel over the trigger socket: one JSON object a line, one request and one answer a
//! connection. Lines that tell how far a swap has come precede its answer, if the request asks for them.
mod under_way;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use handoff::Phase;
use handoff::message::Standing;
pub use handoff::node::keeper::Activity;
use handoff::text::PlainText;
use handoff::{
    DaemonStatus, HandoffOutcome, HandoffProgress, InterruptedEnd, Phases, ProcessId, RecoveryOutcome,
    Verdict,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::under_way::{ProcessReport, SwapProgress, UnderWayReport};
use crate::exit::{Code, CommandFailure};

/// No request is longer, its newline included.
pub const REQUEST_MAX: usize = 64 * 1024;
/// No answer is longer, its newline included.
pub const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// The names of the reasons for which a new daemon that is warm is let go.
const TRIED: &str = "tried";
const OTHER_BUILD: &str = "other_build";

/// The request of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case", deny_unknown_fields)]
pub enum TriggerRequest {
    /// Replace the daemon; the answer comes when that has ended.
    Swap {
        /// By this binary, an absolute path; by the configured one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        binary: Option<PathBuf>,
        /// Tell how far it has come until then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        progress: bool,
        /// The name that the new daemon must give to its build.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect_build: Option<PlainText>,
        /// Only let the new daemon become warm, and let it go.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        dry_run: bool,
    },
    /// Call off the swap that is under way; the answer, which the caller of the swap gets as well, comes when that has ended.
    Cancel {},
    /// Say what runs.
    Status {},
    /// End the supervisor and leave the daemon serving, for the next supervisor.
    Detach {},
    /// Start the next daemon, whatever data it opens: they are the right ones.
    AcceptData {},
}

/// The answer of the supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerAnswer {
    /// The progress of a swap: its answer is yet to come.
    Progress(SwapProgress),
    /// The result of a swap.
    Swap(SwapReport),
    /// The status of what runs.
    Status(Box<StatusReport>),
    /// The supervisor ends; this daemon serves on.
    Detached {
        /// Its pid.
        pid: u32,
    },
    /// The data are accepted, and the daemon is started.
    Accepted {},
    /// The request was not carried out.
    Error(CommandFailure),
}

/// The result of a swap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwapReport {
    /// The outcome of the swap.
    pub outcome: SwapOutcome,
    /// `true` if the new binary serves.
    pub committed: bool,
    /// The reason why it was not committed.
    pub reason: Option<String>,
    /// The same in a word, for programs: one of [`Reason::name`](handoff::Reason::name), `failed` if the supervisor can't tell how
    /// the swap ended, or `interrupted` if the supervisor that began it has ended before it.
    #[serde(default)]
    pub reason_name: Option<PlainText>,
    /// The old daemon has said itself that it serves again.
    pub resumed_confirmed: bool,
    /// Identifies the handoff in the logs of all three processes.
    pub handoff_id: String,
    /// The binary that was swapped to.
    pub binary: PathBuf,
    /// The name that the new daemon gives to its build, if it has said so.
    #[serde(default)]
    pub build_id: Option<PlainText>,
    /// The new daemon, if it serves.
    pub pid: Option<u32>,
    /// The time that each phase took, in milliseconds.
    pub phases_ms: PhasesMs,
    /// The time in which no daemon accepted.
    #[serde(default)]
    pub pause_ms: f64,
    /// Connections that were still open when the drain's grace was over.
    #[serde(default)]
    pub connections_left: u32,
    /// The faults that did not change the outcome.
    pub warnings: Vec<String>,
}

impl SwapReport {
    /// The report on `outcome` of a swap to `binary` that has come as far as `progress` says.
    pub(crate) fn new(
        outcome: &HandoffOutcome,
        progress: Option<&HandoffProgress>,
        binary: PathBuf,
        mut warnings: Vec<String>,
    ) -> SwapReport {
        let successor = progress.and_then(|progress| progress.successor.as_ref());
        warnings.extend(outcome.warnings.iter().cloned());
        SwapReport {
            outcome: outcome.verdict.into(),
            committed: outcome.verdict == Verdict::Committed,
            reason: outcome.abort_reason.as_ref().map(ToString::to_string),
            reason_name: outcome.abort_reason.as_ref().map(|reason| reason.name().into()),
            resumed_confirmed: outcome.is_resumed(),
            handoff_id: outcome.handoff_id.to_string(),
            binary,
            build_id: successor.and_then(|successor| successor.build_id.clone()),
            pid: outcome.child.as_ref().map(|child| child.id().pid),
            phases_ms: outcome.phases.into(),
            pause_ms: ms(outcome.phases.pause()),
            connections_left: outcome.open_conns_remaining,
            warnings,
        }
    }

    /// The exit status that `swap` ends with.
    pub fn code(&self) -> Code {
        match self.reason_name.as_deref() {
            Some(TRIED) => Code::Ok,
            Some(OTHER_BUILD) => Code::NotAllowed,
            _ => Verdict::from(self.outcome).into(),
        }
    }

    /// Returns whether the new daemon has become warm, was to become no more, and was let go.
    pub fn was_tried(&self) -> bool {
        self.reason_name.as_deref() == Some(TRIED)
    }
}

/// The outcome of a swap; [`Verdict`] for the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapOutcome {
    /// The new daemon serves, the old one has ended.
    Committed,
    /// The old daemon serves.
    RolledBack,
    /// The new daemon was committed and ended; the old one serves.
    FellBack,
    /// The old daemon may serve; it did not say so.
    Unconfirmed,
    /// Nobody serves until the supervisor has started the last committed binary.
    NobodyServes,
}

impl From<Verdict> for SwapOutcome {
    fn from(verdict: Verdict) -> SwapOutcome {
        match verdict {
            Verdict::Committed => SwapOutcome::Committed,
            Verdict::RolledBack => SwapOutcome::RolledBack,
            Verdict::FellBack => SwapOutcome::FellBack,
            Verdict::NobodyServes => SwapOutcome::NobodyServes,
            _ => SwapOutcome::Unconfirmed,
        }
    }
}

impl From<SwapOutcome> for Verdict {
    fn from(outcome: SwapOutcome) -> Verdict {
        match outcome {
            SwapOutcome::Committed => Verdict::Committed,
            SwapOutcome::RolledBack => Verdict::RolledBack,
            SwapOutcome::FellBack => Verdict::FellBack,
            SwapOutcome::Unconfirmed => Verdict::Unconfirmed,
            SwapOutcome::NobodyServes => Verdict::NobodyServes,
        }
    }
}

/// The time that each phase took, in milliseconds. In JSON an object with a number for each [`Phase`], and
/// `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PhasesMs {
    took: [f64; Phase::ALL.len()],
    /// All of it.
    pub total: f64,
}

impl PhasesMs {
    /// Returns what `took` says of each phase, and `total`.
    pub fn new(took: impl Fn(Phase) -> f64, total: f64) -> PhasesMs {
        let mut phases = PhasesMs { total, ..PhasesMs::default() };
        Phase::ALL.iter().for_each(|phase| phases.took[*phase as usize] = took(*phase));
        phases
    }

    /// Returns what `phase` took; 0 if the swap did not come to it.
    pub fn took(&self, phase: Phase) -> f64 {
        self.took[phase as usize]
    }
}

impl From<Phases> for PhasesMs {
    fn from(phases: Phases) -> PhasesMs {
        PhasesMs::new(|phase| ms(phases.took(phase)), ms(phases.total))
    }
}

const TOTAL: &str = "total";

impl Serialize for PhasesMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let took = Phase::ALL.iter().map(|phase| (phase.name(), self.took(*phase)));
        serializer.collect_map(took.chain([(TOTAL, self.total)]))
    }
}

impl<'de> Deserialize<'de> for PhasesMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PhasesMs, D::Error> {
        // A supervisor of another version may know other phases.
        let took = BTreeMap::<String, f64>::deserialize(deserializer)?;
        let of = |name| took.get(name).copied().unwrap_or_default();
        Ok(PhasesMs::new(|phase| of(phase.name()), of(TOTAL)))
    }
}

/// Whole microseconds, in milliseconds: more digits would only be noise to their reader.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// The status of what runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The activity of the supervisor.
    pub activity: Activity,
    /// The supervisor's pid.
    pub supervisor_pid: u32,
    /// The supervisor's version.
    pub supervisor_version: String,
    /// The time for which the supervisor has been running, in seconds.
    pub supervisor_up_secs: f64,
    /// The time at which the supervisor began (RFC 3339); empty if it is of a version that does not say.
    #[serde(default)]
    pub supervisor_since: String,
    /// The daemon's process, if there is one.
    pub daemon: Option<DaemonReport>,
    /// The daemon's answer about itself, if it answers.
    pub answer: Option<DaemonAnswer>,
    /// The reason why it does not answer.
    pub silence: Option<String>,
    /// The listening sockets that daemons inherit.
    #[serde(default)]
    pub listeners: Vec<ListenerReport>,
    /// The task that is under way.
    #[serde(default)]
    pub under_way: Option<UnderWayReport>,
    /// The number of times that the daemon had to be started again because it ended by itself.
    pub restarts: u64,
    /// The reason why the last start came to nothing, while no daemon serves.
    #[serde(default)]
    pub failed_start: Option<String>,
    /// The reasons why what was committed may not come back as it ran.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The last swap.
    pub last_swap: Option<LastSwap>,
    /// The last time that it had to find the daemon that serves: at its start, and after the daemon ended by itself or a
    /// swap had no clear end.
    pub recovery: Option<RecoveryReport>,
}

/// The findings of a recovery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecoveryReport {
    /// The end of the recovery.
    pub found: RecoveryEnd,
    /// The daemon that serves.
    pub pid: Option<u32>,
    /// The swap that an earlier supervisor did not bring to its end, and what became of it.
    pub interrupted: Option<InterruptedSwap>,
    /// The listeners that were taken over from a daemon.
    pub listeners_taken: Vec<String>,
    /// The listeners that had to be opened: new in the configuration, or no process had them.
    pub listeners_opened: Vec<String>,
    /// Processes that were killed: strays of a swap, and those that were silent past their bound.
    pub killed: Vec<u32>,
    /// Other processes that may be daemons here, and were left alone.
    pub left: Vec<u32>,
    /// The faults that did not change what was found; of the journal, too.
    pub warnings: Vec<String>,
    /// The time that the recovery took, in milliseconds.
    pub took_ms: f64,
    /// The time since the recovery ended, in seconds.
    pub ended_secs_ago: f64,
}

/// The end of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryEnd {
    /// A daemon serves, and was taken over.
    Serving,
    /// Nobody served: the daemon is started.
    Nobody,
    /// A daemon is there, but has not said that it serves; it is asked again.
    Unconfirmed,
}

/// A swap that an earlier supervisor did not bring to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterruptedSwap {
    /// Identifies the handoff in the logs of all processes.
    pub handoff_id: String,
    /// The result of the swap.
    pub end: SwapEnd,
}

/// The result of a swap that was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapEnd {
    /// The new daemon serves.
    Finished,
    /// The old daemon serves.
    Undone,
    /// Neither of them does.
    Lost,
}

impl From<InterruptedEnd> for SwapEnd {
    fn from(end: InterruptedEnd) -> SwapEnd {
        match end {
            InterruptedEnd::Finished => SwapEnd::Finished,
            InterruptedEnd::Undone => SwapEnd::Undone,
            _ => SwapEnd::Lost,
        }
    }
}

impl RecoveryReport {
    /// The report on `outcome`; what became of the listeners is yet to be filled in.
    pub(crate) fn new(outcome: &RecoveryOutcome) -> RecoveryReport {
        let pids = |processes: &[ProcessId]| processes.iter().map(|process| process.pid).collect();
        let interrupted = outcome.interrupted.map(|interrupted| InterruptedSwap {
            handoff_id: interrupted.handoff_id.to_string(),
            end: interrupted.end.into(),
        });
        RecoveryReport {
            found: match &outcome.daemon {
                Some(_) => RecoveryEnd::Serving,
                None if outcome.nobody_serves => RecoveryEnd::Nobody,
                None => RecoveryEnd::Unconfirmed,
            },
            pid: outcome.daemon.as_ref().map(|daemon| daemon.id().pid),
            interrupted,
            listeners_taken: Vec::new(),
            listeners_opened: Vec::new(),
            killed: pids(&outcome.killed),
            left: pids(&outcome.left),
            warnings: outcome.warnings.clone(),
            took_ms: ms(outcome.took),
            ended_secs_ago: 0.0,
        }
    }
}

impl StatusReport {
    /// The exit status that `status` ends with: whether a daemon serves.
    pub fn code(&self) -> Code {
        match (&self.answer, self.activity, &self.daemon) {
            (Some(answer), _, _) if answer.standing == Standing::Serving => Code::Ok,
            (Some(_), _, _) => Code::NobodyServes,
            (None, Activity::Recovering, _) => Code::Unconfirmed,
            (None, _, None) => Code::NobodyServes,
            (None, _, Some(_)) => Code::Unavailable,
        }
    }
}

/// The daemon's process, as the supervisor knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonReport {
    /// Its pid.
    pub pid: u32,
    /// The binary that the daemon was started from.
    pub binary: PathBuf,
    /// `true` if it is not what was swapped to last, which kept failing, but what was committed before.
    #[serde(default)]
    pub fell_back: bool,
    /// The time at which the daemon began to serve, in seconds since the Unix epoch.
    pub since_unix_secs: u64,
    /// For how long it has been serving.
    pub up_secs: f64,
    /// The time at which the daemon's process started (RFC 3339); empty if that is not known.
    #[serde(default)]
    pub started_at: String,
    /// The time at which the daemon was committed (RFC 3339); `None` if that is not known: another supervisor
    /// has committed it.
    #[serde(default)]
    pub committed_at: Option<String>,
    /// The state of the file at `binary`: whether it is what the daemon's process executes.
    #[serde(default)]
    pub file: FileState,
}

/// The state of the file at the path of a binary, beside what was started from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// The very file.
    Same,
    /// Another file.
    Replaced,
    /// None.
    Missing,
    /// Not known: the process belongs to another user, or its file is a script.
    #[default]
    Unknown,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerReport {
    /// Its name.
    pub name: String,
    /// Its address, as the configuration writes it; with the port that the system chose, if it did. `None` if it has none.
    pub addr: Option<PlainText>,
}

/// The daemon's answer about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonAnswer {
    /// The name that the daemon gives to its build.
    pub build_id: PlainText,
    /// The daemon's standing in the protocol.
    pub standing: Standing,
    /// Its open connections.
    pub open_conns: u32,
    /// The last revision of each of its shards.
    pub last_revision_per_shard: Vec<u64>,
}

impl From<DaemonStatus> for DaemonAnswer {
    fn from(DaemonStatus { hello, status, .. }: DaemonStatus) -> DaemonAnswer {
        DaemonAnswer {
            build_id: hello.build(),
            standing: status.standing,
            open_conns: status.open_conns,
            last_revision_per_shard: status.last_revision_per_shard,
        }
    }
}

/// A swap that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastSwap {
    /// The time since the swap ended, in seconds.
    pub ended_secs_ago: f64,
    /// The time at which the swap ended (RFC 3339); empty if the supervisor is of a version that does not
    /// say.
    #[serde(default)]
    pub ended_at: String,
    /// The result of the swap.
    pub report: SwapReport,
}

/// One line for the wire.
///
/// # Errors
/// The value can't be expressed in JSON: a path that is not UTF-8.
pub(crate) fn line(value: &impl Serialize) -> Result<Vec<u8>, CommandFailure> {
    let mut line =
        serde_json::to_vec(value).map_err(|error| CommandFailure::new(Code::Data, error.to_string()))?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a request from its line.
///
/// # Errors
/// [`Code::Data`], saying what is wrong with it.
pub(crate) fn parse_request(line: &[u8]) -> Result<TriggerRequest, CommandFailure> {
    let request: TriggerRequest = serde_json::from_slice(line)
        .map_err(|error| CommandFailure::new(Code::Data, format!("not a request: {error}")))?;
    match &request {
        TriggerRequest::Swap { binary: Some(path), .. } if !path.is_absolute() => Err(CommandFailure::new(
            Code::Data,
            format!("binary: {} is not an absolute path", path.display()),
        )),
        _ => Ok(request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        let failure = parse_request(line.as_bytes()).unwrap_err();
        assert_eq!(failure.code, Code::Data);
        failure.message
    }

    #[test]
    fn requests_are_what_the_documentation_shows() {
        let swap = |binary: Option<&str>, progress| TriggerRequest::Swap {
            binary: binary.map(PathBuf::from),
            progress,
            expect_build: None,
            dry_run: false,
        };
        let build = Some("7".into());
        let tried =
            TriggerRequest::Swap { binary: None, progress: false, expect_build: build, dry_run: true };
        let cases = [
            (r#"{"cmd":"swap"}"#, swap(None, false)),
            (r#"{"cmd":"swap","binary":"/bin/d"}"#, swap(Some("/bin/d"), false)),
            (r#"{"cmd":"swap","progress":true}"#, swap(None, true)),
            (r#"{"cmd":"swap","expect_build":"7","dry_run":true}"#, tried),
            (r#"{"cmd":"cancel"}"#, TriggerRequest::Cancel {}),
            (r#"{"cmd":"status"}"#, TriggerRequest::Status {}),
            (r#"{"cmd":"detach"}"#, TriggerRequest::Detach {}),
            (r#"{"cmd":"accept_data"}"#, TriggerRequest::AcceptData {}),
        ];
        for (text, request) in cases {
            assert_eq!(parse_request(text.as_bytes()).unwrap(), request);
            assert_eq!(line(&request).unwrap(), format!("{text}\n").into_bytes());
        }
    }

    #[test]
    fn a_request_that_makes_no_sense_is_told_why() {
        assert!(refusal(r#"{"cmd":"reboot"}"#).contains("`swap`"), "what is allowed is named");
        assert!(refusal(r#"{"cmd":"status","verbose":true}"#).contains("verbose"));
        assert!(refusal(r#"{"cmd":"swap","binary":"bin/d"}"#).contains("absolute"));
        assert!(refusal(r#"{"cmd":"status"} {}"#).contains("trailing"));
        refusal("");
        refusal("\u{0}");
    }

    #[test]
    fn an_outcome_survives_the_wire() {
        for verdict in [
            Verdict::Committed,
            Verdict::RolledBack,
            Verdict::FellBack,
            Verdict::Unconfirmed,
            Verdict::NobodyServes,
        ] {
            let json = serde_json::to_string(&SwapOutcome::from(verdict)).unwrap();
            let back: SwapOutcome = serde_json::from_str(&json).unwrap();
            assert_eq!(Verdict::from(back), verdict);
        }
    }

    #[test]
    fn the_reasons_that_have_an_exit_status_of_their_own_are_called_so() {
        let other = handoff::Reason::OtherBuild { said: "a".into(), expected: "b".into() };
        assert_eq!((handoff::Reason::Tried.name(), other.name()), (TRIED, OTHER_BUILD));
    }

    #[test]
    fn phases_are_a_number_for_each() {
        let phases = PhasesMs::new(|phase| if phase == Phase::WarmUp { 1.5 } else { 0.0 }, 2.0);
        let text = concat!(
            r#"{"spawn":0.0,"warm_up":1.5,"drain":0.0,"seal":0.0,"open":0.0,"commit":0.0,"retire":0.0,"#,
            r#""roll_back":0.0,"total":2.0}"#
        );
        assert_eq!(serde_json::to_string(&phases).unwrap(), text);
        assert_eq!(serde_json::from_str::<PhasesMs>(text).unwrap(), phases);
        let later: PhasesMs = serde_json::from_str(r#"{"migrate":3.0,"total":2.0}"#).unwrap();
        assert_eq!(later, PhasesMs::new(|_| 0.0, 2.0));
    }
}
