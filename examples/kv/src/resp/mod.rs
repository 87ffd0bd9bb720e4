//! RESP, the protocol of Redis, in its versions 2 and 3: requests in, replies out, and for clients the way back. Pure:
//! no I/O.
//!
//! The parser is given all bytes that have come so far and either takes one whole request off their front or asks
//! for more, so it does not matter how the bytes were split. Every declared size is checked before anything is
//! kept for it; what a peer can make us buffer is bounded by [`MAX_REQUEST_BYTES`].
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
use std::io::Write;

mod reply;
mod request;

pub use reply::{Reply, RespVersion, parse_reply};
pub use request::{Request, encode_request, parse_request};

/// The most arguments that a request may have.
pub const MAX_ARGS: usize = 1024;
/// The longest argument, and so the longest value, in bytes.
pub const MAX_BULK_BYTES: usize = 1024 * 1024;
/// The longest request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// The longest inline request, in bytes.
pub const MAX_INLINE_BYTES: usize = 16 * 1024;
/// The longest line that announces a size: a sign, digits, and the line's end.
const MAX_HEADER_BYTES: usize = 24;

/// The fault of the peer. The connection can't go on: where the next request starts is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The number of arguments is none, or above [`MAX_ARGS`].
    #[error("Protocol error: invalid multibulk length")]
    ArgCount,
    /// The length of an argument is none, or above [`MAX_BULK_BYTES`].
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// An argument does not begin with its length.
    #[error("Protocol error: expected '$'")]
    ExpectedBulk,
    /// A line, or an argument, is not followed by CR LF.
    #[error("Protocol error: a line or a bulk does not end as it should")]
    LineEnd,
    /// The request is longer than [`MAX_REQUEST_BYTES`], or its line than [`MAX_INLINE_BYTES`].
    #[error("Protocol error: too big request")]
    TooBig,
    /// The text that should be a reply begins with another sign.
    #[error("Protocol error: not a reply")]
    NotAReply,
}

struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// A line of at most `max` bytes, without its end.
    fn line(&mut self, max: usize, too_long: ProtocolError) -> Result<Option<&'a [u8]>, ProtocolError> {
        let rest = &self.input[self.at..];
        let window = &rest[..rest.len().min(max)];
        match window.iter().position(|&b| b == b'\n') {
            Some(end) => {
                self.at += end + 1;
                window[..end].strip_suffix(b"\r").map(Some).ok_or(ProtocolError::LineEnd)
            }
            None if window.len() == max => Err(too_long),
            None => Ok(None),
        }
    }

    fn number(&mut self, wrong: ProtocolError) -> Result<Option<i64>, ProtocolError> {
        let Some(line) = self.line(MAX_HEADER_BYTES, wrong)? else { return Ok(None) };
        parse_integer(line).map(Some).ok_or(wrong)
    }

    /// `len` bytes and a line's end.
    fn bulk(&mut self, len: usize) -> Result<Option<&'a [u8]>, ProtocolError> {
        let rest = &self.input[self.at..];
        let Some(end) = rest.get(len..len + 2) else { return Ok(None) };
        if end != b"\r\n" {
            return Err(ProtocolError::LineEnd);
        }
        self.at += len + 2;
        Ok(Some(&rest[..len]))
    }
}

/// A decimal integer as it is written out: a minus sign at most, and no leading zero, so that a number has one form.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-").unwrap_or(text) {
        [b'0'] if text.len() == 1 => Some(0),
        [b'1'..=b'9', ..] => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

fn line(out: &mut Vec<u8>, kind: char, text: impl std::fmt::Display) {
    // A Vec takes whatever is written.
    let _ = write!(out, "{kind}{text}\r\n");
}
