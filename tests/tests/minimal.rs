//! The example of the README, as people run it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::{fs, io, thread};

use handoff_tests::{Reference, World, free_address, until};

const MINIMAL: &str = env!("CARGO_BIN_EXE_minimal");

/// A client that sends one line after another, and connects again if its connection was closed between two replies.
#[derive(Default)]
struct LineClient {
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

impl LineClient {
    /// The lines that were acknowledged, each with its number.
    fn run(&self, addr: &str) -> Vec<(u64, String)> {
        let connect = || BufReader::new(TcpStream::connect(addr).expect("no connection is refused"));
        let (mut connection, mut acknowledged) = (connect(), Vec::new());
        while !self.stop.load(SeqCst) {
            let line = format!("line {}", acknowledged.len());
            match ask(&mut connection, &line) {
                Ok(Some(number)) => acknowledged.push((number, line)),
                _ => connection = connect(),
            }
            self.acknowledged.store(acknowledged.len() as u64, SeqCst);
        }
        acknowledged
    }

    fn wait_for(&self, more: u64) {
        let before = self.acknowledged.load(SeqCst);
        until("lines are acknowledged", || self.acknowledged.load(SeqCst) >= before + more);
    }
}

/// The number of `line`; none if the connection was closed before the first byte of a reply.
fn ask(connection: &mut BufReader<TcpStream>, line: &str) -> io::Result<Option<u64>> {
    connection.get_mut().write_all(format!("{line}\n").as_bytes())?;
    let mut reply = String::new();
    connection.read_line(&mut reply)?;
    Ok((!reply.is_empty()).then(|| reply.trim_end().parse().expect("a whole reply")))
}

/// Ends a client, also when the test fails.
struct StopClient<'a>(&'a LineClient);

impl Drop for StopClient<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, SeqCst);
    }
}

/// A build that dies when it writes its first byte, with the lock held: after the incumbent has sealed.
fn dies_with_the_lock(world: &World) -> PathBuf {
    let script = world.layout().dir().join("dies-with-the-lock");
    fs::write(&script, format!("#!/bin/sh\nulimit -f 0\nexec '{MINIMAL}' \"$@\"\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// Checks what is in the log at each number that was acknowledged.
fn assert_nothing_lost(log: &Path, acknowledged: &[(u64, String)]) {
    let log = fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    for (number, line) in acknowledged {
        assert_eq!(lines.get(*number as usize - 1), Some(&line.as_str()), "line {number} of {}", lines.len());
    }
    assert_eq!(lines.len(), acknowledged.len(), "nothing was written twice");
}

#[test]
fn the_example_of_the_readme_is_swapped_under_a_busy_client() {
    let world = World::new();
    let addr = free_address();
    let reference = Reference::new(&world, &[("lines", addr.clone())]);
    let arguments = [world.layout().data(), world.layout().control()].map(|path| path.display().to_string());
    let arguments = arguments.each_ref().map(String::as_str);
    reference.configure(Path::new(MINIMAL), &arguments);
    reference.start();
    let client = LineClient::default();
    let acknowledged = thread::scope(|scope| {
        let runs = scope.spawn(|| client.run(&addr));
        let stop = StopClient(&client);
        client.wait_for(20);
        let (code, swap) = reference.ask_json("swap");
        assert_eq!(code, 0, "{swap}");
        client.wait_for(20);
        reference.configure(&dies_with_the_lock(&world), &arguments);
        let (code, swap) = reference.ask_json("swap");
        assert_eq!((code, &swap["outcome"]), (1, &"rolled_back".into()), "{swap}");
        assert!(swap["phases_ms"]["seal"].as_f64() > Some(0.0), "it was past the seal: {swap}");
        client.wait_for(20);
        drop(stop);
        runs.join().unwrap()
    });
    assert_nothing_lost(&world.layout().data().join("log"), &acknowledged);
}

#[test]
fn a_main_that_returns_the_error_prints_it_for_people() {
    let dir = tempfile::tempdir().unwrap();
    let (data, control) = (dir.path().join("missing"), dir.path().join("control"));
    let output = std::process::Command::new(MINIMAL).args([&data, &control]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = format!("Error: can't open the data directory {}: ", data.display());
    assert!(said.starts_with(&expected) && said.contains("mkdir -m 700"), "{said}");
}
