//! Puts a daemon's control sockets back when their names were removed or renamed: a supervisor could neither find nor ask it.
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Instant;

use crate::error::Error;
use crate::time::Duration;
use crate::unix::control::ControlSocket;
use crate::unix::dir_watch::DirWatch;
use crate::unix::sparing::Sparing;

/// The time until the next try, where the directory is gone or not writable.
const AGAIN: Duration = Duration::from_secs(1);

/// Looks after the names of a control socket.
#[derive(Debug)]
pub(super) struct Names {
    /// `None` where nothing can be watched.
    watch: Option<DirWatch>,
    /// This process has taken the control path, and has the lock.
    pub(super) has_path: bool,
    /// A name is missing, and could not be put back.
    try_again_at: Option<Instant>,
    told: Sparing,
}

impl Names {
    /// Watches the directory of the control path.
    pub(super) fn new(control: &Path) -> Names {
        let watch = DirWatch::around(control).inspect_err(|error| {
            let control = control.display();
            tracing::info!(target: "handoff.control", %error, "can't watch for the removal of {control}");
        });
        Names { watch: watch.ok(), has_path: false, try_again_at: None, told: Sparing::default() }
    }

    /// Readable when a name may have gone.
    pub(super) fn pollable(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref()?.pollable()
    }

    pub(super) fn look_again_after(&self) -> Option<Duration> {
        self.try_again_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Puts back what has gone since the last call.
    pub(super) fn look_after(&mut self, socket: &mut ControlSocket) {
        let has_changed = self.watch.as_mut().is_some_and(DirWatch::has_changed);
        if !has_changed && self.try_again_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        let result = socket.put_back(self.has_path);
        // When another file goes away, that wakes this process.
        let is_another = matches!(result, Err(Error::Caller(_)));
        self.try_again_at = (result.is_err() && !is_another).then(|| Instant::now() + AGAIN);
        let is_worth_a_line = result.as_ref().map_or(true, |names| !names.is_empty());
        let Some(left_out) = is_worth_a_line.then(|| self.told.admits(Instant::now())).flatten() else {
            return;
        };
        match result {
            Ok(names) => {
                tracing::warn!(target: "handoff.control", left_out, "was removed or renamed, and is put back: {names:?}");
            }
            Err(error) => tracing::warn!(target: "handoff.control", left_out, "{error}"),
        }
    }
}
