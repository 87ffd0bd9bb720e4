//! The operator: asks for handoffs, then, when nothing goes wrong any more, for one that must commit.
use handoff::machine::supervisor::HandoffVerdict;

use super::{Process, RunWorld};
use crate::happening::Happening;
use crate::kernel::{Life, Micros, Name};
use crate::plan::Planted;
use crate::program::SupervisorProgram;

/// The interval at which the operator looks.
const LOOK: Micros = 5_000;
/// The time after the last handoff at which all must be in order.
const SETTLE: Micros = 30_000;

/// The operator.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    phase: OperatorPhase,
    /// The verdicts of them, the last one included.
    pub verdicts: Vec<HandoffVerdict>,
    /// The number of times that something went wrong.
    disturbances: u64,
    /// The state when all faults were over.
    pub rest: Option<AtRest>,
    /// Since when it waits for a supervisor that can be asked.
    waits_since: Micros,
}

/// The state when nothing is under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AtRest {
    /// The process that serves.
    pub serves: Option<Name>,
    /// The process that holds the lock.
    pub holder: Option<Name>,
    /// The verdicts that supervisors have reported of the handoffs that were asked for.
    pub verdicts: Vec<HandoffVerdict>,
    /// The process that the journal names as the one that runs; none if it names none, or one that has ended.
    pub running: Option<Name>,
    /// The build that the journal names as committed.
    pub committed: Option<u32>,
    /// `true` if the journal says that a handoff is under way.
    pub is_under_way: bool,
    /// The number of the entries of [`RunReport::told`](crate::run::RunReport::told) that are older than
    /// that.
    pub told: usize,
    /// The number of the entries of [`RunReport::sent`](crate::run::RunReport::sent) that are.
    pub sent: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OperatorPhase {
    #[default]
    Begins,
    Asks,
    /// Faults are over; it waits until one process serves.
    Heals,
    /// Has asked for the one that must commit.
    Last,
    /// Everything is to be in order by then.
    Settles(Micros),
}

impl Operator {
    /// A handoff that was asked for is over.
    pub(crate) fn handoff_ended(&mut self, now: Micros, verdict: HandoffVerdict) {
        self.verdicts.push(verdict);
        self.waits_since = now;
    }

    /// Notes that something went wrong.
    pub(crate) fn disturbed(&mut self) {
        self.disturbances += 1;
    }
}

impl RunWorld {
    /// Nothing is wrong now: how often something was.
    pub(crate) fn is_calm(&self) -> Option<u64> {
        let passed = self.around.faults.last <= self.kernel.now
            && !self.has_stops()
            && !self.kernel.disk.lock().is_sick();
        let calm = passed
            && self.kernel.links.is_empty()
            && !self.has_stranger_at_lock()
            && !self.around.audit.signalled.iter().any(|pid| self.kernel.processes.contains_key(pid))
            && self.supervisors().count() == 1
            && self.daemons().count() == 1
            && self.who_serves().is_some();
        calm.then_some(self.around.operator.disturbances)
    }

    /// Returns whether nothing has gone wrong since.
    pub(crate) fn still_calm(&self, since: Option<u64>) -> bool {
        since == Some(self.around.operator.disturbances)
    }

    pub(crate) fn operate(&mut self) {
        self.kernel.after(LOOK, Happening::Operator);
        match self.around.operator.phase {
            OperatorPhase::Begins => {
                if self.can_be_asked() {
                    self.clients_come();
                    self.orders.newest_build = self.orders.newest_build.max(1);
                    self.around.operator.phase = OperatorPhase::Asks;
                    self.around.operator.waits_since = self.kernel.now + self.plan.pause.micros();
                }
                self.waits_for_ever();
            }
            OperatorPhase::Asks => self.asks(),
            OperatorPhase::Heals => {
                if self.is_healed() {
                    self.around.operator.phase = OperatorPhase::Last;
                    self.around.operator.rest = Some(self.rest());
                    self.is_reported();
                    self.ask();
                } else if self.kernel.now
                    > self.around.operator.waits_since + self.plan.times.bound().micros()
                {
                    let why = self.why_not_healed();
                    self.violated("serves again", why);
                }
            }
            OperatorPhase::Last => {
                if self.can_be_asked() {
                    self.around.operator.phase = OperatorPhase::Settles(self.kernel.now + SETTLE);
                }
                self.waits_for_ever();
            }
            OperatorPhase::Settles(at) if self.kernel.now >= at => {
                if self.planted == Planted::PathIsRemoved {
                    self.kernel.control_path = None;
                }
                self.all_is_in_order();
                self.around.over = true;
            }
            OperatorPhase::Settles(_) => {}
        }
    }

