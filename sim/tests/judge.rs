//! The judge of mutated sources (`.cargo/mutants.toml`): one test for all that the exploration and a sweep notice, soonest first.
//! No snapshot is looked at: those notice every change, right or wrong.
use handoff_sim::explore::{Bound, Options, SMALL, explore};
use handoff_sim::run::ledgers;
use handoff_sim::sweep::Sweep;

/// One for every kind of fault, the smallest first.
const BOUNDS: [&str; 13] = [
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
const MOST_STATES: usize = 500_000;

#[test]
#[ignore = "for mutants: every other test is harder to please"]
fn nothing_is_noticed() {
    let sweep = |seeds| Sweep { twice_every: 0, ..Sweep::new(seeds, ledgers()) }.run(|_| {}).failure;
    let failure = sweep(0..500).map(|failure| (failure.seed, failure.violation));
    assert_eq!(failure, None);
    for name in BOUNDS {
        let bound: &Bound = SMALL.iter().find(|bound| bound.name == name).expect("a bound of this name");
        let options = Options { most_states: MOST_STATES, ..Options::default() };
        assert_eq!(explore(bound, options).wrong(bound), Vec::<String>::new(), "{name}");
    }
    let failure = sweep(500..10_000).map(|failure| (failure.seed, failure.violation));
    assert_eq!(failure, None);
}
