//! The connections that are open, and what waits for them: acceptors and drains.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use crate::connections::{Conduct, Drain, Drained, Patience, RequestPhase, Way};
use crate::host::Clock;
use crate::time::{Duration, Time};
use crate::unix::poller::MonotonicClock;
use crate::unix::wake::{WakeReceiver, Waker, waker};

use super::arrival::{Arrival, Welcome};
use super::client_watch::ClientWatch;
use super::entry::{Entry, lock};
use super::event_loop::DrainState;
use super::lot::Lot;
use super::pusher::start_sending;
use super::serve::{Attendant, Service, attendant_of};
use super::socket::{Listener, Socket};
use super::{ConnId, Counts};

/// The number of connections that may be open, if the daemon says nothing else.
const LIMIT: u32 = 1024;

fn count(connections: &BTreeMap<ConnId, Arc<Entry>>) -> u32 {
    u32::try_from(connections.len()).unwrap_or(u32::MAX)
}

/// Connections that another process has accepted, none of which has a thread.
#[derive(Debug, Default)]
pub(super) struct ArrivedConnections {
    pub(super) open: BTreeMap<ConnId, Arc<Entry>>,
    pub(super) idle: BTreeSet<ConnId>,
    /// Those of which more is known than that they are open.
    pub(super) with_state: Vec<ConnId>,
}

/// The news about the connections that a successor can have.
#[derive(Clone, Debug)]
pub(super) enum News {
    Opened(ConnId, Arc<Entry>),
    /// The connection has ended, or can't be kept.
    Closed(ConnId),
}

#[derive(Debug)]
struct RegistryState {
    open: BTreeMap<ConnId, Arc<Entry>>,
    limit: u32,
    accepted: u64,
    /// The number of threads that may be in accept(2).
    accepting: u32,
    lingering: u32,
    draining: bool,
    /// `true` if a drain keeps the connections for a successor.
    keeps: bool,
    /// The connections that a drain waits for: all, or those that can't be kept yet.
    awaited: BTreeMap<ConnId, Arc<Entry>>,
    /// The connections that have something to tell a successor.
    with_state: BTreeMap<ConnId, Arc<Entry>>,
    /// The news since the last question, for a successor that follows.
    news: Option<Vec<News>>,
    /// Those that wait in the lot for their clients.
    idle: BTreeSet<ConnId>,
    /// Those that are not served yet, and whose clients have spoken.
    early: BTreeSet<ConnId>,
    /// `true` if the daemon has let go of the registry.
    closed: bool,
    drain: Option<Drain>,
}

impl RegistryState {
    fn count(&self) -> u32 {
        count(&self.open)
    }

    fn note(&mut self, news: News) {
        self.news.iter_mut().for_each(|all| all.push(news.clone()));
    }

