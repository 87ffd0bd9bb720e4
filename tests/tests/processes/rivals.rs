//! Two of something of which there can be one.
use std::process::Stdio;

use handoff::Supervisor;
use handoff_tests::{HookName, Reference, SILENCE, Scene, World, script, until};

#[test]
fn the_second_swap_of_one_supervisor_is_refused_at_once() {
    let scene = Scene::new();
    let build = scene.world.build();
    let gate = build.gate(HookName::Open);
    let first = scene.supervisor.begin_handoff(&build);
    gate.wait();
    let second = scene.supervisor.handoff(&scene.world.build());
    second.assert_refused("Busy", "another handoff is under way");
    gate.open();
    let pid = first.outcome().assert_committed();
    scene.writer.wait_for_write_by(pid);
    scene.assert_well();
}

#[test]
fn a_second_supervisor_is_told_that_the_daemon_is_busy() {
    let scene = Scene::new();
    let gate = scene.incumbent.gate(HookName::Drain);
    let first = scene.supervisor.begin_handoff(&scene.world.build());
    gate.wait();
    let rival = scene.world.supervisor_without_journal();
    rival.handoff(&scene.world.build()).assert_refused("Busy", "under way");
    gate.open();
    let pid = first.outcome().assert_committed();
    drop(rival);
    scene.writer.wait_for_write_by(pid);
    scene.assert_well();
}

#[test]
fn of_two_supervisors_at_the_same_moment_one_commits_at_most_and_both_tell_the_truth() {
    let scene = Scene::new();
    let rival = scene.world.supervisor_without_journal();
    for _ in 0..20 {
        let before = scene.world.assert_one_serves(&[scene.supervisor.pid(), rival.pid()]);
        let build = || scene.world.build().liveness(SILENCE);
        let ours = scene.supervisor.begin_handoff(&build());
        let theirs = rival.begin_handoff(&build());
        let outcomes = [ours.outcome(), theirs.outcome()];
        // The supervisor that lost may have lost the incumbent to the other in the middle of meeting it.
        let known = ["Committed", "Busy", "Peer", "Unconfirmed"];
        assert!(outcomes.iter().all(|outcome| known.contains(&outcome.verdict.as_str())), "{outcomes:#?}");
        let committed: Vec<u32> = outcomes.iter().filter_map(|outcome| outcome.pid).collect();
        let after = scene.world.assert_one_serves(&[scene.supervisor.pid(), rival.pid()]);
        assert!(!committed.is_empty(), "neither of them got its way: {outcomes:#?}");
        assert!(committed.contains(&after) && after != before, "{after} serves: {outcomes:#?}");
    }
    drop(rival);
    scene.assert_well();
}

#[test]
fn a_second_supervisor_on_the_same_configuration_is_refused_with_a_remedy() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let pid = reference.start();
    let second = reference.command("run").stderr(Stdio::piped()).output().unwrap();
    let words = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(75), "{words}");
    assert!(words.contains(&pid.to_string()), "it names the first: {words}");
    let (code, swap) = reference.ask_json("swap");
    assert_eq!(code, 0, "the first goes on: {swap}");
}

#[test]
fn two_triggers_at_the_same_time_get_one_swap_and_one_refusal() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    let writer = reference.writer();
    writer.wait_for_writes(1);
    let build = world.build();
    let gate = build.gate(HookName::Open);
    reference.configure_build(&build);
    let (first, (second, status)) =
        reference.swap_held_json(&gate, || (reference.ask_json("swap"), reference.ask_json("status")));
    let (code, first) = first;
    assert_eq!((code, &first["outcome"]), (0, &"committed".into()), "{first}");
    let (code, second) = second;
    assert_eq!((code, &second["error"]["code"]), (75, &"busy".into()), "{second}");
    // It is held in its pause: no process serves.
    let (code, status) = status;
    assert_eq!((code, &status["activity"]), (4, &"swapping".into()), "{status}");
    world.assert_one_serves(&[reference.pid().unwrap()]);
    world.assert_clean(&writer);
}

#[test]
fn a_status_is_answered_whatever_is_under_way() {
    let scene = Scene::new();
    let asks = Supervisor::new(scene.world.layout().control()).unwrap();
    let gates = script::OF_INCUMBENT.map(|hook| scene.incumbent.gate(hook));
    let build = scene.world.build();
    let swap = scene.supervisor.begin_handoff(&build);
    for gate in gates {
        gate.wait();
        assert_eq!(asks.status().unwrap().hello.pid, scene.pid);
        gate.open();
    }
    let pid = swap.outcome().assert_committed();
    until("the successor answers", || asks.status().is_ok_and(|status| status.hello.pid == pid));
    scene.assert_well();
}
