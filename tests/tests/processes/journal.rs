//! The supervisor's journal is damaged, deleted, behind, or can't be written: the daemon that serves is found all the same, and nothing is lost.
use std::fs;
use std::time::Duration;

use handoff_tests::held::{kill, stop};
use handoff_tests::processes::lives;
use handoff_tests::{HoldPoint, Reference, World, until, until_some};

use super::survives::ReferenceScene;

fn set_aside(world: &World) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(world.layout().run()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains(".set-aside-")).collect()
}

fn rewrite_journal(world: &World, change: impl FnOnce(&mut handoff::journal::Journal)) {
    let (mut file, recovered) = until_some("the journal is free", || {
        handoff::unix::journal::JournalFile::open(world.layout().journal()).ok()
    });
    let mut journal = recovered.journal;
    change(&mut journal);
    file.write(&journal).unwrap();
}

/// Another binary would be started after it, so it must not write what that could not read.
#[test]
fn the_journal_never_heard_of_the_one_that_serves_and_that_does_not_migrate_until_it_is_swapped_once_more() {
    let scene = ReferenceScene::new();
    let finalized = || scene.world.output().matches("finalized").count();
    let mut before = 0;
    scene.during_swap(HoldPoint::Serve, |scene, successor, go_on| {
        scene.reference.kill();
        go_on();
        scene.writer.wait_for_write_by(successor);
        rewrite_journal(&scene.world, |journal| journal.under_way = None);
        before = finalized();
        for _ in 0..2 {
            let recovery = scene.restart();
            assert_eq!(recovery["pid"], successor, "{recovery}");
            assert!(recovery["warnings"].to_string().contains("swapped once more"), "{recovery}");
        }
    });
    assert_eq!(finalized(), before, "it was not told that its predecessor has ended");
    let (code, swap) = scene.reference.ask_json("swap");
    assert_eq!(code, 0, "{swap}");
    until("its successor is told", || finalized() == before + 1);
    assert_eq!(scene.restart()["warnings"], serde_json::json!([]));
    scene.assert_well();
    scene.writer.assert_no_failure();
}

#[test]
fn the_journal_is_damaged_while_the_supervisor_is_away() {
    let path = |scene: &ReferenceScene| scene.world.layout().journal();
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [(&str, Damage); 5] = [
        ("set aside", |_| Vec::new()),
        ("set aside", |whole| whole[..40].to_vec()),
        ("set aside", |_| b"a letter to somebody else".to_vec()),
        ("newer than", |whole| [&whole[..6], b"99", &whole[8..]].concat()),
        ("the other slot is used", |whole| [&[0; 64], &whole[64..]].concat()),
    ];
    for (word, damage) in damages {
        let scene = ReferenceScene::new();
        scene.reference.kill();
        let whole = fs::read(path(&scene)).unwrap();
        fs::write(path(&scene), damage(&whole)).unwrap();
        scene.reference.start();
        let recovery = scene.recovery();
        assert_eq!(recovery["pid"], scene.daemon, "it is found all the same: {recovery}");
        assert!(recovery["warnings"].to_string().contains(word), "{word}: {recovery}");
        set_aside(&scene.world).into_iter().for_each(|kept| fs::remove_file(kept).unwrap());
        scene.assert_well();
        scene.writer.assert_no_failure();
    }
}

#[test]
fn the_journal_is_deleted_while_the_supervisor_is_away() {
    let scene = ReferenceScene::new();
    scene.reference.kill();
    fs::remove_file(scene.world.layout().journal()).unwrap();
    assert_eq!(scene.restart()["pid"], scene.daemon);
    scene.assert_well();
    scene.writer.assert_no_failure();
}

