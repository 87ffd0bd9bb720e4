//! What must hold. Reads the kernel, and of a machine what every host sees: whether it is done, and which timers are armed.
use handoff::machine::supervisor::{Outcome, Peer, Verdict};
use handoff::machine::{Exit, Machine, Reason, Timer, Timers, incumbent};
use handoff::record::Record;
use handoff::time::Time;

use super::model::journal;
use super::model::{Daemon, End, HEARTBEAT, Life, Link, ModelSupervisor, Process, World, id};
use crate::process::AnyHook;

pub(super) mod obligations;

/// In every state: at most one process writes, and it holds the lock; and nothing is made that a predecessor which
/// may have to come back could not undo.
pub(crate) fn safety(world: &World) -> Option<String> {
    let writers: Vec<u32> = world.processes.iter().filter(|(_, p)| p.writes()).map(|(pid, _)| *pid).collect();
    if writers.len() > 1 {
        return Some(format!("{writers:?} write at the same time"));
    }
    if let Some(lawless) = writers.into_iter().find(|pid| world.lock != Some(*pid)) {
        return Some(format!("{lawless} writes without the lock"));
    }
    let early = |process: &Process| {
        process.finalizes() && process.predecessor.is_some_and(|pid| world.processes.contains_key(&pid))
    };
    let (pid, _) = world.processes.iter().find(|(_, process)| early(process))?;
    Some(format!("{pid} finalizes while its predecessor lives"))
}

/// A bound of timers, in every state: what is to be said, asked or tried again is not put off for longer than a heartbeat takes.
/// Nothing else would tell, as long as it comes at all.
pub(crate) fn timer_bounds(world: &World) -> Option<String> {
    let daemons = world.processes.values().map(Process::timers);
    let supervisor = world.supervisor.iter().map(|supervisor| supervisor.machine.timers());
    let recovery = world.recovery.iter().map(|recovery| recovery.machine.timers());
    let is_late = |(timers, timer): &(&Timers, Timer)| timers.left(*timer, Time::ZERO) > HEARTBEAT;
    let repeats = |timers| [(timers, Timer::Heartbeat), (timers, Timer::Retry)];
    let (_, timer) = daemons.chain(supervisor).chain(recovery).flat_map(repeats).find(is_late)?;
    Some(format!("a timer {} takes longer than a heartbeat", timer.name()))
}

/// When a process leaves because another serves: there is one, or it has no right to the lock. When it leaves because it was told
/// to: it was.
pub(crate) fn exit(world: &World, pid: u32, exit: &Exit) -> Option<String> {
    let wrong = match exit {
        Exit::Retired if rightful(world, pid) && !others_live(world, pid) => "nobody else is there",
        Exit::Stopped if world.signalled != Some(pid) => "nobody has told it to",
        Exit::Retired | Exit::Stopped | Exit::Failed(_) | Exit::HookLimit | Exit::Aborted(_) => return None,
    };
    Some(format!("{pid} leaves ({exit:?}), and {wrong}"))
}

fn rightful(world: &World, pid: u32) -> bool {
    world.before_holder == Some(pid) || world.record.as_ref().is_none_or(|record| record.holder.pid == pid)
}

/// When the supervisor gives somebody up, by a word or a kill: not one that serves and can be talked to, nor the last
/// one that it knows of.
pub(crate) fn gives_up(world: &World, peer: Peer, how: &str) -> Option<String> {
    let supervisor = world.supervisor.as_ref()?;
    let (pid, other) = match peer {
        Peer::Incumbent => (supervisor.incumbent?, supervisor.successor),
        Peer::Successor => (supervisor.successor?, supervisor.incumbent),
    };
    let process = world.processes.get(&pid)?;
    let linked = |link: &Link| {
        link.pid == pid
            && link.end == End::Supervisor(peer)
            && link.supervisor_open
            && link.daemon_open
            && !link.reset
    };
    let well = process.life == Life::Runs && !process.hung && world.links.iter().any(linked);
    let excused = process.suspect || process.alien || supervisor.late || world.signalled.is_some();
    // What was called off is wanted no more: a cold start, or one that was not there yet.
    let there = world.links.iter().any(|link| link.pid == pid && link.acked);
    let excused = excused || supervisor.cancelled && (supervisor.incumbent.is_none() || !there);
    let last = !excused && other.is_none_or(|other| supervisor.told.contains(&other));
    // The last word of one that is about to end can't be told from one that lives.
    let dying = other.and_then(|other| world.processes.get(&other)).is_some_and(|p| p.life == Life::Dying);
    let committed = peer == Peer::Successor && process.told_to_commit && !process.suspect && !dying && !last;
    let other_lives = other.is_some_and(|other| !supervisor.told.contains(&other));
    let alone =
        peer == Peer::Incumbent && how == "kills" && !other.is_some_and(|pid| could_serve(world, pid));
    match () {
        () if well && committed && other_lives && how == "kills" => {
            Some(format!("the supervisor kills {pid}, which was told to commit and is heard"))
        }
        () if alone => Some(format!("the supervisor kills {pid}, and has nobody to put in its place")),
        () if well && process.accepts && !dying => Some(format!("the supervisor {how} {pid}, which serves")),
        () if well && last => Some(format!("the supervisor {how} {pid}, the last one")),
        () => None,
    }
}

