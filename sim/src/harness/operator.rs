//! The operator: asks for handoffs, then, when nothing goes wrong any more, for one that must commit.
use handoff::HandoffId;
use handoff::machine::supervisor::HandoffVerdict;

use crate::happening::Happening;
use crate::kernel::{Life, Micros, Name};
use crate::plan::Planted;
use crate::process::Process;
use crate::supervisor::SupervisorProgram;
use crate::world::SimulatedWorld;

/// How often it looks.
const LOOK: Micros = 5_000;
/// How long after the last handoff all must be in order.
const SETTLE: Micros = 30_000;

/// The operator.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    phase: OperatorPhase,
    /// Handoffs that it has asked for.
    pub asked: u32,
    /// What became of them, the last one included.
    pub verdicts: Vec<HandoffVerdict>,
    /// The build that was asked for last.
    pub newest_build: u32,
    ids: u64,
    /// How often something went wrong.
    disturbances: u64,
    /// How things stood when all faults were over.
    pub rest: Option<AtRest>,
    /// Since when it waits for a supervisor that can be asked.
    waits_since: Micros,
}

/// How things stand when nothing is under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AtRest {
    /// The process that serves.
    pub serves: Option<Name>,
    /// The process that holds the lock.
    pub holder: Option<Name>,
    /// What supervisors have reported of the handoffs that were asked for.
    pub verdicts: Vec<HandoffVerdict>,
    /// The process that the journal names as the one that runs; none if it names none, or one that has ended.
    pub running: Option<Name>,
    /// The build that the journal names as committed.
    pub committed: Option<u32>,
    /// The journal says that a handoff is under way.
    pub is_under_way: bool,
    /// How much of [`RunReport::told`](crate::run::RunReport::told) is older than that.
    pub told: usize,
    /// How much of [`RunReport::sent`](crate::run::RunReport::sent) is.
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

    /// Something went wrong.
    pub(crate) fn disturbed(&mut self) {
        self.disturbances += 1;
    }

    pub(crate) fn next_handoff_id(&mut self) -> HandoffId {
        self.ids += 1;
        crate::supervisor::swap::handoff_id(self.ids)
    }
}

impl SimulatedWorld {
    /// Nothing is wrong now: how often something was.
    pub(crate) fn is_calm(&self) -> Option<u64> {
        let passed = self.faults.last <= self.now && !self.has_stops() && !self.disk.lock().is_sick();
        let calm = passed
            && self.links.is_empty()
            && !self.has_stranger_at_lock()
            && !self.audit.signalled.iter().any(|pid| self.processes.contains_key(pid))
            && self.supervisors().count() == 1
            && self.daemons().count() == 1
            && self.who_serves().is_some();
        calm.then_some(self.operator.disturbances)
    }

    /// Nothing has gone wrong since.
    pub(crate) fn still_calm(&self, since: Option<u64>) -> bool {
        since == Some(self.operator.disturbances)
    }

    pub(crate) fn operate(&mut self) {
        self.after(LOOK, Happening::Operator);
        match self.operator.phase {
            OperatorPhase::Begins => {
                if self.can_be_asked() {
                    self.clients_come();
                    self.operator.newest_build = self.operator.newest_build.max(1);
                    self.operator.phase = OperatorPhase::Asks;
                    self.operator.waits_since = self.now + self.plan.pause.micros();
                }
                self.waits_for_ever();
            }
            OperatorPhase::Asks => self.asks(),
            OperatorPhase::Heals => {
                if self.is_healed() {
                    self.operator.phase = OperatorPhase::Last;
                    self.operator.rest = Some(self.rest());
                    self.is_reported();
                    self.ask();
                } else if self.now > self.operator.waits_since + self.plan.times.bound().micros() {
                    let why = self.why_not_healed();
                    self.violated("serves again", why);
                }
            }
            OperatorPhase::Last => {
                if self.can_be_asked() {
                    self.operator.phase = OperatorPhase::Settles(self.now + SETTLE);
                }
                self.waits_for_ever();
            }
            OperatorPhase::Settles(at) if self.now >= at => {
                if self.planted == Planted::PathIsRemoved {
                    self.control_path = None;
                }
                self.all_is_in_order();
                self.over = true;
            }
            OperatorPhase::Settles(_) => {}
        }
    }

