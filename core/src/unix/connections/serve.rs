//! A thread a listener, a thread a connection.
//!
//! Invariant: what is accepted is served. There is a thread for a connection before it is accepted.
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::node::daemon::ACCEPT_PAUSE;
use crate::unix::reports::HookResult;

use super::accept;
use super::connection::Connection;
use super::event_loop::EventLoop;
use super::shared::Shared;
use super::socket::{Address, Listener};

/// Serves one connection.
pub(super) type Handler = dyn Fn(&mut Connection) -> HookResult<()> + Send + Sync;

/// The attendant that serves connections.
#[derive(Clone)]
pub(super) enum Attendant {
    /// A thread for each.
    Threads(Arc<Handler>),
    Loop(Arc<dyn EventLoop>),
}

/// The service of the connections of a listener, those that another process has accepted there included.
pub(super) struct Service {
    address: Option<Address>,
    pub(super) attendant: Attendant,
}

impl Service {
    pub(super) fn new(listener: &Listener, attendant: Attendant) -> Service {
        Service { address: listener.local(), attendant }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.address).finish()
    }
}

/// Returns what serves the listener at which a connection with the local address `at` was accepted. A
/// listener at that very address comes before one at all addresses of the machine.
pub(super) fn attendant_of(services: &[Service], at: &Address) -> Option<Attendant> {
    let named = |service: &&Service| service.address.as_ref() == Some(at);
    let wide = |service: &&Service| service.address.as_ref().is_some_and(|address| address.includes(at));
    let found = services.iter().find(named).or_else(|| services.iter().find(wide));
    found.map(|service| service.attendant.clone())
}

/// Starts to accept on `listener`, until the registry is closed.
pub(super) fn start(shared: Arc<Shared>, listener: Listener, handler: Arc<Handler>) -> io::Result<()> {
    shared.add(Service::new(&listener, Attendant::Threads(handler.clone())));
    let post = AcceptThread { shared, listener, handler };
    thread::Builder::new().name("accept".into()).spawn(move || post.run()).map(drop)
}

struct AcceptThread {
    shared: Arc<Shared>,
    listener: Listener,
    handler: Arc<Handler>,
}

impl AcceptThread {
    fn run(self) {
        while let Some(ready) = self.spare() {
            let connection = loop {
                match accept(&self.shared, &self.listener) {
                    Some(connection) => break connection,
                    None if !self.shared.wait_for_resume() => return,
                    None => {}
                }
            };
            // The thread does nothing else than to wait for this.
            let _ = ready.send(connection);
        }
    }

    /// A thread that waits for its connection, and ends if it is dropped instead; `None` once the registry is closed.
    fn spare(&self) -> Option<SyncSender<Connection>> {
        let mut in_trouble = false;
        while self.shared.wait_for_resume() {
            let (hand, taken) = sync_channel::<Connection>(1);
            let handler = self.handler.clone();
            let started = thread::Builder::new().name("connection".into()).spawn(move || {
                if let Ok(connection) = taken.recv() {
                    attend(connection, &*handler);
                }
            });
            match started {
                Ok(_) => return Some(hand),
                Err(error) if !in_trouble => {
                    tracing::warn!(target: "handoff.connections", %error, "no thread for a connection for now");
                }
                Err(_) => {}
            }
            in_trouble = true;
            self.shared.rest(ACCEPT_PAUSE);
        }
        None
    }
}

/// Serves a connection until it ends, or is kept for a successor.
pub(super) fn attend(mut connection: Connection, handler: &Handler) {
    let served = connection.flush().map_err(Into::into).and_then(|()| handler(&mut connection));
    if let Err(error) = served {
        tracing::debug!(target: "handoff.connections", id = %connection.id(), %error, "a connection failed");
    }
    connection.close();
}
