//! A process that dies or stops in any gap leaves the end state that the simulator says: which process serves, which has the lock, what
//! the supervisor reported, what the journal holds, what clients saw.
//!
//! The gaps come from the machines, by way of the search's list and of the simulator; and from the effects that are several
//! system calls. Each is struck in the first plan in which the simulator passes it.
//!
//! Every day a process comes to grief in each gap in one way: the next gap's is the next way. `HANDOFF_GAP=await-sealed` runs
//! all ways, in the gaps with that in their name; `HANDOFF_GAP=.` in all of them.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use handoff::host::Gap;
use handoff::machine::{EffectName, MachineRole, StateName};
use handoff::unix::probe::{self, SystemCall};
use handoff_sim::plan::{At, Fault, HitRole, Plan, Wanted, What};
use handoff_sim::run::{RunOptions, RunReport, ledgers};
use handoff_sim::{Span, run};
use handoff_tests::stage::{Death, PACE, StageReport, compare, stage_before};

use crate::lists::{alone, at_once, keep, listed, more_plans, scenarios, wrong_with};

const NOT_STAGED: &str = "gaps-not-staged.txt";

/// With so many other lengths of time the simulator may say the same.
const SEEDS: u64 = 3000;

/// On a machine that is busy a gap may be passed by, since a word that was to be repeated is heard the first time, or a limit
/// of time may pass that is not to. Anything else is looked at once.
const TRIES: u32 = 8;

/// Longer than twice the liveness, so that others take a process that is stopped for one that hangs; shorter than the
/// limits of hooks, so that it does not take itself for one.
const STOP: Span = Span::from_millis(PACE * 500);

/// In these, real processes may come by gaps of which the simulator, with lengths of time that do not vary, knows nothing.
const RACES: [&str; 1] = ["successor-dies-slowly-after-it-served"];

/// The way in which a process comes to grief.
#[derive(Clone, Copy, Debug)]
enum Grief {
    Dies(Death),
    Stops,
}

const GRIEFS: [Grief; 3] = [Grief::Dies(Death::Kill), Grief::Dies(Death::Exit), Grief::Stops];

/// A plan in which faults can be added.
struct BasePlan {
    name: String,
    plan: Plan,
    /// The gaps that the simulator passes in it.
    gaps: BTreeSet<Gap>,
}

/// A gap, and where it is struck.
#[derive(Clone, Copy)]
struct GapPlace<'a> {
    gap: Gap,
    base: &'a BasePlan,
    in_handoff: u32,
    /// Between two system calls of the effect after it, before this one.
    step: Option<SystemCall>,
}

fn simulate(plan: &Plan) -> RunReport {
    run(&Arc::new(plan.clone()), &ledgers(), RunOptions::default())
}

/// Returns what real processes can stage: the ordinary swap first, then what leaves the least to chance, what
/// takes long last.
fn bases() -> Vec<BasePlan> {
    let not_staged = listed("scenarios-not-staged.txt");
    let can = |(name, _): &(String, Plan)| !not_staged.contains_key(name) && !RACES.contains(&name.as_str());
    let base = |is_scenario| {
        move |(name, plan): (String, Plan)| {
            let gaps = simulate(&plan).gaps.into_iter().collect();
            (is_scenario, BasePlan { name, plan, gaps })
        }
    };
    let scenarios = scenarios().into_iter().filter(can).map(base(true));
    let mut bases: Vec<(bool, BasePlan)> =
        scenarios.chain(more_plans().into_iter().map(base(false))).collect();
    bases.sort_by_key(|(is_scenario, BasePlan { name, plan, .. })| {
        let stops = plan.faults.iter().any(|fault| matches!(fault.what, What::Stop | What::Hang));
        let order = ["swap", "slow-", "alone-"].iter().position(|first| name.starts_with(first));
        (order.unwrap_or(3), stops, *is_scenario, plan.faults.len(), name.clone())
    });
    bases.into_iter().map(|(_, base)| base).collect()
}

