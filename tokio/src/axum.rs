//! `axum::serve` on an [`AsyncListener`].
use std::io;
use std::net::SocketAddr;

use axum::serve::Listener;

use crate::connections::ACCEPT_PAUSE;
use crate::listener::AsyncListener;
use crate::stream::AsyncStream;

impl Listener for AsyncListener {
    type Io = AsyncStream;
    type Addr = Option<SocketAddr>;

    async fn accept(&mut self) -> (AsyncStream, Option<SocketAddr>) {
        loop {
            match AsyncListener::accept(self).await {
                Ok(accepted) => return accepted,
                Err(error) => tracing::warn!(target: "handoff.connections", %error, "can't accept for now"),
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }

    fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        AsyncListener::local_addr(self)
    }
}
