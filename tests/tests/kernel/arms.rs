//! A story, told on both kernels, and what they say compared.
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::real::Real;
use crate::stage::{Kernel, KernelStage};

/// So many seeds on the simulated kernel: lengths of time vary with them.
#[cfg(feature = "sim")]
const SEEDS: u64 = 512;

/// A story, told on one kernel.
struct ToldStory {
    arm: String,
    lines: Vec<String>,
    outcome: String,
    failure: Option<String>,
}

/// Tells a story on Linux and on the simulated kernel. `why` the protocol rests on it.
#[track_caller]
pub(crate) fn both(why: &str, story: impl Fn(&mut KernelStage<'_>)) {
    compare(why, &[""], &[tell("Linux", &mut Real::new(), &story)], &story);
}

/// The same, of something that a kernel may do in either way: the simulated one does all that is in `choices`.
#[track_caller]
pub(crate) fn both_choosing(choices: &[&str], why: &str, story: impl Fn(&mut KernelStage<'_>)) {
    compare(why, choices, &[tell("Linux", &mut Real::new(), &story)], &story);
}

/// The same, of the listening socket: a Unix socket, and a TCP one.
#[track_caller]
pub(crate) fn both_over_unix_and_tcp(why: &str, story: impl Fn(&mut KernelStage<'_>)) {
    let unix = tell("Linux", &mut Real::new(), &story);
    let tcp = tell("Linux, over TCP", &mut Real::over_tcp(), &story);
    compare(why, &[""], &[unix, tcp], &story);
}

/// No kernel fails, Linux's outcome is among the simulated ones, and so are all `choices`.
#[track_caller]
fn compare(why: &str, choices: &[&str], linux: &[ToldStory], story: &impl Fn(&mut KernelStage<'_>)) {
    let simulated = simulated(story);
    let arms = || linux.iter().chain(simulated.values());
    let failed = arms().any(|told| told.failure.is_some());
    let linux_chose = linux.iter().map(|told| &told.outcome[..]);
    let mut met = linux_chose.chain(choices.iter().copied());
    let unmet = met.find(|outcome| cfg!(feature = "sim") && !simulated.contains_key(*outcome));
    if failed || unmet.is_some() {
        let unmet =
            unmet.map_or(String::new(), |unmet| format!("never on the simulated kernel: {unmet:?}\n"));
        let arms: String = arms().map(ToldStory::to_string).collect();
        panic!(
            "the kernels differ, or one is not as the protocol needs it\nwhy it matters: {why}\n{unmet}{arms}"
        );
    }
}

/// Returns what the simulated kernel makes of a story: of each outcome, the first run that led to it. The
/// first that fails is the last.
#[cfg(feature = "sim")]
fn simulated(story: &impl Fn(&mut KernelStage<'_>)) -> BTreeMap<String, ToldStory> {
    let mut outcomes = BTreeMap::new();
    for seed in 0..SEEDS {
        let arm = format!("the simulated kernel (seed {seed})");
        let told = tell(&arm, &mut crate::simulated::SimulatedArm::new(seed), story);
        if told.failure.is_some() {
            outcomes.insert(told.outcome.clone(), told);
            break;
        }
        outcomes.entry(told.outcome.clone()).or_insert(told);
    }
    outcomes
}

#[cfg(not(feature = "sim"))]
fn simulated(_: &impl Fn(&mut KernelStage<'_>)) -> BTreeMap<String, ToldStory> {
    BTreeMap::new()
}

/// Tells a story on Linux alone: what it shows is not simulated, for the reason in `row` of the table in `docs/testing.md`.
#[track_caller]
pub(crate) fn on_linux(row: &str, why: &str, story: impl Fn(&mut KernelStage<'_>)) {
    assert_listed(row);
    let linux = tell("Linux", &mut Real::new(), &story);
    assert!(linux.failure.is_none(), "why it matters: {why}\n{linux}");
}

/// Checks that what is not simulated stands in the table.
#[track_caller]
pub(crate) fn assert_listed(row: &str) {
    let tables = include_str!("../../../docs/testing.md");
    assert!(tables.contains(&format!("\n| {row} |")), "docs/testing.md has no row {row:?}");
}

fn tell(arm: &str, kernel: &mut dyn Kernel, story: &impl Fn(&mut KernelStage<'_>)) -> ToldStory {
    let mut stage = KernelStage::new(kernel);
    let result = catch_unwind(AssertUnwindSafe(|| story(&mut stage)));
    let failure = result.err().map(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast_ref::<&str>().map_or("it panicked".into(), |text| (*text).into()),
    });
    ToldStory { arm: arm.into(), lines: stage.told, outcome: stage.outcome.join(", "), failure }
}

impl std::fmt::Display for ToldStory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MOST: usize = 30;
        let verdict = self.failure.as_ref().map_or("as the story says".into(), |why| format!("FAILS: {why}"));
        writeln!(f, "\n{}: {verdict}", self.arm)?;
        let skipped = self.lines.len().saturating_sub(MOST);
        if skipped > 0 {
            writeln!(f, "    ... {skipped} lines")?;
        }
        self.lines[skipped..].iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}
