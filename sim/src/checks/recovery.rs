//! The rules of a recovery: which processes are killed, and what is found.
use std::collections::BTreeSet;

use handoff::machine::recovery::{Outcome, RecoveryVerdict};

use super::{SeenDaemon, View, served_when_heard, serves};

/// A recovery, as its supervisor's host sees it.
#[derive(Clone, Debug)]
pub(crate) struct SeenRecovery<'a> {
    /// The processes that the journal, the record or the control path has named.
    pub named: &'a BTreeSet<u32>,
    /// The processes that the journal has named.
    pub journaled: &'a BTreeSet<u32>,
    /// The processes that have said something to it.
    pub heard: &'a BTreeSet<u32>,
    /// The processes that it watches, and whose end it was not told.
    pub watched: Vec<u32>,
    /// The processes whose answer is still to come.
    pub asked: &'a BTreeSet<u32>,
    pub killed: &'a BTreeSet<u32>,
    /// `true` if it has the listening sockets.
    pub has_listeners: bool,
    /// `true` if the last write of the journal has failed, or says too little.
    pub journal_failed: bool,
    /// `true` if its deadline has passed, in a world in which time does: it reports a daemon that serves,
    /// whether or not that was told all.
    pub late: bool,
    /// `true` if its own write of the journal took its time.
    pub is_slow: bool,
    /// `true` if its supervisor was stopped, could open no descriptor, or takes for silence what is none, in
    /// a world in which time passes.
    pub lags: bool,
    /// `true` if another supervisor is there.
    pub has_rival: bool,
    /// `true` if another supervisor is at work on the same daemons: what they said may be over by now.
    pub is_disturbed: bool,
}

impl SeenRecovery<'_> {
    /// Returns whether `pid` is its to end: a supervisor has started it, or it has spoken and lies where a
    /// daemon of this control path does.
    pub(crate) fn may_end(&self, pid: u32) -> bool {
        self.journaled.contains(&pid) || self.named.contains(&pid) && self.heard.contains(&pid)
    }
}

/// Checks that a process that the recovery kills is its to end, and neither one that serves nor the last one
/// that could.
pub(crate) fn kills(view: &impl View, recovery: &SeenRecovery<'_>, pid: u32) -> Option<String> {
    let daemon = view.daemon(pid)?;
    let name = view.name(pid);
    if !recovery.may_end(pid) {
        return Some(format!("the recovery kills {name}, which may be another's"));
    }
    let dying = view.daemons().any(|(_, daemon)| daemon.is_dying());
    let mut others = view.daemons().filter(|(other, daemon)| *other != pid && !daemon.is_dying());
    match () {
        () if !daemon.is_well() || daemon.is_suspect || recovery.lags || dying || view.is_stop_wanted() => {
            None
        }
        () if daemon.accepts => Some(format!("the recovery kills {name}, which serves")),
        // It can't be asked, and without the lock it does not serve.
        () if daemon.is_unreachable && !daemon.has_lock => None,
        () if !recovery.asked.contains(&pid) && !view.daemons().any(|(pid, _)| serves(view, pid)) => {
            Some(format!("the recovery kills {name}, which has answered, and nobody serves"))
        }
        () if others.next().is_none() => Some(format!("the recovery kills {name}, the last one")),
        () => None,
    }
}

/// Checks that what the recovery finds is so, but for an end that it can't have heard of; and that all that
/// belongs to a finding is there.
pub(crate) fn finds(view: &impl View, recovery: &SeenRecovery<'_>, outcome: &Outcome) -> Option<String> {
    if recovery.is_disturbed || recovery.has_rival && outcome.verdict == RecoveryVerdict::NobodyServes {
        return None;
    }
    if !is_so(view, recovery, outcome) {
        let found = match outcome.verdict {
            RecoveryVerdict::Serves(process) => format!("that {} serves", view.name(process.pid)),
            verdict => format!("{verdict:?}"),
        };
        return Some(format!("the recovery reports {found}, which is not so"));
    }
    what_is_left(view, recovery, outcome).or_else(|| what_is_missing(recovery, outcome))
}

