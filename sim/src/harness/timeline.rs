//! A run's timeline: what happens next, and the turns that processes take.
use std::sync::Arc;

use handoff::machine::MachineRole;

use super::{Harness, RunWorld};
use crate::happening::Happening;
use crate::kernel::{Due, Micros};
use crate::plan::Plan;
use crate::program::{Program, SupervisorProgram};
use crate::runtime::Timeline;
use crate::simulated::Make;
use crate::trace::Happened;

impl RunWorld {
    /// The world of a run that is about to begin.
    pub(crate) fn of_run(plan: Arc<Plan>, make: Arc<Make>) -> RunWorld {
        let mut world = RunWorld::new(plan, make, Harness::default());
        world.arm_faults();
        world.kernel.at(0, Happening::Restart);
        world.kernel.at(0, Happening::Operator);
        world.arm_times();
        world
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Kernel(Due::Run(pid)) => self.run(pid),
            Happening::Kernel(Due::FreesLock(pid)) => self.kernel.frees_lock(pid),
            Happening::Kernel(Due::Ends(pid)) => self.ends(pid),
            Happening::Kernel(Due::Continue(pid)) => self.continues(pid),
            Happening::Exec(pid) => self.exec(pid),
            Happening::GivesUp(pid) => self.gives_up(pid),
            Happening::SealGoesOn(pid) => self.seal_goes_on(pid),
            Happening::HookReturns(pid) => self.hook_returns(pid),
            Happening::Restart => self.restart(),
            Happening::Operator => self.operate(),
            Happening::Client(client) => self.client_goes_on(client),
            Happening::Request(conn) => self.request_arrives(conn),
            Happening::HalfRequest(conn) => self.half_request_arrives(conn),
            Happening::Answer(client, conn) => self.answer_arrives(client, conn),
            Happening::Hangup(client, conn) => self.client_hangs_up(client, conn),
            Happening::Fault(index) => self.fault_is_due(index),
            Happening::DiskHasRoom => {
                self.kernel.disk.lock().full = false;
                self.around.faults.passed(self.kernel.now);
            }
            Happening::Cancel(pid) => self.is_told_to_cancel(pid),
            Happening::Drains(pid) => self.drain_looks(pid),
            Happening::StrangerLeaves(pid) => self.stranger_leaves(pid),
            Happening::PutBack => self.sockets_are_put_back(),
            Happening::Connected(client) => self.connected_goes_on(client),
            Happening::BytesCome(conn) => self.bytes_come(conn),
            Happening::BytesGo(conn) => self.bytes_go(conn),
            Happening::Carries(pid) => self.carrying_goes_on(pid),
        }
    }

    /// A process does what there is to do.
    fn run(&mut self, pid: u32) {
        if !self.kernel.takes_turn(pid) {
            return;
        }
        let Some(process) = self.kernel.processes.get(&pid) else { return };
        match process.program.what {
            Program::Daemon(_) => self.run_daemon(pid),
            Program::Supervisor(_) => self.run_supervisor(pid),
            Program::Stranger => {}
        }
        if let Some(next) = self.next_turn(pid) {
            self.kernel.turn_at(pid, next.max(self.kernel.now + 1));
        }
    }

    /// Returns the time at which a process has something to do by itself.
    fn next_turn(&self, pid: u32) -> Option<Micros> {
        let process = self.kernel.processes.get(&pid).filter(|process| process.runs())?;
        let pending = process.program.pending.front().map(|(at, _)| *at);
        let own = match &process.program.what {
            Program::Daemon(daemon) => self.daemon_turn(process, daemon),
            Program::Supervisor(supervisor) => self.supervisor_turn(process, supervisor),
            Program::Stranger => None,
        };
        pending.into_iter().chain(own).min()
    }

    /// A supervisor is started, unless one is there.
    fn restart(&mut self) {
        self.reborn_come();
        if self.main_supervisor().is_some() {
            return;
        }
        let pid = self.start_process('S', Program::Supervisor(Box::new(SupervisorProgram::new(false))));
        self.note(Some(pid), || Happened::Born { role: MachineRole::Supervisor, build: None });
        self.kernel.poke(pid, self.kernel.now);
    }

    /// Tells all that watch a process that it has ended.
    fn ends(&mut self, pid: u32) {
        if self.kernel.processes.contains_key(&pid) {
            self.note(Some(pid), || Happened::IsGone);
            self.kernel.processes.remove(&pid);
            let supervisors: Vec<u32> = self.supervisors().map(|(pid, _)| pid).collect();
            supervisors.into_iter().for_each(|supervisor| self.kernel.poke(supervisor, self.kernel.now));
        }
    }

    /// A stopped process goes on where it was.
    pub(super) fn continues(&mut self, pid: u32) {
        if !self.kernel.continues(pid) {
            return;
        }
        let process = self.kernel.processes.get_mut(&pid);
        let deferred = process.map(|process| std::mem::take(&mut process.program.deferred));
        self.around.faults.passed(self.kernel.now);
        self.note(Some(pid), || Happened::Note("goes on".into()));
        for effect in deferred.into_iter().flatten() {
            if self.kernel.runs(pid) {
                effect(self, pid);
            }
        }
        self.daemon_leaves(pid);
        self.supervisor_concludes(pid);
        self.hook_returns(pid);
        if self.daemon(pid).is_some_and(|daemon| daemon.drain.is_some()) {
            self.drain_looks(pid);
        }
        self.serve_unread(pid);
        self.goes_on_with_conns(pid);
        self.kernel.poke(pid, self.kernel.now);
    }

    /// Everything dies at once, and begins anew.
    pub(super) fn power_fails(&mut self) {
        self.power_takes_promises();
        let pids: Vec<u32> = self.kernel.processes.keys().copied().collect();
        self.kernel.disk.lock().dead.extend(pids.iter().copied());
        pids.iter().for_each(|pid| self.lose_app(*pid));
        pids.iter().for_each(|pid| self.leaves_listener(*pid, false));
        self.kernel.loses_power();
        self.kernel.after(self.plan.times.restart.micros(), Happening::Restart);
    }

    /// Fails the run at the limit of steps.
    fn too_long(&mut self) {
        const MOST_STEPS: u64 = 50_000;
        if self.around.steps > MOST_STEPS {
            let why = format!("{MOST_STEPS} steps, and no end");
            self.violated("serves again", why);
        }
    }
}

impl Timeline for RunWorld {
    fn next(&self) -> Option<Micros> {
        self.kernel.next_at().filter(|_| !self.around.over)
    }

    fn advance(&mut self, now: Micros) {
        while !self.around.over {
            let Some(happening) = self.kernel.next_due(now) else { break };
            self.around.steps += 1;
            self.happens(happening);
            self.look();
            self.too_long();
        }
    }
}
