//! What follows from a verdict is decided in the keeper and nowhere else: no other code looks at one, but to show it, to check
//! it, or to pass it on.
#![allow(clippy::unwrap_used, reason = "a test that can't read its sources has failed")]
use std::fs;
use std::path::{Path, PathBuf};

/// Where programs, the simulator and the stage live, beside the core.
const SOURCES: [&str; 3] = ["supervisor/src", "sim/src", "tests/src"];

/// Where a verdict is named, and why that decides nothing.
const ALLOWED: [(&str, &str); 15] = [
    ("supervisor/src/exit.rs", "the exit status of a command"),
    ("supervisor/src/protocol.rs", "the words of the trigger socket"),
    ("supervisor/src/work.rs", "a call that gives no answer is unconfirmed"),
    ("sim/src/checks/recovery.rs", "checks what was found"),
    ("sim/src/checks/supervisor.rs", "checks what was reported"),
    ("sim/src/explore/bounds.rs", "lists what is reported within a bound"),
    ("sim/src/explore/checks/obligations/supervisor.rs", "checks what was written before it is reported"),
    ("sim/src/explore/moves/recover.rs", "checks what was found, and names it"),
    ("sim/src/explore/report/table.rs", "makes each event once"),
    ("sim/src/mutation/judge.rs", "lists what is reported without a mutation"),
    ("sim/src/outage/mod.rs", "names what was reported"),
    ("sim/src/supervisor/recovery_os.rs", "names what was found"),
    ("sim/src/supervisor/swap.rs", "a planted lie"),
    ("tests/src/held.rs", "checks what was reported"),
    ("tests/src/order.rs", "reads the names that a supervisor's process writes"),
];

/// How a line names a verdict, by its type or by the names that the stage's processes say.
const NAMES: [&str; 3] = ["Verdict::", "\"Committed\" =>", "\"RolledBack\" "];

#[test]
fn nothing_outside_of_the_core_decides_what_follows_from_a_verdict() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for source in SOURCES {
        files(&root.join(source), &mut |path, text| {
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            if NAMES.iter().any(|name| code.contains(name)) {
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        });
    }
    let allowed = |file: &&String| ALLOWED.iter().any(|(allowed, _)| allowed == file);
    let decide: Vec<&String> = found.iter().filter(|file| !allowed(file)).collect();
    assert!(decide.is_empty(), "ask the keeper (handoff::node::keeper) what follows: {decide:?}");
    let stale: Vec<&str> =
        ALLOWED.map(|(file, _)| file).into_iter().filter(|file| !found.iter().any(|f| f == file)).collect();
    assert!(stale.is_empty(), "these name no verdict any more: {stale:?}");
}

/// Calls `see` with each file of Rust below `directory`.
fn files(directory: &Path, see: &mut impl FnMut(&Path, &str)) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, see);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            see(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}
