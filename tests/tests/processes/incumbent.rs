//! Every way in which an incumbent's hooks can be bad.
use std::time::Duration;

use handoff_tests::{Act, HookName, SILENCE, Scene, script, until};

/// A deadline that passes, long after all has happened that comes before.
const SOON: Duration = Duration::from_secs(5);
/// A limit that never passes.
const LATE: Duration = Duration::from_secs(3600);

#[test]
fn fails_to_drain_or_to_seal() {
    let scene = Scene::new();
    for hook in script::OF_INCUMBENT {
        scene.incumbent.script(hook, [Act::Fail]);
        let outcome = scene.supervisor.handoff(&scene.world.build());
        outcome.assert_rolled_back(&format!("told to fail in {hook}"));
        scene.writer.wait_for_write_by(scene.pid);
    }
    scene.assert_unharmed();
}

#[test]
fn panics_in_drain_or_seal() {
    let scene = Scene::new();
    for hook in script::OF_INCUMBENT {
        scene.incumbent.script(hook, [Act::Panic]);
        let outcome = scene.supervisor.handoff(&scene.world.build());
        outcome.assert_rolled_back(&format!("told to panic in {hook}"));
        scene.writer.wait_for_write_by(scene.pid);
    }
    scene.assert_unharmed();
}

#[test]
fn takes_longer_than_liveness_in_drain_and_seal_but_less_than_the_deadline() {
    let scene = Scene::new();
    for hook in script::OF_INCUMBENT {
        scene.incumbent.script(hook, [Act::Slow(5000)]);
    }
    scene.supervisor.handoff(&scene.world.build().liveness(SILENCE)).assert_committed();
    scene.assert_well();
}

#[test]
fn still_accepts_after_its_drain() {
    let scene = Scene::new();
    scene.incumbent.script(HookName::Drain, [Act::StillAccepting]);
    scene.assert_rolls_back(&scene.world.build(), "still accepts");
}

#[test]
fn has_connections_left_after_its_drain() {
    let scene = Scene::new();
    scene.incumbent.script(HookName::Drain, [Act::Remaining(3)]);
    let outcome = scene.supervisor.handoff(&scene.world.build());
    outcome.assert_committed();
    let warned = outcome.warnings.iter().any(|warning| warning.contains("3 connections"));
    assert!(warned, "{outcome:?}");
    scene.assert_well();
}

#[test]
fn takes_longer_than_the_deadline_whatever_the_grace() {
    for hook in script::OF_INCUMBENT {
        let scene = Scene::new();
        let gate = scene.incumbent.gate(hook);
        let build = scene.world.build().deadline(SOON).drain_grace(LATE).hook_limit(LATE);
        let begun = scene.world.mark();
        let swap = scene.supervisor.begin_handoff(&build);
        gate.wait();
        // The decision comes at the deadline; the way back waits for the hook, which can't be interrupted.
        until("the incumbent is asked to resume", || {
            scene.world.has_said(begun, scene.supervisor.pid(), "to=Incumbent ResumeAfterAbort")
        });
        gate.open();
        swap.outcome().assert_rolled_back("deadline");
        scene.assert_unharmed();
    }
}

#[test]
fn takes_longer_than_the_deadline_which_is_the_limit_of_a_hook_unless_another_is_given() {
    for hook in script::OF_INCUMBENT {
        let scene = Scene::new();
        scene.incumbent.script(hook, [Act::Hang]);
        let outcome = scene.supervisor.handoff(&scene.world.build().deadline(SOON).drain_grace(LATE));
        // It has ended itself, which nothing else would have done, and the successor, warm by then, has taken over.
        scene.writer.wait_for_write_by(outcome.assert_committed());
        scene.world.assert_one_serves_and_nothing_lost(&scene.supervisor, &scene.writer);
    }
}

#[test]
fn hangs_in_drain_or_seal() {
    for hook in script::OF_INCUMBENT {
        let scene = Scene::new();
        scene.incumbent.script(hook, [Act::Hang]);
        let build = scene.world.build().hook_limit(Duration::from_secs(3));
        // It ends itself, long before the deadline, and its end is the successor's beginning.
        let outcome = scene.supervisor.handoff(&build);
        let pid = outcome.assert_committed();
        assert!(outcome.warnings.iter().any(|warning| warning.contains("ended before")), "{outcome:?}");
        scene.writer.wait_for_write_by(pid);
        scene.world.assert_one_serves_and_nothing_lost(&scene.supervisor, &scene.writer);
    }
}

#[test]
fn is_slow_to_resume() {
    let scene = Scene::new();
    scene.incumbent.script(HookName::Resume, [Act::Slow(1000)]);
    let build = scene.world.build().on(HookName::Open, [Act::Fail]);
    scene.assert_rolls_back(&build, "told to fail in open");
}

#[test]
fn can_not_resume_at_first() {
    let scene = Scene::new();
    scene.incumbent.script(HookName::Resume, [Act::Fail]);
    let build = scene.world.build().on(HookName::Open, [Act::Fail]);
    scene.assert_rolls_back(&build, "told to fail in open");
}

#[test]
fn can_not_resume() {
    for act in [Act::FailAlways, Act::Panic] {
        let scene = Scene::new();
        scene.incumbent.script(HookName::Resume, [act]);
        let outcome = scene.supervisor.handoff(&scene.world.build().on(HookName::Open, [Act::Fail]));
        assert_eq!(outcome.verdict, "NobodyServes", "the truth is told: {outcome:?}");
        // It has left and freed everything, so that a cold start is possible at once.
        scene.supervisor.cold_start(&scene.world.build()).assert_committed();
        scene.assert_well();
    }
}

#[test]
fn fails_to_drain_again_and_again() {
    let scene = Scene::new();
    for _ in 0..10 {
        scene.incumbent.script(HookName::Drain, [Act::Fail]);
        scene.supervisor.handoff(&scene.world.build()).assert_rolled_back("told to fail in drain");
    }
    scene.assert_unharmed();
}
