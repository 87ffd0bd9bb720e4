//! The supervisor dies, or is away, in each phase of a swap, and a parent starts it again, as systemd or a container
//! would: it takes over the sockets and the daemon that serves, brings to its end what was under way, and swaps at once.
use std::fs;
use std::time::Duration;

use handoff_tests::held::{Held, go_on, kill, stop};
use handoff_tests::processes::{lives, of_world, send};
use handoff_tests::{Act, Deed, HoldPoint, HookName, Reference, SILENCE, World, Writer, until, until_some};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A reference supervisor with a daemon that serves, and a client that writes.
pub(super) struct ReferenceScene {
    pub world: World,
    pub reference: Reference,
    pub writer: Writer,
    build: handoff_tests::Build,
    pub daemon: u32,
}

impl ReferenceScene {
    pub(super) fn new() -> ReferenceScene {
        ReferenceScene::with("")
    }

    fn with(extra: &str) -> ReferenceScene {
        let world = World::new();
        let reference = Reference::for_actor(&world);
        reference.add(extra);
        ReferenceScene::of(world, reference)
    }

    pub(super) fn of(world: World, reference: Reference) -> ReferenceScene {
        let build = world.build();
        reference.configure_build(&build);
        let supervisor = reference.start();
        let daemon = world.assert_one_serves(&[supervisor]);
        let writer = reference.writer();
        writer.wait_for_write_by(daemon);
        ReferenceScene { world, reference, writer, build, daemon }
    }

    /// The supervisor dies without a word, and the next one is there.
    #[track_caller]
    pub(super) fn restart(&self) -> Value {
        self.reference.kill();
        self.reference.start();
        self.recovery()
    }

    #[track_caller]
    pub(super) fn recovery(&self) -> Value {
        let (_, status) = self.reference.ask_json("status");
        status["recovery"].clone()
    }

    #[track_caller]
    pub(super) fn serves(&self) -> u32 {
        self.world.assert_one_serves(&[self.reference.pid().unwrap()])
    }

    /// Checks that one process serves, nothing is lost, and the next swap commits; twice.
    #[track_caller]
    pub(super) fn assert_well(&self) {
        for _ in 0..2 {
            let pid = self.serves();
            self.writer.wait_for_write_by(pid);
            self.world.assert_nothing_lost(&self.writer);
            self.reference.configure_build(&self.world.build());
            let (code, swap) = self.reference.ask_json("swap");
            assert_eq!(code, 0, "{swap}");
        }
        self.writer.wait_for_write_by(self.serves());
        self.world.assert_nothing_lost(&self.writer);
    }

    /// Holds a swap in `phase`; runs `during` there.
    pub(super) fn during_swap(&self, phase: HoldPoint, during: impl FnOnce(&ReferenceScene, u32, &dyn Fn())) {
        let new = self.world.build();
        let gate = if phase.is_old() { &self.build } else { &new }.gate(phase.hook());
        self.reference.configure_build(&new);
        self.reference.swap_held(&gate, || {
            let successor = until_some("the successor is there", || {
                let mut others = of_world(self.world.layout());
                others.retain(|pid| *pid != self.daemon && is_actor(*pid));
                others.first().copied()
            });
            during(self, successor, &|| gate.open());
        });
    }
}

fn is_actor(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("actor"))
}

#[test]
fn the_supervisor_is_killed_and_the_next_one_takes_the_daemon_and_its_sockets_over() {
    let scene = ReferenceScene::new();
    let recovery = scene.restart();
    assert_eq!(recovery["found"], "serving", "{recovery}");
    assert_eq!(recovery["pid"], scene.daemon);
    assert_eq!(recovery["listeners_taken"], serde_json::json!(["tcp", "unix"]));
    assert_eq!(recovery["listeners_opened"], serde_json::json!([]));
    assert_eq!(recovery["interrupted"], Value::Null);
    scene.writer.assert_no_failure();
    scene.assert_well();
    scene.writer.assert_no_failure();
}

