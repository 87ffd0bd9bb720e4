//! The registry of connections, with a task for each instead of a thread.
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use handoff::Result;
use handoff::daemon::{
    Acceptor, Connection, Connections, Counts, DrainState, Drained, EventLoop, HookResult, Listener, Patience,
};
use tokio::io::AsyncWriteExt;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::connection::AsyncConnection;
use crate::listeners::AsyncListeners;
use crate::wakers::{ClientWakers, STEP};
use crate::watch::{Watched, watch};

/// The time to wait before accepting again after an error.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type HandlerFuture = Pin<Box<dyn Future<Output = HookResult<()>> + Send>>;

/// The registry of an async daemon's connections: that of the library ([`Connections`]), which accepts, counts, drains and carries
/// them, with a task for each.
///
/// A daemon that returns it from [`AsyncDaemon::connections`](crate::AsyncDaemon::connections) gives its connections to the
/// successor, and no client notices a swap. A connection between two requests is not even woken for that, and the successor has
/// no task for it before its client speaks.
#[derive(Debug)]
pub struct AsyncConnections {
    /// Shared with a drain under way only.
    registry: Arc<Connections>,
}

impl From<Connections> for AsyncConnections {
    fn from(registry: Connections) -> AsyncConnections {
        AsyncConnections { registry: Arc::new(registry) }
    }
}

impl AsyncConnections {
    /// A registry without connections. A [`Connections`] of which more is to be said turns into one as well.
    ///
    /// # Errors
    /// Descriptors are exhausted.
    pub fn new(patience: Patience) -> Result<AsyncConnections> {
        Connections::new(patience).map(AsyncConnections::from)
    }

    /// Takes the listener called `name`, accepts on it from now on, except while the daemon drains, and calls `handler` for each
    /// connection, in a task of the connection's own. The connection ends when `handler` drops it. An error is logged, at the level
    /// *debug*; a panic ends the connection only. `handler` is called as well for each connection that comes from another
    /// process, and for one that is kept and goes on here.
    ///
    /// # Errors
    /// There is no listener of this name, or the runtime can't watch it.
    pub fn serve<F>(
        &self,
        listeners: &mut AsyncListeners,
        name: &str,
        handler: impl Fn(AsyncConnection) -> F + Send + Sync + 'static,
    ) -> HookResult<()>
    where
        F: Future<Output = HookResult<()>> + Send + 'static,
    {
        let listener = Listener::from(listeners.take(name)?);
        let wakers = Arc::new(ClientWakers::default());
        let handler = Box::new(move |connection| Box::pin(handler(connection)) as HandlerFuture);
        let tasks = Arc::new(Tasks { handler, wakers: wakers.clone(), runtime: Handle::current() });
        let (tell, drain) = watch::channel(DrainState::NoDrain);
        let acceptor =
            self.registry.serve_on(listener, Arc::new(TaskLoop { tasks: tasks.clone(), drain: tell }));
        let asks = drain.clone();
        tokio::spawn(async move { wakers.ask_in_drains(asks).await });
        let acceptor = watch(acceptor).map_err(|(_, error)| error)?;
        tokio::spawn(accept_all(acceptor, tasks, drain));
        Ok(())
    }

    /// Drains: returns when no connection is left that could not be kept, or after `grace`. [`Connections`] says what becomes of
    /// which connection. Nothing is accepted until [`resume`](AsyncConnections::resume).
    ///
    /// Dropped, it goes on.
    pub async fn drain(&self, grace: Duration) -> Drained {
        let registry = self.registry.clone();
        // A drain that panicked has not closed anything, and its report says so.
        spawn_blocking(move || registry.drain(grace)).await.unwrap_or_default()
    }

    /// Accepts again after a drain, and goes on with what was kept; does nothing without one.
    pub fn resume(&self) {
        self.registry.resume();
    }

    /// Returns how many connections there are now.
    pub fn counts(&self) -> Counts {
        self.registry.counts()
    }

    pub(crate) fn registry(&self) -> &Connections {
        &self.registry
    }
}

/// The things that a task for a connection needs.
struct Tasks {
    handler: Box<dyn Fn(AsyncConnection) -> HandlerFuture + Send + Sync>,
    wakers: Arc<ClientWakers>,
    runtime: Handle,
}

impl Tasks {
    fn spawn(self: &Arc<Self>, connection: Connection) {
        let tasks = self.clone();
        self.runtime.spawn(async move { tasks.attend(connection).await });
    }

    /// Serves a connection until it ends, or is kept for a successor.
    async fn attend(&self, connection: Connection) {
        let id = connection.id();
        let mut connection = AsyncConnection::watch(connection, self.wakers.clone()).await;
        let served = match connection.flush().await {
            Ok(()) => (self.handler)(connection).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = served {
            tracing::debug!(target: "handoff.connections", %id, %error, "a connection failed");
        }
    }
}

/// The tasks of a listener's connections, as the registry sees them.
struct TaskLoop {
    tasks: Arc<Tasks>,
    drain: watch::Sender<DrainState>,
}

impl EventLoop for TaskLoop {
    fn take(&self, connection: Connection) {
        self.tasks.spawn(connection);
    }

    fn turn(&self, drain_state: DrainState) {
        self.drain.send_replace(drain_state);
    }
}

/// Accepts, except in drains, until the registry is closed.
async fn accept_all(
    listener: AsyncFd<Watched<Acceptor>>,
    tasks: Arc<Tasks>,
    mut drain: watch::Receiver<DrainState>,
) {
    let mut in_trouble = false;
    loop {
        let drain_state = *drain.borrow_and_update();
        if drain_state == DrainState::Closed {
            return;
        }
        let ready = tokio::select! {
            changed = drain.changed() => if changed.is_err() { return } else { continue },
            ready = listener.readable(), if drain_state == DrainState::NoDrain => ready,
        };
        let accepted = ready.and_then(|mut ready| {
            let accepted = listener.get_ref().0.try_accept();
            if matches!(&accepted, Err(error) if error.kind() == ErrorKind::WouldBlock) {
                ready.clear_ready();
            }
            accepted
        });
        match accepted {
            Ok(Some(connection)) => {
                tasks.spawn(connection);
                in_trouble = false;
            }
            // A drain is about to be told of, or there are too many.
            Ok(None) => sleep(STEP).await,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                if !in_trouble {
                    tracing::warn!(target: "handoff.connections", %error, "can't accept for now");
                }
                in_trouble = true;
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
