//! The progress of a daemon with what belongs to a hook for the sake of its connections, and its ends of the
//! links over which they pass.
use std::collections::{BTreeMap, VecDeque};

use handoff::HostError;
use handoff::carry::{CarryHook, CarryStep, ConnectionState, Incoming, Outgoing, Token};
use handoff::machine::{incumbent, successor};
use handoff::node::daemon::{Done, Hook as AnyHook};

use crate::kernel::Micros;

/// The work of a daemon for connections that outlive it.
#[derive(Debug, Default)]
pub(crate) struct DaemonCarrying {
    /// The steps that are left to do before the first hook, or after it.
    pub steps: VecDeque<CarryStep>,
    pub stage: CarryStage,
    /// The successor is silent if it has said nothing by then.
    pub patient_until: Option<Micros>,
    /// The link that leads to the successor, while that is no link of connections yet; and whether the successor was asked to make it one.
    pub asking: Option<(u64, bool)>,
    pub outgoing: Option<Outgoing>,
    /// The reason why what was to be sent could not be.
    pub unsent: Option<String>,
    pub incoming: Incoming,
    pub arrived: BTreeMap<Token, ConnectionState>,
}

/// The stage of the steps in a hook.
#[derive(Debug, Default)]
pub(crate) enum CarryStage {
    /// No steps are left.
    #[default]
    Idle,
    BeforeHook,
    /// The hook has returned this.
    AfterHook(Result<Done, HostError>),
}

impl DaemonCarrying {
    /// Steps are under way.
    pub(crate) fn is_under_way(&self) -> bool {
        !matches!(self.stage, CarryStage::Idle)
    }
}

/// Returns what a hook is about, as far as it concerns connections.
pub(crate) fn carry_hook(hook: &AnyHook) -> Option<CarryHook> {
    match *hook {
        AnyHook::Incumbent(incumbent::Hook::Drain { successor, .. }) => {
            Some(CarryHook::Drain { for_successor: successor.is_some() })
        }
        AnyHook::Incumbent(incumbent::Hook::Seal) => Some(CarryHook::Seal),
        AnyHook::Incumbent(incumbent::Hook::Resume { .. }) => Some(CarryHook::Resume),
        AnyHook::Successor(successor::Hook::Serve) => Some(CarryHook::Serve),
        AnyHook::Incumbent(incumbent::Hook::Finalize)
        | AnyHook::Successor(successor::Hook::WarmUp | successor::Hook::Open { .. }) => None,
    }
}
