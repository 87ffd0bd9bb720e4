//! One connection, in the hands of the task that serves it.
use std::future::poll_fn;
use std::io::{self, BufRead, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use handoff::daemon::{ConnId, Connection, Pusher, Remaining};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::task::coop;
use tokio::time::{sleep, timeout};

use crate::wakers::{AwaitedByte, ClientWakers, STEP};
use crate::watch::{Watched, watch};

/// The longest time for which a client is waited for between two looks, after its last reply.
const LINGER_STEP: Duration = Duration::from_millis(500);

/// An accepted connection, which a task serves with [`next_request`](AsyncConnection::next_request) and tokio's traits for
/// reading and writing. `handoff::Connection` says what holds for it: what is read is buffered here, reading fails if a drain keeps
/// the connection in the middle of a request, and a handler acts on a request only when it has read all of it.
///
/// # Drop
/// The client gets what was written and then the end of the stream, and is waited for in a task; or another process goes on with
/// the connection, if a drain keeps it.
#[derive(Debug)]
pub struct AsyncConnection {
    /// Is taken when the connection is dropped, and not before.
    client: Option<AsyncFd<Watched<Connection>>>,
    id: ConnId,
    wakers: Arc<ClientWakers>,
    runtime: Handle,
}

impl AsyncConnection {
    /// Has the runtime watch the connection.
    pub(crate) async fn watch(connection: Connection, wakers: Arc<ClientWakers>) -> AsyncConnection {
        let (id, mut unwatched, mut in_trouble) = (connection.id(), connection, false);
        loop {
            match watch(unwatched) {
                Ok(client) => {
                    return AsyncConnection { client: Some(client), id, wakers, runtime: Handle::current() };
                }
                Err((connection, error)) => {
                    // The task that had it before a drain is about to let go of it.
                    if error.kind() != ErrorKind::AlreadyExists && !in_trouble {
                        tracing::warn!(target: "handoff.connections", %error, "can't watch a connection for now");
                        in_trouble = true;
                    }
                    unwatched = connection;
                }
            }
            sleep(STEP).await;
        }
    }

    /// Tries `what` again and again until it does not have to wait for the client.
    fn poll_client<T>(
        &mut self,
        context: &mut Context<'_>,
        awaited: AwaitedByte,
        mut what: impl FnMut(&mut Connection) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        // A client that is never waited for must not keep others waiting.
        let progress = ready!(coop::poll_proceed(context));
        let Some(client) = &mut self.client else { return Poll::Ready(Err(ErrorKind::NotConnected.into())) };
        loop {
            match what(&mut client.get_mut().0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => {
                    progress.made_progress();
                    return Poll::Ready(done);
                }
            }
            self.wakers.note(self.id, awaited, context.waker());
            let ready = match awaited.is_read() {
                true => client.poll_read_ready_mut(context),
                false => client.poll_write_ready_mut(context),
            };
            ready!(ready)?.clear_ready();
        }
    }

    /// Tells the registry that the last request is answered, its reply written, and waits for the next one. Returns `true` when a
    /// part of that has been received, and `false` when the handler is to return: the client has closed the connection, or a
    /// drain takes no further request, or keeps the connection for a successor.
    ///
    /// # Errors
    /// As reading.
    pub async fn next_request(&mut self) -> io::Result<bool> {
        let request = |connection: &mut Connection| match connection.poll_request()? {
            Poll::Ready(is_there) => Ok(is_there),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        };
        poll_fn(|context| self.poll_client(context, AwaitedByte::First, request)).await
    }

    /// Receives more of a request, behind what is buffered, and returns how many bytes; 0 if the client has closed. The caller bounds
    /// how long a request may become.
    ///
    /// # Errors
    /// As reading.
    pub async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_client(context, AwaitedByte::More, Connection::try_fill)).await
    }

    /// Returns what has been received and is not consumed yet.
    pub fn buffered(&self) -> &[u8] {
        self.connection().map_or(&[], Connection::buffered)
    }

    /// Returns what the daemon knows of the client, in a layout of its own: it goes with the connection from
    /// process to process.
    pub fn session(&self) -> Vec<u8> {
        self.connection().map(Connection::session).unwrap_or_default()
    }

    /// Replaces what the daemon knows of the client. To be called before the reply to the request that changes it.
    pub fn set_session(&self, session: Vec<u8>) {
        self.connection().into_iter().for_each(|connection| connection.set_session(session.clone()));
    }

    /// Returns what sends to the client from any thread; `None` never, as long as the handler has the
    /// connection.
    pub fn pusher(&self) -> Option<Pusher> {
        self.connection().map(Connection::pusher)
    }

    /// Returns how many more requests the connection takes, the one included that is being answered.
    pub fn remaining(&self) -> Remaining {
        self.connection().map_or(Remaining::This, Connection::remaining)
    }

    /// Returns whether a drain waits to keep the connection for a successor.
    pub fn is_to_be_kept(&self) -> bool {
        self.connection().is_some_and(Connection::is_to_be_kept)
    }

    /// Returns whether the connection is kept: the handler ends, and the connection does not.
    pub fn is_kept(&self) -> bool {
        self.connection().is_some_and(Connection::is_kept)
    }

    /// The connection's token, which no other connection of the registry ever has.
    pub fn id(&self) -> ConnId {
        self.id
    }

    fn connection(&self) -> Option<&Connection> {
        self.client.as_ref().map(|client| &client.get_ref().0)
    }
}

impl AsyncRead for AsyncConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let received = ready!(self.as_mut().poll_fill_buf(context))?;
        let count = received.len().min(buffer.remaining());
        buffer.put_slice(&received[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for AsyncConnection {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let connection = self.get_mut();
        if connection.buffered().is_empty() {
            ready!(connection.poll_client(context, AwaitedByte::More, Connection::try_fill))?;
        }
        Poll::Ready(Ok(connection.buffered()))
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        self.client.iter_mut().for_each(|client| client.get_mut().0.consume(count));
    }
}

impl AsyncWrite for AsyncConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_client(context, AwaitedByte::Room, |connection| connection.try_write(bytes))
    }

    /// Returns ready when nothing waits for the client: what is written is handed to the system at once, so
    /// only what was kept over a drain waits, and what was pushed.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_client(context, AwaitedByte::Room, |connection| connection.try_flush())
    }

    /// As flushing: the connection ends when it is dropped.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

impl Drop for AsyncConnection {
    fn drop(&mut self) {
        self.wakers.forget(self.id);
        if let Some(mut client) = self.client.take()
            && client.get_mut().0.poll_close().is_pending()
        {
            self.runtime.spawn(linger(client));
        }
    }
}

/// Waits until the client closes as well.
async fn linger(mut client: AsyncFd<Watched<Connection>>) {
    while client.get_mut().0.poll_close().is_pending() {
        // The connection itself says when that has taken too long.
        if let Ok(Ok(mut ready)) = timeout(LINGER_STEP, client.readable()).await {
            ready.clear_ready();
        }
    }
}
