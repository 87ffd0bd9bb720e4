//! The actor's connections: a thread a listener and a thread a connection, all of which stop between two replies
//! when the server is drained.
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use handoff::{HookResult, Listeners};
use handoff_tests::Layout;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::store::ActorStore;

/// A client that was sent the end of the stream has so long to close as well: what it sends meanwhile would
/// otherwise turn the end into a reset. It closes as soon as it has a processor.
const LINGER: Duration = Duration::from_secs(10);

/// The connections of the process, whichever thread accepted them.
#[derive(Debug, Default)]
pub(crate) struct ActorServer {
    listeners: Mutex<Vec<Arc<ActorSocket>>>,
    /// Dropped, it tells every thread to stop.
    running: Mutex<Option<UnixStream>>,
    counts: Mutex<ActorCounts>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ActorCounts {
    /// Threads that accept or may still acknowledge.
    busy: u32,
    /// Connections among them.
    open: u32,
    lingering: u32,
}

#[derive(Debug)]
enum ActorSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ActorServer {
    /// Returns what to accept on.
    pub(crate) fn set_listeners(&self, mut listeners: Listeners) -> HookResult<()> {
        let tcp = listeners.take_tcp(Layout::LISTENERS[0]).ok_or("no TCP listener")?;
        let unix = listeners.take_unix(Layout::LISTENERS[1]).ok_or("no Unix listener")?;
        *self.listeners.lock().unwrap() = vec![ActorSocket::Tcp(tcp).into(), ActorSocket::Unix(unix).into()];
        Ok(())
    }

    /// Accepts, unless it does already.
    pub(crate) fn start(self: &Arc<Self>, store: &Arc<Mutex<ActorStore>>) -> io::Result<()> {
        let mut running = self.running.lock().unwrap();
        if running.is_some() {
            return Ok(());
        }
        let (ours, theirs) = UnixStream::pair()?;
        let stop = Arc::new(OwnedFd::from(theirs));
        for socket in self.listeners.lock().unwrap().iter() {
            let (socket, stop) = (Arc::clone(socket), Arc::clone(&stop));
            let (server, store) = (Arc::clone(self), Arc::clone(store));
            self.count(|counts| counts.busy += 1);
            let started = thread::Builder::new().spawn(move || {
                server.accept_all(&socket, &store, &stop);
                server.count(|counts| counts.busy -= 1);
            });
            // Those that have started end with `ours`.
            started.inspect_err(|_| self.count(|counts| counts.busy -= 1))?;
        }
        *running = Some(ours);
        Ok(())
    }

    /// Stops accepting and waits, for `grace`, until no thread can acknowledge any more; how many still can.
    pub(crate) fn drain(&self, grace: Duration) -> u32 {
        drop(self.running.lock().unwrap().take());
        let until = Instant::now() + grace;
        let mut counts = self.counts.lock().unwrap();
        while counts.busy > 0 && Instant::now() < until {
            counts = self.changed.wait_timeout(counts, until - Instant::now()).unwrap().0;
        }
        counts.busy
    }

    /// Waits until the clients have seen the end of their streams.
    pub(crate) fn linger(&self) {
        let mut counts = self.counts.lock().unwrap();
        while counts.lingering > 0 {
            counts = self.changed.wait(counts).unwrap();
        }
    }

    pub(crate) fn open_connections(&self) -> u32 {
        self.counts.lock().unwrap().open
    }

    fn count(&self, change: impl FnOnce(&mut ActorCounts)) {
        change(&mut self.counts.lock().unwrap());
        self.changed.notify_all();
    }

    fn accept_all(
        self: &Arc<Self>,
        socket: &ActorSocket,
        store: &Arc<Mutex<ActorStore>>,
        stop: &Arc<OwnedFd>,
    ) {
        while wait(socket.as_fd(), stop) {
            let accepted = match socket {
                ActorSocket::Tcp(listener) => listener.accept().map(|(stream, _)| ActorStream::Tcp(stream)),
                ActorSocket::Unix(listener) => listener.accept().map(|(stream, _)| ActorStream::Unix(stream)),
            };
            let Ok(stream) = accepted else { continue };
            let (server, store, stop) = (Arc::clone(self), Arc::clone(store), Arc::clone(stop));
            self.count(|counts| (counts.busy, counts.open) = (counts.busy + 1, counts.open + 1));
            // If none can be started, the client sees the end of its stream.
            if thread::Builder::new().spawn(move || server.converse(stream, &store, &stop)).is_err() {
                self.count(|counts| (counts.busy, counts.open) = (counts.busy - 1, counts.open - 1));
            }
        }
    }

    fn converse(&self, stream: ActorStream, store: &Mutex<ActorStore>, stop: &OwnedFd) {
        let mut reader = BufReader::new(stream);
        let _ = answer_all(&mut reader, store, stop);
        self.count(|counts| {
            counts.busy -= 1;
            counts.open -= 1;
            counts.lingering += 1;
        });
        let stream = reader.into_inner();
        let _ = stream.end().and_then(|()| stream.discard());
        drop(stream);
        self.count(|counts| counts.lingering -= 1);
    }
}

/// Answers until the client or the server has had enough.
fn answer_all(
    reader: &mut BufReader<ActorStream>,
    store: &Mutex<ActorStore>,
    stop: &OwnedFd,
) -> io::Result<()> {
    // One request at a time is on its way, so what the reader has buffered is never more than a part of one.
    while wait(reader.get_ref().as_fd(), stop) {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let token = line.trim_end();
        // A log that can't be written any more is the end of the connection, never an acknowledgement.
        let Some(seq) = store.lock().unwrap().append(token)? else { return Ok(()) };
        reader.get_mut().write_all(format!("ok {seq} {}\n", std::process::id()).as_bytes())?;
    }
    Ok(())
}

/// Waits until `fd` is readable; `false` if the server is to stop.
fn wait(fd: std::os::fd::BorrowedFd<'_>, stop: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            // What keeps it from waiting passes.
            Err(_) => thread::sleep(Duration::from_millis(1)),
            Ok(_) => return !fds[1].any().unwrap_or(true),
        }
    }
}

impl AsFd for ActorSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            ActorSocket::Tcp(listener) => listener.as_fd(),
            ActorSocket::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A connection.
#[derive(Debug)]
enum ActorStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl ActorStream {
    /// Tells the client that nothing more comes.
    fn end(&self) -> io::Result<()> {
        match self {
            ActorStream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            ActorStream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Reads what still comes, until the client has closed.
    fn discard(&self) -> io::Result<()> {
        let limit = Some(LINGER);
        let mut bytes = [0; 1024];
        loop {
            let read = match self {
                ActorStream::Tcp(stream) => {
                    stream.set_read_timeout(limit).and_then(|()| (&*stream).read(&mut bytes))
                }
                ActorStream::Unix(stream) => {
                    stream.set_read_timeout(limit).and_then(|()| (&*stream).read(&mut bytes))
                }
            };
            match read {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

impl AsFd for ActorStream {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            ActorStream::Tcp(stream) => stream.as_fd(),
            ActorStream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for ActorStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            ActorStream::Tcp(stream) => stream.read(bytes),
            ActorStream::Unix(stream) => stream.read(bytes),
        }
    }
}

impl Write for ActorStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            ActorStream::Tcp(stream) => stream.write(bytes),
            ActorStream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
