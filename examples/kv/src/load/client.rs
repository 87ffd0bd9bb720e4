//! One RESP connection of a client, one request at a time.
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::resp::{Reply, encode_request, parse_reply};

/// The reason why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// The connection ended before the reply's first byte: the request was not executed.
    NotExecuted,
    /// Anything else; whether the request was executed is unknown.
    Failed {
        /// The event.
        why: String,
        /// `true` if the server, or its end, has ended the connection.
        cut: bool,
    },
}

impl CallError {
    /// Returns whether the server, or its end, has ended the connection.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, CallError::NotExecuted | CallError::Failed { cut: true, .. })
    }
}

fn failed(why: impl ToString, cut: bool) -> CallError {
    CallError::Failed { why: why.to_string(), cut }
}

#[derive(Debug)]
pub(super) struct LoadClient {
    stream: TcpStream,
}

impl LoadClient {
    /// Connects. `timeout` is for this and for each reply.
    pub(super) fn connect(addr: SocketAddr, timeout: Duration) -> Result<LoadClient, CallError> {
        let open = || {
            let stream = TcpStream::connect_timeout(&addr, timeout)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(LoadClient { stream })
        };
        open().map_err(|e: io::Error| failed(format!("connect: {e}"), false))
    }

    /// Sends one request and waits for its reply. After an error the connection is of no more use.
    pub(super) fn call(&mut self, args: &[&[u8]]) -> Result<Reply, CallError> {
        let mut request = Vec::new();
        encode_request(args, &mut request);
        // Where the server has closed its end already, sending may fail; what it sent before says more.
        let sent = self.stream.write_all(&request);
        match self.reply() {
            Err(CallError::Failed { why, cut }) => {
                let sending = sent.err().map_or(String::new(), |e| format!(" (and send: {e})"));
                Err(failed(format!("reply: {why}{sending}"), cut))
            }
            other => other,
        }
    }

    fn reply(&mut self) -> Result<Reply, CallError> {
        let mut input = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) if input.is_empty() => return Err(CallError::NotExecuted),
                Ok(0) => return Err(failed("the connection ended within a reply", true)),
                Ok(len) => input.extend_from_slice(&chunk[..len]),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Err(failed("timed out", false)),
                Err(e) => return Err(failed(e, true)),
            }
            match parse_reply(&input).map_err(|e| failed(e, false))? {
                Some((reply, used)) if used == input.len() => return Ok(reply),
                Some(_) => return Err(failed("more than one reply to one request", false)),
                None => {}
            }
        }
    }
}
