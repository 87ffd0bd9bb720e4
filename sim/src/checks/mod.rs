//! The rules of every world that the machines run in, be it simulated in time or explored step by step.
//!
//! A check reads a [`View`]: what the kernel, the wire and the hosts show. It never reads a machine's own state, and shares no code
//! with what it checks. Each returns what is wrong, in words. Where one world has something that the other does not (time, rivals,
//! a process that is stopped in the middle of a turn), a fact says so, and the check has one rule for it.
use std::borrow::Cow;

use handoff::journal::Journal;
use handoff::machine::{incumbent, successor};
use handoff::node::daemon::Hook as AnyHook;

pub(crate) use self::recovery::SeenRecovery;
pub(crate) use self::supervisor::{GivesUp, SeenHandoff, SeenParty};
use crate::kernel::{Life, Name};

pub(crate) mod daemon;
pub(crate) mod recovery;
pub(crate) mod supervisor;

/// A world as checks see it.
pub(crate) trait View {
    /// The daemons that have not ended.
    fn daemons(&self) -> impl Iterator<Item = (u32, SeenDaemon)>;

    /// The daemon with this pid, unless it has ended.
    fn daemon(&self, pid: u32) -> Option<SeenDaemon>;

    /// Returns what a trace calls a process.
    fn name(&self, pid: u32) -> Name;

    /// The owner of the control path, living or not.
    fn path(&self) -> Option<u32>;

    /// The process that a connect to the control path reaches.
    fn answers_at_path(&self) -> Option<u32>;

    /// Returns whether a daemon was told to stop: that nobody serves then is what was wanted.
    fn is_stop_wanted(&self) -> bool;

    /// Returns whether a daemon, which may have ended, has served; true where that is not kept.
    fn has_served(&self, pid: u32) -> bool;

    /// The record's holder.
    fn holder(&self) -> Option<u32>;

    /// The incumbent of the handoff for which the record's holder was started.
    fn before_holder(&self) -> Option<u32>;

    /// The journal, as it is written.
    fn journal(&self) -> Cow<'_, Journal>;

    /// Returns whether a supervisor that comes anew, and reads `journal`, starts what `pid` was started from.
    fn starts(&self, journal: &Journal, pid: u32) -> bool;

    /// Returns whether another supervisor than `supervisor` has a handoff under way that replaces `pid`.
    fn is_replaced_by_another(&self, supervisor: u32, pid: u32) -> bool;
}

/// A daemon's process, as it is seen from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenDaemon {
    pub life: Life,
    /// `true` if it accepts connections, and does what they ask for.
    pub accepts: bool,
    pub work: Work,
    /// `true` if a hook runs that never returns; or it does nothing at all.
    pub hangs: bool,
    /// `true` if the system takes its time over what it has asked for, in a world in which time passes.
    pub waits: bool,
    pub has_lock: bool,
    /// The incumbent of the handoff for which it was started.
    pub predecessor: Option<u32>,
    /// `true` if it was told that its predecessor has ended; or it never had one.
    pub finalized: bool,
    /// `true` if it has come to be the incumbent, or was made part of a handoff.
    pub takes_part: bool,
    /// `true` if a supervisor has told it to begin.
    pub told_to_begin: bool,
    pub told_to_commit: bool,
    /// `true` if it was told to stop.
    pub told_to_stop: bool,
    /// `true` if it was stopped or slowed down, or told to leave: a supervisor may take it for one that
    /// hangs.
    pub is_suspect: bool,
    /// `true` if no supervisor can have a handoff with it: it speaks another version, or says that it is
    /// another process.
    pub is_unfit: bool,
    /// `true` if it was stopped or slowed down, or what it said was, in a world in which time passes: what it
    /// did, or another decided before it was heard, is older than what can be seen.
    pub lags: bool,
    /// `true` if no process can connect to it, though it lives: its sockets were removed.
    pub is_unreachable: bool,
    /// `true` if it takes its time to end, though another process waits for that.
    pub ends_slowly: bool,
}

/// The work of a daemon's hooks, those in its queue included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// `true` if there is something that others may have to wait for.
    pub keeps_busy: bool,
    /// `true` if the data directory is written, or may be.
    pub writes: bool,
    /// `true` if a hook makes what the predecessor can't undo.
    pub finalizes: bool,
}

impl Work {
    pub(crate) fn of<'a>(hooks: impl Iterator<Item = &'a AnyHook>) -> Work {
        let mut work = Work::default();
        for hook in hooks {
            let finalizes = *hook == AnyHook::Incumbent(incumbent::Hook::Finalize);
            work.finalizes |= finalizes;
            work.keeps_busy |= !finalizes;
            work.writes |= match hook {
                AnyHook::Incumbent(incumbent::Hook::Drain { .. })
                | AnyHook::Successor(successor::Hook::WarmUp) => false,
                AnyHook::Incumbent(
                    incumbent::Hook::Seal | incumbent::Hook::Resume { .. } | incumbent::Hook::Finalize,
                )
                | AnyHook::Successor(successor::Hook::Open { .. } | successor::Hook::Serve) => true,
            };
        }
        work
    }
}

impl SeenDaemon {
    /// Returns whether it runs, and no hook keeps it from what it is told.
    fn is_well(&self) -> bool {
        self.life == Life::Runs && !self.hangs
    }

    fn is_dying(&self) -> bool {
        self.life == Life::Dying
    }

    /// Returns whether it writes, or may write, what is in the data directory.
    fn writes(&self) -> bool {
        self.accepts || self.work.writes
    }

    /// Returns whether an answer, or its service, can be a long time coming.
    fn is_slow(&self) -> bool {
        self.life == Life::Stopped || self.work.keeps_busy || self.waits || self.is_unreachable
    }
}

/// Serves, under the lock, and can be reached at the control path, unless its sockets were removed.
pub(crate) fn serves(view: &impl View, pid: u32) -> bool {
    let is_there = |daemon: &SeenDaemon| view.path() == Some(pid) || daemon.is_unreachable;
    view.daemon(pid).is_some_and(|daemon| daemon.accepts && daemon.has_lock && is_there(&daemon))
}

/// Served when it was last heard, and no supervisor could know that it does not any more: it is about to end, or has ended and
/// no other process was told.
fn served_when_heard(view: &impl View, pid: u32, is_untold: bool) -> bool {
    match view.daemon(pid) {
        Some(daemon) => daemon.is_dying() || daemon.told_to_stop,
        None => is_untold && view.has_served(pid),
    }
}
