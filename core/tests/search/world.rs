//! The kernel: processes, one lock with its record, one control path, links; and the hosts of the machines on it.
//!
//! Faults it can make: a process dies in any gap or while idle, is stopped for any time, a frame is lost, a link
//! is reset, a hook fails or hangs, the deadline comes early. It survives all of them; time does not pass in it:
//! a timer fires if what it waits for has happened.
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use handoff::drive::turn;
use handoff::host::*;
use handoff::machine::{
    DaemonEvent, Exit, Incumbent, LinkId, LockAnswer, Machine, Op, Successor, Supervisor, Timer, incumbent,
    successor,
    supervisor::{self, Config, Note, Outcome, Peer, Verdict},
};
use handoff::message::{Capabilities, Hello, Message, PROTO_MAX, PROTO_MIN, Role};
use handoff::record::Record;
use handoff::time::Time;
use handoff::{HandoffId, ProcessId};

use crate::checks;

/// How many faults of each kind may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    pub crashes: u8,
    pub stops: u8,
    pub drops: u8,
    pub resets: u8,
    pub bad_hooks: u8,
    pub late: u8,
}

/// A daemon's machine, in whichever role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Daemon {
    Incumbent(Incumbent),
    Successor(Successor),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AnyHook {
    Incumbent(incumbent::Hook),
    Successor(successor::Hook),
}

/// A daemon's process, as the kernel and its clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub daemon: Daemon,
    pub stopped: bool,
    pub hooks: Vec<(Op, AnyHook)>,
    pub hung: bool,
    /// It accepts connections and writes what they ask for.
    pub accepts: bool,
    pub exited: Option<Exit>,
}

/// The supervisor's process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Boss {
    pub machine: Supervisor,
    pub stopped: bool,
    pub incumbent: Option<u32>,
    pub successor: Option<u32>,
    /// Ends that it was told of.
    pub told: Vec<u32>,
    pub wants_connect: bool,
    pub outcome: Option<Outcome>,
}

/// A connection between the supervisor and a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    pub peer: Peer,
    pub pid: u32,
    pub id: LinkId,
    pub down: VecDeque<Message>,
    pub up: VecDeque<Message>,
    pub boss_open: bool,
    pub daemon_open: bool,
    /// The daemon's end, once told to the supervisor, or the other way round.
    pub boss_told: bool,
    pub daemon_told: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub faults: Faults,
    pub handoffs: u8,
    pub started: u8,
    pub processes: BTreeMap<u32, Process>,
    pub boss: Option<Boss>,
    pub links: Vec<Link>,
    pub lock: Option<u32>,
    pub record: Option<Record>,
    pub path: Option<u32>,
    pub next_pid: u32,
    pub violation: Option<String>,
}

/// One thing that can happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Handoff,
    ColdStart,
    Connect,
    Down(usize),
    Up(usize),
    DownClosed(usize),
    UpClosed(usize),
    Ended(u32),
    Hook(u32, usize),
    BossTimer(Timer),
    DaemonTimer(u32, Timer),
    /// From here on: faults.
    BadHook(u32, usize),
    HangHook(u32),
    DropDown(usize),
    DropUp(usize),
    Reset(usize),
    CrashBoss,
    Crash(u32),
    StopBoss,
    Stop(u32),
    Late,
    /// The end of a stop is no fault.
    ContinueBoss,
    Continue(u32),
}

impl Step {
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Step::BadHook(..)
                | Step::HangHook(_)
                | Step::DropDown(_)
                | Step::DropUp(_)
                | Step::Reset(_)
                | Step::CrashBoss
                | Step::Crash(_)
                | Step::StopBoss
                | Step::Stop(_)
                | Step::Late
        )
    }
}

const SECOND: Duration = Duration::from_secs(1);

pub fn id(pid: u32) -> ProcessId {
    ProcessId { pid, start_time: 0 }
}

fn hello(pid: u32, role: Role) -> Hello {
    Hello {
        role,
        pid,
        start_time: 0,
        build_id: Vec::new(),
        proto_min: PROTO_MIN,
        proto_max: PROTO_MAX,
        capabilities: Capabilities::default(),
    }
}

