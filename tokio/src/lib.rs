//! Async daemons on [tokio] that can be replaced while they serve.
//!
//! [`run`] is `handoff::run` for an [`AsyncDaemon`]: the same hooks, in the same order, each a future on the caller's runtime.
//! What serves connections comes in two kinds:
//!
//! - [`AsyncServer`] runs a server that has a graceful shutdown of its own, such as axum's. Its connections are *drained*: each
//!   ends between two requests, and the successor accepts the next one. The server's library hides what it has read, so
//!   nothing of it can go to another process.
//!
//! - [`AsyncConnections`] is the library's registry with a task for each connection instead of a thread. Its connections are
//!   *carried*: each goes on in the successor, and no client notices the swap.
//!
//! # Hooks
//!
//! A hook is never cancelled: its future is polled to its end on a thread that does nothing else, or the process leaves. So a hook
//! may hold half-done work across an `await`. Two hooks never run at the same time. A panic is a hook that failed, as an error
//! is. The hooks' futures need not be `Send`; what they spawn must be, as ever.
//!
//! The protocol has a thread of its own: heartbeats go out even if the runtime is busy.
//!
//! ```no_run
//! use handoff_tokio::{AsyncServer, Options, run};
//!
//! async fn greet(mut listener: handoff_tokio::AsyncListener) -> std::io::Result<()> {
//!     let drained = listener.drained();
//!     let accept = async {
//!         loop {
//!             let (mut client, _) = listener.accept().await?;
//!             tokio::spawn(async move {
//!                 let mut line = [0; 64];
//!                 tokio::io::AsyncReadExt::read(&mut client, &mut line).await?;
//!                 tokio::io::AsyncWriteExt::write_all(&mut client, b"hello\n").await
//!             });
//!         }
//!     };
//!     tokio::select! {
//!         failed = accept => failed,
//!         () = drained => Ok(()),
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> handoff_tokio::Result<()> {
//! let options = Options::new("/var/lib/greet", "/run/greet.sock").listener("greet", "127.0.0.1:7000");
//! run(options, AsyncServer::new("greet", greet)).await?;
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

#[cfg(feature = "axum")]
mod axum;
mod connection;
mod connections;
mod daemon;
mod gate;
mod listener;
mod listeners;
mod run;
mod server;
mod stream;
mod wakers;
mod watch;

pub use connection::AsyncConnection;
pub use connections::AsyncConnections;
pub use daemon::AsyncDaemon;
pub use handoff::daemon::{
    ConnId, Connections, Counts, DrainReport, Drained, Ended, HookResult, Listeners, Options, Patience,
    Pusher, ReadinessSnapshot, Remaining, ResumeFrom, SealProgress, SealReport, Sealed, StateSnapshot,
};
pub use handoff::{Error, Result};
pub use listener::AsyncListener;
pub use listeners::AsyncListeners;
pub use run::run;
pub use server::AsyncServer;
pub use stream::AsyncStream;
