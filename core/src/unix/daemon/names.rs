//! Puts a daemon's control sockets back when their names were removed or renamed: a supervisor could neither find nor ask it.
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Instant;

use crate::error::Error;
use crate::time::Duration;
use crate::unix::control::ControlSocket;
use crate::unix::dir_watch::DirWatch;
use crate::unix::sparing::NameLines;

/// The time until the next try, where the directory is gone or not writable.
const AGAIN: Duration = Duration::from_secs(1);

/// Looks after the names of a control socket.
#[derive(Debug)]
pub(super) struct Names {
    /// `None` where nothing can be watched.
    watch: Option<DirWatch>,
    /// `true` if this process has taken the control path, and has the lock.
    pub(super) has_path: bool,
    /// A name is missing and could not be put back, or what is in its way was not told yet.
    look_again_at: Option<Instant>,
    lines: NameLines,
}

impl Names {
    /// Watches the directory of the control path.
    pub(super) fn new(control: &Path) -> Names {
        let watch = DirWatch::around(control).inspect_err(|error| {
            let control = control.display();
            tracing::info!(target: "handoff.control", %error, "can't watch for the removal of {control}");
        });
        Names { watch: watch.ok(), has_path: false, look_again_at: None, lines: NameLines::default() }
    }

    /// Readable when a name may have gone.
    pub(super) fn pollable(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref()?.pollable()
    }

    pub(super) fn look_again_after(&self) -> Option<Duration> {
        self.look_again_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Puts back what has gone since the last call.
    pub(super) fn look_after(&mut self, socket: &mut ControlSocket) {
        let has_changed = self.watch.as_mut().is_some_and(DirWatch::has_changed);
        let now = Instant::now();
        if !has_changed && self.look_again_at.is_none_or(|at| at > now) {
            return;
        }
        self.look_again_at = None;
        match socket.put_back(self.has_path) {
            Ok(names) if names.is_empty() => {}
            Ok(names) => {
                if let Some(left_out) = self.lines.put_back(now) {
                    tracing::warn!(target: "handoff.control", left_out, "was removed or renamed, and is put back: {names:?}");
                }
            }
            Err(error) => {
                // When another file goes away, that wakes this process.
                let is_another = matches!(error, Error::Caller(_));
                let again = (!is_another).then(|| now + AGAIN);
                let told = self.lines.in_the_way(now).map(|left_out| {
                    tracing::warn!(target: "handoff.control", left_out, "{error}");
                });
                self.look_again_at = again.into_iter().chain(told.err()).min();
            }
        }
    }
}
