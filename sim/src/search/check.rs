//! For a test: a sweep, or one seed, as the environment says.
use std::env;
use std::path::Path;
use std::sync::Arc;

use super::failure::Explain;
use super::sweep::{Summary, Sweep};
use crate::kernel::Disk;
use crate::plan::Plan;
use crate::plan::draw::draw;
use crate::run::{Planted, RunOptions, forgetful_ledgers, run};
use crate::simulated::{Make, Simulated};
use crate::trace::text;

/// The variable with the number of seeds that are run: `HANDOFF_SEEDS=1000000`.
pub const SEEDS: &str = "HANDOFF_SEEDS";
/// The one seed to run, with its trace: `HANDOFF_SEED=17`.
pub const SEED: &str = "HANDOFF_SEED";
/// The one plan to run, with its trace: `HANDOFF_PLAN=failures/seed-17.toml`.
pub const PLAN: &str = "HANDOFF_PLAN";
/// The variable that names what to break, to see that the sweep notices: `flock` or `seal`.
pub const CANARY: &str = "HANDOFF_CANARY";

/// The directory in which plans that fail are saved, below the package's directory.
const FAILURES: &str = "target/handoff-failures";

/// Sweeps over the daemons that `make` makes: `usual` seeds, unless the environment says otherwise ([`SEEDS`], [`SEED`],
/// [`PLAN`], [`CANARY`]). This is the whole of a daemon author's test.
///
/// # Panics
/// If a check fails: with all that there is to say of it. If the environment can't be understood.
pub fn check<D>(usual: u64, make: impl Fn(Disk, u32) -> D + Send + Sync + 'static) -> Summary
where
    D: Simulated + 'static,
{
    let mut make: Arc<Make> = Arc::new(move |disk, build| Box::new(make(disk, build)));
    let mut planted = Planted::Nothing;
    match env::var(CANARY).as_deref() {
        Err(_) => {}
        Ok("flock") => planted = Planted::FlockExcludesNobody,
        Ok("seal") => make = forgetful_ledgers(),
        Ok(other) => panic!("{CANARY}={other}: flock or seal"),
    }
    if let Some(plan) = one_plan() {
        replay(plan, &make, planted);
        return Summary::default();
    }
    let sweep = Sweep { planted, ..Sweep::new(0..number(SEEDS).unwrap_or(usual), make) };
    let summary = sweep.run(|_| {});
    if let Some(failure) = &summary.failure {
        let replay = format!("{PLAN}={{}} cargo test {}", env::args().nth(1).unwrap_or_default());
        let explain = Explain { make: &sweep.make, planted, directory: Path::new(FAILURES), replay: &replay };
        panic!("{}", explain.text(failure));
    }
    summary
}

fn one_plan() -> Option<Plan> {
    if let Some(seed) = number(SEED) {
        return Some(draw(seed));
    }
    let path = env::var_os(PLAN)?;
    Some(Plan::load(&path).unwrap_or_else(|error| panic!("{error}")))
}

fn replay(plan: Plan, make: &Arc<Make>, planted: Planted) {
    let report =
        run(&Arc::new(plan.clone()), make, RunOptions { trace: true, planted, ..RunOptions::default() });
    println!("{}\n{}", plan.to_toml(), text::lines(&report.trace, 0).join("\n"));
    if let Some(violation) = report.violation {
        panic!("the check \"{}\" fails: {}", violation.check, violation.why);
    }
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number, please")))
}
