//! The simulated machine: what there is, what happens next, and how processes come and go.
//!
//! Everything that will happen lies on one timeline, ordered by time and then by when it was put there. Nothing else
//! decides an order: no thread, no hash, no runtime.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use handoff::machine::{MachineRole, StateName};

use handoff::ProcessId;
use handoff::id::BootId;
use handoff::node::Node;

use crate::happening::Happening;
use crate::harness::checks::Audit;
use crate::harness::clients::Client;
use crate::harness::faults::Faults;
use crate::harness::operator::Operator;
use crate::harness::strangers::Swept;
use crate::kernel::{
    Disk, KernelLink, LengthOf, Life, Micros, Noise, ProcessClock, Received, SharedListener, Side,
};
use crate::mutant::Meddling;
use crate::plan::{Plan, Planted, What as Fault};
use crate::process::{DaemonProgram, Process, Program};
use crate::runtime::Timeline;
use crate::simulated::Make;
use crate::supervisor::SupervisorProgram;
use crate::trace::{Happened, Name, Recorder, Turn};

/// The machine.
pub(crate) struct SimulatedWorld {
    pub now: Micros,
    pub plan: Arc<Plan>,
    pub noise: Noise,
    pub make: Arc<Make>,
    queue: BinaryHeap<Reverse<(Micros, u64, Happening)>>,
    sequence: u64,
    pub steps: u64,
    pub processes: BTreeMap<u32, Process>,
    pub links: BTreeMap<u64, KernelLink>,
    next_link: u64,
    next_pid: u32,
    births: BTreeMap<char, u32>,
    /// All processes that were ever there.
    names: BTreeMap<u32, Name>,
    /// Whose socket the control path leads to.
    pub control_path: Option<u32>,
    /// Sockets beside it.
    pub names_beside: BTreeSet<u32>,
    pub swept: Swept,
    /// Strangers come up with these in the next boot.
    pub reborn: BTreeSet<ProcessId>,
    /// How often power has failed: processes of another boot have nothing in common but their numbers.
    boot: u8,
    pub disk: Disk,
    pub listener: SharedListener,
    pub clients: Vec<Client>,
    pub faults: Faults,
    pub recorder: Recorder,
    pub audit: Audit,
    pub operator: Operator,
    /// Broken on purpose.
    pub planted: Planted,
    /// Nothing happens any more.
    pub over: bool,
}

impl SimulatedWorld {
    pub(crate) fn new(plan: Arc<Plan>, make: Arc<Make>) -> SimulatedWorld {
        let mut world = SimulatedWorld::bare(plan, make);
        world.at(0, Happening::Restart);
        world.at(0, Happening::Operator);
        world.arm_times();
        world
    }

    /// One on which nothing runs, and nothing happens by itself.
    pub(crate) fn bare(plan: Arc<Plan>, make: Arc<Make>) -> SimulatedWorld {
        let disk = Disk::new(0);
        SimulatedWorld {
            now: 0,
            noise: Noise { seed: plan.noise, delays: plan.delays },
            faults: Faults::new(&plan.faults, &disk),
            make,
            queue: BinaryHeap::new(),
            sequence: 0,
            steps: 0,
            processes: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            next_pid: 100,
            births: BTreeMap::new(),
            names: BTreeMap::new(),
            control_path: None,
            names_beside: BTreeSet::new(),
            swept: Swept::default(),
            reborn: BTreeSet::new(),
            boot: 1,
            disk,
            listener: SharedListener::default(),
            clients: Vec::new(),
            recorder: Recorder::default(),
            audit: Audit::default(),
            operator: Operator::default(),
            planted: Planted::Nothing,
            over: false,
            plan,
        }
    }

