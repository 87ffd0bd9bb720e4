//! The phases of a handoff, as people see them.
use super::StateName;
use crate::names::names;

names! {
    /// A phase of a handoff, as reports and logs tell it.
    ///
    /// - `spawn`: the incumbent is reached, the successor's process is started.
    /// - `warm_up`: the successor warms up; the incumbent serves.
    /// - `drain`: the incumbent drains; the pause begins.
    /// - `seal`: the incumbent seals.
    /// - `open`: the successor takes the lock and opens the state.
    /// - `commit`: the successor begins to serve; the pause ends.
    /// - `retire`: the journal is written, the incumbent ends.
    /// - `roll_back`: the way back, if it is taken.
    #[non_exhaustive]
    pub enum Phase {
        Spawn = "spawn",
        WarmUp = "warm_up",
        Drain = "drain",
        Seal = "seal",
        Open = "open",
        Commit = "commit",
        Retire = "retire",
        RollBack = "roll_back",
    }
}

impl Phase {
    /// The phase that a state of the supervisor's machine belongs to.
    pub fn of(state: StateName) -> Phase {
        match state {
            StateName::Start | StateName::AwaitIncumbent | StateName::AwaitSpawn => Phase::Spawn,
            StateName::AwaitWarmed => Phase::WarmUp,
            StateName::AwaitDrained => Phase::Drain,
            StateName::AwaitSealed => Phase::Seal,
            StateName::AwaitReady => Phase::Open,
            StateName::AwaitServing => Phase::Commit,
            StateName::AwaitCommitted | StateName::AwaitRetired => Phase::Retire,
            _ => Phase::RollBack,
        }
    }
}
