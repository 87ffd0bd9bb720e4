//! Scenarios, lists of what can't be staged, and runs of many at once.
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use handoff_sim::Plan;
use handoff_sim::threads::map;
use handoff_tests::stage::compare::simulate;
use handoff_tests::stage::{StageReport, real_times};

/// The number of worlds at once: they mostly wait.
const AT_ONCE: usize = 24;

/// The number of worlds at once when that has failed.
const FEW: usize = 2;

/// Both suites at once would be too much for the limits of time in their plans.
static STAGE: Mutex<()> = Mutex::new(());

/// The stage is ours until this is dropped.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/arms").join(file)
}

/// All scenarios, by name, at the pace of real processes.
pub(crate) fn scenarios() -> BTreeMap<String, Plan> {
    plans(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios"))
}

/// More plans, by name, in which processes come by gaps that no scenario has.
pub(crate) fn more_plans() -> BTreeMap<String, Plan> {
    plans(&here("bases"))
}

fn plans(folder: &Path) -> BTreeMap<String, Plan> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let named = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, real_times(&Plan::load(&path).unwrap()))
    };
    files.map(named).collect()
}

/// Keeps both traces of a run in which the arms differ, all lines included. Says where.
pub(crate) fn keep(name: &str, plan: &Plan, real: &StageReport) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("arms");
    let path = folder.join(name.replace([' ', '/', ','], "-")).with_extension("txt");
    let trace = |report: &StageReport| -> String {
        report.lines.iter().map(|(who, line)| format!("{who:<4}{line}\n")).collect()
    };
    let simulated = simulate(plan).map_or("nothing".into(), |report| trace(&report));
    let text = format!("{}\n--- simulated\n{simulated}\n--- real\n{}", plan.to_toml(), trace(real));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, text));
    written.map_or_else(|error| error.to_string(), |()| format!("{name}: all of it is in {}", path.display()))
}

/// Returns what a list in this directory names, and why.
pub(crate) fn listed(file: &str) -> BTreeMap<String, String> {
    handoff_tests::lists::listed(&here(file))
}

/// Returns what is wrong with a list: `all` must be those that are listed, and those that are `staged`.
pub(crate) fn wrong_with(file: &str, all: &BTreeSet<String>, staged: &BTreeSet<String>) -> Vec<String> {
    let listed: BTreeSet<String> = listed(file).into_keys().collect();
    let mut wrong = Vec::new();
    for name in all {
        match (listed.contains(name), staged.contains(name)) {
            (true, true) => wrong.push(format!("{name} is listed in {file}, but can be staged by now")),
            (false, false) => wrong.push(format!("{name} is neither staged nor listed in {file}")),
            _ => {}
        }
    }
    wrong.extend(listed.difference(all).map(|name| format!("{name} is listed in {file}, but there is none")));
    wrong
}

/// Does `work` for all `items`, many at once; what each came to, in order. A panic is a failure, in words.
///
/// On a machine that is busy with something else, so many at once can starve a process for longer than its peers wait for a sign
/// of life. So what failed is done once more with hardly anything beside it, which is printed, and that counts.
pub(crate) fn at_once<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, Vec<String>> + Sync,
) -> Vec<Result<R, Vec<String>>> {
    let caught = |item: &T| {
        let result = catch_unwind(AssertUnwindSafe(|| work(item)));
        result.unwrap_or_else(|panic| Err(vec![text(&*panic)]))
    };
    let mut results = map(items, AT_ONCE, caught, |_| {});
    let failed: Vec<usize> = (0..items.len()).filter(|at| results[*at].is_err()).collect();
    let again = map(&failed, FEW, |at| caught(&items[*at]), |_| {});
    for (at, second) in failed.into_iter().zip(again) {
        if let Err(first) = std::mem::replace(&mut results[at], second) {
            println!("once more, with little beside it: {}", first.join("\n  "));
        }
    }
    results
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".into())
}