    fn asks(&mut self) {
        let ready = self.can_be_asked() && self.now >= self.operator.waits_since + self.plan.pause.micros();
        let waited = self.now > self.operator.waits_since + 2 * self.plan.times.bound().micros();
        if waited || ready && self.operator.asked == self.plan.handoffs {
            self.heal();
        } else if ready {
            self.ask();
        }
    }

    /// A supervisor is there that has nothing to do and knows which daemon serves.
    fn can_be_asked(&self) -> bool {
        let supervisor = self.main_supervisor().filter(|pid| self.runs(*pid));
        supervisor.and_then(|pid| self.processes[&pid].supervisor()).is_some_and(SupervisorProgram::is_idle)
    }

    fn ask(&mut self) {
        let Some(pid) = self.main_supervisor() else { return };
        self.operator.asked += 1;
        self.operator.newest_build += 1;
        self.operator.waits_since = self.now;
        let (nth, build) = (self.operator.asked, self.operator.newest_build);
        self.recorder.begins(self.now);
        self.handoff_begins(nth);
        self.asks_for(pid, build);
    }

    /// No more faults; what they left is taken away.
    fn heal(&mut self) {
        self.operator.phase = OperatorPhase::Heals;
        self.operator.waits_since = self.now;
        self.faults.end();
        self.faults.passed(self.now);
        self.disk.lock().heal();
        self.strangers_leave();
        self.sockets_are_put_back();
        let now = self.now;
        self.links.values_mut().for_each(|link| link.hurry(now));
        let waiting =
            self.processes.values_mut().filter_map(Process::daemon_mut).flat_map(|d| &mut d.waiting);
        waiting.for_each(|(at, _)| *at = now.min(*at));
        for process in self.processes.values_mut() {
            process.no_descriptors_until = now;
            process.pending.iter_mut().for_each(|(at, _)| *at = now.min(*at));
        }
        let stopped = |(_, process): &(&u32, &Process)| process.life == Life::Stopped;
        let stopped: Vec<u32> = self.processes.iter().filter(stopped).map(|(pid, _)| *pid).collect();
        stopped.into_iter().for_each(|pid| self.continues(pid));
        let all: Vec<u32> = self.processes.keys().copied().collect();
        all.into_iter().for_each(|pid| self.poke(pid, now));
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
            self.operator.verdicts.iter().map(|verdict| format!("{verdict:?}")).collect();
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
        let name = |pid: u32| self.processes.get(&pid).map(|process| process.name);
        let journal = self.journal();
        let running = journal.running.as_ref();
        let holder = self.disk.lock().holders.iter().next().copied();
        AtRest {
            serves: self.who_serves().and_then(name),
            holder: holder.and_then(name),
            verdicts: self.operator.verdicts.clone(),
            running: running.and_then(|running| name(running.process.pid)),
            committed: SupervisorProgram::committed_build(&journal),
            is_under_way: journal.under_way.is_some(),
            told: self.recorder.steps.len(),
            sent: self.recorder.sent.len(),
        }
    }

    fn why_not_healed(&self) -> String {
        let all = self.processes.keys().map(|pid| format!("{} {}", self.name_of(*pid), self.state_of(*pid)));
        let all: Vec<String> = all.collect();
        format!(
            "nothing has gone wrong for {}, and still not one process serves, known to its supervisor: {}",
            self.plan.times.bound(),
            all.join(", ")
        )
    }

    fn waits_for_ever(&mut self) {
        if self.now > self.operator.waits_since + 3 * self.plan.times.bound().micros() {
            let why = self.why_not_healed();
            self.violated("serves again", why);
        }
    }
}
