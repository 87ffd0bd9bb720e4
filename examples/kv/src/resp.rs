//! RESP2, the protocol of Redis: requests in, replies out, and for clients the way back. Pure: no I/O.
//!
//! The parser is given all bytes that have come so far and either takes one whole request off their front or asks
//! for more, so it does not matter how the bytes were split. Every declared size is checked before anything is
//! kept for it; what a peer can make us buffer is bounded by [`MAX_REQUEST_BYTES`].
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
use std::io::Write;

/// The most arguments in a request.
pub(crate) const MAX_ARGS: usize = 1024;
/// The longest argument, and so the longest value.
pub(crate) const MAX_BULK_BYTES: usize = 1024 * 1024;
/// The longest request.
pub(crate) const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// The longest inline request.
pub(crate) const MAX_INLINE_BYTES: usize = 16 * 1024;
/// The longest line that announces a size: a sign, digits, and the line's end.
const MAX_HEADER_BYTES: usize = 24;

/// What the peer did wrong. The connection can't go on: where the next request starts is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("Protocol error: invalid multibulk length")]
    ArgCount,
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    #[error("Protocol error: expected '$'")]
    ExpectedBulk,
    #[error("Protocol error: a line or a bulk does not end as it should")]
    LineEnd,
    #[error("Protocol error: too big request")]
    TooBig,
    #[error("Protocol error: not a reply")]
    NotAReply,
}

/// One request. No arguments at all is a request to ignore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// The command and its arguments.
    pub(crate) args: Vec<&'a [u8]>,
    /// How many bytes of the input it took.
    pub(crate) used: usize,
}

/// Takes one request off the front of `input`; `None` if there isn't a whole one yet.
pub(crate) fn parse_request(input: &[u8]) -> Result<Option<Request<'_>>, ProtocolError> {
    match input.first() {
        None => Ok(None),
        Some(b'*') => parse_array(input),
        Some(_) => parse_inline(input),
    }
}

fn parse_array(input: &[u8]) -> Result<Option<Request<'_>>, ProtocolError> {
    let mut cursor = Cursor { input, at: 1 };
    let Some(count) = cursor.number(ProtocolError::ArgCount)? else { return Ok(None) };
    let count = usize::try_from(count.max(0)).map_err(|_| ProtocolError::ArgCount)?;
    if count > MAX_ARGS {
        return Err(ProtocolError::ArgCount);
    }
    let mut args = Vec::with_capacity(count);
    for _ in 0..count {
        match cursor.peek() {
            None => return Ok(None),
            Some(b'$') => cursor.at += 1,
            Some(_) => return Err(ProtocolError::ExpectedBulk),
        }
        let Some(len) = cursor.number(ProtocolError::BulkLength)? else { return Ok(None) };
        let len = usize::try_from(len).map_err(|_| ProtocolError::BulkLength)?;
        if len > MAX_BULK_BYTES {
            return Err(ProtocolError::BulkLength);
        }
        if cursor.at + len > MAX_REQUEST_BYTES {
            return Err(ProtocolError::TooBig);
        }
        let Some(arg) = cursor.bulk(len)? else { return Ok(None) };
        args.push(arg);
    }
    Ok(Some(Request { args, used: cursor.at }))
}

