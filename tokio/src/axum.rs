//! `axum::serve` on an [`AsyncListener`].
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::Listener;

use crate::listener::AsyncListener;
use crate::stream::AsyncStream;

/// How long to wait before accepting again after an error.
const REST: Duration = Duration::from_millis(100);

impl Listener for AsyncListener {
    type Io = AsyncStream;
    type Addr = Option<SocketAddr>;

    async fn accept(&mut self) -> (AsyncStream, Option<SocketAddr>) {
        loop {
            match AsyncListener::accept(self).await {
                Ok(accepted) => return accepted,
                Err(error) => tracing::warn!(target: "handoff.connections", %error, "can't accept for now"),
            }
            tokio::time::sleep(REST).await;
        }
    }

    fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        AsyncListener::local_addr(self)
    }
}
