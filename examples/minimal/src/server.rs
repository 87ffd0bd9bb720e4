//! Accepting and answering, on a thread of its own.
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use handoff::HookResult;

use crate::log::Log;

/// How long the thread sleeps when nobody has anything for it. A real daemon waits with `poll(2)`.
const NAP: Duration = Duration::from_millis(1);
/// The longest line, in bytes.
const MAX_LINE: usize = 1024;

/// The listening socket, and the thread that serves it.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) listener: Option<TcpListener>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Log>>,
}

impl Server {
    /// Starts to accept, with the log of `log`. Does nothing if that has begun already.
    pub(crate) fn start(&mut self, log: &mut Option<Log>) -> HookResult<()> {
        if self.thread.is_some() {
            return Ok(());
        }
        let listener = self.listener.as_ref().ok_or("there is no listener called \"lines\"")?.try_clone()?;
        let mut log = log.take().ok_or("the log is not open")?;
        self.stop = Arc::default();
        let stop = self.stop.clone();
        self.thread = Some(thread::Builder::new().spawn(move || {
            serve(&listener, &stop, &mut log);
            log
        })?);
        Ok(())
    }

    /// Stops to accept, closes every connection between two replies, and puts the log back into `log`.
    pub(crate) fn stop(&mut self, log: &mut Option<Log>) -> HookResult<()> {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            *log = Some(thread.join().map_err(|_| "the server's thread has panicked")?);
        }
        Ok(())
    }
}

/// Serves until `stop`. The listening socket doesn't block: no listener that the library hands out does, and every
/// process that shares it leaves its flags alone.
fn serve(listener: &TcpListener, stop: &AtomicBool, log: &mut Log) {
    let mut clients = Vec::new();
    while !stop.load(SeqCst) {
        while let Ok((stream, _)) = listener.accept() {
            clients.push(Client { stream, received: Vec::new() });
        }
        clients.retain_mut(|client| client.turn(log).is_ok());
        thread::sleep(NAP);
    }
}

/// A connection, and what has come over it and is no whole line yet.
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Answers every line that has come. An error ends the connection.
    fn turn(&mut self, log: &mut Log) -> HookResult<()> {
        self.stream.set_nonblocking(true)?;
        let mut bytes = [0; MAX_LINE];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err("the client has gone".into()),
            Ok(count) => self.received.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            let number = log.append(&line).unwrap_or_else(|error| {
                // What is on disk now is not known. The next process finds out.
                let _ = writeln!(std::io::stderr(), "can't append to the log: {error}");
                std::process::abort()
            });
            self.stream.write_all(format!("{number}\n").as_bytes())?;
        }
        if self.received.len() > MAX_LINE { Err("the line is too long".into()) } else { Ok(()) }
    }
}
