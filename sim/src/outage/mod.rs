//! The outages after a fault, wherever it strikes: every single fault at every place, and pairs of them.
//!
//! Each class of faults has a rule, a formula over the protocol's limits. A run in which nobody serves for longer than the
//! rule of its class allows is a failure; so is one whose supervisor reports that no process is confirmed to serve, unless the
//! class may; so is a class without a rule, or a rule that no run comes near: that is not what sets the outage. All of it is
//! done under several sets of limits, so that a rule names the right one.
//!
//! Under the usual limits each run is made once more with clients that hold connections, to see whether those are cut.
//!
//! No noise: lengths of time are fixed. The seeded sweep has the noise, and the combinations.
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use handoff::machine::recovery;
use handoff::machine::supervisor::HandoffVerdict;
use serde::Serialize;

use crate::kernel::Micros;
use crate::plan::Plan;
use crate::run::{Planted, RunOptions, RunReport, run};
use crate::search::threads::{share, usual_jobs};
use crate::simulated::Make;

mod pairs;
mod places;
mod rules;
mod table;

use places::{Case, settings};
use rules::{Defaults, Given, ROWS, Row};
pub use table::{NoPlace, UPDATE};

/// All the runs that are to be made.
pub struct Outages {
    /// On how many threads.
    pub jobs: usize,
    make: Arc<Make>,
    planted: Planted,
    cases: Vec<Case>,
    /// The outage of a swap in which nothing goes wrong, under each set of limits.
    pauses: Vec<Micros>,
}

/// The findings of all runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Table {
    /// The outage of a swap in which nothing goes wrong.
    pub pause_ms: f64,
    /// The number of runs in which a fault struck.
    pub runs: u64,
    /// The rows, a row for each rule.
    pub rows: Vec<Found>,
    /// The breaches of rules.
    #[serde(skip)]
    pub broken: Vec<Broken>,
}

/// The findings of a row.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Found {
    /// The fault.
    pub what: String,
    /// The thing that happens besides.
    pub path: String,
    /// The number of runs in which it struck.
    pub runs: u64,
    /// The longest time that nobody served, under the simulator's usual limits.
    pub longest_ms: f64,
    /// And what the rule allows there.
    pub allowed_ms: f64,
    /// The place.
    pub place: String,
    /// The rule.
    pub rule: String,
    /// The bound under the limits that a supervisor has by default.
    pub by_default: String,
    /// The verdicts that supervisors reported of the swap.
    pub reported: BTreeSet<String>,
    /// The longest in parts of what the rule allows, under each set of limits.
    pub reach: Vec<f64>,
    /// In how many of its runs with connections all were kept, and in how many some were cut.
    pub kept: u64,
    /// See `kept`.
    pub cut: u64,
}

/// A breach of a rule.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The class of the fault.
    pub class: String,
    /// The way in which the rule is broken, in a sentence.
    pub why: String,
    /// The plan that does, if it is one.
    pub plan: Option<Plan>,
}

/// The findings of a case.
struct CaseSeen {
    case: usize,
    outage: Micros,
    reported: BTreeSet<&'static str>,
    violation: Option<String>,
    /// `true` if connections were cut; unknown if no run was made with any.
    cuts: Option<bool>,
}

/// The number of clients that hold a connection.
const CONNECTIONS: u32 = 4;

impl Outages {
    /// All single faults, and the pairs, on as many threads as there are processors.
    pub fn all(make: Arc<Make>, planted: Planted) -> Outages {
        let mut cases = places::cases(&make);
        cases.extend(pairs::cases(&make));
        let pause = |times| {
            let plan = Plan { times, ..Plan::calm() };
            run(&Arc::new(plan), &make, RunOptions::default()).longest_outage
        };
        let pauses = settings().into_iter().map(pause).collect();
        Outages { jobs: usual_jobs(), make, planted, cases, pauses }
    }

    /// Returns how many runs are to be made.
    pub fn runs(&self) -> u64 {
        self.cases.len() as u64
    }

    /// Makes them; `progress` is called now and then with how many more are done.
    pub fn run(&self, progress: impl Fn(u64) + Sync) -> Table {
        let work = |part: &mut Vec<CaseSeen>, number| {
            part.extend(self.see(number as usize));
            ControlFlow::Continue(())
        };
        let parts: Vec<Vec<CaseSeen>> = share(0..self.runs(), self.jobs, work, progress);
        let mut seen: Vec<CaseSeen> = parts.into_iter().flatten().collect();
        seen.sort_by_key(|seen| seen.case);
        self.judge(&seen)
    }

    /// Runs a case. `None` if its faults did not all strike: others went before.
    fn see(&self, case: usize) -> Option<CaseSeen> {
        let plan = &self.cases[case].plan;
        let report = self.run_if_struck(plan)?;
        let is_usual = self.cases[case].setting == 0;
        let connected = || self.run_if_struck(&Plan { connections: CONNECTIONS, ..plan.clone() });
        let connected = is_usual.then(connected).flatten();
        let cuts = connected.as_ref().map(|report| report.cut > 0);
        let (outage, reported) = (report.longest_outage, reported(&report));
        let violation = report.violation.or(connected.and_then(|report| report.violation));
        let violation =
            violation.map(|violation| format!("the check {:?} fails: {}", violation.check, violation.why));
        Some(CaseSeen { case, outage, reported, violation, cuts })
    }

