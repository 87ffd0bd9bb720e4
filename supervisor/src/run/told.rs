//! The news of the loop's state for the service manager.
use handoff::node::keeper::Activity;

use super::Runner;
use crate::service::{ServicePhase, ServiceState};
use crate::text::headline;

impl Runner {
    /// Tells the manager what has changed.
    pub(super) fn tell_manager(&mut self) {
        if !self.service.is_there() {
            return;
        }
        // A listener may have been opened anew. While a job is under way the library has them.
        let is_known = self.has_listeners && self.job.is_none();
        let listeners = is_known.then(|| self.supervisor.listeners()).and_then(|listeners| {
            listeners
                .inspect_err(|error| tracing::warn!("the service manager can't keep the listeners: {error}"))
                .ok()
        });
        let state = self.state();
        self.service.tell(state, listeners);
    }

    /// Returns what there is to tell. A start that has failed before gets no more time: the unit's own limit
    /// counts then, so that the unit fails to start if the daemon can't serve.
    fn state(&self) -> ServiceState {
        let binary = || self.job.as_ref().and_then(|job| job.call.binary()).unwrap_or_default();
        let serves = self.daemon.report();
        let (phase, takes_time, status) = match (self.keeper.activity(), &serves) {
            (Activity::Stopping, _) => (ServicePhase::Stopping, true, "stopping the daemon".into()),
            (Activity::Swapping, Some(_)) => {
                let status = format!("swapping to {}", binary().display());
                (ServicePhase::Swapping, true, status)
            }
            (_, Some(daemon)) => {
                let failed = self.history.last_swap().filter(|last| !last.report.committed);
                let failed = failed.map(|last| format!("; last swap: {}", headline(&last.report)));
                let refused = self.refused.as_ref().map(|why| format!("; swap refused: {why}"));
                let status = format!("pid {} serves ({})", daemon.pid, daemon.binary.display());
                (ServicePhase::Serving, false, status + &refused.or(failed).unwrap_or_default())
            }
            (activity, None) => {
                let (takes_time, doing) = match activity {
                    Activity::Starting => (true, format!("starting {}", binary().display())),
                    Activity::Recovering => (true, "looking for the daemon".into()),
                    _ => (false, "no daemon serves".into()),
                };
                let why = self.failed_start.as_ref();
                let status = why.map_or(doing.clone(), |why| format!("{doing}; the last start: {why}"));
                (ServicePhase::Down, takes_time && why.is_none(), status)
            }
        };
        ServiceState { phase, takes_time, status }
    }
}
