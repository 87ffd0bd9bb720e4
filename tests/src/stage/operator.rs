//! The operator of a stage, and what is around a supervisor: it is started again when it dies, and does then what its
//! keeper decides. As the simulator's (`sim/src/harness/operator.rs`, `sim/src/supervisor/mod.rs`), and the reference
//! supervisor's.
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use handoff::id::InBoot;
use handoff::journal::{Journal, MAGIC, SLOT_SIZE};
use handoff::node::keeper::{Keeper, KeeperStep, Kept, Limits, Task, Which};
use handoff::slots::decode_slots;
use handoff::time::Time;
use handoff::unix::probe::SystemCall;
use handoff_sim::plan::{At, Plan};

use super::controller::Controller;
use super::report::{Ends, StageReport};
use super::words::Death;
use crate::build::Build;
use crate::layout::Layout;
use crate::order::{Deed, OrderOutcome};
use crate::processes;
use crate::supervisor_process::SupervisorProcess;
use crate::wait::{until, until_ok};
use crate::world::{Bin, World};
use crate::writer::Writer;

/// The time without a word of interest from any process after which what is under way has come to rest.
const QUIET: Duration = Duration::from_millis(40);

/// Runs `plan` on real processes, with its times as they are; those that crash do it by `death`.
pub fn stage(plan: &Plan, death: Death) -> StageReport {
    stage_before(plan, None, death)
}

/// The same; the last fault strikes before `step`, if that is given: a system call of the effect that follows its gap.
pub fn stage_before(plan: &Plan, step: Option<SystemCall>, death: Death) -> StageReport {
    let world = World::new();
    let controller = Controller::listen(world.layout(), plan, step, death);
    let mut operator = StageOperator {
        plan: plan.clone(),
        controller,
        supervisor: None,
        keeper: keeper(plan),
        begun: Instant::now(),
        child: None,
        rebound: false,
        supervisors: 0,
        builds: 1,
        is_patient: false,
        told: Vec::new(),
        words: Vec::new(),
        world,
    };
    operator.controller.time_faults(None);
    operator.go_on();
    let writers: Vec<Writer> = (0..plan.clients).map(|_| operator.world.writer()).collect();
    for nth in 1..=plan.handoffs {
        thread::sleep(plan.pause.duration());
        operator.awaits_writes();
        operator.go_on();
        operator.asks(nth);
    }
    operator.heal();
    let mut report = operator.rests(&writers);
    operator.is_patient = true;
    report.ends.last = operator.swaps().unwrap_or("nothing".into());
    report.ends.harm = operator.harm(&writers);
    report.words = std::mem::take(&mut operator.words);
    report
}

struct StageOperator {
    plan: Plan,
    controller: Controller,
    supervisor: Option<Arc<SupervisorProcess>>,
    /// The supervisor's, on a clock that counts from `begun`.
    keeper: Keeper,
    begun: Instant,
    /// The daemon that serves, as far as the supervisor knows, and since when.
    child: Option<(u32, Instant)>,
    /// `true` if all processes that had the listening sockets may have ended: they are bound again.
    rebound: bool,
    /// Supervisors that there were: only the first one is given the sockets.
    supervisors: u32,
    builds: u32,
    /// `true` if nothing goes wrong any more: no limit of time is to pass, however busy this machine is.
    is_patient: bool,
    told: Vec<String>,
    words: Vec<String>,
    /// Last, so that it sees the others end.
    world: World,
}

/// The keeper of a supervisor that begins.
fn keeper(plan: &Plan) -> Keeper {
    let config = Limits {
        liveness: plan.times.liveness.duration(),
        restart_min: Duration::from_millis(20),
        restart_max: Duration::from_millis(400),
        fall_back_after: plan.fall_back_after,
        stop_grace: Duration::ZERO,
    };
    Keeper::new(config, false)
}

impl Drop for StageOperator {
    fn drop(&mut self) {
        self.controller.leave(self.world.layout());
    }
}

