//! Descriptors run out, or their limit is lowered, at the worst moment: what was done is told, and whatever serves goes on.
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use handoff_tests::processes::lives;
use handoff_tests::until;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;

use super::survives::ReferenceScene;

/// Lets `pid` have as many descriptors as that; those that it has stay open.
fn limit_descriptors(pid: u32, most: u64) {
    let limit = format!("--nofile={most}:");
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status().unwrap();
    assert!(status.success(), "prlimit: {status}");
}

#[test]
fn a_supervisor_that_can_open_nothing_after_its_commit_reports_the_commit() {
    let scene = ReferenceScene::new();
    scene.reference.configure_build(&scene.world.build());
    scene.world.no_descriptors_after_commit(Duration::from_secs(3));
    let (code, swap) = scene.reference.ask_json("swap");
    assert_eq!((code, &swap["outcome"]), (0, &"committed".into()), "{swap}");
    let recoveries = scene.world.output().matches("recovered found=").count();
    assert_eq!(recoveries, 1, "at its start: it knew which daemon serves");
    until("it answers again", || scene.reference.ask_json("status").0 == 0);
    scene.assert_well();
    scene.writer.assert_no_failure();
}

/// To wait for more descriptors than the limit allows is an error of poll(2).
#[test]
fn a_daemon_and_a_supervisor_that_can_not_wait_for_events_for_a_while_live_on() {
    let scene = ReferenceScene::new();
    let supervisor = scene.reference.pid().unwrap();
    let (usual, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let comes = || drop(UnixStream::connect(scene.world.layout().control()));
    let signals = || scene.reference.signal(Signal::SIGCHLD);
    // A peer that comes makes a daemon look, and a signal a supervisor.
    let disturbed: [(u32, &dyn Fn()); 2] = [(scene.daemon, &comes), (supervisor, &signals)];
    for (pid, disturbs) in disturbed {
        let since = scene.world.mark();
        limit_descriptors(pid, 1);
        until("it could not wait", || {
            disturbs();
            scene.world.has_said(since, pid, "can't wait for events")
        });
        limit_descriptors(pid, usual);
    }
    assert!(lives(scene.daemon) && lives(supervisor));
    until("both answer again", || scene.reference.ask_json("status").0 == 0);
    assert_eq!(scene.serves(), scene.daemon);
    scene.assert_well();
}
