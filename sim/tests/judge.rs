//! The judge of mutated sources (`.cargo/mutants.toml`): one test for all that the exploration and a sweep notice, soonest first.
//! No snapshot is looked at: those notice every change, right or wrong.
use handoff_sim::explore::{Bound, Options, SMALL, explore};
use handoff_sim::run::ledgers;
use handoff_sim::sweep::Sweep;

/// One for every kind of fault, the smallest first.
const FIRST: [&str; 13] = [
    "no-fault",
    "no-fault-deferred",
    "other-version",
    "one-drop",
    "late",
    "one-error",
    "one-bad-hook",
    "one-reset",
    "cancelled",
    "told-to-stop",
    "one-stop",
    "one-crash-recovered",
    "one-crash",
];

/// A mutant that makes more states than that has no end.
const MOST_STATES: usize = 1_000_000;

#[test]
#[ignore = "for mutants: every other test is harder to please"]
fn nothing_is_noticed() {
    let (mut first, mut others): (Vec<&Bound>, Vec<&Bound>) = (Vec::new(), Vec::new());
    for bound in SMALL {
        if FIRST.contains(&bound.name) { &mut first } else { &mut others }.push(bound);
    }
    first.sort_by_key(|bound| FIRST.iter().position(|name| *name == bound.name));
    swept(0..500);
    first.into_iter().for_each(explored);
    swept(500..10_000);
    others.into_iter().for_each(explored);
}

fn swept(seeds: std::ops::Range<u64>) {
    let failure = Sweep { twice_every: 0, ..Sweep::new(seeds, ledgers()) }.run(|_| {}).failure;
    assert_eq!(failure.map(|failure| (failure.seed, failure.violation)), None);
}

fn explored(bound: &Bound) {
    let options = Options { most_states: MOST_STATES, ..Options::default() };
    assert_eq!(explore(bound, options).wrong(bound), Vec::<String>::new(), "{}", bound.name);
}
