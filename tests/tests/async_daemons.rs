//! Async daemons, as people run them: the examples on tokio and on axum, served under clients.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

use handoff::Patience;
use nix::sys::signal::Signal;

use handoff_tests::{CarriedClient, Served, until};

const AXUM: &str = env!("CARGO_BIN_EXE_axum");
const COUNT: &str = env!("CARGO_BIN_EXE_count");

/// Three swaps and one in vain, each after `answered` has grown.
fn swap_under(served: &Served, answered: &AtomicU64) {
    let wait = || {
        let before = answered.load(SeqCst);
        until("clients are answered", || answered.load(SeqCst) > before + 50);
    };
    for round in 0..4 {
        wait();
        if round == 1 { served.swap_in_vain() } else { served.swap() }
    }
    wait();
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
        stream.set_read_timeout(Some(CarriedClient::LOST)).unwrap();
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
        loop {
            let begin = Instant::now();
            let mut connection = self.connect();
            if let Some(reply) = exchange(&mut connection, request).expect("a reply or none of it") {
                return self.keep(connection, reply);
            }
            // A busy machine may keep either process from what it is to do.
            let bound = Patience::default().first_request;
            assert!(begin.elapsed() > bound, "a request on a new connection was not answered");
        }
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
    let served = Served::start(AXUM, "http");
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let processes = thread::scope(|scope| {
        let clients: Vec<_> = [GET, GET_ONCE, GET, GET_ONCE]
            .map(|request| {
                let (mut client, stop, answered) = (HttpClient::new(&served.addr), &stop, &answered);
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
        swap_under(&served, &answered);
        drop(stop);
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let all: BTreeSet<&String> = processes.iter().flatten().collect();
    assert_eq!(all.len(), 4, "four processes have served: {processes:?}");
    for met in processes.iter() {
        assert_eq!(met.iter().collect::<BTreeSet<_>>().len(), met.len(), "one after another: {met:?}");
    }
}

#[test]
fn axum_answers_a_request_that_is_under_way_and_says_that_it_is_the_last() {
    let served = Served::start(AXUM, "http");
    let mut idle = HttpClient::new(&served.addr);
    idle.ask(GET);
    let mut asking = idle.connect();
    let head = "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    asking.get_mut().write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    asking.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    asking.get_mut().write_all(b"first").unwrap();
    thread::scope(|scope| {
        let swap = scope.spawn(|| served.swap());
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

#[test]
fn busy_clients_of_tokio_keep_their_connections_and_their_counts() {
    let served = Served::start(COUNT, "lines");
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for client in 0..8 {
            let (mut connection, stop, answered) = (CarriedClient::connect(&served.addr), &stop, &answered);
            scope.spawn(move || {
                for count in (1..).step_by(2) {
                    // Two at a time: the second may be read with the first, and be answered by another process.
                    connection.send(&format!("{client}\n{client} b\n"));
                    assert_eq!(connection.line(), format!("{count} {client}"));
                    assert_eq!(connection.line(), format!("{} {client} b", count + 1));
                    answered.fetch_add(1, SeqCst);
                    if stop.load(SeqCst) {
                        break;
                    }
                }
            });
        }
        let _stop = StopAsking(&stop);
        swap_under(&served, &answered);
    });
}

#[test]
fn idle_clients_of_tokio_half_requests_and_unread_replies_live_through_swaps_and_a_roll_back() {
    let served = Served::start(COUNT, "lines");
    let connect = |count: usize| (0..count).map(|_| CarriedClient::connect(&served.addr)).collect::<Vec<_>>();
    let (mut idle, mut half, mut fresh, mut deaf) = (connect(20), connect(20), connect(5), connect(3));
    idle.iter_mut().chain(&mut half).for_each(|client| {
        client.send("first\n");
        assert_eq!(client.line(), "1 first");
    });
    half.iter_mut().for_each(|client| client.send("ha"));
    // More than the system takes for a client that does not read.
    let long = "x".repeat(1 << 20);
    thread::scope(|scope| {
        for client in &mut deaf {
            let mut sends = client.0.get_ref().try_clone().unwrap();
            let lines = format!("{long}\n").repeat(8);
            scope.spawn(move || sends.write_all(lines.as_bytes()).expect("the connection is open"));
        }
        served.swap();
        served.swap_in_vain();
        served.swap();
        for client in &mut deaf {
            for count in 1..=8 {
                assert_eq!(client.line(), format!("{count} {long}"));
            }
        }
    });
    half.iter_mut().for_each(|client| client.send("lf\nnext"));
    half.iter_mut().for_each(|client| assert_eq!(client.line(), "2 half"));
    served.swap();
    half.iter_mut().for_each(|client| client.send("\n"));
    half.iter_mut().for_each(|client| assert_eq!(client.line(), "3 next"));
    for (clients, last) in [(&mut idle, "2 last"), (&mut fresh, "1 last")] {
        clients.iter_mut().for_each(|client| client.send("last\n"));
        clients.iter_mut().for_each(|client| assert_eq!(client.line(), last));
    }
}

#[test]
fn a_daemon_on_tokio_that_stops_closes_its_connections() {
    let served = Served::start(COUNT, "lines");
    let (mut idle, mut silent) = (CarriedClient::connect(&served.addr), CarriedClient::connect(&served.addr));
    idle.send("one\n");
    assert_eq!(idle.line(), "1 one");
    served.swap();
    idle.send("two\n");
    assert_eq!(idle.line(), "2 two");
    served.reference.signal(Signal::SIGTERM);
    served.reference.wait();
    for client in [&mut idle, &mut silent] {
        client.assert_ends();
    }
    assert!(!served.world.output().contains("did not stop within"), "the drain has ended them");
}
