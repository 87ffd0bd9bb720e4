//! Files of a run directory that are swept, renamed or replaced while all is well: supervisor and daemon put their sockets back.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use handoff_tests::processes::lives;
use handoff_tests::{Layout, Reference, World, until};
use nix::sys::signal::Signal;

struct SweptScene {
    world: World,
    reference: Reference,
    daemon: u32,
}

impl SweptScene {
    fn new() -> SweptScene {
        let world = World::new();
        let reference = Reference::for_actor(&world);
        reference.start();
        let (_, status) = reference.ask_json("status");
        let daemon = u32::try_from(status["daemon"]["pid"].as_u64().unwrap()).unwrap();
        SweptScene { world, reference, daemon }
    }

    /// All that a sweeper removes: sockets and files that are not used for a while.
    fn names(&self) -> Vec<PathBuf> {
        let control = self.world.layout().control();
        let trigger = self.reference.trigger();
        let with = |path: &Path, suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
        vec![with(&control, &format!(".{}", self.daemon)), with(&trigger, ".lock"), control, trigger]
    }

    #[track_caller]
    fn assert_put_back(&self) {
        for name in self.names() {
            until(&format!("{} is put back", name.display()), || name.symlink_metadata().is_ok());
        }
    }

    /// The daemon was not disturbed, is reached, and is swapped.
    #[track_caller]
    fn assert_well(&self) {
        let mut status = serde_json::Value::Null;
        until("the daemon answers", || {
            status = self.reference.ask_json("status").1;
            status["answer"]["standing"] == "Serving" && status["daemon"]["pid"] == self.daemon
        });
        assert!(lives(self.daemon));
        let (code, swap) = self.reference.ask_json("swap");
        assert_eq!((code, &swap["outcome"]), (0, &"committed".into()), "{swap}");
    }
}

#[test]
fn sockets_that_are_swept_under_a_serving_daemon_are_put_back() {
    let scene = SweptScene::new();
    let writer = scene.reference.writer();
    writer.wait_for_writes(1);
    scene.names().iter().for_each(|name| fs::remove_file(name).unwrap());
    scene.assert_put_back();
    for (name, mode) in scene.names().iter().zip([0o600; 4]) {
        assert_eq!(fs::metadata(name).unwrap().permissions().mode() & 0o777, mode, "{}", name.display());
    }
    // The lock is held on the file that is there now.
    let second = scene.reference.command("run").output().unwrap();
    assert_eq!(second.status.code(), Some(75), "{second:?}");
    scene.assert_well();
    scene.world.assert_clean(&writer);
}

#[test]
fn sockets_that_are_swept_while_no_supervisor_runs_are_put_back_and_the_next_one_finds_the_daemon() {
    let scene = SweptScene::new();
    scene.reference.kill();
    fs::remove_file(scene.world.layout().journal()).unwrap();
    let names = scene.names();
    for name in [&names[0], &names[2]] {
        fs::remove_file(name).unwrap();
    }
    for name in [&names[0], &names[2]] {
        until("it is put back", || name.symlink_metadata().is_ok());
    }
    scene.reference.start();
    scene.assert_well();
}

#[test]
fn names_that_are_renamed_are_put_back() {
    let scene = SweptScene::new();
    for name in scene.names() {
        fs::rename(&name, name.with_extension("away")).unwrap();
        until("it is put back", || name.symlink_metadata().is_ok());
    }
    scene.assert_well();
}

#[test]
fn a_run_directory_that_is_replaced_as_a_whole_has_the_sockets_again() {
    let scene = SweptScene::new();
    let run = scene.world.layout().run();
    let away = run.with_extension("away");
    fs::rename(&run, &away).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    fs::create_dir(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    // The journal and the configuration were there as well; the supervisor has the journal open.
    for entry in fs::read_dir(&away).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() && !entry.file_name().to_str().unwrap().ends_with(".lock") {
            fs::rename(entry.path(), run.join(entry.file_name())).unwrap();
        }
    }
    scene.assert_put_back();
    scene.assert_well();
}

#[test]
fn a_strangers_file_is_left_alone_and_named_and_the_socket_comes_back_after_it() {
    let scene = SweptScene::new();
    let names = scene.names();
    let (control, trigger) = (&names[2], &names[3]);
    for name in [control, trigger] {
        replace_by_file(&scene.world, name);
    }
    until("the daemon names it", || {
        scene.world.output().contains(&format!("another file lies at {}", control.display()))
    });
    until("the supervisor names it", || {
        scene.world.output().contains(&format!("trigger socket {} can't be put back", trigger.display()))
    });
    for name in [control, trigger] {
        assert_eq!(fs::read_to_string(name).unwrap(), "precious");
        fs::remove_file(name).unwrap();
    }
    scene.assert_put_back();
    scene.assert_well();
}

