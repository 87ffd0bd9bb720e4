//! From a plan to one like it, for a search for what no plan meets yet. As when one is drawn, every choice comes from
//! ChaCha.
use std::collections::BTreeMap;

use super::draw::{Dice, draw_fault, draw_length, draw_times};
use crate::plan::{At, Fault, HitRole, Passed, Plan, What};

/// Most changes at once.
const MOST_CHANGES: u64 = 4;

/// Most faults of a plan.
const MOST_FAULTS: usize = 6;

/// The places where a run could have been struck, each once, with the handoffs in which it was passed, and
/// how often by then.
pub(crate) struct Places(Vec<(At, Vec<(u32, u32)>)>);

impl Places {
    pub(crate) fn of(passed: &[Passed]) -> Places {
        let mut places = BTreeMap::<String, (At, Vec<(u32, u32)>)>::new();
        for Passed { at, handoff, .. } in passed {
            let (_, times) = places.entry(at.to_string()).or_insert_with(|| (at.clone(), Vec::new()));
            let before = times.last().filter(|(last, _)| last == handoff).map_or(0, |(_, nth)| *nth);
            times.push((*handoff, before + 1));
        }
        Places(places.into_values().collect())
    }

    /// A fault at one of them.
    fn strike(&self, dice: &mut Dice) -> Option<Fault> {
        let (at, times) = self.0.get(dice.below(self.0.len() as u64) as usize)?;
        let (in_handoff, nth) = dice.pick(times);
        let who =
            dice.pick(&[None, Some(HitRole::Supervisor), Some(HitRole::Incumbent), Some(HitRole::Successor)]);
        let fault = |what| Fault { at: at.clone(), nth, in_handoff, what, who, span: None };
        let can_be: Vec<What> =
            What::ALL.into_iter().filter(|what| fault(*what).problem().is_none()).collect();
        let what = dice.pick(&can_be);
        Some(Fault { span: draw_length(dice, what), ..fault(what) })
    }
}

/// A plan like `plan`, whose run has passed `places`. It may have something of `other`.
pub(crate) fn mutate(plan: &Plan, other: &Plan, places: &Places, dice: &mut Dice) -> Plan {
    let mut mutated = Plan { why: String::new(), reports: Vec::new(), ..plan.clone() };
    for _ in 0..1 + dice.below(MOST_CHANGES) {
        change(&mut mutated, other, places, dice);
    }
    while mutated.faults.len() > MOST_FAULTS {
        mutated.faults.remove(dice.below(mutated.faults.len() as u64) as usize);
    }
    mutated
}

/// Changes one thing.
fn change(plan: &mut Plan, other: &Plan, places: &Places, dice: &mut Dice) {
    let nth = dice.below(plan.faults.len() as u64) as usize;
    match (dice.below(12), plan.faults.get_mut(nth)) {
        (0, Some(_)) => _ = plan.faults.remove(nth),
        (1, Some(fault)) => fault.span = draw_length(dice, fault.what),
        (2..=3, Some(fault)) => change_place(fault, places, dice),
        (4, _) => {
            let what = dice.pick(&What::ALL);
            plan.faults.push(draw_fault(dice, what, plan.handoffs));
        }
        (5, _) => plan.faults.extend(other.faults.iter().cloned()),
        (6, _) => plan.noise = dice.noise(),
        (7, _) => change_frame(plan, dice),
        _ => plan.faults.extend(places.strike(dice)),
    }
}

/// Lets a fault strike elsewhere, at another time, or another process.
fn change_place(fault: &mut Fault, places: &Places, dice: &mut Dice) {
    let Some(elsewhere) = places.strike(dice) else { return };
    let nth = 1 + dice.below(u64::from(fault.nth) + 2) as u32;
    let changed = match dice.below(4) {
        0 => Fault { nth, ..fault.clone() },
        1 => Fault { in_handoff: elsewhere.in_handoff, ..fault.clone() },
        2 => Fault { who: elsewhere.who, ..fault.clone() },
        _ => Fault { what: fault.what, span: fault.span, ..elsewhere },
    };
    if changed.problem().is_none() {
        *fault = changed;
    }
}

/// Changes what is not a fault.
fn change_frame(plan: &mut Plan, dice: &mut Dice) {
    match dice.below(4) {
        0 => plan.delays = dice.delays(),
        1 => plan.times = draw_times(dice),
        2 => plan.handoffs = 1 + dice.below(3) as u32,
        _ => plan.skewed_clocks = !plan.skewed_clocks,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::draw::draw;
    use crate::run::{RunOptions, ledgers, run};

    #[test]
    fn every_plan_that_is_varied_can_be_written_down() {
        let options = RunOptions { places: true, ..RunOptions::default() };
        for seed in 0..100 {
            let mut dice = Dice::of(seed);
            let mut plan = draw(seed);
            let places = Places::of(&run(&Arc::new(plan.clone()), &ledgers(), options).passed);
            for other in 0..20 {
                plan = mutate(&plan, &draw(other), &places, &mut dice);
                assert_eq!(Plan::parse(&plan.to_toml()), Ok(plan.clone()), "{}", plan.to_toml());
            }
        }
    }

    #[test]
    fn a_place_is_one_that_a_plan_can_name() {
        let options = RunOptions { places: true, ..RunOptions::default() };
        let calm = Plan { handoffs: 2, ..Plan::calm() };
        let Places(places) = Places::of(&run(&Arc::new(calm.clone()), &ledgers(), options).passed);
        for (at, times) in places {
            for (in_handoff, nth) in times {
                let fault = Fault {
                    nth,
                    in_handoff,
                    who: Some(HitRole::Supervisor),
                    ..Fault::new(at.clone(), What::Crash)
                };
                let plan = Plan { faults: vec![fault], ..calm.clone() };
                let report = run(&Arc::new(plan.clone()), &ledgers(), RunOptions::default());
                assert_eq!(report.struck.len(), 1, "{}", plan.to_toml());
            }
        }
    }
}