impl BasePlan {
    /// Returns whether a process may die in `gap` here. A frame that is late waits in its sender: it would
    /// die with it, while the simulator has it on its way.
    fn allows(&self, gap: Gap) -> bool {
        let is_supervisor = matches!(gap.role, MachineRole::Supervisor | MachineRole::Recovery);
        let is_late = |fault: &Fault| match &fault.at {
            At::Frame { to, .. } if fault.what == What::Delay => {
                (*to == HitRole::Supervisor) != is_supervisor
            }
            _ => false,
        };
        self.gaps.contains(&gap) && !self.plan.faults.iter().any(is_late)
    }
}

/// Every gap that the search or the simulator has seen, by name.
fn all_gaps(bases: &[BasePlan]) -> BTreeMap<String, Gap> {
    let searched = include_str!("../../../snapshots/explored/gaps.snap");
    let is_gap = |line: &&str| line.split('.').count() == 3 && !line.contains('/');
    let simulated = bases.iter().flat_map(|base| base.gaps.iter().copied());
    let all = searched.lines().filter(is_gap).map(gap_of).chain(simulated);
    all.map(|gap| (gap.to_string(), gap)).collect()
}

/// The gap that a list names.
fn gap_of(name: &str) -> Gap {
    match format!("gap {name}").parse() {
        Ok(At::Gap { role, state: Wanted::This(state), before: Wanted::This(before) }) => {
            Gap { role, state, before }
        }
        other => panic!("{name}: {other:?}"),
    }
}

/// `base`, with a fault at a place.
fn struck_at(base: &Plan, at: At, in_handoff: u32, grief: Grief) -> Plan {
    let fault = match grief {
        Grief::Dies(_) => Fault { in_handoff, ..Fault::new(at, What::Crash) },
        Grief::Stops => Fault { in_handoff, span: Some(STOP), ..Fault::new(at, What::Stop) },
    };
    let mut plan = base.clone();
    plan.faults.push(fault);
    plan
}

/// Returns where the simulator passes `gap` first: in the swap of a plan, or else in what comes before it.
fn first_place(bases: &[BasePlan], gap: Gap) -> Option<GapPlace<'_>> {
    let strikes = |base: &BasePlan, in_handoff| {
        let struck = simulate(&struck_at(&base.plan, gap.into(), in_handoff, GRIEFS[0])).struck;
        struck.iter().any(|struck| struck.index == base.plan.faults.len())
    };
    let place = |base, in_handoff| GapPlace { gap, base, in_handoff, step: None };
    let all = bases.iter().filter(|base| base.allows(gap));
    let before = bases.first().filter(|swap| swap.allows(gap)).map(|swap| (swap, 0));
    let candidates = before.into_iter().chain(all.map(|base| (base, 1)));
    let mut candidates: Vec<(&BasePlan, u32)> = candidates.collect();
    candidates.sort_by_key(|(base, in_handoff)| (base.name != "swap", *in_handoff == 0));
    candidates.into_iter().find(|(base, nth)| strikes(base, *nth)).map(|(base, nth)| place(base, nth))
}