impl World {
    /// One daemon serves; a supervisor is about to replace it.
    pub fn new(faults: Faults, handoffs: u8) -> World {
        let first = Process {
            daemon: Daemon::Incumbent(Incumbent::new(hello(1, Role::Incumbent), 1, SECOND)),
            stopped: false,
            hooks: Vec::new(),
            hung: false,
            accepts: true,
            exited: None,
        };
        let record = Record {
            generation: 1,
            holder: id(1),
            sealed_for: None,
            serving: true,
            revisions: Vec::new(),
            fingerprint: Default::default(),
        };
        World {
            faults,
            handoffs,
            started: 0,
            processes: BTreeMap::from([(1, first)]),
            boss: None,
            links: Vec::new(),
            lock: Some(1),
            record: Some(record),
            path: Some(1),
            next_pid: 2,
            violation: None,
        }
    }

    fn boss_runs(&self) -> bool {
        self.boss.as_ref().is_some_and(|boss| !boss.stopped)
    }

    fn runs(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|process| !process.stopped)
    }

    /// Nobody is at work on a handoff.
    pub fn idle(&self) -> bool {
        self.boss.as_ref().is_none_or(|boss| boss.machine.is_done())
    }

    /// What the world can do by itself, and what faults are left.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.frames(&mut steps);
        self.ends(&mut steps);
        self.hooks(&mut steps);
        let quiet = steps.is_empty();
        self.timers(quiet, &mut steps);
        self.continues(&mut steps);
        self.starts(&mut steps);
        self.bad_luck(&mut steps);
        steps
    }

    fn frames(&self, steps: &mut Vec<Step>) {
        // Hosts read older links first: what came over one is handled before what its sender says over the next.
        let mut read = Vec::new();
        for (i, link) in self.links.iter().enumerate() {
            let sender_ended = !self.processes.contains_key(&link.pid);
            if self.runs(link.pid) && link.daemon_open && !read.contains(&link.pid) {
                let before = steps.len();
                if !link.down.is_empty() {
                    steps.push(Step::Down(i));
                } else if !link.boss_open && !link.daemon_told {
                    steps.push(Step::DownClosed(i));
                }
                read.extend((steps.len() > before).then_some(link.pid));
            }
            if self.boss_runs() && link.boss_open && !sender_ended {
                if !link.up.is_empty() {
                    steps.push(Step::Up(i));
                } else if !link.daemon_open && !link.boss_told {
                    steps.push(Step::UpClosed(i));
                }
            }
        }
        if self.boss_runs() && self.boss.as_ref().is_some_and(|boss| boss.wants_connect) {
            steps.push(Step::Connect);
        }
    }

    fn ends(&self, steps: &mut Vec<Step>) {
        let Some(boss) = self.boss.as_ref().filter(|boss| !boss.stopped && !boss.machine.is_done()) else {
            return;
        };
        for pid in [boss.incumbent, boss.successor].into_iter().flatten() {
            if !self.processes.contains_key(&pid) && !boss.told.contains(&pid) {
                steps.push(Step::Ended(pid));
            }
        }
    }

    fn hooks(&self, steps: &mut Vec<Step>) {
        for (pid, process) in &self.processes {
            if !process.stopped && !process.hung && !process.hooks.is_empty() {
                steps.push(Step::Hook(*pid, 0));
            }
        }
    }

    fn timers(&self, quiet: bool, steps: &mut Vec<Step>) {
        if let Some(boss) = self.boss.as_ref().filter(|boss| !boss.stopped) {
            for timer in Timer::ALL.into_iter().filter(|timer| boss.machine.timers().is_armed(*timer)) {
                let fires = match timer {
                    Timer::IncumbentSilent => self.unheard(quiet, Peer::Incumbent, boss.incumbent),
                    Timer::SuccessorSilent => self.unheard(quiet, Peer::Successor, boss.successor),
                    Timer::Heartbeat | Timer::Patience => quiet,
                    Timer::Retry => true,
                    // Else it is a fault: `Late`.
                    Timer::Deadline => quiet && self.faults.late == 0,
                    Timer::SupervisorSilent | Timer::HookLimit => false,
                };
                if fires {
                    steps.push(Step::BossTimer(timer));
                }
            }
        }
        for (pid, process) in self.processes.iter().filter(|(_, process)| !process.stopped) {
            let timers = process.timers();
            for timer in Timer::ALL.into_iter().filter(|timer| timers.is_armed(*timer)) {
                let fires = match timer {
                    Timer::SupervisorSilent => self.boss_unheard(quiet, *pid),
                    Timer::Heartbeat | Timer::Patience | Timer::Deadline => quiet,
                    Timer::Retry => true,
                    Timer::HookLimit => process.hung,
                    Timer::IncumbentSilent | Timer::SuccessorSilent => false,
                };
                if fires {
                    steps.push(Step::DaemonTimer(*pid, timer));
                }
            }
        }
    }

    /// The supervisor hears nothing from a peer that has not ended: it is stopped, or there is no link.
    fn unheard(&self, quiet: bool, peer: Peer, pid: Option<u32>) -> bool {
        let linked =
            |pid| self.links.iter().any(|l| l.peer == peer && l.pid == pid && l.boss_open && l.daemon_open);
        let stopped = |pid: u32| self.processes.get(&pid).is_some_and(|process| process.stopped);
        pid.is_some_and(|pid| stopped(pid) || (quiet && !linked(pid)))
    }

    fn boss_unheard(&self, quiet: bool, pid: u32) -> bool {
        let linked = self.links.iter().any(|l| l.pid == pid && l.boss_open && l.daemon_open);
        let stopped = self.boss.as_ref().is_some_and(|boss| boss.stopped);
        stopped || (quiet && !linked)
    }

    fn continues(&self, steps: &mut Vec<Step>) {
        if self.boss.as_ref().is_some_and(|boss| boss.stopped) {
            steps.push(Step::ContinueBoss);
        }
        steps.extend(self.processes.iter().filter(|(_, p)| p.stopped).map(|(pid, _)| Step::Continue(*pid)));
    }

    fn starts(&self, steps: &mut Vec<Step>) {
        if !self.idle() {
            return;
        }
        let lost = self.boss.as_ref().is_some_and(|boss| {
            boss.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::NobodyServes)
        });
        if self.processes.is_empty() && (lost || self.boss.is_some()) {
            steps.push(Step::ColdStart);
        } else if self.started < self.handoffs
            && self.path.is_some_and(|pid| self.processes.contains_key(&pid))
        {
            steps.push(Step::Handoff);
        }
    }

    fn bad_luck(&self, steps: &mut Vec<Step>) {
        let faults = &self.faults;
        if faults.crashes > 0 {
            steps.extend(self.boss.iter().map(|_| Step::CrashBoss));
            steps.extend(self.processes.keys().map(|pid| Step::Crash(*pid)));
        }
        if faults.stops > 0 {
            steps.extend(self.boss.iter().filter(|boss| !boss.stopped).map(|_| Step::StopBoss));
            steps.extend(self.processes.iter().filter(|(_, p)| !p.stopped).map(|(pid, _)| Step::Stop(*pid)));
        }
        for (i, link) in self.links.iter().enumerate() {
            if faults.drops > 0 && !link.down.is_empty() {
                steps.push(Step::DropDown(i));
            }
            if faults.drops > 0 && !link.up.is_empty() {
                steps.push(Step::DropUp(i));
            }
            if faults.resets > 0 && link.boss_open && link.daemon_open {
                steps.push(Step::Reset(i));
            }
        }
        if faults.bad_hooks > 0 {
            for (pid, process) in &self.processes {
                if !process.hooks.is_empty() && !process.hung {
                    steps.push(Step::BadHook(*pid, 0));
                    steps.push(Step::HangHook(*pid));
                }
            }
        }
        let deadline = |boss: &Boss| !boss.stopped && boss.machine.timers().is_armed(Timer::Deadline);
        if faults.late > 0 && self.boss.as_ref().is_some_and(deadline) {
            steps.push(Step::Late);
        }
    }

    /// What becomes of the world: one for every gap in which the process that acts can die, and the one in
    /// which it lives.
    pub fn after(&self, step: &Step) -> Vec<(String, World)> {
        let mut lived = self.clone();
        let gaps = lived.apply(step, None);
        let mut worlds = vec![(format!("{step:?}"), lived)];
        if self.faults.crashes > 0 {
            for (n, gap) in gaps.iter().enumerate() {
                let mut died = self.clone();
                died.faults.crashes -= 1;
                died.apply(step, Some(n));
                worlds.push((format!("{step:?}, dies at {gap:?}"), died));
            }
        }
        worlds
    }

    /// Lets `step` happen; the process that acts dies at gap `crash`. Returns the gaps passed.
    fn apply(&mut self, step: &Step, crash: Option<usize>) -> Vec<Gap> {
        match *step {
            Step::Handoff => return self.start(true, crash),
            Step::ColdStart => return self.start(false, crash),
            Step::Connect => return self.connect(crash),
            Step::Down(i) => {
                let link = &mut self.links[i];
                let (pid, id) = (link.pid, link.id);
                if let Some(message) = link.down.pop_front() {
                    return self.daemon(pid, Input::Frame(id, message), crash);
                }
            }
            Step::DownClosed(i) => {
                let link = &mut self.links[i];
                link.daemon_told = true;
                link.daemon_open = false;
                let (pid, id) = (link.pid, link.id);
                return self.daemon(pid, Input::Closed(id), crash);
            }
            Step::Up(i) => {
                let link = &mut self.links[i];
                let peer = link.peer;
                if let Some(message) = link.up.pop_front() {
                    return self.boss(supervisor::Event::Frame(peer, message), crash);
                }
            }
            Step::UpClosed(i) => {
                let link = &mut self.links[i];
                link.boss_told = true;
                let peer = link.peer;
                return self.boss(supervisor::Event::Closed(peer, "end of file".into()), crash);
            }
            Step::Ended(pid) => return self.tell_ended(pid, crash),
            Step::Hook(pid, i) => return self.finish_hook(pid, i, true, crash),
            Step::BadHook(pid, i) => {
                self.faults.bad_hooks -= 1;
                return self.finish_hook(pid, i, false, crash);
            }
            Step::HangHook(pid) => {
                self.faults.bad_hooks -= 1;
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.hung = true;
                }
            }
            Step::BossTimer(timer) => return self.boss(supervisor::Event::Timer(timer), crash),
            Step::DaemonTimer(pid, timer) => return self.daemon(pid, Input::Timer(timer), crash),
            Step::Late => {
                self.faults.late -= 1;
                return self.boss(supervisor::Event::Timer(Timer::Deadline), crash);
            }
            Step::DropDown(i) => {
                self.faults.drops -= 1;
                self.links[i].down.pop_front();
            }
            Step::DropUp(i) => {
                self.faults.drops -= 1;
                self.links[i].up.pop_front();
            }
            Step::Reset(i) => {
                self.faults.resets -= 1;
                self.reset(i);
            }
            Step::CrashBoss => {
                self.faults.crashes -= 1;
                self.boss_dies();
            }
            Step::Crash(pid) => {
                self.faults.crashes -= 1;
                self.dies(pid);
            }
            Step::StopBoss | Step::ContinueBoss => {
                self.faults.stops -= u8::from(*step == Step::StopBoss);
                if let Some(boss) = &mut self.boss {
                    boss.stopped = *step == Step::StopBoss;
                }
            }
            Step::Stop(pid) | Step::Continue(pid) => {
                let stop = matches!(step, Step::Stop(_));
                self.faults.stops -= u8::from(stop);
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.stopped = stop;
                }
            }
        }
        self.settle();
        Vec::new()
    }

    fn reset(&mut self, i: usize) {
        let link = &mut self.links[i];
        link.down.clear();
        link.up.clear();
        // Both ends find it closed.
        link.boss_told = false;
        link.daemon_told = false;
        let (pid, peer) = (link.pid, link.peer);
        self.links[i].boss_open = false;
        let id = self.links[i].id;
        self.links.push(Link {
            peer,
            pid,
            id: LinkId(id.0 + 100),
            down: VecDeque::new(),
            up: VecDeque::new(),
            boss_open: true,
            daemon_open: false,
            boss_told: false,
            daemon_told: true,
        });
    }

    fn start(&mut self, replace: bool, crash: Option<usize>) -> Vec<Gap> {
        self.started += u8::from(replace);
        let config = Config {
            liveness: 5 * SECOND,
            deadline: 300 * SECOND,
            drain_grace: 60 * SECOND,
            hook_limit: 300 * SECOND,
            retire_limit: 10 * SECOND,
        };
        self.links.iter_mut().for_each(|link| link.boss_open = false);
        self.boss = Some(Boss {
            machine: Supervisor::new(config),
            stopped: false,
            incumbent: if replace { self.path } else { None },
            successor: None,
            told: Vec::new(),
            wants_connect: false,
            outcome: None,
        });
        let handoff_id = HandoffId([self.started; 16]);
        self.boss(supervisor::Event::Start { handoff_id, replace }, crash)
    }

    fn connect(&mut self, crash: Option<usize>) -> Vec<Gap> {
        if let Some(boss) = &mut self.boss {
            boss.wants_connect = false;
        }
        match self.path.filter(|pid| self.processes.contains_key(pid)) {
            Some(pid) => {
                let id = self.link(Peer::Incumbent, pid);
                let stopped = self.processes[&pid].stopped;
                if stopped {
                    // Connected to its backlog: it hears of it when it runs again.
                    self.processes.get_mut(&pid).into_iter().for_each(|_| {});
                }
                self.daemon(pid, Input::Connected(id), None);
                let _ = crash;
                Vec::new()
            }
            None => self.boss(supervisor::Event::ConnectFailed("nobody answers".into()), crash),
        }
    }

    fn link(&mut self, peer: Peer, pid: u32) -> LinkId {
        let id = LinkId((0..).find(|n| self.links.iter().all(|l| l.id.0 % 100 != *n)).unwrap_or_default());
        self.links.push(Link {
            peer,
            pid,
            id,
            down: VecDeque::new(),
            up: VecDeque::new(),
            boss_open: true,
            daemon_open: true,
            boss_told: false,
            daemon_told: false,
        });
        id
    }

    fn tell_ended(&mut self, pid: u32, crash: Option<usize>) -> Vec<Gap> {
        let Some(boss) = &mut self.boss else { return Vec::new() };
        boss.told.push(pid);
        let peer = if boss.incumbent == Some(pid) { Peer::Incumbent } else { Peer::Successor };
        self.links.retain(|link| link.pid != pid);
        self.boss(supervisor::Event::Ended(peer, "was killed".into()), crash)
    }

    /// Lets the supervisor handle `event`.
    fn boss(&mut self, event: supervisor::Event, crash: Option<usize>) -> Vec<Gap> {
        let Some(mut machine) = self.boss.as_ref().map(|boss| boss.machine.clone()) else {
            return Vec::new();
        };
        let mut host = Host { world: self, pid: 0, crash, gaps: Vec::new() };
        let lives = turn(&mut machine, &mut host, event).is_continue();
        let gaps = host.gaps;
        match &mut self.boss {
            Some(boss) if lives => boss.machine = machine,
            _ => self.boss_dies(),
        }
        self.settle();
        gaps
    }

    /// Lets a daemon handle `input`.
    fn daemon(&mut self, pid: u32, input: Input, crash: Option<usize>) -> Vec<Gap> {
        let Some(daemon) = self.processes.get(&pid).map(|process| process.daemon.clone()) else {
            return Vec::new();
        };
        let mut host = Host { world: self, pid, crash, gaps: Vec::new() };
        let (daemon, flow) = match daemon {
            Daemon::Incumbent(mut machine) => {
                let flow = turn(&mut machine, &mut host, input.into());
                (Daemon::Incumbent(machine), flow)
            }
            Daemon::Successor(mut machine) => {
                let flow = turn(&mut machine, &mut host, input.into());
                match machine.promoted(Time::ZERO, SECOND) {
                    Some(incumbent) => (Daemon::Incumbent(incumbent), flow),
                    None => (Daemon::Successor(machine), flow),
                }
            }
        };
        let gaps = host.gaps;
        match self.processes.get_mut(&pid) {
            Some(process) if flow.is_continue() => process.daemon = daemon,
            _ => self.dies(pid),
        }
        if self.processes.get(&pid).is_some_and(|process| process.exited.is_some()) {
            self.dies(pid);
        }
        self.settle();
        gaps
    }

    fn finish_hook(&mut self, pid: u32, i: usize, good: bool, crash: Option<usize>) -> Vec<Gap> {
        let Some(process) = self.processes.get_mut(&pid) else { return Vec::new() };
        let (op, hook) = process.hooks.remove(i);
        let result = if good { Ok(()) } else { Err("injected".to_string()) };
        match (&hook, good) {
            (AnyHook::Incumbent(incumbent::Hook::Drain { .. }), true) => process.accepts = false,
            (AnyHook::Incumbent(incumbent::Hook::Resume { .. }), _) => process.accepts = good,
            (AnyHook::Successor(successor::Hook::Serve), _) => process.accepts = good,
            _ => {}
        }
        self.daemon(pid, Input::Done(op, hook, result), crash)
    }

    /// A process has ended, however: the kernel frees what it held.
    pub fn dies(&mut self, pid: u32) {
        self.processes.remove(&pid);
        if self.lock == Some(pid) {
            self.lock = None;
        }
        for link in self.links.iter_mut().filter(|link| link.pid == pid) {
            link.daemon_open = false;
            link.down.clear();
        }
    }

    fn boss_dies(&mut self) {
        self.boss = None;
        for link in &mut self.links {
            link.boss_open = false;
            link.up.clear();
        }
    }

    /// Forgets what nobody can see any more.
    fn settle(&mut self) {
        let boss_over = self.idle();
        for link in &mut self.links {
            if boss_over {
                link.boss_open = false;
                link.up.clear();
            }
            if !link.daemon_open {
                link.down.clear();
            }
        }
        let processes = &self.processes;
        self.links.retain(|link| {
            let daemon_done = !link.daemon_open || !processes.contains_key(&link.pid);
            !(daemon_done && (!link.boss_open || link.boss_told))
        });
        if self.violation.is_none() {
            self.violation = checks::safety(self);
        }
    }
}

