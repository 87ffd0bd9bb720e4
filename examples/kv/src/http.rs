//! Just enough HTTP/1.1 for a health check and a scrape: `GET` and `HEAD` of `/healthz` and `/metrics`.
use std::io;
use std::sync::Arc;

use crate::connection::{Next, Out, Session};
use crate::engine::Engine;

/// The longest head of a request.
const MAX_HEAD_BYTES: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;

pub(crate) struct HttpSession {
    pub(crate) engine: Arc<Engine>,
}

/// What matters of a request.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    bytes: usize,
    method: String,
    path: String,
    keep_alive: bool,
}

struct Response {
    status: &'static str,
    body: String,
}

impl Session for HttpSession {
    fn serve(&mut self, input: &[u8], out: &mut Out<'_>) -> io::Result<(usize, Next)> {
        let mut used = 0;
        loop {
            match parse(&input[used..]) {
                Ok(None) => return Ok((used, Next::Continue)),
                Ok(Some(head)) => {
                    used += head.bytes;
                    let response = self.respond(&head);
                    out.push(|bytes| response.encode(&head.method, head.keep_alive, bytes))?;
                    if !head.keep_alive {
                        return Ok((used, Next::Close));
                    }
                }
                Err(response) => {
                    out.push(|bytes| response.encode("GET", false, bytes))?;
                    return Ok((used, Next::Close));
                }
            }
        }
    }
}

impl HttpSession {
    fn respond(&self, head: &Head) -> Response {
        if !matches!(head.method.as_str(), "GET" | "HEAD") {
            return Response::new("405 Method Not Allowed", "GET or HEAD\n");
        }
        match head.path.split('?').next() {
            Some("/healthz") => match self.engine.trouble() {
                None => Response::new("200 OK", "ok\n"),
                Some(trouble) => Response::new("503 Service Unavailable", format!("{trouble}\n")),
            },
            Some("/metrics") => Response::new("200 OK", self.engine.metrics()),
            _ => Response::new("404 Not Found", "/healthz or /metrics\n"),
        }
    }
}

impl Response {
    fn new(status: &'static str, body: impl Into<String>) -> Response {
        Response { status, body: body.into() }
    }

    fn encode(&self, method: &str, keep_alive: bool, out: &mut Vec<u8>) {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
             Connection: {connection}\r\n\r\n",
            self.status,
            self.body.len()
        );
        out.extend_from_slice(head.as_bytes());
        if method != "HEAD" {
            out.extend_from_slice(self.body.as_bytes());
        }
    }
}

fn parse(input: &[u8]) -> Result<Option<Head>, Response> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(&input[..input.len().min(MAX_HEAD_BYTES)]) {
        Err(error) => Err(Response::new("400 Bad Request", format!("{error}\n"))),
        Ok(httparse::Status::Partial) if input.len() < MAX_HEAD_BYTES => Ok(None),
        Ok(httparse::Status::Partial) => {
            Err(Response::new("431 Request Header Fields Too Large", "too large\n"))
        }
        Ok(httparse::Status::Complete(bytes)) => Ok(Some(Head {
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
        parse(input.as_bytes()).ok().flatten().unwrap()
    }

    #[test]
    fn a_head_is_whole_or_not_there() {
        let input = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
        for end in 0..input.len() {
            assert!(matches!(parse(&input.as_bytes()[..end]), Ok(None)), "after {end} bytes");
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
        assert_eq!(parse(long.as_bytes()).err().unwrap().status, "431 Request Header Fields Too Large");
        assert_eq!(parse(b"*1\r\n$4\r\nPING\r\n").err().unwrap().status, "400 Bad Request");
    }
}
