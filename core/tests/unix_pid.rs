//! Watching processes, with real ones.
#![cfg(feature = "unix")]
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]
#![expect(clippy::zombie_processes, reason = "the watches reap them")]

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use handoff::ProcessId;
use handoff::journal::{Journal, Running};
use handoff::unix::kill::MayBeKilled;
use handoff::unix::pid::{Exit, Watch, start_time_of, this_process};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

fn run(script: &str) -> Child {
    Command::new("/bin/sh").args(["-c", script]).process_group(0).spawn().unwrap()
}

fn id(child: &Child) -> ProcessId {
    ProcessId { pid: child.id(), start_time: start_time_of(child.id()).unwrap().unwrap() }
}

/// As if an earlier supervisor had started it.
fn may(watch: &Watch) -> MayBeKilled {
    let running = Running { process: watch.id(), build_id: Vec::new(), is_committed: true };
    MayBeKilled::started(watch, &Journal { running: Some(running), ..Journal::default() }).unwrap()
}

fn end_of(watch: &mut Watch) -> Exit {
    let deadline = Instant::now() + Duration::from_secs(180);
    while Instant::now() < deadline {
        if let Some(exit) = watch.ended().unwrap() {
            return exit;
        }
        let fd = watch.pollable().expect("this system has pidfds");
        poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::from(10_000_u16)).unwrap();
    }
    panic!("{:?} did not end", watch.id());
}

fn is_alive(pid: u32) -> bool {
    // A zombie that is not reaped yet doesn't count.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

#[test]
fn a_child_is_reaped_and_tells_how_it_ended() {
    for (script, exit) in
        [("exit 0", Exit::Code(0)), ("exit 3", Exit::Code(3)), ("kill -9 $$", Exit::Signal(9))]
    {
        let child = run(script);
        let mut watch = Watch::child(id(&child)).unwrap();
        assert_eq!(end_of(&mut watch), exit);
        assert_eq!(watch.ended().unwrap(), Some(exit), "asked again");
        assert!(watch.pollable().is_none());
        assert_eq!(start_time_of(child.id()).unwrap(), None, "reaped");
    }
}

#[test]
fn a_child_that_had_ended_before_it_was_watched_is_reaped_too() {
    let child = run("exit 4");
    while is_alive(child.id()) {
        std::thread::yield_now();
    }
    assert_eq!(Watch::child(id(&child)).unwrap().ended().unwrap(), Some(Exit::Code(4)));
}

#[test]
fn a_running_child_has_not_ended_and_takes_signals() {
    let child = run("exec sleep 1000");
    let mut watch = Watch::child(id(&child)).unwrap();
    assert_eq!(watch.ended().unwrap(), None);
    may(&watch).signal(&watch, Signal::SIGTERM).unwrap();
    assert_eq!(end_of(&mut watch), Exit::Signal(15));
    may(&watch).signal(&watch, Signal::SIGTERM).unwrap();
    may(&watch).kill_group(&watch).unwrap();
}

#[test]
fn the_whole_group_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pid");
    // A grandchild that ignores what can be ignored.
    let script = format!(
        "sh -c 'trap \"\" TERM HUP; echo $$ > {0}.new; mv {0}.new {0}; sleep 1000' & wait",
        path.display()
    );
    let child = run(&script);
    let deadline = Instant::now() + Duration::from_secs(180);
    while !path.exists() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let grandchild: u32 = std::fs::read_to_string(&path).unwrap().trim().parse().unwrap();
    let mut watch = Watch::child(id(&child)).unwrap();
    may(&watch).kill_group(&watch).unwrap();
    assert_eq!(end_of(&mut watch), Exit::Signal(9));
    while is_alive(grandchild) {
        assert!(Instant::now() < deadline, "the grandchild lives");
        std::thread::yield_now();
    }
}

#[test]
fn a_group_that_the_process_does_not_lead_is_left_alone() {
    // In this test's own group.
    let child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    let mut watch = Watch::child(id(&child)).unwrap();
    may(&watch).kill_group(&watch).unwrap();
    assert_eq!(end_of(&mut watch), Exit::Signal(9));
}

#[test]
fn another_process_is_seen_to_end_without_being_reaped() {
    let mut child = run("exec sleep 1000");
    let process = id(&child);
    let mut watch = Watch::other(process).unwrap();
    assert_eq!(watch.ended().unwrap(), None);
    may(&watch).kill_group(&watch).unwrap();
    assert_eq!(end_of(&mut watch), Exit::Unknown);
    assert!(!child.wait().unwrap().success(), "it was left for its parent");
    assert_eq!(Watch::other(process).unwrap().ended().unwrap(), Some(Exit::Unknown));
}

#[test]
fn a_later_process_with_the_same_pid_is_neither_watched_nor_killed() {
    let mut child = run("exec sleep 1000");
    let earlier = ProcessId { start_time: id(&child).start_time - 1, ..id(&child) };
    for mut watch in [Watch::other(earlier).unwrap(), Watch::child(earlier).unwrap()] {
        may(&watch).signal(&watch, Signal::SIGKILL).unwrap();
        may(&watch).kill_group(&watch).unwrap();
        assert_eq!(watch.ended().unwrap(), Some(Exit::Unknown));
        may(&watch).kill_group(&watch).unwrap();
    }
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_child_that_was_reaped_by_another_has_ended_all_the_same() {
    let mut child = run("exit 5");
    let mut watch = Watch::child(id(&child)).unwrap();
    child.wait().unwrap();
    assert_eq!(watch.ended().unwrap(), Some(Exit::Unknown));
}

#[test]
fn this_process_knows_itself() {
    let this = this_process().unwrap();
    assert_eq!(this.pid, std::process::id());
    assert!(this.start_time > 0);
    assert_eq!(Watch::other(this).unwrap().ended().unwrap(), None);
}
