//! A client that writes all the time and keeps the history.
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wait::{PATIENCE, until};

/// Between two writes: a test is not a benchmark.
const PACE: Duration = Duration::from_millis(5);

/// The server at which an actor is reached.
#[derive(Clone, Debug)]
pub enum Server {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over a Unix socket.
    Unix(PathBuf),
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Server {
    fn connect(&self) -> io::Result<BufReader<Box<dyn Stream>>> {
        // What is never answered is a failure, but one that the test should hear of.
        let limit = Some(2 * PATIENCE);
        let stream: Box<dyn Stream> = match self {
            Server::Tcp(addr) => {
                let stream = TcpStream::connect(addr)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(limit)?;
                Box::new(stream)
            }
            Server::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(limit)?;
                Box::new(stream)
            }
        };
        Ok(BufReader::new(stream))
    }
}

/// The facts that a writer knows.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Every acknowledged write: its sequence number and its token, in the order of the acknowledgements.
    pub acknowledged: Vec<(u64, String)>,
    /// Writes whose connection ended before the reply's first byte: not executed, if no process was killed.
    pub unanswered: BTreeSet<String>,
    /// Anything but a reply, or an end of the stream before it: refused, reset, half a reply, nonsense.
    pub failures: Vec<String>,
    /// The process that answered last.
    pub last_pid: Option<u32>,
}

/// A thread that writes all the time, one write after the other.
#[derive(Debug)]
pub struct Writer {
    history: Arc<Mutex<History>>,
    stop: Arc<AtomicBool>,
    /// Held during each write.
    turn: Arc<Mutex<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts to write to `server`; its writes begin with `name` and a number of its own.
    pub fn start(name: &str, server: Server) -> Writer {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (history, stop) = (Arc::<Mutex<History>>::default(), Arc::<AtomicBool>::default());
        let turn = Arc::<Mutex<()>>::default();
        let name = format!("{name}{}.", NEXT.fetch_add(1, Ordering::Relaxed));
        let (books, stopped, turns) = (Arc::clone(&history), Arc::clone(&stop), Arc::clone(&turn));
        let work = move || write_all(&name, &server, &books, &stopped, &turns);
        Writer { history, stop, turn, thread: Some(thread::spawn(work)) }
    }

    fn books(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    /// Returns what it knows by now.
    pub fn history(&self) -> History {
        self.books().clone()
    }

    /// Returns how many writes have been acknowledged.
    pub fn count(&self) -> usize {
        self.books().acknowledged.len()
    }

    /// Waits until no write is under way, and keeps the next one back until this is dropped. The connection stays open.
    pub fn paused(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap()
    }

    /// Waits until `pid` has acknowledged another write.
    #[track_caller]
    pub fn wait_for_write_by(&self, pid: u32) {
        let before = self.count();
        until(&format!("process {pid} acknowledges a write"), || {
            let books = self.books();
            books.acknowledged.len() > before && books.last_pid == Some(pid)
        });
    }

    /// Waits for `more` further acknowledged writes.
    #[track_caller]
    pub fn wait_for_writes(&self, more: usize) {
        let wanted = self.count() + more;
        until(&format!("{more} more writes"), || self.count() >= wanted);
    }

    /// Nothing but replies and ends of the stream has come. That is what a client may expect as long as no process
    /// that serves is killed.
    #[track_caller]
    pub fn assert_no_failure(&self) {
        let failures = &self.books().failures;
        assert!(failures.is_empty(), "what the client saw: {failures:#?}");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It may be waiting for a reply that never comes; it holds nothing that outlives the test.
        drop(self.thread.take().filter(JoinHandle::is_finished).map(JoinHandle::join));
    }
}

/// The outcome of one try.
enum Try {
    Acknowledged { seq: u64, pid: u32 },
    NotExecuted,
    Failed(String),
}

fn write_all(name: &str, server: &Server, history: &Mutex<History>, stop: &AtomicBool, turn: &Mutex<()>) {
    let mut connection = None;
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        loop {
            // A token of its own for each try: what became of the last one may be unknown.
            let token = format!("{name}{next}");
            next += 1;
            let is_our_turn = turn.lock().unwrap();
            let tried = write_once(server, &mut connection, &token);
            drop(is_our_turn);
            let mut books = history.lock().unwrap();
            match tried {
                Try::Acknowledged { seq, pid } => {
                    books.acknowledged.push((seq, token));
                    books.last_pid = Some(pid);
                    break;
                }
                Try::NotExecuted => drop(books.unanswered.insert(token)),
                Try::Failed(why) => books.failures.push(format!("{token}: {why}")),
            }
            drop(books);
            connection = None;
            if stop.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(PACE);
    }
}

fn write_once(server: &Server, connection: &mut Option<BufReader<Box<dyn Stream>>>, token: &str) -> Try {
    if connection.is_none() {
        match server.connect() {
            Ok(stream) => *connection = Some(stream),
            Err(error) => return Try::Failed(format!("can't connect: {error}")),
        }
    }
    let Some(stream) = connection else { return Try::NotExecuted };
    // A write to a connection that the server has closed: what it said before is still to be read.
    let sent = stream.get_mut().write_all(format!("{token}\n").as_bytes());
    let mut line = String::new();
    match stream.read_line(&mut line) {
        Ok(0) => Try::NotExecuted,
        Ok(_) => parse(&line).unwrap_or_else(|| Try::Failed(format!("nonsense: {line:?}"))),
        Err(_) if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) => Try::NotExecuted,
        Err(error) => Try::Failed(format!("no reply: {error}")),
    }
}

/// A reply is `ok SEQ PID`.
fn parse(line: &str) -> Option<Try> {
    let mut words = line.strip_suffix('\n')?.strip_prefix("ok ")?.split(' ');
    let (seq, pid) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(Try::Acknowledged { seq, pid })
}
