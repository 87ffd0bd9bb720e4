//! Every command of the simulator that a page shows is run here, with fewer seeds or states where it would take minutes, or is listed in
//! `commands-not-run.txt` with the reason why not.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

#[path = "../../tests/src/lists.rs"]
#[expect(unreachable_pub, reason = "it is public where the tests with real processes are")]
mod lists;
#[path = "../../tests/tests/docs/shell.rs"]
mod shell;

/// The words that follow the program's name, what is put in for words of it, its exit status, and what it
/// prints among other things.
type ShownCommand = (&'static str, &'static [(&'static str, &'static str)], i32, &'static str);

/// Fewer seeds than a page shows.
const FEW_SEEDS: (&str, &str) = ("0..100000", "0..200");

const RUN: [ShownCommand; 10] = [
    ("sweep --seeds 0..1000000", &[("0..1000000", "0..200")], 0, "200"),
    ("sweep --seeds 0..100000 --shard 0/2 --json shard-0.json", &[FEW_SEEDS], 0, "100"),
    ("sweep --seeds 0..100000 --shard 1/2 --json shard-1.json", &[FEW_SEEDS], 0, "100"),
    ("merge --seeds 0..100000 --shards 2 --json whole.json shard-0.json shard-1.json", &[FEW_SEEDS], 0, ""),
    ("replay 17", &[], 0, "SERVES"),
    ("replay scenarios/corpus/successor.locking.stop.toml --cells", &[], 0, "successor.locking"),
    ("shrink 17", &[], 2, "does not fail"),
    ("trace 17 --html run.html", &[], 0, "run.html"),
    ("explore --list", &[], 0, "one-crash"),
    ("explore", &[("explore", "explore no-fault")], 0, "no-fault"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns what follows the program's name in each command of it that a page shows.
fn shown() -> BTreeSet<String> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let first =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "sim/README.md"].map(|page| root().join(page));
    let pages = docs.chain(first).map(|page| fs::read_to_string(page).unwrap());
    let commands = pages.flat_map(|page| shell::commands_on(&page));
    let of_it =
        commands.filter_map(|command| command.split_once("handoff-sim ").map(|(_, args)| args.to_string()));
    of_it.map(|args| args.trim_start_matches("-- ").to_string()).collect()
}

#[test]
fn what_a_reader_is_told_to_type_does_what_the_pages_say() {
    let dir = tempfile::tempdir().unwrap();
    symlink(root().join("scenarios"), dir.path().join("scenarios")).unwrap();
    for (command, given, code, prints) in RUN {
        let line = given.iter().fold(command.to_string(), |line, (word, value)| line.replace(word, value));
        let mut program = Command::new(env!("CARGO_BIN_EXE_handoff-sim"));
        let output = program.args(line.split(' ')).current_dir(dir.path()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert_eq!(output.status.code(), Some(code), "{command}: {said}");
        assert!(said.contains(prints), "{command}: {said}");
    }
    assert!(fs::read_to_string(dir.path().join("run.html")).unwrap().contains("<html"), "it is a page");
}

#[test]
fn every_command_is_run_or_listed_with_the_reason_why_not() {
    let run: BTreeSet<String> = RUN.iter().map(|(command, ..)| (*command).to_string()).collect();
    let listed = lists::listed(&root().join("sim/tests/commands-not-run.txt"));
    let listed: BTreeSet<String> = listed.into_keys().collect();
    let known: BTreeSet<String> = run.union(&listed).cloned().collect();
    let shown = shown();
    let missing: Vec<&String> = shown.difference(&known).collect();
    assert!(missing.is_empty(), "run them, or say in commands-not-run.txt why not: {missing:#?}");
    let stale: Vec<&String> = known.difference(&shown).chain(run.intersection(&listed)).collect();
    assert!(stale.is_empty(), "no page shows them any more, or they are run and listed: {stale:#?}");
}
