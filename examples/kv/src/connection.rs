//! One connection, whatever it speaks: bytes in, whole requests answered, and an end that no reply is lost in.
//!
//! The end is the delicate part. When the server drains, a connection is closed between two replies: what had come
//! by then is answered, a request whose first bytes had come is waited for, what has not begun is not executed. The
//! client sees every reply and then the end of the stream. How long a client is waited for, [`Patience`] says.
//!
//! To close a socket while bytes of the client are unread would reset the connection, and a reset can overtake
//! replies that are still on their way. So the sending half is shut down first, and what still comes is read and
//! thrown away until the client closes too, or [`LINGER`] is over.
use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::gate::{Gate, wait_socket};
use crate::out::Out;
use crate::patience::{Patience, Stall};

/// How long to wait for the client to close, after its last reply.
pub(crate) const LINGER: Duration = Duration::from_millis(500);
/// How much is read at once; a pipeline within it is one batch.
const READ_BYTES: usize = 64 * 1024;

/// What happens after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// More requests.
    Continue,
    /// The end.
    Close,
}

/// How many of the whole requests in the input are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// All of them.
    All,
    /// One, which is the connection's last.
    Last,
}

/// What is spoken on a connection.
pub(crate) trait Session {
    /// Answers whole requests in `input`, in order, and returns how many bytes they took.
    fn serve(&mut self, input: &[u8], batch: Batch, out: &mut Out<'_>) -> io::Result<(usize, Next)>;
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client has gone first.
    Left,
    /// It ended between two replies.
    Served,
}

/// Serves `stream` until its client closes it, a request ends it, or `gate` is closed. Unless the client has gone
/// first, [`finish`] and [`linger`] are yet to come.
///
/// # Errors
/// [`ErrorKind::TimedOut`] if the server drains and the client has made no progress for too long; otherwise what the
/// socket says.
pub(crate) fn serve(
    stream: &TcpStream,
    gate: &Gate,
    patience: Patience,
    session: &mut dyn Session,
) -> io::Result<End> {
    let mut incoming = Incoming::new(stream, gate, patience);
    let mut out = Out::new(stream, gate, patience);
    loop {
        let begun = !incoming.bytes.is_empty();
        let closing = match incoming.more()? {
            More::Bytes { closing } => closing,
            More::End(end) => return Ok(end),
        };
        // In a drain the request that has begun is the last: a client may go on sending for ever.
        let batch = if closing && begun { Batch::Last } else { Batch::All };
        let (used, next) = session.serve(&incoming.bytes, batch, &mut out)?;
        out.send()?;
        incoming.bytes.drain(..used);
        if next == Next::Close || (closing && incoming.bytes.is_empty()) {
            return Ok(End::Served);
        }
    }
}

/// What a client sends.
struct Incoming<'a> {
    stream: &'a TcpStream,
    gate: &'a Gate,
    /// What has come and is not answered yet.
    bytes: Vec<u8>,
    chunk: Vec<u8>,
    /// Until when the first request is waited for; `None` once its first byte has come.
    first: Option<(Instant, Duration)>,
    stall: Stall,
}

enum More {
    /// There is more; `closing` if the gate had been closed before it was read.
    Bytes {
        closing: bool,
    },
    End(End),
}

impl<'a> Incoming<'a> {
    fn new(stream: &'a TcpStream, gate: &'a Gate, patience: Patience) -> Incoming<'a> {
        Incoming {
            stream,
            gate,
            bytes: Vec::new(),
            chunk: vec![0; READ_BYTES],
            first: Some((Instant::now(), patience.first_request)),
            stall: Stall::new(patience.stall),
        }
    }

    /// Reads what there is, and waits if there is nothing.
    fn more(&mut self) -> io::Result<More> {
        loop {
            // Looked at before reading: what came before the gate was closed is answered.
            let closing = self.gate.is_closed();
            match (&*self.stream).read(&mut self.chunk) {
                Ok(0) => return Ok(More::End(End::Left)),
                Ok(len) => {
                    self.bytes.extend_from_slice(&self.chunk[..len]);
                    self.first = None;
                    self.stall.reset();
                    return Ok(More::Bytes { closing });
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock && !closing => {
                    self.gate.wait_for(self.stream.as_fd(), PollFlags::POLLIN)?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock && !self.bytes.is_empty() => {
                    self.stall.wait(self.stream.as_fd(), PollFlags::POLLIN)?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let left = self.first_request_in();
                    if left.is_zero() {
                        return Ok(More::End(End::Served));
                    }
                    wait_socket(self.stream.as_fd(), PollFlags::POLLIN, left)?;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// For how long a drain still waits for the first request.
    fn first_request_in(&self) -> Duration {
        self.first.map_or(Duration::ZERO, |(accepted, time)| time.saturating_sub(accepted.elapsed()))
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
                if left.is_zero() || wait_socket(stream.as_fd(), PollFlags::POLLIN, left).is_err() {
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
