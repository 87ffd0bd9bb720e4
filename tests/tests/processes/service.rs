//! The supervisor under a service manager: what it tells it, by `sd_notify(3)`, and the sockets that the manager keeps. The manager
//! here is a socket of the test's own; `ci/systemd` has the real one.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use handoff_tests::{Act, HookName, Reference, World, raw, until};
use nix::sys::signal::Signal;

/// A service manager: what it was told, and what it keeps.
struct Manager {
    path: PathBuf,
    socket: UnixDatagram,
    told: RefCell<Vec<String>>,
    kept: RefCell<BTreeMap<String, OwnedFd>>,
}

impl Manager {
    fn new(world: &World) -> Manager {
        let path = world.layout().dir().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager { path, socket, told: RefCell::default(), kept: RefCell::default() }
    }

    /// Hears all that has come.
    fn hears(&self) {
        let mut bytes = [0; 4096];
        while let Ok((length, fds)) = raw::receive(&self.socket, &mut bytes) {
            let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
            match name {
                Some(name) if text.contains("FDSTORE=1") => {
                    let [listener] = <[OwnedFd; 1]>::try_from(fds).expect("one descriptor goes along");
                    self.kept.borrow_mut().insert(name.into(), listener);
                }
                Some(name) if text.contains("FDSTOREREMOVE=1") => {
                    self.kept.borrow_mut().remove(name);
                }
                _ => self.told.borrow_mut().extend(text.lines().map(String::from)),
            }
        }
    }

    fn was_told(&self, line: &str) -> bool {
        self.hears();
        self.told.borrow().iter().any(|told| told.starts_with(line))
    }

    /// Waits until it is told `line`, and forgets what came before that.
    #[track_caller]
    fn is_told(&self, line: &str) {
        until(&format!("the manager is told {line}"), || self.was_told(line));
        let mut told = self.told.borrow_mut();
        let at = told.iter().position(|told| told.starts_with(line)).unwrap();
        told.drain(..=at);
    }

    /// Waits until it is told that a daemon serves, and `why` it is not the one that was wanted.
    #[track_caller]
    fn is_told_why(&self, why: &str) {
        let says = |line: &String| line.starts_with("STATUS=pid ") && line.contains(why);
        until("the manager is told why", || {
            self.hears();
            self.told.borrow().iter().any(says)
        });
    }

    fn command(&self, reference: &Reference) -> Command {
        let mut command = reference.command("run");
        command.env("NOTIFY_SOCKET", &self.path);
        command
    }

    /// Starts the service anew: with the sockets that it keeps.
    fn restarts(&self, reference: &Reference) -> u32 {
        let run = self.command(reference);
        let kept = std::mem::take(&mut *self.kept.borrow_mut());
        let (names, [first, second]) = (
            kept.keys().cloned().collect::<Vec<_>>().join(":"),
            <[OwnedFd; 2]>::try_from(kept.into_values().collect::<Vec<_>>()).expect("two are kept"),
        );
        // Only the process itself knows its pid, and only it should have the descriptors.
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_PID=$$ exec \"$@\" 3<&0 4<&1 </dev/null >&2", "sh"]);
        command.arg(run.get_program()).args(run.get_args());
        command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
        command.stdin(Stdio::from(first)).stdout(Stdio::from(second));
        command.stderr(reference.output());
        reference.launch_by(&mut command)
    }
}

#[test]
fn the_manager_is_told_when_the_daemon_serves_and_what_becomes_of_swaps() {
    let world = World::new();
    let manager = Manager::new(&world);
    let reference = Reference::for_actor(&world);
    let build = world.build();
    let gate = build.gate(HookName::Open);
    reference.configure_build(&build);
    reference.launch_by(&mut manager.command(&reference));
    gate.wait();
    manager.is_told("STATUS=starting ");
    // Again and again.
    manager.is_told("EXTEND_TIMEOUT_USEC=10000000");
    manager.is_told("EXTEND_TIMEOUT_USEC=10000000");
    assert!(!manager.was_told("READY=1"), "no daemon serves yet");
    gate.open();
    manager.is_told("READY=1");
    manager.is_told("STATUS=pid ");

    reference.configure_build(&world.build());
    assert_eq!(reference.ask_json("swap").0, 0);
    manager.is_told("RELOADING=1");
    manager.is_told("MONOTONIC_USEC=");
    manager.is_told("STATUS=swapping to ");
    manager.is_told("READY=1");

    reference.configure_build(&world.build().on(HookName::Open, [Act::Fail]));
    assert_eq!(reference.ask_json("swap").0, 1);
    manager.is_told("RELOADING=1");
    manager.is_told("READY=1");
    manager.is_told_why("; last swap: rolled back: ");

    // A reload that can't begin is over as well.
    reference.configure("/nowhere".as_ref(), &[]);
    reference.signal(Signal::SIGHUP);
    manager.is_told("RELOADING=1");
    manager.is_told("READY=1");
    manager.is_told_why("/nowhere: ");

    reference.signal(Signal::SIGTERM);
    manager.is_told("STOPPING=1");
    assert!(reference.wait().success());
}

#[test]
fn a_service_that_is_stopped_and_started_anew_refuses_no_client() {
    let world = World::new();
    let manager = Manager::new(&world);
    let reference = Reference::for_actor(&world);
    reference.launch_by(&mut manager.command(&reference));
    manager.is_told("READY=1");
    let tcp = reference.writer_over_tcp();
    let unix = reference.writer();
    for _ in 0..3 {
        tcp.wait_for_writes(3);
        unix.wait_for_writes(3);
        manager.hears();
        assert_eq!(manager.kept.borrow().keys().cloned().collect::<Vec<_>>(), ["tcp", "unix"]);
        reference.signal(Signal::SIGTERM);
        assert!(reference.wait().success());
        manager.restarts(&reference);
        manager.is_told("READY=1");
        let (_, status) = reference.ask_json("status");
        assert_eq!(status["recovery"]["listeners_taken"], serde_json::json!(["tcp", "unix"]), "{status}");
        assert_eq!(status["recovery"]["warnings"], serde_json::json!([]), "{status}");
    }
    tcp.wait_for_writes(3);
    unix.wait_for_writes(3);
    tcp.assert_no_failure();
    unix.assert_no_failure();
    world.assert_nothing_lost(&tcp);
    world.assert_nothing_lost(&unix);
}

#[test]
fn the_manager_is_told_that_the_loop_turns_as_often_as_it_wants() {
    let world = World::new();
    let manager = Manager::new(&world);
    let reference = Reference::for_actor(&world);
    let mut command = manager.command(&reference);
    command.env("WATCHDOG_USEC", "60000");
    reference.launch_by(&mut command);
    for _ in 0..5 {
        manager.is_told("WATCHDOG=1");
    }
}
