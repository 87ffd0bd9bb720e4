//! The handoff that this process takes part in, for the lines of its log: whichever thread logs, and about whatever.
use std::sync::{Mutex, PoisonError};

use crate::id::HandoffId;

/// Of several in one process, the last that has taken a step.
static UNDER_WAY: Mutex<Option<HandoffId>> = Mutex::new(None);

/// Notes which handoff is under way from here on, if one is.
pub(crate) fn note(handoff: Option<HandoffId>) {
    *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner) = handoff;
}

/// The handoff that is under way; `None` if none is.
pub(crate) fn handoff() -> Option<HandoffId> {
    *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}
