//! A simulated daemon's process: the turns of its node, and the hooks beside it.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use handoff::machine::{ExitReason, LinkId, MachineRole, Op, SuccessorMachine, incumbent, successor};
use handoff::message::{Capabilities, Hello, PROTO_MAX, PROTO_MIN, SealProgress};
use handoff::node::daemon::Hook as AnyHook;
use handoff::node::daemon::{self as node, DaemonMachine, Done, Event, HookReport};
use handoff::node::{Node, NodeOn};
use handoff::{HostError, ReadinessSnapshot, ResumeFrom};

use crate::happening::Happening;
use crate::host::Host;
use crate::kernel::{ClientRequest, Died, LengthOf, Lie, Life, Micros, Side};
use crate::plan::What as Fault;
use crate::program::{DaemonProgram, Process};
use crate::simulated::Simulated;
use crate::trace::Happened;
use crate::trace::words::{EventWords, daemon_event};
use crate::world::{Doing, SimulatedWorld, Surroundings};

/// The time for which a daemon that is asked to stop lets open requests finish.
const STOP_GRACE: Duration = Duration::from_millis(100);

impl<S: Surroundings> SimulatedWorld<S> {
    /// A new daemon has its first turn: it listens, reads the record, and introduces itself.
    pub(crate) fn exec(&mut self, pid: u32) {
        if self.kernel.processes.get(&pid).is_some_and(|process| process.life == Life::Stopped) {
            return self.kernel.after(1000, Happening::Exec(pid));
        }
        if !self.kernel.runs(pid) || self.is_quirk(pid, Fault::Hang) {
            return;
        }
        if self.is_quirk(pid, Fault::DieEarly) {
            return self.die(pid, "dies before it says anything", false);
        }
        let generation = self.record().map_or(0, |record| record.generation);
        let hello = self.hello(pid, handoff::message::Role::Successor);
        let make = std::sync::Arc::clone(&self.make);
        let Some(daemon) = self.daemon_mut(pid) else { return };
        let link = LinkId(daemon.inherited);
        daemon.app = Some(make(daemon.disk.clone(), daemon.build));
        let build = daemon.build;
        self.kernel.processes.get_mut(&pid).into_iter().for_each(|process| process.has_socket = true);
        let role = DaemonMachine::Successor(SuccessorMachine::new(hello, generation, link));
        let mut node = node::DaemonNode::new(role, Some(link), STOP_GRACE);
        self.kernel.names_beside.insert(pid);
        self.note(Some(pid), || Happened::Born { role: MachineRole::Successor, build: Some(build) });
        self.daemon_step(pid, &mut node, Event::Start, None);
        self.daemon_rests(pid, node);
        self.kernel.poke(pid, self.kernel.now);
    }

    fn hello(&self, pid: u32, role: handoff::message::Role) -> Hello {
        let id = self.kernel.processes[&pid].id;
        let quirk = |fault| self.is_quirk(pid, fault);
        let (proto_min, proto_max) = match () {
            () if quirk(Fault::OtherVersion) => (PROTO_MAX + 1, PROTO_MAX + 2),
            () if quirk(Fault::NewerVersion) => (PROTO_MIN, PROTO_MAX + 1),
            () => (PROTO_MIN, PROTO_MAX),
        };
        let build = self.kernel.processes[&pid].daemon().map_or(0, |daemon| daemon.build);
        Hello {
            role,
            pid: if quirk(Fault::WrongPid) { id.pid + 1 } else { id.pid },
            start_time: id.start_time,
            build_id: build.to_string().into_bytes(),
            proto_min,
            proto_max,
            capabilities: if self.carries(pid) { Capabilities::CONNECTIONS } else { Capabilities::default() },
        }
    }

    /// Returns the time at which a daemon has something to do by itself.
    pub(crate) fn daemon_turn(&self, process: &Process<Self>, daemon: &DaemonProgram) -> Option<Micros> {
        let node = daemon.node.as_ref()?;
        let links = node.links().filter_map(|id| self.kernel.links.get(&id.0)?.next_arrival(Side::Daemon));
        let timer = node.wake_at().map(|at| process.clock.when(at));
        let accepts = node.accepts(process.clock.at(self.kernel.now));
        let waiting = process.waiting.front().map(|(at, _)| *at).filter(|_| accepts);
        let told = (daemon.stop_asked && !node.knows_of_stop()).then_some(self.kernel.now);
        let replies = (!daemon.replies.is_empty()).then_some(self.kernel.now);
        let waits = daemon.carrying.patient_until.is_some();
        let asked = daemon.carrying.asking.filter(|_| waits);
        let hears = asked.and_then(|(link, _)| self.kernel.links.get(&link)?.next_arrival(Side::Supervisor));
        let carried = hears.into_iter().chain(self.kernel.passing.next_notice(process.id.pid, waits));
        let next = links.chain(carried).chain(timer).chain(waiting).chain(told).chain(replies).min();
        next.filter(|_| process.has_socket && daemon.exit.is_none())
    }

