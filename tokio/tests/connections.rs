//! The registry with tasks, on real sockets: what a drain makes of each client. Times that matter to a test are an hour or milliseconds,
//! so that a slow machine changes nothing.
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use handoff::daemon::{Counts, Listeners, bind};
use handoff_tokio::{
    AsyncConnection, AsyncConnections, AsyncListeners, Connections, Drained, HookResult, Patience,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

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

/// Answers each line: `much` with [`MUCH`] bytes, `panic` with a panic, `bye` with itself and the end, any other with itself.
async fn answer(mut client: AsyncConnection) -> HookResult<()> {
    while client.next_request().await? {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        match line.as_str() {
            "much\n" => client.write_all(&vec![b'x'; MUCH]).await?,
            "panic\n" => panic!("a handler's"),
            "bye\n" => return Ok(client.write_all(b"bye\n").await?),
            whole if whole.ends_with('\n') => client.write_all(whole.as_bytes()).await?,
            _ => return Err("half a line".into()),
        }
    }
    Ok(())
}

fn listeners(addr: &str) -> Listeners {
    Listeners::from_entries(vec![("lines".into(), bind(addr).unwrap())]).unwrap()
}

/// A registry that serves, on a runtime of its own.
struct Site {
    runtime: Runtime,
    connections: Option<AsyncConnections>,
    address: SocketAddr,
}

impl Site {
    fn new(patience: Patience) -> Site {
        Site::with(Connections::new(patience).unwrap())
    }

    fn with(connections: Connections) -> Site {
        let (runtime, connections) = (Runtime::new().unwrap(), AsyncConnections::from(connections));
        let listeners = listeners("127.0.0.1:0");
        let address = listeners.address("lines").unwrap().parse().unwrap();
        let _entered = runtime.enter();
        connections.serve(&mut AsyncListeners::from(listeners), "lines", answer).unwrap();
        drop(_entered);
        Site { runtime, connections: Some(connections), address }
    }

    fn connections(&self) -> &AsyncConnections {
        self.connections.as_ref().unwrap()
    }

    fn drain(&self, grace: Duration) -> Drained {
        self.runtime.block_on(self.connections().drain(grace))
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(GRACE)).unwrap();
        client
    }

    /// A client that has been served, and is idle.
    fn idle(&self) -> TcpStream {
        let mut client = self.connect();
        ask(&mut client, "hello\n");
        client
    }

    fn until_counts(&self, expected: Counts) {
        until("as many as expected", || self.connections().counts() == expected);
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + GRACE;
    while !done() {
        assert!(Instant::now() < deadline, "still not: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn ask(client: &mut (impl Read + Write), line: &str) {
    client.write_all(line.as_bytes()).unwrap();
    let mut reply = vec![0; line.len()];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(reply, line.as_bytes());
}

/// Returns what comes until the end of the stream; anything but an end, such as a reset, fails.
fn rest(client: &mut impl Read) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}

fn drained() -> Drained {
    with!(Drained::default(), accept_closed: true)
}

#[test]
fn a_client_that_never_reads_is_cut_and_holds_no_drain() {
    let site = Site::new(Patience::new(Duration::from_millis(50), HOUR));
    let mut client = site.connect();
    client.write_all(b"much\n").unwrap();
    site.until_counts(with!(Counts::default(), in_request: 1));
    assert_eq!(site.drain(GRACE), with!(drained(), cut: 1));
    let mut received = Vec::new();
    assert!(client.read_to_end(&mut received).is_err() || received.len() < MUCH);
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_its_reply() {
    let site = Site::new(PATIENT);
    let mut client = site.connect();
    client.write_all(b"much\n").unwrap();
    site.until_counts(with!(Counts::default(), in_request: 1));
    let reads = thread::spawn(move || {
        let (mut received, mut bytes) = (0, vec![0; 1 << 20]);
        while let count @ 1.. = client.read(&mut bytes).unwrap() {
            received += count;
            thread::sleep(Duration::from_millis(1));
        }
        received
    });
    assert_eq!(site.drain(GRACE), with!(drained(), served: 1));
    assert_eq!(reads.join().unwrap(), MUCH);
}

#[test]
fn half_a_request_is_cut_unless_it_goes_on() {
    for (goes_on, stall) in [(false, Duration::from_millis(50)), (true, HOUR)] {
        let site = Site::new(Patience::new(stall, HOUR));
        let (mut idle, mut half) = (site.idle(), site.idle());
        half.write_all(b"ha").unwrap();
        site.until_counts(with!(Counts::default(), between: 1, in_request: 1));
        let client = thread::spawn(move || {
            assert_eq!(rest(&mut idle), "", "the drain has begun");
            if goes_on {
                half.write_all(b"lf\nmore\n").unwrap();
                assert_eq!(rest(&mut half), "half\n");
            }
            half
        });
        let ended = if goes_on { with!(drained(), served: 1) } else { with!(drained(), cut: 1) };
        assert_eq!(site.drain(GRACE), with!(ended, idle: 1));
        drop(client.join().unwrap());
    }
}

#[test]
fn a_new_connection_is_answered_once_or_closed_after_its_bound() {
    let site = Site::new(PATIENT);
    let mut client = site.connect();
    site.until_counts(with!(Counts::default(), new: 1));
    let mut idle = site.idle();
    let asks = thread::spawn(move || {
        assert_eq!(rest(&mut idle), "", "the drain has begun");
        client.write_all(b"first\n").unwrap();
        rest(&mut client)
    });
    assert_eq!(site.drain(GRACE), with!(drained(), idle: 1, served: 1));
    assert_eq!(asks.join().unwrap(), "first\n");

    let site = Site::new(Patience::new(HOUR, INSTANT));
    let mut client = site.connect();
    site.until_counts(with!(Counts::default(), new: 1));
    assert_eq!(site.drain(GRACE), with!(drained(), idle: 1));
    assert_eq!(rest(&mut client), "");
}

#[test]
fn what_queues_up_in_a_drain_is_served_after_a_resume() {
    let site = Site::new(PATIENT);
    let mut idle = site.idle();
    assert_eq!(site.drain(GRACE), with!(drained(), idle: 1));
    assert_eq!(rest(&mut idle), "");
    let mut queued = site.connect();
    queued.write_all(b"queued\n").unwrap();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(site.connections().counts().open(), 0, "nothing is accepted in a drain");
    for _ in 0..3 {
        site.connections().resume();
        let mut reply = [0; 7];
        queued.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"queued\n");
        ask(&mut site.connect(), "another\n");
        site.drain(GRACE);
        queued = site.connect();
        queued.write_all(b"queued\n").unwrap();
    }
}

#[test]
fn no_more_connections_than_the_limit_are_accepted() {
    let site = Site::with(Connections::new(PATIENT).unwrap().limit(2));
    let (first, mut second) = (site.idle(), site.idle());
    let mut third = site.connect();
    third.write_all(b"third\n").unwrap();
    ask(&mut second, "second\n");
    site.until_counts(with!(Counts::default(), between: 2));
    drop(first);
    let mut reply = [0; 6];
    third.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"third\n");
}

#[test]
fn what_a_client_still_sends_does_not_reset_a_connection_that_has_ended() {
    let site = Site::new(PATIENT);
    let mut client = site.connect();
    client.write_all(&[&b"bye\n"[..], &[b'x'; 256 << 10]].concat()).unwrap();
    assert_eq!(rest(&mut client), "bye\n");
}

#[test]
fn a_handler_that_panics_ends_its_connection_only() {
    let site = Site::new(PATIENT);
    let (mut panics, mut other) = (site.idle(), site.idle());
    panics.write_all(b"panic\n").unwrap();
    assert_eq!(rest(&mut panics), "");
    ask(&mut other, "other\n");
}

#[test]
fn a_unix_socket_is_served_as_well() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
    let path = dir.path().join("lines");
    let listeners = listeners(&format!("unix:{}", path.display()));
    let connections = AsyncConnections::new(PATIENT).unwrap();
    runtime.block_on(async {
        connections.serve(&mut AsyncListeners::from(listeners), "lines", answer).unwrap();
    });
    let mut client = UnixStream::connect(&path).unwrap();
    ask(&mut client, "hello\n");
    assert_eq!(runtime.block_on(connections.drain(GRACE)), with!(drained(), idle: 1));
    assert_eq!(rest(&mut client), "");
}

