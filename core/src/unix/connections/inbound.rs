//! A successor's side of connections that are carried: a thread that receives them, and touches none.
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::carry::{ConnectionState, Incoming, Item, Taken, Token};
use crate::unix::rights;

use super::ConnId;
use super::shared::{Entry, Shared};
use super::socket::Socket;

/// Connections that have arrived, as the incumbent calls them.
type Arrived = BTreeMap<Token, (ConnId, Arc<Entry>)>;

/// The connections that come over from an incumbent.
#[derive(Debug)]
pub(crate) struct Inbound {
    shared: Arc<Shared>,
    worker: Mutex<Option<InboundWorker>>,
}

#[derive(Debug)]
struct InboundWorker {
    stream: UnixStream,
    thread: JoinHandle<(Incoming, Arrived)>,
}

impl Inbound {
    pub(super) fn new(shared: Arc<Shared>) -> Inbound {
        Inbound { shared, worker: Mutex::new(None) }
    }

    /// Receives connections over `stream` from now on. What can't be received costs the connections, and nothing else.
    pub(crate) fn receive(&self, stream: UnixStream) {
        let started = self.start(stream);
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        match started {
            Ok(started) if worker.is_none() => *worker = Some(started),
            // Dropping the stream tells the incumbent.
            Ok(_) => {
                tracing::warn!(target: "handoff.connections", "connections come over a second link: refused")
            }
            Err(error) => tracing::warn!(target: "handoff.connections", %error, "can't receive connections"),
        }
    }

    fn start(&self, stream: UnixStream) -> io::Result<InboundWorker> {
        stream.set_nonblocking(false)?;
        let (receiving, shared) = (stream.try_clone()?, self.shared.clone());
        let thread =
            thread::Builder::new().name("carry".into()).spawn(move || receive_all(&receiving, &shared))?;
        Ok(InboundWorker { stream, thread })
    }

    /// Serves what has come, if all has come and the incumbent has not gone on by itself; closes it otherwise. The lock of the
    /// data directory is held. Returns how many connections are served and how many are closed.
    pub(crate) fn adopt(&self, may_serve: bool) -> (usize, usize) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(InboundWorker { stream, thread }) = worker else { return (0, 0) };
        // Nothing new comes, and what has come is read to its end.
        let _ = stream.shutdown(Shutdown::Both);
        let Ok((incoming, arrived)) = thread.join() else { return (0, 0) };
        let arrived_in_all = arrived.len();
        let carried = incoming.into_carried().filter(|_| may_serve).unwrap_or_default();
        let mut adopted = BTreeMap::new();
        let mut closed = Vec::new();
        for (token, (id, entry)) in arrived {
            match carried.get(&token).map(|state| ConnectionState::decode(state)) {
                Some(Some(state)) => {
                    *entry.state() = state;
                    adopted.insert(id, entry);
                }
                Some(None) | None => closed.push(entry),
            }
        }
        closed.iter().for_each(|entry| self.shared.lot.forget(entry));
        let served = adopted.len();
        self.shared.adopt(adopted);
        (served, arrived_in_all - served)
    }
}

/// Receives until the incumbent closes its end, or makes no sense.
fn receive_all(stream: &UnixStream, shared: &Shared) -> (Incoming, Arrived) {
    let (mut incoming, mut arrived) = (Incoming::default(), Arrived::new());
    let mut sender = stream;
    // The incumbent waits for this: only from now on it may send what is no frame.
    let greeted =
        Item::Received(0).encode().map_err(io::Error::other).and_then(|bytes| sender.write_all(&bytes));
    let received = greeted.and_then(|()| {
        while let Some((item, fds)) = read_item(stream)? {
            let taken = incoming.take(item, fds.len()).map_err(io::Error::other)?;
            let answer = match taken {
                Taken::Keep(tokens, answer) => {
                    for (token, fd) in tokens.into_iter().zip(fds) {
                        let (id, entry) = shared.arrived(Socket::received(fd)?);
                        shared.lot.watch(id, &entry)?;
                        arrived.insert(token, (id, entry));
                    }
                    answer
                }
                Taken::Close(tokens, answer) => {
                    let ended = tokens.iter().filter_map(|token| arrived.remove(token));
                    ended.for_each(|(_, entry)| shared.lot.forget(&entry));
                    answer
                }
                Taken::Answer(answer) => answer,
                Taken::Nothing => continue,
            };
            // An incumbent that has ended hears no answer, and all that it has said counts.
            let _ = sender.write_all(&answer.encode().map_err(io::Error::other)?);
        }
        Ok(())
    });
    if let Err(error) = received {
        tracing::warn!(target: "handoff.connections", %error, "can't take over the incumbent's connections");
        arrived.values().for_each(|(_, entry)| shared.lot.forget(entry));
        // The incumbent notices, and keeps them.
        let _ = stream.shutdown(Shutdown::Both);
        return (Incoming::default(), Arrived::new());
    }
    (incoming, arrived)
}

/// The next item and what came beside it; `None` at the end.
pub(super) fn read_item(stream: &UnixStream) -> io::Result<Option<(Item, Vec<OwnedFd>)>> {
    let mut header = [0; 4];
    // The descriptors come with the first byte.
    let (count, fds) = uninterrupted(|| rights::receive(stream, &mut header))?;
    if count == 0 {
        return Ok(None);
    }
    let mut reader = stream;
    reader.read_exact(&mut header[count..])?;
    let mut payload = vec![0; Item::length(header).map_err(io::Error::other)?];
    reader.read_exact(&mut payload)?;
    Ok(Some((Item::decode(&payload).map_err(io::Error::other)?, fds)))
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
