//! The stories of a process that is traced: a swap that commits, one that is rolled back, a supervisor that
//! takes over.
use std::fmt;
use std::process::{Child, Stdio};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use handoff_tests::{Act, Build, HookName, PATIENCE, Reference, World, Writer, processes, until, until_some};
use nix::sys::signal::Signal;

use crate::tracer::{Injection, Trace, Tracer};

/// The whole swap, in the configuration.
const DEADLINE_SECS: u32 = 20;

/// After so much silence, in the configuration. Many cells wait for it.
const LIVENESS_SECS: u32 = 3;

/// The longest time that a command may take: far more than the deadline and all that comes after it.
pub(crate) const COMMAND: Duration = PATIENCE;

/// The process that is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CallRole {
    Supervisor,
    Incumbent,
    Successor,
}

/// The story that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Story {
    /// A swap commits.
    Commit,
    /// The successor fails to open, after the seal.
    RollBack,
    /// The supervisor is killed, and the next one takes over what serves.
    TakeOver,
}

/// In a take-over there is no successor.
pub(crate) const ALL: [(CallRole, Story); 8] = [
    (CallRole::Supervisor, Story::Commit),
    (CallRole::Supervisor, Story::RollBack),
    (CallRole::Supervisor, Story::TakeOver),
    (CallRole::Incumbent, Story::Commit),
    (CallRole::Incumbent, Story::RollBack),
    (CallRole::Incumbent, Story::TakeOver),
    (CallRole::Successor, Story::Commit),
    (CallRole::Successor, Story::RollBack),
];

impl fmt::Display for CallRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CallRole::Supervisor => "supervisor",
            CallRole::Incumbent => "incumbent",
            CallRole::Successor => "successor",
        })
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Story::Commit => "commit",
            Story::RollBack => "roll-back",
            Story::TakeOver => "take-over",
        })
    }
}

/// The outcome of the story.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) trace: Trace,
    /// The command's exit code and what it printed; none of a take-over, or of a command that took too long.
    pub(crate) answer: Option<(i32, String)>,
}

/// A supervisor as people run it, a daemon that serves, and a client that has written.
pub(crate) struct CallsScene {
    pub(crate) world: World,
    pub(crate) reference: Reference,
    pub(crate) writer: Writer,
    /// The daemon that serves before the story.
    pub(crate) incumbent: u32,
}

impl CallsScene {
    pub(crate) fn new() -> CallsScene {
        CallsScene::with(|_, _| ())
    }

    /// `prepare` is called before anything is started.
    pub(crate) fn with(prepare: impl FnOnce(&World, &Reference)) -> CallsScene {
        let world = World::new();
        // What is logged for people is written by the process that does the work, in these tests.
        let reference =
            Reference::for_actor(&world).deadline(DEADLINE_SECS).liveness(LIVENESS_SECS).log("warn");
        reference.add("unreachable_secs = 10\nstop_grace_secs = 10\n");
        reference.configure_build(&world.build());
        prepare(&world, &reference);
        let supervisor = reference.start();
        let incumbent = world.assert_one_serves(&[supervisor]);
        let writer = reference.writer();
        writer.wait_for_write_by(incumbent);
        CallsScene { world, reference, writer, incumbent }
    }

    /// Lets `story` happen while the process of `role` is traced. The client writes nothing meanwhile, so that calls come in
    /// one order; its connection stays open.
    pub(crate) fn tell(&self, role: CallRole, story: Story, injection: Option<&Injection>) -> Told {
        let quiet: MutexGuard<'_, ()> = self.writer.paused();
        let told = match self.successor(story) {
            Some(build) => self.swap(&build, role, injection),
            None => self.take_over(role, injection),
        };
        drop(quiet);
        told
    }

    /// The same, and nothing is traced; the client writes all the time.
    pub(crate) fn tell_untraced(&self, story: Story) -> Told {
        let answer = if let Some(build) = self.successor(story) {
            self.reference.configure_build(&build);
            AskedSwap::swap(&self.reference).answer(COMMAND)
        } else {
            self.reference.kill();
            self.reference.launch();
            self.wait_for_supervisor();
            None
        };
        Told { trace: Trace::default(), answer }
    }

    /// The build that the supervisor is to swap to, if it is to swap.
    fn successor(&self, story: Story) -> Option<Build> {
        match story {
            Story::Commit => Some(self.world.build()),
            Story::RollBack => Some(self.world.build().on(HookName::Open, [Act::Fail])),
            Story::TakeOver => None,
        }
    }

    fn swap(&self, build: &Build, role: CallRole, injection: Option<&Injection>) -> Told {
        let (build, traced) = match role {
            CallRole::Supervisor => (build.clone(), self.reference.pid()),
            CallRole::Incumbent => (build.clone(), Some(self.incumbent)),
            CallRole::Successor => (build.clone().held(), None),
        };
        self.reference.configure_build(&build);
        let attach = |pid| Tracer::attach(pid, self.world.layout().dir(), injection);
        let running = traced.map(attach);
        let mut command = AskedSwap::swap(&self.reference);
        let tracer = running.unwrap_or_else(|| {
            let held = until_some("the successor is held", || self.held_child());
            let tracer = attach(held);
            processes::send(held, Signal::SIGCONT);
            tracer
        });
        let answer = command.answer(COMMAND);
        Told { trace: tracer.finish(), answer }
    }

    fn held_child(&self) -> Option<u32> {
        let children = processes::children_at_once(self.reference.pid()?);
        children.into_iter().find(|child| processes::is_stopped(*child))
    }

    fn take_over(&self, role: CallRole, injection: Option<&Injection>) -> Told {
        self.reference.kill();
        let attach = |pid| Tracer::attach(pid, self.world.layout().dir(), injection);
        let tracer = if role == CallRole::Supervisor {
            let held = self.reference.launch_held();
            let tracer = attach(held);
            processes::send(held, Signal::SIGCONT);
            tracer
        } else {
            let tracer = attach(self.incumbent);
            self.reference.launch();
            tracer
        };
        self.wait_for_supervisor();
        Told { trace: tracer.finish(), answer: None }
    }

    fn wait_for_supervisor(&self) {
        let began = Instant::now();
        until("the supervisor watches, or has ended, or is late", || {
            self.reference.try_wait().is_some() || self.reference.is_watching() || began.elapsed() > COMMAND
        });
    }
}

/// A `swap` that was asked for, in a process of its own. Dropped, it is killed.
pub(crate) struct AskedSwap(Child);

impl AskedSwap {
    pub(crate) fn swap(reference: &Reference) -> AskedSwap {
        let mut command = reference.command("swap");
        AskedSwap(command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Its exit code and what it printed; `None` if it does not end within `limit`.
    pub(crate) fn answer(&mut self, limit: Duration) -> Option<(i32, String)> {
        let began = Instant::now();
        let mut status = None;
        until("the command has ended, or is late", || {
            status = self.0.try_wait().unwrap();
            status.is_some() || began.elapsed() > limit
        });
        let code = status?.code()?;
        let printed = std::io::read_to_string(self.0.stdout.take()?).unwrap();
        Some((code, printed))
    }
}

impl Drop for AskedSwap {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
