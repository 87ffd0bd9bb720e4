//! Before anything is touched: a swap only to the build that is expected, one that is only tried, and a binary that checks itself.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use std::thread;

use handoff_tests::processes::{of_world, send};
use handoff_tests::{Act, Bin, HookName, Reference, World, until};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A supervisor with a daemon that serves, and that daemon's pid.
fn scene() -> (World, Reference, u32) {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let supervisor = reference.start();
    let old = world.assert_one_serves(&[supervisor]);
    (world, reference, old)
}

fn swap(reference: &Reference, args: &[&str]) -> Output {
    let mut command = reference.command("swap");
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
}

#[track_caller]
fn swap_json(reference: &Reference, args: &[&str]) -> (i32, Value) {
    let output = swap(reference, &[args, &["--json"]].concat());
    let parsed = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), parsed.unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

/// Checks that the daemon `old` serves alone, was never prepared, and that no swap is remembered.
#[track_caller]
fn assert_undisturbed(world: &World, reference: &Reference, old: u32, mark: handoff_tests::Mark) {
    let supervisor = reference.pid().unwrap();
    assert_eq!(world.assert_one_serves(&[supervisor]), old);
    assert!(!world.has_said(mark, supervisor, "PrepareHandoff"), "the old daemon is told nothing");
    let mut left = of_world(world.layout());
    left.retain(|pid| ![supervisor, old].contains(pid));
    assert!(left.is_empty(), "{left:?} were left behind");
}

#[test]
fn a_dry_run_tells_the_build_and_the_time_of_its_warm_up_and_disturbs_nothing() {
    let (world, reference, old) = scene();
    let writer = reference.writer();
    let build = world.build();
    reference.configure_build(&build);
    let mark = world.mark();
    let (code, tried) = swap_json(&reference, &["--dry-run"]);
    assert_eq!(
        (code, &tried["reason_name"], &tried["committed"]),
        (0, &"tried".into(), &false.into()),
        "{tried}"
    );
    assert_eq!(tried["build_id"], build.name, "{tried}");
    let took = |phase: &str| tried["phases_ms"][phase].as_f64().unwrap();
    assert!(took("warm_up") > 0.0 && took("drain") == 0.0, "{tried}");
    assert_undisturbed(&world, &reference, old, mark);
    assert_eq!(reference.ask_json("status").1["last_swap"], Value::Null, "it is no swap");
    assert_eq!(reference.ask_json("history").1["history"].as_array().map(Vec::len), Some(0));

    let people = swap(&reference, &["--dry-run"]);
    let said = String::from_utf8_lossy(&people.stdout);
    assert!(said.starts_with("tried: ") && said.contains(&format!("build {},", build.name)), "{said}");
    assert!(said.contains("warm-up "), "{said}");
    assert_eq!(reference.ask_json("swap").0, 0, "the swap itself commits");
    writer.wait_for_write_by(world.assert_one_serves(&[reference.pid().unwrap()]));
    world.assert_clean(&writer);
}

#[test]
fn a_dry_run_of_a_build_that_can_not_become_warm_says_so_and_is_no_swap() {
    let (world, reference, old) = scene();
    reference.configure_build(&world.build().on(HookName::WarmUp, [Act::Fail]));
    let mark = world.mark();
    let (code, failed) = swap_json(&reference, &["--dry-run"]);
    assert_eq!((code, &failed["outcome"]), (1, &"rolled_back".into()), "{failed}");
    assert!(failed["reason"].as_str().unwrap().contains("told to fail in"), "{failed}");
    assert_undisturbed(&world, &reference, old, mark);
    assert_eq!(reference.ask_json("status").1["last_swap"], Value::Null);
}

#[test]
fn a_build_that_is_not_the_expected_one_is_let_go_and_the_expected_one_serves() {
    let (world, reference, old) = scene();
    let build = world.build();
    reference.configure_build(&build);
    let mark = world.mark();
    for args in [&["--expect-build", "blue"][..], &["--expect-build", "blue", "--dry-run"]] {
        let (code, refused) = swap_json(&reference, args);
        assert_eq!((code, &refused["reason_name"]), (77, &"other_build".into()), "{refused}");
        let reason = refused["reason"].as_str().unwrap();
        assert!(reason.contains("\"blue\"") && reason.contains(&format!("{:?}", build.name)), "{reason}");
    }
    assert_undisturbed(&world, &reference, old, mark);
    until("the swap is in the history, and the dry run is not", || {
        reference.ask_json("history").1["history"].as_array().map(Vec::len) == Some(1)
    });
    let (code, swapped) = swap_json(&reference, &["--expect-build", &build.name]);
    assert_eq!((code, &swapped["build_id"]), (0, &build.name.clone().into()), "{swapped}");
}

