//! The messages that a client is sent without having asked for them just now.
//!
//! Invariant: a message reaches the client whole, and is sent by one process. What the socket does not take waits with the
//! connection's other output, and goes along if a drain keeps the connection.
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::thread;

use nix::poll::PollFlags;

use super::ConnId;
use super::connection::KEPT_OUTPUT;
use super::entry::Entry;
use super::shared::Shared;
use super::socket::{Until, wait};

/// Sends to a connection from any thread: messages that its client gets unasked, such as what it has subscribed to.
///
/// A handler whose connection has one sends its replies by it as well, or a message may come in the middle of a reply.
#[derive(Clone, Debug)]
pub struct Pusher {
    id: ConnId,
    entry: Weak<Entry>,
    shared: Weak<Shared>,
}

impl Pusher {
    pub(super) fn new(id: ConnId, entry: &Arc<Entry>, shared: &Arc<Shared>) -> Pusher {
        Pusher { id, entry: Arc::downgrade(entry), shared: Arc::downgrade(shared) }
    }

    /// The connection's token.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Sends `message`, behind what waits already. Never blocks. What the client does not take waits, 4 MiB at most: a client
    /// that does not read is cut then.
    ///
    /// # Errors
    /// The connection has ended, or is cut now.
    pub fn push(&self, message: &[u8]) -> io::Result<()> {
        let (entry, shared) = self.entry.upgrade().zip(self.shared.upgrade()).ok_or_else(ended)?;
        let mut conduct = entry.conduct();
        let mut state = entry.state();
        if state.output.len().saturating_add(message.len()) > KEPT_OUTPUT {
            // Its handler finds the end.
            entry.socket.shutdown(Shutdown::Both);
            return Err(io::Error::new(ErrorKind::TimedOut, "cut, because its client does not read"));
        }
        state.output.extend_from_slice(message);
        drop(state);
        if conduct.is_to_be_kept() || conduct.is_parked() {
            drop(conduct);
            shared.has_state(self.id);
            return Ok(());
        }
        match entry.send_waiting(&mut conduct) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                drop(conduct);
                shared.has_state(self.id);
                start_sending(&entry, &shared)
            }
            sent => sent,
        }
    }
}

fn ended() -> io::Error {
    io::Error::new(ErrorKind::BrokenPipe, "the connection has ended")
}

/// Sends what waits for a client on a thread that ends with it, unless there is one.
pub(super) fn start_sending(entry: &Arc<Entry>, shared: &Arc<Shared>) -> io::Result<()> {
    if !entry.begin_sending() {
        return Ok(());
    }
    let (sends, registry) = (entry.clone(), shared.clone());
    let started = thread::Builder::new().name("push".into()).spawn(move || send_all(&sends, &registry));
    started.map(drop).inspect_err(|_| {
        entry.end_sending();
        entry.socket.shutdown(Shutdown::Both);
    })
}

fn send_all(entry: &Entry, shared: &Shared) {
    loop {
        let mut conduct = entry.conduct();
        let is_elsewhere = conduct.is_to_be_kept() || conduct.is_parked();
        let sent = if is_elsewhere { Ok(()) } else { entry.send_waiting(&mut conduct) };
        if !matches!(&sent, Err(error) if error.kind() == ErrorKind::WouldBlock) {
            // Under the conduct's lock: a push that comes now starts another thread.
            return entry.end_sending();
        }
        let until = match conduct.is_ending() {
            true => Until::Passed(shared.patience.step()),
            false => Until::Stop(shared.stop.as_fd()),
        };
        drop(conduct);
        wait(&entry.socket, PollFlags::POLLOUT, until);
    }
}