impl Process {
    fn timers(&self) -> handoff::machine::Timers {
        match &self.daemon {
            Daemon::Incumbent(machine) => machine.timers().clone(),
            Daemon::Successor(machine) => machine.timers().clone(),
        }
    }

    /// It writes, or may write, what is in the data directory.
    pub fn writes(&self) -> bool {
        let by_hook = |hook: &AnyHook| match hook {
            AnyHook::Incumbent(incumbent::Hook::Seal | incumbent::Hook::Resume { from_disk: true }) => true,
            AnyHook::Incumbent(_) => false,
            AnyHook::Successor(successor::Hook::Open { .. }) => true,
            AnyHook::Successor(_) => false,
        };
        self.accepts || self.hooks.iter().any(|(_, hook)| by_hook(hook))
    }
}

/// What can happen to a daemon, whatever its role.
enum Input {
    Start,
    Connected(LinkId),
    Frame(LinkId, Message),
    Closed(LinkId),
    Timer(Timer),
    Done(Op, AnyHook, Result<(), String>),
}

impl<D: From<AnyHook>> From<Input> for DaemonEvent<D> {
    fn from(input: Input) -> Self {
        match input {
            Input::Start => DaemonEvent::Start,
            Input::Connected(link) => DaemonEvent::Connected(link),
            Input::Frame(link, message) => DaemonEvent::Frame(link, message),
            Input::Closed(link) => DaemonEvent::Closed(link),
            Input::Timer(timer) => DaemonEvent::Timer(timer),
            Input::Done(op, hook, result) => DaemonEvent::HookDone(op, result.map(|()| hook.into())),
        }
    }
}

