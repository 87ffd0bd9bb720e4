//! Makes a plan as small as it gets, while what matters of its run stays: that it fails, and how, or what it meets.
use std::sync::Arc;

use crate::harness::checks::Violation;
use crate::plan::span::Span;
use crate::plan::{At, Delays, Fault, Plan, Times};
use crate::run::{Planted, RunOptions, RunReport, run};
use crate::simulated::Make;

/// Most runs: a plan has only so many parts.
const MOST_RUNS: u32 = 2000;

/// The smallest plan that was found to fail in the same way as `plan` does; `None` if it doesn't fail.
pub fn shrink(plan: &Plan, make: &Arc<Make>, planted: Planted) -> Option<Plan> {
    let options = RunOptions { planted, ..RunOptions::default() };
    let same = likeness(&run(&Arc::new(plan.clone()), make, options).violation?);
    let fails = |report: &RunReport| report.violation.as_ref().is_some_and(|found| likeness(found) == same);
    shrink_while(plan, make, planted, fails)
}

/// The smallest plan that was found of whose run `keeps` holds; `None` if it does not hold of that of `plan`.
pub fn shrink_while(
    plan: &Plan,
    make: &Arc<Make>,
    planted: Planted,
    keeps: impl Fn(&RunReport) -> bool,
) -> Option<Plan> {
    let options = RunOptions { planted, ..RunOptions::default() };
    let mut runs = 0;
    let mut try_it = |plan: &Plan| {
        runs += 1;
        let report = run(&Arc::new(plan.clone()), make, options);
        (keeps(&report), report, runs < MOST_RUNS)
    };
    let mut best = plan.clone();
    loop {
        let (holds, report, goes_on) = try_it(&best);
        if !holds {
            return None;
        }
        match smaller(&best, &report).into_iter().find(|plan| try_it(plan).0).filter(|_| goes_on) {
            Some(plan) => best = plan,
            None => return Some(best),
        }
    }
}

/// Returns what two violations have in common that are the same failure: the check, and the sentence without
/// its numbers.
fn likeness(violation: &Violation) -> String {
    let words = violation.why.chars().filter(|c| !c.is_ascii_digit());
    format!("{}: {}", violation.check, words.collect::<String>())
}

/// Plans that are smaller by one thing, those that take away most first.
fn smaller(plan: &Plan, report: &RunReport) -> Vec<Plan> {
    let mut all = Vec::new();
    let mut propose = |change: &dyn Fn(&mut Plan)| {
        let mut smaller = plan.clone();
        change(&mut smaller);
        if smaller != *plan {
            all.push(smaller);
        }
    };
    let struck = |index: usize| report.struck.iter().any(|struck| struck.index == index);
    propose(&|plan| {
        let mut index = 0;
        plan.faults.retain(|_| {
            index += 1;
            struck(index - 1)
        });
    });
    for index in 0..plan.faults.len() {
        propose(&|plan| _ = plan.faults.remove(index));
    }
    propose(&|plan| plan.handoffs = 1);
    propose(&|plan| plan.handoffs = plan.handoffs.saturating_sub(1).max(1));
    propose(&|plan| plan.clients = 1);
    propose(&|plan| plan.connections = 0);
    propose(&|plan| plan.connections = plan.connections.min(1));
    propose(&|plan| plan.plain_builds.clear());
    propose(&|plan| plan.skewed_clocks = false);
    propose(&|plan| {
        plan.delays = Delays::Fixed;
        plan.noise = 0;
    });
    propose(&|plan| plan.delays = if plan.delays == Delays::Long { Delays::Usual } else { plan.delays });
    propose(&|plan| plan.times = Times::default());
    propose(&|plan| plan.pause = Plan::calm().pause);
    (0..8).for_each(|noise| propose(&|plan| plan.noise = plan.noise.min(noise)));
    for index in 0..plan.faults.len() {
        for fault in simpler(&plan.faults[index], index, report) {
            propose(&|plan| plan.faults[index] = fault.clone());
        }
    }
    all
}

/// A fault that says more exactly where it strikes, or asks for less.
fn simpler(fault: &Fault, index: usize, report: &RunReport) -> Vec<Fault> {
    let mut all = Vec::new();
    let place =
        report.struck.iter().find(|struck| struck.index == index).and_then(|struck| struck.place.clone());
    if let Some(place) = place.filter(|place| *place != fault.at && is_open(&fault.at)) {
        let exact = |nth| Fault { at: place.clone(), nth, ..fault.clone() };
        all.extend((1..=fault.nth).map(exact));
    }
    all.extend((1..fault.nth).map(|nth| Fault { nth, ..fault.clone() }));
    all.extend((fault.in_handoff > 0).then(|| Fault { in_handoff: 0, ..fault.clone() }));
    all.extend(
        fault.who.map(|_| Fault { who: None, ..fault.clone() }).filter(|fault| fault.problem().is_none()),
    );
    if let Some(span) = fault.span {
        all.push(Fault { span: None, ..fault.clone() });
        let rounded = [100_000, 10_000, 1000].map(|unit| span.micros() / unit * unit);
        let rounded = rounded.into_iter().filter(|micros| *micros > 0 && *micros < span.micros());
        all.extend(rounded.map(|micros| Fault { span: Some(Span::from_micros(micros)), ..fault.clone() }));
    }
    all
}

/// Returns whether it doesn't say exactly where.
fn is_open(at: &At) -> bool {
    match at {
        At::Gap { state, before, .. } => state.is_any() || before.is_any(),
        At::Frame { name, .. } => name.is_any(),
        At::Hook(name) => name.is_any(),
        _ => false,
    }
}