/// An inline request: words on a line, for people with `telnet`. No quotes.
fn parse_inline(input: &[u8]) -> Result<Option<Request<'_>>, ProtocolError> {
    let window = &input[..input.len().min(MAX_INLINE_BYTES)];
    let Some(end) = window.iter().position(|&b| b == b'\n') else {
        return if window.len() == MAX_INLINE_BYTES { Err(ProtocolError::TooBig) } else { Ok(None) };
    };
    let args: Vec<_> = window[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    if args.len() > MAX_ARGS {
        return Err(ProtocolError::ArgCount);
    }
    Ok(Some(Request { args, used: end + 1 }))
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

/// A decimal integer without any ornament: a minus sign at most.
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    if text.first() == Some(&b'+') {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A word such as `OK`.
    Simple(String),
    /// What was wrong, its kind (`ERR`) first.
    Error(String),
    /// A number.
    Integer(i64),
    /// Any bytes.
    Bulk(Vec<u8>),
    /// No value.
    Nil,
    /// Several.
    Array(Vec<Reply>),
}

impl Reply {
    pub(crate) fn ok() -> Reply {
        Reply::Simple("OK".into())
    }

    /// An error of the ordinary kind. Line ends in `text`, which may quote the peer, become blanks.
    pub(crate) fn error(text: impl std::fmt::Display) -> Reply {
        Reply::Error(format!("ERR {text}").replace(['\r', '\n'], " "))
    }

    /// Appends the reply's bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Simple(text) => line(out, '+', text),
            Reply::Error(text) => line(out, '-', text),
            Reply::Integer(number) => line(out, ':', number),
            Reply::Nil => line(out, '$', -1),
            Reply::Bulk(bytes) => {
                line(out, '$', bytes.len());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Reply::Array(replies) => {
                line(out, '*', replies.len());
                replies.iter().for_each(|reply| reply.encode(out));
            }
        }
    }
}

fn line(out: &mut Vec<u8>, kind: char, text: impl std::fmt::Display) {
    // A Vec takes whatever is written.
    let _ = write!(out, "{kind}{text}\r\n");
}

