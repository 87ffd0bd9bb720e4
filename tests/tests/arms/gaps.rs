//! A process that dies or stops in any gap leaves the end state that the simulator says: who serves, who has the lock, what
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

use handoff::unix::probe;
use handoff_sim::plan::{At, Fault, Plan, What, Who};
use handoff_sim::run::{Options, Report as Simulated, gap_name, ledgers};
use handoff_sim::{Span, run};
use handoff_tests::stage::{Death, PACE, Report, compare, stage};

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

/// How a process comes to grief.
#[derive(Clone, Copy, Debug)]
enum Grief {
    Dies(Death),
    Stops,
}

const GRIEFS: [Grief; 3] = [Grief::Dies(Death::Kill), Grief::Dies(Death::Exit), Grief::Stops];

/// A plan in which faults can be added.
struct Base {
    name: String,
    plan: Plan,
    /// The gaps that the simulator passes in it.
    gaps: BTreeSet<String>,
}

/// A gap, and where it is struck.
struct Place<'a> {
    gap: String,
    base: &'a Base,
    in_handoff: u32,
    /// Between two system calls of the effect after it, before this one.
    step: Option<&'static str>,
}

fn simulate(plan: &Plan) -> Simulated {
    run(&Arc::new(plan.clone()), &ledgers(), Options::default())
}

/// What real processes can stage: the ordinary swap first, then what leaves the least to chance, what takes long last.
fn bases() -> Vec<Base> {
    let not_staged = listed("scenarios-not-staged.txt");
    let can = |(name, _): &(String, Plan)| !not_staged.contains_key(name) && !RACES.contains(&name.as_str());
    let base = |is_scenario| {
        move |(name, plan): (String, Plan)| {
            let gaps = simulate(&plan).gaps.iter().map(gap_name).collect();
            (is_scenario, Base { name, plan, gaps })
        }
    };
    let scenarios = scenarios().into_iter().filter(can).map(base(true));
    let mut bases: Vec<(bool, Base)> = scenarios.chain(more_plans().into_iter().map(base(false))).collect();
    bases.sort_by_key(|(is_scenario, Base { name, plan, .. })| {
        let stops = plan.faults.iter().any(|fault| matches!(fault.what, What::Stop | What::Hang));
        let order = ["swap", "slow-", "alone-"].iter().position(|first| name.starts_with(first));
        (order.unwrap_or(3), stops, *is_scenario, plan.faults.len(), name.clone())
    });
    bases.into_iter().map(|(_, base)| base).collect()
}

impl Base {
    /// Whether a process may die in `gap` here. A frame that is late waits in its sender: it would die with it, while the
    /// simulator has it on its way.
    fn allows(&self, gap: &str) -> bool {
        let is_boss = gap.starts_with("supervisor") || gap.starts_with("recovery");
        let is_late = |fault: &Fault| match &fault.at {
            At::Frame { to, .. } if fault.what == What::Delay => (*to == Who::Supervisor) != is_boss,
            _ => false,
        };
        self.gaps.contains(gap) && !self.plan.faults.iter().any(is_late)
    }
}

/// Every gap that the search or the simulator has seen.
fn all_gaps(bases: &[Base]) -> BTreeSet<String> {
    let searched = include_str!("../../../snapshots/explored/gaps.snap");
    let is_gap = |line: &&str| line.split('.').count() == 3 && !line.contains('/');
    let simulated = bases.iter().flat_map(|base| base.gaps.iter().cloned());
    searched.lines().filter(is_gap).map(String::from).chain(simulated).collect()
}

/// `base`, with a fault at `gap`.
fn struck_at(base: &Plan, gap: &str, in_handoff: u32, grief: Grief) -> Plan {
    let at: At = format!("gap {gap}").parse().unwrap();
    let fault = match grief {
        Grief::Dies(_) => Fault { in_handoff, ..Fault::new(at, What::Crash) },
        Grief::Stops => Fault { in_handoff, span: Some(STOP), ..Fault::new(at, What::Stop) },
    };
    let mut plan = base.clone();
    plan.faults.push(fault);
    plan
}