impl StageOperator {
    /// The build that is called `number`, from a script of one line: an actor is large, and what is committed is copied.
    fn build(&self, number: u32) -> Build {
        let args = vec![self.world.layout().dir().into(), number.to_string().into(), Layout::STAGED.into()];
        let times = self.plan.times;
        let mut build = Build::new(self.world.layout(), number.to_string(), Bin::Actor.launcher(), args);
        build.listen = self.world.addresses();
        if self.is_patient {
            return build;
        }
        build.deadline = times.deadline.duration();
        build.drain_grace = times.drain_grace.duration();
        build.liveness = times.liveness.duration();
        build.hook_limit = Some(times.hook_limit.duration());
        build.retire_limit = times.retire_limit.duration();
        build.unreachable_limit = times.unreachable_limit.duration();
        build
    }

    /// Does what is to be done until a supervisor is there that has nothing to do and knows which daemon serves.
    fn go_on(&mut self) {
        let bound = Instant::now() + 2 * self.plan.times.bound().duration();
        loop {
            assert!(Instant::now() < bound, "still not one process serves, known to its supervisor");
            if self.supervisor.as_ref().is_none_or(|supervisor| !processes::lives(supervisor.pid())) {
                self.start_supervisor();
            }
            if let Some((_, since)) = self.child.take_if(|(child, _)| !processes::lives(*child)) {
                self.keeper.daemon_ended(self.now(), since.elapsed());
            }
            match self.keeper.next(self.now(), self.kept()) {
                Some(KeeperStep::Begin(task)) => self.performs(task),
                step => match self.keeper.wake_at().filter(|_| step.is_none()) {
                    Some(at) => thread::sleep(at.since(self.now())),
                    None => return,
                },
            }
        }
    }

    /// Returns what the supervisor can start once more.
    fn kept(&self) -> Kept {
        if self.journal().previous.is_some() { Kept::Both } else { Kept::Last }
    }

    /// Now, on the keeper's clock.
    fn now(&self) -> Time {
        Time::from_origin(self.begun.elapsed())
    }

    /// A task that was not asked for. If the supervisor dies over it, the next one begins anew.
    fn performs(&mut self, task: Task) {
        if task == Task::Recover {
            let Some(found) = self.order(1, Deed::Recover) else { return };
            self.keeper.recovered(self.now(), found.found(), false);
            self.child = found.pid.map(|pid| (pid, Instant::now()));
            return;
        }
        self.rebound |= self.supervisors > 1;
        let before = task == Task::ColdStart(Which::Before);
        let outcome = self.order(1, if before { Deed::StartBefore } else { Deed::StartAgain });
        outcome.into_iter().for_each(|outcome| self.has_ended(&outcome));
    }

    /// A handoff, or a cold start, has ended.
    fn has_ended(&mut self, outcome: &OrderOutcome) {
        self.keeper.ended(self.now(), outcome.end());
        self.child = outcome.pid.map(|pid| (pid, Instant::now())).or(self.child);
    }

    /// A daemon that is to die over a write before the swap does it, however late its clients are.
    fn awaits_writes(&self) {
        let Some((child, _)) = self.child.filter(|_| self.controller.book().faults.strike_next_write())
        else {
            return;
        };
        until("the daemon dies over a write", || !processes::lives(child));
    }

    fn start_supervisor(&mut self) {
        if let Some(dead) = self.supervisor.take() {
            self.child = None;
            dead.kill();
            thread::sleep(self.plan.times.restart.duration());
        }
        self.supervisors += 1;
        let supervisor = Arc::new(self.world.staged_supervisor());
        let mut book = self.controller.book();
        book.supervisor = Arc::downgrade(&supervisor);
        book.successor = None;
        self.supervisor = Some(supervisor);
        self.keeper = keeper(&self.plan);
        self.begun = Instant::now();
    }

    /// Lets the supervisor do `deed`. `None` if it dies over it.
    fn order(&mut self, build: u32, deed: Deed) -> Option<OrderOutcome> {
        let pending = self.supervisor.as_ref()?.begin(&self.build(build), deed);
        let outcome = pending.outcome_if_told();
        if outcome.is_none() {
            // Its links close before it has ended.
            self.supervisor.as_ref()?.kill();
        }
        self.controller.book().successor = None;
        outcome
    }

