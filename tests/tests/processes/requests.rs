//! Requests that come while something else is under way, and what `status` says then.
use std::fs;

use handoff_tests::held::{go_on, kill, stop};
use handoff_tests::processes::lives;
use handoff_tests::{Act, Build, HookName, Reference, World, until};
use nix::sys::signal::Signal;

/// A supervisor that runs a build, and waits for long before it starts one for the second time.
fn runs() -> (World, Reference, Build) {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.add("restart_min_secs = 60\nrestart_max_secs = 60\n");
    let build = world.build();
    reference.configure_build(&build);
    reference.start();
    (world, reference, build)
}

/// Configures a fresh build, and tells the supervisor to be as the configuration says, twice.
fn reload(world: &World, reference: &Reference) -> Build {
    let seen = || world.output().matches("SIGHUP: comes after what is under way").count();
    let build = world.build();
    reference.configure_build(&build);
    for _ in 0..2 {
        let before = seen();
        reference.signal(Signal::SIGHUP);
        until("the signal was seen", || seen() > before);
    }
    build
}

/// `build` comes to serve, and nothing else is to be done.
#[track_caller]
fn assert_comes_to_serve(world: &World, reference: &Reference, build: &Build) {
    let is_it = |pid: &serde_json::Value| {
        let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.contains(&format!("\0{}\0", build.name))
    };
    until("what was configured last serves", || {
        let (code, status) = reference.ask_json("status");
        code == 0 && status["activity"] == "watching" && is_it(&status["daemon"]["pid"])
    });
    world.assert_one_serves(&[reference.pid().unwrap()]);
}

#[test]
fn a_hangup_in_a_swap_that_a_hangup_began_is_not_lost() {
    let (world, reference, _) = runs();
    let first = world.build();
    let gate = first.gate(HookName::WarmUp);
    reference.configure_build(&first);
    reference.signal(Signal::SIGHUP);
    gate.wait();
    let last = reload(&world, &reference);
    gate.open();
    assert_comes_to_serve(&world, &reference, &last);
    assert_eq!(world.output().matches("handoff binary=").count(), 2, "one swap for both");
}

#[test]
fn a_hangup_in_a_swap_that_is_rolled_back_is_not_lost() {
    let (world, reference, _) = runs();
    let first = world.build();
    let gate = first.gate(HookName::WarmUp);
    first.script(HookName::WarmUp, [Act::Gate, Act::Fail]);
    reference.configure_build(&first);
    let (swap, last) = reference.swap_held_json(&gate, || {
        let last = reload(&world, &reference);
        assert_eq!(
            reference.ask_json("swap").0,
            75,
            "a command can be answered: it is refused, and asks again"
        );
        last
    });
    assert_eq!(swap.0, 1);
    assert_comes_to_serve(&world, &reference, &last);
}

#[test]
fn a_hangup_in_a_cold_start_is_not_lost_and_status_says_that_nobody_serves() {
    let (world, reference, build) = runs();
    let gate = build.gate(HookName::Open);
    kill(world.assert_one_serves(&[reference.pid().unwrap()]));
    gate.wait();
    let (code, status) = reference.ask_json("status");
    assert_eq!((code, &status["activity"]), (4, &"starting".into()), "{status}");
    let last = reload(&world, &reference);
    gate.open();
    assert_comes_to_serve(&world, &reference, &last);
}

#[test]
fn a_hangup_in_a_recovery_is_not_lost_and_status_says_that_it_is_not_known_who_serves() {
    let (world, reference, _) = runs();
    let daemon = world.assert_one_serves(&[reference.pid().unwrap()]);
    reference.kill();
    stop(daemon);
    reference.launch();
    until("it waits", || reference.ask_json("status").1["activity"] == "recovering");
    assert_eq!(reference.ask_json("status").0, 3);
    let last = reload(&world, &reference);
    go_on(daemon);
    assert_comes_to_serve(&world, &reference, &last);
}

#[test]
fn a_hangup_while_the_daemon_can_not_be_reached_is_not_lost() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    let control = world.layout().control();
    let other = control.with_extension("other");
    fs::write(&other, "").unwrap();
    // The daemon does not put its socket back over another file.
    fs::rename(&other, &control).unwrap();
    let build = world.build();
    reference.configure_build(&build);
    reference.signal(Signal::SIGHUP);
    until("a swap was tried", || world.output().contains("nobody listens at the control socket"));
    fs::remove_file(&control).unwrap();
    assert_comes_to_serve(&world, &reference, &build);
}

#[test]
fn a_swap_whose_end_nobody_knew_puts_its_configuration_in_force_when_it_is_found_finished() {
    let (world, reference, _) = runs();
    let before = world.assert_one_serves(&[reference.pid().unwrap()]);
    let build = world.build();
    reference.add("stop_grace_secs = 1\n");
    reference.configure_build(&build);
    world.panic_after_commit();
    let (code, swap) = reference.ask_json("swap");
    assert_eq!(code, 3, "{swap}");
    assert_comes_to_serve(&world, &reference, &build);
    assert!(!lives(before));
    let (_, status) = reference.ask_json("status");
    assert_eq!(status["recovery"]["interrupted"]["end"], "finished", "{status}");
    build.script(HookName::Drain, [Act::Hang]);
    reference.signal(Signal::SIGTERM);
    reference.wait();
    assert!(world.output().contains("the daemon did not stop within 1s"), "the new configuration says so");
}

#[test]
fn status_says_that_nobody_serves_in_a_swaps_pause_and_in_the_pause_between_two_starts() {
    let (world, reference, _) = runs();
    let new = world.build();
    let gate = new.gate(HookName::Open);
    reference.configure_build(&new);
    let (swap, status) = reference.swap_held_json(&gate, || reference.ask_json("status"));
    assert_eq!(status.0, 4, "the incumbent answers, but has sealed");
    assert_eq!(swap.0, 0);
    assert_eq!(reference.ask_json("status").0, 0);
    new.script(HookName::Open, [Act::Fail]);
    kill(world.assert_one_serves(&[reference.pid().unwrap()]));
    until("a start is waited for", || reference.ask_json("status").1["activity"] == "backing_off");
    assert_eq!(reference.ask_json("status").0, 4);
}

#[test]
fn a_swap_that_was_committed_is_not_called_lost_when_its_daemon_dies() {
    let (world, reference, _) = runs();
    assert_eq!(reference.ask_json("swap").0, 0);
    for supervisor_dies in [false, true] {
        let daemon = world.assert_one_serves(&[reference.pid().unwrap()]);
        if supervisor_dies {
            reference.kill();
        }
        kill(daemon);
        if supervisor_dies {
            reference.launch();
        }
        let recovery = handoff_tests::until_some("another one serves", || {
            let (code, status) = reference.ask_json("status");
            (code == 0 && status["daemon"]["pid"] != daemon).then(|| status["recovery"].clone())
        });
        assert_eq!(
            (&recovery["found"], &recovery["interrupted"]),
            (&"nobody".into(), &serde_json::Value::Null)
        );
    }
}