#[test]
fn the_sockets_and_the_journal_are_gone_and_the_holder_that_only_the_record_names_is_left_to_the_operator() {
    let scene = ReferenceScene::new();
    scene.reference.add(&format!("data_dir = {:?}\nunreachable_secs = 1\n", scene.world.layout().data()));
    scene.reference.configure_build(&scene.world.build());
    scene.reference.kill();
    stop(scene.daemon);
    for name in ["journal", "control", &format!("control.{}", scene.daemon)] {
        fs::remove_file(scene.world.layout().run().join(name)).unwrap();
    }
    scene.reference.launch();
    // It has the listening sockets as well, and nothing can be started beside it.
    assert!(!scene.reference.wait().success());
    assert!(lives(scene.daemon), "nothing but a name says that it is this supervisor's to end");
    kill(scene.daemon);
    scene.reference.launch();
    scene.reference.wait_until_watching();
    let serves = scene.serves();
    scene.writer.wait_for_write_by(serves);
}

#[test]
fn the_pid_in_the_journal_belongs_to_another_process_by_now() {
    let scene = ReferenceScene::new();
    scene.reference.kill();
    kill(scene.daemon);
    let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    rewrite_journal(&scene.world, |journal| {
        let running = journal.running.as_mut().unwrap();
        running.process.pid = other.id();
        journal.written_at_unix_ms += 3_600_000;
    });
    scene.reference.start();
    let recovery = scene.recovery();
    assert_eq!((&recovery["found"], &recovery["killed"]), (&"nobody".into(), &serde_json::json!([])));
    assert_eq!(other.try_wait().unwrap(), None, "the other process is left alone");
    other.kill().unwrap();
    other.wait().unwrap();
    scene.assert_well();
}

#[test]
fn the_clock_was_stepped_by_an_hour() {
    for hours in [1_i64, -1] {
        let scene = ReferenceScene::new();
        scene.reference.kill();
        rewrite_journal(&scene.world, |journal| {
            journal.written_at_unix_ms = journal.written_at_unix_ms.saturating_add_signed(hours * 3_600_000);
        });
        scene.reference.start();
        assert_eq!(scene.recovery()["pid"], scene.daemon);
        scene.assert_well();
        scene.writer.assert_no_failure();
    }
}

#[test]
fn the_journal_can_not_be_written_and_the_swap_is_refused_with_the_daemon_untouched() {
    let scene = ReferenceScene::new();
    fs::remove_file(scene.world.layout().journal()).unwrap();
    scene.reference.configure_build(&scene.world.build());
    let (code, swap) = scene.reference.ask_json("swap");
    assert_eq!(code, 1, "{swap}");
    assert!(swap["reason"].as_str().unwrap().contains("the journal can't be written"), "{swap}");
    assert!(!scene.world.output().contains("handoff.drain"), "nobody was asked to drain");
    assert_eq!(scene.serves(), scene.daemon);
    assert_eq!(scene.restart()["pid"], scene.daemon);
    scene.assert_well();
    scene.writer.assert_no_failure();
}

#[test]
fn a_journal_that_takes_long_is_named_and_not_the_incumbent_that_gave_up() {
    let world = World::new();
    let reference = Reference::for_actor(&world).liveness(3);
    let scene = ReferenceScene::of(world, reference);
    scene.reference.configure_build(&scene.world.build());
    scene.world.slow_sync(Duration::from_secs(12));
    let (code, swap) = scene.reference.ask_json("swap");
    assert_eq!((code, &swap["outcome"]), (1, &"rolled_back".into()), "{swap}");
    let reason = swap["reason"].as_str().unwrap();
    assert!(reason.contains("its journal took so long to be written"), "{swap}");
    assert_eq!(scene.serves(), scene.daemon);
    scene.assert_well();
    scene.writer.assert_no_failure();
}

#[test]
fn the_journal_can_not_be_written_any_more_and_the_service_goes_on() {
    let scene = ReferenceScene::new();
    scene.during_swap(HoldPoint::Open, |scene, successor, go_on| {
        fs::remove_file(scene.world.layout().journal()).unwrap();
        go_on();
        scene.writer.wait_for_write_by(successor);
    });
    let (_, status) = scene.reference.ask_json("status");
    let report = &status["last_swap"]["report"];
    assert_eq!(report["outcome"], "committed", "{status}");
    assert!(report["warnings"].to_string().contains("the journal could not be written"), "{status}");
    let serves = scene.serves();
    assert_eq!(scene.restart()["pid"], serves, "it is found all the same");
    scene.assert_well();
    scene.writer.assert_no_failure();
}
