//! The rules that hold in an exploration alone, besides `crate::checks`. Reads the kernel, and of a machine
//! what every host sees: whether it is done, and which timers are armed.
use handoff::machine::{Machine, Timer, Timers, incumbent};
use handoff::node::daemon::Hook as AnyHook;
use handoff::record::Record;
use handoff::time::Time;

use super::model::{DaemonMachine, HEARTBEAT, Life, Model, ModelDaemon};
use crate::checks::serves;

pub(super) mod clients;
pub(super) mod obligations;
mod view;

/// A bound of timers, in every state: what is to be said, asked or tried again is not put off for longer than a heartbeat takes.
/// Nothing else would tell, as long as it comes at all.
pub(crate) fn timer_bounds(model: &Model) -> Option<String> {
    let daemons = model.processes.values().map(ModelDaemon::timers);
    let supervisor = model.supervisor.iter().map(|supervisor| supervisor.machine.timers());
    let recovery = model.recovery.iter().map(|recovery| recovery.machine.timers());
    let is_late = |(timers, timer): &(&Timers, Timer)| timers.left(*timer, Time::ZERO) > HEARTBEAT;
    let repeats = |timers| [(timers, Timer::Heartbeat), (timers, Timer::Retry)];
    let (_, timer) = daemons.chain(supervisor).chain(recovery).flat_map(repeats).find(is_late)?;
    Some(format!("a timer {} takes longer than a heartbeat", timer.name()))
}

/// Checks that a daemon that wants the lock was told to take it or to find out which process has it, or that
/// no supervisor tells it anything.
pub(crate) fn seizes(model: &Model, pid: u32) -> Option<String> {
    let process = model.processes.get(&pid)?;
    let told = process.told_to_begin || process.told_to_resume || process.told_to_retire;
    let seizes = process.heard && !told && model.signalled != Some(pid);
    seizes.then(|| format!("{pid} wants the lock by itself, though it hears its supervisor"))
}

/// Checks that a successor that goes on to serve was told to, or that no supervisor tells it anything.
pub(crate) fn serves_by_itself(model: &Model, pid: u32) -> Option<String> {
    let process = model.processes.get(&pid)?;
    let is_successor = matches!(process.daemon, DaemonMachine::Successor(_));
    let early = is_successor && process.heard && !process.told_to_commit;
    early.then(|| format!("{pid} goes on to serve by itself, though it hears its supervisor"))
}

/// Checks, when a daemon's hook begins, that no other one runs, but for `finalize`, which runs beside any.
pub(crate) fn starts(model: &Model, pid: u32, hook: &AnyHook) -> Option<String> {
    let finalize = AnyHook::Incumbent(incumbent::Hook::Finalize);
    let (_, other) = model.processes.get(&pid)?.hooks.iter().find(|(_, other)| *other != finalize)?;
    (*hook != finalize).then(|| format!("{pid} begins its {} while its {} runs", hook.name(), other.name()))
}

/// Checks that a daemon is not about to record that it has sealed for another, once it was told to come back.
pub(crate) fn records(model: &Model, pid: u32, record: &Record) -> Option<String> {
    let told = model.processes.get(&pid).is_some_and(|process| process.told_to_resume);
    let seals = record.sealed_for.is_some() && told && model.signalled != Some(pid);
    seals.then(|| format!("{pid} was told to come back, and notes a seal for another"))
}

/// Returns whether some process serves, and can be reached; or it is not the protocol's to see to that.
pub(crate) fn somebody_serves(model: &Model) -> bool {
    let nobody_looks = model.idle() && model.recovery_is_over();
    // A stop of the process that serves, while no supervisor is at work on a handoff, has stopped the service.
    let works = |(pid, process): (&u32, &ModelDaemon)| {
        let runs = process.life == Life::Runs || process.life == Life::Stopped && nobody_looks;
        runs && serves(model, *pid)
    };
    let excused = match () {
        // That nobody serves then is what was wanted.
        () if model.signalled.is_some() => true,
        // No process runs that could do anything: those that could serve have ended, or are stopped as their supervisor is.
        () if !model.processes.values().any(|process| process.life == Life::Runs) && model.is_stopped() => {
            true
        }
        () if is_out_of_reach(model) => true,
        // A supervisor recovers then.
        () => model.astray && nobody_looks && !model.faults.recovers,
    };
    excused || model.processes.iter().any(works)
}

/// A supervisor without the journal recovers, or did, beside a stopped process that it may not end: that one says nothing, and nothing
/// else says that it is a daemon of this control path.
fn is_out_of_reach(model: &Model) -> bool {
    let has_journal = model.recovery.as_ref().is_none_or(|recovery| recovery.has_journal);
    let Some(recovery) = model.seen_recovery().filter(|_| !has_journal) else { return false };
    let mut stopped = model.processes.iter().filter(|(_, process)| process.life == Life::Stopped);
    stopped.any(|(pid, _)| !recovery.may_end(*pid))
}

/// Returns whether no supervisor that runs has a handoff under way, or recovers. A recovery that nothing but
/// its deadline can end is over by that.
pub(crate) fn nobody_is_at_work(model: &Model) -> bool {
    is_out_of_reach(model)
        || (model.idle() || !model.supervisor_runs()) && (model.recovery_is_over() || !model.recovery_runs())
}

/// Returns whether there is one process that serves and can be reached.
pub(crate) fn one_serves(model: &Model) -> bool {
    let idle = |process: &ModelDaemon| {
        process.life == Life::Runs && process.hooks.is_empty() && process.pending.is_empty()
    };
    model.processes.len() == 1 && model.processes.iter().all(|(pid, p)| idle(p) && serves(model, *pid))
}

/// A state that a run may rest in: no supervisor is at work on a handoff nor could be, and one process is left, which
/// serves and can be reached, unless all have ended.
pub(crate) fn at_rest(model: &Model) -> bool {
    let serves = |(pid, process): (&u32, &ModelDaemon)| {
        let free = process.hooks.is_empty() || process.finalizes() && process.hung;
        serves(model, *pid) && process.life == Life::Runs && free && process.pending.is_empty()
    };
    let over = model.processes.is_empty() || model.handoffs == 0;
    let known = !model.faults.recovers || !model.astray && model.recovery_is_over();
    // A process that is told to stop stops, sooner or later.
    let stopped = model.signalled.is_none_or(|pid| !model.processes.contains_key(&pid));
    model.idle()
        && known
        && stopped
        && over
        && model.processes.len() <= 1
        && model.processes.iter().all(serves)
}