    /// Handles all that has happened, in the node's order.
    pub(crate) fn run_daemon(&mut self, pid: u32) {
        let Some(mut node) = self.running_daemon(pid).and_then(|daemon| daemon.node.take()) else { return };
        while self.running_daemon(pid).is_some_and(|daemon| daemon.exit.is_none()) {
            let mut host = Host::new(self, pid);
            let (event, came) = (node.next(&mut host), host.came);
            let Some(event) = event else { break };
            self.daemon_step(pid, &mut node, event, came);
        }
        self.daemon_rests(pid, node);
        self.goes_on_with_conns(pid);
    }

    /// Beside its node, a daemon takes connections in, hands them over, and serves them.
    pub(crate) fn goes_on_with_conns(&mut self, pid: u32) {
        if self.plan.connections > 0 {
            self.receives_conns(pid);
            self.carrying_goes_on(pid);
            self.serves_bytes(pid);
        }
    }

    /// The turns are over, for now or for good.
    fn daemon_rests(&mut self, pid: u32, node: node::DaemonNode) {
        if let Some(daemon) = self.daemon_mut(pid) {
            daemon.node = Some(node);
        }
        self.daemon_leaves(pid);
    }

    pub(crate) fn running_daemon(&mut self, pid: u32) -> Option<&mut DaemonProgram> {
        let process = self.kernel.processes.get_mut(&pid).filter(|process| process.runs())?;
        process.daemon_mut()
    }

    /// Lets the machine handle `event`.
    fn daemon_step(&mut self, pid: u32, node: &mut node::DaemonNode, event: Event, came: Option<(u64, u64)>) {
        let name = if self.recorder.on { daemon_event(&event) } else { EventWords::default() };
        let turn = self.turn_begins(pid, node.role().kind(), name, came, node.state());
        let mut meddling = self.meddling();
        let _ = node.step(&mut Host::new(self, pid), event, &mut meddling);
        // A promoted successor's state is its incumbent's.
        self.turn_ends(turn, node.state());
        let promoted = matches!(node.role(), DaemonMachine::Incumbent(_));
        self.daemon_mut(pid).into_iter().for_each(|daemon| daemon.promoted = promoted);
    }

    /// A machine that has left takes its process with it.
    pub(crate) fn daemon_leaves(&mut self, pid: u32) {
        let Some(exit) = self.running_daemon(pid).and_then(|daemon| daemon.exit.clone()) else { return };
        self.shows(pid, Doing::Leaves(&exit));
        if exit != ExitReason::HookLimit {
            self.kernel.removes_sockets(pid);
        }
        let how = match &exit {
            ExitReason::Retired => "leaves: another one serves".to_string(),
            ExitReason::Stopped => "leaves: it was asked to stop".to_string(),
            ExitReason::Aborted(why) => format!("leaves: {why}"),
            ExitReason::Failed(why) => format!("leaves, failed: {why}"),
            ExitReason::HookLimit => "ends itself: a hook has run too long".to_string(),
        };
        // One that can't serve, or that an operator has asked to stop, does not leave because another serves.
        let by_itself = matches!(exit, ExitReason::Retired | ExitReason::Aborted(_));
        self.die(pid, &how, by_itself);
    }

