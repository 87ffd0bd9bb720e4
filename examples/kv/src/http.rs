//! Just enough HTTP/1.1 for a health check and a scrape: `GET` and `HEAD` of `/healthz` and `/metrics`.
use std::io;
use std::sync::Arc;

use handoff::daemon::Remaining;

use crate::connection::{AfterBatch, Conversation};
use crate::engine::Engine;
use crate::head::{Head, HeadError, parse_head};
use crate::out::ReplyBuffer;

pub(crate) struct HttpSession {
    pub(crate) engine: Arc<Engine>,
}

struct Response {
    status: &'static str,
    body: String,
}

impl Conversation for HttpSession {
    /// In a drain that ends the connection the last reply says so: a client that was told `Connection: close` sends its next request, and
    /// those that it had sent ahead, on a new connection.
    fn serve(&mut self, input: &[u8], out: &mut ReplyBuffer<'_>) -> io::Result<(usize, AfterBatch)> {
        let mut used = 0;
        loop {
            match parse_head(&input[used..]) {
                Ok(None) => return Ok((used, AfterBatch::Continue)),
                Ok(Some(head)) => {
                    used += head.bytes;
                    let ends = match out.remaining() {
                        Remaining::Any => false,
                        Remaining::Received => parse_head(&input[used..]) == Ok(None),
                        _ => true,
                    };
                    let keep_alive = head.keep_alive && !ends;
                    let response = self.respond(&head, out);
                    out.push(|bytes| response.encode(&head.method, keep_alive, bytes))?;
                    if !keep_alive {
                        return Ok((used, AfterBatch::Close));
                    }
                    if out.is_enough() {
                        return Ok((used, AfterBatch::Continue));
                    }
                }
                Err(error) => {
                    out.push(|bytes| Response::from(error).encode("GET", false, bytes))?;
                    return Ok((used, AfterBatch::Close));
                }
            }
        }
    }
}

impl HttpSession {
    fn respond(&self, head: &Head, out: &ReplyBuffer<'_>) -> Response {
        if !matches!(head.method.as_str(), "GET" | "HEAD") {
            return Response::new("405 Method Not Allowed", "GET or HEAD\n");
        }
        match head.path.split('?').next() {
            Some("/healthz") => match self.engine.trouble() {
                None => Response::new("200 OK", "ok\n"),
                Some(trouble) => Response::new("503 Service Unavailable", format!("{trouble}\n")),
            },
            Some("/metrics") => Response::new("200 OK", self.engine.metrics(out.open_connections())),
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

impl From<HeadError> for Response {
    fn from(error: HeadError) -> Response {
        let status = match error {
            HeadError::Malformed(_) => "400 Bad Request",
            HeadError::TooLong => "431 Request Header Fields Too Large",
        };
        Response::new(status, format!("{error}\n"))
    }
}
