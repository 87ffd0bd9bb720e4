//! Situations in which other handoff protocols leave no process that serves, or two, or say what is not so. Some are the
//! subject of other modules:
//!
//! | the situation | tested as |
//! |---|---|
//! | the incumbent dies after it drained, or after it freed the lock | `killed::the_incumbent_is_killed_when_it_has_drained`, `…_freed_the_lock` |
//! | unhealthy, a revision behind, still accepting, connections left | `successor::calls_itself_unhealthy`, `…::is_a_revision_behind_what_was_sealed`, `incumbent::still_accepts_after_its_drain`, `…::has_connections_left_after_its_drain` |
//! | the deadline isn't one: long graces, a dripping `Hello`, a hook that hangs | `incumbent::takes_longer_than_the_deadline_whatever_the_grace`, `successor::drips_its_hello_a_byte_at_a_time`, `incumbent::hangs_in_drain_or_seal` |
//! | a local peer that is silent, joins and is silent, or drips | `hostile_peers` |
//! | a hook panics | `incumbent::panics_in_drain_or_seal`, `successor::panics_in_a_hook` |
//! | a drain fails after it stopped accepting | `incumbent::fails_to_drain_again_and_again` |
//! | the successor opens for long | `successor::opens_for_longer_than_liveness_but_within_the_deadline` |
//! | the successor dies during the drain | `killed::the_successor_is_killed_during_the_drain_and_nothing_is_sealed` |
//! | leaked descriptors, `LISTEN_PID` | `descriptors` |
//! | the supervisor is started again: "address in use", another's child, no pid | `survives` |
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use handoff::Supervisor;
use handoff::journal::Journal;
use handoff_tests::held::{Held, HoldPoint, go_on, kill};
use handoff_tests::processes::{lives, of_world};
use handoff_tests::{Act, HookName, Reference, SILENCE, Scene, World, until};
use nix::sys::signal::Signal;

/// A deadline that passes while one is stopped, and long after all has happened that comes before.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_supervisor_dies_and_the_successor_opens_for_many_times_the_liveness() {
    let mut held = Held::with(HoldPoint::Open, |build| build.liveness(SILENCE));
    let since = held.world.mark();
    held.supervisor.kill();
    // It asks five times in every liveness; no process may lose patience.
    until("the incumbent has found the lock taken again and again", || {
        held.world.count_said(since, held.old, "event=Timer(Retry)") > 25
    });
    assert!(lives(held.old), "the incumbent does not leave before it knows that another serves");
    held.go_on();
    held.assert_serves_soon(held.new);
    until("the incumbent has left", || !lives(held.old));
    held.replace_supervisor();
    held.assert_serves(held.new);
}

/// The supervisor is stopped past its own deadline: `heir` serves meanwhile, and when it goes on it says so.
fn stopped_past_the_deadline(phase: HoldPoint, heir: impl Fn(&Held) -> u32, verdict: &str) {
    let mut held = Held::with(phase, |build| build.liveness(SILENCE).deadline(SOON));
    let heir = heir(&held);
    held.supervisor.stop();
    held.go_on();
    held.assert_serves_soon(heir);
    // Nothing else happens in this time: it is what passes.
    thread::sleep(SOON);
    go_on(held.supervisor.pid());
    let outcome = held.outcome();
    assert_eq!(outcome.verdict, verdict, "{outcome:#?}");
    assert_eq!(held.assert_told_the_truth(&outcome), heir);
}

#[test]
fn the_supervisor_is_stopped_past_its_deadline_when_the_incumbent_has_drained() {
    stopped_past_the_deadline(HoldPoint::Drain, |held| held.old, "RolledBack");
}

#[test]
fn the_supervisor_is_stopped_past_its_deadline_when_the_incumbent_has_sealed() {
    stopped_past_the_deadline(HoldPoint::Seal, |held| held.old, "RolledBack");
}