impl From<AnyHook> for incumbent::Done {
    fn from(hook: AnyHook) -> Self {
        match hook {
            AnyHook::Incumbent(incumbent::Hook::Drain { .. }) => {
                incumbent::Done::Drained { open_conns_remaining: 0, accept_closed: true }
            }
            AnyHook::Incumbent(incumbent::Hook::Seal) => incumbent::Done::Sealed {
                last_revision_per_shard: Vec::new(),
                data_dir_fingerprint: Default::default(),
            },
            _ => incumbent::Done::Ok,
        }
    }
}

impl From<AnyHook> for successor::Done {
    fn from(hook: AnyHook) -> Self {
        match hook {
            AnyHook::Successor(successor::Hook::Open { .. }) => successor::Done::Opened {
                listening_on: Vec::new(),
                healthz_ok: true,
                advertised_revision_per_shard: Vec::new(),
                data_dir_fingerprint: Default::default(),
            },
            _ => successor::Done::Ok,
        }
    }
}

/// The host of one process; pid 0 is the supervisor.
struct Host<'a> {
    world: &'a mut World,
    pid: u32,
    crash: Option<usize>,
    gaps: Vec<Gap>,
}

impl Clock for Host<'_> {
    fn now(&self) -> Time {
        Time::ZERO
    }
}