    fn run_if_struck(&self, plan: &Plan) -> Option<RunReport> {
        let options = RunOptions { planted: self.planted, ..RunOptions::default() };
        let report = run(&Arc::new(plan.clone()), &self.make, options);
        let struck = |index| report.struck.iter().any(|struck| struck.index == index);
        (0..plan.faults.len()).all(struck).then_some(report)
    }

    fn judge(&self, seen: &[CaseSeen]) -> Table {
        let mut table = Table { pause_ms: millis(self.pauses[0]), ..Table::default() };
        let defaults = Defaults::of_the_library();
        table.rows = ROWS.iter().map(|row| Found::new(row, &defaults)).collect();
        for seen in seen {
            let case = &self.cases[seen.case];
            table.runs += 1;
            match rules::row_of(case.path, &case.class) {
                Some(row) => self.count(&mut table, row, seen),
                None => table.breaks(case, "this class has no rule".into()),
            }
        }
        table.rules_that_do_not_fit();
        table
    }

    fn count(&self, table: &mut Table, row: usize, seen: &CaseSeen) {
        let case = &self.cases[seen.case];
        let given = Given { times: case.plan.times, pause: self.pauses[case.setting], length: case.length() };
        let allowed = given.bound(ROWS[row].rule);
        let found = &mut table.rows[row];
        found.runs += 1;
        found.kept += u64::from(seen.cuts == Some(false));
        found.cut += u64::from(seen.cuts == Some(true));
        found.reported.extend(seen.reported.iter().map(|verdict| (*verdict).to_string()));
        let reach = &mut found.reach[case.setting];
        *reach = reach.max(seen.outage as f64 / allowed as f64);
        if case.setting == 0 && millis(seen.outage) > found.longest_ms {
            found.longest_ms = millis(seen.outage);
            found.allowed_ms = millis(allowed);
            let matters = seen.outage > self.pauses[0];
            found.place = if matters { case.place() } else { String::new() };
        }
        if seen.outage > allowed {
            let (outage, allowed) = (millis(seen.outage), millis(allowed));
            let why =
                format!("nobody served for {outage} ms; {} allows {allowed} ms", rules::text(ROWS[row].rule));
            table.breaks(case, why);
        }
        if seen.reported.contains(UNCONFIRMED) && !ROWS[row].unconfirmed {
            table.breaks(case, "it is reported that nobody is confirmed to serve".into());
        }
        seen.violation.iter().for_each(|why| table.breaks(case, why.clone()));
    }
}

impl Table {
    fn breaks(&mut self, case: &Case, why: String) {
        let why = format!("{}, in {}, at {}: {why}", case.class, case.path, case.place());
        self.broken.push(Broken { class: case.class.clone(), why, plan: Some(case.plan.clone()) });
    }

    /// A rule that no run comes near names the wrong limit.
    fn rules_that_do_not_fit(&mut self) {
        for (found, row) in self.rows.iter().zip(ROWS) {
            let far: Vec<usize> =
                (0..found.reach.len()).filter(|setting| found.reach[*setting] < 0.5).collect();
            if !far.is_empty() {
                let why = format!(
                    "{}, in {}: the longest outage is not half of {} with limits {far:?}: {:?}",
                    row.what, row.path, found.rule, found.reach
                );
                self.broken.push(Broken { class: row.what.into(), why, plan: None });
            }
        }
    }
}

impl Found {
    fn new(row: &Row, defaults: &Defaults) -> Found {
        Found {
            what: row.what.into(),
            path: row.path.into(),
            rule: rules::text(row.rule),
            by_default: defaults.text(row.rule),
            reach: vec![0.0; settings().len()],
            ..Found::default()
        }
    }
}

const UNCONFIRMED: &str = "unconfirmed";

/// Returns what was reported of the swap that was disturbed, and of the recoveries. The last swap is to heal,
/// and commits.
fn reported(report: &RunReport) -> BTreeSet<&'static str> {
    let asked = report.verdicts.split_last().map_or(&[][..], |(_, asked)| asked);
    let mut reported: BTreeSet<&'static str> = asked.iter().map(|verdict| verdict_name(*verdict)).collect();
    if reported.is_empty() {
        reported.insert("recovered");
    }
    if report.findings.contains(&recovery::RecoveryVerdict::Unconfirmed) {
        reported.insert(UNCONFIRMED);
    }
    reported
}

fn verdict_name(verdict: HandoffVerdict) -> &'static str {
    match verdict {
        HandoffVerdict::Committed => "committed",
        HandoffVerdict::RolledBack => "rolled back",
        HandoffVerdict::FellBack => "fell back",
        HandoffVerdict::Unconfirmed => UNCONFIRMED,
        HandoffVerdict::NobodyServes => "nobody serves",
        HandoffVerdict::Busy => "busy",
        HandoffVerdict::Unreachable => "unreachable",
        HandoffVerdict::Cancelled => "cancelled",
    }
}

fn millis(micros: Micros) -> f64 {
    micros as f64 / 1000.0
}