#[test]
fn the_old_daemon_dies_in_a_dry_run_and_the_new_one_takes_over() {
    let (world, reference, old) = scene();
    let build = world.build();
    let gate = build.gate(HookName::WarmUp);
    reference.configure_build(&build);
    let (code, swapped) = thread::scope(|scope| {
        let swap = scope.spawn(|| swap_json(&reference, &["--dry-run"]));
        gate.wait();
        send(old, Signal::SIGKILL);
        gate.open();
        swap.join().unwrap()
    });
    assert_eq!((code, &swapped["outcome"]), (0, &"committed".into()), "{swapped}");
    let new = world.assert_one_serves(&[reference.pid().unwrap()]);
    assert_eq!(swapped["pid"], new);
    let (_, status) = reference.ask_json("status");
    assert_eq!(status["last_swap"]["report"]["pid"], new, "what has replaced the daemon is a swap");
}

#[test]
fn where_no_daemon_serves_there_is_no_dry_run() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.add("restart_min_secs = 600\nrestart_max_secs = 1000\n");
    reference.configure_build(&world.build());
    let supervisor = reference.start();
    // The first one that dies is started again at once.
    for _ in 0..2 {
        send(world.assert_one_serves(&[supervisor]), Signal::SIGKILL);
        until("another one serves, or the supervisor waits", || {
            let (code, status) = reference.ask_json("status");
            (code == 0 && status["restarts"] == 1) || status["activity"] == "backing_off"
        });
    }
    until("the supervisor waits", || reference.ask_json("status").1["activity"] == "backing_off");
    let (code, refused) = swap_json(&reference, &["--dry-run"]);
    assert_eq!(code, 69, "{refused}");
    assert_eq!(reference.ask_json("swap").0, 0, "a swap starts the daemon");
}

/// A supervisor whose configured binary is a script, which runs `check` if it is told to check itself and else becomes the actor.
fn with_check(check: &str) -> (World, Reference, u32) {
    let (world, reference, old) = scene();
    let program = world.layout().dir().join("program");
    let actor = Bin::Actor.path();
    let script = format!("#!/bin/sh\nif [ \"$1\" = --check ]; then {check}; fi\nexec {actor:?} \"$@\"\n");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    reference.add(&format!("working_directory = {:?}\numask = \"0027\"\n", world.layout().dir()));
    reference.add("check_args = [\"--check\", \"all\"]\nenv = { WORD = \"blue\" }\n");
    let build = world.build();
    let args: Vec<&str> = build.args.iter().map(|arg| arg.to_str().unwrap()).collect();
    reference.configure(&program, &args);
    (world, reference, old)
}

#[test]
fn a_binary_that_checks_itself_in_vain_is_refused_with_the_end_of_what_it_says() {
    let say = "head -c 300000 /dev/zero | tr '\\0' x; echo; echo \"$2 $PWD $(umask) $WORD $HANDOFF_ROLE\"; exit $(cat code)";
    let (world, reference, old) = with_check(say);
    let dir = world.layout().dir().to_path_buf();
    let said = format!("all {} 0027 blue check", dir.display());
    fs::write(dir.join("code"), "3").unwrap();
    let mark = world.mark();
    for args in [&[][..], &["--dry-run"]] {
        let (code, refused) = swap_json(&reference, args);
        let message = refused["error"]["message"].as_str().unwrap();
        assert_eq!(code, 78, "{refused}");
        assert!(message.contains("exited with 3") && message.contains(&said), "{message}");
        assert!(message.len() < 20_000, "what it says is bounded: {} bytes", message.len());
    }
    let (code, checked) = reference.ask_json("check");
    assert_eq!((code, &checked["errors"][0]["key"]), (78, &"check_args".into()), "{checked}");
    assert!(checked["errors"][0]["message"].as_str().unwrap().contains(&said), "{checked}");
    assert_undisturbed(&world, &reference, old, mark);

    fs::write(dir.join("code"), "0").unwrap();
    assert_eq!(reference.ask_json("check").0, 0);
    assert_eq!(reference.ask_json("swap").0, 0, "a good one is swapped to");
}

#[test]
fn a_check_that_hangs_is_ended_by_cancel_and_leaves_nothing() {
    let (world, reference, old) = with_check("sleep 600");
    let mark = world.mark();
    let (code, refused) = thread::scope(|scope| {
        let swap = scope.spawn(|| swap_json(&reference, &[]));
        until("it is called off while the check runs", || {
            let is_checking = of_world(world.layout()).len() > 3;
            is_checking && reference.ask_json("cancel").0 == 69
        });
        swap.join().unwrap()
    });
    assert_eq!(code, 69, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("cancelled"), "{refused}");
    assert_undisturbed(&world, &reference, old, mark);
}

#[test]
fn a_daemon_that_does_not_know_of_checks_can_not_begin_to_serve_in_one() {
    let (world, reference, old) = scene();
    let build = world.build();
    let args: Vec<&str> = build.args.iter().map(|arg| arg.to_str().unwrap()).collect();
    reference.add(&format!("check_args = {args:?}\n"));
    reference.configure_build(&build);
    let mark = world.mark();
    let (code, refused) = swap_json(&reference, &[]);
    assert_eq!(code, 78, "{refused}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("was started to check itself"), "{message}");
    assert_undisturbed(&world, &reference, old, mark);
}