impl Gaps for Host<'_> {
    fn gap(&mut self, gap: Gap) -> ControlFlow<Crashed> {
        self.gaps.push(gap);
        match self.crash {
            Some(n) if n + 1 == self.gaps.len() => ControlFlow::Break(Crashed),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Transport<Peer> for Host<'_> {
    fn send(&mut self, to: Peer, message: &Message) {
        let open = |link: &&mut Link| link.peer == to && link.boss_open && link.daemon_open;
        if let Some(link) = self.world.links.iter_mut().find(open) {
            link.down.push_back(message.clone());
        }
    }

    fn close(&mut self, peer: Peer) {
        for link in self.world.links.iter_mut().filter(|link| link.peer == peer) {
            link.boss_open = false;
            link.up.clear();
        }
    }
}

impl Transport<LinkId> for Host<'_> {
    fn send(&mut self, to: LinkId, message: &Message) {
        let open = |link: &&mut Link| link.id == to && link.boss_open && link.daemon_open;
        if let Some(link) = self.world.links.iter_mut().find(open) {
            link.up.push_back(message.clone());
        }
    }

    fn close(&mut self, link: LinkId) {
        for link in self.world.links.iter_mut().filter(|l| l.id == link) {
            link.daemon_open = false;
            link.down.clear();
        }
    }
}