    /// The hook at the head of the queue begins.
    pub(crate) fn hook_itself_begins(&mut self, pid: u32) {
        let Some((_, hook)) = self.daemon_mut(pid).and_then(|daemon| daemon.hooks.front().cloned()) else {
            return;
        };
        let name = hook.name();
        self.note(Some(pid), || Happened::HookBegan(name));
        let usual = self.kernel.length(pid, LengthOf::Hook);
        let fate = S::hook_fate(self, pid, name);
        let Some(daemon) = self.running_daemon(pid) else { return };
        let accepted = daemon.accepts;
        daemon.hook_begins();
        let serves_no_more = accepted && !daemon.accepts;
        daemon.returns = None;
        daemon.left = 0;
        let length = match fate {
            Some((Fault::Hang, _)) => None,
            Some((Fault::Slow, span)) => Some(usual + span),
            _ => Some(usual),
        };
        if serves_no_more {
            self.note(Some(pid), || Happened::Serves(false));
        }
        if let AnyHook::Incumbent(incumbent::Hook::Drain { grace, .. }) = hook {
            S::drain_begins(self, pid, grace);
        }
        let seals = hook == AnyHook::Incumbent(incumbent::Hook::Seal);
        if let (true, Some((Fault::Slow, span))) = (seals, fate) {
            self.kernel.after(span / 2, Happening::SealGoesOn(pid));
        }
        if let Some(length) = length {
            let at = self.kernel.now + length;
            self.daemon_mut(pid)
                .into_iter()
                .for_each(|daemon| daemon.returns = Some((at, fate.map(|(what, _)| what))));
            self.kernel.at(at, Happening::HookReturns(pid));
        }
    }

    /// A seal that takes its time says, halfway, how far it has come.
    pub(crate) fn seal_goes_on(&mut self, pid: u32) {
        let Some(node) = self.running_daemon(pid).and_then(|daemon| daemon.node.clone()) else { return };
        let state = node.state();
        let turn = self.turn_begins(pid, node.role().kind(), "hook goes on".into(), None, state);
        node.seal_goes_on(&mut Host::new(self, pid), SealProgress::default());
        self.turn_ends(turn, state);
    }

    /// A hook returns what is not good enough. One that opens what was sealed just before calls itself unhealthy, or has opened
    /// less than that; or something else, if it and the daemon that sealed it have the same kind of fingerprint.
    fn performs_badly(&mut self, pid: u32, hook: &AnyHook) -> Option<Result<Done, HostError>> {
        let opens = matches!(hook, AnyHook::Successor(successor::Hook::Open { .. }));
        let scheme =
            self.daemon_mut(pid).and_then(|daemon| daemon.sealed_for_it).filter(|_| opens).unwrap_or(0);
        let lie = match self.kernel.choice(pid, 3) {
            1 if scheme != 0 => Some(Lie::Stale),
            2 if scheme != 0 => Some(Lie::Altered),
            _ => None,
        };
        lie.into_iter().for_each(|lie| self.kernel.disk.lock().lies(pid, lie));
        let result = self.call(pid, |app| perform(app, hook));
        self.kernel.disk.lock().tells_the_truth();
        Some(result?.map(|report| match lie {
            Some(Lie::Stale) => report,
            Some(Lie::Altered) if scheme_of(&report) == Some(scheme) => report,
            _ => unfit(report),
        }))
    }

    fn opens_other_data(&mut self, pid: u32, hook: &AnyHook) -> bool {
        let opens = matches!(hook, AnyHook::Successor(successor::Hook::Open { .. }));
        opens && self.daemon_mut(pid).is_some_and(|daemon| daemon.quirk == Some(Fault::OtherData))
    }

    /// A hook finds another data directory, which is empty.
    fn call_elsewhere(&mut self, pid: u32, hook: &AnyHook) -> Option<Result<Done, HostError>> {
        let mut disk = self.kernel.disk.lock();
        disk.elsewhere.insert(pid);
        disk.lies(pid, Lie::Another);
        drop(disk);
        let result = self.call(pid, |app| perform(app, hook));
        self.kernel.disk.lock().tells_the_truth();
        result
    }

