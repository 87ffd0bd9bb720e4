//! The reference supervisor: owns a daemon's listening sockets, keeps the daemon running, and replaces its
//! binary without an interruption.
//!
//! ```text
//! handoff-supervisor run     --config handoff.toml
//! handoff-supervisor swap    --config handoff.toml [--binary PATH]
//! handoff-supervisor cancel  --config handoff.toml
//! handoff-supervisor status  --config handoff.toml [--watch]
//! handoff-supervisor history --config handoff.toml
//! handoff-supervisor detach  --config handoff.toml
//! handoff-supervisor check   --config handoff.toml
//! ```
//!
//! The program is [`main`], so that any package can have it as a thin binary; [`client`] is what `swap` and
//! `status` do, for programs. The handoff itself is the library's: see the crate `handoff`.
#![warn(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nothing can be written")]

use std::process::ExitCode;

mod cli;
pub mod client;
pub mod config;
mod daemon;
pub mod exit;
mod fields;
pub mod history;
mod inbox;
mod instance;
pub mod journal;
mod listen;
mod live;
mod log;
mod metrics;
mod output;
pub mod protocol;
mod reap;
mod recovery;
mod run;
mod scrape;
mod service;
mod signals;
mod text;
mod trigger;
mod when;
mod work;

/// The program: reads the command line, does what it says, returns the exit status that [`exit::Code`] lists.
pub fn main() -> ExitCode {
    cli::main()
}