/// A successor serves, or was told to, or can be told to.
fn could_serve(world: &World, pid: u32) -> bool {
    let linked = |link: &Link| {
        link.pid == pid && link.end == End::Supervisor(Peer::Successor) && link.supervisor_open && link.acked
    };
    let serves = |process: &Process| process.accepts || process.told_to_commit;
    world.links.iter().any(linked) || world.processes.get(&pid).is_some_and(serves)
}

/// When a daemon wants the lock: it was told to take it or to find out who has it, or nobody tells it anything.
pub(crate) fn seizes(world: &World, pid: u32) -> Option<String> {
    let process = world.processes.get(&pid)?;
    let told = process.told_to_begin || process.told_to_resume || process.told_to_retire;
    let seizes = process.heard && !told && world.signalled != Some(pid);
    seizes.then(|| format!("{pid} wants the lock by itself, though it hears its supervisor"))
}

/// When a successor goes on to serve: it was told to, or nobody tells it anything.
pub(crate) fn serves_by_itself(world: &World, pid: u32) -> Option<String> {
    let process = world.processes.get(&pid)?;
    let is_successor = matches!(process.daemon, Daemon::Successor(_));
    let early = is_successor && process.heard && !process.told_to_commit;
    early.then(|| format!("{pid} goes on to serve by itself, though it hears its supervisor"))
}

/// When the incumbent is told to resume: a successor that was told to begin has been seen to end.
pub(crate) fn resumes(world: &World) -> Option<String> {
    let supervisor = world.supervisor.as_ref()?;
    let pid = supervisor.successor.filter(|pid| !supervisor.told.contains(pid))?;
    let begun = world.processes.get(&pid).is_some_and(|process| process.told_to_begin);
    begun
        .then(|| format!("the incumbent is told to resume, though {pid} was told to begin and has not ended"))
}

/// When the successor is told to commit: it was not killed before.
pub(crate) fn commits(world: &World) -> Option<String> {
    let killed = world.supervisor.as_ref()?.killed.contains(&Peer::Successor);
    killed.then(|| "the supervisor lets a successor serve that it has killed".into())
}

/// When the successor is told to begin: an incumbent that was killed for its sake has been seen to end.
pub(crate) fn begins(world: &World) -> Option<String> {
    let supervisor =
        world.supervisor.as_ref().filter(|supervisor| supervisor.killed.contains(&Peer::Incumbent))?;
    let pid = supervisor.incumbent.filter(|pid| !supervisor.told.contains(pid))?;
    Some(format!("the successor is told to begin, though {pid} was killed and has not been seen to end"))
}

/// When a daemon's hook begins: no other one runs, but for `finalize`, which runs beside any.
pub(crate) fn starts(world: &World, pid: u32, hook: &AnyHook) -> Option<String> {
    let finalize = AnyHook::Incumbent(incumbent::Hook::Finalize);
    let (_, other) = world.processes.get(&pid)?.hooks.iter().find(|(_, other)| *other != finalize)?;
    (*hook != finalize).then(|| format!("{pid} begins its {} while its {} runs", hook.name(), other.name()))
}

/// When a daemon is about to write the record: not that it has sealed for another, once it was told to come back.
pub(crate) fn records(world: &World, pid: u32, record: &Record) -> Option<String> {
    let told = world.processes.get(&pid).is_some_and(|process| process.told_to_resume);
    let seals = record.sealed_for.is_some() && told && world.signalled != Some(pid);
    seals.then(|| format!("{pid} was told to come back, and notes a seal for another"))
}

