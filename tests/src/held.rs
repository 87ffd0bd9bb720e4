//! A handoff that is held in one of its phases, for something to happen to it there.
use std::fs;

use handoff::Supervisor;
use handoff::message::Standing;
use nix::sys::signal::Signal;

use crate::build::Build;
use crate::log::Mark;
use crate::order::OrderOutcome;
use crate::processes;
use crate::scene::Scene;
use crate::script::{Gate, HookName};
use crate::supervisor_process::{PendingOrder, SupervisorProcess};
use crate::wait::{until, until_some};
use crate::world::World;
use crate::writer::Writer;

/// The point at which a handoff can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldPoint {
    /// The successor warms up, the incumbent serves.
    WarmUp,
    /// The incumbent drains.
    Drain,
    /// The incumbent seals.
    Seal,
    /// The incumbent has sealed, the successor opens.
    Open,
    /// The successor was told to commit, and starts to serve.
    Serve,
    /// The successor serves, the incumbent was told to retire: it is stopped, so that it can't.
    Retire,
}

impl HoldPoint {
    /// All of them, in their order.
    pub const ALL: [HoldPoint; 6] = [
        HoldPoint::WarmUp,
        HoldPoint::Drain,
        HoldPoint::Seal,
        HoldPoint::Open,
        HoldPoint::Serve,
        HoldPoint::Retire,
    ];

    /// Returns whether it is the incumbent that holds the handoff in it.
    pub fn is_old(self) -> bool {
        matches!(self, HoldPoint::Drain | HoldPoint::Seal)
    }

    /// The hook at whose gate a daemon waits.
    pub fn hook(self) -> HookName {
        match self {
            HoldPoint::WarmUp => HookName::WarmUp,
            HoldPoint::Drain => HookName::Drain,
            HoldPoint::Seal => HookName::Seal,
            HoldPoint::Open => HookName::Open,
            HoldPoint::Serve | HoldPoint::Retire => HookName::Serve,
        }
    }
}

/// A handoff from `old` to `new` that waits in a phase, and a client that writes all the while.
#[derive(Debug)]
pub struct Held {
    /// The supervisor, or the one that was started after it.
    pub supervisor: SupervisorProcess,
    /// The client.
    pub writer: Writer,
    /// The incumbent's pid.
    pub old: u32,
    /// The successor's pid.
    pub new: u32,
    /// The build that serves.
    pub incumbent: Build,
    /// The build that is to serve.
    pub successor: Build,
    phase: HoldPoint,
    gate: Gate,
    pending: PendingOrder,
    told: Option<OrderOutcome>,
    /// The last to be dropped: it ends every process.
    pub world: World,
}

impl Held {
    /// Lets a handoff come to `phase`.
    #[track_caller]
    pub fn at(phase: HoldPoint) -> Held {
        Held::with(phase, |build| build)
    }

    /// Lets a handoff come to `phase`; `change` says what is special about the successor or the handoff's times.
    #[track_caller]
    pub fn with(phase: HoldPoint, change: impl FnOnce(Build) -> Build) -> Held {
        let Scene { supervisor, writer, incumbent, pid: old, world } = Scene::new();
        let successor = change(world.build());
        let gate = if phase.is_old() { &incumbent } else { &successor }.gate(phase.hook());
        let begun = world.mark();
        let pending = supervisor.begin_handoff(&successor);
        gate.wait();
        let new = find_new(&world, &[supervisor.pid(), old]);
        if phase == HoldPoint::Retire {
            stop(old);
            gate.open();
            // It says so, last of all, when it has told the incumbent to leave.
            until("the supervisor knows that it serves", || {
                world.has_said(begun, supervisor.pid(), "handoff.commit: serving")
            });
        }
        Held { supervisor, writer, old, new, incumbent, successor, phase, gate, pending, told: None, world }
    }

    /// Takes away what holds it.
    pub fn go_on(&self) {
        match self.phase {
            HoldPoint::Retire => go_on(self.old),
            _ => self.gate.open(),
        }
    }

