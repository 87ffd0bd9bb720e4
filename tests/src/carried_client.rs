//! A client whose one connection is to outlive the daemon's processes.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A client that keeps its one connection, and sends and reads lines.
#[derive(Debug)]
pub struct CarriedClient(pub BufReader<TcpStream>);

impl CarriedClient {
    /// Far longer than anything takes: a client that waits so long has lost its reply.
    pub const LOST: Duration = Duration::from_secs(120);

    /// Connects to the daemon at `addr`.
    pub fn connect(addr: &str) -> CarriedClient {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(CarriedClient::LOST)).unwrap();
        CarriedClient(BufReader::new(stream))
    }

    /// Sends all of `bytes`.
    pub fn send(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).expect("the connection is open");
    }

    /// The next line that the daemon sends, without its end.
    pub fn line(&mut self) -> String {
        let mut reply = String::new();
        self.0.read_line(&mut reply).expect("a reply comes over the same connection");
        assert!(reply.ends_with('\n'), "a whole reply, not {reply:?}");
        reply.trim_end().into()
    }

    /// The next line, which is a number.
    pub fn number(&mut self) -> u64 {
        self.line().parse().expect("a number")
    }

    /// Sends `line`, and returns the number that is the reply.
    pub fn ask(&mut self, line: &str) -> u64 {
        self.send(&format!("{line}\n"));
        self.number()
    }

    /// The daemon ends the connection, with nothing left unread: by the end of the stream, and by no reset.
    pub fn assert_ends(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("the end of the stream, and no reset");
        assert_eq!(rest, b"");
    }
}
