//! A durable key-value server that speaks RESP (the protocol of Redis) and can be replaced while it serves: the
//! daemon that `handoff` is shown and tested with, and a small but honest one. A write is acknowledged when it is on
//! disk, not before.
//!
//! - [`Kv`] is the server, with the hooks by which it is warmed up, opened, drained, sealed and resumed;
//! - [`main`] is the whole program, so that a binary in any package is one line;
//! - [`load`] is the client that keeps it busy and keeps the books: what was acknowledged, what came back.
//!
//! Its clients keep their connections when it is replaced, with what they are in the middle of: half a command, a pipeline,
//! replies that they have not read, a transaction (`MULTI`), subscriptions (`SUBSCRIBE`). `client_state` is what the next
//! process is told of a client.
//!
//! Inside, `resp`, `head` (of HTTP) and `command` know no I/O; `store` is the database (and says why it is LMDB),
//! `writer` the group commit, `connection` one client, `subscriptions` what reaches several, `daemon` the hooks. Accepting, counting and draining are the
//! library's.
#![deny(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nothing can be written")]

mod cli;
mod client_state;
mod command;
mod connection;
mod daemon;
mod engine;
mod handshake;
pub mod head;
mod http;
pub mod load;
mod out;
pub mod resp;
mod session;
mod store;
mod subscriptions;
mod sync;
mod transaction;
mod writer;

pub use cli::{main, main_as};
pub use daemon::{HTTP, Kv, RESP, ServerConfig};
pub use handoff::daemon::Patience;
