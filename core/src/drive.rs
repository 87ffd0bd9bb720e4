//! The one driver: it runs a machine on a host, the same in production and in simulation.
//!
//! Between two effects, and after the last, there is a gap in which the process can die. The gaps are
//! places in this file, not in the machines: no machine can forget one.
use core::ops::ControlFlow;

use crate::{
    host::{Clock, Crashed, DaemonHost, Gap, Gaps, RecoveryHost, SupervisorHost},
    machine::{
        Awaited, Batch, Cell, DaemonEffect, DaemonEvent, Machine, Recovery, Supervisor, recovery, supervisor,
    },
};

/// A machine whose effects `H` can perform.
pub trait Runs<H>: Machine {
    /// Performs an effect.
    fn perform(effect: Self::Effect, host: &mut H);

    /// Performs the effect whose result matters. `None` if the result comes later, or never.
    fn perform_last(awaited: Self::Awaited, host: &mut H) -> Option<Self::Event>;

    /// The effect's name.
    fn effect_name(effect: &Self::Effect) -> &'static str;

    /// The name of the effect whose result matters.
    fn awaited_name(awaited: &Self::Awaited) -> &'static str;
}

/// Lets `machine` handle `event`, performs what it asks for, and hands it the results that come at once.
pub fn turn<M, H>(machine: &mut M, host: &mut H, event: M::Event) -> ControlFlow<Crashed>
where
    M: Runs<H>,
    H: Clock + Gaps,
{
    let mut next = Some(event);
    while let Some(event) = next {
        let state = machine.state();
        host.handles(Cell { role: M::ROLE, state, event: M::event_name(&event) });
        let gap = |before| Gap { role: M::ROLE, state, before };
        let mut batch = Batch::<M>::new();
        machine.handle(host.now(), event, batch.out());
        for effect in batch.effects {
            host.gap(gap(Some(M::effect_name(&effect))))?;
            M::perform(effect, host);
        }
        next = match batch.last {
            Some(awaited) => {
                host.gap(gap(Some(M::awaited_name(&awaited))))?;
                M::perform_last(awaited, host)
            }
            None => None,
        };
        host.gap(gap(None))?;
    }
    ControlFlow::Continue(())
}

impl<H: SupervisorHost> Runs<H> for Supervisor {
    fn perform(effect: supervisor::Effect, host: &mut H) {
        match effect {
            supervisor::Effect::Connect => host.connect(),
            supervisor::Effect::Send(peer, message) => host.send(peer, &message),
            supervisor::Effect::Close(peer) => host.close(peer),
            supervisor::Effect::Kill(peer) => host.kill(peer),
        }
    }

    fn perform_last(awaited: supervisor::Awaited, host: &mut H) -> Option<supervisor::Event> {
        match awaited {
            supervisor::Awaited::Spawn => host.spawn().map(supervisor::Event::Spawned),
            supervisor::Awaited::Persist(note) => {
                host.persist(note).map(|result| supervisor::Event::Persisted(note, result))
            }
            supervisor::Awaited::Finish(outcome) => {
                host.finish(outcome);
                None
            }
        }
    }

    fn effect_name(effect: &supervisor::Effect) -> &'static str {
        match effect {
            supervisor::Effect::Connect => "Connect",
            supervisor::Effect::Send(_, message) => message.name(),
            supervisor::Effect::Close(_) => "Close",
            supervisor::Effect::Kill(supervisor::Peer::Incumbent) => "KillIncumbent",
            supervisor::Effect::Kill(supervisor::Peer::Successor) => "KillSuccessor",
        }
    }

    fn awaited_name(awaited: &supervisor::Awaited) -> &'static str {
        match awaited {
            supervisor::Awaited::Spawn => "Spawn",
            supervisor::Awaited::Persist(supervisor::Note::UnderWay) => "PersistUnderWay",
            supervisor::Awaited::Persist(supervisor::Note::Committed) => "PersistCommitted",
            supervisor::Awaited::Persist(supervisor::Note::Over(_)) => "PersistOver",
            supervisor::Awaited::Finish(_) => "Finish",
        }
    }
}

