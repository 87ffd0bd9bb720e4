//! The answers of a server.
use super::{Cursor, MAX_BULK_BYTES, MAX_INLINE_BYTES, ProtocolError, line};

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A word such as `OK`.
    Simple(String),
    /// The fault, its kind (`ERR`) first.
    Error(String),
    /// A number.
    Integer(i64),
    /// Any bytes.
    Bulk(Vec<u8>),
    /// Lines to be read by people.
    Text(String),
    /// No value.
    Nil,
    /// Several.
    Array(Vec<Reply>),
    /// Names and values, in order.
    Map(Vec<(Reply, Reply)>),
    /// The message that answers no request.
    Push(Vec<Reply>),
}

/// The version of the protocol in which replies are written. A connection begins with the second one, and `HELLO`
/// changes it. Requests are the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RespVersion {
    /// RESP2, which has no map, no null and no text of its own.
    #[default]
    Two,
    /// RESP3.
    Three,
}

impl Reply {
    /// `OK`.
    pub fn ok() -> Reply {
        Reply::Simple("OK".into())
    }

    /// An error of the ordinary kind, `ERR`.
    pub fn error(text: impl std::fmt::Display) -> Reply {
        Reply::error_of("ERR", text)
    }

    /// An error of another kind. Line ends in `text`, which may quote the peer, become blanks.
    pub fn error_of(kind: &str, text: impl std::fmt::Display) -> Reply {
        Reply::Error(format!("{kind} {text}").replace(['\r', '\n'], " "))
    }

    /// Any bytes, from a string.
    pub fn bulk(text: impl Into<Vec<u8>>) -> Reply {
        Reply::Bulk(text.into())
    }

    /// Returns what `PING` is answered.
    pub fn pong(text: Option<&[u8]>) -> Reply {
        text.map_or(Reply::Simple("PONG".into()), Reply::bulk)
    }

    /// The reply's bytes.
    pub fn encoded(&self, version: RespVersion) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(version, &mut bytes);
        bytes
    }

    /// Appends the reply's bytes.
    pub fn encode(&self, version: RespVersion, out: &mut Vec<u8>) {
        match (self, version) {
            (Reply::Simple(text), _) => line(out, '+', text),
            (Reply::Error(text), _) => line(out, '-', text),
            (Reply::Integer(number), _) => line(out, ':', number),
            (Reply::Nil, RespVersion::Two) => line(out, '$', -1),
            (Reply::Nil, RespVersion::Three) => line(out, '_', ""),
            (Reply::Bulk(bytes), _) => bulk(out, '$', &[bytes]),
            (Reply::Text(text), RespVersion::Two) => bulk(out, '$', &[text.as_bytes()]),
            (Reply::Text(text), RespVersion::Three) => bulk(out, '=', &[b"txt:", text.as_bytes()]),
            (Reply::Array(replies) | Reply::Push(replies), _) => {
                let is_push = version == RespVersion::Three && matches!(self, Reply::Push(_));
                line(out, if is_push { '>' } else { '*' }, replies.len());
                replies.iter().for_each(|reply| reply.encode(version, out));
            }
            (Reply::Map(entries), _) => {
                match version {
                    RespVersion::Two => line(out, '*', entries.len() * 2),
                    RespVersion::Three => line(out, '%', entries.len()),
                }
                for (name, value) in entries {
                    name.encode(version, out);
                    value.encode(version, out);
                }
            }
        }
    }
}

fn bulk(out: &mut Vec<u8>, kind: char, parts: &[&[u8]]) {
    line(out, kind, parts.iter().map(|part| part.len()).sum::<usize>());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(b"\r\n");
}

/// Takes one reply off the front of `input`, and says how many bytes it took; `None` if there isn't a whole one yet.
/// What is in no reply of RESP2, and arrays, are not understood: no client in this crate asks for one.
///
/// # Errors
/// The bytes are no such reply, or one beyond its bounds.
pub fn parse_reply(input: &[u8]) -> Result<Option<(Reply, usize)>, ProtocolError> {
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
            reply.encode(RespVersion::Two, &mut out);
            for end in 0..out.len() {
                assert_eq!(parse_reply(&out[..end]), Ok(None), "{reply:?} after {end} bytes");
            }
            assert_eq!(parse_reply(&out), Ok(Some((reply, out.len()))));
        }
    }

    #[test]
    fn a_reply_is_written_in_the_version_that_the_client_asked_for() {
        let pair = |value| Reply::Map(vec![(Reply::bulk("a"), value)]);
        for (reply, two, three) in [
            (Reply::Array(vec![Reply::Nil, Reply::Integer(7)]), "*2\r\n$-1\r\n:7\r\n", "*2\r\n_\r\n:7\r\n"),
            (pair(Reply::Nil), "*2\r\n$1\r\na\r\n$-1\r\n", "%1\r\n$1\r\na\r\n_\r\n"),
            (Reply::Text("x:1".into()), "$3\r\nx:1\r\n", "=7\r\ntxt:x:1\r\n"),
            (Reply::ok(), "+OK\r\n", "+OK\r\n"),
            (Reply::Push(vec![Reply::bulk("a")]), "*1\r\n$1\r\na\r\n", ">1\r\n$1\r\na\r\n"),
        ] {
            for (version, want) in [(RespVersion::Two, two), (RespVersion::Three, three)] {
                let mut out = Vec::new();
                reply.encode(version, &mut out);
                assert_eq!(
                    out.escape_ascii().to_string(),
                    want.as_bytes().escape_ascii().to_string(),
                    "{version:?}"
                );
            }
        }
    }
}
