//! The waits that one client can impose on all others in a drain, and what a drain owes each client. Times
//! that matter to a test are an hour or milliseconds, so that a slow machine changes nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
mod common;

use std::io::Read;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::{GRACE, Raw, TestSockets, start, start_with, until};
use handoff::{DrainReport, Drainable, ResumeFrom};
use handoff_kv::{Kv, Patience, ServerConfig};
use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);
const INSTANT: Duration = Duration::from_millis(1);
const LARGE: usize = 1 << 20;

fn patient(stall: Duration, first_request: Duration) -> (TempDir, TestSockets, Kv) {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let config = ServerConfig {
        patience: Patience::new(stall, first_request),
        ..ServerConfig::new(dir.path(), "one")
    };
    let (kv, _) = start_with(&config, &sockets);
    (dir, sockets, kv)
}

/// A client that has been served, and is idle.
fn idle(addr: SocketAddr) -> Raw {
    let mut client = Raw::connect(addr);
    client.ask("PING\r\n", "+PONG\r\n");
    client
}

/// Begins a drain, and returns when it has begun: an idle client is closed by it.
fn begin_drain(mut kv: Kv, sockets: &TestSockets) -> JoinHandle<(Kv, DrainReport)> {
    let mut idle = idle(sockets.resp());
    let drain = thread::spawn(move || {
        let report = kv.drain(GRACE).unwrap();
        (kv, report)
    });
    assert_eq!(idle.rest(), "");
    drain
}

fn nobody_left(report: &DrainReport) {
    assert_eq!((report.open_conns_remaining, report.accept_closed), (0, true));
}

/// A client for which `replies` are on their way, far more than it and the system take, and the length of one.
fn does_not_read(addr: SocketAddr, replies: usize) -> (Raw, usize) {
    let mut client = Raw::connect(addr);
    // The system makes it larger by itself otherwise.
    setsockopt(&client.0, RcvBuf, &(64 * 1024)).unwrap();
    let large = "x".repeat(LARGE);
    client.ask(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${LARGE}\r\n{large}\r\n"), "+OK\r\n");
    let reply = format!("${LARGE}\r\n{large}\r\n");
    client.send("GET k\r\n".repeat(replies));
    // So the first of the replies is on its way.
    assert_eq!(client.receive(reply.len()), reply);
    (client, reply.len())
}

#[test]
fn a_client_that_does_not_read_is_cut_after_a_bound_of_its_own() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (mut kv, _) = start(dir.path(), &sockets, "one");
    let _silent = does_not_read(sockets.resp(), 100);
    nobody_left(&kv.drain(GRACE).unwrap());
    kv.seal(&mut |_| {}).unwrap();
    kv.resume_after_abort(ResumeFrom::Disk).unwrap();
    Raw::connect(sockets.resp()).ask("PING\r\n", "+PONG\r\n");
}

#[test]
fn a_client_that_reads_slowly_is_not_cut() {
    let (_dir, sockets, kv) = patient(Duration::from_secs(1), INSTANT);
    let (mut client, reply) = does_not_read(sockets.resp(), 7);
    let drain = begin_drain(kv, &sockets);
    let mut chunk = vec![0; 8 * 1024];
    let mut received = 0;
    // Each reply takes longer than the bound, and a part of it far shorter.
    while let len @ 1.. = client.0.read(&mut chunk).unwrap() {
        received += len;
        thread::sleep(Duration::from_millis(9));
    }
    assert_eq!((received % reply, received / reply), (0, 6), "all that was asked for, but the first");
    nobody_left(&drain.join().unwrap().1);
}

#[test]
fn a_client_that_does_not_read_is_left_over_when_the_grace_ends_and_stops_nobody() {
    let (_dir, sockets, mut kv) = patient(HOUR, INSTANT);
    let (mut client, reply) = does_not_read(sockets.resp(), 100);
    let drained = kv.drain(Duration::from_millis(50)).unwrap();
    assert_eq!((drained.open_conns_remaining, drained.accept_closed), (1, true));
    kv.seal(&mut |_| {}).unwrap();
    kv.resume_after_abort(ResumeFrom::Disk).unwrap();
    Raw::connect(sockets.resp()).ask("PING\r\n", "+PONG\r\n");
    // What it gets in the end is whole replies.
    assert_eq!(client.rest().len() % reply, 0);
    until("it is gone", || kv.snapshot_state().open_conns == 0);
}

#[test]
fn idle_connections_do_not_hold_a_drain() {
    let (_dir, sockets, mut kv) = patient(HOUR, HOUR);
    let mut clients: Vec<_> = (0..64).map(|_| idle(sockets.resp())).collect();
    let mut http = Raw::connect(sockets.http());
    http.send("GET /healthz HTTP/1.1\r\n\r\n");
    http.receive("HTTP/1.1 200 OK\r\n".len());
    clients.push(http);
    nobody_left(&kv.drain(GRACE).unwrap());
    for mut client in clients.into_iter().take(64) {
        assert_eq!(client.rest(), "");
    }
}