#[test]
fn the_successor_serves_by_itself_and_the_supervisor_goes_on_past_its_deadline() {
    stopped_past_the_deadline(HoldPoint::Open, |held| held.new, "Committed");
}

#[test]
fn the_successor_was_told_to_commit_and_serves_past_the_deadline() {
    let mut held = Held::with(HoldPoint::Serve, |build| build.liveness(SILENCE).deadline(SOON));
    held.supervisor.stop();
    held.go_on();
    held.assert_serves_soon(held.new);
    // Nothing else happens in this time: it is what passes.
    thread::sleep(SOON);
    go_on(held.supervisor.pid());
    let outcome = held.outcome();
    assert_eq!(outcome.assert_committed(), held.new);
    held.assert_told_the_truth(&outcome);
}

/// Returns what the journal says once its supervisor is dead.
fn journal(world: &World) -> Journal {
    let reader = Supervisor::new(world.layout().control()).unwrap();
    let reader = reader.with_journal(world.layout().journal()).unwrap();
    let recovered = reader.resume_from_journal();
    assert!(recovered.reports.is_empty(), "{:?}", recovered.reports);
    recovered.journal.clone()
}

#[test]
fn the_journal_names_the_incumbent_and_the_successor_that_are_under_way() {
    let mut held = Held::at(HoldPoint::Drain);
    held.supervisor.kill();
    let under_way = journal(&held.world).under_way.expect("a handoff was under way");
    assert_eq!(under_way.incumbent.map(|incumbent| incumbent.pid), Some(held.old));
    assert_eq!(under_way.successor.pid, held.new);
    held.go_on();
    kill(held.new);
    held.replace_supervisor();
    held.supervisor.handoff(&held.world.build()).assert_committed();
    held.world.assert_one_serves_and_nothing_lost(&held.supervisor, &held.writer);
}

#[test]
fn nothing_is_under_way_in_the_journal_after_a_drain_that_failed() {
    let scene = Scene::new();
    scene.incumbent.script(HookName::Drain, [Act::Fail]);
    scene.supervisor.handoff(&scene.world.build()).assert_rolled_back("told to fail in drain");
    scene.supervisor.kill();
    let journal = journal(&scene.world);
    assert!(journal.under_way.is_none(), "{journal:?}");
    assert_eq!(journal.running.map(|running| running.process.pid), Some(scene.pid));
    let supervisor = scene.world.supervisor();
    scene.world.assert_one_serves_and_nothing_lost(&supervisor, &scene.writer);
}

#[test]
fn a_journal_that_is_empty_torn_or_foreign_is_set_aside_and_costs_no_swap() {
    let mut scene = Scene::new();
    let path = scene.world.layout().journal();
    let whole = fs::read(&path).unwrap();
    for content in [&[][..], &whole[..40], &b"a letter to somebody else"[..], &[0xff; 200_000]] {
        scene.supervisor.kill();
        fs::write(&path, content).unwrap();
        scene.supervisor = scene.world.supervisor();
        scene.supervisor.handoff(&scene.world.build()).assert_committed();
        let kept = set_aside(&scene.world);
        assert_eq!(kept.len(), 1, "of {} bytes: {kept:?}", content.len());
        assert_eq!(fs::read(&kept[0]).unwrap(), content);
        fs::remove_file(&kept[0]).unwrap();
    }
    scene.assert_well();
}

/// Returns what was a journal and could not be used.
fn set_aside(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.layout().run()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_aside =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("journal.set-aside-");
    paths.filter(is_aside).collect()
}

/// Puts something at the control path that no process can replace.
fn block_path(world: &World) -> PathBuf {
    let control = world.layout().control();
    fs::remove_file(&control).unwrap();
    fs::create_dir(&control).unwrap();
    control
}