impl handoff::host::Process for Host<'_> {
    fn connect(&mut self) {
        if let Some(boss) = &mut self.world.boss {
            boss.wants_connect = true;
        }
    }

    fn spawn(&mut self) -> Option<Result<ProcessId, String>> {
        let pid = self.world.next_pid;
        self.world.next_pid += 1;
        let link = self.world.link(Peer::Successor, pid);
        let generation = self.world.record.as_ref().map_or(0, |record| record.generation);
        let machine = Successor::new(hello(pid, Role::Successor), generation, link);
        let process = Process {
            daemon: Daemon::Successor(machine),
            stopped: false,
            hooks: Vec::new(),
            hung: false,
            accepts: false,
            exited: None,
        };
        self.world.processes.insert(pid, process);
        if let Some(boss) = &mut self.world.boss {
            boss.successor = Some(pid);
        }
        self.world.daemon(pid, Input::Start, None);
        Some(Ok(id(pid)))
    }

    fn kill(&mut self, peer: Peer) {
        let Some(boss) = &self.world.boss else { return };
        let pid = match peer {
            Peer::Incumbent => boss.incumbent,
            Peer::Successor => boss.successor,
        };
        if let Some(pid) = pid {
            if let Some(violation) = checks::kill(self.world, peer, pid) {
                self.world.violation.get_or_insert(violation);
            }
            self.world.dies(pid);
        }
    }
}

