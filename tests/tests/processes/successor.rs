//! Every way in which a successor can be bad. The incumbent serves on, and the reason says what it was.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use handoff_tests::{Act, Build, HookName, Reference, SILENCE, Scene, World, script};

/// A file that can't be run as it is.
fn file(world: &World, text: &str, mode: u32) -> PathBuf {
    let path = world.layout().dir().join("binary");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// A deadline that passes, long after all has happened that comes before.
const SOON: Duration = Duration::from_secs(5);

/// Checks that a process that says nothing, or not enough, is noticed by that alone.
#[track_caller]
fn assert_silent(scene: &Scene, misdeed: &str) {
    let build: Build = scene.world.rogue(misdeed).liveness(SILENCE);
    scene.assert_rolls_back(&build, "the successor was silent");
}

#[test]
fn missing() {
    let scene = Scene::new();
    let build = scene.world.build_at("/nowhere/daemon");
    scene.supervisor.handoff(&build).assert_refused("System", "/nowhere/daemon: No such file");
    scene.assert_unharmed();
}

#[test]
fn a_directory() {
    let scene = Scene::new();
    let build = scene.world.build_at(scene.world.layout().dir());
    scene.supervisor.handoff(&build).assert_refused("Untrusted", "is not a regular file");
    scene.assert_unharmed();
}

#[test]
fn not_executable() {
    let scene = Scene::new();
    let build = scene.world.build_at(file(&scene.world, "#!/bin/sh\n", 0o644));
    scene.assert_rolls_back(&build, "ermission denied");
}

#[test]
fn a_script_whose_interpreter_is_missing() {
    let scene = Scene::new();
    let build = scene.world.build_at(file(&scene.world, "#!/nowhere/interpreter\n", 0o755));
    scene.assert_rolls_back(&build, "No such file");
}

#[test]
fn no_program_at_all() {
    let scene = Scene::new();
    let build = scene.world.build_at(file(&scene.world, "neither ELF nor script", 0o755));
    scene.assert_rolls_back(&build, "xec format error");
}

#[test]
fn exits_at_once() {
    let scene = Scene::new();
    // Its end is the reason, so no process has waited until it was silent for too long.
    scene.assert_rolls_back(&scene.world.rogue("exit"), "exited with 3");
}

#[test]
fn closes_its_link() {
    let scene = Scene::new();
    scene.assert_rolls_back(&scene.world.rogue("close"), "closed the link");
}

#[test]
fn hangs_before_it_says_hello() {
    let scene = Scene::new();
    assert_silent(&scene, "hang");
}

#[test]
fn hangs_after_it_said_hello() {
    let scene = Scene::new();
    assert_silent(&scene, "silent");
}

#[test]
fn drips_its_hello_a_byte_at_a_time() {
    let scene = Scene::new();
    assert_silent(&scene, "drip");
}

#[test]
fn floods_the_supervisor_with_heartbeats() {
    let scene = Scene::new();
    let build = scene.world.rogue("flood").deadline(SOON);
    scene.assert_rolls_back(&build, "deadline");
}

#[test]
fn sends_garbage() {
    let scene = Scene::new();
    scene.assert_rolls_back(&scene.world.rogue("garbage"), "a frame of");
}

#[test]
fn sends_garbage_later() {
    let scene = Scene::new();
    scene.assert_rolls_back(&scene.world.rogue("garbage-later"), "a frame of");
}

#[test]
fn announces_a_frame_of_four_gigabytes() {
    let scene = Scene::new();
    scene.assert_rolls_back(&scene.world.rogue("oversize"), "a frame of 4294967295 bytes");
}

#[test]
fn ends_its_link_inside_a_frame() {
    let scene = Scene::new();
    scene.assert_rolls_back(&scene.world.rogue("torn"), "before the end of a frame");
}

#[test]
fn sends_a_frame_that_is_longer_than_its_message() {
    let scene = Scene::new();
    scene.assert_rolls_back(&scene.world.rogue("trailing"), "not a message");
}

#[test]
fn calls_itself_another_process() {
    let scene = Scene::new();
    scene.assert_rolls_back(&scene.world.rogue("wrong-pid"), "but is another");
}

#[test]
fn calls_itself_the_incumbent() {
    let scene = Scene::new();
    scene.assert_rolls_back(&scene.world.rogue("wrong-role"), "calls itself the incumbent");
}

#[test]
fn speaks_versions_that_are_too_old_or_too_new() {
    let scene = Scene::new();
    let why = "the supervisor speaks 1 to 1, the successor 0 to 0";
    scene.supervisor.handoff(&scene.world.rogue("too-old")).assert_rolled_back(why);
    scene.assert_rolls_back(&scene.world.rogue("too-new"), "the successor 900 to 901");
}

#[test]
fn speaks_of_another_handoff() {
    let scene = Scene::new();
    scene.assert_rolls_back(&scene.world.rogue("other-handoff"), "another handoff");
}

#[test]
fn speaks_as_the_incumbent_does() {
    let scene = Scene::new();
    scene.assert_rolls_back(&scene.world.rogue("incumbents-word"), "Drained");
}

#[test]
fn says_that_it_is_ready_before_it_was_told_to_begin() {
    let scene = Scene::new();
    let build = scene.world.rogue("ready-unasked").deadline(SOON);
    scene.assert_rolls_back(&build, "did not serve");
}

#[test]
fn says_that_it_serves_before_it_was_told_to() {
    let scene = Scene::new();
    // It is believed, until the incumbent, told to retire, finds that it holds the lock itself.
    let times = |build: Build| build.liveness(SILENCE).retire_limit(3 * SILENCE);
    let outcome = scene.supervisor.handoff(&times(scene.world.rogue("serving-unasked")));
    assert_eq!((outcome.verdict.as_str(), outcome.resumed_confirmed), ("FellBack", true), "{outcome:?}");
    scene.assert_unharmed();
}

#[test]
fn says_that_it_is_ready_and_never_serves() {
    let scene = Scene::new();
    let build = scene.world.rogue("ready-without-lock").deadline(SOON);
    scene.assert_rolls_back(&build, "did not serve");
}

#[test]
fn says_itself_that_it_is_unhealthy() {
    let scene = Scene::new();
    scene.assert_rolls_back(&scene.world.rogue("unhealthy"), "unhealthy");
}

#[test]
fn is_silent_after_it_was_told_to_begin() {
    let scene = Scene::new();
    assert_silent(&scene, "silent-after-begin");
}

#[test]
fn fails_in_a_hook() {
    let scene = Scene::new();
    for hook in script::OF_SUCCESSOR {
        let build = scene.world.build().on(hook, [Act::Fail]);
        scene.supervisor.handoff(&build).assert_rolled_back(&format!("told to fail in {hook}"));
    }
    scene.assert_unharmed();
}

#[test]
fn panics_in_a_hook() {
    let scene = Scene::new();
    for hook in script::OF_SUCCESSOR {
        let build = scene.world.build().on(hook, [Act::Panic]);
        scene.supervisor.handoff(&build).assert_rolled_back(&format!("told to panic in {hook}"));
    }
    scene.assert_unharmed();
}

#[test]
fn ends_in_a_hook() {
    let scene = Scene::new();
    for hook in script::OF_SUCCESSOR {
        let build = scene.world.build().on(hook, [Act::Exit]);
        scene.supervisor.handoff(&build).assert_rolled_back("exited with 9");
    }
    scene.assert_unharmed();
}

#[test]
fn hangs_in_a_hook_for_longer_than_the_limit_of_one() {
    let scene = Scene::new();
    for hook in script::OF_SUCCESSOR {
        // It ends itself: its deadline is far away, and no other process kills one that says that it lives.
        let build = scene.world.build().on(hook, [Act::Hang]).hook_limit(Duration::from_secs(3));
        scene.supervisor.handoff(&build).assert_rolled_back("SIGKILL");
    }
    scene.assert_unharmed();
}

#[test]
fn opens_for_longer_than_the_deadline() {
    let scene = Scene::new();
    // A hook's limit is the deadline, unless another is given: the process would end itself at about the same time.
    let build = scene.world.build().on(HookName::Open, [Act::Hang]).deadline(SOON).hook_limit(100 * SOON);
    let outcome = scene.supervisor.handoff(&build);
    outcome.assert_rolled_back("deadline");
    assert!(u128::from(outcome.total_ms) >= SOON.as_millis(), "{outcome:?}");
    scene.assert_unharmed();
}

#[test]
fn opens_for_longer_than_liveness_but_within_the_deadline() {
    let scene = Scene::new();
    let build = scene.world.build().on(HookName::Open, [Act::Slow(5000)]).liveness(SILENCE);
    let pid = scene.supervisor.handoff(&build).assert_committed();
    assert_eq!(scene.world.assert_one_serves(&[scene.supervisor.pid()]), pid);
    scene.assert_well();
}

#[test]
fn warms_up_for_long_while_the_incumbent_serves() {
    let scene = Scene::new();
    let build = scene.world.build();
    let gate = build.gate(HookName::WarmUp);
    let swap = scene.supervisor.begin_handoff(&build);
    gate.wait();
    scene.writer.wait_for_write_by(scene.pid);
    gate.open();
    let pid = swap.outcome().assert_committed();
    scene.writer.wait_for_write_by(pid);
    scene.assert_well();
}

#[test]
fn calls_itself_unhealthy() {
    let scene = Scene::new();
    let build = scene.world.build().on(HookName::Open, [Act::Unhealthy]);
    scene.assert_rolls_back(&build, "it calls itself unhealthy");
}

#[test]
fn is_a_revision_behind_what_was_sealed() {
    let scene = Scene::new();
    let build = scene.world.build().on(HookName::Open, [Act::Behind]);
    scene.assert_rolls_back(&build, "behind the sealed");
}

#[test]
fn has_another_fingerprint_than_what_was_sealed() {
    let scene = Scene::new();
    let build = scene.world.build().on(HookName::Open, [Act::Foreign]);
    scene.assert_rolls_back(&build, "another fingerprint");
}

#[test]
fn a_wrapper_that_does_not_end_with_exec_is_told_so() {
    let scene = Scene::new();
    let mut build = scene.world.build();
    let script = format!("#!/bin/sh\n'{}' \"$@\"\nexit 3\n", build.binary.display());
    build.binary = file(&scene.world, &script, 0o755);
    scene.supervisor.handoff(&build).assert_rolled_back("exited with 3");
    assert!(scene.world.output().contains("a wrapper script must end with `exec`"));
    scene.assert_unharmed();
}

#[test]
fn an_open_that_failed_is_not_called_ready() {
    let scene = Scene::new();
    let build = scene.world.build().on(HookName::Open, [Act::Fail]);
    scene.supervisor.handoff(&build).assert_rolled_back("");
    let log = scene.world.output();
    let of_supervisor = format!("[{}]", scene.supervisor.pid());
    let mut lines = log.lines().filter(|line| line.contains(&of_supervisor));
    assert!(lines.any(|line| line.contains("handoff.roll_back: given up") && line.contains("phase=open")));
    let begun = log.rsplit("handoff: handoff").next().unwrap();
    assert!(!begun.contains("handoff.open: ready"), "{begun}");
    scene.assert_well();
}

#[test]
fn a_process_that_ends_before_it_takes_part_is_told_by_its_command() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    reference.configure(Path::new("/bin/sh"), &["-c", "exit 9", "--a-wrong-flag"]);
    let (code, swap) = reference.ask_json("swap");
    assert_eq!(code, 1, "{swap}");
    let said = swap["warnings"].to_string();
    assert!(said.contains("/bin/sh") && said.contains("--a-wrong-flag"), "{swap}");
}