    /// The first hook does what it does, and returns.
    pub(crate) fn hook_returns(&mut self, pid: u32) {
        let now = self.kernel.now;
        let Some(daemon) = self.running_daemon(pid) else { return };
        // A drain waits for clients, too.
        if daemon.drain.is_some() {
            return;
        }
        let left = daemon.left;
        let Some((_, fate)) = daemon.returns.filter(|(at, _)| *at <= now) else { return };
        let Some((op, hook)) = daemon.hooks.pop_front() else { return };
        daemon.returns = None;
        let is_finalize = hook == AnyHook::Incumbent(incumbent::Hook::Finalize);
        let result = match fate {
            Some(Fault::Fail) => Some(Err(HostError::hook("injected"))),
            Some(Fault::Panic) => Some(Err(HostError::hook("panicked: injected"))),
            // A rival has no journal: the first supervisor would never know the binary that could read what was migrated.
            _ if is_finalize && self.around.has_rival() => Some(Ok(Done::Incumbent(incumbent::Done::Ok))),
            Some(Fault::Unfit) => self.performs_badly(pid, &hook),
            _ if self.opens_other_data(pid, &hook) => self.call_elsewhere(pid, &hook),
            _ => self.call(pid, |app| perform(app, &hook)),
        };
        let Some(result) = result.map(|result| result.map(|done| with_left(done, left))) else { return };
        let failed = result.as_ref().err().map(ToString::to_string);
        self.note(Some(pid), || Happened::HookEnded(hook.name(), failed));
        self.hook_has_run(pid, &hook, &result);
        let app = self.daemon_mut(pid).and_then(|daemon| daemon.app.as_ref());
        if is_finalize && app.is_some_and(|app| app.is_broken()) {
            return self.die(pid, "ends itself: its store is broken", false);
        }
        // What clients asked for may have been its end.
        if !self.kernel.processes.get(&pid).is_some_and(Process::lives) {
            return;
        }
        self.daemon_mut(pid).into_iter().for_each(|daemon| daemon.hooks.push_front((op, hook.clone())));
        self.hook_has_returned(pid, result);
    }

    /// The hook at the head of the queue is over, and the next one begins.
    pub(crate) fn hook_is_over(&mut self, pid: u32, result: Result<Done, HostError>) {
        let Some((op, _)) = self.daemon_mut(pid).and_then(|daemon| daemon.hooks.pop_front()) else { return };
        if op != Op::UNAWAITED {
            if let Some(daemon) = self.daemon_mut(pid) {
                daemon.replies.push_back(HookReport::Done(op, result));
            }
            self.kernel.poke(pid, self.kernel.now);
        }
        self.hook_begins(pid);
    }

    /// Tells clients, and checks, of a hook's end.
    fn hook_has_run(&mut self, pid: u32, hook: &AnyHook, result: &Result<Done, HostError>) {
        let serves = matches!(
            hook,
            AnyHook::Incumbent(incumbent::Hook::Resume { .. }) | AnyHook::Successor(successor::Hook::Serve)
        );
        if serves && result.is_ok() {
            self.daemon_mut(pid).into_iter().for_each(|daemon| daemon.accepts = true);
            self.note(Some(pid), || Happened::Serves(true));
            self.shows(pid, Doing::Serves);
            S::opens_listener(self, pid);
            // A new client's connection must find those that are adopted.
            if !self.carries(pid) || matches!(hook, AnyHook::Incumbent(_)) {
                self.reads_bytes(pid);
            }
        }
        // One whose drain left it accepting, and that can't come back, serves no client.
        if serves
            && result.is_err()
            && self.daemon_mut(pid).is_some_and(|daemon| std::mem::take(&mut daemon.accepts))
        {
            self.note(Some(pid), || Happened::Serves(false));
        }
        if let Ok(Done::Incumbent(incumbent::Done::Drained { accept_closed: false, .. })) = result {
            self.daemon_mut(pid).into_iter().for_each(|daemon| daemon.accepts = true);
        }
        if *hook == AnyHook::Incumbent(incumbent::Hook::Seal) && result.is_ok() {
            self.shows(pid, Doing::Seals);
        }
    }

    /// Lets the daemon do what a client asks for. What came of it, and whether the daemon's store is broken; `None` if its process
    /// dies in it.
    pub(crate) fn does_what_is_asked(
        &mut self,
        pid: u32,
        request: ClientRequest,
    ) -> Option<(Result<u64, HostError>, bool)> {
        let mut is_broken = false;
        let result = self.call(pid, |app| {
            let result = match request {
                ClientRequest::Write { key, value } => app.write(key, value).map(|()| value).map_err(failed),
                ClientRequest::Read { key } => app.read(key).map(Option::unwrap_or_default).map_err(failed),
            };
            is_broken = app.is_broken();
            result
        })?;
        Some((result, is_broken))
    }

