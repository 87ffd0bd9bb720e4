//! Connections that outlive the process that accepted them: no client notices a swap, or a swap that is rolled back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use handoff::{Child, SpawnSpec, Supervisor, Verdict};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use handoff_tests::{CarriedClient, Served, until};

const MINIMAL: &str = env!("CARGO_BIN_EXE_minimal");
const ECHO: &str = env!("CARGO_BIN_EXE_echo");

/// The minimal daemon's log.
fn log(served: &Served) -> Vec<String> {
    let log = served.world.layout().data().join("log");
    fs::read_to_string(log).unwrap().lines().map(String::from).collect()
}

#[test]
fn idle_connections_and_half_requests_live_through_swaps_and_a_roll_back() {
    let served = Served::start(MINIMAL, "lines");
    let mut idle: Vec<CarriedClient> = (0..20).map(|_| CarriedClient::connect(&served.addr)).collect();
    let mut fresh: Vec<CarriedClient> = (0..5).map(|_| CarriedClient::connect(&served.addr)).collect();
    let mut half: Vec<CarriedClient> = (0..20).map(|_| CarriedClient::connect(&served.addr)).collect();
    idle.iter_mut()
        .chain(&mut half)
        .enumerate()
        .for_each(|(n, client)| _ = client.ask(&format!("first {n}")));
    half.iter_mut().enumerate().for_each(|(n, client)| client.send(&format!("ha{n}")));
    served.swap();
    served.swap_in_vain();
    served.swap();
    half.iter_mut().for_each(|client| client.send("lf\nnext"));
    let numbers: Vec<u64> = half.iter_mut().map(CarriedClient::number).collect();
    served.swap();
    half.iter_mut().for_each(|client| client.send("\n"));
    half.iter_mut().for_each(|client| _ = client.number());
    idle.iter_mut().chain(&mut fresh).for_each(|client| _ = client.ask("last"));
    let log = log(&served);
    for (n, number) in numbers.into_iter().enumerate() {
        assert_eq!(log[number as usize - 1], format!("ha{n}lf"));
    }
    assert_eq!(log.len(), 40 + 20 + 20 + 25, "each line once");
}

#[test]
fn busy_clients_keep_their_connections_through_swaps_and_roll_backs() {
    let served = Served::start(MINIMAL, "lines");
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let asked = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let mut connection = CarriedClient::connect(&served.addr);
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
        let stop = StopCarried(&stop);
        for round in 0..6 {
            let before = answered.load(SeqCst);
            until("lines are answered", || answered.load(SeqCst) > before + 20);
            if round % 3 == 1 { served.swap_in_vain() } else { served.swap() }
        }
        drop(stop);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let log = log(&served);
    for (number, line) in &asked {
        assert_eq!(log.get(*number as usize - 1), Some(line));
    }
    assert_eq!(log.len(), asked.len(), "each line once");
}

#[test]
fn a_daemon_that_stops_closes_its_connections() {
    let served = Served::start(MINIMAL, "lines");
    let mut idle = CarriedClient::connect(&served.addr);
    idle.ask("one");
    let mut silent = CarriedClient::connect(&served.addr);
    served.swap();
    idle.ask("two");
    served.reference.signal(Signal::SIGTERM);
    served.reference.wait();
    for client in [&mut idle, &mut silent] {
        client.assert_ends();
    }
    assert!(!served.world.output().contains("did not stop within"), "the drain has ended them");
}

/// Lets clients end, also when the test fails.
struct StopCarried<'a>(&'a AtomicBool);

impl Drop for StopCarried<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// The successor has all, and dies before it is told to serve.
const SUCCESSOR_DIES: &str = "successor.opening.before-Ready";
/// The incumbent has sent all, and said so in the record.
const INCUMBENT_DIES: [&str; 3] = [
    "incumbent.noting-seal.before-Unlock",
    "incumbent.noting-seal.before-SealComplete",
    "incumbent.noting-seal.after",
];

/// A daemon and its supervisor, which is this process.
struct Chain {
    dir: TempDir,
    supervisor: Supervisor,
    spec: SpawnSpec,
    child: Child,
    addr: String,
}

impl Chain {
    /// Starts the first daemon, of the kind `threads` or `tokio`.
    fn start(kind: &str) -> Chain {
        let dir = tempfile::tempdir().unwrap();
        let (data, control) = (dir.path().join("data"), dir.path().join("sock"));
        fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let supervisor = Supervisor::new(&control).unwrap().with_listener("echo", listener).unwrap();
        let mut spec = SpawnSpec::new(ECHO);
        spec.args = [data.into(), control.into(), kind.into()].to_vec();
        (spec.liveness, spec.deadline) = (Duration::from_secs(20), CarriedClient::LOST);
        let child = supervisor.cold_start(spec.clone()).unwrap().child.unwrap();
        Chain { dir, supervisor, spec, child, addr }
    }

    /// A swap to a build that dies in `dies`; `ends` is how it is to end.
    fn swap(&mut self, dies: &[&str], ends: Verdict) -> Option<String> {
        let outcome = self.supervisor.perform_handoff(with(&self.spec, dies)).unwrap();
        assert_eq!(outcome.verdict, ends, "{:?}", outcome.abort_reason);
        if let Some(child) = outcome.child {
            self.child = child;
        }
        outcome.abort_reason.map(|reason| reason.to_string())
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait_timeout(CarriedClient::LOST);
    }
}

