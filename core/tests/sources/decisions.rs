//! The place where the consequences of a verdict are decided, which is the keeper: no other code looks at
//! one, but to show it, to check it, or to pass it on.

use crate::each_file;

/// The folders of programs, the simulator and the stage, beside the core.
const SOURCES: [&str; 3] = ["supervisor/src", "sim/src", "tests/src"];

/// The files in which a verdict is named, in how many functions, and the reason why that decides nothing.
const ALLOWED: [(&str, usize, &str); 16] = [
    ("supervisor/src/exit.rs", 1, "the exit status of a command"),
    ("supervisor/src/protocol.rs", 4, "the words of the trigger socket"),
    ("supervisor/src/work.rs", 2, "a call that gives no answer is unconfirmed"),
    ("sim/src/checks/recovery.rs", 4, "checks what was found"),
    ("sim/src/checks/supervisor.rs", 4, "checks what was reported"),
    ("sim/src/explore/bounds.rs", 1, "lists what is reported within a bound"),
    ("sim/src/explore/bounds/carry.rs", 1, "lists what is reported within a bound"),
    ("sim/src/explore/checks/obligations/supervisor.rs", 1, "checks what was written before it is reported"),
    ("sim/src/explore/moves/recover.rs", 3, "checks what was found, and names it"),
    ("sim/src/explore/report/table.rs", 2, "makes each event once"),
    ("sim/src/judge.rs", 1, "lists what is reported without a mutation"),
    ("sim/src/outage/mod.rs", 2, "names what was reported"),
    ("sim/src/supervisor/recovery_os.rs", 1, "names what was found"),
    ("sim/src/supervisor/swap.rs", 1, "a planted lie"),
    ("tests/src/held.rs", 1, "checks what was reported"),
    ("tests/src/order.rs", 2, "reads the names that a supervisor's process writes"),
];

/// The names by which a line names a verdict: its type or the names that the stage's processes say.
const NAMES: [&str; 3] = ["Verdict::", "\"Committed\" =>", "\"RolledBack\" "];

/// Returns whether `line` begins a function that has a name.
fn is_function(line: &str) -> bool {
    let line = line.trim_start();
    let mut words = line.split_whitespace();
    !line.starts_with("//") && words.any(|word| word == "fn") && words.next().is_some()
}

/// The functions in `code` that name a verdict, as their first lines; a constant outside of them counts as one.
fn deciding(code: &str) -> Vec<&str> {
    let mut places = Vec::new();
    let mut function = (0, "outside of functions");
    for (number, line) in code.lines().enumerate() {
        if is_function(line) {
            function = (number, line.trim());
        }
        if NAMES.iter().any(|verdict| line.contains(verdict)) && places.last() != Some(&function) {
            places.push(function);
        }
    }
    places.into_iter().map(|(_, function)| function).collect()
}

#[test]
fn nothing_outside_of_the_core_decides_what_follows_from_a_verdict() {
    let (mut wrong, mut stale) = (Vec::new(), ALLOWED.map(|(file, ..)| file).to_vec());
    for source in SOURCES {
        each_file(source, &mut |name, text| {
            let found = deciding(text.split("#[cfg(test)]").next().unwrap_or_default());
            let allowed = ALLOWED.iter().find(|(file, ..)| *file == name).map_or(0, |(_, count, _)| *count);
            if found.len() >= allowed {
                stale.retain(|file| *file != name);
            }
            if found.len() > allowed {
                wrong.push(format!("{name}, {allowed} excepted:\n  {}", found.join("\n  ")));
            }
        });
    }
    let wrong = wrong.join("\n");
    assert!(wrong.is_empty(), "ask the keeper (handoff::node::keeper) what follows:\n{wrong}");
    assert!(stale.is_empty(), "these name verdicts in fewer functions by now: {stale:?}");
}

#[test]
fn a_second_function_that_decides_is_found() {
    let one = "const LIE: V = Verdict::Committed;\nfn a() {\n    Verdict::RolledBack;\n    Verdict::Committed;\n}\n";
    assert_eq!(deciding(one), ["outside of functions", "fn a() {"]);
    let two = format!(
        "{one}impl It {{\n    // as fn a(\n    pub(crate) const fn b<T>(it: T) {{\n        Verdict::Busy;\n    }}\n}}\n"
    );
    assert_eq!(deciding(&two).last(), Some(&"pub(crate) const fn b<T>(it: T) {"));
    assert_eq!(deciding(&two).len(), 3);
}
