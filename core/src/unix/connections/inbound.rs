//! A successor's side of connections that are carried: a thread that receives them, and touches none.
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::carry::{ConnectionState, Incoming, Item, Taken, Token};
use crate::unix::rights;

use super::ConnId;
use super::shared::{ArrivedConnections, Shared};
use super::socket::Socket;

/// The connections that have come, and are not served yet.
#[derive(Debug, Default)]
struct Arrived {
    incoming: Incoming,
    names: BTreeMap<Token, ConnId>,
    connections: ArrivedConnections,
}

/// The connections that come over from an incumbent.
#[derive(Debug)]
pub(crate) struct Inbound {
    shared: Arc<Shared>,
    worker: Mutex<Option<InboundWorker>>,
}

#[derive(Debug)]
struct InboundWorker {
    stream: UnixStream,
    thread: JoinHandle<Arrived>,
}

impl Inbound {
    pub(super) fn new(shared: Arc<Shared>) -> Inbound {
        Inbound { shared, worker: Mutex::new(None) }
    }

    /// Receives connections over `stream` from now on. If they can't be received, the incumbent hears of it.
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
    pub(crate) fn adopt(&self) -> (usize, usize) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(InboundWorker { stream, thread }) = worker else { return (0, 0) };
        // Nothing new comes, and what has come is read to its end.
        let _ = stream.shutdown(Shutdown::Read);
        let Ok(arrived) = thread.join() else { return (0, 0) };
        let count = arrived.connections.open.len();
        if arrived.incoming.adoption().is_some_and(|adoption| tell(&stream, &adoption)) {
            self.shared.adopt(arrived.connections);
            return (count, 0);
        }
        arrived.forget(&self.shared);
        (0, count)
    }
}

/// Receives until the incumbent closes its end, or makes no sense.
fn receive_all(stream: &UnixStream, shared: &Shared) -> Arrived {
    let mut arrived = Arrived::default();
    if let Err(error) = arrived.receive(stream, shared) {
        tracing::warn!(target: "handoff.connections", %error, "can't take over the incumbent's connections");
        // The incumbent hears of it, rolls the handoff back, and goes on with its connections.
        let refused = Item::Refused(error.to_string().into()).encode();
        refused.into_iter().for_each(|bytes| _ = (&mut &*stream).write_all(&bytes));
        let _ = stream.shutdown(Shutdown::Both);
        arrived.forget(shared);
        return Arrived::default();
    }
    arrived
}

impl Arrived {
    fn receive(&mut self, stream: &UnixStream, shared: &Shared) -> io::Result<()> {
        let mut sender = stream;
        // The incumbent waits for this: only from now on it may send what is no frame.
        sender.write_all(&Item::Received(0).encode().map_err(io::Error::other)?)?;
        while let Some((item, fds)) = read_item(stream)? {
            let taken = self.incoming.take(item, fds.len()).map_err(io::Error::other)?;
            if let Some(answer) = self.keep(taken, fds, shared)? {
                // An incumbent that has ended hears no answer, and all that it has said counts.
                let _ = sender.write_all(&answer.encode().map_err(io::Error::other)?);
            }
        }
        Ok(())
    }

    /// Does what is to be done; what is to be answered.
    fn keep(&mut self, taken: Taken, fds: Vec<OwnedFd>, shared: &Shared) -> io::Result<Option<Item>> {
        match taken {
            Taken::Keep(tokens, answer) => {
                for (token, fd) in tokens.into_iter().zip(fds) {
                    let (id, entry) = shared.arrived(Socket::received(fd)?);
                    shared.lot.watch(id, &entry)?;
                    self.names.insert(token, id);
                    self.connections.open.insert(id, entry);
                    self.connections.idle.insert(id);
                }
                Ok(Some(answer))
            }
            Taken::Close(tokens, answer) => {
                for token in tokens {
                    let Some(id) = self.names.remove(&token) else { continue };
                    self.connections.idle.remove(&id);
                    let ended = self.connections.open.remove(&id);
                    ended.iter().for_each(|entry| shared.lot.forget(entry));
                }
                Ok(Some(answer))
            }
            Taken::State(token, state) => {
                let named = self.names.get(&token).and_then(|id| Some((*id, self.connections.open.get(id)?)));
                let (id, entry) = named.ok_or_else(|| io::Error::other("a state of no connection"))?;
                let state = ConnectionState::decode(&state);
                *entry.state() =
                    state.ok_or_else(|| io::Error::other("a state in a layout that is unknown here"))?;
                self.connections.with_state.push(id);
                Ok(None)
            }
            Taken::Answer(answer) => Ok(Some(answer)),
            Taken::Nothing => Ok(None),
        }
    }

    /// Closes what has come.
    fn forget(&self, shared: &Shared) {
        self.connections.open.values().for_each(|entry| shared.lot.forget(entry));
    }
}

/// Tells the incumbent. Returns whether it knows, or need not know any more, since it has ended.
fn tell(mut stream: &UnixStream, item: &Item) -> bool {
    match item.encode().map_err(io::Error::other).and_then(|bytes| stream.write_all(&bytes)) {
        Ok(()) => true,
        Err(error) => matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
    }
}

/// The next item and what came beside it; `None` at the end.
pub(super) fn read_item(stream: &UnixStream) -> io::Result<Option<(Item, Vec<OwnedFd>)>> {
    let mut header = [0; 4];
    // The descriptors come with the first byte.
    let (count, fds) = match rights::receive(stream, &mut header) {
        // A peer that has ended without having read all that it was sent: what it has said was read before.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
        received => received?,
    };
    if count == 0 {
        return Ok(None);
    }
    let mut reader = stream;
    reader.read_exact(&mut header[count..])?;
    let mut payload = vec![0; Item::length(header).map_err(io::Error::other)?];
    reader.read_exact(&mut payload)?;
    Ok(Some((Item::decode(&payload).map_err(io::Error::other)?, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carry::Carried;

    #[test]
    fn an_incumbent_that_dies_with_an_unread_answer_has_said_all_that_it_said() {
        let (incumbent, successor) = UnixStream::pair().expect("a pair");
        let end = Item::End(Carried::default());
        (&incumbent).write_all(&end.encode().expect("an item")).expect("room");
        assert!(tell(&successor, &Item::Has(Carried::default())));
        drop(incumbent);
        let next = || read_item(&successor).expect("no error").map(|(item, _)| item);
        assert_eq!((next(), next()), (Some(end), None));
        assert!(tell(&successor, &Item::Adopted), "it need not know any more");
    }
}
