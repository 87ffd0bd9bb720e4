//! Transfers that move less than was asked, and that are interrupted: each read and each write of supervisor, daemons and commands, of
//! files and of sockets, by a library (`short.c`) that is compiled here and loaded before the C library.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use handoff_kv::load::{Load, LoadOptions};
use handoff_tests::{Reference, World, until};

use crate::story::{CallRole, CallsScene, Story};
use crate::verdict;

/// The things that `short.c` counts, in its order, of one program.
const COUNTED: [&str; 5] =
    ["reads of files", "writes of files", "reads of sockets", "writes to sockets", "interruptions"];

/// Compiles the library, into the world's directory, and lets every process of `reference` load it.
fn shorten(world: &World, reference: &Reference) {
    let dir = counts_in(world);
    fs::create_dir(&dir).unwrap();
    let library = dir.join("short.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/calls/short.c");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).args([&library, &source]);
    assert!(cc.status().is_ok_and(|status| status.success()), "a C compiler is needed");
    reference.set_env("LD_PRELOAD", library);
    reference.set_env("HANDOFF_SHORT", dir);
}

fn counts_in(world: &World) -> PathBuf {
    world.layout().dir().join("short")
}

/// Each of what is counted has befallen `program`: else nothing was tested.
#[track_caller]
fn assert_befell(world: &World, program: &str) {
    let bytes = fs::read(counts_in(world).join(program)).unwrap();
    let counts = bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
    let counts: Vec<(&str, u64)> = COUNTED.into_iter().zip(counts).collect();
    assert_eq!(counts.iter().find(|(_, count)| *count == 0), None, "{program}: {counts:?}");
    println!("{program}: {counts:?}");
}

/// All is well after `story`, which came to an answer of `code`.
fn assert_well(story: Story, code: Option<i32>) {
    let scene = CallsScene::with(shorten);
    let told = scene.tell_untraced(story);
    assert_eq!(told.answer.as_ref().map(|(code, _)| *code), code, "{told:?}");
    let verdict = verdict::of(&scene, CallRole::Supervisor, story, &told);
    assert!(verdict.wrong.is_empty() && verdict.doubt.is_none(), "{verdict:?}");
    assert_no_warning(&scene.reference);
    assert_befell(&scene.world, "supervisor");
    assert_befell(&scene.world, "actor");
}

/// The supervisor has given nothing up: what is committed is kept, too.
#[track_caller]
fn assert_no_warning(reference: &Reference) {
    let (_, status) = reference.ask_json("status");
    assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
}

#[test]
fn a_swap_commits_with_short_transfers() {
    assert_well(Story::Commit, Some(0));
}

#[test]
fn a_swap_is_rolled_back_with_short_transfers() {
    assert_well(Story::RollBack, Some(1));
}

#[test]
fn a_supervisor_takes_over_with_short_transfers() {
    assert_well(Story::TakeOver, None);
}

/// The key-value server: its clients' connections, the record, what is handed on; not LMDB's files (see `short.c`).
#[test]
fn the_key_value_server_is_swapped_with_short_transfers() {
    let world = World::new();
    let (reference, resp) = Reference::for_kv(&world);
    shorten(&world, &reference);
    reference.start();
    let options = LoadOptions { connections: 2, pace: Some(50.0), ..LoadOptions::default() };
    let load = Load::start(resp.parse().unwrap(), options).unwrap();
    let wait_for_load = || {
        let before = load.progress().requests;
        until("load", || load.progress().requests > before + 50);
    };
    wait_for_load();
    reference.configure_kv(&["--fail-open"]);
    assert_eq!(reference.ask_json("swap").0, 1, "it is rolled back");
    wait_for_load();
    reference.configure_kv(&[]);
    assert_eq!(reference.ask_json("swap").0, 0, "it commits");
    until("the new process is seen", || load.progress().seen.len() == 2);
    reference.kill();
    reference.start();
    wait_for_load();
    assert_eq!(reference.ask_json("swap").0, 0, "what was taken over is swapped");
    until("the new process is seen", || load.progress().seen.len() == 3);
    let report = load.stop();
    assert!(report.is_clean() && report.counters.cut == 0, "{report:#?}");
    assert_no_warning(&reference);
    assert_befell(&world, "supervisor");
    assert_befell(&world, "kv");
}
