//! An incumbent's side of connections that are carried: sends their descriptors while it serves, and the rest once it has drained.
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use crate::carry::{Item, Next, Outgoing, PATIENCE, Token};
use crate::frame::{self, Decoder};
use crate::id::ProcessId;
use crate::message::{Capabilities, Hello, Message, PROTO_MAX};
use crate::unix::again::uninterrupted;
use crate::unix::control::{self, Connect};
use crate::unix::rights;

use super::entry::Entry;
use super::inbound::read_item;
use super::shared::{News, Shared};

/// The way of connections to a successor.
#[derive(Debug)]
pub(super) struct Outbound {
    shared: Arc<Shared>,
    stream: UnixStream,
    outgoing: Outgoing,
    /// The connections that are to be offered.
    sockets: BTreeMap<Token, Arc<Entry>>,
}

impl Outbound {
    /// A way to `successor`, which listens beside `control`; `None` if it takes no connections over.
    ///
    /// # Errors
    /// The successor can't be reached, or another process answers in its place.
    pub(super) fn to(
        successor: ProcessId,
        control: &Path,
        shared: Arc<Shared>,
    ) -> io::Result<Option<Outbound>> {
        let Connect::Connected(stream) =
            control::connect_to(control, successor.pid).map_err(io::Error::other)?
        else {
            return Err(io::Error::other("the successor's socket does not answer"));
        };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let peer = control::peer(&stream)?;
        let hello = hello(&stream)?;
        let is_ours =
            peer.uid == nix::unistd::geteuid().as_raw() && peer.pid.is_none_or(|pid| pid == successor.pid);
        if !is_ours || hello.process() != successor {
            return Err(io::Error::other("another process answers at the successor's socket"));
        }
        if !hello.capabilities.include(Capabilities::CONNECTIONS) {
            return Ok(None);
        }
        let message = frame::encode(PROTO_MAX, &Message::Connections).map_err(io::Error::other)?;
        (&stream).write_all(&message)?;
        let mut outbound =
            Outbound { shared, stream, outgoing: Outgoing::default(), sockets: BTreeMap::new() };
        outbound.hear()?;
        Ok(Some(outbound))
    }

    /// Sends the connections that are open, and follows those that come and go, until few are missing.
    ///
    /// # Errors
    /// The successor does not follow.
    pub(super) fn send_open(&mut self) -> io::Result<()> {
        self.shared.keep();
        loop {
            self.hear_news();
            self.perform(Outgoing::follow)?;
            self.hear_news();
            if self.outgoing.is_near() {
                return Ok(());
            }
        }
    }

    fn hear_news(&mut self) {
        for news in self.shared.news() {
            match news {
                News::Opened(id, entry) => {
                    self.outgoing.opened(id.0);
                    self.sockets.insert(id.0, entry);
                }
                News::Closed(id) => {
                    self.outgoing.closed(id.0);
                    self.sockets.remove(&id.0);
                }
            }
        }
    }

    /// Sends what is still missing, the states of all that are kept, and the end. Nothing is read from them any more.
    ///
    /// # Errors
    /// The successor does not follow.
    pub(super) fn send_rest(&mut self) -> io::Result<()> {
        self.hear_news();
        let shared = self.shared.clone();
        let states =
            || shared.with_state().iter().map(|(id, entry)| (id.0, entry.state().encode())).collect();
        self.perform(|outgoing| outgoing.finish(states))?;
        match self.outgoing.left_behind() {
            0 => {}
            count => {
                tracing::warn!(target: "handoff.connections", count, "too much is known of connections: they end")
            }
        }
        Ok(())
    }

    /// Waits until the successor says that it has what was sent.
    ///
    /// # Errors
    /// It does not, or has something else.
    pub(super) fn confirm(&mut self) -> io::Result<()> {
        self.perform(|outgoing| outgoing.confirm())
    }

    /// Takes the connections back, under the lock of the data directory. Returns whether the successor has adopted them instead.
    pub(super) fn take_back(mut self) -> bool {
        // It has said so, if it has, before it gave the lock away.
        let _ = self.stream.set_nonblocking(true);
        while let Ok(Some((item, _))) = read_item(&self.stream) {
            let _ = self.outgoing.answered(&item);
        }
        if self.outgoing.is_adopted() {
            return true;
        }
        // A successor that does not hear of it has closed the link, and so given them up: there is room for it.
        self.outgoing.revocation().into_iter().for_each(|item| _ = self.send(&item, &[]));
        false
    }

    /// Does what is `next`, until nothing is.
    fn perform(&mut self, next: impl Fn(&mut Outgoing) -> Next) -> io::Result<()> {
        loop {
            match next(&mut self.outgoing) {
                Next::Send(item) => {
                    let offered = if let Item::Offer(tokens) = &item { tokens.as_slice() } else { &[] };
                    let sockets: Vec<_> =
                        offered.iter().filter_map(|token| self.sockets.remove(token)).collect();
                    let fds: Vec<_> = sockets.iter().map(|entry| entry.socket.as_fd()).collect();
                    self.send(&item, &fds)?;
                }
                Next::Hear => self.hear()?,
                Next::Done => return Ok(()),
            }
        }
    }

    fn send(&mut self, item: &Item, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = item.encode().map_err(io::Error::other)?;
        let sent = if fds.is_empty() { Ok(0) } else { rights::send(&self.stream, &bytes, fds) };
        let sent = sent.and_then(|sent| (&self.stream).write_all(&bytes[sent..]));
        // A successor that has closed the link has said why.
        sent.or_else(|error| self.hear().and(Err(error)))
    }

    fn hear(&mut self) -> io::Result<()> {
        match read_item(&self.stream)? {
            Some((item, _)) => self.outgoing.answered(&item).map_err(io::Error::other),
            None => Err(io::Error::other("the successor has given them up")),
        }
    }
}

/// Returns what the process at the other end says first.
fn hello(stream: &UnixStream) -> io::Result<Hello> {
    use io::Read;
    let (mut decoder, mut bytes) = (Decoder::default(), [0; 4096]);
    loop {
        match decoder.next().map_err(io::Error::other)? {
            Some(Message::Hello(hello)) => return Ok(hello),
            Some(_) => return Err(io::Error::other("it does not say hello")),
            None => {}
        }
        let mut reader = stream;
        match uninterrupted(|| reader.read(&mut bytes))? {
            0 => return Err(io::Error::other("it has closed the link")),
            count => decoder.push(&bytes[..count]),
        }
    }
}
