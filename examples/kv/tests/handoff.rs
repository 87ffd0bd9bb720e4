//! The view of clients when the server is drained, sealed, replaced, or resumed. Incumbent and successor live
//! in one process here; the sockets are shared as they would be between two.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use common::{GRACE, Raw, TestSockets, leave, start, start_with, until};
use handoff::{Daemon, Drainable, ResumeFrom};
use handoff_kv::load::{Load, LoadOptions};
use handoff_kv::{Kv, ServerConfig};

#[test]
fn ten_successors_under_load_lose_nothing_and_reset_nobody() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (mut incumbent, _) = start(dir.path(), &sockets, "build 0");
    let load = Load::start(
        sockets.resp(),
        LoadOptions { info_interval: Duration::from_millis(1), ..LoadOptions::default() },
    );
    let load = load.unwrap();
    let is_seen = |build: &str| {
        until("the build is seen", || load.progress().seen.iter().any(|seen| seen.build_id == build));
    };
    is_seen("build 0");
    for round in 1..=10 {
        let build = format!("build {round}");
        let before = load.progress().requests;
        until("load", || load.progress().requests > before + 200);
        let sealed = leave(&mut incumbent);
        let (successor, ready) = start(dir.path(), &sockets, &build);
        assert_eq!(ready.advertised_revision_per_shard, sealed.last_revision_per_shard);
        assert_eq!(ready.data_dir_fingerprint, sealed.data_dir_fingerprint);
        incumbent = successor;
        is_seen(&build);
    }
    let report = load.stop();
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.counters.acknowledged_writes > 1000, "{report:#?}");
    assert_eq!(report.counters.seen.len(), 11, "{report:#?}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["failed"], &json["seen"][10]["build_id"]), (&0.into(), &"build 10".into()));
    // The histogram keeps three digits, and leaves out what asks which process serves.
    let (max, longest) = (report.latency.max_ms, report.counters.longest_pause_ms);
    assert!(max > 0.0 && max <= longest * 1.01, "{report:#?}");
}

/// Sends increments without ever waiting for a reply, until the server ends the connection. Returns the replies.
fn flood(mut stream: TcpStream, key: String) -> Vec<u64> {
    let mut reader = stream.try_clone().unwrap();
    let replies = thread::spawn(move || {
        let mut text = String::new();
        let end = reader.read_to_string(&mut text);
        (end, text)
    });
    let request = format!("INCR {key}\r\n").repeat(50);
    // After the server's end of the stream, to send fails sooner or later.
    while stream.write_all(request.as_bytes()).is_ok() && !replies.is_finished() {}
    let (end, text) = replies.join().unwrap();
    end.unwrap();
    assert!(text.is_empty() || text.ends_with("\r\n"), "half a reply: {text:?}");
    text.lines().map(|line| line.strip_prefix(':').unwrap().parse().unwrap()).collect()
}

#[test]
fn a_client_that_floods_gets_every_reply_and_then_the_end_of_the_stream() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (mut kv, _) = start(dir.path(), &sockets, "one");
    let clients: Vec<_> = (0..8)
        .map(|id| {
            let stream = TcpStream::connect(sockets.resp()).unwrap();
            thread::spawn(move || flood(stream, format!("flood{id}")))
        })
        .collect();
    let mut watcher = Raw::connect(sockets.resp());
    until("all of them at work", || {
        watcher.send("EXISTS flood0 flood1 flood2 flood3 flood4 flood5 flood6 flood7\r\n");
        watcher.receive(4) == ":8\r\n"
    });
    leave(&mut kv);
    let (_kv, _) = start(dir.path(), &sockets, "two");
    for (id, client) in clients.into_iter().enumerate() {
        let replies = client.join().unwrap();
        assert_eq!(replies, (1..=replies.len() as u64).collect::<Vec<_>>());
        // What was executed is what was answered: nothing beyond the last reply.
        let count = replies.len().to_string();
        Raw::connect(sockets.resp())
            .ask(format!("GET flood{id}\r\n"), &format!("${}\r\n{count}\r\n", count.len()));
    }
}

#[test]
fn who_connects_during_a_drain_waits_for_the_successor() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (mut kv, _) = start(dir.path(), &sockets, "one");
    kv.drain(GRACE).unwrap();
    let mut early = Raw::connect(sockets.resp());
    early.send("INCR n\r\n");
    kv.seal(&mut |_| {}).unwrap();
    let mut late = Raw::connect(sockets.resp());
    assert_eq!(kv.snapshot_state().open_conns, 0);
    let (_successor, _) = start(dir.path(), &sockets, "two");
    assert_eq!(early.receive(4), ":1\r\n");
    late.ask("INCR n\r\n", ":2\r\n");
}

#[test]
fn an_aborted_handoff_leaves_a_server_that_serves() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (mut kv, _) = start(dir.path(), &sockets, "one");
    for round in 1..=3 {
        kv.drain(GRACE).unwrap();
        let mut waiting = Raw::connect(sockets.resp());
        waiting.send("INCR n\r\n");
        kv.resume_after_abort(ResumeFrom::Memory).unwrap();
        kv.resume_after_abort(ResumeFrom::Memory).unwrap();
        assert_eq!(waiting.receive(4), format!(":{}\r\n", 2 * round - 1));
        let sealed = leave(&mut kv);
        assert_eq!(sealed.last_revision_per_shard, [2 * round - 1]);
        kv.resume_after_abort(ResumeFrom::Disk).unwrap();
        kv.resume_after_abort(ResumeFrom::Disk).unwrap();
        Raw::connect(sockets.resp()).ask("INCR n\r\n", &format!(":{}\r\n", 2 * round));
        Raw::connect(sockets.http()).ask("GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n");
    }
}

#[test]
fn what_another_process_wrote_meanwhile_is_seen_when_resuming_from_disk() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (mut kv, _) = start(dir.path(), &sockets, "one");
    Raw::connect(sockets.resp()).ask("INCR n\r\n", ":1\r\n");
    leave(&mut kv);
    let (mut other, _) = start(dir.path(), &sockets, "two");
    Raw::connect(sockets.resp()).ask("INCR n\r\n", ":2\r\n");
    leave(&mut other);
    kv.resume_after_abort(ResumeFrom::Disk).unwrap();
    assert_eq!(kv.snapshot_state().last_revision_per_shard, [2]);
    Raw::connect(sockets.resp()).ask("INCR n\r\n", ":3\r\n");
}

#[test]
fn a_build_that_cannot_open_says_so_and_touches_nothing() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let data = dir.path().join("data");
    let mut broken =
        Kv::new(&ServerConfig { fail_open: true, ..ServerConfig::new(&data, "broken") }).unwrap();
    broken.warm_up().unwrap();
    assert!(broken.open(None).unwrap_err().to_string().contains("--fail-open"));
    assert!(!data.exists());
    let (_kv, ready) = start_with(&ServerConfig::new(&data, "good"), &sockets);
    assert_eq!((ready.healthz_ok, ready.listening_on), (true, vec!["resp".into(), "http".into()]));
}

#[test]
fn a_client_that_half_closes_gets_its_replies() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (_kv, _) = start(dir.path(), &sockets, "one");
    let mut client = Raw::connect(sockets.resp());
    client.send("SET k v\r\nGET k\r\n");
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.rest(), "+OK\r\n$1\r\nv\r\n");
    let error = client.0.read(&mut [0]).map_err(|e| e.kind());
    assert!(matches!(error, Ok(0) | Err(ErrorKind::NotConnected)));
}