    fn asks(&mut self) {
        let ready = self.can_be_asked()
            && self.kernel.now >= self.around.operator.waits_since + self.plan.pause.micros();
        let waited =
            self.kernel.now > self.around.operator.waits_since + 2 * self.plan.times.bound().micros();
        if waited || ready && self.orders.asked == self.plan.handoffs {
            self.heal();
        } else if ready {
            self.ask();
        }
    }

    /// Returns whether a supervisor is there that has nothing to do and knows which daemon serves.
    fn can_be_asked(&self) -> bool {
        let supervisor = self.main_supervisor().filter(|pid| self.kernel.runs(*pid));
        supervisor
            .and_then(|pid| self.kernel.processes[&pid].supervisor())
            .is_some_and(SupervisorProgram::is_idle)
    }

    fn ask(&mut self) {
        let Some(pid) = self.main_supervisor() else { return };
        self.orders.asked += 1;
        self.orders.newest_build += 1;
        self.around.operator.waits_since = self.kernel.now;
        let (nth, build) = (self.orders.asked, self.orders.newest_build);
        self.recorder.begins(self.kernel.now);
        self.handoff_begins(nth);
        self.asks_for(pid, build);
    }

    /// The operator wants another build, and says so by a signal: whether a supervisor hears it.
    pub(crate) fn reloads(&mut self) -> bool {
        let Some(pid) = self.main_supervisor() else { return false };
        if self.tell(pid, |keeper, _| keeper.reload()).is_none() {
            return false;
        }
        let build = self.orders.newest_build.max(1) + 1;
        self.orders.newest_build = build;
        if let Some(supervisor) = self.supervisor_mut(pid) {
            (supervisor.configured, supervisor.untried) = (build, Some(build));
        }
        self.kernel.poke(pid, self.kernel.now);
        true
    }

    /// No more faults; what they left is taken away.
    fn heal(&mut self) {
        self.around.operator.phase = OperatorPhase::Heals;
        self.around.operator.waits_since = self.kernel.now;
        self.around.faults.end();
        self.around.faults.passed(self.kernel.now);
        self.kernel.disk.lock().heal();
        self.strangers_leave();
        self.sockets_are_put_back();
        let now = self.kernel.now;
        self.kernel.links.values_mut().for_each(|link| link.hurry(now));
        for process in self.kernel.processes.values_mut() {
            process.no_descriptors_until = now;
            process.waiting.iter_mut().for_each(|(at, _)| *at = now.min(*at));
            process.program.pending.iter_mut().for_each(|(at, _)| *at = now.min(*at));
        }
        let stopped = |(_, process): &(&u32, &Process)| process.life == Life::Stopped;
        let stopped: Vec<u32> = self.kernel.processes.iter().filter(stopped).map(|(pid, _)| *pid).collect();
        stopped.into_iter().for_each(|pid| self.continues(pid));
        let all: Vec<u32> = self.kernel.processes.keys().copied().collect();
        all.into_iter().for_each(|pid| self.kernel.poke(pid, now));
    }

    fn is_healed(&self) -> bool {
        self.can_be_asked()
            && self.supervisors().count() == 1
            && self.who_serves().is_some()
            && self.daemons().count() == 1
    }

    /// The plan may say what is to be reported.
    fn is_reported(&mut self) {
        let reported: Vec<String> =
            self.around.operator.verdicts.iter().map(|verdict| format!("{verdict:?}")).collect();
        if !self.plan.reports.is_empty() && reported != self.plan.reports {
            let why = format!(
                "{} is reported, but the plan has {}",
                reported.join(", "),
                self.plan.reports.join(", ")
            );
            self.violated("told the truth", why);
        }
    }

    fn rest(&self) -> AtRest {
        let name = |pid: u32| self.kernel.processes.get(&pid).map(|process| process.name);
        let journal = self.journal();
        let running = journal.running.as_ref();
        let holder = self.kernel.disk.lock().holders.iter().next().copied();
        AtRest {
            serves: self.who_serves().and_then(name),
            holder: holder.and_then(name),
            verdicts: self.around.operator.verdicts.clone(),
            running: running.and_then(|running| name(running.process.pid)),
            committed: SupervisorProgram::committed_build(&journal),
            is_under_way: journal.under_way.is_some(),
            told: self.recorder.steps.len(),
            sent: self.recorder.sent.len(),
        }
    }

    fn why_not_healed(&self) -> String {
        let all = self
            .kernel
            .processes
            .keys()
            .map(|pid| format!("{} {}", self.kernel.name_of(*pid), self.state_of(*pid)));
        let all: Vec<String> = all.collect();
        format!(
            "nothing has gone wrong for {}, and still not one process serves, known to its supervisor: {}",
            self.plan.times.bound(),
            all.join(", ")
        )
    }

    fn waits_for_ever(&mut self) {
        if self.kernel.now > self.around.operator.waits_since + 3 * self.plan.times.bound().micros() {
            let why = self.why_not_healed();
            self.violated("serves again", why);
        }
    }
}