/// Appends a request's bytes: what a client sends.
pub(crate) fn encode_request(args: &[&[u8]], out: &mut Vec<u8>) {
    line(out, '*', args.len());
    for arg in args {
        line(out, '$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Takes one reply off the front of `input`, and says how many bytes it took; `None` if there isn't a whole one yet.
/// Arrays are not understood: no client in this crate asks for one.
pub(crate) fn parse_reply(input: &[u8]) -> Result<Option<(Reply, usize)>, ProtocolError> {
    let Some(&kind) = input.first() else { return Ok(None) };
    let mut cursor = Cursor { input, at: 1 };
    let reply = match kind {
        b'$' => match cursor.number(ProtocolError::BulkLength)? {
            None => None,
            Some(-1) => Some(Reply::Nil),
            Some(len) => {
                let len = usize::try_from(len).ok().filter(|&len| len <= MAX_BULK_BYTES);
                cursor.bulk(len.ok_or(ProtocolError::BulkLength)?)?.map(|bytes| Reply::Bulk(bytes.to_vec()))
            }
        },
        b':' => cursor.number(ProtocolError::NotAReply)?.map(Reply::Integer),
        b'+' | b'-' => cursor.line(MAX_INLINE_BYTES, ProtocolError::TooBig)?.map(|text| {
            let text = String::from_utf8_lossy(text).into_owned();
            if kind == b'+' { Reply::Simple(text) } else { Reply::Error(text) }
        }),
        _ => return Err(ProtocolError::NotAReply),
    };
    Ok(reply.map(|reply| (reply, cursor.at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(args: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_request(args, &mut out);
        out
    }

    #[test]
    fn a_request_is_whole_or_not_there_however_it_was_split() {
        let mut input = bytes(&[b"SET", b"key", b"a\r\n$0\r\nb", b""]);
        let whole = input.len();
        for end in 0..whole {
            assert_eq!(parse_request(&input[..end]), Ok(None), "after {end} bytes");
        }
        input.extend_from_slice(b"*1\r\n");
        let request = parse_request(&input).unwrap().unwrap();
        assert_eq!(request.used, whole);
        assert_eq!(request.args, [&b"SET"[..], b"key", b"a\r\n$0\r\nb", b""]);
    }

    #[test]
    fn an_inline_request_is_words_on_a_line() {
        let input = b"  set  k v\r\nPING\n\r\n";
        for end in 0..12 {
            assert_eq!(parse_request(&input[..end]), Ok(None), "after {end} bytes");
        }
        let first = parse_request(input).unwrap().unwrap();
        assert_eq!((first.args, first.used), (vec![&b"set"[..], b"k", b"v"], 12));
        let second = parse_request(&input[12..]).unwrap().unwrap();
        assert_eq!((second.args, second.used), (vec![&b"PING"[..]], 5));
        let third = parse_request(&input[17..]).unwrap().unwrap();
        assert_eq!((third.args, third.used), (vec![], 2));
    }

    #[test]
    fn a_request_without_arguments_is_one_to_ignore() {
        for input in [&b"*0\r\n"[..], b"*-1\r\n"] {
            let request = parse_request(input).unwrap().unwrap();
            assert_eq!((request.args, request.used), (vec![], input.len()));
        }
    }

    #[test]
    fn a_size_beyond_its_bound_is_refused_before_its_bytes_have_come() {
        let args = format!("*{}\r\n", MAX_ARGS + 1);
        assert_eq!(parse_request(args.as_bytes()), Err(ProtocolError::ArgCount));
        let bulk = format!("*1\r\n${}\r\n", MAX_BULK_BYTES + 1);
        assert_eq!(parse_request(bulk.as_bytes()), Err(ProtocolError::BulkLength));
        let fits = format!("*1\r\n${MAX_BULK_BYTES}\r\n");
        assert_eq!(parse_request(fits.as_bytes()), Ok(None));
        assert_eq!(parse_request(&vec![b'a'; MAX_INLINE_BYTES]), Err(ProtocolError::TooBig));
        assert_eq!(parse_request(&vec![b'a'; MAX_INLINE_BYTES - 1]), Ok(None));
        let mut many = format!("*{MAX_ARGS}\r\n").into_bytes();
        while many.len() <= MAX_REQUEST_BYTES - MAX_BULK_BYTES {
            many.extend(format!("${MAX_BULK_BYTES}\r\n").bytes());
            many.extend(std::iter::repeat_n(b'x', MAX_BULK_BYTES).chain(*b"\r\n"));
        }
        assert_eq!(parse_request(&many), Ok(None));
        many.extend(format!("${MAX_BULK_BYTES}\r\n").bytes());
        assert_eq!(parse_request(&many), Err(ProtocolError::TooBig));
    }

    #[test]
    fn what_is_not_the_protocol_is_an_error() {
        for (input, error) in [
            (&b"*x\r\n"[..], ProtocolError::ArgCount),
            (b"*+1\r\n", ProtocolError::ArgCount),
            (b"*99999999999999999999999999", ProtocolError::ArgCount),
            (b"*1\n", ProtocolError::LineEnd),
            (b"*1\r\n:1\r\n", ProtocolError::ExpectedBulk),
            (b"*1\r\n$-1\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$1\r\nabc", ProtocolError::LineEnd),
        ] {
            assert_eq!(parse_request(input), Err(error), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_reply_survives_the_way_there_and_back_however_it_is_split() {
        let replies = [
            Reply::ok(),
            Reply::error("no\r\nsuch thing"),
            Reply::Integer(i64::MIN),
            Reply::Nil,
            Reply::Bulk(b"a\r\nb".to_vec()),
            Reply::Bulk(Vec::new()),
        ];
        for reply in replies {
            let mut out = Vec::new();
            reply.encode(&mut out);
            for end in 0..out.len() {
                assert_eq!(parse_reply(&out[..end]), Ok(None), "{reply:?} after {end} bytes");
            }
            assert_eq!(parse_reply(&out), Ok(Some((reply, out.len()))));
        }
    }

    #[test]
    fn an_array_is_its_length_and_its_parts() {
        let mut out = Vec::new();
        Reply::Array(vec![Reply::Nil, Reply::Integer(7)]).encode(&mut out);
        assert_eq!(out, b"*2\r\n$-1\r\n:7\r\n");
    }
}
