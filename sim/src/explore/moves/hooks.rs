//! The outcomes of a daemon's hooks.
use handoff::HostError;
use handoff::machine::{DaemonEvent, incumbent, successor};
use handoff::message::MessageName;
use handoff::node::daemon::Hook as AnyHook;

use crate::explore::model::Model;
use crate::explore::model::watch::Observer;

/// The events that a daemon's machine is told of.
pub(super) type DaemonInput = DaemonEvent<Ran>;

/// A hook that has returned.
pub(crate) struct Ran {
    hook: AnyHook,
    /// `true` if what the hook reports is good enough to go on.
    fit: bool,
}

impl Model {
    pub(super) fn finish_hook(
        &mut self,
        pid: u32,
        result: Result<bool, HostError>,
        watch: &mut Observer<'_>,
    ) {
        let hook = self.processes.get(&pid).and_then(|process| process.hooks.first().cloned());
        let Some((_, hook)) = hook else { return };
        if !self.client_hook_returns(pid, &hook, &result) {
            self.report_hook(pid, result, watch);
        }
    }

    /// Tells a daemon what its first hook has come to.
    pub(super) fn report_hook(
        &mut self,
        pid: u32,
        result: Result<bool, HostError>,
        watch: &mut Observer<'_>,
    ) {
        let carrying = self.clients.as_mut().map(|clients| clients.process(pid));
        carrying.into_iter().for_each(|process| (process.done, process.returned) = (0, None));
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let (op, hook) = process.hooks.remove(0);
        let good = result == Ok(true);
        watch.prepared =
            matches!(hook, AnyHook::Successor(successor::Hook::WarmUp | successor::Hook::Open { .. }));
        watch.left_service =
            matches!(hook, AnyHook::Incumbent(incumbent::Hook::Drain { .. } | incumbent::Hook::Seal));
        watch.obliged = match &hook {
            AnyHook::Incumbent(incumbent::Hook::Drain { .. }) if result.is_err() => {
                Some(MessageName::DrainFailed)
            }
            AnyHook::Incumbent(incumbent::Hook::Seal) if result.is_err() => Some(MessageName::SealFailed),
            _ => None,
        };
        match &hook {
            // A drain that failed may have closed the listener.
            AnyHook::Incumbent(incumbent::Hook::Drain { .. }) => process.accepts = result == Ok(false),
            AnyHook::Incumbent(incumbent::Hook::Resume { .. }) => process.accepts = result.is_ok(),
            AnyHook::Successor(successor::Hook::Serve) => process.accepts = result.is_ok(),
            // A process that leaves after it may have its listener open still; what is sealed is not written to.
            AnyHook::Incumbent(incumbent::Hook::Seal) if self.signalled == Some(pid) => {
                process.accepts &= result.is_err();
            }
            AnyHook::Incumbent(incumbent::Hook::Seal | incumbent::Hook::Finalize) => {}
            AnyHook::Successor(successor::Hook::WarmUp | successor::Hook::Open { .. }) => {}
        }
        let result = result.map(|_| Ran { hook, fit: good });
        self.daemon(pid, DaemonInput::HookDone(op, result), watch)
    }
}

impl From<Ran> for incumbent::Done {
    fn from(Ran { hook, fit }: Ran) -> Self {
        match hook {
            AnyHook::Incumbent(incumbent::Hook::Drain { .. }) => {
                incumbent::Done::Drained { open_conns_remaining: 0, accept_closed: fit }
            }
            AnyHook::Incumbent(incumbent::Hook::Seal) => incumbent::Done::Sealed {
                last_revision_per_shard: vec![1],
                data_dir_fingerprint: Default::default(),
            },
            AnyHook::Incumbent(incumbent::Hook::Resume { .. } | incumbent::Hook::Finalize) => {
                incumbent::Done::Ok
            }
            AnyHook::Successor(_) => incumbent::Done::Ok,
        }
    }
}

impl From<Ran> for successor::Done {
    fn from(Ran { hook, fit }: Ran) -> Self {
        match hook {
            AnyHook::Successor(successor::Hook::Open { .. }) => successor::Done::Opened {
                listening_on: Vec::new(),
                healthz_ok: fit,
                advertised_revision_per_shard: vec![1],
                data_dir_fingerprint: Default::default(),
            },
            AnyHook::Successor(successor::Hook::WarmUp | successor::Hook::Serve) => successor::Done::Ok,
            AnyHook::Incumbent(_) => successor::Done::Ok,
        }
    }
}
