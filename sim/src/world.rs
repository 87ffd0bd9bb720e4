//! A simulated world: a kernel, the programs that run in its processes, and what surrounds them.
//!
//! This is what the programs' own code stands on. What goes wrong, what is checked and what is asked for lies beyond: the world tells its
//! [`Surroundings`] what a process does, and asks them what becomes of it.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use handoff::ProcessId;
use handoff::host::Gap;
use handoff::machine::supervisor::{HandoffVerdict, Outcome, Peer};
use handoff::machine::{Cell, ExitReason, MachineRole, StateName, recovery};
use handoff::message::Message;
use handoff::node::Node;
use handoff::node::daemon::HookName;

use crate::happening::Happening;
use crate::kernel::{Delivery, KernelLink, Life, Micros, Name, Noise, Side, SimulatedKernel};
use crate::mutant::Meddling;
use crate::plan::{At, Operation, Plan, Planted, What};
use crate::program::{
    ByteService, DaemonCarrying, DaemonProgram, Process, Program, RunningProgram, SupervisorProgram,
};
use crate::simulated::Make;
use crate::trace::words::EventWords;
use crate::trace::{Happened, Recorder, Turn};

/// A world. Its processes run daemons and supervisors.
pub(crate) struct SimulatedWorld<S> {
    pub kernel: SimulatedKernel<RunningProgram<SimulatedWorld<S>>, Happening>,
    pub plan: Arc<Plan>,
    pub make: Arc<Make>,
    pub recorder: Recorder,
    /// Broken on purpose.
    pub planted: Planted,
    pub orders: Orders,
    pub around: S,
}

/// The orders so far.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// So many handoffs.
    pub asked: u32,
    /// The build that is configured; 0 before anything was asked for.
    pub newest_build: u32,
    /// So many handoffs and cold starts were begun.
    pub begun: u64,
}

