//! The things that a daemon inherits: those that it is to have, and nothing else.
use std::time::Duration;

use handoff_tests::{Act, HookName, Scene, World, processes, until_ok, until_some};
use nix::sys::signal::Signal;

/// The descriptors that a successor is born with: a rogue opens none of its own.
fn inherited(scene: &Scene) -> Vec<(u32, String)> {
    let swap = scene.supervisor.begin_handoff(&scene.world.rogue("hang").liveness(Duration::from_secs(60)));
    let ours = [scene.supervisor.pid(), scene.pid];
    let rogue = until_some("the successor runs", || {
        let mut pids = processes::of_world(scene.world.layout());
        pids.retain(|pid| !ours.contains(pid));
        // Before its `exec` it is still a copy of the supervisor.
        pids.into_iter().find(|pid| processes::variable(*pid, "LISTEN_PID").is_some())
    });
    // The language's runtime reads a file of its own as it starts.
    let seen = until_ok("nothing but what was inherited is open", || {
        let descriptors = processes::descriptors(rogue);
        let numbers: Vec<u32> = descriptors.iter().map(|(number, _)| *number).collect();
        if numbers == [0, 1, 2, 3, 4, 5] { Ok(descriptors) } else { Err(format!("{descriptors:#?}")) }
    });
    assert_eq!(processes::variable(rogue, "LISTEN_PID"), Some(rogue.to_string()), "as libsystemd wants it");
    assert_eq!(processes::variable(rogue, "LISTEN_FDS").as_deref(), Some("2"));
    assert_eq!(processes::variable(rogue, "LISTEN_FDNAMES").as_deref(), Some("tcp:unix"));
    assert_eq!(processes::variable(rogue, "HANDOFF_SOCK_FD").as_deref(), Some("5"));
    processes::send(rogue, Signal::SIGKILL);
    swap.outcome().assert_rolled_back("SIGKILL");
    seen
}

#[test]
fn a_successor_inherits_the_listeners_the_link_and_nothing_that_the_supervisor_has_leaked() {
    let scene = Scene::with(|world: &World| world.leaky_supervisor(40));
    let leaked = processes::descriptors(scene.supervisor.pid());
    let zero = leaked.iter().filter(|(_, leads_to)| leads_to == "/dev/zero").count();
    assert_eq!(zero, 40, "the supervisor has leaked what it should have");

    let descriptors = inherited(&scene);
    assert_eq!(descriptors[0].1, "/dev/null");
    let output = scene.world.layout().output().display().to_string();
    assert!(descriptors[1..3].iter().all(|(_, leads_to)| *leads_to == output), "{descriptors:#?}");
    assert!(descriptors[3..].iter().all(|(_, leads_to)| leads_to.starts_with("socket:")), "{descriptors:#?}");
    scene.assert_unharmed();
}

#[test]
fn the_listeners_are_the_very_sockets_and_stay_in_order() {
    let scene = Scene::new();
    let socket_of = |pid: u32, number: u32| {
        let all = processes::descriptors(pid);
        all.into_iter().find(|(found, _)| *found == number).map(|(_, leads_to)| leads_to)
    };
    let (tcp, unix) = (socket_of(scene.pid, 3), socket_of(scene.pid, 4));
    let supervisor: Vec<String> =
        processes::descriptors(scene.supervisor.pid()).into_iter().map(|(_, leads_to)| leads_to).collect();
    for socket in [&tcp, &unix] {
        assert!(supervisor.contains(socket.as_ref().unwrap()), "{socket:?} is not one of {supervisor:?}");
    }
    let mut pid = scene.pid;
    for _ in 0..3 {
        pid = scene.supervisor.handoff(&scene.world.build()).assert_committed();
        assert_eq!((socket_of(pid, 3), socket_of(pid, 4)), (tcp.clone(), unix.clone()));
    }
    let unix_writer = scene.world.unix_writer();
    unix_writer.wait_for_write_by(pid);
    scene.writer.wait_for_write_by(pid);
    scene.assert_well();
}

#[test]
fn what_a_daemon_starts_itself_inherits_none_of_it() {
    let scene = Scene::new();
    let build = scene.world.build().on(HookName::Serve, [Act::Child]);
    let pid = scene.supervisor.handoff(&build).assert_committed();
    let child = until_some("the daemon's own child runs", || {
        let children = processes::children(pid);
        children.into_iter().find(|child| {
            // After its `exec`: close-on-exec has done what it does.
            std::fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name.trim() == "sleep")
        })
    });
    let descriptors = processes::descriptors(child);
    assert!(descriptors.iter().all(|(number, _)| *number < 3), "{descriptors:#?}");
    processes::send(child, Signal::SIGKILL);
}
