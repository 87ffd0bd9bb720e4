//! Every scenario that real processes can stage leaves the trace there that it leaves in the simulator.
use std::time::Instant;

use handoff_sim::Plan;
use handoff_sim::plan::{At, Fault, HitRole, What};
use handoff_tests::stage::{Death, compare, stage, unstaged};

use crate::lists::{alone, at_once, keep, scenarios, wrong_with};

const NOT_STAGED: &str = "scenarios-not-staged.txt";

/// With so many other lengths of time the simulator may say the same.
const SEEDS: u64 = 1000;

/// On a machine that is busy a trace may be one that the simulator does not know: a word is so late that it is said again.
/// How a run ends is looked at once.
const TRIES: u32 = 8;

/// In how many tries they were.
fn same_on_both(name: &str, plan: &Plan) -> Result<u32, Vec<String>> {
    let mut problems = Vec::new();
    for nth in 1..=TRIES {
        let real = stage(plan, Death::Kill);
        if nth < TRIES && compare::is_starved(plan, &real) {
            continue;
        }
        let missed = real.missed.iter().map(|fault| format!("{name}: this never happens: {fault}"));
        problems = missed.collect();
        if !problems.is_empty() {
            continue;
        }
        let named = |all: Vec<String>| {
            let all = all.into_iter().map(|why| format!("{name}: {why}"));
            all.chain([keep(name, plan, &real)]).collect()
        };
        compare::conforms(plan, &real, SEEDS, compare::ends).map_err(named)?;
        match compare::conforms(plan, &real, SEEDS, compare::differences) {
            Ok(_) => return Ok(nth),
            Err(why) => problems = named(why),
        }
    }
    Err(problems)
}

/// The controller tells the supervisor that it is called off, and waits until the supervisor has heard that; so would all other
/// processes, if it were stopped.
fn is_told_while_stopped(plan: &Plan) -> bool {
    let stops = |fault: &Fault| fault.what == What::Stop && fault.who == Some(HitRole::Supervisor);
    plan.faults.iter().any(stops) && plan.faults.iter().any(|fault| fault.what == What::Cancel)
}

/// Several are stopped, each at a time, and not where it is itself.
fn are_stopped_together(plan: &Plan) -> bool {
    let stop = |fault: &&Fault| fault.what == What::Stop && matches!(fault.at, At::Handoff(..));
    plan.faults.iter().filter(stop).count() > 1
}

#[test]
fn a_scenario_leaves_the_same_trace_on_real_processes() {
    let all = scenarios();
    let can = |(_, plan): &(&String, &Plan)| {
        let each = plan.faults.iter().all(|fault| unstaged(fault).is_none());
        // The stage's daemon has no clients.
        let clients = plan.connections == 0;
        each && clients && !is_told_while_stopped(plan) && !are_stopped_together(plan)
    };
    let staged: Vec<_> = all.iter().filter(can).collect();
    let names = staged.iter().map(|(name, _)| (*name).clone()).collect();
    let mut problems = wrong_with(NOT_STAGED, &all.keys().cloned().collect(), &names);
    let _stage = alone();
    let start = Instant::now();
    let results = at_once(&staged, |(name, plan)| same_on_both(name, plan));
    let again = staged.iter().zip(&results).filter(|(_, result)| matches!(result, Ok(2..)));
    let again: Vec<_> = again.map(|((name, _), result)| (name, result.as_ref().ok())).collect();
    let (all, took) = (staged.len(), start.elapsed());
    println!("{all} scenarios on both arms in {took:?}; not in the first try: {again:?}");
    problems.extend(results.into_iter().filter_map(Result::err).flatten());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
