//! The registry of connections on real sockets. Times that matter to a test are an hour or milliseconds, so that a slow
//! machine changes nothing.
#![cfg(feature = "unix")]
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]

use std::fs;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use handoff::daemon::{
    Acceptor, ConnId, Connection, Connections, Counts, DrainState, Drained, EventLoop, HookResult, Listener,
    Patience, Pusher, Remaining,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A value with other values in these fields: what may grow has no literal outside of its crate.
macro_rules! with {
    ($base:expr, $($field:ident: $value:expr),+) => {{
        let mut changed = $base;
        $( changed.$field = $value; )+
        changed
    }};
}

const HOUR: Duration = Duration::from_secs(3600);
const INSTANT: Duration = Duration::from_millis(1);
const GRACE: Duration = Duration::from_secs(180);
const PATIENT: Patience = Patience::new(HOUR, HOUR);
/// Far more than the system keeps for a client that does not read.
const MUCH: usize = 64 << 20;

/// Answers each line: `much` with [`MUCH`] bytes, `panic` with a panic, any other with itself.
fn answer(client: &mut Connection) -> HookResult<()> {
    while client.next_request()? {
        let mut line = String::new();
        client.read_line(&mut line)?;
        match line.as_str() {
            "much\n" => client.write_all(&vec![b'x'; MUCH])?,
            "panic\n" => panic!("a handler's"),
            whole if whole.ends_with('\n') => client.write_all(whole.as_bytes())?,
            _ => return Err("half a line".into()),
        }
    }
    Ok(())
}

fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn serving(patience: Patience) -> (Connections, SocketAddr) {
    let (listener, address) = bind();
    let connections = Connections::new(patience).unwrap();
    connections.serve(listener, answer).unwrap();
    (connections, address)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !done() {
        assert!(Instant::now() < deadline, "still not: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
    client
}

fn ask(client: &mut (impl Read + Write), line: &str) {
    client.write_all(line.as_bytes()).unwrap();
    let mut reply = vec![0; line.len()];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(reply, line.as_bytes());
}

fn idle(address: SocketAddr) -> TcpStream {
    let mut client = connect(address);
    ask(&mut client, "hello\n");
    client
}

/// Waits until the daemon knows that it has answered: its client knows that first.
fn until_idle(connections: &Connections) {
    until("between two requests", || connections.counts() == with!(Counts::default(), between: 1));
}

/// Returns what comes until the end of the stream; anything but an end, such as a reset, fails.
fn rest(client: &mut impl Read) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}

/// Begins a drain on another thread, and returns when it has begun.
fn begin_drain(connections: &Arc<Connections>) -> thread::JoinHandle<Drained> {
    let drain = thread::spawn({
        let connections = connections.clone();
        move || connections.drain(GRACE)
    });
    until("the drain has begun", || connections.is_draining());
    drain
}

fn drained() -> Drained {
    with!(Drained::default(), accept_closed: true)
}

#[test]
fn a_client_that_never_reads_is_cut_and_holds_no_drain() {
    let stall = Duration::from_millis(50);
    let (connections, address) = serving(Patience::new(stall, HOUR));
    let mut client = connect(address);
    client.write_all(b"much\n").unwrap();
    until("the reply is on its way", || connections.counts().in_request == 1);
    assert_eq!(connections.drain(GRACE), with!(drained(), cut: 1));
    let mut received = Vec::new();
    // What was sent may be followed by an end or by a reset: the reply is lost either way.
    let _ = client.read_to_end(&mut received);
    assert!(received.len() < MUCH);
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_its_reply() {
    let (connections, address) = serving(Patience::new(Duration::from_secs(2), HOUR));
    let connections = Arc::new(connections);
    let mut client = connect(address);
    client.write_all(b"much\n").unwrap();
    until("the reply is on its way", || connections.counts().in_request == 1);
    let drain = begin_drain(&connections);
    let (mut received, mut chunk) = (0, vec![0; 1 << 20]);
    while let count @ 1.. = client.read(&mut chunk).unwrap() {
        received += count;
        thread::sleep(INSTANT);
    }
    assert_eq!((received, drain.join().unwrap()), (MUCH, with!(drained(), served: 1)));
}

#[test]
fn half_a_request_is_cut_unless_it_goes_on() {
    let stall = Duration::from_millis(50);
    let (connections, address) = serving(Patience::new(stall, HOUR));
    let mut client = connect(address);
    client.write_all(b"hel").unwrap();
    until("it has come", || connections.counts().in_request == 1);
    assert_eq!(connections.drain(GRACE), with!(drained(), cut: 1));
    assert_eq!(rest(&mut client), "");

    let (connections, address) = serving(PATIENT);
    let connections = Arc::new(connections);
    let mut client = connect(address);
    client.write_all(b"hel").unwrap();
    until("it has come", || connections.counts().in_request == 1);
    let drain = begin_drain(&connections);
    client.write_all(b"lo\nand\nmore\n").unwrap();
    assert_eq!(rest(&mut client), "hello\n", "none that has come after it");
    assert_eq!(drain.join().unwrap(), with!(drained(), served: 1));
}

#[test]
fn a_new_connection_is_answered_once_or_closed_after_its_bound() {
    let (connections, address) = serving(PATIENT);
    let connections = Arc::new(connections);
    let mut client = connect(address);
    until("accepted", || connections.counts().new == 1);
    let drain = begin_drain(&connections);
    client.write_all(b"hello\nagain\n").unwrap();
    assert_eq!(rest(&mut client), "hello\nagain\n", "what came at once");
    assert_eq!(drain.join().unwrap(), with!(drained(), served: 1));

    let (connections, address) = serving(Patience::new(HOUR, INSTANT));
    let mut client = connect(address);
    until("accepted", || connections.counts().new == 1);
    assert_eq!(connections.drain(GRACE), with!(drained(), idle: 1));
    assert_eq!(rest(&mut client), "");
}

#[test]
fn what_queues_up_in_a_drain_is_served_after_a_resume() {
    let (connections, address) = serving(PATIENT);
    assert_eq!(connections.drain(GRACE), drained());
    let mut client = connect(address);
    client.write_all(b"hello\n").unwrap();
    assert_eq!((connections.counts(), connections.drain(INSTANT)), (Counts::default(), drained()));
    connections.resume();
    let mut reply = [0; 6];
    client.read_exact(&mut reply).unwrap();
    until("it is between two requests", || connections.counts().between == 1);
}

#[test]
fn the_grace_leaves_a_connection_that_ends_after_its_request() {
    let (connections, address) = serving(PATIENT);
    let mut client = connect(address);
    client.write_all(b"hel").unwrap();
    until("it has come", || connections.counts().in_request == 1);
    assert_eq!(connections.drain(INSTANT), with!(drained(), left: 1));
    connections.resume();
    let _idle = idle(address);
    client.write_all(b"lo\n").unwrap();
    assert_eq!(rest(&mut client), "hello\n");
}

#[test]
fn a_connection_that_ends_by_itself_is_counted_as_that() {
    let (connections, address) = serving(PATIENT);
    let connections = Arc::new(connections);
    let mut clients = [connect(address), connect(address)];
    clients.iter_mut().for_each(|client| client.write_all(b"pan").unwrap());
    until("they have come", || connections.counts().in_request == 2);
    let drain = begin_drain(&connections);
    let [gone, mut panics] = clients;
    drop(gone);
    panics.write_all(b"ic\n").unwrap();
    assert_eq!(rest(&mut panics), "");
    assert_eq!(drain.join().unwrap(), with!(drained(), gone: 1, served: 1));
}

#[test]
fn no_more_connections_than_the_limit_are_accepted() {
    let (listener, address) = bind();
    let connections = Connections::new(PATIENT).unwrap().limit(2);
    connections.serve(listener, answer).unwrap();
    let clients = [idle(address), idle(address)];
    let mut third = connect(address);
    third.write_all(b"hello\n").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let waits = third.read(&mut [0]).unwrap_err().kind();
    assert!(matches!(waits, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{waits:?}");
    drop(clients);
    third.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
    third.read_exact(&mut [0; 6]).unwrap();
}

#[test]
fn an_accept_of_the_daemon_s_own_ends_with_a_drain() {
    let (listener, address) = bind();
    let (connections, listener) = (Arc::new(Connections::new(PATIENT).unwrap()), Listener::from(listener));
    let accepting = thread::spawn({
        let connections = connections.clone();
        move || {
            let mut ids: Vec<ConnId> = Vec::new();
            while let Some(mut connection) = connections.accept(&listener) {
                ids.push(connection.id());
                answer(&mut connection).unwrap();
                connection.close();
            }
            ids
        }
    });
    drop(idle(address));
    let mut second = idle(address);
    until_idle(&connections);
    assert_eq!(connections.drain(GRACE), with!(drained(), idle: 1));
    assert_eq!(rest(&mut second), "");
    drop(second);
    let ids = accepting.join().unwrap();
    assert!(ids.len() == 2 && ids[0] < ids[1], "{ids:?}");
}

#[test]
fn a_unix_socket_is_served_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let connections = Connections::new(PATIENT).unwrap();
    connections.serve(listener, answer).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    ask(&mut client, "hello\n");
    until_idle(&connections);
    assert_eq!(connections.drain(GRACE), with!(drained(), idle: 1));
    assert_eq!(rest(&mut client), "");
}

#[test]
fn a_drain_ends_accepting_and_tells_so_until_the_daemon_resumes() {
    let (listener, address) = bind();
    let (connections, listener) = (Connections::new(PATIENT).unwrap(), Listener::from(listener));
    let tells =
        || poll(&mut [PollFd::new(connections.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap();
    assert_eq!(tells(), 0);
    let mut client = connect(address);
    assert_eq!((connections.drain(GRACE), tells(), connections.is_draining()), (drained(), 1, true));
    poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    assert!(connections.try_accept(&listener).unwrap().is_none(), "it stays in the queue");
    connections.resume();
    assert_eq!((tells(), connections.is_draining()), (0, false));
    let served = connections.try_accept(&listener).unwrap().expect("what has queued up");
    assert_eq!(served.remaining(), Remaining::Any);
    client.shutdown(Shutdown::Write).unwrap();
    served.close();
    assert_eq!(rest(&mut client), "");
}

/// One client of the event loop, and what it has been answered that is not sent yet.
struct ServedClient {
    connection: Connection,
    unsent: Vec<u8>,
    closing: bool,
}

impl ServedClient {
    /// Does what can be done without waiting; returns whether that was all.
    fn turn(&mut self) -> bool {
        while !self.closing {
            while !self.unsent.is_empty() {
                match self.connection.try_write(&self.unsent) {
                    Ok(count) => drop(self.unsent.drain(..count)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                    Err(_) => return true,
                }
            }
            match self.request() {
                Some(Poll::Ready(())) => {}
                Some(Poll::Pending) => return false,
                None => self.closing = true,
            }
        }
        self.connection.poll_close().is_ready()
    }

    /// Takes one line; `None` if there won't be another.
    fn request(&mut self) -> Option<Poll<()>> {
        if self.connection.buffered().is_empty() || self.connection.buffered().contains(&b'\n') {
            match self.connection.poll_request() {
                Ok(Poll::Ready(true)) => {}
                Ok(Poll::Pending) => return Some(Poll::Pending),
                Ok(Poll::Ready(false)) | Err(_) => return None,
            }
        }
        let Some(end) = self.connection.buffered().iter().position(|byte| *byte == b'\n') else {
            return match self.connection.try_fill() {
                Ok(1..) => Some(Poll::Ready(())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Some(Poll::Pending),
                Ok(0) | Err(_) => None,
            };
        };
        let line = self.connection.buffered()[..=end].to_vec();
        self.unsent = if line == b"much\n" { vec![b'x'; MUCH] } else { line };
        self.connection.consume(end + 1);
        Some(Poll::Ready(()))
    }
}

fn event_loop(connections: &Connections, listener: &Listener, stop: &AtomicBool) {
    let mut served: Vec<ServedClient> = Vec::new();
    while !stop.load(SeqCst) {
        let draining = connections.is_draining();
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        if !draining {
            fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
            fds.push(PollFd::new(connections.as_fd(), PollFlags::POLLIN));
        }
        for client in &served {
            let flags = if client.unsent.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLOUT };
            fds.push(PollFd::new(client.connection.as_fd(), flags));
        }
        poll(&mut fds, PollTimeout::from(10_u8)).unwrap();
        if let Some(connection) = connections.try_accept(listener).unwrap() {
            served.push(ServedClient { connection, unsent: Vec::new(), closing: false });
        }
        served.retain_mut(|client| !client.turn());
    }
}

/// The states that an event loop has heard.
#[derive(Default)]
struct HeardByLoop(Mutex<Vec<DrainState>>);

impl EventLoop for HeardByLoop {
    fn take(&self, _: Connection) {
        panic!("no drain has kept a connection");
    }

    fn turn(&self, drain_state: DrainState) {
        self.0.lock().unwrap().push(drain_state);
    }
}

#[test]
fn an_event_loop_hears_of_drains_and_accepts_in_none() {
    let ((listener, address), heard) = (bind(), Arc::new(HeardByLoop::default()));
    let connections = Connections::new(PATIENT).unwrap().limit(1);
    let acceptor = connections.serve_on(listener, heard.clone());
    let no_client = |acceptor: &Acceptor| acceptor.try_accept().unwrap_err().kind();
    assert_eq!(no_client(&acceptor), ErrorKind::WouldBlock);
    let [_first, _second] = [connect(address), connect(address)];
    let accepted = acceptor.try_accept().unwrap().expect("a connection");
    assert!(acceptor.try_accept().unwrap().is_none(), "there is room for one");
    drop(accepted);
    connections.drain(GRACE);
    assert!(acceptor.try_accept().unwrap().is_none(), "there is a drain");
    connections.resume();
    assert!(acceptor.try_accept().unwrap().is_some());
    assert_eq!(no_client(&acceptor), ErrorKind::WouldBlock);
    drop(connections);
    assert!(acceptor.try_accept().unwrap().is_none(), "the registry is gone");
    let heard = heard.0.lock().unwrap();
    assert_eq!(*heard, [DrainState::NoDrain, DrainState::Ends, DrainState::NoDrain, DrainState::Closed]);
}

#[test]
fn an_event_loop_is_drained_as_threads_are() {
    let (listener, address) = bind();
    let patience = Patience::new(Duration::from_millis(200), INSTANT);
    let (connections, listener) = (Connections::new(patience).unwrap(), Listener::from(listener));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| event_loop(&connections, &listener, &stop));
        let mut clients: Vec<TcpStream> = (0..20).map(|_| idle(address)).collect();
        let (new, mut half, mut deaf) = (connect(address), connect(address), connect(address));
        half.write_all(b"hel").unwrap();
        deaf.write_all(b"much\n").unwrap();
        let want = with!(Counts::default(), new: 1, between: 20, in_request: 2, lingering: 0);
        until("all have been accepted", || connections.counts() == want);
        assert_eq!(connections.drain(GRACE), with!(drained(), idle: 21, cut: 2));
        clients.extend([new, half]);
        clients.iter_mut().for_each(|client| assert_eq!(rest(client), ""));
        connections.resume();
        idle(address);
        stop.store(true, SeqCst);
    });
}

const WORN: &str = "CONNECTIONS_TEST_WORN";

/// Returns how many descriptors and threads this process has.
fn held() -> (usize, usize) {
    let count = |dir: &str| fs::read_dir(dir).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// Not a test by itself: the next one runs it in a process of its own, where nothing else opens or starts anything.
#[test]
#[ignore = "run by another test as a process of its own"]
fn worn_process() {
    assert!(std::env::var_os(WORN).is_some(), "not by hand");
    let before = held();
    let (connections, address) = serving(Patience::new(INSTANT, INSTANT));
    for _ in 0..2 {
        let mut clients: Vec<TcpStream> = (0..150).map(|_| idle(address)).collect();
        clients.extend((0..50).map(|_| connect(address)));
        clients[..20].iter_mut().for_each(|client| client.write_all(b"hel").unwrap());
        let want = with!(Counts::default(), new: 50, between: 130, in_request: 20, lingering: 0);
        until("all have been accepted", || connections.counts() == want);
        assert_eq!(connections.drain(GRACE), with!(drained(), idle: 180, cut: 20));
        assert_eq!(connections.counts().open(), 0);
        clients.iter_mut().for_each(|client| assert_eq!(rest(client), ""));
        drop(clients);
        until("nobody lingers", || connections.counts().lingering == 0);
        connections.resume();
    }
    drop(connections);
    until("nothing is held any more", || held() == before);
}

#[test]
#[cfg(target_os = "linux")]
fn two_hundred_connections_leave_no_descriptor_and_no_thread() {
    let mut process = Command::new(std::env::current_exe().unwrap());
    let output =
        process.args(["--exact", "worn_process", "--ignored", "--test-threads=1"]).env(WORN, "1").output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
fn a_registry_that_is_dropped_waits_for_clients_that_linger() {
    let (connections, address) = serving(PATIENT);
    let mut client = idle(address);
    until_idle(&connections);
    assert_eq!(connections.drain(GRACE), with!(drained(), idle: 1));
    assert_eq!(connections.counts(), with!(Counts::default(), lingering: 1));
    let (began, closed) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let closes = thread::spawn({
        let closed = closed.clone();
        move || {
            thread::sleep(Duration::from_millis(50));
            // A reset would be an error here.
            client.write_all(b"too late\n").unwrap();
            assert_eq!(rest(&mut client), "");
            closed.store(true, SeqCst);
        }
    });
    drop(connections);
    assert!(closed.load(SeqCst) || began.elapsed() > Duration::from_millis(400));
    closes.join().unwrap();
}

/// A client, and what pushes to it.
fn pushed_to() -> (Connections, TcpStream, Pusher) {
    let (listener, address) = bind();
    let connections = Connections::new(PATIENT).unwrap();
    let (told, pusher) = std::sync::mpsc::channel();
    let serve = move |client: &mut Connection| {
        told.send(client.pusher())?;
        answer(client)
    };
    connections.serve(listener, serve).unwrap();
    let client = idle(address);
    (connections, client, pusher.recv().unwrap())
}

#[test]
fn what_is_pushed_waits_for_a_client_that_does_not_read_and_comes_whole_and_in_order() {
    let (_connections, mut client, pusher) = pushed_to();
    let message = |number: u32| format!("{}\n", number.to_string().repeat(1 << 20));
    // More than the system takes at once, and less than may wait.
    let count = 3;
    (0..count).for_each(|number| pusher.push(message(number).as_bytes()).unwrap());
    pusher.push(b"last\n").unwrap();
    let mut received = vec![0; count as usize * message(0).len() + 5];
    client.read_exact(&mut received).unwrap();
    let all: String = (0..count).map(message).chain(["last\n".to_string()]).collect();
    assert!(received == all.as_bytes(), "what came is not what was pushed");
    ask(&mut client, "a request\n");
    assert_eq!(pusher.id().to_string(), "1");
}

#[test]
fn a_client_that_does_not_read_what_is_pushed_is_cut_at_a_bound() {
    let (connections, _client, pusher) = pushed_to();
    let message = vec![b'x'; 1 << 20];
    let pushed = (0..).find_map(|count| pusher.push(&message).err().map(|_| count)).unwrap();
    assert!(pushed >= 3, "{pushed} MiB");
    until("it is gone", || connections.counts().open() == 0);
    until("all have let go of it", || {
        pusher.push(b"x").is_err_and(|error| error.to_string().contains("has ended"))
    });
}