/// The supervisor is killed in `phase`, the swap goes on by itself or back, and the next supervisor says which.
#[track_caller]
fn killed_in(phase: HoldPoint, restarts_first: bool, end: &str) {
    let scene = ReferenceScene::new();
    scene.during_swap(phase, |scene, successor, go_on| {
        scene.reference.kill();
        if restarts_first {
            scene.reference.launch();
        }
        go_on();
        if !restarts_first {
            scene.reference.launch();
        }
        scene.reference.wait_until_watching();
        let recovery = scene.recovery();
        assert_eq!(recovery["found"], "serving", "{recovery}");
        assert_eq!(recovery["interrupted"]["end"], end, "{recovery}");
        let heir = if end == "finished" { successor } else { scene.daemon };
        assert_eq!(scene.serves(), heir, "{recovery}");
    });
    scene.writer.assert_no_failure();
    scene.assert_well();
    scene.writer.assert_no_failure();
}

#[test]
fn the_supervisor_is_killed_while_the_successor_warms_up() {
    killed_in(HoldPoint::WarmUp, true, "undone");
    killed_in(HoldPoint::WarmUp, false, "undone");
}

#[test]
fn the_supervisor_is_killed_while_the_incumbent_drains() {
    killed_in(HoldPoint::Drain, true, "undone");
    killed_in(HoldPoint::Drain, false, "undone");
}

#[test]
fn the_supervisor_is_killed_while_the_incumbent_seals() {
    killed_in(HoldPoint::Seal, true, "undone");
    killed_in(HoldPoint::Seal, false, "undone");
}

#[test]
fn the_supervisor_is_killed_while_the_successor_opens() {
    killed_in(HoldPoint::Open, true, "finished");
    killed_in(HoldPoint::Open, false, "finished");
}

#[test]
fn the_supervisor_is_killed_while_the_successor_begins_to_serve() {
    killed_in(HoldPoint::Serve, true, "finished");
    killed_in(HoldPoint::Serve, false, "finished");
}

#[test]
fn the_supervisor_is_killed_while_the_first_daemon_opens_slowly() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let build = world.build();
    let gate = build.gate(HookName::Open);
    reference.configure_build(&build);
    reference.launch();
    gate.wait();
    reference.kill();
    reference.launch();
    until("it finds out who serves", || reference.ask_json("status").1["activity"] == "recovering");
    gate.open();
    reference.wait_until_watching();
    world.assert_one_serves(&[reference.pid().unwrap()]);
    let finalized = || world.output().matches("finalized").count() == 1;
    until("it was told that nobody was before it", finalized);
    let (_, status) = reference.ask_json("status");
    assert_eq!(status["recovery"]["found"], "nobody", "its data were not judged, so it has left: {status}");
}

#[test]
fn the_daemon_is_killed_while_the_supervisor_is_away() {
    let scene = ReferenceScene::new();
    scene.reference.kill();
    kill(scene.daemon);
    let new = scene.world.build();
    scene.reference.configure_build(&new);
    scene.reference.start();
    let recovery = scene.recovery();
    assert_eq!(recovery["found"], "nobody", "{recovery}");
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", scene.serves())).unwrap();
    assert!(arguments.contains(&format!("\0{}\0", scene.build.name)), "what was committed: {arguments:?}");
    scene.assert_well();
}

#[test]
fn both_are_killed_at_the_same_time_in_a_swap() {
    for phase in [HoldPoint::Drain, HoldPoint::Open] {
        let scene = ReferenceScene::new();
        scene.during_swap(phase, |scene, successor, _| {
            scene.reference.kill();
            kill(scene.daemon);
            kill(successor);
            scene.reference.start();
            let recovery = scene.recovery();
            assert_eq!(recovery["found"], "nobody", "{recovery}");
            assert_eq!(recovery["interrupted"]["end"], "lost", "{recovery}");
        });
        scene.assert_well();
    }
}

