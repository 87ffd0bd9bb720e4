//! Connections that no thread has: they wait here until their client says something, and then get a thread.
//!
//! A daemon that takes over thousands of idle connections starts no thread for any of them.
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::node::daemon::ACCEPT_PAUSE;
use crate::unix::wake::{WakeReceiver, Waker, waker};

use super::ConnId;
use super::client_watch::ClientWatch;
use super::connection::Connection;
use super::entry::Entry;
use super::serve::{Attendant, attend};
use super::shared::Shared;

#[derive(Debug, Default)]
struct Inside {
    /// To be given a thread.
    ready: VecDeque<(ConnId, Arc<Entry>)>,
    closed: bool,
}

/// The connections without a thread.
#[derive(Debug)]
pub(super) struct Lot {
    clients: ClientWatch,
    waker: Waker,
    wakes: WakeReceiver,
    inside: Mutex<Inside>,
}

impl Lot {
    pub(super) fn new() -> io::Result<Lot> {
        let (waker, wakes) = waker()?;
        let clients = ClientWatch::new(&wakes)?;
        Ok(Lot { clients, waker, wakes, inside: Mutex::default() })
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a connection that is not to be served yet: it is not read, only its client's first word is noted.
    pub(super) fn watch(&self, id: ConnId, entry: &Entry) -> io::Result<()> {
        self.clients.add(id, &entry.socket)
    }

    /// Ends to watch a connection.
    pub(super) fn forget(&self, entry: &Entry) {
        self.clients.remove(&entry.socket);
    }

    /// Gives each of `connections` a thread.
    pub(super) fn dispatch(&self, connections: impl Iterator<Item = (ConnId, Arc<Entry>)>) {
        let mut inside = self.inside();
        inside.ready.extend(connections);
        if !inside.ready.is_empty() {
            self.waker.wake();
        }
    }

    /// Ends the lot's thread. Nothing is served from here any more.
    pub(super) fn close(&self) {
        self.inside().closed = true;
        self.waker.wake();
    }
}

/// Starts the lot's thread, which ends when the registry is closed.
pub(super) fn start(shared: Arc<Shared>) -> io::Result<()> {
    thread::Builder::new().name("connections".into()).spawn(move || run(&shared)).map(drop)
}

fn run(shared: &Arc<Shared>) {
    loop {
        let spoken = shared.lot.clients.wait(&shared.lot.wakes).unwrap_or_else(|error| {
            tracing::error!(target: "handoff.connections", %error, "can't wait for clients");
            shared.rest(ACCEPT_PAUSE);
            Vec::new()
        });
        let (told, closed) = {
            let mut inside = shared.lot.inside();
            (std::mem::take(&mut inside.ready), inside.closed)
        };
        if closed {
            return;
        }
        let spoken = spoken.into_iter().filter_map(|id| shared.speaks(id));
        for (id, entry) in told.into_iter().chain(spoken) {
            shared.lot.forget(&entry);
            serve(shared, id, entry);
        }
    }
}

/// Gives a connection to its event loop, or a thread, as soon as there is one.
fn serve(shared: &Arc<Shared>, id: ConnId, entry: Arc<Entry>) {
    let handler = match shared.attendant_of(&entry.socket) {
        Some(Attendant::Threads(handler)) => handler,
        Some(Attendant::Loop(event_loop)) => {
            return event_loop.take(Connection::restored((id, entry), shared.clone()));
        }
        None => {
            tracing::warn!(target: "handoff.connections", %id, "no listener of this build serves a connection: it is closed");
            return Connection::restored((id, entry), shared.clone()).close();
        }
    };
    let mut in_trouble = false;
    loop {
        let (handler, entry, registry) = (handler.clone(), entry.clone(), shared.clone());
        let started = thread::Builder::new()
            .name("connection".into())
            .spawn(move || attend(Connection::restored((id, entry), registry), &*handler));
        match started {
            Ok(_) => return,
            Err(error) if !in_trouble => {
                tracing::warn!(target: "handoff.connections", %error, "no thread for a connection for now");
            }
            Err(_) => {}
        }
        in_trouble = true;
        shared.rest(ACCEPT_PAUSE);
    }
}