    /// Lets `happening` happen at `at`.
    pub(crate) fn at(&mut self, at: Micros, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((at.max(self.now), self.sequence, happening)));
    }

    /// Lets it happen `after` so long.
    pub(crate) fn after(&mut self, after: Micros, happening: Happening) {
        self.at(self.now + after, happening);
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Run(pid) => self.run(pid),
            Happening::Exec(pid) => self.exec(pid),
            Happening::GivesUp(pid) => self.gives_up(pid),
            Happening::SealGoesOn(pid) => self.seal_goes_on(pid),
            Happening::HookReturns(pid) => self.hook_returns(pid),
            Happening::FreesLock(pid) => self.frees_lock(pid),
            Happening::Ends(pid) => self.ends(pid),
            Happening::Continue(pid) => self.continues(pid),
            Happening::Restart => self.restart(),
            Happening::Operator => self.operate(),
            Happening::Client(client) => self.client_goes_on(client),
            Happening::Request(conn) => self.request_arrives(conn),
            Happening::HalfRequest(conn) => self.half_request_arrives(conn),
            Happening::Answer(client, conn) => self.answer_arrives(client, conn),
            Happening::Hangup(client, conn) => self.client_hangs_up(client, conn),
            Happening::Fault(index) => self.fault_is_due(index),
            Happening::DiskHasRoom => {
                self.disk.lock().full = false;
                self.faults.passed(self.now);
            }
            Happening::Cancel(pid) => self.is_told_to_cancel(pid),
            Happening::Drains(pid) => self.drain_looks(pid),
            Happening::StrangerLeaves(pid) => self.stranger_leaves(pid),
            Happening::PutBack => self.sockets_are_put_back(),
        }
    }

    /// Notes a step, if it is to be shown.
    pub(crate) fn note(&mut self, pid: Option<u32>, what: impl FnOnce() -> Happened) {
        let name = pid.and_then(|pid| self.processes.get(&pid)).map(|process| process.name);
        self.recorder.note(self.now, name, what);
    }

    /// So much of `kind` as `pid` has next.
    pub(crate) fn length(&mut self, pid: u32, kind: LengthOf) -> Micros {
        let Some(process) = self.processes.get_mut(&pid) else { return self.noise.length(kind, pid, 0) };
        let nth = &mut process.draws[kind as usize];
        *nth += 1;
        self.noise.length(kind, process.name.number | (process.name.kind as u32) << 24, *nth)
    }

    /// One of so many.
    pub(crate) fn choice(&mut self, pid: u32, options: u64) -> u64 {
        let Some(process) = self.processes.get_mut(&pid) else { return 0 };
        let nth = &mut process.draws[LengthOf::Choice as usize];
        *nth += 1;
        self.noise.choice(options, process.name.number | (process.name.kind as u32) << 24, *nth)
    }

    /// A process has something to do at `at`: it gets a turn soon after.
    pub(crate) fn poke(&mut self, pid: u32, at: Micros) {
        let at = at.max(self.now) + self.length(pid, LengthOf::Wake);
        self.turn_at(pid, at);
    }

    fn turn_at(&mut self, pid: u32, at: Micros) {
        let Some(process) = self.processes.get_mut(&pid).filter(|process| process.runs()) else { return };
        if process.run_at.is_none_or(|already| already > at) {
            process.run_at = Some(at);
            self.at(at, Happening::Run(pid));
        }
    }

    /// A process does what there is to do.
    fn run(&mut self, pid: u32) {
        let now = self.now;
        let due = |process: &&mut Process| process.runs() && process.run_at == Some(now);
        let Some(process) = self.processes.get_mut(&pid).filter(due) else { return };
        process.run_at = None;
        match process.program {
            Program::Daemon(_) => self.run_daemon(pid),
            Program::Supervisor(_) => self.run_supervisor(pid),
            Program::Bare(_) => {}
        }
        if let Some(next) = self.next_turn(pid) {
            self.turn_at(pid, next.max(self.now + 1));
        }
    }

    /// When a process has something to do by itself.
    fn next_turn(&self, pid: u32) -> Option<Micros> {
        let process = self.processes.get(&pid).filter(|process| process.runs())?;
        let pending = process.pending.front().map(|(at, _)| *at);
        let own = match &process.program {
            Program::Daemon(daemon) => self.daemon_turn(process, daemon),
            Program::Supervisor(supervisor) => self.supervisor_turn(process, supervisor),
            Program::Bare(_) => None,
        };
        pending.into_iter().chain(own).min()
    }

    /// Starts a process.
    pub(crate) fn start_process(&mut self, kind: char, program: Program) -> u32 {
        let pid = self.next_pid;
        self.next_pid += 1;
        self.process_comes(ProcessId { pid, start_time: self.now / 10_000 }, kind, program);
        pid
    }

    /// A process comes to be that has this identity.
    pub(crate) fn process_comes(&mut self, id: ProcessId, kind: char, program: Program) {
        let pid = id.pid;
        let number = self.births.entry(kind).or_default();
        *number += 1;
        let name = Name { kind, number: *number };
        let process = Process {
            id,
            name,
            life: Life::Runs,
            lets_in: false,
            clock: ProcessClock::new(self.now, self.now, 0),
            run_at: None,
            deferred: Vec::new(),
            pending: VecDeque::new(),
            no_descriptors_until: 0,
            draws: Default::default(),
            suspect: false,
            program,
        };
        self.names.insert(pid, name);
        self.processes.insert(pid, process);
        if self.plan.skewed_clocks {
            let (offset, gains) = (self.choice(pid, 1 << 40), self.choice(pid, 1001) as i64 - 500);
            if let Some(process) = self.processes.get_mut(&pid) {
                process.clock = ProcessClock::new(self.now, offset, gains);
            }
        }
    }

    /// The run of the system.
    pub(crate) fn boot(&self) -> BootId {
        BootId([self.boot; 16])
    }

    /// A supervisor is started, unless one is there.
    fn restart(&mut self) {
        self.reborn_come();
        if self.main_supervisor().is_some() {
            return;
        }
        let pid = self.start_process('S', Program::Supervisor(Box::new(SupervisorProgram::new(false))));
        self.note(Some(pid), || Happened::Born { role: MachineRole::Supervisor, build: None });
        self.poke(pid, self.now);
    }

    /// What is done to machines.
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
        self.processes
            .iter()
            .filter_map(|(pid, process)| process.supervisor().map(|supervisor| (*pid, supervisor)))
    }

    pub(crate) fn daemons(&self) -> impl Iterator<Item = (u32, &Process, &DaemonProgram)> {
        self.processes.iter().filter_map(|(pid, process)| process.daemon().map(|d| (*pid, process, d)))
    }

    pub(crate) fn daemon_mut(&mut self, pid: u32) -> Option<&mut DaemonProgram> {
        self.processes.get_mut(&pid).and_then(Process::daemon_mut)
    }

    pub(crate) fn supervisor_mut(&mut self, pid: u32) -> Option<&mut SupervisorProgram> {
        self.processes.get_mut(&pid).and_then(Process::supervisor_mut)
    }

    pub(crate) fn runs(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(Process::runs)
    }

    pub(crate) fn name_of(&self, pid: u32) -> Name {
        self.names.get(&pid).copied().unwrap_or(Name { kind: '?', number: pid })
    }

    /// Connects to a daemon's control socket. It is there to be accepted after all that was said to it before.
    pub(crate) fn connect(&mut self, supervisor: u32, daemon: u32) -> u64 {
        let ends = (supervisor, daemon);
        let said = |link: &KernelLink| {
            link.last_arrival(Side::Daemon)
                .filter(|_| (link.pid(Side::Supervisor), link.pid(Side::Daemon)) == ends)
        };
        let at = self.links.values().filter_map(said).max().unwrap_or_default().max(self.now);
        let id = self.link(supervisor, daemon, false);
        if let Some(waiting) = self.processes.get_mut(&daemon).and_then(Process::waiting_mut) {
            // Others do not wait behind it.
            let place = waiting.partition_point(|(other, _)| *other <= at);
            waiting.insert(place, (at, id));
        }
        self.poke(daemon, at);
        id
    }

    /// The control path leads to `pid` from here on. A client that waits at the process to which it led before still waits there.
    pub(crate) fn takes_path(&mut self, pid: u32) {
        self.control_path = Some(pid);
    }

    /// The process that a connect to the control path reaches; none, if its owner has died.
    pub(crate) fn who_answers_at_path(&self) -> Option<u32> {
        self.control_path.filter(|owner| self.answers(*owner))
    }

    /// Whether a connect to a process's own control socket reaches it.
    pub(crate) fn answers(&self, pid: u32) -> bool {
        !self.swept.has(pid) && self.processes.get(&pid).is_some_and(Process::answers)
    }

    /// A link between a supervisor and a daemon.
    pub(crate) fn link(&mut self, supervisor: u32, daemon: u32, accepted: bool) -> u64 {
        self.next_link += 1;
        self.links.insert(self.next_link, KernelLink::new(supervisor, daemon, accepted));
        self.next_link
    }

    /// Closes an end of a link.
    pub(crate) fn close_link(&mut self, id: u64, side: Side) {
        self.close_link_at(id, side, self.now);
    }

    /// The same, but that the other end sees it at `at`.
    fn close_link_at(&mut self, id: u64, side: Side, at: Micros) {
        let Some(link) = self.links.get(&id) else { return };
        let peer = link.pid(side.other());
        let arrives = self.links.get_mut(&id).and_then(|link| link.close(side, at));
        if let Some(at) = arrives {
            self.poke(peer, at);
        }
        self.links.retain(|_, link| !link.is_gone());
    }

    /// Reads what has come over a link.
    pub(crate) fn reads(&mut self, id: u64, side: Side) -> Option<Received> {
        let link = self.links.get_mut(&id)?;
        let read = link.read(side, self.now);
        if link.is_gone() {
            self.links.remove(&id);
        }
        read
    }

    /// A process dies, whatever it was about to do. `by_itself`: it leaves, rather than be killed.
    pub(crate) fn die(&mut self, pid: u32, how: &str, by_itself: bool) {
        let Some(process) = self.processes.get_mut(&pid).filter(|process| process.listens()) else { return };
        process.life = Life::Dying;
        process.run_at = None;
        process.deferred.clear();
        process.pending.clear();
        self.note(Some(pid), || Happened::Ends(how.to_string()));
        self.disk.lock().dead.insert(pid);
        self.lose_app(pid);
        let closed = self.now + self.length(pid, LengthOf::Closing);
        self.closes_links(pid, closed);
        // One that never served leaves no process standing; nor does one that leaves it to another that dies just then.
        let dying = self.daemons().any(|(other, process, _)| other != pid && process.life == Life::Dying);
        let by_itself = by_itself && !dying && !self.audit.signalled.contains(&pid);
        self.leave_listener(pid, by_itself && self.audit.has_served.contains(&pid));
        if self.processes.get(&pid).is_some_and(|process| process.supervisor().is_some()) {
            return self.supervisor_ended(pid);
        }
        let lets_in = self.choice(pid, 2) == 1;
        self.processes.get_mut(&pid).into_iter().for_each(|process| process.lets_in = lets_in);
        let teardown = self.length(pid, LengthOf::Teardown) + self.faults.core_dumps(pid);
        self.at(closed + teardown, Happening::FreesLock(pid));
    }

    fn closes_links(&mut self, pid: u32, at: Micros) {
        let sides = |(id, link): (&u64, &KernelLink)| {
            [Side::Supervisor, Side::Daemon]
                .into_iter()
                .find(|side| link.pid(*side) == pid)
                .map(|side| (*id, side))
        };
        let ends: Vec<_> = self.links.iter().filter_map(sides).collect();
        ends.into_iter().for_each(|(id, side)| self.close_link_at(id, side, at));
    }

    /// The daemon's memory goes with it. Its destructors run, but can't do anything.
    fn lose_app(&mut self, pid: u32) {
        let Some(daemon) = self.daemon_mut(pid) else { return };
        let app = daemon.app.take();
        let served = std::mem::take(&mut daemon.accepts);
        daemon.hooks.clear();
        daemon.replies.clear();
        daemon.returns = None;
        daemon.drain = None;
        let _ = catch_unwind(AssertUnwindSafe(|| drop(app)));
        if served {
            self.note(Some(pid), || Happened::Serves(false));
        }
    }

    fn supervisor_ended(&mut self, pid: u32) {
        let main = self.main_supervisor() == Some(pid);
        self.processes.remove(&pid);
        if main && self.planted != Planted::NoSupervisorAgain {
            self.after(self.plan.times.restart.micros(), Happening::Restart);
        }
    }

    fn frees_lock(&mut self, pid: u32) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.lets_in = false;
            // Of the clients that came while it was dying.
            self.closes_links(pid, self.now);
            self.disk.lock().closes_lock(pid);
            let after = self.length(pid, LengthOf::End);
            self.after(after, Happening::Ends(pid));
        }
    }

    /// Tells all that watch a process that it has ended.
    fn ends(&mut self, pid: u32) {
        if self.processes.contains_key(&pid) {
            self.note(Some(pid), || Happened::IsGone);
            self.processes.remove(&pid);
            let supervisors: Vec<u32> = self.supervisors().map(|(pid, _)| pid).collect();
            supervisors.into_iter().for_each(|supervisor| self.poke(supervisor, self.now));
        }
    }

    /// A process is stopped for a while.
    pub(crate) fn stop(&mut self, pid: u32, span: Micros) {
        let Some(process) = self.processes.get_mut(&pid).filter(|process| process.runs()) else { return };
        process.life = Life::Stopped;
        process.suspect = true;
        process.run_at = None;
        self.after(span, Happening::Continue(pid));
    }

    /// A stopped process goes on where it was.
    pub(crate) fn continues(&mut self, pid: u32) {
        let now = self.now;
        let stopped = |process: &&mut Process| process.life == Life::Stopped;
        let Some(process) = self.processes.get_mut(&pid).filter(stopped) else { return };
        process.life = Life::Runs;
        let deferred = std::mem::take(&mut process.deferred);
        self.faults.passed(now);
        self.note(Some(pid), || Happened::Note("goes on".into()));
        for effect in deferred {
            if self.runs(pid) {
                effect(self, pid);
            }
        }
        self.daemon_leaves(pid);
        self.supervisor_concludes(pid);
        self.hook_returns(pid);
        if self.daemon_mut(pid).is_some_and(|daemon| daemon.drain.is_some()) {
            self.drain_looks(pid);
        }
        self.serve_unread(pid);
        self.poke(pid, now);
    }

    /// Everything dies at once, and begins anew.
    pub(crate) fn power_fails(&mut self) {
        self.power_takes_promises();
        self.loses_power();
        self.after(self.plan.times.restart.micros(), Happening::Restart);
    }

    /// Everything dies at once, and what was not synced is lost or not.
    pub(crate) fn loses_power(&mut self) {
        let pids: Vec<u32> = self.processes.keys().copied().collect();
        self.disk.lock().dead.extend(pids.iter().copied());
        for pid in &pids {
            self.lose_app(*pid);
        }
        pids.iter().for_each(|pid| self.leave_listener(*pid, false));
        self.processes.clear();
        self.links.clear();
        self.control_path = None;
        self.names_beside.clear();
        self.swept = Swept::default();
        self.boot = self.boot.wrapping_add(1).max(1);
        let (noise, mut nth) = (self.noise, 0);
        let salt = self.now as u32;
        self.disk.lock().power_fails(|unsynced| {
            nth += 1;
            noise.choice(unsynced as u64 + 1, salt, nth) as usize
        });
    }

    /// How long until the limit of steps, and what to say then.
    fn too_long(&mut self) {
        const MOST_STEPS: u64 = 50_000;
        if self.steps > MOST_STEPS {
            let why = format!("{MOST_STEPS} steps, and no end");
            self.violated("serves again", why);
        }
    }

    /// A machine of `pid` is about to take a turn: what a trace says of it. `came`: the link and the number of the frame.
    pub(crate) fn turn_begins(
        &self,
        pid: u32,
        role: MachineRole,
        event: String,
        came: Option<(u64, u64)>,
        before: StateName,
    ) -> (Option<Name>, Turn) {
        let other_end = |link: &KernelLink| {
            [Side::Supervisor, Side::Daemon].map(|side| link.pid(side)).into_iter().find(|end| *end != pid)
        };
        let from = came.and_then(|(link, _)| self.links.get(&link)).and_then(other_end);
        let (from, frame) = (from.map(|from| self.name_of(from)), came.map(|(_, number)| number));
        let who = self.processes.get(&pid).map(|process| process.name);
        (
            who,
            Turn {
                role,
                from,
                event,
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
        self.recorder.note(self.now, who, || Happened::Turn(Turn { after: after.name(), effects, ..turn }));
    }

    /// In which state a process's machine is.
    pub(crate) fn state_of(&self, pid: u32) -> &'static str {
        let Some(process) = self.processes.get(&pid) else { return "ended" };
        match &process.program {
            Program::Daemon(daemon) => daemon.node.as_ref().map_or("", |node| node.state().name()),
            Program::Supervisor(supervisor) => supervisor.state(),
            Program::Bare(_) => "",
        }
    }

    /// A fault of this kind is to strike `pid`.
    pub(crate) fn is_quirk(&self, pid: u32, quirk: Fault) -> bool {
        self.processes.get(&pid).and_then(Process::daemon).is_some_and(|daemon| daemon.quirk == Some(quirk))
    }
}

impl SimulatedWorld {
    /// Lets all happen that is due by `until`, and nothing be checked.
    pub(crate) fn passes(&mut self, until: Micros) {
        while let Some(Reverse((at, _, happening))) =
            self.queue.peek().copied().filter(|next| next.0.0 <= until)
        {
            self.queue.pop();
            self.now = at;
            self.happens(happening);
        }
        self.now = until;
    }
}

impl Timeline for SimulatedWorld {
    fn next(&self) -> Option<Micros> {
        self.queue.peek().map(|Reverse((at, ..))| *at).filter(|_| !self.over)
    }

    fn advance(&mut self, now: Micros) {
        self.now = now;
        while let Some(Reverse((at, _, happening))) = self.queue.peek().copied() {
            if at > now || self.over {
                break;
            }
            self.queue.pop();
            self.steps += 1;
            self.happens(happening);
            self.look();
            self.too_long();
        }
    }
}