#[test]
fn the_supervisor_detaches_and_the_next_one_takes_over() {
    let scene = ReferenceScene::new();
    let (code, detached) = scene.reference.ask_json("detach");
    assert_eq!((code, &detached["detached"]["pid"]), (0, &scene.daemon.into()), "{detached}");
    assert_eq!(scene.reference.wait().code(), Some(0));
    scene.writer.wait_for_write_by(scene.daemon);
    assert_eq!(scene.reference.ask_json("detach").0, 69, "nobody is there to detach");
    scene.reference.start();
    assert_eq!(scene.recovery()["pid"], scene.daemon);
    scene.assert_well();
    scene.writer.assert_no_failure();
}

#[test]
fn nobody_detaches_in_the_middle_of_a_swap() {
    let scene = ReferenceScene::new();
    scene.during_swap(HoldPoint::Open, |scene, _, go_on| {
        assert_eq!(scene.reference.ask_json("detach").0, 75);
        go_on();
    });
    scene.assert_well();
}

#[test]
fn the_daemon_is_stopped_while_the_supervisor_is_away_and_is_replaced_after_the_bound() {
    let scene = ReferenceScene::with("unreachable_secs = 4\n");
    scene.reference.kill();
    stop(scene.daemon);
    scene.reference.launch();
    until("it waits", || scene.reference.ask_json("status").1["activity"] == "recovering");
    scene.reference.wait_until_watching();
    let recovery = scene.recovery();
    assert!(recovery["took_ms"].as_f64() >= Some(4000.0), "it is given its time: {recovery}");
    assert_eq!(
        (&recovery["found"], &recovery["killed"]),
        (&"nobody".into(), &serde_json::json!([scene.daemon]))
    );
    assert!(scene.world.output().contains("killing: it is in the way"), "that is logged");
    scene.assert_well();
}

#[test]
fn a_daemon_that_goes_on_within_the_bound_is_left_alone() {
    let scene = ReferenceScene::with("unreachable_secs = 600\n");
    scene.reference.kill();
    stop(scene.daemon);
    scene.reference.launch();
    until("it waits", || scene.reference.ask_json("status").1["activity"] == "recovering");
    go_on(scene.daemon);
    scene.reference.wait_until_watching();
    assert_eq!(scene.recovery()["pid"], scene.daemon);
    scene.assert_well();
    scene.writer.assert_no_failure();
}

#[test]
fn the_supervisor_is_told_to_stop_before_it_knows_whom_to_stop() {
    let scene = ReferenceScene::with("unreachable_secs = 600\nstop_grace_secs = 3\n");
    scene.reference.kill();
    stop(scene.daemon);
    scene.reference.launch();
    until("it waits", || scene.reference.ask_json("status").1["activity"] == "recovering");
    scene.reference.signal(Signal::SIGTERM);
    assert_eq!(scene.reference.wait().code(), Some(3), "it is not known who serves");
    assert!(lives(scene.daemon));
    go_on(scene.daemon);
    scene.reference.start();
    assert_eq!(scene.recovery()["pid"], scene.daemon);
    // Asked in time, it stops the daemon first.
    scene.reference.kill();
    let config = fs::read_to_string(scene.reference.config()).unwrap();
    let patient = config.replace("stop_grace_secs = 3", "stop_grace_secs = 600");
    fs::write(scene.reference.config(), patient).unwrap();
    stop(scene.daemon);
    scene.reference.launch();
    until("it waits", || scene.reference.ask_json("status").1["activity"] == "recovering");
    scene.reference.signal(Signal::SIGTERM);
    go_on(scene.daemon);
    assert_eq!(scene.reference.wait().code(), Some(0));
    assert!(!lives(scene.daemon));
}

