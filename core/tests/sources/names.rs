//! A name has one meaning: two types of the workspace share one only if they are the same thing, each for its machine, say.
use std::collections::{BTreeMap, BTreeSet};

use crate::{MEMBERS, each_file};

/// Names that several types have, and why they are the same thing.
struct Family {
    names: &'static [&'static str],
    /// The files that may define them, from the workspace's directory.
    files: &'static [&'static str],
    /// The reason why they are the same.
    #[expect(dead_code, reason = "it is for readers")]
    why: &'static str,
}

const FAMILIES: [Family; 7] = [
    Family {
        names: &["Awaited", "Done", "Effect", "Event", "Hook", "Limits", "Outcome", "State"],
        files: &[
            "core/src/machine/daemon.rs",
            "core/src/machine/incumbent.rs",
            "core/src/machine/recovery/mod.rs",
            "core/src/machine/successor.rs",
            "core/src/machine/supervisor/mod.rs",
        ],
        why: "what a machine is made of, each in the module of its machine",
    },
    Family {
        names: &["Done", "Event", "Hook"],
        files: &["core/src/node/daemon/role.rs"],
        why: "that of either machine of a daemon",
    },
    Family {
        names: &["Limits"],
        files: &["core/src/node/keeper/mod.rs"],
        why: "the keeper is a machine as well, between two tasks",
    },
    Family {
        names: &["Answer", "Hands", "Os", "Pass", "Rest"],
        files: &[
            "core/src/node/daemon/hands.rs",
            "core/src/node/daemon/mod.rs",
            "core/src/node/daemon/os.rs",
            "core/src/node/daemon/rest.rs",
            "core/src/node/handoff/mod.rs",
            "core/src/node/handoff/os.rs",
            "core/src/node/mod.rs",
            "core/src/node/recovery.rs",
        ],
        why: "what a node is made of, each in the module of its node",
    },
    Family {
        names: &["Host", "Party"],
        files: &[
            "core/src/machine/recovery/mod.rs",
            "core/src/machine/supervisor/mod.rs",
            "core/src/node/handoff/mod.rs",
            "core/src/node/recovery.rs",
            "core/src/unix/daemon/host.rs",
            "core/src/unix/supervisor/host.rs",
            "core/src/unix/supervisor/recover.rs",
            "sim/src/host.rs",
            "sim/src/program/handoff_task.rs",
        ],
        why: "what performs a machine's effects, and what is known on each side of it of a process that takes part",
    },
    Family {
        names: &["Process"],
        files: &["sim/src/harness/mod.rs", "sim/src/kernel/process.rs", "sim/src/program/mod.rs"],
        why: "a simulated process: as the kernel has it, with the programs of a world, and in a run's world",
    },
    Family {
        names: &["Did", "Queues"],
        files: &["core/tests/node_handoff/os.rs", "core/tests/node_recovery/os.rs"],
        why: "the operating system of a test, and what a node has told it to do, each for its node",
    },
];

/// The type that `line` defines: at a module's top, or in a macro that makes an enum of names.
fn defined(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("    pub enum ") {
        Some(name) => return Some(identifier(name)),
        None => line,
    };
    let line = match line.strip_prefix("pub(") {
        Some(rest) => rest.split_once(") ")?.1,
        None => line.strip_prefix("pub ").unwrap_or(line),
    };
    let line = line.strip_prefix("unsafe ").unwrap_or(line);
    let (kind, name) = line.split_once(' ')?;
    ["struct", "enum", "union", "trait", "type"].contains(&kind).then(|| identifier(name))
}

fn identifier(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// Returns where each type is defined, by its name. A file that is part of several programs counts once.
fn definitions() -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for member in MEMBERS {
        each_file(member, &mut |file, text| {
            for (number, line) in text.lines().enumerate() {
                if let Some(name) = defined(line) {
                    all.entry(name.to_owned()).or_default().insert(format!("{file}:{}", number + 1));
                }
            }
        });
    }
    all
}

#[test]
fn two_types_share_a_name_only_if_they_are_the_same_thing() {
    let mut found = Vec::new();
    let mut needed = BTreeSet::new();
    for (name, places) in definitions().iter().filter(|(_, places)| places.len() > 1) {
        for place in places {
            let file = place.split(':').next().unwrap_or_default();
            let family = FAMILIES
                .iter()
                .position(|family| family.names.contains(&name.as_str()) && family.files.contains(&file));
            match family {
                Some(family) => {
                    needed.extend([(family, name.as_str().to_owned()), (family, file.to_owned())])
                }
                None => found.push(format!("{name}: {place}, beside {places:?}")),
            }
        }
    }
    assert!(found.is_empty(), "name them for what they are:\n{}", found.join("\n"));
    let named = FAMILIES.iter().enumerate().flat_map(|(at, family)| {
        family.names.iter().chain(family.files).map(move |word| (at, (*word).to_owned()))
    });
    let stale: Vec<_> = named.filter(|named| !needed.contains(named)).collect();
    assert!(stale.is_empty(), "no type needs these any more: strike them out: {stale:?}");
}

#[test]
fn definitions_are_found() {
    for (line, name) in [
        ("struct Party {", Some("Party")),
        ("pub(super) type Hands<'a, O> = super::Hands<'a, Rest, O>;", Some("Hands")),
        ("pub unsafe trait Os: Clock {", Some("Os")),
        ("    pub enum Phase {", Some("Phase")),
        ("    type Event = Event;", None),
        ("// struct Party {", None),
    ] {
        assert_eq!(defined(line), name, "{line}");
    }
    assert!(definitions().len() > 300, "most are missed");
}
