//! The one driver: it runs a machine on a host, the same in production and in simulation.
//!
//! Between two effects, and after the last, there is a gap in which the process can die. The gaps are
//! places in this file, not in the machines: no machine can forget one.
use core::ops::ControlFlow;

use crate::{
    host::{Clock, Crashed, DaemonHost, Gap, Gaps, RecoveryHost, SupervisorHost},
    machine::{
        AnyDaemonMachine, Awaited, Batch, Cell, DaemonEffect, DaemonEvent, Machine, RecoveryMachine,
        SupervisorMachine, recovery, supervisor,
    },
};

/// A machine whose effects `H` can perform.
pub trait Runs<H>: Machine {
    /// Performs an effect.
    fn perform(effect: Self::Effect, host: &mut H);

    /// Performs the effect whose result matters. `None` if the result comes later, or never.
    fn perform_last(awaited: Self::Awaited, host: &mut H) -> Option<Self::Event>;
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

impl<H: SupervisorHost> Runs<H> for SupervisorMachine {
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
}

impl<H: RecoveryHost> Runs<H> for RecoveryMachine {
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
}

impl<M: AnyDaemonMachine, H: DaemonHost<M::Hook>> Runs<H> for M {
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
}
