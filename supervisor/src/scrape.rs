//! Answers the scrapes of Prometheus: HTTP, on a thread of its own.
//!
//! All peers are served by one `poll(2)`, so that none that is silent, drips, or does not read keeps another from its answer. What a
//! peer may cause is bounded: the oldest makes room for the newest, each has a limit of time and of bytes, and the loop is asked for
//! at most ten reports a second. Without a peer the thread sleeps. The library parses the request; those that serve as well either
//! start a thread for each peer and wait for it without a limit, or bring an asynchronous runtime along.
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use handoff::{BindOptions, Listeners};
use httparse::{EMPTY_HEADER, Request, Status};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::config::{Addr, ListenerConfig};
use crate::exit::{Code, CommandFailure};
use crate::inbox::Outbox;
use crate::listen;
use crate::metrics::SupervisorMetrics;
use crate::protocol::{TriggerAnswer, TriggerRequest};
use crate::trigger::{Asked, ReplyTo};
use crate::work::LoopEvent;

/// The largest number of peers.
const PEERS_MAX: usize = 16;
/// The longest time that a peer may take to send its request, and again to take the answer.
const TURN_LIMIT: Duration = Duration::from_secs(2);
/// The longest head of a request, in bytes.
const HEAD_MAX: usize = 8 * 1024;
/// The largest number of headers in a request.
const HEADERS_MAX: usize = 64;
/// The longest time that the loop may take to report: it has the daemon asked, which may be silent for a
/// while.
const REPORT_LIMIT: Duration = Duration::from_secs(5);
/// For so long a report is new enough for another peer.
const REPORT_AGE: Duration = Duration::from_millis(100);
/// The pause when no peer can be waited for or accepted, for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// The place at which metrics are told. Dropped, its path is removed.
#[derive(Debug)]
pub(crate) struct ScrapeServer {
    listeners: Listeners,
}

impl ScrapeServer {
    /// Answers scrapes at `addr` with `metrics` and with what the loop behind `outbox` reports.
    ///
    /// # Errors
    /// The address is in use or can't be had, or no thread can be started.
    pub(crate) fn start(
        addr: &Addr,
        metrics: SupervisorMetrics,
        outbox: Outbox<LoopEvent>,
    ) -> Result<ScrapeServer, CommandFailure> {
        let name = "metrics";
        let options = BindOptions::default();
        let fd = listen::bind(&ListenerConfig { name: name.into(), addr: addr.clone(), options })?;
        let system = |error: io::Error| CommandFailure::new(Code::System, format!("{name}: {error}"));
        let copy = fd.try_clone().map_err(system)?;
        let listener: Box<dyn ScrapeListener> = match addr {
            Addr::Tcp(_) => Box::new(TcpListener::from(copy)),
            Addr::Unix(_) | Addr::Abstract(_) => Box::new(UnixListener::from(copy)),
        };
        let listeners = Listeners::from_entries(vec![(name.into(), fd)])?;
        let mut reports = Reports { metrics, outbox, last: None };
        let serve = move || serve(&*listener, || reports.next());
        thread::Builder::new().name(name.into()).spawn(serve).map_err(system)?;
        tracing::info!(%addr, "metrics are told at /metrics");
        Ok(ScrapeServer { listeners })
    }
}

/// Tells why scrapes are not answered: that keeps no supervisor from its daemon. Also for `status`.
pub(crate) fn told(started: Result<ScrapeServer, CommandFailure>) -> (Option<ScrapeServer>, Option<String>) {
    match started {
        Ok(server) => (Some(server), None),
        Err(failure) => {
            tracing::error!("metrics: {failure}");
            let why = format!("metrics are not told: {failure}; restart the supervisor when that is mended");
            (None, Some(why))
        }
    }
}

impl Drop for ScrapeServer {
    fn drop(&mut self) {
        listen::unlink(&self.listeners);
    }
}

/// The reports that peers are answered with.
struct Reports {
    metrics: SupervisorMetrics,
    outbox: Outbox<LoopEvent>,
    last: Option<(Instant, Vec<u8>)>,
}

impl Reports {
    fn next(&mut self) -> Vec<u8> {
        if let Some((_, last)) = self.last.as_ref().filter(|(made, _)| made.elapsed() < REPORT_AGE) {
            return last.clone();
        }
        let (reply, answers) = ReplyTo::new();
        self.outbox.post(LoopEvent::Asked(Asked { request: TriggerRequest::Status {}, reply }));
        let made = match answers.recv_timeout(REPORT_LIMIT) {
            Ok(TriggerAnswer::Status(report)) => response(OK, &self.metrics.text(&report)),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {
                response(UNAVAILABLE, "the supervisor does not report\n")
            }
            Err(RecvTimeoutError::Disconnected) => response(UNAVAILABLE, "the supervisor ends\n"),
        };
        self.last = Some((Instant::now(), made.clone()));
        made
    }
}

const OK: &str = "200 OK";
const UNAVAILABLE: &str = "503 Service Unavailable";

