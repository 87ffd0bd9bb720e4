//! One run: a plan in, what came of it out.
use std::collections::BTreeSet;
use std::sync::Arc;

use handoff::host::Gap;
use handoff::machine::Cell;
use handoff::machine::recovery;
use handoff::machine::supervisor::HandoffVerdict;

use crate::harness::RunWorld;
use crate::harness::checks::Violation;
use crate::harness::connected::ConnectedClient;
pub use crate::harness::coverage::CoveragePoint;
pub use crate::harness::faults::Struck;
pub use crate::harness::operator::AtRest;
use crate::kernel::Micros;
use crate::plan::Plan;
pub use crate::plan::{Passed, Planted};
use crate::runtime;
use crate::simulated::Make;
pub use crate::simulated::{forgetful_ledgers, ledgers};
use crate::trace::{Name, Reaction, SentFrame, Shown, TraceEntry};

/// The outcome of a run.
#[derive(Clone, Debug, Default)]
pub struct RunReport {
    /// The check that failed, if one did: the run ended there.
    pub violation: Option<Violation>,
    /// The faults that struck.
    pub struck: Vec<Struck>,
    /// The gaps in which processes could have died. In no order.
    pub gaps: Vec<Gap>,
    /// Cells of the machines' tables that were met. In no order.
    pub cells: Vec<Cell>,
    /// The same, each with how all other processes stood, if that was to be recorded.
    pub coverage: BTreeSet<CoveragePoint>,
    /// The places where faults could have struck, in order, if that was to be recorded.
    pub passed: Vec<Passed>,
    /// The verdicts that supervisors reported of the handoffs that were asked for.
    pub verdicts: Vec<HandoffVerdict>,
    /// The findings of recoveries.
    pub findings: Vec<recovery::RecoveryVerdict>,
    /// The longest time that nobody served, in microseconds; less the time that the one that serves was stopped.
    pub longest_outage: Micros,
    /// The number of requests that clients made.
    pub requests: u64,
    /// The number of connections that have ended that clients held.
    pub cut: u64,
    /// The number of things that happened.
    pub steps: u64,
    /// The time that it took, in virtual microseconds.
    pub length: Micros,
    /// The events, if they were to be recorded.
    pub trace: Vec<TraceEntry>,
    /// The same, process by process, and the frames between them: what real processes are held against.
    pub told: Vec<(Name, Reaction)>,
    /// The frames that were sent.
    pub sent: Vec<SentFrame>,
    /// The state when all faults were over, before the swap that must commit; none if it did not come to
    /// that.
    pub rest: Option<AtRest>,
    /// The time at which the first handoff, or the first fault, began.
    pub origin: Micros,
}

impl RunReport {
    /// Returns the parts of this run, which was one of `plan`, for a page.
    pub fn shown<'a>(&'a self, plan: &'a Plan) -> Shown<'a> {
        let violation = self.violation.as_ref();
        let verdicts: Vec<_> = self.verdicts.iter().map(|verdict| format!("{verdict:?}")).collect();
        let (verdicts, outage) = (verdicts.join(", "), self.longest_outage as f64 / 1000.0);
        Shown {
            why: &plan.why,
            plan: plan.to_toml(),
            facts: format!("{verdicts}; nobody served for {outage} ms at most; times in virtual ms"),
            violation: violation.map(|violation| format!("{}: {}", violation.check, violation.why)),
            trace: &self.trace,
        }
    }
}

/// The things that are broken on purpose, and those that are to be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// `true` if the events are to be recorded, step by step.
    pub trace: bool,
    /// The places that were passed.
    pub places: bool,
    /// `true` if the states of all other processes are to be recorded when a cell is met.
    pub coverage: bool,
    /// Broken on purpose.
    pub planted: Planted,
}

