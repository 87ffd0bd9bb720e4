//! Replies on their way to one client.
use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use nix::poll::PollFlags;

use crate::gate::Gate;
use crate::patience::{Patience, Stall};

/// Replies are sent when there is so much of them.
const SEND_BYTES: usize = 64 * 1024;

/// Gathers replies, so that those of a pipeline go out together.
pub(crate) struct Out<'a> {
    stream: &'a TcpStream,
    gate: &'a Gate,
    patience: Patience,
    bytes: Vec<u8>,
}

impl<'a> Out<'a> {
    pub(crate) fn new(stream: &'a TcpStream, gate: &'a Gate, patience: Patience) -> Out<'a> {
        Out { stream, gate, patience, bytes: Vec::new() }
    }

    /// Whether the server drains, so that the connection ends after what has come.
    pub(crate) fn is_closing(&self) -> bool {
        self.gate.is_closed()
    }

    /// Adds what `encode` appends; sends if that has become much. Blocks while the client does not read; fails as
    /// [`Out::send`] does.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        encode(&mut self.bytes);
        if self.bytes.len() >= SEND_BYTES { self.send() } else { Ok(()) }
    }

    /// Sends what there is. Fails with [`ErrorKind::TimedOut`] if the server drains and the client has taken nothing
    /// for as long as the server's [`Patience`] lasts.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        let mut stall = Stall::new(self.patience.stall);
        let mut sent = 0;
        while sent < self.bytes.len() {
            match (&*self.stream).write(&self.bytes[sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => {
                    sent += len;
                    stall.reset();
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(&mut stall)?,
                Err(e) => return Err(e),
            }
        }
        self.bytes.clear();
        Ok(())
    }

    fn wait(&self, stall: &mut Stall) -> io::Result<()> {
        if !self.gate.is_closed() {
            self.gate.wait_for(self.stream.as_fd(), PollFlags::POLLOUT)?;
            return Ok(());
        }
        stall.wait(self.stream.as_fd(), PollFlags::POLLOUT)
    }
}