impl<'a> GapPlace<'a> {
    /// The places between the system calls of the effect after this one.
    fn steps(self) -> impl Iterator<Item = GapPlace<'a>> {
        let steps = self.gap.before.map_or(&[][..], probe::steps);
        steps.iter().map(move |step| GapPlace { step: Some(*step), ..self })
    }

    fn name(&self) -> String {
        self.step.map_or(self.gap.to_string(), |step| format!("{}/{step}", self.gap))
    }

    /// The place in the simulator, to which an effect is one: before it, or after it.
    fn simulated(&self) -> At {
        let in_state = |role, state| At::Gap { role, state: Wanted::This(state), before: Wanted::Any };
        match (self.gap.before, self.step) {
            (Some(EffectName::Spawn), Some(SystemCall::Exec | SystemCall::Watch)) => {
                let before = Some(EffectName::PersistUnderWay);
                Gap { role: MachineRole::Supervisor, state: StateName::AwaitSpawn, before }.into()
            }
            (Some(EffectName::PersistUnderWay), Some(SystemCall::Sync)) => {
                in_state(MachineRole::Supervisor, StateName::AwaitWarmed)
            }
            (Some(EffectName::PersistCommitted), Some(SystemCall::Sync)) => {
                in_state(MachineRole::Supervisor, StateName::AwaitCommitted)
            }
            (Some(EffectName::PersistOver), Some(SystemCall::Sync)) => {
                in_state(MachineRole::Supervisor, StateName::AwaitNoted)
            }
            (Some(EffectName::Note), Some(SystemCall::Sync)) => {
                in_state(MachineRole::Recovery, StateName::AwaitNoted)
            }
            _ => self.gap.into(),
        }
    }

    /// Strikes on both arms. With how many lengths of time the simulator says the same as reality.
    fn same_end(&self, grief: Grief) -> Result<u64, Vec<String>> {
        let name = format!("{}, {grief:?}, in {}", self.name(), self.base.name);
        let with = |at: At| struck_at(&self.base.plan, at, self.in_handoff, grief);
        let death = if let Grief::Dies(death) = grief { death } else { Death::Kill };
        let plan = with(self.simulated());
        let staged = || stage_before(&with(self.gap.into()), self.step, death);
        let strikes = |real: &StageReport| !real.missed.iter().any(|missed| missed.ends_with(&self.name()));
        let mut real = staged();
        for _ in 1..TRIES {
            // Usually no process says that it lives before something happens.
            let is_elsewhere = self.gap.before.is_none() && real.struck_at.is_some_and(compare::is_heartbeat);
            if strikes(&real) && !is_elsewhere && !compare::is_starved(&plan, &real) {
                break;
            }
            real = staged();
        }
        if !strikes(&real) {
            return Err(vec![format!("{name}: real processes do not come by there")]);
        }
        compare::conforms(&plan, &real, SEEDS, compare::ends).map_err(|why| {
            let why = why.into_iter().map(|why| format!("{name}: {why}"));
            why.chain([keep(&name, &plan, &real)]).collect()
        })
    }
}

#[test]
fn whoever_dies_or_stops_in_a_gap_leaves_what_the_simulator_says() {
    let bases = bases();
    let all = all_gaps(&bases);
    let places = all.values().filter_map(|gap| first_place(&bases, *gap));
    let places: Vec<GapPlace<'_>> =
        places.flat_map(|place| std::iter::once(place).chain(place.steps())).collect();
    let listed = listed(NOT_STAGED);
    // The simulator can win any race, and knows nothing of system calls.
    let is_race =
        |name: &str| listed.get(name).is_some_and(|why| why.starts_with("A race") || name.contains('/'));
    let names = places.iter().map(GapPlace::name).filter(|name| !is_race(name)).collect();
    let all = all.into_keys().chain(places.iter().map(GapPlace::name)).collect();
    let mut problems = wrong_with(NOT_STAGED, &all, &names);

    let only = std::env::var("HANDOFF_GAP");
    let chosen = |place: &&GapPlace<'_>| !listed.contains_key(&place.name());
    let cases: Vec<(&GapPlace<'_>, Grief)> = match &only {
        Ok(only) => {
            let chosen = places.iter().filter(chosen).filter(|place| place.name().contains(only));
            chosen.flat_map(|place| GRIEFS.map(|grief| (place, grief))).collect()
        }
        Err(_) => places.iter().filter(chosen).zip(GRIEFS.into_iter().cycle()).collect(),
    };
    let _stage = alone();
    let start = Instant::now();
    let results = at_once(&cases, |(place, grief)| place.same_end(*grief));
    let mut noisy: BTreeMap<String, u64> = BTreeMap::new();
    for ((place, grief), result) in cases.iter().zip(results) {
        match result {
            Ok(0) => {}
            Ok(seeds) => drop(noisy.insert(format!("{}, {grief:?}", place.name()), seeds)),
            Err(why) => problems.extend(why),
        }
    }
    println!(
        "{} deaths and stops in gaps on both arms, in {:?}; with other lengths of time: {noisy:#?}",
        cases.len(),
        start.elapsed()
    );
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
