//! The log lines about calls of the library.
use std::path::Path;

use handoff::{HandoffOutcome, Reason};

use crate::exit::CommandFailure;
use crate::work::LibraryCall;

/// Says that a call has failed.
pub(crate) fn failure(call: &LibraryCall, failure: &CommandFailure) {
    tracing::error!(code = ?failure.code, "{}: {failure}", call.name());
}

/// Says how a handoff ended.
pub(crate) fn outcome(binary: &Path, outcome: &HandoffOutcome) {
    let binary = binary.display();
    let (id, verdict, total) = (outcome.handoff_id, outcome.verdict, outcome.phases.total);
    for warning in &outcome.warnings {
        tracing::warn!(handoff = %id, "{warning}");
    }
    let reason = outcome.abort_reason.as_ref().map(ToString::to_string).unwrap_or_default();
    if outcome.is_committed() {
        tracing::info!(%binary, handoff = %id, ?total, "committed");
    } else if outcome.abort_reason == Some(Reason::Tried) {
        tracing::info!(%binary, handoff = %id, ?total, "tried");
    } else {
        tracing::error!(%binary, handoff = %id, ?total, reason, "{verdict:?}");
    }
}

/// Says which of `results` are errors, of `what`.
pub(crate) fn errors(what: &str, results: impl Iterator<Item = handoff::Result<()>>) {
    for error in results.filter_map(Result::err) {
        tracing::warn!("{what}: {error}");
    }
}
