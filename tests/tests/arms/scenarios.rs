//! Every scenario that real processes can stage leaves the trace there that it leaves in the simulator.
use std::collections::BTreeSet;
use std::time::Instant;

use handoff_sim::Plan;
use handoff_tests::stage::{Death, compare, stage, unstaged};

use crate::lists::{at_once, listed, scenarios, wrong_with};

const NOT_STAGED: &str = "scenarios-not-staged.txt";

/// With so many other lengths of time the simulator may say the same.
const SEEDS: u64 = 1000;

fn same_on_both(name: &str, plan: &Plan) -> Result<u64, Vec<String>> {
    let real = stage(plan, Death::Kill);
    let missed = real.missed.iter().map(|fault| format!("{name}: this never happens: {fault}"));
    let missed: Vec<String> = missed.collect();
    if !missed.is_empty() {
        return Err(missed);
    }
    let differs = |why: String| format!("{name}: {why}");
    compare::conforms(plan, &real, SEEDS, compare::all).map_err(|all| all.into_iter().map(differs).collect())
}

#[test]
fn a_scenario_leaves_the_same_trace_on_real_processes() {
    let start = Instant::now();
    let all = scenarios();
    let listed = listed(NOT_STAGED);
    // What no real process can do need not be listed by hand.
    let staged: Vec<_> = all.iter().filter(|(name, _)| !listed.contains_key(*name)).collect();
    let cannot = staged.iter().filter(|(_, plan)| plan.faults.iter().any(|fault| unstaged(fault).is_some()));
    let cannot: BTreeSet<String> = cannot.map(|(name, _)| (*name).clone()).collect();
    let names =
        staged.iter().map(|(name, _)| (*name).clone()).filter(|name| !cannot.contains(name)).collect();
    let mut problems = wrong_with(NOT_STAGED, &all.keys().cloned().collect(), &names);
    let staged: Vec<_> = staged.into_iter().filter(|(name, _)| names.contains(*name)).collect();
    let results = at_once(&staged, |(name, plan)| same_on_both(name, plan));
    let at_once = results.iter().filter(|result| matches!(result, Ok(0))).count();
    println!(
        "{} scenarios on both arms in {:?}, {at_once} of them without noise",
        staged.len(),
        start.elapsed()
    );
    problems.extend(results.into_iter().filter_map(Result::err).flatten());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
