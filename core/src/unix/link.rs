//! One connection that carries frames, without blocking; and descriptors beside them.
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::frame::{self, Decoder};
use crate::message::{Message, PROTO_MAX};
use crate::node::Read;
use crate::unix::rights;

/// A peer that does not read is given so many bytes; then the link counts as closed.
const MOST_UNSENT: usize = 4 << 20;

/// A connection, what came over it in part, and what could not be sent yet.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    decoder: Decoder,
    unsent: Vec<u8>,
    /// Descriptors that go with a byte of `unsent`, and that byte's place in it; the first first.
    unsent_fds: VecDeque<(usize, Arc<[OwnedFd]>)>,
    /// `true` if descriptors are accepted: else the system closes those that come.
    receives: bool,
    /// The descriptors that came beside the frame that is being read, or was read last.
    received: Vec<OwnedFd>,
    /// `true` if a send failed: what came before it is still read, then it is the end.
    broken: bool,
    #[cfg(feature = "crash-points")]
    spoilt: spoilt::Spoilt,
}

impl Link {
    /// A link over `stream`, which is non-blocking. It accepts no descriptors.
    pub(crate) fn new(stream: UnixStream) -> Link {
        Link {
            stream,
            decoder: Decoder::default(),
            unsent: Vec::new(),
            unsent_fds: VecDeque::new(),
            receives: false,
            received: Vec::new(),
            broken: false,
            #[cfg(feature = "crash-points")]
            spoilt: spoilt::Spoilt::default(),
        }
    }

    /// A link that accepts descriptors beside [`Message::Listeners`]. The caller that reads one takes them.
    pub(crate) fn receiving(stream: UnixStream) -> Link {
        Link { receives: true, ..Link::new(stream) }
    }

    /// Sends `message`, now or when the peer reads again. A heartbeat that would have to wait is left out: a
    /// peer that does not read learns nothing from a queue of them.
    pub(crate) fn send(&mut self, message: &Message) {
        #[cfg(feature = "crash-points")]
        if self.is_spoilt(message) {
            return;
        }
        if !self.unsent.is_empty() && matches!(message, Message::Heartbeat { .. }) {
            return;
        }
        self.queue(message);
        self.flush();
    }

    /// Sends `message` and, with its first byte, `fds`: [`rights::MOST`] at most. They are shared, so that a peer
    /// that asks again and again and does not read costs no descriptors.
    pub(crate) fn send_with(&mut self, message: &Message, fds: Arc<[OwnedFd]>) {
        #[cfg(feature = "crash-points")]
        if self.is_spoilt(message) {
            return;
        }
        if !fds.is_empty() {
            self.unsent_fds.push_back((self.unsent.len(), fds));
        }
        self.queue(message);
        self.flush();
    }

    fn queue(&mut self, message: &Message) {
        match frame::encode(PROTO_MAX, message) {
            Ok(bytes) if self.unsent.len() + bytes.len() <= MOST_UNSENT => self.unsent.extend(bytes),
            Ok(_) | Err(_) => self.broken = true,
        }
    }

    /// Sends what can be sent. A peer that has gone is noticed by the read that follows.
    pub(crate) fn flush(&mut self) {
        while !self.unsent.is_empty() && !self.broken {
            match self.send_some() {
                Ok(count) => self.sent(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.broken = true,
            }
        }
    }

    /// Sends up to the next byte with which descriptors go: they are to be there with it, and not before.
    fn send_some(&mut self) -> io::Result<usize> {
        let next = self.unsent_fds.iter().map(|(at, _)| *at).find(|at| *at > 0);
        let bytes = &self.unsent[..next.unwrap_or(self.unsent.len())];
        match self.unsent_fds.front() {
            Some((0, fds)) => rights::send(&self.stream, bytes, fds),
            _ => self.stream.write(bytes),
        }
    }

    fn sent(&mut self, count: usize) {
        self.unsent.drain(..count);
        self.unsent_fds.retain(|(at, _)| *at > 0);
        self.unsent_fds.iter_mut().for_each(|(at, _)| *at -= count);
    }

    /// Returns whether it waits for the peer to read.
    pub(crate) fn wants_write(&self) -> bool {
        !self.unsent.is_empty() && !self.broken
    }

    /// The next message that has come.
    pub(crate) fn read(&mut self) -> Read {
        loop {
            match self.decoder.next() {
                Ok(Some(message)) if self.is_due(&message) => return Read::Message(message),
                Ok(Some(message)) => {
                    return self.closed(format!("descriptors came beside {}", message.name()));
                }
                Ok(None) => {}
                Err(error) => return self.closed(error.to_string()),
            }
            match self.fill() {
                Ok(0) => return self.closed(frame::why_closed(self.decoder.finish())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.broken => return Read::Nothing,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.closed("the peer does not read".into());
                }
                // Closed with unread data: what it sent has been read by now.
                Err(error) => return self.closed(error.to_string()),
            }
        }
    }

    /// The descriptors that came beside the message that was read last, in the peer's order.
    pub(crate) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.received)
    }

    /// Takes in some of what has come. If descriptors are accepted, no more than one frame: so it is known to which
    /// they belong.
    fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 16 * 1024];
        if !self.receives {
            let count = self.stream.read(&mut bytes)?;
            self.decoder.push(&bytes[..count]);
            return Ok(count);
        }
        let length = self.decoder.missing().map_err(io::Error::other)?.min(bytes.len());
        let (count, fds) = rights::receive(&self.stream, &mut bytes[..length])?;
        if !fds.is_empty() && !self.received.is_empty() {
            return Err(io::Error::other("more descriptors came than belong to one message"));
        }
        self.received.extend(fds);
        self.decoder.push(&bytes[..count]);
        Ok(count)
    }

    /// Returns whether descriptors may have come beside `message`, if some have.
    fn is_due(&self, message: &Message) -> bool {
        self.received.is_empty() || matches!(message, Message::Listeners { .. })
    }

    fn closed(&mut self, why: String) -> Read {
        self.received.clear();
        Read::Closed(why.into())
    }

    /// The stream. What was read from it and is no frame yet is lost.
    pub(crate) fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// The stream, to ask for the process at its other end.
    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A handoff's id, from the system's random numbers.
pub(crate) fn random_id() -> io::Result<crate::id::HandoffId> {
    let mut id = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut id)?;
    Ok(crate::id::HandoffId(id))
}

#[cfg(feature = "crash-points")]
mod spoilt;

#[cfg(test)]
mod tests;
