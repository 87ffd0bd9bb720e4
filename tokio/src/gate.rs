//! The permission of a server to accept, and its connections that have not sent anything yet.
//!
//! Invariant: what was accepted before the gate was shut may send its first request. A server that shuts down gracefully closes
//! a connection that has not sent anything at once, and a client does not repeat a request that it has sent on a new one.
use std::collections::BTreeMap;
use std::io;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

#[derive(Debug, Default)]
struct GateState {
    shut: bool,
    /// `true` if the server is to shut down.
    ended: bool,
    open: u32,
    accepted: u64,
    /// The open connections that have not sent anything yet, by their number, and when they were accepted.
    silent: BTreeMap<u64, Instant>,
}

/// The gate of one run of a server.
#[derive(Debug, Default)]
pub(crate) struct AcceptGate(watch::Sender<GateState>);

impl AcceptGate {
    /// Calls `accept`, which does not block, unless the gate is shut, and returns a connection with its number. Once
    /// [`AcceptGate::shut`] has returned, nothing is accepted.
    pub(crate) fn pass<T>(&self, accept: impl FnOnce() -> Poll<io::Result<T>>) -> Poll<io::Result<(T, u64)>> {
        let mut accepted = Poll::Pending;
        self.0.send_if_modified(|state| {
            if state.shut {
                return false;
            }
            accepted = accept().map_ok(|connection| {
                (state.open, state.accepted) = (state.open + 1, state.accepted + 1);
                state.silent.insert(state.accepted, Instant::now());
                (connection, state.accepted)
            });
            false
        });
        accepted
    }

    /// Connection `number` has sent its first byte.
    pub(crate) fn spoke(&self, number: u64) {
        self.0.send_modify(|state| _ = state.silent.remove(&number));
    }

    /// Connection `number` has ended.
    pub(crate) fn left(&self, number: u64) {
        self.0.send_modify(|state| {
            state.open -= 1;
            state.silent.remove(&number);
        });
    }

    /// Lets nothing pass any more.
    pub(crate) fn shut(&self) {
        self.0.send_modify(|state| state.shut = true);
    }

    /// Returns whether nothing passes any more.
    pub(crate) fn is_shut(&self) -> bool {
        self.0.borrow().shut
    }

    /// Waits until each connection has sent something, has ended, or was accepted as long ago as `patience`.
    pub(crate) async fn all_have_spoken(&self, patience: Duration) {
        let mut watcher = self.0.subscribe();
        loop {
            // A later one is younger.
            let youngest = watcher.borrow_and_update().silent.last_key_value().map(|(_, accepted)| *accepted);
            let Some(accepted) = youngest else { return };
            if timeout_at(accepted + patience, watcher.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Has the server shut down.
    pub(crate) fn end(&self) {
        self.0.send_modify(|state| state.ended = true);
    }

    /// Waits until the server is to shut down.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut watcher = self.0.subscribe();
        async move {
            // A gate that is gone is one that no server has any more.
            let _ = watcher.wait_for(|state| state.ended).await;
        }
    }

    /// Returns how many connections are open.
    pub(crate) fn open(&self) -> u32 {
        self.0.borrow().open
    }
}