    /// Asks for a swap, and sees to what comes of it. What the supervisor says of it, if it lives to.
    fn swaps(&mut self) -> Option<String> {
        self.builds += 1;
        let asked = self.keeper.ask();
        assert_eq!(asked, Ok(Task::Swap), "the supervisor knows who serves");
        let outcome = self.order(self.builds, Deed::Handoff);
        outcome.iter().for_each(|outcome| self.has_ended(outcome));
        self.go_on();
        self.words.extend(outcome.as_ref().map(|outcome| format!("{}: {}", outcome.verdict, outcome.reason)));
        outcome.map(|outcome| match outcome.verdict.as_str() {
            "Peer" => "Unreachable".into(),
            verdict => verdict.into(),
        })
    }

    /// Asks for the `nth` handoff, in which things may go wrong.
    fn asks(&mut self, nth: u32) {
        self.controller.book().faults.handoff = nth;
        self.controller.time_faults(Some(nth));
        let told = self.swaps();
        self.told.extend(told);
    }

    /// No more faults.
    fn heal(&mut self) {
        thread::sleep(self.plan.pause.duration());
        self.controller.book().faults.over = true;
        self.go_on();
    }

    /// Waits until all is at rest, and looks.
    fn rests(&mut self, writers: &[Writer]) -> StageReport {
        let pid = until_ok("one process serves", || self.controller.book().only_daemon());
        until_ok("it holds all there is to hold", || self.world.holds_all(pid));
        let supervisor = self.supervisor.as_ref().map(|supervisor| supervisor.pid());
        let stray = || {
            processes::of_world(self.world.layout())
                .into_iter()
                .filter(|it| *it != pid && Some(*it) != supervisor)
        };
        until("nobody else is there", || stray().next().is_none());
        writers.iter().for_each(|writer| writer.wait_for_write_by(pid));
        until("all is quiet", || self.controller.book().heard.elapsed() > QUIET);
        let journal = self.journal();
        let book = self.controller.book();
        let name = |pid: u32| book.names.get(&pid).copied();
        let running = journal.running.map(|running| running.process.pid);
        let build = journal.committed.and_then(|binary| binary.args.get(1).cloned());
        let ends = Ends {
            serves: name(pid),
            holder: processes::lock_holders(&self.world.layout().data()).first().copied().and_then(name),
            told: self.told.clone(),
            running: running.filter(|pid| processes::lives(*pid)).and_then(name),
            committed: build.and_then(|build| String::from_utf8_lossy(&build).parse().ok()),
            is_under_way: journal.under_way.is_some(),
            last: String::new(),
            harm: Vec::new(),
        };
        let (lines, sent, missed) = (book.lines.clone(), book.sent.clone(), book.faults.missed());
        StageReport { ends, lines, sent, missed, struck_at: book.struck_at, words: Vec::new() }
    }

    /// Returns what the supervisor's journal holds.
    fn journal(&self) -> Journal {
        // A supervisor that has only just begun has not made it yet.
        let bytes = std::fs::read(self.world.layout().journal()).unwrap_or_default();
        let slots = decode_slots::<InBoot<Journal>>(&bytes, MAGIC, SLOT_SIZE);
        slots.newest.map(|(_, kept)| kept.value).unwrap_or_default()
    }

    /// Returns what clients saw that they must not, all things considered.
    fn harm(&self, writers: &[Writer]) -> Vec<String> {
        let mut harm = Vec::new();
        for writer in writers {
            harm.extend(self.world.lost(writer));
            let refused = writer.history().failures.into_iter().filter(|why| why.contains("can't connect"));
            harm.extend(refused.filter(|_| !self.rebound));
        }
        harm
    }
}

impl Controller {
    /// Lets the faults strike whose time is known, counted from now.
    fn time_faults(&self, handoff: Option<u32>) {
        let timed = self.book().faults.timed(handoff);
        for fault in timed {
            let (At::Time(after) | At::Handoff(_, after)) = fault.at else { continue };
            let controller = self.clone();
            thread::spawn(move || {
                thread::sleep(after.duration());
                let mut book = controller.book();
                if !book.faults.over {
                    book.faults.has_struck(&fault);
                    drop(book);
                    controller.strike(&fault, None);
                }
            });
        }
    }
}
