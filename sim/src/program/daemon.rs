//! The program of a daemon's process.
use std::collections::VecDeque;

use handoff::connections::Drain;
use handoff::machine::{ExitReason, Op, incumbent};
use handoff::node::daemon::{DaemonNode, Hook as AnyHook, HookReport};

use super::{ByteService, DaemonCarrying};
use crate::kernel::{Disk, Micros};
use crate::plan;
use crate::simulated::Simulated;

/// A daemon.
pub(crate) struct DaemonProgram {
    pub build: u32,
    /// The fault that its spawn was told to have.
    pub quirk: Option<plan::What>,
    /// None before its first turn, and while it takes one.
    pub node: Option<DaemonNode>,
    /// `true` if it has come to be the incumbent.
    pub promoted: bool,
    /// The incumbent of the handoff for which it was started.
    pub predecessor: Option<u32>,
    pub app: Option<Box<dyn Simulated>>,
    pub disk: Disk,
    /// The link to the supervisor that started it.
    pub inherited: u64,
    /// Run one after the other; the first one runs.
    pub hooks: VecDeque<(Op, AnyHook)>,
    /// The time at which the first one returns, and the fault that goes with it; never, if it hangs.
    pub returns: Option<(Micros, Option<plan::What>)>,
    pub replies: VecDeque<HookReport>,
    pub stop_asked: bool,
    /// `true` if it accepts clients, and does what they ask for.
    pub accepts: bool,
    /// The drain that its hook waits for: it returns when that is over.
    pub drain: Option<Drain>,
    /// The number of connections that its last drain has left.
    pub left: u32,
    /// Its connections with bytes.
    pub bytes: ByteService,
    /// The work that is done for them to outlive it.
    pub carrying: DaemonCarrying,
    /// The scheme of the fingerprint of what was sealed for it, as it found that when it got the lock.
    pub sealed_for_it: Option<u16>,
    /// `true` if its supervisor has told it to begin.
    pub told_to_begin: bool,
    pub told_to_commit: bool,
    pub told_to_leave: bool,
    /// `true` if it has read that it is part of a handoff.
    pub joined: bool,
    /// `true` if it was told that its predecessor has ended.
    pub finalizes: bool,
    pub exit: Option<ExitReason>,
}

impl DaemonProgram {
    pub(crate) fn new(
        build: u32,
        quirk: Option<plan::What>,
        predecessor: Option<u32>,
        disk: Disk,
    ) -> DaemonProgram {
        DaemonProgram {
            build,
            quirk,
            node: None,
            promoted: false,
            predecessor,
            app: None,
            disk,
            inherited: 0,
            hooks: VecDeque::new(),
            returns: None,
            replies: VecDeque::new(),
            stop_asked: false,
            accepts: false,
            drain: None,
            left: 0,
            bytes: ByteService::default(),
            carrying: DaemonCarrying::default(),
            sealed_for_it: None,
            told_to_begin: false,
            told_to_commit: false,
            told_to_leave: false,
            joined: false,
            finalizes: false,
            exit: None,
        }
    }

    pub(crate) fn is_incumbent(&self) -> bool {
        self.promoted
    }

    /// Returns whether a hook runs that will never return.
    pub(crate) fn hangs(&self) -> bool {
        !self.hooks.is_empty() && self.returns.is_none() && !self.carrying.is_under_way()
    }

    /// Notes what its hooks do to it when they begin: a drain stops accepting, a seal can't but have.
    pub(crate) fn hook_begins(&mut self) {
        if matches!(
            self.hooks.front(),
            Some((_, AnyHook::Incumbent(incumbent::Hook::Drain { .. } | incumbent::Hook::Seal)))
        ) {
            self.accepts = false;
            self.bytes.reads = false;
            // What a successor has, or could not be given, is not ended.
            self.bytes.kept |= self.carrying.outgoing.is_some() || self.carrying.unsent.is_some();
        }
    }
}
