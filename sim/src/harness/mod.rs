//! The surroundings of the processes of a run: clients, an operator, the faults of a plan, and the checks.
use std::collections::BTreeSet;
use std::time::Duration;

use handoff::ProcessId;
use handoff::machine::EventName;
use handoff::message::Message;
use handoff::node::daemon::HookName;

use self::checks::Audit;
use self::clients::Client;
use self::connected::ConnectedClient;
use self::faults::Faults;
use self::operator::Operator;
use crate::kernel::{Delivery, Micros, Side};
use crate::plan::{At, Operation, What};
use crate::program;
use crate::world::{Doing, SimulatedWorld, Surroundings};

pub(crate) mod checks;
pub(crate) mod clients;
pub(crate) mod connected;
pub(crate) mod coverage;
mod cuts;
mod drain;
pub(crate) mod faults;
pub(crate) mod operator;
mod strangers;
mod timeline;
mod view;

/// A run's world.
pub(crate) type RunWorld = SimulatedWorld<Harness>;

/// A process of it.
type Process = program::Process<RunWorld>;

/// The surroundings of the processes of a run.
#[derive(Debug, Default)]
pub(crate) struct Harness {
    pub clients: Vec<Client>,
    /// The clients that hold a connection with bytes.
    pub connected: Vec<ConnectedClient>,
    pub faults: Faults,
    pub audit: Audit,
    pub operator: Operator,
    /// Strangers come up with these in the next boot.
    reborn: BTreeSet<ProcessId>,
    /// The number of things that have happened.
    pub steps: u64,
    /// `true` if nothing happens any more.
    over: bool,
}

impl Surroundings for Harness {
    fn sees(world: &mut RunWorld, pid: u32, doing: Doing<'_>) {
        match doing {
            Doing::Meets(cell) => {
                world.meets(pid, cell);
                if let EventName::Timer(timer) = cell.event {
                    world.silence_is_true(pid, timer);
                }
            }
            Doing::PassesGap(gap) => world.passes_gap(pid, gap),
            Doing::Hears(link, message) => world.hears_over(pid, link, message),
            Doing::Says(to, message) => world.word_is_lawful(pid, to, message),
            Doing::SaysFinal(to) => world.final_is_lawful(pid, to),
            Doing::Kills(peer) => world.kill_is_lawful(pid, peer),
            Doing::KillsFound(target) => world.recovery_kill_is_lawful(pid, target),
            Doing::Strikes(target) => world.spares_strangers(pid, target),
            Doing::Reports(outcome) => world.report_is_true(pid, outcome),
            Doing::IsOver(verdict) => world.around.operator.handoff_ended(world.kernel.now, verdict),
            Doing::Finds(outcome) => world.finding_is_true(pid, outcome),
            Doing::Unlocks => world.unlock_is_lawful(pid),
            Doing::WritesRecord => world.record_is_lawful(pid),
            Doing::Seals => world.seal_is_durable(pid),
            Doing::Serves => _ = world.around.audit.has_served.insert(pid),
            Doing::HasRun { sick } => world.has_run(pid, sick),
            Doing::Leaves(exit) => world.leaves_for_cause(pid, exit),
            Doing::ReadsBytes(id) => world.one_reads(pid, id),
            Doing::EndsConn(id, why) => world.conn_ends(pid, id, why),
        }
    }

    fn frame_fate(
        world: &mut RunWorld,
        from: u32,
        to: u32,
        side: Side,
        message: &Message,
    ) -> (Delivery, Micros) {
        world.frame_fate(from, to, side, message)
    }

    fn hook_fate(world: &mut RunWorld, pid: u32, hook: HookName) -> Option<(What, Micros)> {
        world.hook_fate(pid, hook)
    }

    fn spawn_fate(world: &mut RunWorld, supervisor: u32) -> Option<(What, Micros)> {
        world.spawn_fate(supervisor)
    }

    fn journal_fate(world: &mut RunWorld, supervisor: u32) -> Option<What> {
        world.journal_fate(supervisor)
    }

    fn operation_fate(world: &mut RunWorld, pid: u32, operation: Operation) -> (Micros, bool) {
        world.operation_fate(pid, operation)
    }

    fn slowness(world: &mut RunWorld, pid: u32, place: &At) -> Micros {
        world.slowness(pid, place)
    }

    fn lingers(&self, pid: u32) -> Micros {
        self.faults.core_dumps(pid)
    }

    fn has_rival(&self) -> bool {
        self.faults.has_rival()
    }

    fn is_calm(world: &RunWorld) -> Option<u64> {
        world.is_calm()
    }

    fn opens_listener(world: &mut RunWorld, pid: u32) {
        world.opens_listener(pid);
    }

    fn drain_begins(world: &mut RunWorld, pid: u32, grace: Duration) {
        world.drain_begins(pid, grace);
    }

    fn leaves_listener(world: &mut RunWorld, pid: u32, by_itself: bool) {
        world.leaves_listener(pid, by_itself);
    }
}
