//! A server of another library as a part of a daemon, or as the whole of one.
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use handoff::daemon::{
    DrainReport, HookResult, Patience, ReadinessSnapshot, ResumeFrom, SealProgress, SealReport, Sealed,
    StateSnapshot,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::daemon::AsyncDaemon;
use crate::gate::AcceptGate;
use crate::listener::AsyncListener;
use crate::listeners::{AsyncListeners, ListeningSocket};

type Serving = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// One run of the server, from a start to the drain that ends it.
#[derive(Debug)]
struct ServerRun {
    gate: Arc<AcceptGate>,
    task: JoinHandle<()>,
}

/// Runs a server that has a graceful shutdown, such as axum's, from each `serve` or `resume_after_abort` to the next drain.
///
/// As an [`AsyncDaemon`] it is a daemon without state. A daemon that has state keeps one for each listener, and calls
/// [`start`](AsyncServer::start), [`drain`](AsyncServer::drain) and [`resume`](AsyncServer::resume) in its own hooks.
///
/// A drain ends accepting first. What was accepted a moment before may send its first request
/// ([`Patience::first_request`]); then the server is told to shut down ([`AsyncListener::drained`]), answers what is under
/// way, and closes each connection between two requests. The drain waits for that until its grace is over: the library does not
/// know whether a connection of this server waits for its client or for the daemon, so no connection is cut earlier. What bounds a
/// request, such as a layer with a timeout, bounds the drain.
pub struct AsyncServer {
    name: String,
    serve: Box<dyn FnMut(AsyncListener) -> Serving + Send>,
    patience: Patience,
    socket: Option<ListeningSocket>,
    run: Option<ServerRun>,
}

impl fmt::Debug for AsyncServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncServer")
            .field("name", &self.name)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

impl AsyncServer {
    /// A server on the listener called `name`. `serve` is called for each run, and what it returns is spawned: it accepts on the
    /// listener, and ends after [`AsyncListener::drained`], when its connections have.
    pub fn new<S>(name: impl Into<String>, mut serve: impl FnMut(AsyncListener) -> S + Send + 'static) -> Self
    where
        S: IntoFuture<Output = io::Result<()>>,
        S::IntoFuture: Send + 'static,
    {
        AsyncServer {
            name: name.into(),
            serve: Box::new(move |listener| Box::pin(serve(listener).into_future())),
            patience: Patience::default(),
            socket: None,
            run: None,
        }
    }

    /// Replaces what a drain grants each connection. Of `patience` only the first request's time counts.
    #[must_use]
    pub fn patience(self, patience: Patience) -> AsyncServer {
        AsyncServer { patience, ..self }
    }

    /// Takes its listener, and serves.
    ///
    /// # Errors
    /// There is no listener of its name, or the runtime can't watch it.
    pub fn start(&mut self, listeners: &mut AsyncListeners) -> io::Result<()> {
        self.socket = Some(listeners.take(&self.name)?);
        self.resume()
    }

    /// Serves again after a drain; does nothing without one.
    ///
    /// # Errors
    /// Descriptors are exhausted.
    pub fn resume(&mut self) -> io::Result<()> {
        let (Some(socket), None) = (&self.socket, &self.run) else { return Ok(()) };
        let gate = Arc::new(AcceptGate::default());
        let serving = (self.serve)(AsyncListener::new(socket.watched()?, gate.clone()));
        let (name, ended) = (self.name.clone(), gate.clone());
        let task = tokio::spawn(async move {
            match serving.await {
                Ok(()) if ended.is_shut() => {}
                Ok(()) => {
                    tracing::error!(target: "handoff.connections", name, "a server has ended before a drain")
                }
                Err(error) => {
                    tracing::error!(target: "handoff.connections", name, %error, "a server has failed")
                }
            }
        });
        self.run = Some(ServerRun { gate, task });
        Ok(())
    }

    /// Drains: returns when no connection is left, or after `grace`.
    pub async fn drain(&mut self, grace: Duration) -> DrainReport {
        let mut report = DrainReport::closed(0);
        let Some(ServerRun { gate, mut task }) = self.run.take() else { return report };
        let end = Instant::now() + grace;
        gate.shut();
        let _ = timeout_at(end, gate.all_have_spoken(self.patience.first_request)).await;
        gate.end();
        if timeout_at(end, &mut task).await.is_err() {
            report.open_conns_remaining = gate.open();
        }
        report
    }

    /// Returns how many connections are open, except those that a drain has left.
    pub fn open(&self) -> u32 {
        self.run.as_ref().map_or(0, |run| run.gate.open())
    }
}

impl AsyncDaemon for AsyncServer {
    async fn open(&mut self, _: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        Ok(ReadinessSnapshot::healthy(Vec::new()))
    }

    async fn serve(&mut self, mut listeners: AsyncListeners) -> HookResult<()> {
        Ok(self.start(&mut listeners)?)
    }

    async fn drain(&mut self, grace: Duration) -> HookResult<DrainReport> {
        Ok(AsyncServer::drain(self, grace).await)
    }

    async fn seal(&mut self, _: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        Ok(SealReport::default())
    }

    async fn resume_after_abort(&mut self, _: ResumeFrom) -> HookResult<()> {
        Ok(self.resume()?)
    }

    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot::new(self.open(), Vec::new())
    }
}