impl Journal for Host<'_> {
    fn persist(&mut self, _note: Note) -> Option<Result<(), String>> {
        Some(Ok(()))
    }
}

impl SupervisorHost for Host<'_> {
    fn finish(&mut self, outcome: Outcome) {
        if let Some(violation) = checks::truth(self.world, &outcome) {
            self.world.violation.get_or_insert(violation);
        }
        if let Some(boss) = &mut self.world.boss {
            boss.outcome = Some(outcome);
        }
    }
}

impl Hooks<incumbent::Hook> for Host<'_> {
    fn start_hook(&mut self, op: Op, hook: incumbent::Hook) {
        if let Some(process) = self.world.processes.get_mut(&self.pid) {
            process.hooks.push((op, AnyHook::Incumbent(hook)));
        }
    }

    fn exit(&mut self, exit: Exit) {
        self.leave(exit);
    }
}

impl Hooks<successor::Hook> for Host<'_> {
    fn start_hook(&mut self, op: Op, hook: successor::Hook) {
        if let Some(process) = self.world.processes.get_mut(&self.pid) {
            process.hooks.push((op, AnyHook::Successor(hook)));
        }
    }

    fn exit(&mut self, exit: Exit) {
        self.leave(exit);
    }
}

impl Host<'_> {
    fn leave(&mut self, exit: Exit) {
        if let Some(process) = self.world.processes.get_mut(&self.pid) {
            process.exited = Some(exit);
        }
    }
}

impl Storage for Host<'_> {
    fn lock(&mut self) -> Option<LockAnswer> {
        let record = self.world.record.clone();
        Some(match self.world.lock {
            Some(holder) if holder != self.pid => LockAnswer::Busy { hint: record },
            _ => {
                self.world.lock = Some(self.pid);
                LockAnswer::Held { last: record }
            }
        })
    }

    fn unlock(&mut self) {
        if self.world.lock == Some(self.pid) {
            self.world.lock = None;
        }
    }

    fn write_record(&mut self, record: &Record) -> Option<Result<(), String>> {
        if self.world.lock != Some(self.pid) {
            self.world.violation.get_or_insert(format!("{} writes the record without the lock", self.pid));
        }
        self.world.record = Some(record.clone());
        Some(Ok(()))
    }

    fn take_path(&mut self) -> Option<Result<(), String>> {
        self.world.path = Some(self.pid);
        Some(Ok(()))
    }
}
