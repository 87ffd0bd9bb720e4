//! The seeded sweep: the production machines on a simulated machine, under faults drawn from seeds.
//!
//! With the plans in `scenarios/corpus`, which come first, it meets all that can be met, or fails by its name.
//! `HANDOFF_SEEDS=1000000` runs more, `HANDOFF_SEED=17` one, with its trace; `HANDOFF_PLAN=FILE` a plan.
#![cfg(feature = "sim")]
mod coverage;

use std::process::{Command, Output};
use std::time::Instant;

use handoff_sim::corpus::run_corpus;
use handoff_sim::run::{RunOptions, ledgers};
use handoff_sim::sweep::Sweep;
use handoff_sim::{CANARY, Ledger, PLAN, SEED, SEEDS, check, draw, run, trace::text};

/// The number of seeds that is enough for every day.
const USUAL: u64 = 10_000;

#[test]
fn a_sweep_over_all_kinds_of_faults() {
    let start = Instant::now();
    let corpus = run_corpus(&coverage::corpus(), &ledgers()).unwrap_or_else(|why| panic!("{why}"));
    let summary = check(USUAL, Ledger::new);
    if summary.runs > 0 {
        println!("{} runs in {:?}, {} of them twice", summary.runs, start.elapsed(), summary.run_twice);
    }
    // Fewer are a run that looks for something else.
    if summary.runs >= USUAL {
        let problems = coverage::problems(&[&corpus, &summary]);
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}

/// The test above, in a process of its own, with this in its environment and nothing else of ours.
fn sweep_with(variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    for name in [SEEDS, SEED, PLAN, CANARY] {
        command.env_remove(name);
    }
    command
        .args(["--exact", "a_sweep_over_all_kinds_of_faults", "--nocapture"])
        .envs(variables.iter().copied());
    command.output().expect("it can be run")
}

#[test]
fn a_canary_is_found_within_a_few_hundred_seeds() {
    for (canary, check) in [("flock", "one writer"), ("seal", "nothing lost")] {
        let found = sweep_with(&[(CANARY, canary), (SEEDS, "300")]);
        let text = String::from_utf8_lossy(&found.stderr).into_owned();
        assert!(!found.status.success(), "{canary} is not found: {text}");
        assert!(text.contains(&format!("fails the check \"{check}\"")), "{canary}: {text}");
        assert!(text.contains("replay it: HANDOFF_PLAN="), "{text}");
    }
}

#[test]
fn a_seed_leaves_the_same_bytes_in_every_process_and_on_any_number_of_threads() {
    let seed = "77";
    let here = run(&draw(77).into(), &ledgers(), RunOptions { trace: true, ..RunOptions::default() });
    let here = text::lines(&here.trace, 0).join("\n");
    let first = sweep_with(&[(SEED, seed)]);
    let second = sweep_with(&[(SEED, seed)]);
    let bytes = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| !line.starts_with("test ")).collect::<Vec<_>>().join("\n")
    };
    assert!(bytes(&first).contains(&here), "another process leaves something else:\n{}", bytes(&first));
    let trace = |output: &Output| bytes(output).split("test result").next().map(str::to_string);
    assert_eq!(trace(&first), trace(&second));

    let swept = |jobs| {
        let summary = Sweep { jobs, ..Sweep::new(0..500, ledgers()) }.run(|_| {});
        serde_json::to_string(&summary).expect("a summary")
    };
    assert_eq!(swept(1), swept(3));
}
