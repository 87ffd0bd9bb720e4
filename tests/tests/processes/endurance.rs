//! Many swaps in a row leave nothing behind.
use std::fs;
use std::thread;
use std::time::Duration;

use handoff_tests::{Act, HookName, Reference, Scene, World, processes, until_ok};

const SWAPS: usize = 100;

/// The numbers that must not grow.
#[derive(Debug, PartialEq, Eq)]
struct Inventory {
    supervisor_descriptors: usize,
    daemon_descriptors: usize,
    children: usize,
    threads: [usize; 2],
    files: Vec<String>,
}

impl Inventory {
    fn size(&self) -> usize {
        self.supervisor_descriptors
            + self.daemon_descriptors
            + self.children
            + self.threads.iter().sum::<usize>()
    }
}

/// Taken at rest, without a connection; names with the daemon's pid in them are made equal.
fn inventory(world: &World, supervisor: u32) -> Inventory {
    let daemon = world.assert_one_serves(&[supervisor]);
    let count = |what: &str, pid: u32| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    let names =
        |dir| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = names(world.layout().run())
        .chain(names(world.layout().data()))
        .chain(names(world.layout().dir().to_path_buf()))
        .map(|name| name.replace(&daemon.to_string(), "PID"))
        .collect();
    files.sort_unstable();
    Inventory {
        supervisor_descriptors: count("fd", supervisor),
        daemon_descriptors: count("fd", daemon),
        children: processes::children(supervisor).len(),
        threads: [count("task", supervisor), count("task", daemon)],
        files,
    }
}

/// Taken again and again until it does not change any more: connections and their threads come and go, the check's own
/// included, and what stays is the least.
fn least(world: &World, supervisor: u32) -> Inventory {
    let mut least = inventory(world, supervisor);
    let mut same = 0;
    while same < 50 {
        thread::sleep(Duration::from_millis(5));
        let next = inventory(world, supervisor);
        same = if next.size() < least.size() { 0 } else { same + 1 };
        least = if next.size() < least.size() { next } else { least };
    }
    least
}

/// In the end it is what it was before. What is still on its way out is waited for.
#[track_caller]
fn assert_nothing_more(world: &World, supervisor: u32, before: &Inventory) {
    until_ok("nothing has become more", || {
        let now = inventory(world, supervisor);
        if now == *before { Ok(()) } else { Err(format!("before: {before:#?}, now: {now:#?}")) }
    });
}

#[test]
fn a_hundred_swaps_leave_no_descriptor_no_process_and_no_file() {
    let scene = Scene::new();
    // The first swap has made all that is made once.
    scene.supervisor.handoff(&scene.world.build()).assert_committed();
    let Scene { supervisor, writer, world, .. } = scene;
    drop(writer);
    let before = least(&world, supervisor.pid());
    let writer = world.writer();
    for _ in 0..SWAPS {
        supervisor.handoff(&world.build()).assert_committed();
    }
    world.assert_clean(&writer);
    drop(writer);
    assert_nothing_more(&world, supervisor.pid(), &before);
}

#[test]
fn thirty_swaps_that_are_rolled_back_leave_nothing_either() {
    let scene = Scene::new();
    scene.supervisor.handoff(&scene.world.build().on(HookName::Open, [Act::Fail])).assert_rolled_back("");
    let Scene { supervisor, writer, world, .. } = scene;
    drop(writer);
    let before = least(&world, supervisor.pid());
    for round in 0..30 {
        let build = match round % 5 {
            0 => world.build().on(HookName::WarmUp, [Act::Fail]),
            1 => world.build().on(HookName::Open, [Act::Fail]),
            2 => world.build().on(HookName::Serve, [Act::Exit]),
            3 => world.rogue("garbage"),
            _ => world.rogue("exit"),
        };
        supervisor.handoff(&build).assert_rolled_back("");
    }
    assert_nothing_more(&world, supervisor.pid(), &before);
}

#[test]
fn the_reference_supervisor_keeps_nothing_of_thirty_swaps() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let supervisor = reference.start();
    let (code, _) = reference.ask_json("swap");
    assert_eq!(code, 0);
    let before = least(&world, supervisor);
    for _ in 0..30 {
        let (code, swap) = reference.ask_json("swap");
        assert_eq!(code, 0, "{swap}");
    }
    assert_nothing_more(&world, supervisor, &before);
}