/// Where the simulator passes `gap` first: in the swap of a plan, or else in what comes before it.
fn first_place<'a>(bases: &'a [Base], gap: &str) -> Option<Place<'a>> {
    let strikes = |base: &Base, in_handoff| {
        let struck = simulate(&struck_at(&base.plan, gap, in_handoff, GRIEFS[0])).struck;
        struck.iter().any(|struck| struck.index == base.plan.faults.len())
    };
    let place = |base, in_handoff| Place { gap: gap.into(), base, in_handoff, step: None };
    let all = bases.iter().filter(|base| base.allows(gap));
    let before = bases.first().filter(|swap| swap.allows(gap)).map(|swap| (swap, 0));
    let candidates = before.into_iter().chain(all.map(|base| (base, 1)));
    let mut candidates: Vec<(&Base, u32)> = candidates.collect();
    candidates.sort_by_key(|(base, in_handoff)| (base.name != "swap", *in_handoff == 0));
    candidates.into_iter().find(|(base, nth)| strikes(base, *nth)).map(|(base, nth)| place(base, nth))
}

impl Place<'_> {
    /// The places between the system calls of the effect after this one.
    fn steps(&self) -> Vec<Place<'_>> {
        let effect = self.gap.rsplit_once(".before-").map_or("", |(_, effect)| effect);
        let step = |step: &&'static str| Place {
            gap: self.gap.clone(),
            base: self.base,
            in_handoff: self.in_handoff,
            step: Some(step),
        };
        probe::steps(effect).iter().map(step).collect()
    }

    fn name(&self) -> String {
        self.step.map_or(self.gap.clone(), |step| format!("{}/{step}", self.gap))
    }

    /// The place in the simulator, to which an effect is one: before it, or after it.
    fn simulated(&self) -> String {
        let effect = self.gap.rsplit_once(".before-").map_or("", |(_, effect)| effect);
        let after = match (effect, self.step) {
            ("Spawn", Some("exec" | "watch")) => "supervisor.await-spawn.before-PersistUnderWay",
            ("PersistUnderWay", Some("sync")) => "supervisor.await-warmed.*",
            ("PersistCommitted", Some("sync")) => "supervisor.await-committed.*",
            ("PersistOver", Some("sync")) => "supervisor.await-noted.*",
            ("Note", Some("sync")) => "recovery.await-noted.*",
            _ => &self.gap,
        };
        after.into()
    }

    /// Strikes on both arms. With how many lengths of time the simulator says the same as reality.
    fn same_end(&self, grief: Grief) -> Result<u64, Vec<String>> {
        let name = format!("{}, {grief:?}, in {}", self.name(), self.base.name);
        let with = |gap: &str| struck_at(&self.base.plan, gap, self.in_handoff, grief);
        let death = if let Grief::Dies(death) = grief { death } else { Death::Kill };
        let plan = with(&self.simulated());
        let strikes = |real: &Report| !real.missed.iter().any(|missed| missed.ends_with(&self.name()));
        let mut real = stage(&with(&self.name()), death);
        for _ in 1..TRIES {
            // Usually nobody says that it lives before something happens.
            let early = real.struck_at.as_ref().is_some_and(|event| event.ends_with("Heartbeat"));
            let is_elsewhere = early && self.gap.ends_with(".after");
            if strikes(&real) && !is_elsewhere && !compare::is_starved(&plan, &real) {
                break;
            }
            real = stage(&with(&self.name()), death);
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
    let places: Vec<Place<'_>> = all.iter().filter_map(|gap| first_place(&bases, gap)).collect();
    let places: Vec<Place<'_>> = places
        .iter()
        .flat_map(|place| {
            std::iter::once(Place { step: None, gap: place.gap.clone(), ..*place }).chain(place.steps())
        })
        .collect();
    let listed = listed(NOT_STAGED);
    // The simulator can win any race, and knows nothing of system calls.
    let is_race =
        |name: &str| listed.get(name).is_some_and(|why| why.starts_with("A race") || name.contains('/'));
    let names = places.iter().map(Place::name).filter(|name| !is_race(name)).collect();
    let all = all.into_iter().chain(places.iter().map(Place::name)).collect();
    let mut problems = wrong_with(NOT_STAGED, &all, &names);

    let only = std::env::var("HANDOFF_GAP");
    let chosen = |place: &&Place<'_>| !listed.contains_key(&place.name());
    let cases: Vec<(&Place<'_>, Grief)> = match &only {
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
