//! Peers of the same user that come to the control socket or to the trigger socket and do not behave.
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use handoff::HandoffId;
use handoff::frame::{self, Decoder};
use handoff::message::{HelloAck, Message, PROTO_MAX};
use handoff_tests::{HookName, PATIENCE, Reference, Scene, World, until};

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn encode(message: &Message) -> Vec<u8> {
    frame::encode(PROTO_MAX, message).unwrap()
}

/// Returns what the peer says before it closes: `None` if it didn't say why.
fn refusal(stream: &mut UnixStream) -> Option<String> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        read => drop(read.expect("the session is closed")),
    }
    let mut decoder = Decoder::default();
    decoder.push(&bytes);
    let mut said = None;
    while let Ok(Some(message)) = decoder.next() {
        if let Message::Refused { error } = message {
            said = Some(error.into());
        }
    }
    said
}

/// A swap commits beside them: none of them goes away by itself, so it has waited for none.
#[track_caller]
fn assert_swaps(scene: &Scene) {
    let pid = scene.supervisor.handoff(&scene.world.build()).assert_committed();
    scene.writer.wait_for_write_by(pid);
}

#[test]
fn silent_ones_delay_no_swap() {
    let scene = Scene::new();
    let _silent: Vec<_> = (0..50).map(|_| connect(&scene.world.layout().control())).collect();
    assert_swaps(&scene);
    scene.assert_well();
}

#[test]
fn one_that_drips_delays_no_swap() {
    let scene = Scene::new();
    let mut dripping = connect(&scene.world.layout().control());
    let ack = encode(&Message::HelloAck(acknowledgement(HandoffId([1; 16]))));
    dripping.write_all(&ack[..ack.len() - 1]).unwrap();
    assert_swaps(&scene);
    scene.assert_well();
}

#[test]
fn one_that_asks_without_end_delays_no_swap() {
    let scene = Scene::new();
    let mut asking = connect(&scene.world.layout().control());
    let mut hearing = asking.try_clone().unwrap();
    let questions = encode(&Message::StatusQuery).repeat(1000);
    let asks = std::thread::spawn(move || while asking.write_all(&questions).is_ok() {});
    let hears =
        std::thread::spawn(move || while hearing.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {});
    assert_swaps(&scene);
    scene.assert_well();
    // The incumbent that was asked has left.
    asks.join().unwrap();
    hears.join().unwrap();
}

#[test]
fn garbage_closes_that_session_and_nothing_else() {
    let scene = Scene::new();
    for bytes in [&[0x5a; 4096][..], &[0; 64], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = connect(&scene.world.layout().control());
        stream.write_all(bytes).unwrap();
        refusal(&mut stream);
    }
    assert_swaps(&scene);
    scene.assert_well();
}

/// The most memory that a process ever had, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn an_announcement_of_four_gigabytes_allocates_nothing() {
    let scene = Scene::new();
    let before = peak_kib(scene.pid);
    for _ in 0..100 {
        let mut stream = connect(&scene.world.layout().control());
        stream.write_all(&[0xff, 0xff, 0xff, 0xff, 1, 0, 1, 2, 3]).unwrap();
        refusal(&mut stream);
    }
    let grown = peak_kib(scene.pid) - before;
    assert!(grown < 8 * 1024, "the incumbent's peak grew by {grown} KiB");
    assert_swaps(&scene);
    scene.assert_well();
}

fn acknowledgement(handoff_id: HandoffId) -> HelloAck {
    HelloAck {
        proto_version_chosen: PROTO_MAX,
        handoff_id,
        incumbent: None,
        liveness_ms: 3_600_000,
        deadline_ms: 3_600_000,
        hook_limit_ms: 3_600_000,
    }
}

#[test]
fn who_is_in_no_handoff_can_not_command() {
    let scene = Scene::new();
    scene.world.expect_bad_peers();
    let handoff_id = HandoffId([1; 16]);
    let commands = [
        Message::Retire { handoff_id },
        Message::SealRequest { handoff_id },
        Message::ResumeAfterAbort { handoff_id },
        Message::Commit { handoff_id },
        Message::Serving { handoff_id },
    ];
    for command in commands {
        let mut stream = connect(&scene.world.layout().control());
        stream.write_all(&encode(&command)).unwrap();
        let why = refusal(&mut stream).expect("it is told why");
        assert!(why.contains(command.name().name()), "{why}");
    }
    assert_swaps(&scene);
    scene.assert_well();
}

#[test]
fn a_command_of_another_handoff_or_in_the_wrong_direction_is_refused() {
    let scene = Scene::new();
    scene.world.expect_bad_peers();
    let handoff_id = HandoffId([1; 16]);
    let wrong = [
        Message::SealRequest { handoff_id: HandoffId([2; 16]) },
        Message::Warmed { handoff_id },
        Message::Resumed { handoff_id },
    ];
    for command in wrong {
        let mut stream = connect(&scene.world.layout().control());
        stream.write_all(&encode(&Message::HelloAck(acknowledgement(handoff_id)))).unwrap();
        stream.write_all(&encode(&command)).unwrap();
        let why = refusal(&mut stream).expect("it is told why");
        assert!(why.contains(command.name().name()), "{why}");
    }
    scene.assert_unharmed();
}

#[test]
fn many_that_come_while_a_swap_runs_do_not_end_it() {
    let scene = Scene::new();
    let build = scene.world.build();
    let gate = scene.incumbent.gate(HookName::Drain);
    let swap = scene.supervisor.begin_handoff(&build);
    gate.wait();
    // More than a daemon keeps: the oldest make room, but never the supervisor.
    let mut crowd: Vec<_> = (0..100).map(|_| connect(&scene.world.layout().control())).collect();
    crowd.iter_mut().skip(50).for_each(|stream| {
        let _ = stream.write_all(&[0x5a; 100]);
    });
    gate.open();
    let pid = swap.outcome().assert_committed();
    scene.writer.wait_for_write_by(pid);
    scene.assert_well();
}

#[test]
fn one_that_joins_and_is_silent_keeps_the_incumbent_for_liveness_only() {
    let scene = Scene::new();
    let mut stream = connect(&scene.world.layout().control());
    let ack = HelloAck { liveness_ms: 5000, ..acknowledgement(HandoffId([1; 16])) };
    stream.write_all(&encode(&Message::HelloAck(ack))).unwrap();
    // Meanwhile a supervisor is told so at once, and afterwards it gets its way.
    let mut refused = 0;
    until("a swap commits", || {
        let outcome = scene.supervisor.handoff(&scene.world.build());
        refused += u32::from(outcome.verdict == "Busy");
        outcome.verdict == "Committed"
    });
    assert!(refused > 0, "it was not even busy");
    scene.assert_well();
}

#[test]
fn at_the_trigger_socket_they_delay_neither_a_swap_nor_a_status() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    let _silent: Vec<_> = (0..100).map(|_| connect(&reference.trigger())).collect();
    let mut dripping = connect(&reference.trigger());
    dripping.write_all(b"{\"cmd\":\"sw").unwrap();
    for bytes in [&[0xff; 512][..], b"\n", b"{\"cmd\":\"swap\",\"binary\":7}\n", &[b'x'; 70_000]] {
        let mut stream = connect(&reference.trigger());
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        // A reset, where it was closed with bytes unread, ends the conversation as well.
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.contains("error"), "{answer}");
    }
    let (code, swap) = reference.ask_json("swap");
    assert_eq!((code, &swap["outcome"]), (0, &"committed".into()), "{swap}");
    let (code, _) = reference.ask_json("status");
    assert_eq!(code, 0);
}
