//! The rules of daemons: one writer, under the lock; no daemon leaves without a cause.
use handoff::machine::ExitReason;

use super::View;

/// After every step: at most one process writes, and it holds the lock; and nothing is made that a predecessor which may have to
/// come back could not undo.
pub(crate) fn one_writes(view: &impl View) -> Option<String> {
    let mut writer = None;
    for (pid, daemon) in view.daemons() {
        let name = || view.name(pid);
        let lives = |pid: u32| view.daemon(pid).is_some();
        if daemon.writes() && !daemon.has_lock {
            return Some(format!("{} writes without the lock", name()));
        }
        if let Some(other) = writer.filter(|_| daemon.writes()) {
            return Some(format!("{} and {} write at the same time", view.name(other), name()));
        }
        if daemon.work.finalizes && daemon.predecessor.is_some_and(lives) {
            return Some(format!("{} finalizes while its predecessor lives", name()));
        }
        writer = writer.or(daemon.writes().then_some(pid));
    }
    None
}

/// Checks that nothing in a daemon writes any more when it frees the lock.
pub(crate) fn unlocks(view: &impl View, pid: u32) -> Option<String> {
    let writes = view.daemon(pid).is_some_and(|daemon| daemon.writes() && daemon.has_lock);
    writes.then(|| format!("{} frees the lock while it writes", view.name(pid)))
}

/// Checks that a process which leaves because another serves is right: there is one, or it has no right to
/// the lock. When it leaves because it was told to: it was.
pub(crate) fn leaves(view: &impl View, pid: u32, exit: &ExitReason) -> Option<String> {
    let daemon = view.daemon(pid)?;
    let wrong = match exit {
        // One that looked at the lock, and then was stopped, has not seen what happened meanwhile.
        ExitReason::Retired if !daemon.lags && is_rightful(view, pid) && !others_live(view, pid) => {
            "nobody else is there"
        }
        ExitReason::Stopped if !daemon.told_to_stop => "nobody has told it to",
        ExitReason::Retired
        | ExitReason::Stopped
        | ExitReason::Failed(_)
        | ExitReason::HookLimit
        | ExitReason::Aborted(_) => return None,
    };
    Some(format!("{} leaves ({exit:?}), and {wrong}", view.name(pid)))
}

fn is_rightful(view: &impl View, pid: u32) -> bool {
    view.before_holder() == Some(pid) || view.holder().is_none_or(|holder| holder == pid)
}

/// A process that is about to end counts while it holds the lock: no other process can tell.
fn others_live(view: &impl View, pid: u32) -> bool {
    let mut others = view.daemons().filter(|(other, _)| *other != pid);
    view.is_stop_wanted() || others.any(|(_, daemon)| !daemon.is_dying() || daemon.has_lock)
}