/// Lines that any user of the directory can cause are few, but the last one tells of what lies there still.
#[test]
fn an_obstacle_that_stays_is_named_after_many_that_came_and_went() {
    let scene = SweptScene::new();
    let names = scene.names();
    let obstructed = [&names[1], &names[2], &names[3]];
    for _ in 0..12 {
        for name in obstructed {
            replace_by_file(&scene.world, name);
            fs::remove_file(name).unwrap();
        }
        scene.assert_put_back();
    }
    let told = scene.world.output().lines().count();
    for name in obstructed {
        replace_by_file(&scene.world, name);
    }
    for name in obstructed {
        until("the obstacle that stays is named", || {
            let name = name.to_str().unwrap();
            let is_named = |line: &str| line.contains(name) && line.contains("another file lies");
            scene.world.output().lines().skip(told).any(is_named)
        });
    }
    for name in obstructed {
        fs::remove_file(name).unwrap();
    }
    scene.assert_put_back();
    scene.assert_well();
}

/// Replaces what lies at `name` in one step: the socket that is put back where nothing is can't be quicker.
fn replace_by_file(world: &World, name: &Path) {
    let draft = world.layout().dir().join("precious");
    fs::write(&draft, "precious").unwrap();
    fs::rename(&draft, name).unwrap();
}

/// Its sockets can't be put back: another's files lie there. That it can't be asked is no sign that it hangs.
#[test]
fn a_healthy_daemon_that_can_not_be_asked_is_not_killed_for_its_silence() {
    let scene = SweptScene::new();
    let writer = scene.reference.writer();
    writer.wait_for_writes(1);
    scene.reference.kill();
    let names = scene.names();
    let draft = scene.world.layout().dir().join("precious");
    for name in [&names[0], &names[2]] {
        fs::write(&draft, "precious").unwrap();
        fs::rename(&draft, name).unwrap();
    }
    scene.reference.add("unreachable_secs = 1\n");
    scene.reference.configure_build(&scene.world.build());
    scene.reference.launch();
    until("the supervisor is there", || scene.reference.ask("status").status.code() == Some(3));
    std::thread::sleep(Duration::from_secs(3));
    assert!(lives(scene.daemon), "it was killed");
    let (code, status) = scene.reference.ask_json("status");
    assert_eq!((code, &status["activity"]), (3, &"recovering".into()), "{status}");
    writer.wait_for_write_by(scene.daemon);
    for name in [&names[0], &names[2]] {
        fs::remove_file(name).unwrap();
    }
    until("it is found", || scene.reference.ask_json("status").1["daemon"]["pid"] == scene.daemon);
    writer.assert_no_failure();
    drop(writer);
    scene.assert_well();
}

#[test]
fn a_listeners_path_that_was_removed_is_made_anew_at_the_next_swap() {
    let scene = SweptScene::new();
    let served = scene.world.layout().dir().join("served");
    fs::remove_file(&served).unwrap();
    let (code, swap) = scene.reference.ask_json("swap");
    assert_eq!(code, 0, "{swap}");
    let [_, unix] = Layout::LISTENERS;
    assert!(swap["warnings"].to_string().contains(&format!("{unix:?}").replace('"', "\\\"")), "{swap}");
    let writer = scene.reference.writer();
    writer.wait_for_writes(1);
    scene.world.assert_clean(&writer);
}

/// Checks that the watch costs nothing as long as nothing happens.
#[test]
fn a_supervisor_and_a_daemon_at_rest_are_not_woken_by_the_watch() {
    let scene = SweptScene::new();
    let switches = || {
        [scene.daemon, scene.reference.pid().unwrap()].map(|pid| {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            let of_task = |task: fs::DirEntry| {
                let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
                line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or_default()
            };
            tasks.map(|task| of_task(task.unwrap())).sum::<u64>()
        })
    };
    let control = scene.world.layout().control();
    fs::remove_file(&control).unwrap();
    scene.assert_put_back();
    std::thread::sleep(Duration::from_millis(1500));
    let before = switches();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(switches(), before);
    scene.reference.signal(Signal::SIGTERM);
    assert!(scene.reference.wait().success());
    for path in [control, scene.reference.trigger()] {
        assert!(path.symlink_metadata().is_err(), "{} was removed on purpose", path.display());
    }
}