    fn drain_state(&self) -> DrainState {
        match (self.closed, self.draining, self.keeps) {
            (true, _, _) => DrainState::Closed,
            (false, false, _) => DrainState::NoDrain,
            (false, true, true) => DrainState::Keeps,
            (false, true, false) => DrainState::Ends,
        }
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
    /// Readable as long as a drain ends the connections: those between two requests wait for this one, so that a drain that keeps
    /// them wakes no thread.
    pub(super) end: WakeReceiver,
    end_waker: Waker,
    pub(super) lot: Lot,
    services: Mutex<Vec<Service>>,
    welcome: OnceLock<Welcome>,
    /// The daemon lets its connections go to a successor.
    carries: AtomicBool,
    clock: MonotonicClock,
    state: Mutex<RegistryState>,
    changed: Condvar,
}

impl Shared {
    pub(super) fn new(patience: Patience) -> io::Result<Shared> {
        let (stop_waker, stop) = waker()?;
        let (end_waker, end) = waker()?;
        let state = RegistryState {
            open: BTreeMap::new(),
            limit: LIMIT,
            accepted: 0,
            accepting: 0,
            lingering: 0,
            draining: false,
            keeps: false,
            awaited: BTreeMap::new(),
            with_state: BTreeMap::new(),
            news: None,
            idle: BTreeSet::new(),
            early: BTreeSet::new(),
            closed: false,
            drain: None,
        };
        let (clock, changed) = (MonotonicClock::new(), Condvar::new());
        let (state, lot) = (Mutex::new(state), Lot::new()?);
        Ok(Shared {
            patience,
            stop,
            waker: stop_waker,
            end,
            end_waker,
            lot,
            clock,
            state,
            changed,
            services: Mutex::default(),
            welcome: OnceLock::new(),
            carries: AtomicBool::new(false),
        })
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(super) fn set_limit(&self, limit: u32) {
        lock(&self.state).limit = limit;
    }

    /// Has requests kept until they are answered, so that they can be begun again.
    pub(super) fn set_carries(&self) {
        self.carries.store(true, Relaxed);
    }

    pub(super) fn carries(&self) -> bool {
        self.carries.load(Relaxed)
    }

    pub(super) fn add(&self, service: Service) {
        let state = lock(&self.state);
        if let Attendant::Loop(event_loop) = &service.attendant {
            event_loop.turn(state.drain_state());
        }
        lock(&self.services).push(service);
    }

    /// Tells all that wait for the begin or the end of a drain.
    fn turn(&self, state: &RegistryState) {
        let drain_state = state.drain_state();
        for service in lock(&self.services).iter() {
            if let Attendant::Loop(event_loop) = &service.attendant {
                event_loop.turn(drain_state);
            }
        }
        self.changed.notify_all();
    }

    pub(super) fn set_welcome(&self, welcome: Welcome) {
        // The first one counts.
        let _ = self.welcome.set(welcome);
    }

    /// Returns whether connections are served here by what a successor has as well: those of
    /// [`Connections::try_accept`] are drained.
    pub(super) fn serves(&self) -> bool {
        !lock(&self.services).is_empty()
    }

    /// Returns what serves a connection that was accepted elsewhere.
    pub(super) fn attendant_of(&self, socket: &Socket) -> Option<Attendant> {
        attendant_of(&lock(&self.services), &socket.local()?)
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

    /// Accepts one connection, if there is room for it, and no drain. A drain that begins meanwhile waits for this to return.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if no client waits; otherwise as `accept(2)`.
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
        accepted.map(|socket| Some(self.register(&mut state, socket)))
    }

    fn register(&self, state: &mut RegistryState, socket: Socket) -> (ConnId, Arc<Entry>) {
        let now = self.now();
        let mut conduct = Conduct::new(now, self.patience);
        match (state.draining, state.keeps) {
            (true, true) => conduct.keep(now),
            (true, false) => conduct.drain(now),
            (false, _) => {}
        }
        state.accepted += 1;
        let (id, entry) = (ConnId(state.accepted), Arc::new(Entry::new(socket, conduct)));
        state.open.insert(id, entry.clone());
        if state.draining && !state.keeps {
            state.awaited.insert(id, entry.clone());
        }
        state.note(News::Opened(id, entry.clone()));
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
    fn begin_drain(&self, state: &mut RegistryState) {
        let now = self.now();
        state.draining = true;
        let keeps = state.keeps;
        let begin = |entry: &Entry| {
            let mut conduct = entry.conduct();
            if keeps {
                conduct.keep(now)
            } else {
                conduct.drain(now)
            }
            !conduct.is_kept()
        };
        let awaited = state.open.iter().filter(|(_, entry)| begin(entry));
        state.awaited = awaited.map(|(id, entry)| (*id, entry.clone())).collect();
        if !keeps {
            self.end_waker.wake();
            let idle = std::mem::take(&mut state.idle);
            self.lot.dispatch(idle.into_iter().filter_map(|id| Some((id, state.open.get(&id)?.clone()))));
        }
        self.waker.wake();
        self.turn(state);
    }

    /// Drains, and returns when that is over.
    pub(super) fn drain(&self, grace: Duration) -> Drained {
        let mut state = lock(&self.state);
        state.drain = Some(Drain::new(self.now(), grace));
        self.begin_drain(&mut state);
        loop {
            let now = self.now();
            for entry in state.awaited.values() {
                entry.look(now);
            }
            // Another thread that drains replaces this one's drain.
            let Some(drain) = &state.drain else { return Drained::default() };
            let left = count(&state.awaited);
            if let Some(drained) = drain.over(now, state.accepting, left) {
                state.drain = None;
                // What could not be kept in time ends after its request.
                let given_up: Vec<ConnId> = state.awaited.keys().copied().collect();
                state.awaited.values().for_each(|entry| entry.conduct().drain(now));
                given_up.into_iter().for_each(|id| state.note(News::Closed(id)));
                return Drained { kept: count(&state.open) - left, ..drained };
            }
            let pause = drain.pause(now, self.patience.step());
            state = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Accepts again, and goes on with what was kept.
    pub(super) fn resume(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        if !state.closed {
            (state.draining, state.keeps) = (false, false);
            self.stop.drain();
            self.end.drain();
            state.news = None;
            let open = state.open.iter().map(|(id, entry)| (*id, entry.clone()));
            let (parked, _): (Vec<_>, Vec<_>) = open.partition(|(_, entry)| entry.conduct().release());
            state.with_state.retain(|_, entry| !entry.state().is_empty());
            for (id, entry) in &state.with_state {
                if parked.binary_search_by_key(id, |(id, _)| *id).is_err() {
                    self.send_what_waits(entry);
                }
            }
            self.lot.dispatch(parked.into_iter());
            self.turn(&state);
        }
    }

    /// Sends what was pushed to a client while its connection was kept.
    fn send_what_waits(self: &Arc<Self>, entry: &Arc<Entry>) {
        let waits = !entry.state().output.is_empty();
        if waits && let Err(error) = start_sending(entry, self) {
            tracing::warn!(target: "handoff.connections", %error, "no thread that sends to a client: it is cut");
        }
    }

    /// Accepts nothing until [`Shared::begin`]: connections that arrive are served before others.
    pub(super) fn hold(&self) {
        lock(&self.state).draining = true;
    }

    /// Accepts from now on.
    pub(super) fn begin(&self) {
        let mut state = lock(&self.state);
        state.draining = false;
        self.turn(&state);
    }

    /// Lets the next drain keep the connections for a successor. Until the daemon resumes, [`Shared::news`] tells which those are.
    pub(super) fn keep(&self) {
        let mut state = lock(&self.state);
        let open = state.open.iter().filter(|(_, entry)| !entry.conduct().is_ending());
        let open = open.map(|(id, entry)| News::Opened(*id, entry.clone())).collect();
        (state.keeps, state.news) = (true, Some(open));
    }

    /// Returns what has come and gone since this was asked last.
    pub(super) fn news(&self) -> Vec<News> {
        lock(&self.state).news.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The connections that have something to tell a successor.
    pub(super) fn with_state(&self) -> BTreeMap<ConnId, Arc<Entry>> {
        lock(&self.state).with_state.clone()
    }

    /// Connection `id` has something to tell a successor.
    pub(super) fn has_state(&self, id: ConnId) {
        let state = &mut *lock(&self.state);
        if let Some(entry) = state.open.get(&id) {
            state.with_state.insert(id, entry.clone());
        }
    }

    /// Connection `id` is parked: no drain waits for it any more.
    pub(super) fn parked(&self, id: ConnId) {
        self.has_state(id);
        let mut state = lock(&self.state);
        if state.awaited.remove(&id).is_some() && state.awaited.is_empty() {
            self.changed.notify_all();
        }
    }

    /// A connection that another process has accepted. Nothing is read or written before it is adopted.
    pub(super) fn arrived(&self, socket: Socket) -> (ConnId, Arc<Entry>) {
        let conduct = Conduct::new(self.now(), self.patience);
        let mut state = lock(&self.state);
        state.accepted += 1;
        (ConnId(state.accepted), Arc::new(Entry::new(socket, conduct)))
    }

    /// Serves connections that have arrived, and that the lot watches; those `with_state` at once, unless they wait for their
    /// client. Takes no longer for many idle ones than for none.
    pub(super) fn adopt(self: &Arc<Self>, mut arrived: ArrivedConnections) {
        if let Some(welcome) = self.welcome.get() {
            let with_state = arrived.with_state.iter().filter_map(|id| Some((*id, arrived.open.get(id)?)));
            let arrivals = with_state.filter_map(|(id, entry)| Arrival::of(id, entry, self));
            arrivals.for_each(|arrival| (welcome.0)(&arrival));
        }
        let state = &mut *lock(&self.state);
        state.open.append(&mut arrived.open);
        state.idle.append(&mut arrived.idle);
        let mut ready = std::mem::take(&mut state.early);
        if !ClientWatch::SEES_CLIENTS {
            ready.extend(&state.idle);
        }
        for id in &arrived.with_state {
            let Some(entry) = state.open.get(id) else { continue };
            let known = entry.state();
            state.with_state.insert(*id, entry.clone());
            if !known.output.is_empty() || !(known.input.is_empty() || known.awaits_more) {
                ready.insert(*id);
            }
        }
        ready.retain(|id| state.idle.remove(id));
        self.lot.dispatch(ready.into_iter().filter_map(|id| Some((id, state.open.get(&id)?.clone()))));
    }

    /// The client of a connection in the lot speaks. The connection is returned, unless it is not served yet.
    pub(super) fn speaks(&self, id: ConnId) -> Option<(ConnId, Arc<Entry>)> {
        let mut state = lock(&self.state);
        if state.idle.remove(&id) {
            return state.open.get(&id).map(|entry| (id, entry.clone()));
        }
        if !state.open.contains_key(&id) {
            state.early.insert(id);
        }
        None
    }

    /// Ends what was kept, since a successor that has ended may have read from it. Returns how many connections.
    pub(super) fn abandon(&self) -> usize {
        let mut state = lock(&self.state);
        let before = state.open.len();
        state.open.retain(|_, entry| {
            let was_kept = entry.conduct().is_kept();
            if was_kept {
                // What a thread that still waits for the client finds is the end.
                entry.socket.shutdown(Shutdown::Both);
            }
            !was_kept
        });
        before - state.open.len()
    }

    /// Ends what the daemon has let go of: accepting for good, and connections as a drain does, without waiting.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        self.begin_drain(&mut state);
        self.lot.close();
    }

    /// Connection `id` has ended; its client is still waited for if it `lingers`.
    pub(super) fn ended(&self, id: ConnId, way: Way, lingers: bool) {
        let mut state = lock(&self.state);
        state.awaited.remove(&id);
        state.with_state.remove(&id);
        state.idle.remove(&id);
        state.note(News::Closed(id));
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Returns what a drain makes of a connection whose accept(2) was under way when the drain began.
    fn accepted_as_a_drain_begins(keeps: bool) -> Drained {
        let shared = Shared::new(Patience::default()).unwrap();
        if keeps {
            shared.keep();
        }
        let mut state = lock(&shared.state);
        shared.begin_drain(&mut state);
        let (_client, socket) = UnixStream::pair().unwrap();
        shared.register(&mut state, Socket::Unix(socket));
        let over = Drain::new(shared.now(), Duration::ZERO);
        let left = count(&state.awaited);
        let drained = over.over(shared.now(), 0, left).unwrap();
        Drained { kept: count(&state.open) - left, ..drained }
    }

    #[test]
    fn a_connection_that_is_accepted_as_a_drain_begins_is_waited_for_or_kept() {
        let (plain, keeping) = (accepted_as_a_drain_begins(false), accepted_as_a_drain_begins(true));
        assert_eq!((plain.left, plain.kept), (1, 0));
        assert_eq!((keeping.left, keeping.kept), (0, 1));
    }
}
