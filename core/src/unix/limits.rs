//! Limits that are answered with an error instead of the end of the process.
use std::sync::Arc;

use nix::libc;

use crate::error::Result;
use crate::unix::context::Context;

/// Lets a write beyond the limit of a file's size (`ulimit -f`) fail with `EFBIG`; by default SIGXFSZ ends the process.
/// A process that is started from this one has the default again.
///
/// # Errors
/// Signals can't be handled.
pub fn outlive_file_size_limit() -> Result<()> {
    let handled = signal_hook::flag::register(libc::SIGXFSZ, Arc::default());
    handled.map(drop).context(|| "can't handle signals".into())
}