fn with(spec: &SpawnSpec, dies: &[&str]) -> SpawnSpec {
    let mut spec = spec.clone();
    spec.args.extend(dies.iter().map(Into::into));
    spec
}

/// The number of each kind of client that a proof has.
struct Crowd {
    idle: usize,
    half: usize,
    deaf: usize,
    swaps: usize,
    roll_backs: usize,
    incumbents: usize,
}

/// More than the kernel keeps for a client that does not read.
const REPLY: usize = 256 * 1024;

/// Clients that count their requests; each kind is in another state while the daemons come and go.
fn prove(kind: &str, crowd: &Crowd) {
    let mut chain = Chain::start(kind);
    let connect = |count: usize| (0..count).map(|_| CarriedClient::connect(&chain.addr)).collect::<Vec<_>>();
    let (mut idle, mut half, mut deaf) = (connect(crowd.idle), connect(crowd.half), connect(crowd.deaf));
    half.iter_mut().for_each(|client| client.send("ha"));
    deaf.iter_mut().for_each(|client| client.send(&format!("deaf {REPLY}\nafter\nun")));
    let ways = std::iter::repeat_n(0, crowd.swaps)
        .chain(std::iter::repeat_n(1, crowd.roll_backs))
        .chain(std::iter::repeat_n(2, crowd.incumbents))
        .enumerate();
    let mut ways: Vec<_> = ways.map(|(nth, way)| (nth * 7919 % 1009, way)).collect();
    ways.sort_unstable();
    for (round, (_, way)) in ways.into_iter().enumerate() {
        match way {
            0 => _ = chain.swap(&[], Verdict::Committed),
            1 => _ = chain.swap(&[SUCCESSOR_DIES], Verdict::RolledBack),
            _ => {
                chain.swap(&[INCUMBENT_DIES[round % INCUMBENT_DIES.len()]], Verdict::Committed);
                chain.swap(&[], Verdict::Committed);
            }
        }
        // A part of each kind goes on with what it does.
        let chosen = |nth: &usize| nth % 10 == round % 10;
        let (word, ask) = (format!("{round}"), format!("{round}\n"));
        idle.iter_mut().enumerate().filter(|(nth, _)| chosen(nth)).for_each(|(_, client)| {
            client.send(&ask);
            assert_eq!(client.line(), word);
        });
        half.iter_mut().enumerate().filter(|(nth, _)| chosen(nth)).for_each(|(_, client)| {
            client.send(&format!("lf{ask}ha"));
            assert_eq!(client.line(), format!("half{word}"));
        });
    }
    deaf.iter_mut().for_each(|client| {
        client.send("heard\n");
        assert_eq!(client.line(), format!("deaf{}", "x".repeat(REPLY)));
        assert_eq!([client.line(), client.line()], ["after", "unheard"]);
    });
    half.iter_mut().for_each(|client| client.send("lf\n"));
    half.iter_mut().for_each(|client| assert_eq!(client.line(), "half"));
    idle.iter_mut().for_each(|client| client.send("last\n"));
    idle.iter_mut().for_each(|client| assert_eq!(client.line(), "last"));
}

#[test]
fn a_crowd_in_every_state_lives_through_commits_roll_backs_and_dead_incumbents() {
    for kind in ["threads", "tokio"] {
        prove(kind, &Crowd { idle: 70, half: 20, deaf: 9, swaps: 8, roll_backs: 5, incumbents: 3 });
    }
}

#[test]
fn a_successor_that_can_not_have_all_connections_is_rolled_back() {
    let mut chain = Chain::start("threads");
    let mut clients: Vec<_> = (0..100).map(|_| CarriedClient::connect(&chain.addr)).collect();
    // What waits in the queue is not the daemon's yet.
    clients.iter_mut().for_each(|client| client.send("accepted 0\n"));
    clients.iter_mut().for_each(|client| assert_eq!(client.line(), "accepted"));
    let poor = chain.dir.path().join("poor");
    fs::write(&poor, format!("#!/bin/sh\nulimit -n 80\nexec '{ECHO}' \"$@\"\n")).unwrap();
    fs::set_permissions(&poor, fs::Permissions::from_mode(0o755)).unwrap();
    let binary = std::mem::replace(&mut chain.spec.binary, poor);
    let reason = chain.swap(&[], Verdict::RolledBack).unwrap();
    assert!(reason.contains("RLIMIT_NOFILE"), "{reason}");
    for client in &mut clients {
        client.send("still 0\n");
        assert_eq!(client.line(), "still");
    }
    chain.spec.binary = binary;
    chain.swap(&[], Verdict::Committed);
    clients.iter_mut().for_each(|client| client.send("and 0\n"));
    clients.iter_mut().for_each(|client| assert_eq!(client.line(), "and"));
}

/// `cargo test --release -p handoff-tests --test carried -- --ignored`
#[test]
#[ignore = "takes minutes, and 20,000 descriptors"]
fn ten_thousand_connections_live_through_fifty_swaps_fifty_roll_backs_and_twenty_dead_incumbents() {
    prove("threads", &Crowd { idle: 7100, half: 2000, deaf: 900, swaps: 50, roll_backs: 50, incumbents: 20 });
}
