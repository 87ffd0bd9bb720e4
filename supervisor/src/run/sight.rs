//! The news that the main loop tells of itself, and what is called off.
use std::sync::Arc;
use std::thread;

use handoff::node::keeper::Activity;

use super::{LibraryJob, Runner};
use crate::daemon;
use crate::exit::{Code, CommandFailure};
use crate::listen;
use crate::protocol::{RecoveryReport, StatusReport, TriggerAnswer, UnderWayReport};
use crate::trigger::ReplyTo;

impl Runner {
    /// Answers what the loop knows at once, and has a thread ask the daemon for the rest.
    pub(super) fn status(&self, reply: ReplyTo) {
        let report = self.report();
        let supervisor = Arc::clone(&self.supervisor);
        let (of_thread, known) = (reply.clone(), report.clone());
        let ask = move || {
            let (answer, silence) = match supervisor.status() {
                Ok(status) => (Some(status.into()), None),
                Err(error) => (None, Some(error.to_string())),
            };
            let mut report = StatusReport { answer, silence, ..known };
            report.daemon.iter_mut().for_each(|daemon| {
                daemon.file = daemon::file_state(daemon.pid, &daemon.binary);
            });
            of_thread.send(TriggerAnswer::Status(Box::new(report)));
        };
        if let Err(error) = thread::Builder::new().name("status".into()).spawn(ask) {
            let silence = Some(format!("the supervisor can't start a thread to ask the daemon: {error}"));
            reply.send(TriggerAnswer::Status(Box::new(StatusReport { silence, ..report })));
        }
    }

    fn report(&self) -> StatusReport {
        let recovery = self.recovery.as_ref().map(|(ended, report)| RecoveryReport {
            ended_secs_ago: ended.elapsed().as_secs_f64(),
            ..report.clone()
        });
        let no_binary = self.config.no_binary.iter().map(|why| format!("the configured binary: {why}"));
        let kept = self.supervisor.keep_warnings();
        let warnings = no_binary.chain(kept).chain(self.not_scraped.clone()).collect();
        StatusReport {
            activity: self.keeper.activity(),
            supervisor_pid: std::process::id(),
            supervisor_version: env!("CARGO_PKG_VERSION").into(),
            supervisor_up_secs: self.started.elapsed().as_secs_f64(),
            supervisor_since: self.started_at.clone(),
            daemon: self.daemon.report(),
            answer: None,
            silence: None,
            listeners: match &self.job {
                Some(job) => job.listeners.clone(),
                None => listen::report(&self.supervisor),
            },
            under_way: self.job.as_ref().map(|job| self.under_way(job)),
            restarts: self.daemon.restarts(),
            failed_start: self.failed_start.clone(),
            warnings,
            last_swap: self.history.last_swap(),
            recovery,
        }
    }

    fn under_way(&self, job: &LibraryJob) -> UnderWayReport {
        let (progress, phase_secs) = self.live.now().unzip();
        UnderWayReport {
            binary: job.call.binary(),
            for_secs: job.since.elapsed().as_secs_f64(),
            phase_secs: phase_secs.unwrap_or_default(),
            progress,
        }
    }

    /// Calls off the swap that is under way. The answer comes when that has ended.
    pub(super) fn cancel(&mut self, reply: ReplyTo) {
        let swap = match self.keeper.may_call_off() {
            Ok(()) => self.job.as_mut().and_then(|job| Some((&job.cancel, job.swap.as_mut()?))),
            Err(Activity::Stopping) => {
                return reply
                    .send(nothing_to_cancel("the supervisor is about to stop, and has called it off"));
            }
            Err(_) => None,
        };
        let Some((cancel, swap)) = swap else {
            return reply.send(nothing_to_cancel("no swap is under way"));
        };
        tracing::info!("the swap is called off");
        cancel.cancel();
        swap.replies.push(reply);
    }
}

fn nothing_to_cancel(why: &str) -> TriggerAnswer {
    TriggerAnswer::Error(CommandFailure::new(Code::Unavailable, why))
}
