//! A child process that several threads may end.
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// The interval at which to look for what is not announced.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// A child in a process group of its own: an interrupt from the keyboard reaches the demonstration alone, which then
/// ends its children in order.
#[derive(Clone, Debug)]
pub(crate) struct DemoProcess(Arc<Mutex<Child>>);

impl DemoProcess {
    /// Starts `command`.
    pub(crate) fn start(command: &mut Command) -> io::Result<DemoProcess> {
        Ok(DemoProcess(Arc::new(Mutex::new(command.process_group(0).spawn()?))))
    }

    /// Works on the child while no other thread does, so that its pid is its own until it has been collected.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Child) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends `signal` to the child and its group, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        self.with(|child| {
            if matches!(child.try_wait(), Ok(None)) {
                // It may end at this very moment; then there is nothing to do.
                let _ = killpg(Pid::from_raw(child.id().cast_signed()), signal);
            }
        });
    }

    /// Returns how it ended, if it has.
    pub(crate) fn ended(&self) -> io::Result<Option<ExitStatus>> {
        self.with(Child::try_wait)
    }

    /// Returns how it ended, if it does so within `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let until = Instant::now() + limit;
        loop {
            let ended = self.ended()?;
            if ended.is_some() || Instant::now() > until {
                return Ok(ended);
            }
            std::thread::sleep(TICK);
        }
    }
}

/// The processes that run a program from below `dir`. Empty where there is no `/proc`.
pub(crate) fn running_from(dir: &Path) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pid = |name: &std::ffi::OsStr| name.to_str()?.parse().ok().map(Pid::from_raw);
    let runs = |path: &Path| std::fs::read_link(path.join("exe")).is_ok_and(|exe| exe.starts_with(dir));
    entries
        .flatten()
        .filter(|entry| runs(&entry.path()))
        .filter_map(|entry| pid(&entry.file_name()))
        .collect()
}

/// Ends the processes that run a program from below `dir`, at once.
pub(crate) fn kill_all_from(dir: &Path) {
    for pid in running_from(dir) {
        // One that has ended meanwhile needs no killing.
        let _ = kill(pid, Signal::SIGKILL);
    }
}