/// When a daemon frees the lock: nothing in it writes any more.
pub(crate) fn unlocks(world: &World, pid: u32) -> Option<String> {
    let writes = world.processes.get(&pid).is_some_and(Process::writes);
    (writes && world.lock == Some(pid)).then(|| format!("{pid} frees the lock while it writes"))
}

/// When a daemon is told that it may make what its predecessor can't undo: a supervisor that comes anew would start what
/// it was started from.
pub(crate) fn finalizes(world: &World, pid: u32) -> Option<String> {
    let known = journal::running(&world.journal) == Some(id(pid)) && journal::starts(&world.journal, pid);
    (!known)
        .then(|| format!("{pid} is told that its predecessor has ended, and the journal doesn't know {pid}"))
}

/// A process that is about to end counts while it holds the lock: nobody can tell.
fn others_live(world: &World, pid: u32) -> bool {
    let lives = |(other, process): (&u32, &Process)| {
        *other != pid && (process.life != Life::Dying || world.lock == Some(*other))
    };
    world.signalled.is_some() || world.processes.iter().any(lives)
}

/// What the supervisor reports is so, but for an end that it can't have heard of.
pub(crate) fn truth(world: &World, outcome: &Outcome) -> Option<String> {
    let supervisor = world.supervisor.as_ref()?;
    let untold: Vec<u32> = supervisor.incumbent.into_iter().chain(supervisor.successor).collect();
    let untold: Vec<u32> = untold.into_iter().filter(|pid| !supervisor.told.contains(pid)).collect();
    let serves =
        |pid: Option<u32>| pid.is_some_and(|pid| serves(world, pid) || is_dead_unheard(world, &untold, pid));
    let lives = |pid: Option<u32>| pid.is_some_and(|pid| world.processes.contains_key(&pid));
    let so = match outcome.verdict {
        Verdict::Committed => serves(supervisor.successor) && !lives(supervisor.incumbent),
        Verdict::RolledBack | Verdict::FellBack => {
            serves(supervisor.incumbent) && !lives(supervisor.successor)
        }
        // Of the two. A successor that an earlier supervisor left behind may serve: recovery asks for it.
        Verdict::NobodyServes => !lives(supervisor.incumbent) && !lives(supervisor.successor),
        Verdict::Unconfirmed => !supervisor.incumbent_has_ended(),
        Verdict::Busy | Verdict::Unreachable | Verdict::Cancelled => !lives(supervisor.successor),
    };
    let committed = outcome.verdict == Verdict::Committed;
    // One that has got the lock by itself was not let.
    let successor = supervisor.successor.and_then(|pid| world.processes.get(&pid));
    let was_let = successor.is_some_and(|process| process.told_to_begin);
    let missed = supervisor.must_commit && !committed;
    match () {
        () if !so => Some(format!("the supervisor reports {:?}, which is not so", outcome.verdict)),
        // But for one whose incumbent has ended: nobody else is left.
        () if supervisor.cancelled && committed && !outcome.incumbent_ended_early && was_let => {
            Some("the supervisor was called off, and reports Committed".into())
        }
        () if missed => Some(format!("nothing went wrong, but the supervisor reports {:?}", outcome.verdict)),
        () => what_is_missing(world, supervisor, outcome),
    }
}

/// What belongs to a verdict: a reason, what the journal says, the last word to a successor.
fn what_is_missing(world: &World, supervisor: &ModelSupervisor, outcome: &Outcome) -> Option<String> {
    let verdict = outcome.verdict;
    let is_written = outcome.journal_error.is_none();
    match () {
        () if !is_reason(supervisor, outcome) => {
            Some(format!("the supervisor reports {verdict:?} because {:?}", outcome.reason))
        }
        () if is_written && supervisor.journal_failed => {
            Some("the journal could not be written, and the supervisor does not say so".into())
        }
        () if is_written && !is_noted(world, supervisor, verdict) => {
            Some(format!("the supervisor reports {verdict:?}, and the journal says otherwise"))
        }
        () if is_written && verdict == Verdict::Committed && !is_final(world) => {
            Some("the supervisor reports Committed, and its successor is not told so".into())
        }
        () => None,
    }
}

