//! The names that a sweep must have met: every class of faults, every gap in which a process can die, every
//! cell of the machines' tables that is possible at all.
//!
//! Gaps and cells come from the exploration, which meets all that there is within its bounds. What the simulated machine can't
//! meet, though the exploration's can, is in `unreached.txt`, with the reason.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use handoff_sim::classes;
use handoff_sim::sweep::Summary;

/// The plans for what random ones meet too seldom.
pub(crate) fn corpus() -> PathBuf {
    root().join("scenarios/corpus")
}

/// Returns what is wrong with what `runs` have met, and how to look for it.
pub(crate) fn problems(runs: &[&Summary]) -> Vec<String> {
    let all = |names: fn(&Summary) -> BTreeSet<String>| -> BTreeSet<String> {
        runs.iter().flat_map(|summary| names(summary)).collect()
    };
    let faults = all(|summary| summary.faults.keys().cloned().collect());
    let gaps = all(|summary| summary.gaps.keys().cloned().collect());
    let cells = all(|summary| summary.cells.keys().cloned().collect());
    let possible = lines(&root().join("snapshots/cells.txt"));
    let unreached = unreached();
    let mut problems = Vec::new();
    let mut tell = |what: &str, names: BTreeSet<String>| {
        problems.extend(names.into_iter().map(|name| format!("{what}: {name}")));
    };
    let missing = |wanted: BTreeSet<String>, met: &BTreeSet<String>| -> BTreeSet<String> {
        wanted.into_iter().filter(|name| !met.contains(name) && !unreached.contains(name)).collect()
    };
    tell("no fault of this class strikes", missing(classes().into_iter().collect(), &faults));
    tell("this gap is not passed", missing(explored("gaps"), &gaps));
    tell("this cell is not met", missing(possible.clone(), &cells));
    tell("this cell is met, and not in snapshots/cells.txt", &cells - &possible);
    for bounds in ["cells", "large-cells"] {
        tell("this cell is explored, and not in snapshots/cells.txt", &explored(bounds) - &possible);
    }
    let met = &gaps | &cells;
    tell("this is met after all: take it out of tests/tests/coverage/unreached.txt", &unreached & &met);
    if !problems.is_empty() {
        problems.push(
            "to look for what is missing, with names one a line in FILE: \
             handoff-sim sweep --seeds 0..100000 --collect scenarios/corpus --wanted FILE"
                .into(),
        );
    }
    problems
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn lines(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_string).collect()
}

/// The lines of a snapshot of the exploration.
fn explored(name: &str) -> BTreeSet<String> {
    let path = root().join(format!("snapshots/explored/{name}.snap"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let body = text.splitn(3, "---\n").nth(2).unwrap_or_default();
    body.lines().filter(|line| !line.is_empty()).map(str::to_string).collect()
}

/// Names below a line that begins with `#`, which says why.
fn unreached() -> BTreeSet<String> {
    let all = lines(&root().join("tests/tests/coverage/unreached.txt"));
    all.into_iter().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}