/// Runs `plan` with daemons that `make` makes.
pub fn run(plan: &Arc<Plan>, make: &Arc<Make>, options: RunOptions) -> RunReport {
    let mut world = RunWorld::of_run(Arc::clone(plan), Arc::clone(make));
    world.recorder.on = options.trace;
    world.around.faults.passed = options.places.then(Vec::new);
    world.around.audit.coverage = options.coverage.then(BTreeSet::new);
    world.planted = options.planted;
    world.kernel.disk.lock().flock_excludes_nobody = options.planted == Planted::FlockExcludesNobody;
    runtime::run(&mut world);
    RunReport {
        violation: world.around.audit.violation.take(),
        struck: std::mem::take(&mut world.around.faults.struck),
        gaps: world.around.audit.gaps.iter().copied().collect(),
        cells: world.around.audit.cells.iter().copied().collect(),
        coverage: world.around.audit.coverage.take().unwrap_or_default(),
        passed: world.around.faults.passed.take().unwrap_or_default(),
        findings: std::mem::take(&mut world.around.audit.findings),
        verdicts: std::mem::take(&mut world.around.operator.verdicts),
        longest_outage: world.around.audit.longest_outage(),
        requests: world.requests(),
        cut: world.around.connected.iter().map(ConnectedClient::cut).sum(),
        steps: world.around.steps,
        length: world.kernel.now,
        trace: std::mem::take(&mut world.recorder.entries),
        told: std::mem::take(&mut world.recorder.steps),
        sent: std::mem::take(&mut world.recorder.sent),
        rest: world.around.operator.rest.take(),
        origin: world.recorder.origin.unwrap_or(world.kernel.now),
    }
}

/// Each of `cells` once, in the order of their names.
pub fn by_name<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Vec<&'a Cell> {
    let mut cells: Vec<&Cell> = cells.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    cells.sort_by_cached_key(|cell| (cell.role.name(), cell.state.name(), cell.event.to_string()));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(plan: &str) -> RunReport {
        let plan = Plan::parse(plan).expect("a plan");
        run(&Arc::new(plan), &ledgers(), RunOptions { trace: true, ..RunOptions::default() })
    }

    #[test]
    fn a_run_in_which_nothing_goes_wrong_commits_what_was_asked_for_and_one_more() {
        let report = report("handoffs = 3");
        assert_eq!((report.violation, report.verdicts), (None, vec![HandoffVerdict::Committed; 4]));
        assert!(report.requests > 20 && report.struck.is_empty());
    }

    #[test]
    fn a_plan_says_what_is_to_be_reported() {
        assert_eq!(report("reports = [\"Committed\"]").violation, None);
        let violation = report("reports = [\"RolledBack\"]").violation.expect("it is not so");
        assert_eq!(violation.check, "told the truth");
        assert_eq!(violation.why, "Committed is reported, but the plan has RolledBack");
    }

    #[test]
    fn a_plan_leaves_the_same_trace_again() {
        let plan = "noise = 5\ndelays = \"long\"\nclients = 3\n[[fault]]\nat = \"gap incumbent.sealed.*\"\ndo = \"crash\"";
        assert_eq!(report(plan).trace, report(plan).trace);
    }

    #[test]
    fn a_stop_is_taken_off_an_outage_only_if_it_is_that_of_the_one_that_serves() {
        let stop = |who, at| {
            format!("pause = \"2s\"\n[[fault]]\nat = \"{at}\"\ndo = \"stop\"\nwho = \"{who}\"\nfor = \"1s\"")
        };
        let serving = report(&stop("incumbent", "time 100ms"));
        assert!(serving.longest_outage < 20_000, "{}", serving.longest_outage);
        let supervisor = report(&stop("supervisor", "gap supervisor.await-sealed.after"));
        assert!(supervisor.longest_outage > 200_000, "{}", supervisor.longest_outage);
    }

    #[test]
    fn a_process_that_is_killed_while_it_is_stopped_hides_no_later_outage() {
        let stop =
            "handoffs = 2\n[[fault]]\nat = \"gap successor.opening.after\"\ndo = \"stop\"\nfor = \"3s\"";
        let slow = "\n[[fault]]\nat = \"hook open\"\nin-handoff = 2\ndo = \"slow\"\nfor = \"400ms\"";
        let report = report(&format!("{stop}{slow}"));
        assert_eq!(report.struck.len(), 2);
        assert!(report.longest_outage > 400_000, "{}", report.longest_outage);
    }

    #[test]
    fn a_process_that_is_stopped_as_it_writes_is_told_what_came_of_it_when_it_goes_on() {
        let stop = "[[fault]]\nat = \"journal write\"\ndo = \"stop\"\nwho = \"supervisor\"";
        for noise in 0..16 {
            let report = report(&format!("noise = {noise}\ndelays = \"usual\"\n{stop}"));
            assert_eq!((report.violation, report.struck.len()), (None, 1), "{noise}");
        }
    }

    #[test]
    fn what_struck_says_where_and_whom() {
        let report = report("[[fault]]\nat = \"gap incumbent.draining.*\"\ndo = \"crash\"");
        let place = "gap incumbent.draining.before-Drained".parse().ok();
        assert_eq!(report.struck, [Struck { index: 0, class: "crash incumbent".into(), place }]);
    }
}
