//! The view of a client of the commands that leave something behind on its connection: transactions and
//! subscriptions.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
mod common;

use common::{GRACE, Raw, TestSockets, start, until};
use handoff::{Drainable, ResumeFrom};
use handoff_kv::Kv;
use tempfile::TempDir;

fn served() -> (TempDir, TestSockets, Kv) {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (kv, _) = start(dir.path(), &sockets, "one");
    (dir, sockets, kv)
}

#[test]
fn a_transaction_is_executed_whole_or_not_at_all() {
    let (_dir, sockets, _kv) = served();
    let mut client = Raw::connect(sockets.resp());
    for (request, reply) in [
        ("EXEC", "-ERR EXEC without MULTI\r\n"),
        ("DISCARD", "-ERR DISCARD without MULTI\r\n"),
        ("WATCH k", "-ERR WATCH is not supported\r\n"),
        ("UNWATCH", "+OK\r\n"),
        ("MULTI", "+OK\r\n"),
        ("MULTI", "-ERR MULTI calls can not be nested\r\n"),
        ("SET k 1", "+QUEUED\r\n"),
        ("INCR k", "+QUEUED\r\n"),
        ("GET k", "+QUEUED\r\n"),
        ("SET s x", "+QUEUED\r\n"),
        ("INCR s", "+QUEUED\r\n"),
        ("DBSIZE", "+QUEUED\r\n"),
        ("PING", "+QUEUED\r\n"),
        ("PUBLISH c m", "+QUEUED\r\n"),
        (
            "EXEC",
            "*8\r\n+OK\r\n:2\r\n$1\r\n2\r\n+OK\r\n-ERR value is not an integer or out of range\r\n:2\r\n+PONG\r\n:0\r\n",
        ),
        ("MULTI", "+OK\r\n"),
        ("EXEC", "*0\r\n"),
        ("MULTI", "+OK\r\n"),
        ("SET k 3", "+QUEUED\r\n"),
        ("DISCARD", "+OK\r\n"),
        ("MULTI", "+OK\r\n"),
        ("SET k 4", "+QUEUED\r\n"),
        ("SET k", "-ERR wrong number of arguments for 'set' command\r\n"),
        ("SUBSCRIBE c", "-ERR Command not allowed inside a transaction\r\n"),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
        ("GET k", "$1\r\n2\r\n"),
    ] {
        client.ask(format!("{request}\r\n"), reply);
    }
}

#[test]
fn a_transaction_has_a_bound() {
    let (_dir, sockets, _kv) = served();
    let mut client = Raw::connect(sockets.resp());
    let large = "x".repeat(1 << 20);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{large}\r\n", large.len());
    client.ask("MULTI\r\n", "+OK\r\n");
    client.ask(&set, "+QUEUED\r\n");
    client.ask(&set, "-ERR the transaction is too long\r\n");
    client.ask("EXEC\r\n", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    client.ask(
        format!("MULTI\r\n{}", "PING\r\n".repeat(1025)),
        &format!("+OK\r\n{}-ERR the transaction is too long\r\n", "+QUEUED\r\n".repeat(1024)),
    );
}

#[test]
fn a_subscriber_gets_messages_in_its_version_of_the_protocol() {
    let (_dir, sockets, _kv) = served();
    let (mut two, mut three, mut publisher) =
        (Raw::connect(sockets.resp()), Raw::connect(sockets.resp()), Raw::connect(sockets.resp()));
    publisher.ask("PUBLISH a m\r\n", ":0\r\n");
    two.ask("UNSUBSCRIBE\r\n", "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n");
    two.ask(
        "SUBSCRIBE a b\r\n",
        "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n",
    );
    three.send("HELLO 3\r\nSUBSCRIBE a\r\n");
    until("it has subscribed", || three.receive(1) == ">");
    three.receive("3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n".len());
    publisher.ask("PUBLISH a m\r\nPUBLISH b n\r\n", ":2\r\n:1\r\n");
    assert_eq!(three.receive(31), ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n");
    assert_eq!(
        two.receive(62),
        "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n*3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$1\r\nn\r\n"
    );
    three.ask("INCR x\r\nGET x\r\nPING\r\n", ":1\r\n$1\r\n1\r\n+PONG\r\n");
    two.ask(
        "GET x\r\nPING\r\n",
        "-ERR Can't execute 'get': only SUBSCRIBE / UNSUBSCRIBE / PING / QUIT are allowed in this context\r\n\
         *2\r\n$4\r\npong\r\n$0\r\n\r\n",
    );
    two.ask(
        "UNSUBSCRIBE\r\nGET x\r\n",
        "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n$1\r\n1\r\n",
    );
    publisher.ask("PUBLISH b n\r\nPUBLISH a m\r\n", ":0\r\n:1\r\n");
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_and_one_that_leaves_is_forgotten() {
    let (_dir, sockets, kv) = served();
    let (mut silent, mut leaves, mut publisher) =
        (Raw::connect(sockets.resp()), Raw::connect(sockets.resp()), Raw::connect(sockets.resp()));
    let confirmation = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
    silent.ask("SUBSCRIBE a\r\n", confirmation);
    leaves.ask("SUBSCRIBE a\r\n", confirmation);
    leaves.send("QUIT\r\n");
    assert_eq!(leaves.rest(), "+OK\r\n");
    until("one is forgotten", || kv.snapshot_state().open_conns == 2);
    let large = "x".repeat(1 << 20);
    let publish = format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n${}\r\n{large}\r\n", large.len());
    let mut ask = || {
        publisher.send(&publish);
        publisher.receive(4)
    };
    assert_eq!(ask(), ":1\r\n");
    until("the other is cut", || ask() == ":0\r\n");
}

#[test]
fn what_is_published_after_a_drain_reaches_no_client_and_its_publisher_no_reply() {
    let (_dir, sockets, mut kv) = served();
    let mut publisher = Raw::connect(sockets.resp());
    publisher.send("*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n");
    publisher.wait_until_read();
    assert_eq!(kv.drain(std::time::Duration::from_millis(1)).unwrap().open_conns_remaining, 1);
    publisher.send("$1\r\nm\r\n");
    assert_eq!(publisher.rest(), "");
    kv.resume_after_abort(ResumeFrom::Memory).unwrap();
    Raw::connect(sockets.resp()).ask("PUBLISH a m\r\n", ":0\r\n");
    assert!(kv.drain(GRACE).unwrap().accept_closed);
}
