//! Two faults in one swap: each of crash and stop, at each state that a process is in, together with each other.
//!
//! A stop is long: a process that would wait for the end of it waits too long.
use std::collections::BTreeSet;
use std::sync::Arc;

use super::places::{Case, PAIR, class, long, passed, settings};
use crate::plan::{At, Fault, HitRole, Plan, Wanted, What};
use crate::simulated::Make;

/// All pairs, in order: the first fault at an earlier place than the second, or at the same.
pub(super) fn cases(make: &Arc<Make>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (setting, times) in settings().into_iter().enumerate() {
        let calm = Plan { times, ..Plan::calm() };
        let faults: Vec<Fault> = states(&calm, make)
            .into_iter()
            .flat_map(|(at, who)| {
                let fault = Fault { in_handoff: 1, who: Some(who), ..Fault::new(at, What::Crash) };
                let stop = Fault { what: What::Stop, span: Some(long(&times)), ..fault.clone() };
                [fault, stop]
            })
            .collect();
        for (index, first) in faults.iter().enumerate() {
            for second in faults.iter().skip(index + 1) {
                let plan = Plan { faults: vec![first.clone(), second.clone()], ..calm.clone() };
                let mut classes = [class(first), class(second)];
                classes.sort();
                cases.push(Case { path: PAIR, class: classes.join(", "), setting, plan });
            }
        }
    }
    cases
}

/// The states in which a swap finds its processes, each with its process: the end of the first turn that ends in it.
fn states(calm: &Plan, make: &Arc<Make>) -> Vec<(At, HitRole)> {
    let mut known = BTreeSet::new();
    let ends = passed(calm, make).into_iter().filter(|passed| passed.handoff > 0).filter_map(|passed| {
        let At::Gap { role, before: Wanted::This(None), .. } = passed.at else { return None };
        let who: HitRole = role.name().parse().ok()?;
        Some((passed.at, who))
    });
    ends.filter(|(at, _)| known.insert(at.to_string())).collect()
}
