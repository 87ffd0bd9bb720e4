//! Connections that no thread has: they wait here until their client says something, and then get a thread.
//!
//! A daemon that takes over thousands of idle connections starts no thread for any of them.
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::node::daemon::ACCEPT_PAUSE;
use crate::unix::wake::{WakeReceiver, Waker, waker};

use super::ConnId;
use super::connection::Connection;
use super::serve::attend;
use super::shared::{Entry, Shared};

/// How many events one wait takes.
const EVENTS: usize = 256;
/// What the waker is called; connections are counted from 1.
const WAKER: u64 = 0;

/// What is waited for of a connection: once, then it has a thread.
fn client_speaks(id: ConnId) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLONESHOT, id.0)
}

#[derive(Debug, Default)]
struct Inside {
    /// Idle: their clients are waited for.
    idle: BTreeMap<ConnId, Arc<Entry>>,
    /// To be given a thread.
    ready: VecDeque<(ConnId, Arc<Entry>)>,
    /// Watched before they were anybody's, and their clients have spoken.
    early: Vec<ConnId>,
    closed: bool,
}

/// The connections without a thread.
#[derive(Debug)]
pub(super) struct Lot {
    epoll: Epoll,
    waker: Waker,
    wakes: WakeReceiver,
    inside: Mutex<Inside>,
}

impl Lot {
    pub(super) fn new() -> io::Result<Lot> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let (waker, wakes) = waker()?;
        epoll.add(&wakes, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        Ok(Lot { epoll, waker, wakes, inside: Mutex::default() })
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a connection that is not to be served yet: it is not read, only its client's first word is noted.
    pub(super) fn watch(&self, id: ConnId, entry: &Entry) -> io::Result<()> {
        Ok(self.epoll.add(&entry.socket, client_speaks(id))?)
    }

    /// Ends to watch a connection. The kernel would go on as long as another process has a descriptor of it.
    pub(super) fn forget(&self, entry: &Entry) {
        let _ = self.epoll.delete(&entry.socket);
    }

    /// Serves connections that are watched already.
    pub(super) fn adopt(&self, connections: &BTreeMap<ConnId, Arc<Entry>>) {
        let mut inside = self.inside();
        let early = std::mem::take(&mut inside.early);
        for (id, entry) in connections {
            let state = entry.state();
            let is_idle = state.input.is_empty() && state.output.is_empty();
            drop(state);
            if is_idle {
                inside.idle.insert(*id, entry.clone());
            } else {
                inside.ready.push_back((*id, entry.clone()));
            }
        }
        for id in early {
            let spoken = inside.idle.remove(&id).map(|entry| (id, entry));
            inside.ready.extend(spoken);
        }
        drop(inside);
        self.waker.wake();
    }

    /// Gives each of `connections`, which are not watched, a thread.
    pub(super) fn dispatch(&self, connections: impl Iterator<Item = (ConnId, Arc<Entry>)>) {
        let mut inside = self.inside();
        inside.ready.extend(connections);
        if !inside.ready.is_empty() {
            self.waker.wake();
        }
    }

    /// Gives each that is idle a thread: a drain ends them.
    pub(super) fn dispatch_idle(&self) {
        let idle = std::mem::take(&mut self.inside().idle);
        self.dispatch(idle.into_iter());
    }

    /// Ends the lot's thread. Nothing is served from here any more.
    pub(super) fn close(&self) {
        self.inside().closed = true;
        self.waker.wake();
    }

    fn spoken(&self, id: ConnId) {
        let mut inside = self.inside();
        match inside.idle.remove(&id) {
            Some(entry) => inside.ready.push_back((id, entry)),
            None => inside.early.push(id),
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => 0,
            count => count?,
        };
        for event in &events[..count] {
            match event.data() {
                WAKER => self.wakes.drain(),
                id => self.spoken(ConnId(id)),
            }
        }
        Ok(())
    }
}

/// Starts the lot's thread, which ends when the registry is closed.
pub(super) fn start(shared: Arc<Shared>) -> io::Result<()> {
    thread::Builder::new().name("connections".into()).spawn(move || run(&shared)).map(drop)
}

fn run(shared: &Arc<Shared>) {
    loop {
        if let Err(error) = shared.lot.wait() {
            tracing::error!(target: "handoff.connections", %error, "can't wait for clients");
            shared.rest(ACCEPT_PAUSE);
        }
        let (ready, closed) = {
            let mut inside = shared.lot.inside();
            (std::mem::take(&mut inside.ready), inside.closed)
        };
        if closed {
            return;
        }
        for (id, entry) in ready {
            shared.lot.forget(&entry);
            serve(shared, id, entry);
        }
    }
}

/// Gives a connection its thread, as soon as there is one.
fn serve(shared: &Arc<Shared>, id: ConnId, entry: Arc<Entry>) {
    let Some(handler) = shared.handler_of(&entry.socket) else {
        tracing::warn!(target: "handoff.connections", %id, "no listener of this build serves a connection: it is closed");
        return Connection::restored((id, entry), shared.clone()).close();
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