impl<H: RecoveryHost> Runs<H> for Recovery {
    fn perform(effect: recovery::Effect, host: &mut H) {
        match effect {
            recovery::Effect::Connect(process) => host.connect(process),
            recovery::Effect::Send(process, message) => host.send(process, &message),
            recovery::Effect::Kill(process) => host.kill(process),
        }
    }

    fn perform_last(awaited: recovery::Awaited, host: &mut H) -> Option<recovery::Event> {
        match awaited {
            recovery::Awaited::Look(also) => host.look(also).map(recovery::Event::Looked),
            recovery::Awaited::Note(verdict) => {
                host.note(verdict).map(|result| recovery::Event::Noted(verdict, result))
            }
            recovery::Awaited::Finish(outcome) => {
                host.finish(outcome);
                None
            }
        }
    }

    fn effect_name(effect: &recovery::Effect) -> &'static str {
        match effect {
            recovery::Effect::Connect(_) => "Connect",
            recovery::Effect::Send(_, message) => message.name(),
            recovery::Effect::Kill(_) => "Kill",
        }
    }

    fn awaited_name(awaited: &recovery::Awaited) -> &'static str {
        match awaited {
            recovery::Awaited::Look(_) => "Look",
            recovery::Awaited::Note(_) => "Note",
            recovery::Awaited::Finish(_) => "Finish",
        }
    }
}

/// A daemon's machine, whichever of the two roles it has.
pub trait Daemon:
    Machine<Event = DaemonEvent<Self::Done>, Effect = DaemonEffect<Self::Hook>, Awaited = Awaited>
{
    /// Its hooks.
    type Hook;
    /// What they report.
    type Done;

    /// The hook's name.
    fn hook_name(hook: &Self::Hook) -> &'static str;
}

impl<M: Daemon, H: DaemonHost<M::Hook>> Runs<H> for M {
    fn perform(effect: DaemonEffect<M::Hook>, host: &mut H) {
        match effect {
            DaemonEffect::Send(link, message) => host.send(link, &message),
            DaemonEffect::Close(link) => host.close(link),
            DaemonEffect::StartHook(op, hook) => host.start_hook(op, hook),
            DaemonEffect::Unlock => host.unlock(),
            DaemonEffect::SendListeners(link) => host.send_listeners(link),
        }
    }

    fn perform_last(awaited: Awaited, host: &mut H) -> Option<DaemonEvent<M::Done>> {
        match awaited {
            Awaited::Lock(op) => host.lock(op).map(|answer| DaemonEvent::Locked(op, answer)),
            Awaited::WriteRecord(op, record) => {
                host.write_record(op, &record).map(|result| DaemonEvent::Recorded(op, result))
            }
            Awaited::TakePath(op) => host.take_path(op).map(|result| DaemonEvent::PathTaken(op, result)),
            Awaited::Exit(exit) => {
                host.exit(exit);
                None
            }
        }
    }

    fn effect_name(effect: &DaemonEffect<M::Hook>) -> &'static str {
        match effect {
            DaemonEffect::Send(_, message) => message.name(),
            DaemonEffect::Close(_) => "Close",
            DaemonEffect::StartHook(_, hook) => M::hook_name(hook),
            DaemonEffect::Unlock => "Unlock",
            DaemonEffect::SendListeners(_) => "SendListeners",
        }
    }

    fn awaited_name(awaited: &Awaited) -> &'static str {
        match awaited {
            Awaited::Lock(_) => "Lock",
            Awaited::WriteRecord(..) => "WriteRecord",
            Awaited::TakePath(_) => "TakePath",
            Awaited::Exit(_) => "Exit",
        }
    }
}
