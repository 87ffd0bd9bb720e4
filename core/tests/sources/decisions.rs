//! The place where the consequences of a verdict are decided, which is the keeper: no other code looks at
//! one, but to show it, to check it, or to pass it on.

use crate::each_file;

/// The folders of programs, the simulator and the stage, beside the core.
const SOURCES: [&str; 3] = ["supervisor/src", "sim/src", "tests/src"];

/// The places where a verdict is named, and why that decides nothing.
const ALLOWED: [(&str, &str); 16] = [
    ("supervisor/src/exit.rs", "the exit status of a command"),
    ("supervisor/src/protocol.rs", "the words of the trigger socket"),
    ("supervisor/src/work.rs", "a call that gives no answer is unconfirmed"),
    ("sim/src/checks/recovery.rs", "checks what was found"),
    ("sim/src/checks/supervisor.rs", "checks what was reported"),
    ("sim/src/explore/bounds.rs", "lists what is reported within a bound"),
    ("sim/src/explore/bounds/carry.rs", "lists what is reported within a bound"),
    ("sim/src/explore/checks/obligations/supervisor.rs", "checks what was written before it is reported"),
    ("sim/src/explore/moves/recover.rs", "checks what was found, and names it"),
    ("sim/src/explore/report/table.rs", "makes each event once"),
    ("sim/src/judge.rs", "lists what is reported without a mutation"),
    ("sim/src/outage/mod.rs", "names what was reported"),
    ("sim/src/supervisor/recovery_os.rs", "names what was found"),
    ("sim/src/supervisor/swap.rs", "a planted lie"),
    ("tests/src/held.rs", "checks what was reported"),
    ("tests/src/order.rs", "reads the names that a supervisor's process writes"),
];

/// The names by which a line names a verdict: its type or the names that the stage's processes say.
const NAMES: [&str; 3] = ["Verdict::", "\"Committed\" =>", "\"RolledBack\" "];

#[test]
fn nothing_outside_of_the_core_decides_what_follows_from_a_verdict() {
    let mut found = Vec::new();
    for source in SOURCES {
        each_file(source, &mut |name, text| {
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            if NAMES.iter().any(|verdict| code.contains(verdict)) {
                found.push(name.to_owned());
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