/// The act of a process, or what has come of it.
pub(crate) enum Doing<'a> {
    /// A machine is about to handle an event.
    Meets(Cell),
    /// The process is in the gap between two effects: it may not live to see the next.
    PassesGap(Gap),
    /// The process reads a message over a link.
    Hears(u64, &'a Message),
    /// A supervisor says something to a peer in a handoff.
    Says(Peer, &'a Message),
    /// A recovery tells this daemon that its predecessor has ended.
    SaysFinal(u32),
    /// A supervisor kills a peer in a handoff.
    Kills(Peer),
    /// A recovery kills this process.
    KillsFound(u32),
    /// A supervisor's signal goes to this process.
    Strikes(u32),
    /// A supervisor reports what became of a handoff.
    Reports(&'a Outcome),
    /// A handoff that an operator has asked for is over.
    IsOver(HandoffVerdict),
    /// A recovery has found out which daemon serves.
    Finds(&'a recovery::Outcome),
    /// A daemon is about to free the lock.
    Unlocks,
    /// The process writes the record.
    WritesRecord,
    /// A hook has sealed the data directory.
    Seals,
    /// A hook has made it serve.
    Serves,
    /// Its own code, which may have written, has returned. `sick`: the disk was not as it should be.
    HasRun { sick: bool },
    /// A daemon's machine has come to its end.
    Leaves(&'a ExitReason),
    /// The process reads from a connection with bytes.
    ReadsBytes(u64),
    /// The process was the last that had a descriptor of a connection with bytes.
    EndsConn(u64, LastHolder),
}

/// The reason why the process that is the last to have a descriptor of a connection lets go of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastHolder {
    /// The process drains, and the connection is between two requests.
    Drains,
    /// The process drains, and the client makes no progress.
    Cuts,
    /// The process leaves because another process serves.
    Retires,
    /// The process was sent the connection, and can't take what it is sent.
    GivesUp,
    /// The process was sent the connection, and serves without.
    Serves,
    /// The process goes on, and its successor has adopted the connection: it ends it for all.
    Abandons,
    /// The process has died, or leaves for another reason.
    Dies,
}

/// The surroundings of the processes of a world.
pub(crate) trait Surroundings: Sized + 'static {
    /// Is told what a process does.
    fn sees(world: &mut SimulatedWorld<Self>, pid: u32, doing: Doing<'_>);

    /// Returns what becomes of a frame that is sent, and how much longer it takes.
    fn frame_fate(
        world: &mut SimulatedWorld<Self>,
        from: u32,
        to: u32,
        side: Side,
        message: &Message,
    ) -> (Delivery, Micros);

    /// Returns what goes wrong with a hook, and for how long.
    fn hook_fate(world: &mut SimulatedWorld<Self>, pid: u32, hook: HookName) -> Option<(What, Micros)>;

    /// Returns what goes wrong as a daemon is started, and for how long.
    fn spawn_fate(world: &mut SimulatedWorld<Self>, supervisor: u32) -> Option<(What, Micros)>;

    /// Returns what goes wrong with a write of the journal.
    fn journal_fate(world: &mut SimulatedWorld<Self>, supervisor: u32) -> Option<What>;

    /// Returns what goes wrong with an operation of a daemon: how much later it is performed, and whether it
    /// fails.
    fn operation_fate(world: &mut SimulatedWorld<Self>, pid: u32, operation: Operation) -> (Micros, bool);

    /// Returns how much later the answer comes to what `pid` asks for at `place`: a start of a process, a
    /// write of the journal.
    fn slowness(world: &mut SimulatedWorld<Self>, pid: u32, place: &At) -> Micros;

    /// Returns how much longer `pid`, which dies, takes to end.
    fn lingers(&self, pid: u32) -> Micros;

    /// Returns whether another supervisor comes, has come, or may.
    fn has_rival(&self) -> bool;

    /// Nothing is wrong now: how often something was.
    fn is_calm(world: &SimulatedWorld<Self>) -> Option<u64>;

    /// A daemon accepts all that wait, and does what they ask for.
    fn opens_listener(world: &mut SimulatedWorld<Self>, pid: u32);

    /// A daemon drains: it accepts nothing from here on.
    fn drain_begins(world: &mut SimulatedWorld<Self>, pid: u32, grace: Duration);

    /// A process has no descriptors any more: neither of the listening socket, nor of connections. `by_itself`: it leaves, rather
    /// than be killed.
    fn leaves_listener(world: &mut SimulatedWorld<Self>, pid: u32, by_itself: bool);
}

impl<S> SimulatedWorld<S> {
    /// Makes a world on which nothing runs, and nothing happens by itself.
    pub(crate) fn new(plan: Arc<Plan>, make: Arc<Make>, surroundings: S) -> SimulatedWorld<S> {
        let mut kernel = SimulatedKernel::new(Noise { seed: plan.noise, delays: plan.delays });
        kernel.skewed_clocks = plan.skewed_clocks;
        SimulatedWorld {
            kernel,
            plan,
            make,
            recorder: Recorder::default(),
            planted: Planted::Nothing,
            orders: Orders::default(),
            around: surroundings,
        }
    }

    /// Notes a step, if it is to be shown.
    pub(crate) fn note(&mut self, pid: Option<u32>, what: impl FnOnce() -> Happened) {
        let name = pid.and_then(|pid| self.kernel.processes.get(&pid)).map(|process| process.name);
        self.recorder.note(self.kernel.now, name, what);
    }

    /// Starts a process.
    pub(crate) fn start_process(&mut self, kind: char, program: Program) -> u32 {
        self.kernel.start_process(kind, program.into())
    }

    /// A process comes to be that has this identity.
    pub(crate) fn process_comes(&mut self, id: ProcessId, kind: char, program: Program) {
        self.kernel.process_comes(id, kind, program.into());
    }

    /// Returns what is done to machines.
    pub(crate) fn meddling(&self) -> Meddling<'static> {
        match self.planted {
            Planted::Mutant(mutation) => Meddling::Mutates(mutation),
            _ => Meddling::No,
        }
    }

    /// The supervisor that is to be there.
    pub(crate) fn main_supervisor(&self) -> Option<u32> {
        self.supervisors().find(|(_, supervisor)| !supervisor.rival).map(|(pid, _)| pid)
    }

    pub(crate) fn supervisors(&self) -> impl Iterator<Item = (u32, &SupervisorProgram)> {
        let all = self.kernel.processes.iter();
        all.filter_map(|(pid, process)| process.supervisor().map(|supervisor| (*pid, supervisor)))
    }

    pub(crate) fn daemons(&self) -> impl Iterator<Item = (u32, &Process<SimulatedWorld<S>>, &DaemonProgram)> {
        let all = self.kernel.processes.iter();
        all.filter_map(|(pid, process)| process.daemon().map(|daemon| (*pid, process, daemon)))
    }

    pub(crate) fn supervisor(&self, pid: u32) -> Option<&SupervisorProgram> {
        self.kernel.processes.get(&pid).and_then(Process::supervisor)
    }

    pub(crate) fn supervisor_mut(&mut self, pid: u32) -> Option<&mut SupervisorProgram> {
        self.kernel.processes.get_mut(&pid).and_then(Process::supervisor_mut)
    }

    pub(crate) fn daemon(&self, pid: u32) -> Option<&DaemonProgram> {
        self.kernel.processes.get(&pid).and_then(Process::daemon)
    }

    pub(crate) fn daemon_mut(&mut self, pid: u32) -> Option<&mut DaemonProgram> {
        self.kernel.processes.get_mut(&pid).and_then(Process::daemon_mut)
    }

    /// Returns whether a fault of this kind is to strike `pid`.
    pub(crate) fn is_quirk(&self, pid: u32, quirk: What) -> bool {
        self.daemon(pid).is_some_and(|daemon| daemon.quirk == Some(quirk))
    }

    /// The daemon's memory goes with it. Its destructors run, but can't do anything.
    pub(crate) fn lose_app(&mut self, pid: u32) {
        let Some(daemon) = self.daemon_mut(pid) else { return };
        let app = daemon.app.take();
        let served = std::mem::take(&mut daemon.accepts);
        daemon.hooks.clear();
        daemon.replies.clear();
        daemon.returns = None;
        daemon.drain = None;
        daemon.bytes = ByteService::default();
        daemon.carrying = DaemonCarrying::default();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(app)));
        if served {
            self.note(Some(pid), || Happened::Serves(false));
        }
    }

    /// A machine of `pid` is about to take a turn: what a trace says of it. `came`: the link and the number of the frame.
    pub(crate) fn turn_begins(
        &self,
        pid: u32,
        role: MachineRole,
        event: EventWords,
        came: Option<(u64, u64)>,
        before: StateName,
    ) -> (Option<Name>, Turn) {
        let other_end = |link: &KernelLink| {
            [Side::Supervisor, Side::Daemon].map(|side| link.pid(side)).into_iter().find(|end| *end != pid)
        };
        let from = came.and_then(|(link, _)| self.kernel.links.get(&link)).and_then(other_end);
        let (from, frame) = (from.map(|from| self.kernel.name_of(from)), came.map(|(_, number)| number));
        let who = self.kernel.processes.get(&pid).map(|process| process.name);
        (
            who,
            Turn {
                role,
                from,
                event: event.text,
                repeats: event.repeats,
                frame,
                before: before.name(),
                after: before.name(),
                effects: Vec::new(),
            },
        )
    }

    /// Notes that a process has taken its turn. It may be gone by now.
    pub(crate) fn turn_ends(&mut self, (who, turn): (Option<Name>, Turn), after: StateName) {
        let effects = self.recorder.take_effects();
        self.recorder
            .note(self.kernel.now, who, || Happened::Turn(Turn { after: after.name(), effects, ..turn }));
    }

    /// In which state a process's machine is.
    pub(crate) fn state_of(&self, pid: u32) -> &'static str {
        let Some(process) = self.kernel.processes.get(&pid) else { return "ended" };
        match &process.program.what {
            Program::Daemon(daemon) => daemon.node.as_ref().map_or("", |node| node.state().name()),
            Program::Supervisor(supervisor) => supervisor.state(),
            Program::Stranger => "",
        }
    }

    /// Sockets of processes that have ended have no owner.
    pub(crate) fn sweep_names(&mut self) {
        if self.planted == Planted::SocketsStay {
            return;
        }
        let processes = &self.kernel.processes;
        self.kernel.names_beside.retain(|pid| processes.contains_key(pid));
    }
}