/// Who has succeeded is told that its predecessor has ended, if there is a link.
fn is_final(world: &World) -> bool {
    let its =
        |link: &&Link| link.end == End::Supervisor(Peer::Successor) && link.supervisor_open && link.acked;
    world.links.iter().filter(its).all(|link| link.said == Some("Final"))
}

/// Whoever does not commit says why; what the supervisor has done itself is no reason, nor that one has ended who has said why.
fn is_reason(supervisor: &ModelSupervisor, outcome: &Outcome) -> bool {
    let Some(reason) = &outcome.reason else { return outcome.verdict == Verdict::Committed };
    let own = |peer: &Peer| matches!(reason, Reason::Ended(ended, _) if ended == peer);
    let known = supervisor.heard_failed && own(&Peer::Successor);
    !known && !supervisor.killed.iter().any(own)
}

/// The journal says who serves, and that nothing is under way.
fn is_noted(world: &World, supervisor: &ModelSupervisor, verdict: Verdict) -> bool {
    let under_way = world.journal.under_way.as_ref().map(|under_way| under_way.successor);
    let successor = supervisor.successor.map(id);
    match verdict {
        Verdict::Committed => journal::running(&world.journal) == successor,
        // It is still to be found out.
        Verdict::Unconfirmed => true,
        // If it came to writing at all.
        Verdict::NobodyServes if supervisor.knows != supervisor.before => {
            journal::running(&world.journal).is_none()
        }
        _ => under_way.is_none() || under_way != successor,
    }
}

/// It is about to end, or has ended and is among those whose end was not told.
pub(crate) fn is_dead_unheard(world: &World, untold: &[u32], pid: u32) -> bool {
    match world.processes.get(&pid) {
        Some(process) => process.life == Life::Dying || world.signalled == Some(pid),
        None => untold.contains(&pid),
    }
}

pub(crate) fn serves(world: &World, pid: u32) -> bool {
    let accepts = world.processes.get(&pid).is_some_and(|process| process.accepts);
    accepts && world.lock == Some(pid) && world.path == Some(pid)
}

/// Some process serves, and can be reached; or it is not the protocol's to see to that.
pub(crate) fn somebody_serves(world: &World) -> bool {
    let nobody_looks = world.idle() && world.recovery_is_over();
    // Whoever stops one that serves, while nobody is at work on a handoff, has stopped the service.
    let works = |(pid, process): (&u32, &Process)| {
        let runs = process.life == Life::Runs || process.life == Life::Stopped && nobody_looks;
        runs && serves(world, *pid)
    };
    let excused = match () {
        // That nobody serves then is what was wanted.
        () if world.signalled.is_some() => true,
        // Nobody runs who could do anything: those that could serve have ended, or are stopped as their supervisor is.
        () if !world.processes.values().any(|process| process.life == Life::Runs) && world.is_stopped() => {
            true
        }
        // A supervisor recovers then.
        () => world.astray && nobody_looks && !world.faults.recovers,
    };
    excused || world.processes.iter().any(works)
}

/// No supervisor that runs has a handoff under way, or recovers.
pub(crate) fn nobody_is_at_work(world: &World) -> bool {
    (world.idle() || !world.supervisor_runs()) && (world.recovery_is_over() || !world.recovery_runs())
}

/// There is one process; it serves, and can be reached.
pub(crate) fn one_serves(world: &World) -> bool {
    let idle = |process: &Process| {
        process.life == Life::Runs && process.hooks.is_empty() && process.pending.is_empty()
    };
    world.processes.len() == 1 && world.processes.iter().all(|(pid, p)| idle(p) && serves(world, *pid))
}

/// A state that a run may rest in: nobody is at work on a handoff nor could be, and one process is left, which
/// serves and can be reached, unless all have ended.
pub(crate) fn at_rest(world: &World) -> bool {
    let serves = |(pid, process): (&u32, &Process)| {
        let free = process.hooks.is_empty() || process.finalizes() && process.hung;
        serves(world, *pid) && process.life == Life::Runs && free && process.pending.is_empty()
    };
    let over = world.processes.is_empty() || world.handoffs == 0;
    let known = !world.faults.recovers || !world.astray && world.recovery_is_over();
    // Whoever is told to stop stops, sooner or later.
    let stopped = world.signalled.is_none_or(|pid| !world.processes.contains_key(&pid));
    world.idle()
        && known
        && stopped
        && over
        && world.processes.len() <= 1
        && world.processes.iter().all(serves)
}
