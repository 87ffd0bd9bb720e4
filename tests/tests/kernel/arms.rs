//! A story, told on both kernels, and what they say compared.
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::real::Real;
use crate::stage::{Kernel, Stage};

/// So many seeds on the simulated kernel: lengths of time vary with them.
#[cfg(feature = "sim")]
const SEEDS: u64 = 512;

/// A story, told on one kernel.
struct Told {
    arm: String,
    lines: Vec<String>,
    outcome: String,
    failure: Option<String>,
}

/// Tells a story on Linux and on the simulated kernel. `why` the protocol rests on it.
#[track_caller]
pub(crate) fn both(why: &str, story: impl Fn(&mut Stage<'_>)) {
    let linux = tell("Linux", &mut Real::new(), &story);
    // Of each outcome, one that led to it; the first that fails is enough.
    #[cfg(feature = "sim")]
    let simulated = (0..SEEDS).map(|seed| {
        let arm = format!("the simulated kernel (seed {seed})");
        tell(&arm, &mut crate::simulated::Simulated::new(seed), &story)
    });
    #[cfg(not(feature = "sim"))]
    let simulated = std::iter::empty::<Told>();
    let mut outcomes: BTreeMap<(bool, String), Told> = BTreeMap::new();
    for told in simulated {
        let fails = told.failure.is_some();
        outcomes.entry((!fails, told.outcome.clone())).or_insert(told);
        if fails {
            break;
        }
    }
    let failed = linux.failure.is_some() || outcomes.values().any(|told| told.failure.is_some());
    let is_met = outcomes.is_empty() || outcomes.contains_key(&(true, linux.outcome.clone()));
    if failed || !is_met {
        let arms: Vec<String> = [&linux].into_iter().chain(outcomes.values()).map(Told::to_string).collect();
        panic!(
            "the kernels differ, or one is not as the protocol needs it.\nwhy it matters: {why}\n{}",
            arms.concat()
        );
    }
}

/// Tells a story on Linux alone: what it shows is not simulated, for the reason in `row` of the table in `sim/README.md`.
#[track_caller]
pub(crate) fn on_linux(row: &str, why: &str, story: impl Fn(&mut Stage<'_>)) {
    assert_listed(row);
    let linux = tell("Linux", &mut Real::new(), &story);
    assert!(linux.failure.is_none(), "why it matters: {why}\n{linux}");
}

/// What is not simulated stands in the table.
#[track_caller]
pub(crate) fn assert_listed(row: &str) {
    let readme = include_str!("../../../sim/README.md");
    assert!(readme.contains(&format!("\n| {row} |")), "sim/README.md has no row {row:?}");
}

fn tell(arm: &str, kernel: &mut dyn Kernel, story: &impl Fn(&mut Stage<'_>)) -> Told {
    let mut stage = Stage::new(kernel);
    let result = catch_unwind(AssertUnwindSafe(|| story(&mut stage)));
    let failure = result.err().map(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast_ref::<&str>().map_or("it panicked".into(), |text| (*text).into()),
    });
    Told { arm: arm.into(), lines: stage.told, outcome: stage.outcome.join(", "), failure }
}

impl std::fmt::Display for Told {
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
