//! The view of a client of a server that is not disturbed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
mod common;

use std::thread;

use common::{Raw, TestSockets, leave, start, start_with};
use handoff::Drainable;
use handoff_kv::ServerConfig;

#[test]
fn the_commands_that_clients_and_benchmarks_need() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (_kv, _) = start(dir.path(), &sockets, "one");
    let mut client = Raw::connect(sockets.resp());
    for (request, reply) in [
        ("PING", "+PONG\r\n"),
        ("PING hello", "$5\r\nhello\r\n"),
        ("ECHO hello", "$5\r\nhello\r\n"),
        ("GET k", "$-1\r\n"),
        ("SET k v", "+OK\r\n"),
        ("GET k", "$1\r\nv\r\n"),
        ("INCR k", "-ERR value is not an integer or out of range\r\n"),
        ("INCR n", ":1\r\n"),
        ("INCR n", ":2\r\n"),
        ("SET n 9223372036854775807", "+OK\r\n"),
        ("INCR n", "-ERR increment or decrement would overflow\r\n"),
        ("DECRBY n 9223372036854775805", ":2\r\n"),
        ("INCRBY n 40", ":42\r\n"),
        ("INCRBY n -3", ":39\r\n"),
        ("DECR n", ":38\r\n"),
        ("INCRBY n 1.5", "-ERR value is not an integer or out of range\r\n"),
        ("DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n"),
        ("EXISTS k n k none", ":3\r\n"),
        ("DBSIZE", ":2\r\n"),
        ("DEL k none", ":1\r\n"),
        ("DEL k none", ":0\r\n"),
        ("DBSIZE", ":1\r\n"),
        ("SELECT 0", "+OK\r\n"),
        ("SELECT 1", "-ERR DB index is out of range\r\n"),
        ("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        ("CONFIG GET appendonly", "*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n"),
        ("CONFIG GET nothing", "*0\r\n"),
        ("COMMAND DOCS", "*0\r\n"),
        ("FLUSHALL", "-ERR unknown command 'flushall'\r\n"),
        ("GET", "-ERR wrong number of arguments for 'get' command\r\n"),
    ] {
        client.ask(format!("{request}\r\n"), reply);
    }
    client.send("QUIT\r\nPING\r\n");
    assert_eq!(client.rest(), "+OK\r\n");
}

#[test]
fn requests_are_answered_in_order_however_their_bytes_arrive() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (_kv, _) = start(dir.path(), &sockets, "one");
    let requests = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n1\r\n2\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n*0\r\nINCR n\r\nSET a 3\r\n\
                    GET a\r\n\r\nINCR n\r\nNONE\r\nDEL a n\r\nDBSIZE\r\n";
    let replies =
        "+OK\r\n$4\r\n1\r\n2\r\n:1\r\n+OK\r\n$1\r\n3\r\n:2\r\n-ERR unknown command 'none'\r\n:2\r\n:0\r\n";
    let mut whole = Raw::connect(sockets.resp());
    whole.ask(requests, replies);
    let mut dripping = Raw::connect(sockets.resp());
    for byte in requests.as_bytes() {
        dripping.send([*byte]);
    }
    assert_eq!(dripping.receive(replies.len()), replies);
}

#[test]
fn a_client_that_does_not_speak_the_protocol_is_told_and_left() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (_kv, _) = start(dir.path(), &sockets, "one");
    let mut client = Raw::connect(sockets.resp());
    client.send("SET k v\r\n*1\r\n$99999999\r\nand so on");
    assert_eq!(client.rest(), "+OK\r\n-ERR Protocol error: invalid bulk length\r\n");
}

#[test]
fn a_pipeline_of_writes_is_one_commit_and_as_many_revisions() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (mut kv, ready) = start(dir.path(), &sockets, "one");
    let mut client = Raw::connect(sockets.resp());
    client.ask(
        "SET k v\r\nINCR n\r\n".repeat(100),
        &(1..=100).map(|n| format!("+OK\r\n:{n}\r\n")).collect::<String>(),
    );
    drop(client);
    let sealed = leave(&mut kv);
    assert_eq!(sealed.last_revision_per_shard, [200]);
    let commits = transactions(&sealed.data_dir_fingerprint) - transactions(&ready.data_dir_fingerprint);
    // The kernel may hand a pipeline over in a few parts.
    assert!((1..=5).contains(&commits), "{commits} commits");
}

