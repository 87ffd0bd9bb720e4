//! Connections that outlive the process that accepted them: no client notices a swap, or a swap that is rolled back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use handoff_tests::{Reference, World, free_address, until};

const MINIMAL: &str = env!("CARGO_BIN_EXE_minimal");

/// Far longer than anything takes: a client that waits so long has lost its reply.
const LOST: Duration = Duration::from_secs(120);

/// A client that keeps its one connection.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(addr: &str) -> Client {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(LOST)).unwrap();
        Client(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).expect("the connection is open");
    }

    fn number(&mut self) -> u64 {
        let mut reply = String::new();
        self.0.read_line(&mut reply).expect("a reply comes over the same connection");
        reply.trim_end().parse().unwrap_or_else(|_| panic!("a whole reply, not {reply:?}"))
    }

    fn ask(&mut self, line: &str) -> u64 {
        self.send(&format!("{line}\n"));
        self.number()
    }
}

/// The minimal daemon under the reference supervisor.
struct Served {
    world: World,
    addr: String,
    reference: Reference,
}

impl Served {
    fn start() -> Served {
        let world = World::new();
        let addr = free_address();
        let reference = Reference::new(&world, &[("lines", addr.clone())]);
        let served = Served { world, addr, reference };
        served.configure(Path::new(MINIMAL));
        served.reference.start();
        served
    }

    fn configure(&self, binary: &Path) {
        let arguments = [self.world.layout().data(), self.world.layout().control()]
            .map(|path| path.display().to_string());
        self.reference.configure(binary, &arguments.each_ref().map(String::as_str));
    }

    fn swap(&self) {
        let (code, swap) = self.reference.ask_json("swap");
        assert_eq!(code, 0, "{swap}");
    }

    /// A swap to a build that dies when it has the lock.
    fn swap_in_vain(&self) {
        let script = self.world.layout().dir().join("dies-with-the-lock");
        fs::write(&script, format!("#!/bin/sh\nulimit -f 0\nexec '{MINIMAL}' \"$@\"\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        self.configure(&script);
        let (code, swap) = self.reference.ask_json("swap");
        assert_eq!((code, &swap["outcome"]), (1, &"rolled_back".into()), "{swap}");
        self.configure(Path::new(MINIMAL));
    }

    fn log(&self) -> Vec<String> {
        let log: PathBuf = self.world.layout().data().join("log");
        fs::read_to_string(log).unwrap().lines().map(String::from).collect()
    }
}

#[test]
fn idle_connections_and_half_requests_live_through_swaps_and_a_roll_back() {
    let served = Served::start();
    let mut idle: Vec<Client> = (0..20).map(|_| Client::connect(&served.addr)).collect();
    let mut fresh: Vec<Client> = (0..5).map(|_| Client::connect(&served.addr)).collect();
    let mut half: Vec<Client> = (0..20).map(|_| Client::connect(&served.addr)).collect();
    idle.iter_mut()
        .chain(&mut half)
        .enumerate()
        .for_each(|(n, client)| _ = client.ask(&format!("first {n}")));
    half.iter_mut().enumerate().for_each(|(n, client)| client.send(&format!("ha{n}")));
    served.swap();
    served.swap_in_vain();
    served.swap();
    half.iter_mut().for_each(|client| client.send("lf\nnext"));
    let numbers: Vec<u64> = half.iter_mut().map(Client::number).collect();
    served.swap();
    half.iter_mut().for_each(|client| client.send("\n"));
    half.iter_mut().for_each(|client| _ = client.number());
    idle.iter_mut().chain(&mut fresh).for_each(|client| _ = client.ask("last"));
    let log = served.log();
    for (n, number) in numbers.into_iter().enumerate() {
        assert_eq!(log[number as usize - 1], format!("ha{n}lf"));
    }
    assert_eq!(log.len(), 40 + 20 + 20 + 25, "each line once");
}

#[test]
fn busy_clients_keep_their_connections_through_swaps_and_roll_backs() {
    let served = Served::start();
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let asked = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let mut connection = Client::connect(&served.addr);
                let (stop, answered) = (&stop, &answered);
                scope.spawn(move || {
                    let mut lines = Vec::new();
                    while !stop.load(SeqCst) {
                        // Two at a time: the second may be read with the first, and be answered by another process.
                        let (one, two) =
                            (format!("{client} {}", lines.len()), format!("{client} {} b", lines.len()));
                        connection.send(&format!("{one}\n{two}\n"));
                        let numbers = (connection.number(), connection.number());
                        lines.extend([(numbers.0, one), (numbers.1, two)]);
                        answered.fetch_add(1, SeqCst);
                    }
                    lines
                })
            })
            .collect();
        let stop = Stop(&stop);
        for round in 0..6 {
            let before = answered.load(SeqCst);
            until("lines are answered", || answered.load(SeqCst) > before + 20);
            if round % 3 == 1 { served.swap_in_vain() } else { served.swap() }
        }
        drop(stop);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let log = served.log();
    for (number, line) in &asked {
        assert_eq!(log.get(*number as usize - 1), Some(line));
    }
    assert_eq!(log.len(), asked.len(), "each line once");
}

#[test]
fn a_daemon_that_stops_closes_its_connections() {
    let served = Served::start();
    let mut idle = Client::connect(&served.addr);
    idle.ask("one");
    let mut silent = Client::connect(&served.addr);
    served.swap();
    idle.ask("two");
    served.reference.signal(Signal::SIGTERM);
    served.reference.wait();
    for client in [&mut idle, &mut silent] {
        let mut rest = Vec::new();
        client.0.read_to_end(&mut rest).expect("the end of the stream, and no reset");
        assert_eq!(rest, b"");
    }
    assert!(!served.world.output().contains("did not stop within"), "the drain has ended them");
}

/// Lets clients end, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
