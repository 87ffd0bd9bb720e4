//! Async daemons, as people run them: the examples on tokio and on axum, swapped under clients.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use handoff_tests::{Reference, World, free_address, until};

const AXUM: &str = env!("CARGO_BIN_EXE_axum");

/// Far longer than anything takes: a client that waits so long has lost its reply.
const LOST: Duration = Duration::from_secs(120);

/// A daemon under the reference supervisor.
struct Swapped {
    world: World,
    addr: String,
    reference: Reference,
    binary: &'static str,
}

impl Swapped {
    fn start(binary: &'static str, listener: &str) -> Swapped {
        let world = World::new();
        let addr = free_address();
        let reference = Reference::new(&world, &[(listener, addr.clone())]);
        let swapped = Swapped { world, addr, reference, binary };
        swapped.configure(Path::new(binary));
        swapped.reference.start();
        swapped
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

    /// A swap to a build that dies when it writes its first byte: it has the lock then, and the incumbent has sealed.
    fn swap_in_vain(&self) {
        let script = self.world.layout().dir().join("dies-with-the-lock");
        fs::write(&script, format!("#!/bin/sh\nulimit -f 0\nexec '{}' \"$@\"\n", self.binary)).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        self.configure(&script);
        let (code, swap) = self.reference.ask_json("swap");
        assert_eq!((code, &swap["outcome"]), (1, &"rolled_back".into()), "{swap}");
        assert!(swap["phases_ms"]["seal"].as_f64() > Some(0.0), "it was past the seal: {swap}");
        self.configure(Path::new(self.binary));
    }

    /// Three swaps and one in vain, each after `answered` has grown.
    fn swap_under(&self, answered: &AtomicU64) {
        for round in 0..4 {
            let before = answered.load(SeqCst);
            until("clients are answered", || answered.load(SeqCst) > before + 50);
            if round == 1 { self.swap_in_vain() } else { self.swap() }
        }
    }
}

/// Lets clients end, also when the test fails.
struct StopAsking<'a>(&'a AtomicBool);

impl Drop for StopAsking<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// A client of HTTP that sends a request again only if a connection that has worked before ends before a byte of the reply.
struct HttpClient {
    addr: String,
    connection: Option<BufReader<TcpStream>>,
}

impl HttpClient {
    fn new(addr: &str) -> HttpClient {
        HttpClient { addr: addr.into(), connection: None }
    }

    fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(&self.addr).expect("no connection is refused");
        stream.set_read_timeout(Some(LOST)).unwrap();
        BufReader::new(stream)
    }

    /// The body of the reply to `request`.
    fn ask(&mut self, request: &str) -> String {
        let reused = self.connection.take();
        if let Some(mut connection) = reused
            && let Some(reply) = exchange(&mut connection, request).expect("a reply or none of it")
        {
            return self.keep(connection, reply);
        }
        let mut connection = self.connect();
        let reply = exchange(&mut connection, request);
        let reply = reply.expect("a reply").expect("a new connection is served");
        self.keep(connection, reply)
    }

    fn keep(&mut self, connection: BufReader<TcpStream>, reply: HttpReply) -> String {
        self.connection = (!reply.closes).then_some(connection);
        reply.body
    }
}

struct HttpReply {
    body: String,
    closes: bool,
}

/// The whole reply to `request`; none if the connection ends before its first byte.
fn exchange(connection: &mut BufReader<TcpStream>, request: &str) -> io::Result<Option<HttpReply>> {
    let begun = connection.get_mut().write_all(request.as_bytes());
    match begun.and_then(|()| connection.fill_buf().map(<[u8]>::is_empty)) {
        Ok(false) => reply(connection).map(Some),
        Ok(true) => Ok(None),
        Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ok(None),
        Err(e) => Err(e),
    }
}

fn reply(connection: &mut BufReader<TcpStream>) -> io::Result<HttpReply> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if connection.read_line(&mut head)? == 0 {
            return Err(io::Error::other(format!("half a reply: {head:?}")));
        }
    }
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.expect("a length").parse().unwrap()];
    connection.read_exact(&mut body)?;
    Ok(HttpReply { body: String::from_utf8(body).unwrap(), closes: head.contains("connection: close") })
}

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const GET_ONCE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

#[test]
fn no_request_to_axum_fails_in_swaps_and_a_roll_back() {
    let swapped = Swapped::start(AXUM, "http");
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let processes = thread::scope(|scope| {
        let clients: Vec<_> = [GET, GET_ONCE, GET, GET_ONCE]
            .map(|request| {
                let (mut client, stop, answered) = (HttpClient::new(&swapped.addr), &stop, &answered);
                scope.spawn(move || {
                    let mut processes = vec![client.ask(request)];
                    while !stop.load(SeqCst) {
                        let process = client.ask(request);
                        if processes.last() != Some(&process) {
                            processes.push(process);
                        }
                        answered.fetch_add(1, SeqCst);
                    }
                    processes
                })
            })
            .into();
        let stop = StopAsking(&stop);
        swapped.swap_under(&answered);
        let before = answered.load(SeqCst);
        until("clients are answered", || answered.load(SeqCst) > before + 50);
        drop(stop);
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    for processes in processes {
        assert_eq!(processes.len(), 4, "each client met each process once: {processes:?}");
    }
}

#[test]
fn axum_answers_a_request_that_is_under_way_and_says_that_it_is_the_last() {
    let swapped = Swapped::start(AXUM, "http");
    let (mut idle, mut half) = (HttpClient::new(&swapped.addr), HttpClient::new(&swapped.addr));
    idle.ask(GET);
    let mut asking = half.connect();
    let head = "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nfirst";
    asking.get_mut().write_all(head.as_bytes()).unwrap();
    half.ask(GET);
    thread::scope(|scope| {
        let swap = scope.spawn(|| swapped.swap());
        // So the drain has begun.
        let mut rest = Vec::new();
        idle.connection.take().unwrap().read_to_end(&mut rest).expect("the end of the stream, and no reset");
        assert_eq!(rest, b"");
        asking.get_mut().write_all(b"last").unwrap();
        let reply = reply(&mut asking).unwrap();
        assert_eq!((reply.body.as_str(), reply.closes), ("firstlast", true));
        swap.join().unwrap();
    });
    idle.ask(GET);
}
