//! The high-level entry: cold start and successor alike.
use crate::error::Result;
use crate::unix::hooks::Daemon;
use std::path::PathBuf;

/// Where a daemon lives.
#[derive(Clone, Debug)]
pub struct Options {
    pub data_dir: PathBuf,
    pub control_socket: PathBuf,
    pub build_id: Vec<u8>,
    /// bound if the process did not inherit a listener of that name
    pub listeners: Vec<(String, String)>,
}

impl Options {
    pub fn new(data_dir: impl Into<PathBuf>, control_socket: impl Into<PathBuf>) -> Self {
        todo!()
    }
    pub fn build_id(self, id: impl Into<Vec<u8>>) -> Self {
        todo!()
    }
    /// addr: `127.0.0.1:6379` or `unix:/path`
    pub fn listener(self, name: impl Into<String>, addr: impl Into<String>) -> Self {
        todo!()
    }
}

/// Why `run` returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A successor serves.
    Retired,
    /// SIGTERM or SIGINT: drained, sealed, unlocked.
    Stopped,
    /// As a successor: the handoff was rolled back.
    Aborted,
}

/// Runs `daemon` until it is replaced or stopped. Handles SIGTERM and SIGINT (drain, seal, leave).
pub fn run(options: Options, daemon: impl Daemon + 'static) -> Result<Ended> {
    todo!()
}