fn is_so(view: &impl View, recovery: &SeenRecovery<'_>, outcome: &Outcome) -> bool {
    match outcome.verdict {
        RecoveryVerdict::Serves(process) => {
            // What may not be known to the next supervisor must not be final.
            let is_final = view.daemon(process.pid).is_some_and(|heir| {
                heir.finalized || heir.predecessor.is_some_and(|pid| view.daemon(pid).is_some())
            });
            let told = outcome.journal_error.is_some() || recovery.late || is_final;
            told && serves(view, process.pid)
                || served_when_heard(view, process.pid, recovery.watched.contains(&process.pid))
        }
        // A daemon that was made part of no handoff yet leaves when it sees that its supervisor is gone.
        // One that says nothing, and that it may not end, may be another's daemon.
        RecoveryVerdict::NobodyServes => {
            let is_mute = |it: &SeenDaemon| it.is_unreachable || !it.is_well() || it.waits;
            let is_hidden = |pid: u32, it: &SeenDaemon| is_mute(it) && !recovery.may_end(pid);
            let is_there = |pid: u32, it: &SeenDaemon| it.takes_part && !it.is_dying() && !is_hidden(pid, it);
            !view.daemons().any(|(pid, daemon)| is_there(pid, &daemon))
        }
        RecoveryVerdict::Unconfirmed => {
            recovery.is_slow || view.daemons().any(|(_, daemon)| daemon.is_slow())
        }
        RecoveryVerdict::Cancelled => true,
    }
}

/// Once one serves, the others that could be in its way have ended; and the processes that are there are reported.
fn what_is_left(view: &impl View, recovery: &SeenRecovery<'_>, outcome: &Outcome) -> Option<String> {
    let is_heir =
        |pid: u32| matches!(outcome.verdict, RecoveryVerdict::Serves(process) if process.pid == pid);
    let is_left = |pid: u32| outcome.left.iter().any(|process| process.pid == pid);
    if let RecoveryVerdict::Serves(_) = outcome.verdict {
        // One that takes its time to end may be there, if it is said to be.
        let in_the_way = |pid: u32| view.daemon(pid).is_some_and(|it| !(it.ends_slowly && is_left(pid)));
        let is_stray = |pid: u32| !is_heir(pid) && recovery.may_end(pid) && in_the_way(pid);
        let stray = recovery.named.iter().find(|pid| is_stray(**pid));
        if let Some(stray) = stray {
            return Some(format!("the recovery is over, and {} is left", view.name(*stray)));
        }
    }
    // Those whose end was not told are there, as far as it knows.
    let is_there = |pid: u32| view.daemon(pid).is_some() || recovery.watched.contains(&pid);
    if let Some(gone) = outcome.left.iter().find(|process| !is_there(process.pid)) {
        return Some(format!("the recovery reports that {} is left, which has ended", view.name(gone.pid)));
    }
    let pid = recovery.watched.iter().find(|pid| is_heir(**pid) == is_left(**pid))?;
    Some(format!("the recovery reports that {:?} are left, and not {}", outcome.left, view.name(*pid)))
}

fn what_is_missing(recovery: &SeenRecovery<'_>, outcome: &Outcome) -> Option<String> {
    let killed: BTreeSet<u32> = outcome.killed.iter().map(|process| process.pid).collect();
    match () {
        () if matches!(outcome.verdict, RecoveryVerdict::Serves(_)) && !recovery.has_listeners => {
            Some("the recovery is over without the listening sockets".into())
        }
        () if killed != *recovery.killed => {
            Some(format!("the recovery reports that it has killed {:?}, which is not so", outcome.killed))
        }
        () if recovery.journal_failed && outcome.journal_error.is_none() => {
            Some("the journal could not be written, and the recovery does not say so".into())
        }
        () => None,
    }
}
