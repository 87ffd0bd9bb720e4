//! The connections that are open, and what waits for them: acceptors and drains.
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::host::Clock;
use crate::time::{Duration, Time};
use crate::unix::poller::MonotonicClock;
use crate::unix::wake::{WakeReceiver, Waker, waker};

use super::conduct::{Conduct, Patience, RequestPhase, Way};
use super::drain::{Drain, Drained};
use super::socket::{Listener, Socket};
use super::{ConnId, Counts};

/// How many connections may be open, if the daemon says nothing else.
const LIMIT: u32 = 1024;

/// What a panic elsewhere leaves behind a lock is consistent between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection, as both its owner and the registry see it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) socket: Socket,
    conduct: Mutex<Conduct>,
}

impl Entry {
    pub(super) fn conduct(&self) -> MutexGuard<'_, Conduct> {
        lock(&self.conduct)
    }

    /// Cuts the connection if its time is over; returns whether it is cut.
    pub(super) fn look(&self, now: Time) -> bool {
        let mut conduct = self.conduct();
        let was_cut = conduct.is_cut();
        let is_cut = conduct.look(now);
        if is_cut && !was_cut {
            // This wakes all that wait for the socket, in whatever way.
            self.socket.shutdown(Shutdown::Both);
        }
        is_cut
    }
}

#[derive(Debug)]
struct EntryState {
    open: BTreeMap<ConnId, Arc<Entry>>,
    limit: u32,
    accepted: u64,
    /// How many threads may be in accept(2).
    accepting: u32,
    lingering: u32,
    draining: bool,
    /// The daemon has let go of the registry.
    closed: bool,
    drain: Option<Drain>,
}

impl EntryState {
    fn count(&self) -> u32 {
        u32::try_from(self.open.len()).unwrap_or(u32::MAX)
    }

    fn has_room(&self) -> bool {
        self.count().saturating_add(self.accepting) < self.limit
    }
}

/// The registry's inside.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) patience: Patience,
    /// Readable as long as the daemon drains.
    pub(super) stop: WakeReceiver,
    waker: Waker,
    clock: MonotonicClock,
    state: Mutex<EntryState>,
    changed: Condvar,
}

impl Shared {
    pub(super) fn new(patience: Patience) -> io::Result<Shared> {
        let (waker, stop) = waker()?;
        let state = EntryState {
            open: BTreeMap::new(),
            limit: LIMIT,
            accepted: 0,
            accepting: 0,
            lingering: 0,
            draining: false,
            closed: false,
            drain: None,
        };
        let (clock, changed) = (MonotonicClock::new(), Condvar::new());
        Ok(Shared { patience, stop, waker, clock, state: Mutex::new(state), changed })
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(super) fn set_limit(&self, limit: u32) {
        lock(&self.state).limit = limit;
    }

    pub(super) fn is_draining(&self) -> bool {
        lock(&self.state).draining
    }

    pub(super) fn counts(&self) -> Counts {
        let state = lock(&self.state);
        let mut counts = Counts { lingering: state.lingering, ..Counts::default() };
        for entry in state.open.values() {
            *match entry.conduct().phase() {
                RequestPhase::New { .. } => &mut counts.new,
                RequestPhase::Between => &mut counts.between,
                RequestPhase::Request => &mut counts.in_request,
            } += 1;
        }
        counts
    }

    /// Accepts one connection, if there is one, and room for it, and no drain. A drain that begins meanwhile waits for
    /// this to return.
    pub(super) fn accept(&self, listener: &Listener) -> io::Result<Option<(ConnId, Arc<Entry>)>> {
        let mut state = lock(&self.state);
        if state.draining || !state.has_room() {
            return Ok(None);
        }
        state.accepting += 1;
        drop(state);
        let accepted = listener.accept();
        let mut state = lock(&self.state);
        state.accepting -= 1;
        self.changed.notify_all();
        match accepted {
            Ok(socket) => Ok(Some(self.register(&mut state, socket))),
            // Another process was faster, or the client has given up.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn register(&self, state: &mut EntryState, socket: Socket) -> (ConnId, Arc<Entry>) {
        let now = self.now();
        let mut conduct = Conduct::new(now, self.patience);
        if state.draining {
            conduct.drain(now);
        }
        state.accepted += 1;
        let (id, entry) = (ConnId(state.accepted), Arc::new(Entry { socket, conduct: Mutex::new(conduct) }));
        state.open.insert(id, entry.clone());
        (id, entry)
    }

    /// Waits until there is room for a connection. Returns `false` if there is a drain.
    pub(super) fn wait_for_room(&self) -> bool {
        let mut state = lock(&self.state);
        while !state.draining && !state.has_room() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.draining
    }

    /// Waits until the daemon accepts. Returns `false` if it won't again.
    pub(super) fn wait_for_resume(&self) -> bool {
        let mut state = lock(&self.state);
        while state.draining && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.closed
    }

    /// Waits until the daemon drains, `time` at most.
    pub(super) fn rest(&self, time: Duration) {
        let state = lock(&self.state);
        drop(self.changed.wait_timeout_while(state, time, |state| !state.draining));
    }

    /// Begins a drain of what is open.
    fn begin_drain(&self, state: &mut EntryState) {
        let now = self.now();
        state.draining = true;
        state.open.values().for_each(|entry| entry.conduct().drain(now));
        self.waker.wake();
        self.changed.notify_all();
    }

    /// Drains, and returns when that is over.
    pub(super) fn drain(&self, grace: Duration) -> Drained {
        let mut state = lock(&self.state);
        state.drain = Some(Drain::new(self.now(), grace));
        self.begin_drain(&mut state);
        loop {
            let now = self.now();
            for entry in state.open.values() {
                entry.look(now);
            }
            // Another thread that drains replaces this one's drain.
            let Some(drain) = &state.drain else { return Drained::default() };
            if let Some(drained) = drain.over(now, state.accepting, state.count()) {
                state.drain = None;
                return drained;
            }
            let pause = drain.pause(now, self.patience.step());
            state = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Accepts again.
    pub(super) fn resume(&self) {
        let mut state = lock(&self.state);
        if !state.closed {
            state.draining = false;
            self.stop.drain();
            self.changed.notify_all();
        }
    }

    /// Ends what the daemon has let go of: accepting for good, and connections as a drain does, without waiting.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        self.begin_drain(&mut state);
    }

    /// Connection `id` has ended; its client is still waited for if it `lingers`.
    pub(super) fn ended(&self, id: ConnId, way: Way, lingers: bool) {
        let mut state = lock(&self.state);
        if state.open.remove(&id).is_some()
            && let Some(drain) = &mut state.drain
        {
            drain.ended(way);
        }
        state.lingering += u32::from(lingers);
        self.changed.notify_all();
    }

    /// A client that lingered is not waited for any more.
    pub(super) fn lingered(&self) {
        lock(&self.state).lingering -= 1;
        self.changed.notify_all();
    }

    /// Waits until no client lingers, `time` at most.
    pub(super) fn wait_for_lingering(&self, time: Duration) {
        let state = lock(&self.state);
        drop(self.changed.wait_timeout_while(state, time, |state| state.lingering > 0));
    }
}
