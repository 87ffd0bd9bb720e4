//! The task that is under way, as `swap` and `status` show it.
use std::path::PathBuf;

use handoff::text::PlainText;
use handoff::{HandoffProgress, Participant};
use serde::{Deserialize, Serialize};

use super::ms;

/// The task that the supervisor has under way: a swap, the start of a daemon, or a recovery; the activity
/// says which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnderWayReport {
    /// The binary that is started, if one is.
    pub binary: Option<PathBuf>,
    /// The time since it began.
    pub for_secs: f64,
    /// The time since it came to its phase.
    pub phase_secs: f64,
    /// The progress of the handoff; `None` in a recovery, and until the handoff has begun.
    pub progress: Option<SwapProgress>,
}

/// The progress of a swap or a start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwapProgress {
    /// Identifies the handoff in the logs of all three processes.
    pub handoff_id: String,
    /// The phase that it is in, as [`Phase`](super::Phase) names it; a supervisor of another version may know other phases.
    pub phase: PlainText,
    /// The time from the beginning of the handoff to the moment at which this was so.
    pub elapsed_ms: f64,
    /// The old daemon; none in a start.
    pub incumbent: Option<ProcessReport>,
    /// The new daemon, once it was started.
    pub successor: Option<ProcessReport>,
}

impl From<&HandoffProgress> for SwapProgress {
    fn from(progress: &HandoffProgress) -> SwapProgress {
        SwapProgress {
            handoff_id: progress.handoff_id.to_string(),
            phase: progress.phase.name().into(),
            elapsed_ms: ms(progress.elapsed),
            incumbent: progress.incumbent.as_ref().map(ProcessReport::from),
            successor: progress.successor.as_ref().map(ProcessReport::from),
        }
    }
}

/// A process that takes part in a handoff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessReport {
    /// Its pid.
    pub pid: u32,
    /// The name that the process gives to its build, if it has said so.
    pub build_id: Option<PlainText>,
}

impl From<&Participant> for ProcessReport {
    fn from(participant: &Participant) -> ProcessReport {
        ProcessReport { pid: participant.process.pid, build_id: participant.build_id.clone() }
    }
}
