//! The trigger socket: which users may connect, and how requests get from there to the main loop.
//!
//! A thread accepts, and each connection has a thread of its own, so that a peer that says nothing or drips
//! delays no other. Their number is bounded: of those that have not yet said what they want, the oldest makes room
//! for the newest.
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use handoff::unix::sparing::Sparing;
use prometheus_client::metrics::counter::Counter;

use crate::exit::{Code, CommandFailure};
use crate::inbox::Outbox;
use crate::protocol::{REQUEST_MAX, SwapProgress, TriggerAnswer, TriggerRequest, line, parse_request};
use place::{Listening, SocketPlace};

mod place;

/// The longest time that a peer may take to send its request, and to take its answer.
const PEER_LIMIT: Duration = Duration::from_secs(2);
/// The largest number of peers without a request at the same time.
const READING_MAX: usize = 32;
/// The largest number of answers in the making at the same time.
const ANSWERING_MAX: usize = 32;
/// The largest number of lines that tell one peer how far a swap has come: what it does not take waits in
/// memory.
const PROGRESS_MAX: usize = 64;
/// The time to wait when nothing can be accepted for want of descriptors or threads.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The users that may use the trigger socket.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    own: u32,
    others: Vec<u32>,
}

impl Access {
    /// The user `own` that runs the supervisor, root, and those of `allowed`.
    pub(crate) fn new(own: u32, allowed: &[u32]) -> Access {
        let others = allowed.iter().copied().filter(|uid| *uid != own && *uid != 0).collect();
        Access { own, others }
    }

    pub(crate) fn admits(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own || self.others.contains(&uid)
    }

    /// The socket's mode. A mode knows one owner and one group and can't express a list of users: if there are
    /// others, the file lets all users connect, and the check of the peer's uid, done in any case, decides.
    pub(crate) fn mode(&self) -> u32 {
        if self.others.is_empty() { 0o600 } else { 0o666 }
    }
}

/// A request on its way to the loop, which answers it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: TriggerRequest,
    pub(crate) reply: ReplyTo,
}

/// The place that an answer goes to: the first one counts. If it is dropped with all its clones, the peer is
/// told that the supervisor has ended.
#[derive(Clone, Debug)]
pub(crate) struct ReplyTo {
    sender: Arc<Sender<TriggerAnswer>>,
    wants_progress: bool,
}

impl ReplyTo {
    /// A place that wants the answer alone, and where that comes.
    pub(crate) fn new() -> (ReplyTo, Receiver<TriggerAnswer>) {
        let (sender, receiver) = channel();
        (ReplyTo { sender: Arc::new(sender), wants_progress: false }, receiver)
    }

    /// Answers. A peer that has gone away is none of the supervisor's business.
    pub(crate) fn send(self, answer: TriggerAnswer) {
        let _ = self.sender.send(answer);
    }

    /// Returns the place that is told how far a swap has come, if the peer wants to know.
    pub(crate) fn progress(&self) -> Option<ProgressTo> {
        let sender = Arc::downgrade(&self.sender);
        self.wants_progress.then_some(ProgressTo { sender, left: PROGRESS_MAX })
    }
}

/// The place that is told how far a swap has come; no place any more, once the answer was sent or is given
/// up.
#[derive(Debug)]
pub(crate) struct ProgressTo {
    sender: Weak<Sender<TriggerAnswer>>,
    left: usize,
}

impl ProgressTo {
    /// Tells it, without waiting for the peer; what is beyond the bound is lost.
    pub(crate) fn send(&mut self, progress: SwapProgress) {
        if let Some(sender) = self.sender.upgrade().filter(|_| self.left > 0) {
            self.left -= 1;
            let _ = sender.send(TriggerAnswer::Progress(progress));
        }
    }
}

/// The bound socket; dropped, it is removed, when the clients that wait for an answer have got it.
#[derive(Debug)]
pub(crate) struct TriggerSocket {
    place: Arc<SocketPlace>,
    listener: Option<UnixListener>,
    access: Access,
    peers: Arc<Peers>,
}

impl TriggerSocket {
    /// Binds `path`. The caller holds the lock beside it, so whatever socket is there is a dead supervisor's.
    pub(crate) fn bind(path: &Path, access: Access) -> io::Result<TriggerSocket> {
        let (place, listener) = SocketPlace::bind(path, access.mode())?;
        Ok(TriggerSocket { place: Arc::new(place), listener: Some(listener), access, peers: Arc::default() })
    }

    /// Counts the peers that are refused for their user.
    pub(crate) fn refused_peers(&self) -> Counter {
        self.peers.refused.clone()
    }

