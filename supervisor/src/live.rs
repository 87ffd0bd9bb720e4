//! The progress of what is under way: told by the library on the handoff's thread, read by the main loop.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use handoff::HandoffProgress;

use crate::protocol::SwapProgress;
use crate::trigger::ProgressTo;

/// The facts that are known of what is under way. Copies know the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live(Arc<Mutex<LiveState>>);

#[derive(Debug, Default)]
struct LiveState {
    last: Option<HandoffProgress>,
    /// The time at which the handoff came to its phase.
    phase_since: Option<Instant>,
    /// The client that wants to know.
    client: Option<ProgressTo>,
}

impl Live {
    /// Notes that something begins; `client` is told how far it has come.
    pub(crate) fn begins(&self, client: Option<ProgressTo>) {
        *self.state() = LiveState { client, ..LiveState::default() };
    }

    /// The library says how far it has come.
    pub(crate) fn is_told(&self, progress: &HandoffProgress) {
        let mut state = self.state();
        if state.last.as_ref().is_none_or(|last| last.phase != progress.phase) {
            state.phase_since = Some(Instant::now());
        }
        state.last = Some(progress.clone());
        state.client.iter_mut().for_each(|client| client.send(progress.into()));
    }

    /// Notes that what was under way is over, and returns how far it came, if the handoff has begun.
    pub(crate) fn ends(&self) -> Option<HandoffProgress> {
        std::mem::take(&mut *self.state()).last
    }

    /// Returns how far it has come, and for how many seconds it has been in its phase.
    pub(crate) fn now(&self) -> Option<(SwapProgress, f64)> {
        let state = self.state();
        let since = state.phase_since?;
        Some((state.last.as_ref()?.into(), since.elapsed().as_secs_f64()))
    }

    fn state(&self) -> MutexGuard<'_, LiveState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