/// The third number of the fingerprint is the last transaction.
fn transactions(fingerprint: &handoff::Fingerprint) -> u64 {
    u64::from_be_bytes(fingerprint.digest[16..24].try_into().unwrap())
}

#[test]
fn writes_of_many_connections_share_commits_and_none_is_lost() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (mut kv, _) = start(dir.path(), &sockets, "one");
    thread::scope(|scope| {
        for id in 0..32 {
            let mut client = Raw::connect(sockets.resp());
            scope.spawn(move || (0..20).for_each(|n| client.ask(format!("SET {id}:{n} v\r\n"), "+OK\r\n")));
        }
    });
    Raw::connect(sockets.resp()).ask("DBSIZE\r\n", ":640\r\n");
    assert_eq!(leave(&mut kv).last_revision_per_shard, [640]);
}

#[test]
fn a_full_database_says_so_and_goes_on_reading() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let config = ServerConfig { map_bytes: 1 << 20, ..ServerConfig::new(dir.path(), "one") };
    let (_kv, _) = start_with(&config, &sockets);
    let mut client = Raw::connect(sockets.resp());
    client.ask("SET small v\r\n", "+OK\r\n");
    let large = "x".repeat(900_000);
    client.ask(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$900000\r\n{large}\r\n"), "+OK\r\n");
    let full = "-ERR the database is full\r\n";
    client.ask(format!("*3\r\n$3\r\nSET\r\n$1\r\nl\r\n$900000\r\n{large}\r\n"), full);
    client.ask("GET small\r\n", "$1\r\nv\r\n");
    client.ask("EXISTS l\r\n", ":0\r\n");
    client.ask("SET small w\r\n", "+OK\r\n");
}

#[test]
fn a_write_that_does_not_fit_fails_alone() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let config = ServerConfig { map_bytes: 1 << 20, ..ServerConfig::new(dir.path(), "one") };
    let (_kv, _) = start_with(&config, &sockets);
    let large = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n{}\r\n", "x".repeat(1 << 20));
    thread::scope(|scope| {
        let small: Vec<_> = (0..4)
            .map(|id| {
                let mut client = Raw::connect(sockets.resp());
                scope.spawn(move || (0..100).for_each(|_| client.ask(format!("SET {id} v\r\n"), "+OK\r\n")))
            })
            .collect();
        let mut client = Raw::connect(sockets.resp());
        while !small.iter().all(|thread| thread.is_finished()) {
            client.ask(&large, "-ERR the database is full\r\n");
        }
    });
}

#[test]
fn info_says_who_answers() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (kv, _) = start(dir.path(), &sockets, "the build");
    let mut client = Raw::connect(sockets.resp());
    client.ask("SET k v\r\n", "+OK\r\n");
    client.send("INFO\r\nQUIT\r\n");
    let info = client.rest();
    for line in [
        "build_id:the build",
        &format!("process_id:{}", std::process::id()),
        "standing:serving",
        "connected_clients:1",
        "revision:1",
        "keys:1",
    ] {
        assert!(info.lines().any(|l| l == line), "no {line:?} in {info}");
    }
    let state = kv.snapshot_state();
    assert_eq!((state.shard_count, state.last_revision_per_shard), (1, vec![1]));
}

#[test]
fn health_and_metrics_are_there_for_whoever_watches() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (_kv, _) = start(dir.path(), &sockets, "say \"so\"");
    Raw::connect(sockets.resp()).ask("SET k v\r\n", "+OK\r\n");
    let mut client = Raw::connect(sockets.http());
    client.send(
        "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nHEAD /healthz HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\n",
    );
    client.send("Connection: close\r\n\r\n");
    let text = client.rest();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{text}");
    assert_eq!(text.matches("\r\nok\n").count(), 1, "{text}");
    for line in ["kv_revision 1", "kv_keys 1", "kv_healthy 1", "# TYPE kv_revision counter"] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in {text}");
    }
    assert!(text.contains(r#"kv_build_info{build_id="say \"so\"",pid=""#), "{text}");
    let mut lost = Raw::connect(sockets.http());
    lost.send("POST /elsewhere HTTP/1.0\r\n\r\n");
    assert!(lost.rest().starts_with("HTTP/1.1 405 "));
}
