//! The server as a process of its own: killed, watched while it writes, out of descriptors.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
mod common;

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{GRACE, Raw, TestSockets, start, until};
use handoff::{Daemon, Drainable, Listeners, ResumeFrom};
use handoff_kv::load::{Load, LoadOptions};
use handoff_kv::{HTTP, Kv, RESP, ServerConfig};

const DIR: &str = "KV_TEST_DIR";
const ADDR: &str = "KV_TEST_ADDR";
const SAYS: &str = "serves at ";

/// Not a test: what [`Process`] runs. It serves until its standard input ends.
#[test]
#[ignore = "run by the other tests as a process of its own"]
fn server_process() {
    let bind = |addr: &str| {
        let listener = TcpListener::bind(addr).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    };
    let mut kv = Kv::new(&ServerConfig::new(env::var_os(DIR).unwrap(), "process")).unwrap();
    kv.warm_up().unwrap();
    kv.open(None).unwrap();
    let resp = bind(&env::var(ADDR).unwrap());
    let addr = resp.local_addr().unwrap();
    let entries = vec![(RESP.into(), resp.into()), (HTTP.into(), bind("127.0.0.1:0").into())];
    kv.serve(Listeners::from_entries(entries).unwrap()).unwrap();
    println!("{SAYS}{addr}");
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// [`server_process`], killed (SIGKILL) at the latest when it is dropped.
struct ServerProcess {
    child: Child,
    addr: SocketAddr,
}

impl ServerProcess {
    fn start(dir: &Path, addr: &str) -> ServerProcess {
        ServerProcess::start_limited(dir, addr, 1024)
    }

    fn start_limited(dir: &Path, addr: &str, descriptors: u32) -> ServerProcess {
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")])
            .arg(env::current_exe().unwrap())
            .args(["--exact", "server_process", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .env(ADDR, addr)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addr =
            lines.find_map(|line| line.unwrap().split_once(SAYS).map(|(_, addr)| addr.parse().unwrap()));
        ServerProcess { child, addr: addr.expect("it serves") }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_server_that_is_killed_again_and_again_has_every_acknowledged_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = ServerProcess::start(dir.path(), "127.0.0.1:0");
    let addr = process.addr;
    let load = Load::start(addr, LoadOptions { connections: 8, ..LoadOptions::default() }).unwrap();
    for _ in 0..5 {
        let before = load.progress().acknowledged_writes;
        until("writes", || load.progress().acknowledged_writes > before + 100);
        drop(process);
        process = ServerProcess::start(dir.path(), &addr.to_string());
    }
    let report = load.stop();
    let c = &report.counters;
    assert_eq!((c.lost, c.reordered, c.duplicated), (0, 0, 0), "{report:#?}");
    assert!(c.failed + c.retried > 0, "it was killed, and nobody noticed: {report:#?}");
}

#[test]
fn a_warm_up_beside_a_process_that_writes_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let process = ServerProcess::start(dir.path(), "127.0.0.1:0");
    let load = Load::start(process.addr, LoadOptions { connections: 8, ..LoadOptions::default() }).unwrap();
    let mut successor = Kv::new(&ServerConfig::new(dir.path(), "successor")).unwrap();
    for _ in 0..20 {
        let before = load.progress().acknowledged_writes;
        until("writes", || load.progress().acknowledged_writes > before + 20);
        successor.warm_up().unwrap();
    }
    let report = load.stop();
    assert!(report.is_clean(), "{report:#?}");
    drop(process);
    // The environment that was open read-only has been closed properly: it opens for writing.
    let ready = successor.open(None).unwrap();
    assert_eq!(ready.advertised_revision_per_shard, [report.counters.acknowledged_writes]);
}

#[test]
fn what_was_written_after_a_drain_without_a_seal_is_seen_when_resuming_from_disk() {
    let (dir, sockets) = (tempfile::tempdir().unwrap(), TestSockets::bind());
    let (mut kv, _) = start(dir.path(), &sockets, "incumbent");
    kv.drain(GRACE).unwrap();
    let other = ServerProcess::start(dir.path(), "127.0.0.1:0");
    Raw::connect(other.addr).ask("INCR n\r\n", ":1\r\n");
    drop(other);
    kv.resume_after_abort(ResumeFrom::Disk).unwrap();
    Raw::connect(sockets.resp()).ask("INCR n\r\n", ":2\r\n");
    assert_eq!(kv.snapshot_state().last_revision_per_shard, [2]);
}

#[test]
fn a_warm_up_without_a_database_creates_none() {
    let dir = tempfile::tempdir().unwrap();
    for data in [dir.path().join("none"), dir.path().to_owned()] {
        Kv::new(&ServerConfig::new(&data, "first")).unwrap().warm_up().unwrap();
    }
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn connections_beyond_the_last_descriptor_wait_until_there_are_more() {
    let dir = tempfile::tempdir().unwrap();
    let process = ServerProcess::start_limited(dir.path(), "127.0.0.1:0", 32);
    let mut clients: Vec<_> = (0..40).map(|_| Raw::connect(process.addr)).collect();
    clients[0].ask("PING\r\n", "+PONG\r\n");
    let mut last = clients.pop().unwrap();
    last.send("PING\r\n");
    last.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(
        io::Read::read(&mut last.0, &mut [0]).is_err(),
        "there were descriptors for all: the test shows nothing"
    );
    last.0.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
    clients.truncate(1);
    assert_eq!(last.receive(7), "+PONG\r\n");
    clients[0].ask("PING\r\n", "+PONG\r\n");
}