#[test]
fn a_registry_that_is_dropped_ends_its_connections_and_lets_go_of_its_listener() {
    let mut site = Site::new(PATIENT);
    let mut idle = site.idle();
    let watches = thread::spawn(move || rest(&mut idle));
    drop(site.connections.take());
    assert_eq!(watches.join().unwrap(), "");
    until("the last descriptor of the listener is closed", || TcpStream::connect(site.address).is_err());
}

#[test]
fn a_client_that_never_has_to_be_waited_for_lets_other_tasks_run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listeners = listeners("127.0.0.1:0");
    let address = listeners.address("lines").unwrap();
    let connections = AsyncConnections::new(PATIENT).unwrap();
    let (told, tell) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (begun, ends) = (told.clone(), tell.clone());
    let busy = move |mut client: AsyncConnection| {
        let (begun, ends) = (begun.clone(), ends.clone());
        async move {
            while !ends.load(SeqCst) {
                assert_eq!(client.write(b"").await?, 0);
                begun.store(true, SeqCst);
            }
            Ok(())
        }
    };
    let _entered = runtime.enter();
    connections.serve(&mut AsyncListeners::from(listeners), "lines", busy).unwrap();
    let mut client = TcpStream::connect(&address).unwrap();
    until("the handler has begun", || told.load(SeqCst));
    runtime.spawn(async move { tell.store(true, SeqCst) });
    assert_eq!(rest(&mut client), "");
}
