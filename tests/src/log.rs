//! The log of a world: what its processes do, one line after the other in one file.
use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::world::World;

/// The events that are logged unless `RUST_LOG` says something else: every event of the protocol. Tests wait
/// for these lines.
const FILTER: &str = "info,handoff=trace";

/// Logs to standard error, each line with `role` and the pid in front of it: for the processes of a world.
pub fn start_log(role: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    let prefix = format!("{role}[{}] ", std::process::id());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let _ = log.with_writer(move || Prefixed(prefix.clone())).finish().try_init();
}

/// Writes each line in one call, so that those of several processes do not mix.
struct Prefixed(String);

impl Write for Prefixed {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&[self.0.as_bytes(), line].concat())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A place in the log of a world.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl World {
    /// The end of the log as it is now.
    pub fn mark(&self) -> Mark {
        Mark(self.output().len())
    }

    /// Returns how many lines with `what` in them `pid` has logged since `mark`.
    pub fn count_said(&self, mark: Mark, pid: u32, what: &str) -> usize {
        let output = self.output();
        let process = format!("[{pid}] ");
        let is_its = |line: &&str| line.split_once(&process).is_some_and(|(role, _)| !role.contains(' '));
        output
            .get(mark.0..)
            .unwrap_or_default()
            .lines()
            .filter(is_its)
            .filter(|line| line.contains(what))
            .count()
    }

    /// Returns whether `pid` has logged a line with `what` in it since `mark`.
    pub fn has_said(&self, mark: Mark, pid: u32, what: &str) -> bool {
        self.count_said(mark, pid, what) > 0
    }
}