#[test]
fn half_a_request_that_does_not_go_on_is_cut() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (mut kv, _) = start(dir.path(), &sockets, "one");
    let mut clients = [Raw::connect(sockets.resp()), Raw::connect(sockets.http())];
    clients[0].send("*2\r\n$3\r\nGET\r\n");
    clients[1].send("GET /healthz HTTP/1.1\r\n");
    clients.iter().for_each(Raw::wait_until_read);
    until("accepted", || kv.snapshot_state().open_conns == 2);
    nobody_left(&kv.drain(GRACE).unwrap());
    for mut client in clients {
        assert_eq!(client.rest(), "");
    }
}

#[test]
fn a_request_that_has_begun_is_answered_and_none_that_comes_after_it() {
    let (_dir, sockets, kv) = patient(HOUR, INSTANT);
    let mut client = Raw::connect(sockets.resp());
    client.ask("PING\r\n*2\r\n$4\r\nINCR\r\n", "+PONG\r\n");
    let drain = begin_drain(kv, &sockets);
    client.send("$1\r\nn\r\nINCR n\r\nINCR n\r\n");
    assert_eq!(client.rest(), ":1\r\n");
    let (mut kv, report) = drain.join().unwrap();
    nobody_left(&report);
    kv.resume_after_abort(ResumeFrom::Memory).unwrap();
    Raw::connect(sockets.resp()).ask("GET n\r\n", "$1\r\n1\r\n");
}

#[test]
fn the_first_request_of_a_new_connection_is_answered_in_a_drain() {
    let (_dir, sockets, kv) = patient(INSTANT, HOUR);
    let (mut resp, mut http) = (Raw::connect(sockets.resp()), Raw::connect(sockets.http()));
    until("accepted", || kv.snapshot_state().open_conns == 2);
    let drain = begin_drain(kv, &sockets);
    resp.send("INCR n\r\n");
    assert_eq!(resp.rest(), ":1\r\n");
    http.send("GET /healthz HTTP/1.1\r\n\r\n");
    let reply = http.rest();
    assert!(
        reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.contains("\r\nConnection: close\r\n"),
        "{reply}"
    );
    nobody_left(&drain.join().unwrap().1);
}

#[test]
fn a_new_connection_that_asks_nothing_does_not_hold_a_drain() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (mut kv, _) = start(dir.path(), &sockets, "one");
    let clients = [Raw::connect(sockets.resp()), Raw::connect(sockets.http())];
    until("accepted", || kv.snapshot_state().open_conns == 2);
    nobody_left(&kv.drain(GRACE).unwrap());
    for mut client in clients {
        assert_eq!(client.rest(), "");
    }
}

#[test]
fn the_last_http_reply_of_a_drain_says_that_it_is_the_last() {
    let (_dir, sockets, kv) = patient(HOUR, HOUR);
    let (mut new, mut begun) = (Raw::connect(sockets.http()), Raw::connect(sockets.http()));
    begun.send("GET /healthz HTTP/1.1\r\n");
    begun.wait_until_read();
    until("accepted", || kv.snapshot_state().open_conns == 2);
    let drain = begin_drain(kv, &sockets);
    new.send("GET /healthz HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n");
    let replies = new.rest();
    let (first, last) = (replies.find("Connection: keep-alive"), replies.find("Connection: close"));
    assert_eq!(replies.matches("HTTP/1.1 200 OK").count(), 2, "{replies}");
    assert!(first.is_some() && first < last, "{replies}");
    begun.send("\r\nGET /metrics HTTP/1.1\r\n\r\n");
    let reply = begun.rest();
    assert_eq!(reply.matches("HTTP/1.1 200 OK").count(), 1, "{reply}");
    assert!(reply.contains("Connection: close"), "{reply}");
    nobody_left(&drain.join().unwrap().1);
}

#[test]
fn health_outlasts_drain_and_seal() {
    let (_dir, sockets, mut kv) = patient(HOUR, INSTANT);
    let mut clients: Vec<_> = (0..2).map(|_| Raw::connect(sockets.http())).collect();
    clients.iter_mut().for_each(|client| client.send("GET /healthz HTTP/1.1\r\n"));
    clients.iter().for_each(Raw::wait_until_read);
    until("accepted", || kv.snapshot_state().open_conns == 2);
    assert_eq!(kv.drain(Duration::from_millis(20)).unwrap().open_conns_remaining, 2);
    let mut ask = || {
        let mut client = clients.pop().unwrap();
        client.send("\r\n");
        client.rest()
    };
    let draining = ask();
    assert!(draining.starts_with("HTTP/1.1 200 OK\r\n"), "{draining}");
    kv.seal(&mut |_| {}).unwrap();
    let sealed = ask();
    assert!(sealed.starts_with("HTTP/1.1 200 OK\r\n"), "{sealed}");
}
