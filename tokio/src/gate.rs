//! Whether a server may accept, and which of its connections have never sent anything.
//!
//! Invariant: what was accepted before the gate was shut may send its first request. A server that shuts down gracefully closes
//! a connection that has not sent anything at once, and a client does not repeat a request that it has sent on a new one.
use std::io;
use std::task::Poll;

use tokio::sync::watch;

#[derive(Debug, Default)]
struct GateState {
    shut: bool,
    /// The server is to shut down.
    ended: bool,
    open: u32,
    /// How many of the open connections have never sent anything.
    silent: u32,
}

/// The gate of one run of a server.
#[derive(Debug, Default)]
pub(crate) struct AcceptGate(watch::Sender<GateState>);

impl AcceptGate {
    /// Calls `accept`, which does not block, unless the gate is shut. Once [`AcceptGate::shut`] has returned, nothing is accepted.
    pub(crate) fn pass<T>(&self, accept: impl FnOnce() -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let mut accepted = Poll::Pending;
        self.0.send_if_modified(|state| {
            if state.shut {
                return false;
            }
            accepted = accept();
            let has_come = matches!(accepted, Poll::Ready(Ok(_)));
            (state.open, state.silent) =
                (state.open + u32::from(has_come), state.silent + u32::from(has_come));
            has_come
        });
        accepted
    }

    /// A connection has sent its first byte.
    pub(crate) fn spoke(&self) {
        self.0.send_modify(|state| state.silent -= 1);
    }

    /// A connection has ended.
    pub(crate) fn left(&self, was_silent: bool) {
        self.0.send_modify(|state| {
            state.open -= 1;
            state.silent -= u32::from(was_silent);
        });
    }

    /// Lets nothing pass any more.
    pub(crate) fn shut(&self) {
        self.0.send_modify(|state| state.shut = true);
    }

    /// Whether nothing passes any more.
    pub(crate) fn is_shut(&self) -> bool {
        self.0.borrow().shut
    }

    /// Waits until each connection has sent something, or has ended.
    pub(crate) async fn all_have_spoken(&self) {
        // It fails only without a sender, and this is one.
        let _ = self.0.subscribe().wait_for(|state| state.silent == 0).await;
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

    /// How many connections are open.
    pub(crate) fn open(&self) -> u32 {
        self.0.borrow().open
    }
}
