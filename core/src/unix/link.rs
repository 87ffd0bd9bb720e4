//! One connection that carries frames, without blocking.
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::frame::{self, Decoder};
use crate::message::{Message, PROTO_MAX};

/// A peer that does not read is given so many bytes; then the link counts as closed.
const MOST_UNSENT: usize = 4 << 20;

/// More messages are not taken from one link in one turn of a loop: whoever floods it delays nobody else.
pub(crate) const FLOOD: usize = 256;

/// A connection, what came over it in part, and what could not be sent yet.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    decoder: Decoder,
    unsent: Vec<u8>,
    /// A send failed: what came before it is still read, then it is the end.
    broken: bool,
}

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read1 {
    /// A message.
    Message(Message),
    /// Nothing more for now.
    Nothing,
    /// The end, and why.
    Closed(String),
}

impl Link {
    /// A link over `stream`, which is non-blocking.
    pub(crate) fn new(stream: UnixStream) -> Link {
        Link { stream, decoder: Decoder::default(), unsent: Vec::new(), broken: false }
    }

    /// Sends `message`, now or when the peer reads again. A heartbeat that would have to wait is left out: a
    /// peer that does not read learns nothing from a queue of them.
    pub(crate) fn send(&mut self, message: &Message) {
        if !self.unsent.is_empty() && matches!(message, Message::Heartbeat { .. }) {
            return;
        }
        match frame::encode(PROTO_MAX, message) {
            Ok(bytes) if self.unsent.len() + bytes.len() <= MOST_UNSENT => self.unsent.extend(bytes),
            Ok(_) | Err(_) => self.broken = true,
        }
        self.flush();
    }

    /// Sends what can be sent. A peer that has gone is noticed by the read that follows.
    pub(crate) fn flush(&mut self) {
        while !self.unsent.is_empty() && !self.broken {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.broken = true,
            }
        }
    }

    /// Whether it waits for the peer to read.
    pub(crate) fn wants_write(&self) -> bool {
        !self.unsent.is_empty() && !self.broken
    }

    /// The next message that has come.
    pub(crate) fn read(&mut self) -> Read1 {
        loop {
            match self.decoder.next() {
                Ok(Some(message)) => return Read1::Message(message),
                Ok(None) => {}
                Err(error) => return Read1::Closed(error.to_string()),
            }
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Read1::Closed(frame::why_closed(self.decoder.finish())),
                Ok(count) => self.decoder.push(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.broken => return Read1::Nothing,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Read1::Closed("the peer does not read".into());
                }
                // Closed with unread data: what it sent has been read by now.
                Err(error) => return Read1::Closed(error.to_string()),
            }
        }
    }

    /// The stream, for who is at its other end.
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