impl<S: Surroundings> SimulatedWorld<S> {
    /// Tells what surrounds it what a process does.
    pub(crate) fn shows(&mut self, pid: u32, doing: Doing<'_>) {
        S::sees(self, pid, doing);
    }

    /// A process dies, whatever it was about to do. `by_itself`: it leaves, rather than be killed.
    pub(crate) fn die(&mut self, pid: u32, how: &str, by_itself: bool) {
        if !self.kernel.begins_to_die(pid) {
            return;
        }
        if let Some(process) = self.kernel.processes.get_mut(&pid) {
            process.program.deferred.clear();
            process.program.pending.clear();
        }
        self.note(Some(pid), || Happened::Ends(how.to_string()));
        self.lose_app(pid);
        let closed = self.kernel.dying_closes_links(pid);
        // One that leaves it to another that dies just then leaves no process standing.
        let dying = self.daemons().any(|(other, process, _)| other != pid && process.life == Life::Dying);
        S::leaves_listener(self, pid, by_itself && !dying);
        if self.supervisor(pid).is_some() {
            return self.supervisor_ended(pid);
        }
        let lingers = self.around.lingers(pid);
        self.kernel.dying_frees_lock(pid, closed, lingers);
    }

    fn supervisor_ended(&mut self, pid: u32) {
        let main = self.main_supervisor() == Some(pid);
        self.kernel.processes.remove(&pid);
        if main && self.planted != Planted::NoSupervisorAgain {
            self.kernel.after(self.plan.times.restart.micros(), Happening::Restart);
        }
    }
}
