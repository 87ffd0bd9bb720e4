//! The tasks that wait for their clients: a drain asks them again.
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use handoff::daemon::{ConnId, DrainState};
use tokio::sync::watch;
use tokio::time::timeout;

/// The interval at which a drain asks again: new connections reach their bound, and a slow client takes what
/// the system does not call writable yet.
pub(crate) const STEP: Duration = Duration::from_millis(10);

/// The byte that a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AwaitedByte {
    /// The first one of a request.
    First,
    /// More of a request.
    More,
    /// Room for one.
    Room,
}

impl AwaitedByte {
    pub(crate) fn is_read(self) -> bool {
        self != AwaitedByte::Room
    }
}

/// By connection and by whether a read waits; with each, whether it is for a first byte.
type WakersByClient = BTreeMap<(ConnId, bool), (Waker, bool)>;

/// The tasks that wait, or have waited: to wake one for nothing does no harm.
#[derive(Debug, Default)]
pub(crate) struct ClientWakers(Mutex<WakersByClient>);

impl ClientWakers {
    fn waiting(&self) -> MutexGuard<'_, WakersByClient> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task of `waker` waits for connection `id`.
    pub(crate) fn note(&self, id: ConnId, awaited: AwaitedByte, waker: &Waker) {
        let (is_first, mut waiting) = (awaited == AwaitedByte::First, self.waiting());
        match waiting.get_mut(&(id, awaited.is_read())) {
            Some((known, first)) => {
                known.clone_from(waker);
                *first = is_first;
            }
            None => _ = waiting.insert((id, awaited.is_read()), (waker.clone(), is_first)),
        }
    }

    /// Connection `id` has ended.
    pub(crate) fn forget(&self, id: ConnId) {
        let mut waiting = self.waiting();
        waiting.remove(&(id, true));
        waiting.remove(&(id, false));
    }

    fn wake(&self, also_idle: bool) {
        let waiting = self.waiting();
        let asked = waiting.values().filter(|(_, is_first)| also_idle || !is_first);
        asked.for_each(|(waker, _)| waker.wake_by_ref());
    }

    /// Asks again as long as there is a drain, until the registry is gone. A connection between two requests costs a drain that
    /// keeps it nothing.
    pub(crate) async fn ask_in_drains(&self, mut drain: watch::Receiver<DrainState>) {
        loop {
            let also_idle = match *drain.borrow_and_update() {
                DrainState::NoDrain => None,
                DrainState::Keeps => Some(false),
                _ => Some(true),
            };
            also_idle.into_iter().for_each(|also_idle| self.wake(also_idle));
            let changed = match also_idle {
                None => drain.changed().await,
                Some(_) => timeout(STEP, drain.changed()).await.unwrap_or(Ok(())),
            };
            if changed.is_err() {
                return;
            }
        }
    }
}