    /// Starts to pass requests on to `outbox`. The socket is put back when its name is removed; `also` is called then, to look after
    /// what lies beside it.
    pub(crate) fn serve<T: Send + 'static>(
        &mut self,
        outbox: Outbox<T>,
        wrap: fn(Asked) -> T,
        also: impl FnMut() -> Option<Instant> + Send + 'static,
    ) -> io::Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let access = self.access.clone();
        let post: Post = Arc::new(move |asked| outbox.post(wrap(asked)));
        let (place, peers) = (Arc::clone(&self.place), Arc::clone(&self.peers));
        let accept = move || accept_all(Listening::new(place, listener), &access, &peers, &post, also);
        thread::Builder::new().name("trigger".into()).spawn(accept).map(drop)
    }
}

impl Drop for TriggerSocket {
    fn drop(&mut self) {
        self.place.remove();
        self.peers.wait_until_answered();
    }
}

type Post = Arc<dyn Fn(Asked) -> bool + Send + Sync>;

fn accept_all(
    mut listening: Listening,
    access: &Access,
    peers: &Arc<Peers>,
    post: &Post,
    mut also: impl FnMut() -> Option<Instant>,
) {
    // Any local process may cause them.
    let (mut refusals, mut failures) = (Sparing::default(), Sparing::default());
    loop {
        listening.wait(&mut also);
        let admitted = listening.listener.accept().and_then(|(stream, _)| {
            stream.set_nonblocking(false)?;
            let uid = peer_uid(&stream)?;
            let is_admitted = access.admits(uid);
            if !is_admitted {
                peers.refused.inc();
            }
            if !is_admitted && let Some(left_out) = refusals.admits(Instant::now()) {
                tracing::warn!(uid, left_out, "trigger socket: not allowed");
            }
            admit(stream, (!is_admitted).then_some(uid), peers, post)
        });
        if let Err(error) = admitted {
            if error.kind() == io::ErrorKind::WouldBlock {
                continue;
            }
            if let Some(left_out) = failures.admits(Instant::now()) {
                tracing::warn!(left_out, "trigger socket: {error}");
            }
            thread::sleep(ACCEPT_PAUSE);
        }
    }
}

/// Gives a peer a thread, unless it runs as a `stranger`.
fn admit(stream: UnixStream, stranger: Option<u32>, peers: &Arc<Peers>, post: &Post) -> io::Result<()> {
    stream.set_write_timeout(Some(PEER_LIMIT))?;
    if let Some(uid) = stranger {
        // The answer fits the empty buffer of a new connection, and so delays no other.
        answer(&stream, &refused(Code::NotAllowed, format!("uid {uid} is not in allowed_uids")));
        return Ok(());
    }
    let ticket = peers.enter(stream.try_clone()?);
    let (peers_of_thread, post) = (Arc::clone(peers), Arc::clone(post));
    let converse = move || {
        let request = read_request(&stream);
        peers_of_thread.leave(ticket);
        let _unanswered = Unanswered::new(&peers_of_thread);
        let reply = match request {
            Ok(request) => peers_of_thread.ask(request, &post, &stream),
            Err(failure) => TriggerAnswer::Error(failure),
        };
        answer(&stream, &reply);
    };
    let started = thread::Builder::new().name("trigger-peer".into()).spawn(converse);
    started.map(drop).inspect_err(|error| {
        let why = format!("the supervisor can't start a thread for the request: {error}; try again");
        peers.leave(ticket).into_iter().for_each(|stream| answer(&stream, &refused(Code::System, &why)));
    })
}

/// The peers that are being served.
#[derive(Debug, Default)]
struct Peers {
    reading: Mutex<Reading>,
    answering: AtomicUsize,
    unanswered: Mutex<usize>,
    settled: Condvar,
    /// The number of peers that were refused for their user.
    refused: Counter,
}

/// An answer that a peer waits for, until it is written.
struct Unanswered<'a>(&'a Peers);

impl Unanswered<'_> {
    fn new(peers: &Peers) -> Unanswered<'_> {
        *peers.unanswered.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Unanswered(peers)
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        *self.0.unanswered.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.settled.notify_all();
    }
}

#[derive(Debug, Default)]
struct Reading {
    next_ticket: u64,
    streams: VecDeque<(u64, UnixStream)>,
}

