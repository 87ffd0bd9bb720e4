//! The next events of the supervisor that recovers.
use handoff::machine::{Machine, Timer};

use super::steps::ModelStep;
use super::{Model, ModelEnd};

impl Model {
    /// Adds the next events of the recovery, but for timers. Ends come before anything else.
    pub(crate) fn recovery_steps(&self, steps: &mut Vec<ModelStep>) {
        let Some(recovery) =
            self.recovery.as_ref().filter(|_| self.recovery_runs() && !self.recovery_is_over())
        else {
            return;
        };
        let ended = recovery.watched.iter().find(|pid| !self.processes.contains_key(pid));
        if let Some(pid) = ended {
            return steps.push(ModelStep::TellRecovery(*pid));
        }
        steps.extend(recovery.refused.first().map(|pid| ModelStep::Refused(*pid)));
        steps.extend((!recovery.pending.is_empty()).then_some(ModelStep::RecoveryComplete));
        for (i, link) in
            self.links.iter().enumerate().filter(|(_, l)| l.end == ModelEnd::Recovery && l.supervisor_open)
        {
            if !link.up.is_empty() {
                steps.push(ModelStep::Up(i));
            } else if !link.daemon_open || link.reset {
                steps.push(ModelStep::UpClosed(i));
            }
        }
    }

    pub(crate) fn recovery_timers(&self, quiet: bool, steps: &mut Vec<ModelStep>) {
        let Some(recovery) = self.recovery.as_ref().filter(|recovery| !recovery.stopped) else { return };
        let mut busy = Vec::new();
        self.recovery_steps(&mut busy);
        // A process that runs has answered before it is asked again.
        let waits = self.links.iter().any(|link| {
            link.end == ModelEnd::Recovery
                && self.runs(link.pid)
                && link.supervisor_open
                && !link.down.is_empty()
        });
        if !busy.is_empty() || waits {
            return;
        }
        let armed = |timer: &Timer| recovery.machine.timers().is_armed(*timer);
        for timer in Timer::ALL.into_iter().filter(armed) {
            let fires = match timer {
                Timer::Heartbeat => quiet || !self.faults.sparse,
                // Many questions fit into it: a process that runs has answered one.
                Timer::Patience => !recovery.asked.iter().any(|pid| self.runs(*pid)),
                Timer::IncumbentSilent => recovery.asked.iter().any(|pid| !self.runs(*pid)),
                // All have answered, and a hook keeps one from serving.
                Timer::Deadline => {
                    let hung = self.processes.values().any(|process| process.hung);
                    quiet && hung && recovery.asked.is_empty() && !armed(&Timer::Patience)
                }
                _ => false,
            };
            steps.extend(fires.then_some(ModelStep::RecoveryTimer(timer)));
        }
    }
}
