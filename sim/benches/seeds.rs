//! The number of runs a second that a core does, beside what an empty madsim run with as many timers takes:
//! `cargo bench -p handoff-sim`.
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use handoff_sim::run::{RunOptions, ledgers};
use handoff_sim::{Plan, draw, run};

/// A round of each takes about so long; they take turns, so that a noisy machine hits both.
const ROUND: Duration = Duration::from_millis(500);
const ROUNDS: usize = 9;

fn main() {
    let two = "clients = 2\nhandoffs = 1\ndelays = \"usual\"";
    let plan = Arc::new(Plan::parse(two).unwrap_or_else(|error| panic!("{error}")));
    let make = ledgers();
    let report = run(&plan, &make, RunOptions::default());
    let (steps, length) = (report.steps, report.length as f64 / 1e6);
    println!(
        "a run of two handoffs, 2 clients, no fault: {steps} steps, {} requests, {length:.3} virtual s",
        report.requests
    );

    let mut seed = 0;
    let (mut calm, mut floor, mut drawn) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        calm.push(rate(|| drop(black_box(run(&plan, &make, RunOptions::default())))));
        floor.push(rate(|| empty_run(steps)));
        drawn.push(rate(|| {
            seed += 1;
            drop(black_box(run(&Arc::new(draw(seed)), &make, RunOptions::default())));
        }));
    }
    let (calm, floor, drawn) = (median(calm), median(floor), median(drawn));
    println!("runs a second on one core, medians of {ROUNDS} rounds:");
    println!("  {calm:>8.0}  two handoffs; {:.0} virtual seconds a second", calm * length);
    println!("  {floor:>8.0}  an empty madsim run with {steps} timers: {:.1} times as many", floor / calm);
    println!(
        "  {drawn:>8.0}  seeds as a sweep draws them: 1 to 3 handoffs, faults, recovery, and one more handoff"
    );
}

fn rate(mut work: impl FnMut()) -> f64 {
    let (start, mut runs) = (Instant::now(), 0_u32);
    while start.elapsed() < ROUND {
        work();
        runs += 1;
    }
    f64::from(runs) / start.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Runs what madsim itself does for so many timers, one after the other, on a runtime of its own.
fn empty_run(timers: u64) {
    let runtime = madsim::runtime::Runtime::with_seed_and_config(0, madsim::Config::default());
    runtime.block_on(async {
        for _ in 0..timers {
            madsim::time::sleep(Duration::from_millis(1)).await;
        }
    });
}
