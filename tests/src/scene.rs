//! The scene in which most tests begin: a daemon that serves, a supervisor, a client that writes.
use crate::build::Build;
use crate::order::OrderOutcome;
use crate::supervisor_process::SupervisorProcess;
use crate::world::World;
use crate::writer::Writer;

/// A daemon serves, and a client writes to it.
#[derive(Debug)]
pub struct Scene {
    /// The supervisor.
    pub supervisor: SupervisorProcess,
    /// The client.
    pub writer: Writer,
    /// The build that serves.
    pub incumbent: Build,
    /// Its pid.
    pub pid: u32,
    /// The world in which everything happens. Last, so that it sees the others end.
    pub world: World,
}

impl Scene {
    /// Starts all of it.
    #[allow(clippy::new_without_default, reason = "to make one is an act")]
    #[track_caller]
    pub fn new() -> Scene {
        Scene::with(World::supervisor)
    }

    /// The same, with a supervisor of your own.
    #[track_caller]
    pub fn with(supervisor: impl FnOnce(&World) -> SupervisorProcess) -> Scene {
        let world = World::new();
        let supervisor = supervisor(&world);
        let incumbent = world.build();
        let pid = supervisor.cold_start(&incumbent).assert_committed();
        let writer = world.writer();
        writer.wait_for_write_by(pid);
        Scene { supervisor, writer, incumbent, pid, world }
    }

    /// Swaps to `build` and sees it rolled back for a reason that has `why` in it; the incumbent serves on, and
    /// everything is well.
    #[track_caller]
    pub fn assert_rolls_back(&self, build: &Build, why: &str) -> OrderOutcome {
        let outcome = self.supervisor.handoff(build);
        outcome.assert_rolled_back(why);
        self.assert_unharmed();
        outcome
    }

    /// The incumbent serves on, clients have seen no failure, nothing is left over, and the next swap commits.
    #[track_caller]
    pub fn assert_unharmed(&self) {
        let serving = self.world.assert_one_serves(&[self.supervisor.pid()]);
        assert_eq!(serving, self.pid, "the incumbent serves on");
        self.assert_well();
    }

    /// Checks, whichever process serves now, that clients have seen no failure, nothing is left over, and the
    /// next swap commits.
    #[track_caller]
    pub fn assert_well(&self) {
        self.world.assert_one_serves_and_nothing_lost(&self.supervisor, &self.writer);
        self.world.assert_clean(&self.writer);
    }
}