    /// Takes away what holds it while the supervisor is stopped, which therefore does not hear what comes of it.
    #[track_caller]
    pub fn go_on_unheard(&self) {
        self.supervisor.stop();
        let (pid, build) =
            if self.phase.is_old() { (self.old, &self.incumbent) } else { (self.new, &self.successor) };
        let before = self.standing(pid);
        self.go_on();
        if self.phase == HoldPoint::Retire {
            return until("the incumbent has left", || !processes::lives(self.old));
        }
        until("the gate is passed", || !self.is_at(build, self.phase.hook()));
        // One that has drained says the same of itself as one that drains, but nothing else keeps it.
        until("it is past its hook", || self.phase == HoldPoint::Drain || self.standing(pid) != before);
    }

    /// Returns where `pid` says that it stands.
    pub fn standing(&self, pid: u32) -> Option<Standing> {
        let control = self.world.layout().control();
        let beside = handoff::unix::control::beside(&control, pid);
        Some(Supervisor::new(beside).ok()?.status().ok()?.status.standing)
    }

    /// Returns whether `build` waits at a gate in `hook`.
    pub fn is_at(&self, build: &Build, hook: HookName) -> bool {
        self.world.layout().at(&build.name, hook).exists()
    }

    /// Returns what the supervisor tells.
    #[track_caller]
    pub fn outcome(&mut self) -> OrderOutcome {
        until("the supervisor tells the outcome", || self.is_told());
        self.told.clone().expect("the outcome has been told")
    }

    /// Returns whether the supervisor has told the outcome.
    #[track_caller]
    pub fn is_told(&mut self) -> bool {
        if self.told.is_none() {
            self.told = self.pending.outcome_by_now();
        }
        self.told.is_some()
    }

    /// Returns whether `pid` has logged since `mark` that it handles `event`.
    pub fn has_handled(&self, mark: Mark, pid: u32, event: &str) -> bool {
        self.world.has_said(mark, pid, &format!("event={event}"))
    }

    /// Kills the supervisor and starts another, on the same sockets and journal.
    pub fn replace_supervisor(&mut self) {
        self.supervisor.kill();
        self.supervisor = self.world.supervisor();
    }

    /// `pid` serves a client again. What would wait for the handoff's deadline first is not waited for.
    #[track_caller]
    pub fn assert_serves_soon(&self, pid: u32) {
        self.writer.wait_for_write_by(pid);
    }

    /// In the end: `pid` serves and no other process is left, nothing is lost, and the next handoff commits.
    #[track_caller]
    pub fn assert_serves(&self, pid: u32) {
        let serves = self.world.assert_one_serves(&[self.supervisor.pid()]);
        assert_eq!(serves, pid, "{} was replaced by {}", self.old, self.new);
        self.world.assert_one_serves_and_nothing_lost(&self.supervisor, &self.writer);
    }

    /// Checks that what the supervisor said is what holds in the end. Returns the process that serves.
    #[track_caller]
    pub fn assert_told_the_truth(&self, outcome: &OrderOutcome) -> u32 {
        let said = match outcome.verdict.as_str() {
            "Committed" => self.new,
            "RolledBack" | "FellBack" => self.old,
            // It is there, and serves as soon as nothing keeps it from that.
            "Unconfirmed" => self.old,
            _ => panic!("the supervisor did not say which process serves: {outcome:#?}"),
        };
        self.assert_serves_soon(said);
        self.assert_serves(said);
        said
    }
}

/// The one process besides `known`.
#[track_caller]
fn find_new(world: &World, known: &[u32]) -> u32 {
    until_some("the successor is there", || {
        let mut others = processes::of_world(world.layout());
        others.retain(|pid| !known.contains(pid));
        <[u32; 1]>::try_from(others).ok().map(|[pid]| pid)
    })
}

/// Kills `pid` and waits until it has ended, with all of its threads: only then is what it held free.
#[track_caller]
pub fn kill(pid: u32) {
    processes::send(pid, Signal::SIGKILL);
    let threads = || fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    until("it has been killed", || !processes::lives(pid) && threads() <= 1);
}

/// Stops `pid` and waits until it is stopped.
#[track_caller]
pub fn stop(pid: u32) {
    processes::send(pid, Signal::SIGSTOP);
    until("it is stopped", || processes::is_stopped(pid));
}

/// Lets `pid` go on, if it still is there.
pub fn go_on(pid: u32) {
    processes::send(pid, Signal::SIGCONT);
}
