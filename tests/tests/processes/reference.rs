//! The reference supervisor as people run it: its commands, its signals, its exit codes.
use std::fs;

use handoff_tests::{Act, HookName, Reference, World, until};
use nix::sys::signal::Signal;

#[test]
fn a_swap_on_the_command_line_commits_and_says_so() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let supervisor = reference.start();
    let before = world.assert_one_serves(&[supervisor]);
    let writer = reference.writer();
    writer.wait_for_write_by(before);

    let (code, swap) = reference.ask_json("swap");
    assert_eq!(
        (code, &swap["outcome"], &swap["committed"]),
        (0, &"committed".into(), &true.into()),
        "{swap}"
    );
    let after = world.assert_one_serves(&[supervisor]);
    assert_eq!(swap["pid"], after);
    assert_ne!(after, before);
    writer.wait_for_write_by(after);

    let (code, status) = reference.ask_json("status");
    assert_eq!((code, &status["daemon"]["pid"]), (0, &after.into()), "{status}");
    assert_eq!((&status["activity"], &status["restarts"]), (&"watching".into(), &0.into()), "{status}");
    assert_eq!(status["last_swap"]["report"]["handoff_id"], swap["handoff_id"]);
    world.assert_clean(&writer);
}

#[test]
fn a_swap_that_is_rolled_back_exits_with_one_and_names_the_reason() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let supervisor = reference.start();
    let before = world.assert_one_serves(&[supervisor]);
    let writer = reference.writer();
    reference.configure_build(&world.build().on(HookName::Open, [Act::Fail]));
    let (code, swap) = reference.ask_json("swap");
    assert_eq!((code, &swap["outcome"]), (1, &"rolled_back".into()), "{swap}");
    assert!(swap["reason"].as_str().unwrap().contains("told to fail in open"), "{swap}");
    assert_eq!(world.assert_one_serves(&[supervisor]), before);
    writer.wait_for_write_by(before);

    reference.configure_build(&world.build());
    assert_eq!(reference.ask_json("swap").0, 0, "the next one commits");
    world.assert_clean(&writer);
}

#[test]
fn sighup_swaps_to_what_is_configured_by_then() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let supervisor = reference.start();
    let before = world.assert_one_serves(&[supervisor]);
    let writer = reference.writer();
    writer.wait_for_write_by(before);
    let build = world.build();
    reference.configure_build(&build);
    reference.signal(Signal::SIGHUP);
    until("another process serves", || {
        let (code, status) = reference.ask_json("status");
        code == 0 && status["daemon"]["pid"] != before && status["activity"] == "watching"
    });
    let after = world.assert_one_serves(&[supervisor]);
    let arguments = std::fs::read_to_string(format!("/proc/{after}/cmdline")).unwrap();
    assert!(arguments.contains(&format!("\0{}\0", build.name)), "{arguments:?}");
    writer.wait_for_write_by(after);
    world.assert_clean(&writer);
}

#[test]
fn sigterm_stops_the_daemon_gracefully_and_leaves_nothing() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let supervisor = reference.start();
    world.assert_one_serves(&[supervisor]);
    let writer = reference.writer();
    writer.wait_for_writes(10);
    reference.signal(Signal::SIGTERM);
    assert_eq!(reference.wait().code(), Some(0));
    assert!(handoff_tests::processes::of_world(world.layout()).is_empty(), "the daemon has ended first");
    world.assert_nothing_lost(&writer);
    let mut left: Vec<_> =
        fs::read_dir(world.layout().run()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.retain(|name| !name.to_string_lossy().starts_with("journal.binary-"));
    left.sort_unstable();
    assert_eq!(left, ["handoff.toml", "journal", "trigger.lock"], "no socket is left");
    let (code, _) = reference.ask_json("status");
    assert_eq!(code, 69, "no supervisor runs");
}

#[test]
fn sigterm_in_a_swap_rolls_it_back_and_then_stops() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    let writer = reference.writer();
    writer.wait_for_writes(1);
    let build = world.build();
    let gate = build.gate(HookName::WarmUp);
    reference.configure_build(&build);
    let ((code, swap), ()) = reference.swap_held_json(&gate, || {
        let (asked, supervisor) = (world.mark(), reference.pid().unwrap());
        reference.signal(Signal::SIGTERM);
        until("it hears of it while the hook runs", || world.has_said(asked, supervisor, "event=Cancel"));
    });
    assert_eq!((code, &swap["outcome"]), (1, &"rolled_back".into()), "{swap}");
    assert!(swap["reason"].as_str().unwrap().contains("cancelled"), "{swap}");
    assert_eq!(reference.wait().code(), Some(0));
    assert!(handoff_tests::processes::of_world(world.layout()).is_empty());
    world.assert_nothing_lost(&writer);
}

#[test]
fn a_daemon_that_dies_is_started_again() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let supervisor = reference.start();
    let writer = reference.writer();
    for _ in 0..2 {
        let before = world.assert_one_serves(&[supervisor]);
        writer.wait_for_write_by(before);
        handoff_tests::processes::send(before, Signal::SIGKILL);
        until("another one runs", || {
            reference.ask_json("status").1["daemon"]["pid"]
                .as_u64()
                .is_some_and(|pid| pid != u64::from(before))
        });
        let after = world.assert_one_serves(&[supervisor]);
        writer.wait_for_write_by(after);
    }
    world.assert_nothing_lost(&writer);
    assert_eq!(reference.ask_json("swap").0, 0);
}