#[test]
fn the_control_path_can_not_be_taken_and_the_incumbent_serves_again() {
    let mut held = Held::at(HoldPoint::Open);
    let blocked = block_path(&held.world);
    held.go_on();
    held.assert_serves_soon(held.old);
    assert!(!lives(held.new), "the successor was seen to end first");
    // It serves, and goes on to try: only then can the supervisor say that all is well.
    fs::remove_dir(blocked).unwrap();
    held.outcome().assert_rolled_back("can't take the control path");
    held.assert_serves(held.old);
}

#[test]
fn fifty_handoffs_without_a_pause_between_them_all_commit() {
    let scene = Scene::new();
    for _ in 0..50 {
        scene.supervisor.handoff(&scene.world.build()).assert_committed();
    }
    scene.assert_well();
}

/// The reference supervisor is asked to stop while a swap is held at `build`'s gate in `hook`.
fn terminated(hook: HookName, of_incumbent: bool) {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let (old, new) = (world.build(), world.build());
    reference.configure_build(&old);
    reference.start();
    let writer = reference.writer();
    writer.wait_for_writes(1);
    let gate = if of_incumbent { &old } else { &new }.gate(hook);
    reference.configure_build(&new);
    let ((code, swap), ()) = reference.swap_held_json(&gate, || {
        let (asked, supervisor) = (world.mark(), reference.pid().unwrap());
        reference.signal(Signal::SIGTERM);
        until("it hears of it while the hook runs", || world.has_said(asked, supervisor, "event=Cancel"));
    });
    let expected = if hook == HookName::Serve { 0 } else { 1 };
    assert_eq!(code, expected, "{swap}");
    assert_eq!(reference.wait().code(), Some(0));
    assert!(of_world(world.layout()).is_empty(), "nobody is left");
    world.assert_nothing_lost(&writer);
    // And a supervisor that is started again finds everything.
    reference.start();
    writer.wait_for_writes(1);
    assert_eq!(reference.ask_json("swap").0, 0);
    world.assert_nothing_lost(&writer);
}

#[test]
fn the_supervisor_is_asked_to_stop_during_the_drain() {
    terminated(HookName::Drain, true);
}

#[test]
fn the_supervisor_is_asked_to_stop_during_the_seal() {
    terminated(HookName::Seal, true);
}

#[test]
fn the_supervisor_is_asked_to_stop_while_the_successor_opens() {
    terminated(HookName::Open, false);
}

#[test]
fn the_supervisor_is_asked_to_stop_while_the_successor_begins_to_serve() {
    terminated(HookName::Serve, false);
}

/// All that could serve is dead: the swap says so, and the supervisor starts what was committed last.
#[test]
fn both_daemons_die_and_the_supervisor_starts_the_committed_build() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let supervisor = reference.start();
    let old = world.assert_one_serves(&[supervisor]);
    let writer = reference.writer();
    writer.wait_for_write_by(old);
    let build = world.build();
    let gate = build.gate(HookName::Open);
    reference.configure_build(&build);
    let ((code, swap), ()) = reference.swap_held_json(&gate, || {
        of_world(world.layout()).into_iter().filter(|pid| is_actor(*pid)).for_each(kill);
    });
    assert_eq!((code, &swap["outcome"]), (4, &"nobody_serves".into()), "{swap}");
    let restarted = world.assert_one_serves(&[supervisor]);
    writer.wait_for_write_by(restarted);
    let arguments = fs::read_to_string(format!("/proc/{restarted}/cmdline")).unwrap();
    assert!(arguments.ends_with("\0b0\0"), "the build that was committed: {arguments:?}");
    world.assert_nothing_lost(&writer);
    assert_eq!(reference.ask_json("swap").0, 0);
    world.assert_nothing_lost(&writer);
}

fn is_actor(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("actor"))
}

#[test]
fn a_daemon_that_was_replaced_has_ended_by_the_time_that_the_handoff_returns() {
    let scene = Scene::new();
    let mut before = scene.pid;
    for _ in 0..10 {
        let after = scene.supervisor.handoff(&scene.world.build()).assert_committed();
        assert!(!lives(before), "{before} was replaced and is still there");
        before = after;
    }
    scene.assert_well();
}