#[test]
fn a_forked_grandchild_keeps_the_locks_descriptor() {
    let scene = ReferenceScene::new();
    // Swaps free the lock explicitly.
    scene.build.script(HookName::Drain, [Act::Fork]);
    scene.reference.configure_build(&scene.world.build());
    assert_eq!(scene.reference.ask_json("swap").0, 0);
    // A daemon that is killed can't: what is left of its process group is ended.
    let keeper = scene.world.build().on(HookName::Open, [Act::Fork]);
    scene.reference.configure_build(&keeper);
    assert_eq!(scene.reference.ask_json("swap").0, 0);
    let before = scene.world.output().matches("killed what it left behind").count();
    let serves = of_world(scene.world.layout());
    let status = scene.reference.ask_json("status").1;
    let daemon = u32::try_from(status["daemon"]["pid"].as_u64().unwrap()).unwrap();
    assert!(serves.contains(&daemon));
    send(daemon, Signal::SIGKILL);
    until("another one serves", || {
        let status = scene.reference.ask_json("status").1;
        status["activity"] == "watching" && status["daemon"]["pid"] != daemon
    });
    let after = scene.world.output().matches("killed what it left behind").count();
    assert!(after > before, "it is told");
}

/// The helpers of `daemon`.
fn helpers(daemon: u32) -> Vec<u32> {
    handoff_tests::processes::children(daemon).into_iter().filter(|child| lives(*child)).collect()
}

#[test]
fn helpers_of_a_daemon_that_was_retired_or_stopped_are_ended() {
    let scene = ReferenceScene::new();
    let with_helper = || {
        scene.reference.configure_build(&scene.world.build().on(HookName::Open, [Act::Child]));
        assert_eq!(scene.reference.ask_json("swap").0, 0);
        let status = scene.reference.ask_json("status").1;
        let daemon = u32::try_from(status["daemon"]["pid"].as_u64().unwrap()).unwrap();
        until_some("the helper runs", || helpers(daemon).first().copied())
    };
    let first = with_helper();
    let second = with_helper();
    until("the retired daemon's helper is ended", || !lives(first));
    assert!(lives(second), "one of the daemon that serves");
    // A daemon that was taken over is treated alike.
    scene.reference.kill();
    scene.reference.start();
    scene.reference.signal(Signal::SIGTERM);
    assert_eq!(scene.reference.wait().code(), Some(0));
    until("the stopped daemon's helper is ended", || !lives(second));
    assert!(of_world(scene.world.layout()).is_empty());
}

#[test]
fn the_record_is_deleted_and_the_lock_is_still_one() {
    let scene = ReferenceScene::new();
    scene.reference.kill();
    fs::remove_file(scene.world.layout().record()).unwrap();
    scene.reference.start();
    assert_eq!(scene.recovery()["pid"], scene.daemon);
    scene.assert_well();
    scene.writer.assert_no_failure();
}

#[test]
fn two_supervisors_are_started_at_once_and_one_of_them_takes_over() {
    let scene = ReferenceScene::new();
    scene.reference.kill();
    let rival = scene.reference.command("run").spawn().unwrap();
    let mut rival = Rival(rival);
    scene.reference.launch();
    let refused = until_some("one of them is refused", || {
        let ours = scene.reference.try_wait();
        ours.or_else(|| rival.0.try_wait().unwrap())
    });
    assert_eq!(refused.code(), Some(75), "another supervisor runs");
    until("the other one watches", || scene.reference.ask_json("status").1["activity"] == "watching");
    let (_, status) = scene.reference.ask_json("status");
    assert_eq!(status["recovery"]["pid"], scene.daemon, "{status}");
    scene.reference.configure_build(&scene.world.build());
    assert_eq!(scene.reference.ask_json("swap").0, 0);
    scene.writer.assert_no_failure();
}

struct Rival(std::process::Child);

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_second_supervisor_is_refused_while_the_first_is_stopped_and_the_first_goes_on() {
    let scene = ReferenceScene::new();
    scene.during_swap(HoldPoint::Drain, |scene, _, open| {
        let supervisor = scene.reference.pid().unwrap();
        stop(supervisor);
        let second = scene.reference.command("run").stderr(std::process::Stdio::piped()).output().unwrap();
        let words = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(75), "{words}");
        assert!(words.contains(&supervisor.to_string()), "it names the first: {words}");
        open();
        scene.writer.wait_for_write_by(scene.daemon);
        go_on(supervisor);
    });
    scene.assert_well();
    scene.writer.assert_no_failure();
}

