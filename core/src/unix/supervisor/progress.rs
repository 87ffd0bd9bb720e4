//! The progress of a handoff, for what shows it to people.
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{HandoffId, ProcessId};
use crate::machine::Phase;
use crate::text::PlainText;

/// The progress of a handoff or of a cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandoffProgress {
    /// The handoff, as it is named in the log lines of all three processes.
    pub handoff_id: HandoffId,
    /// The phase that it is in.
    pub phase: Phase,
    /// The time from the beginning of the handoff to now.
    pub elapsed: Duration,
    /// The process that is to be replaced, once it was reached; none in a cold start.
    pub incumbent: Option<Participant>,
    /// The process that is to serve, once it was started.
    pub successor: Option<Participant>,
}

impl HandoffProgress {
    /// Returns whether `later` tells anything but that time has passed.
    pub(super) fn is_as(&self, later: &HandoffProgress) -> bool {
        (self.phase, &self.incumbent, &self.successor) == (later.phase, &later.incumbent, &later.successor)
    }
}

/// A process that takes part in a handoff.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant {
    /// The process.
    pub process: ProcessId,
    /// The name that the process gives to its build; `None` until it has said so.
    pub build_id: Option<PlainText>,
}

/// The function that is told how far a handoff has come.
#[derive(Clone)]
pub(super) struct ProgressObserver(Arc<dyn Fn(&HandoffProgress) + Send + Sync>);

impl ProgressObserver {
    pub(super) fn new(observer: impl Fn(&HandoffProgress) + Send + Sync + 'static) -> ProgressObserver {
        ProgressObserver(Arc::new(observer))
    }

    pub(super) fn tell(&self, progress: &HandoffProgress) {
        (self.0)(progress);
    }
}

impl fmt::Debug for ProgressObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressObserver")
    }
}
