//! The head of an HTTP/1 request, as far as the server needs it. Pure: no I/O.

/// The longest head of a request, in bytes.
pub const MAX_HEAD_BYTES: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;

/// The parts of a request that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of bytes of the input that it took.
    pub bytes: usize,
    /// The method, as it was sent.
    pub method: String,
    /// The target, as it was sent.
    pub path: String,
    /// `true` if another request may follow on the connection.
    pub keep_alive: bool,
}

/// The reason why there is no request. The connection can't go on: where the next request starts is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Is no HTTP/1 request.
    #[error("{0}")]
    Malformed(httparse::Error),
    /// Is longer than [`MAX_HEAD_BYTES`].
    #[error("too large")]
    TooLong,
}

/// Takes one head off the front of `input`; `None` if there isn't a whole one yet.
///
/// # Errors
/// The bytes are no head, or one that is too long.
pub fn parse_head(input: &[u8]) -> Result<Option<Head>, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let window = &input[..input.len().min(MAX_HEAD_BYTES)];
    match request.parse(window).map_err(HeadError::Malformed)? {
        httparse::Status::Partial if input.len() < MAX_HEAD_BYTES => Ok(None),
        httparse::Status::Partial => Err(HeadError::TooLong),
        httparse::Status::Complete(bytes) => Ok(Some(Head {
            bytes,
            method: request.method.unwrap_or_default().into(),
            path: request.path.unwrap_or_default().into(),
            keep_alive: request.version == Some(1) && request.headers.iter().all(keeps_alive),
        })),
    }
}

/// A body is not read, so no request can follow one.
fn keeps_alive(header: &httparse::Header<'_>) -> bool {
    match header.name.to_ascii_lowercase().as_str() {
        "connection" => !header.value.to_ascii_lowercase().windows(5).any(|word| word == b"close"),
        "content-length" => header.value == b"0",
        "transfer-encoding" => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(input: &str) -> Head {
        parse_head(input.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_head_is_whole_or_not_there() {
        let input = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
        for end in 0..input.len() {
            assert_eq!(parse_head(&input.as_bytes()[..end]), Ok(None), "after {end} bytes");
        }
        let want =
            Head { bytes: input.len(), method: "GET".into(), path: "/metrics".into(), keep_alive: true };
        assert_eq!(head(input), want);
    }

    #[test]
    fn a_connection_ends_when_the_client_says_so_or_sends_a_body() {
        assert!(!head("GET / HTTP/1.0\r\n\r\n").keep_alive);
        assert!(!head("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").keep_alive);
        assert!(!head("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n").keep_alive);
        assert!(!head("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").keep_alive);
    }

    #[test]
    fn a_head_that_is_too_long_or_none_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(MAX_HEAD_BYTES));
        assert_eq!(parse_head(long.as_bytes()), Err(HeadError::TooLong));
        assert!(matches!(parse_head(b"*1\r\n$4\r\nPING\r\n"), Err(HeadError::Malformed(_))));
    }
}