#[test]
fn the_configuration_has_changed_while_the_supervisor_was_away() {
    let scene = ReferenceScene::new();
    scene.reference.kill();
    let socket = scene.world.layout().dir().join("more");
    scene.reference.set_listener("tcp", &handoff_tests::free_address());
    scene.reference.set_listener("more", &format!("unix:{}", socket.display()));
    scene.reference.configure_build(&scene.build);
    scene.reference.start();
    let recovery = scene.recovery();
    assert_eq!(recovery["listeners_taken"], serde_json::json!(["unix"]), "{recovery}");
    assert_eq!(recovery["listeners_opened"], serde_json::json!(["tcp", "more"]), "{recovery}");
    assert!(recovery["warnings"].to_string().contains("has moved"), "{recovery}");
    scene.assert_well();
    scene.writer.assert_no_failure();
    assert!(std::os::unix::net::UnixStream::connect(socket).is_ok());
}

/// Another supervisor, with a journal of its own, recovers and swaps while the first one is stopped; then that goes
/// on with what it knew.
#[test]
fn the_supervisor_is_stopped_another_one_takes_over_and_the_first_goes_on() {
    for phase in [HoldPoint::WarmUp, HoldPoint::Drain, HoldPoint::Seal, HoldPoint::Open, HoldPoint::Serve] {
        let mut held = Held::with(phase, |build| build.liveness(SILENCE));
        held.supervisor.stop();
        let rival = held.world.supervisor_without_journal();
        let recovery = rival.begin(&held.successor, Deed::Recover);
        held.go_on();
        let found = recovery.outcome();
        assert_eq!(found.verdict, "Serves", "{phase:?}: {found:#?}");
        let heir = found.pid.unwrap();
        held.assert_serves_soon(heir);
        let next = until_some("the rival's swap commits", || {
            let outcome = rival.handoff(&held.world.build());
            outcome.pid.filter(|_| outcome.verdict == "Committed")
        });
        go_on(held.supervisor.pid());
        let outcome = held.outcome();
        // The one that was committed has been replaced since, by a later one.
        let known = ["Committed", "RolledBack", "Unconfirmed", "NobodyServes", "Busy", "Peer"];
        assert!(known.contains(&outcome.verdict.as_str()), "{phase:?}: {outcome:#?}");
        let serves = held.world.assert_one_serves(&[held.supervisor.pid(), rival.pid()]);
        assert_eq!(serves, next, "{phase:?}: {outcome:#?}");
        drop(rival);
        held.world.assert_one_serves_and_nothing_lost(&held.supervisor, &held.writer);
    }
}

/// `HANDOFF_KILLS=200 cargo test -p handoff-tests --test processes killed_again_and_again` does it 200 times.
#[test]
fn the_supervisor_is_killed_again_and_again_at_random_moments_of_a_swap() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let kills: u32 = number("HANDOFF_KILLS").map_or(8, |kills: u64| u32::try_from(kills).unwrap());
    let seed = number("HANDOFF_SEED").unwrap_or_else(|| std::process::id().into());
    println!("HANDOFF_SEED={seed}");
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut micros = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        Duration::from_micros(random % below)
    };
    let scene = ReferenceScene::new();
    let mut ends = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..kills {
        scene.reference.configure_build(&scene.world.build());
        std::thread::scope(|scope| {
            let swap = scope.spawn(|| scene.reference.ask("swap"));
            // The command needs some milliseconds to come to the supervisor, and a swap takes about three.
            std::thread::sleep(Duration::from_millis(1) + micros(9_000));
            scene.reference.kill();
            std::thread::sleep(micros(3_000));
            scene.reference.start();
            let _ = swap.join();
        });
        let recovery = scene.recovery();
        assert_eq!(recovery["found"], "serving", "{recovery}");
        *ends.entry(recovery["interrupted"]["end"].to_string()).or_default() += 1;
        scene.writer.wait_for_write_by(scene.serves());
        scene.world.assert_nothing_lost(&scene.writer);
    }
    println!("interrupted swaps: {ends:?}");
    scene.writer.assert_no_failure();
    scene.assert_well();
    scene.writer.assert_no_failure();
}