/// A whole response. Each connection has one request: a peer that scrapes comes again seconds later.
fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// Returns what `head` is answered, which may be a part of a request's head only: `None` then. `report` makes
/// what a scrape is answered.
fn answer_to(head: &[u8], report: &mut impl FnMut() -> Vec<u8>) -> Option<Vec<u8>> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Partial) if head.len() < HEAD_MAX => return None,
        Ok(Status::Partial) => {
            return Some(response("431 Request Header Fields Too Large", "the request's head is too long\n"));
        }
        Err(error) => return Some(response("400 Bad Request", &format!("{error}\n"))),
        Ok(Status::Complete(_)) => {}
    }
    let path = request.path.and_then(|path| path.split('?').next());
    Some(match (request.method, path) {
        (Some("GET"), Some("/metrics")) => report(),
        (_, Some("/metrics")) => response("405 Method Not Allowed", "GET only\n"),
        _ => response("404 Not Found", "the metrics are at /metrics\n"),
    })
}

/// The listener that peers come from.
trait ScrapeListener: AsFd + Send {
    /// The next peer, which never blocks.
    fn next_peer(&self) -> io::Result<Box<dyn ScrapeStream>>;
}

impl ScrapeListener for TcpListener {
    fn next_peer(&self) -> io::Result<Box<dyn ScrapeStream>> {
        let (stream, _) = self.accept()?;
        stream.set_nonblocking(true)?;
        Ok(Box::new(stream))
    }
}

impl ScrapeListener for UnixListener {
    fn next_peer(&self) -> io::Result<Box<dyn ScrapeStream>> {
        let (stream, _) = self.accept()?;
        stream.set_nonblocking(true)?;
        Ok(Box::new(stream))
    }
}

trait ScrapeStream: Read + Write + AsFd {}
impl<S: Read + Write + AsFd> ScrapeStream for S {}

/// A peer, until it has its answer.
struct ScrapePeer {
    stream: Box<dyn ScrapeStream>,
    until: Instant,
    head: Vec<u8>,
    /// The bytes of the answer that are still to be sent, once there is one.
    answer: Option<Vec<u8>>,
}

impl ScrapePeer {
    fn new(stream: Box<dyn ScrapeStream>) -> ScrapePeer {
        ScrapePeer { stream, until: Instant::now() + TURN_LIMIT, head: Vec::new(), answer: None }
    }

    fn interest(&self) -> PollFlags {
        if self.answer.is_some() { PollFlags::POLLOUT } else { PollFlags::POLLIN }
    }

    /// Reads and writes what is possible now. `false` if the peer is done with, one way or the other.
    fn goes_on(&mut self, report: &mut impl FnMut() -> Vec<u8>) -> bool {
        let done = match self.answer {
            None => self.read(report),
            Some(_) => Ok(()),
        };
        let done = done.and_then(|()| self.write());
        let waits = matches!(&done, Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()));
        waits && Instant::now() < self.until
    }

    /// Reads until there is an answer.
    fn read(&mut self, report: &mut impl FnMut() -> Vec<u8>) -> io::Result<()> {
        let mut chunk = [0; HEAD_MAX];
        while self.answer.is_none() {
            let count = self.stream.read(&mut chunk[self.head.len()..])?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.head.extend_from_slice(&chunk[self.head.len()..][..count]);
            self.answer = answer_to(&self.head, report);
        }
        self.until = Instant::now() + TURN_LIMIT;
        Ok(())
    }

    /// Writes until nothing is left.
    fn write(&mut self) -> io::Result<()> {
        let Some(left) = &mut self.answer else { return Ok(()) };
        while !left.is_empty() {
            let count = self.stream.write(left)?;
            left.drain(..count);
        }
        Ok(())
    }
}

/// Serves all that come, for ever.
fn serve(listener: &dyn ScrapeListener, mut report: impl FnMut() -> Vec<u8>) {
    let mut peers: Vec<ScrapePeer> = Vec::new();
    loop {
        let is_ready = wait(listener, &peers);
        peers.retain_mut(|peer| peer.goes_on(&mut report));
        if !is_ready {
            continue;
        }
        // One at a time: those that are here are looked at before the next one takes the place of the oldest.
        match listener.next_peer() {
            Ok(stream) => {
                if peers.len() >= PEERS_MAX {
                    peers.remove(0);
                }
                peers.push(ScrapePeer::new(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::debug!("metrics: {error}");
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Waits until a peer can be read from or written to, has used up its time, or comes: whether one comes.
fn wait(listener: &dyn ScrapeListener, peers: &[ScrapePeer]) -> bool {
    let mut fds = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    fds.extend(peers.iter().map(|peer| PollFd::new(peer.stream.as_fd(), peer.interest())));
    let left = peers.iter().map(|peer| peer.until.saturating_duration_since(Instant::now())).min();
    // A millisecond more, so that the time is over then.
    let timeout = left.map_or(PollTimeout::NONE, |left| {
        PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => {
            tracing::debug!("metrics: can't wait: {error}");
            thread::sleep(PAUSE);
        }
    }
    fds[0].any().unwrap_or_default()
}

#[cfg(test)]
mod tests;
