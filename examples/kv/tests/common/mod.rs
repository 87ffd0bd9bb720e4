//! A server whose hooks the test calls itself, and a raw client.
#![allow(dead_code, reason = "each test file uses a part of it")]
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use handoff::{Daemon, Drainable, Listeners, ReadinessSnapshot, SealReport};
use handoff_kv::{HTTP, Kv, RESP, ServerConfig};

pub(crate) const GRACE: Duration = Duration::from_secs(180);

/// The listening sockets, in the hands of the test as they would be in a supervisor's.
pub(crate) struct TestSockets {
    resp: TcpListener,
    http: TcpListener,
}

impl TestSockets {
    pub(crate) fn bind() -> TestSockets {
        let bind = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        TestSockets { resp: bind(), http: bind() }
    }

    pub(crate) fn resp(&self) -> SocketAddr {
        self.resp.local_addr().unwrap()
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http.local_addr().unwrap()
    }

    /// The same open file descriptions again, as a child inherits them.
    pub(crate) fn share(&self) -> Listeners {
        let share = |name: &str, socket: &TcpListener| (name.to_owned(), socket.try_clone().unwrap().into());
        Listeners::from_entries(vec![share(RESP, &self.resp), share(HTTP, &self.http)]).unwrap()
    }
}

/// Opens the database in `dir` and serves on `sockets`.
pub(crate) fn start(dir: &Path, sockets: &TestSockets, build_id: &str) -> (Kv, ReadinessSnapshot) {
    start_with(&ServerConfig::new(dir, build_id), sockets)
}

pub(crate) fn start_with(config: &ServerConfig, sockets: &TestSockets) -> (Kv, ReadinessSnapshot) {
    let mut kv = Kv::new(config).unwrap();
    let ready = kv.open(None).unwrap();
    kv.serve(sockets.share()).unwrap();
    (kv, ready)
}

/// Drains and seals: what an incumbent does before it leaves.
pub(crate) fn leave(kv: &mut Kv) -> SealReport {
    let drained = kv.drain(GRACE).unwrap();
    assert!(drained.accept_closed);
    assert_eq!(drained.open_conns_remaining, 0);
    kv.seal(&mut |_| {}).unwrap()
}

/// A client that sends and receives bytes, and fails if it has to wait long.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn connect(addr: SocketAddr) -> Raw {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
        Raw(stream)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends, and expects to be answered exactly so.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>, reply: &str) {
        self.send(&request);
        assert_eq!(self.receive(reply.len()), reply, "to {}", request.as_ref().escape_ascii());
    }

    /// Waits until the server has read all that was sent, as the kernel says (`rx_queue` in proc_net_tcp).
    pub(crate) fn wait_until_read(&self) {
        let (ours, server) = (self.0.local_addr().unwrap(), self.0.peer_addr().unwrap());
        let hex = |addr: SocketAddr| match addr {
            SocketAddr::V4(addr) => {
                format!("{:08X}:{:04X}", u32::from_ne_bytes(addr.ip().octets()), addr.port())
            }
            SocketAddr::V6(addr) => panic!("{addr} is listed elsewhere"),
        };
        let (ours, server) = (hex(ours), hex(server));
        until("all that was sent is read", || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let mut rows = rows.filter(|row| row.get(1..3) == Some(&[&server, &ours]));
            rows.any(|row| row[4].ends_with(":00000000"))
        });
    }

    pub(crate) fn receive(&mut self, len: usize) -> String {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Returns what comes until the end of the stream; anything but an end, such as a reset, fails.
    pub(crate) fn rest(&mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        text
    }
}

/// Waits until `done`, which is asked again and again for a while.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !done() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
