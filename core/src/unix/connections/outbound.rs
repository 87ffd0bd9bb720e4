//! An incumbent's side of connections that are carried: sends their descriptors while it serves, and the rest once it has drained.
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::carry::{BATCH, Item, Outgoing, Token};
use crate::frame::{self, Decoder};
use crate::id::ProcessId;
use crate::message::{Capabilities, Hello, Message, PROTO_MAX};
use crate::unix::control::{self, Connect};
use crate::unix::rights;

use super::inbound::read_item;
use super::shared::{Entry, News, Shared};

/// How long the successor may leave an item without an answer. It is about to be replaced, or killed as silent, if it can't.
const PATIENCE: Duration = Duration::from_secs(1);
/// So few connections that come and go while a daemon serves are sent in its pause.
const FEW: usize = BATCH;
/// A daemon that accepts faster than it sends is not followed for ever: so many rounds.
const ROUNDS: usize = 50;

/// The way of connections to a successor.
#[derive(Debug)]
pub(super) struct Outbound {
    shared: Arc<Shared>,
    stream: UnixStream,
    outgoing: Outgoing,
    /// What is to be offered.
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
        for _ in 0..ROUNDS {
            self.send_changes()?;
            self.confirm()?;
            self.hear_news();
            if self.outgoing.behind() <= FEW {
                break;
            }
        }
        Ok(())
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

    fn send_changes(&mut self) -> io::Result<()> {
        self.hear_news();
        loop {
            while !self.outgoing.may_send() {
                self.hear()?;
            }
            let Some(item) = self.outgoing.next_item() else { return Ok(()) };
            let offered = if let Item::Offer(tokens) = &item { tokens.as_slice() } else { &[] };
            let sockets: Vec<_> = offered.iter().filter_map(|token| self.sockets.remove(token)).collect();
            let fds: Vec<_> = sockets.iter().map(|entry| entry.socket.as_fd()).collect();
            self.send(&item, &fds)?;
        }
    }

    /// Sends what is still missing, the states of all that are kept, and the end. Nothing is read from them any more.
    ///
    /// # Errors
    /// The successor does not follow.
    pub(super) fn send_rest(&mut self) -> io::Result<()> {
        self.send_changes()?;
        let states = self.shared.with_state();
        let states = states.iter().map(|(id, entry)| (id.0, entry.state().encode())).collect();
        for item in self.outgoing.end(&states) {
            self.send(&item, &[])?;
        }
        Ok(())
    }

    /// Waits until the successor says that it has what was sent.
    ///
    /// # Errors
    /// It does not, or has something else.
    pub(super) fn confirm(&mut self) -> io::Result<()> {
        while !self.outgoing.is_confirmed() {
            self.hear()?;
        }
        Ok(())
    }

    /// Tells the successor that this process goes on with its connections. If the successor does not hear of it, it has closed the
    /// link, and so given them up.
    pub(super) fn revoke(&mut self) {
        let _ = self.send(&Item::Revoked, &[]);
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

/// What the process at the other end says first.
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
        match reader.read(&mut bytes)? {
            0 => return Err(io::Error::other("it has closed the link")),
            count => decoder.push(&bytes[..count]),
        }
    }
}
