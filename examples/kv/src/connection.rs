//! One connection, whatever it speaks: bytes in, whole requests answered, and an end that no reply is lost in.
//!
//! The end is the delicate part. When the server drains, a connection is closed between two replies: what had come
//! by then is answered, what has not is not executed. The client sees every reply and then the end of the stream.
//! To close a socket while bytes of the client are unread would reset the connection, and a reset can overtake
//! replies that are still on their way. So the sending half is shut down first, and what still comes is read and
//! thrown away until the client closes too, or [`LINGER`] is over.
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::gate::{Gate, Woken, wait_socket};

/// How long to wait for the client to close, after its last reply.
pub(crate) const LINGER: Duration = Duration::from_millis(500);
/// How much is read at once; a pipeline within it is one batch.
const READ_BYTES: usize = 64 * 1024;
/// Replies are sent when there is so much of them.
const SEND_BYTES: usize = 64 * 1024;

/// What happens after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// More requests.
    Continue,
    /// The end.
    Close,
}

/// What is spoken on a connection.
pub(crate) trait Session {
    /// Answers all whole requests in `input`, in order, and returns how many bytes they took.
    fn serve(&mut self, input: &[u8], out: &mut Out<'_>) -> io::Result<(usize, Next)>;
}

/// Serves `stream` until its client closes it, a request ends it, or `gate` is closed. [`finish`] and [`linger`] are
/// yet to come, unless it returns `false`: then the client has gone first.
pub(crate) fn serve(stream: &TcpStream, gate: &Gate, session: &mut dyn Session) -> io::Result<bool> {
    let mut input = Vec::new();
    let mut chunk = vec![0; READ_BYTES];
    let mut out = Out { stream, bytes: Vec::new() };
    loop {
        // Looked at before reading: what came before the gate was closed is answered.
        let last = gate.is_closed();
        match (&*stream).read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(len) => input.extend_from_slice(&chunk[..len]),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == ErrorKind::WouldBlock && !last => {
                gate.wait_for(stream.as_fd())?;
                continue;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(e) => return Err(e),
        }
        let (used, next) = session.serve(&input, &mut out)?;
        out.send()?;
        input.drain(..used);
        if last || next == Next::Close {
            return Ok(true);
        }
    }
}

/// Ends the sending half: the client gets what was sent and then the end of the stream.
pub(crate) fn finish(stream: &TcpStream) {
    // It fails if the client is gone, and then there is nothing to end.
    let _ = stream.shutdown(Shutdown::Write);
}

/// After [`finish`]: reads and throws away until the client closes, or [`LINGER`] is over.
pub(crate) fn linger(stream: &TcpStream) {
    let until = Instant::now() + LINGER;
    let mut chunk = [0; 4096];
    loop {
        match (&*stream).read(&mut chunk) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() || wait_socket(stream.as_fd(), PollFlags::POLLIN, Some(left)).is_err() {
                    return;
                }
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
        if Instant::now() >= until {
            return;
        }
    }
}

/// Replies on their way: gathered, so that a pipeline's replies go out together.
pub(crate) struct Out<'a> {
    stream: &'a TcpStream,
    bytes: Vec<u8>,
}

impl Out<'_> {
    /// Adds what `encode` appends; sends if that has become much. Blocks while the client does not read.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        encode(&mut self.bytes);
        if self.bytes.len() >= SEND_BYTES { self.send() } else { Ok(()) }
    }

    /// Sends what there is.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.bytes.len() {
            match (&*self.stream).write(&self.bytes[sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => sent += len,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let _: Woken = wait_socket(self.stream.as_fd(), PollFlags::POLLOUT, None)?;
                }
                Err(e) => return Err(e),
            }
        }
        self.bytes.clear();
        Ok(())
    }
}