impl Peers {
    fn enter(&self, stream: UnixStream) -> u64 {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if reading.streams.len() >= READING_MAX
            && let Some((_, oldest)) = reading.streams.pop_front()
        {
            // Its thread sees the end of file and leaves. An error means that the peer has left already.
            let _ = oldest.shutdown(Shutdown::Both);
        }
        let ticket = reading.next_ticket;
        reading.next_ticket += 1;
        reading.streams.push_back((ticket, stream));
        ticket
    }

    /// The stream of a peer that is read no more, unless it was ended for others.
    fn leave(&self, ticket: u64) -> Option<UnixStream> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let at = reading.streams.iter().position(|(other, _)| *other == ticket)?;
        reading.streams.remove(at).map(|(_, stream)| stream)
    }

    /// Waits until every peer has its answer: this process ends next, and its threads with it.
    fn wait_until_answered(&self) {
        let unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.settled.wait_timeout_while(unanswered, PEER_LIMIT, |count| *count > 0));
    }

    /// Passes `request` on and waits for its answer. What precedes that is told to the `peer` at once.
    fn ask(&self, request: TriggerRequest, post: &Post, peer: &UnixStream) -> TriggerAnswer {
        // What waits for the daemon, or for a swap of another peer, could pile up. Swaps can't: there is one, all others are
        // refused.
        let counted = matches!(request, TriggerRequest::Status {} | TriggerRequest::Cancel {});
        if counted && self.answering.fetch_add(1, Ordering::Relaxed) >= ANSWERING_MAX {
            self.answering.fetch_sub(1, Ordering::Relaxed);
            return refused(Code::Busy, "too many requests at the same time");
        }
        let unknown = match request {
            TriggerRequest::Status {} => Code::Unavailable,
            _ => Code::Unconfirmed,
        };
        let (mut reply, receiver) = ReplyTo::new();
        reply.wants_progress = matches!(request, TriggerRequest::Swap { progress: true, .. });
        post(Asked { request, reply });
        let answer = answer_from(&receiver, peer)
            .unwrap_or_else(|| refused(unknown, "the supervisor has ended meanwhile"));
        if counted {
            self.answering.fetch_sub(1, Ordering::Relaxed);
        }
        answer
    }
}

/// The answer, once it comes; `None` if there will be none. What precedes it is told to the `peer`, until that takes no more.
fn answer_from(receiver: &Receiver<TriggerAnswer>, peer: &UnixStream) -> Option<TriggerAnswer> {
    let mut listens = true;
    for said in receiver {
        match said {
            TriggerAnswer::Progress(_) => listens = listens && is_taken(peer, &said),
            // After a line that was torn an answer would be none.
            last if listens => return Some(last),
            last => {
                let _ = peer.shutdown(Shutdown::Both);
                return Some(last);
            }
        }
    }
    None
}

/// Reads one line within the time and size that a peer has.
fn read_request(mut stream: &UnixStream) -> Result<TriggerRequest, CommandFailure> {
    let started = Instant::now();
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = PEER_LIMIT.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(CommandFailure::new(Code::Data, format!("no request within {PEER_LIMIT:?}")));
        }
        let received = stream.set_read_timeout(Some(left)).and_then(|()| stream.read(&mut chunk));
        match received {
            Ok(0) => return Err(CommandFailure::new(Code::Data, "the request has no newline at its end")),
            Ok(count) => read.extend_from_slice(&chunk[..count]),
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(CommandFailure::new(Code::Data, error.to_string())),
        }
        if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            return parse_request(&read[..end]);
        }
        if read.len() >= REQUEST_MAX {
            return Err(CommandFailure::new(
                Code::Data,
                format!("the request is longer than {REQUEST_MAX} bytes"),
            ));
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn refused(code: Code, message: impl Into<String>) -> TriggerAnswer {
    TriggerAnswer::Error(CommandFailure::new(code, message))
}

fn answer(stream: &UnixStream, answer: &TriggerAnswer) {
    is_taken(stream, answer);
}

/// Sends `answer`; whether the peer has taken it.
fn is_taken(mut stream: &UnixStream, answer: &TriggerAnswer) -> bool {
    let sent = match line(answer).or_else(|failure| line(&TriggerAnswer::Error(failure))) {
        Ok(line) => stream.write_all(&line),
        Err(failure) => Err(io::Error::other(failure)),
    };
    if let Err(error) = sent {
        tracing::debug!("trigger socket: the answer was not taken: {error}");
        return false;
    }
    true
}

/// The user of the process that called `connect`, as the kernel tells.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    Ok(getsockopt(stream, PeerCredentials)?.uid())
}

/// The user of the process that called `connect`, as the kernel tells.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(nix::unistd::getpeereid(stream)?.0.as_raw())
}

#[cfg(test)]
mod tests;