    /// Lets the daemon's own code run. `None` if its process dies in it.
    pub(crate) fn call<T>(
        &mut self,
        pid: u32,
        work: impl FnOnce(&mut dyn Simulated) -> Result<T, HostError>,
    ) -> Option<Result<T, HostError>> {
        let mut app = self.daemon_mut(pid)?.app.take()?;
        let sick = self.kernel.disk.lock().is_sick();
        let result = catch_unwind(AssertUnwindSafe(|| work(&mut *app)));
        if let Some(daemon) = self.daemon_mut(pid) {
            daemon.app = Some(app);
        }
        self.shows(pid, Doing::HasRun { sick });
        let died = self.kernel.disk.lock().dead.contains(&pid);
        match result {
            _ if died => {
                self.die(pid, "dies in the middle of a write", false);
                None
            }
            Ok(result) => Some(result),
            Err(panic) if panic.is::<Died>() => None,
            Err(panic) => Some(Err(HostError::hook(format!("panicked: {}", panic_text(&*panic))))),
        }
    }
}

/// Returns what is wrong with the daemon's own code, in words.
pub(crate) fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> HostError {
    HostError::hook(error.to_string())
}

/// Calls a hook of the daemon's.
fn perform(app: &mut dyn Simulated, hook: &AnyHook) -> Result<Done, HostError> {
    match hook {
        AnyHook::Incumbent(incumbent::Hook::Drain { grace, .. }) => app.drain(*grace).map_err(failed).map(
            |handoff::DrainReport { open_conns_remaining, accept_closed, .. }| {
                Done::Incumbent(incumbent::Done::Drained { open_conns_remaining, accept_closed })
            },
        ),
        AnyHook::Incumbent(incumbent::Hook::Seal) => app.seal(&mut |_| {}).map_err(failed).map(
            |handoff::SealReport { last_revision_per_shard, data_dir_fingerprint, .. }| {
                Done::Incumbent(incumbent::Done::Sealed { last_revision_per_shard, data_dir_fingerprint })
            },
        ),
        AnyHook::Incumbent(incumbent::Hook::Resume { from_disk }) => {
            let from = if *from_disk { ResumeFrom::Disk } else { ResumeFrom::Memory };
            app.resume_after_abort(from).map_err(failed).map(|()| Done::Incumbent(incumbent::Done::Ok))
        }
        AnyHook::Incumbent(incumbent::Hook::Finalize) => {
            app.finalize();
            Ok(Done::Incumbent(incumbent::Done::Ok))
        }
        AnyHook::Successor(successor::Hook::WarmUp) => {
            app.warm_up().map_err(failed).map(|()| Done::Successor(successor::Done::Ok))
        }
        AnyHook::Successor(successor::Hook::Open { .. }) => {
            app.open(hook.sealed()).map_err(failed).map(opened)
        }
        AnyHook::Successor(successor::Hook::Serve) => {
            app.serve().map_err(failed).map(|()| Done::Successor(successor::Done::Ok))
        }
    }
}

fn opened(readiness: ReadinessSnapshot) -> Done {
    Done::Successor(successor::Done::Opened {
        listening_on: readiness.listening_on,
        healthz_ok: readiness.healthz_ok,
        advertised_revision_per_shard: readiness.advertised_revision_per_shard,
        data_dir_fingerprint: readiness.data_dir_fingerprint,
    })
}

/// Returns what a drain reports, with the connections that it has left.
fn with_left(done: Done, left: u32) -> Done {
    match done {
        Done::Incumbent(incumbent::Done::Drained { open_conns_remaining, accept_closed }) => {
            let open_conns_remaining = open_conns_remaining.max(left);
            Done::Incumbent(incumbent::Done::Drained { open_conns_remaining, accept_closed })
        }
        done => done,
    }
}

/// Returns how the fingerprint of what was opened was made.
fn scheme_of(report: &Done) -> Option<u16> {
    match report {
        Done::Successor(successor::Done::Opened { data_dir_fingerprint, .. }) => {
            Some(data_dir_fingerprint.scheme)
        }
        _ => None,
    }
}

/// The same, but not good enough.
fn unfit(report: Done) -> Done {
    match report {
        Done::Incumbent(incumbent::Done::Drained { open_conns_remaining, .. }) => {
            Done::Incumbent(incumbent::Done::Drained { open_conns_remaining, accept_closed: false })
        }
        Done::Successor(successor::Done::Opened {
            listening_on,
            advertised_revision_per_shard,
            data_dir_fingerprint,
            ..
        }) => Done::Successor(successor::Done::Opened {
            listening_on,
            healthz_ok: false,
            advertised_revision_per_shard,
            data_dir_fingerprint,
        }),
        report => report,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
