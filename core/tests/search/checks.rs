//! What must hold. Reads the kernel, never a machine's own state.
use handoff::machine::supervisor::{Outcome, Peer, Verdict};

use crate::world::World;

/// In every state: at most one process writes, and it holds the lock.
pub fn safety(world: &World) -> Option<String> {
    let writers: Vec<u32> = world.processes.iter().filter(|(_, p)| p.writes()).map(|(pid, _)| *pid).collect();
    if writers.len() > 1 {
        return Some(format!("{writers:?} write at the same time"));
    }
    let lawless = writers.into_iter().find(|pid| world.lock != Some(*pid))?;
    Some(format!("{lawless} writes without the lock"))
}

/// When the supervisor kills somebody: not the one that serves, unless it is stopped or hangs.
pub fn kill(world: &World, peer: Peer, pid: u32) -> Option<String> {
    let process = world.processes.get(&pid)?;
    let well = !process.stopped && !process.hung;
    let linked = world.links.iter().any(|l| l.pid == pid && l.boss_open && l.daemon_open);
    (process.accepts && well && linked && peer == Peer::Incumbent)
        .then(|| format!("the supervisor kills {pid}, which serves and can be reached"))
}

/// What the supervisor reports is so, but for an end that it can't have heard of.
pub fn truth(world: &World, outcome: &Outcome) -> Option<String> {
    let boss = world.boss.as_ref()?;
    let serves = |pid: Option<u32>| {
        pid.is_some_and(|pid| match world.processes.get(&pid) {
            Some(process) => process.accepts && world.lock == Some(pid) && world.path == Some(pid),
            None => !boss.told.contains(&pid),
        })
    };
    let lives = |pid: Option<u32>| pid.is_some_and(|pid| world.processes.contains_key(&pid));
    let true_ = match outcome.verdict {
        Verdict::Committed => serves(boss.successor) && !lives(boss.incumbent),
        Verdict::RolledBack | Verdict::FellBack => serves(boss.incumbent) && !lives(boss.successor),
        Verdict::NobodyServes => !lives(boss.incumbent) && !lives(boss.successor),
        Verdict::Unconfirmed | Verdict::Busy | Verdict::Unreachable => true,
    };
    (!true_).then(|| format!("the supervisor reports {:?}, which is not so", outcome.verdict))
}

/// A state that a run may rest in: nobody is at work on a handoff, and one process serves and can be reached, or
/// all that could serve have ended.
pub fn at_rest(world: &World) -> bool {
    let serves = |pid: &u32| {
        let process = &world.processes[pid];
        process.accepts && !process.hung && world.lock == Some(*pid) && world.path == Some(*pid)
    };
    world.idle()
        && (world.processes.is_empty() || world.processes.keys().filter(|pid| serves(pid)).count() == 1)
}
