//! The operator of a stage, and what is around a supervisor: it is started again when it dies, recovers then and when it
//! has lost track, and starts what was committed when nobody serves. As the simulator's (`sim/src/harness/operator.rs`,
//! `sim/src/supervisor/mod.rs`), and the reference supervisor's.
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use handoff::id::InBoot;
use handoff::journal::{Journal, MAGIC, SLOT_SIZE};
use handoff::slots::decode_slots;
use handoff_sim::plan::{At, Plan};

use super::prompter::Prompter;
use super::report::{Ends, Report};
use super::words::Death;
use crate::boss::Boss;
use crate::build::Build;
use crate::layout::Layout;
use crate::order::{Deed, Outcome};
use crate::processes;
use crate::wait::{until, until_ok};
use crate::world::{Bin, World};
use crate::writer::Writer;

/// When nobody has said a word of interest for so long, what is under way has come to rest.
const QUIET: Duration = Duration::from_millis(40);

/// Runs `plan` on real processes, with its times as they are; those that crash do it by `death`.
pub fn stage(plan: &Plan, death: Death) -> Report {
    let world = World::new();
    let prompter = Prompter::listen(world.layout(), plan, death);
    let mut operator = Operator {
        plan: plan.clone(),
        prompter,
        boss: None,
        child: None,
        failures: 0,
        rebound: false,
        bosses: 0,
        builds: 1,
        is_patient: false,
        told: Vec::new(),
        words: Vec::new(),
        world,
    };
    operator.prompter.time_faults(None);
    operator.go_on(Due::Recover);
    let writers: Vec<Writer> = (0..plan.clients).map(|_| operator.world.writer()).collect();
    for nth in 1..=plan.handoffs {
        thread::sleep(plan.pause.duration());
        operator.go_on(Due::Nothing);
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

struct Operator {
    plan: Plan,
    prompter: Prompter,
    boss: Option<Arc<Boss>>,
    /// The daemon that serves, as far as the supervisor knows.
    child: Option<u32>,
    /// Cold starts that came to nothing, in a row.
    failures: u32,
    /// All who had the listening sockets may have ended: they are bound again.
    rebound: bool,
    /// Supervisors that there were: only the first one is given the sockets.
    bosses: u32,
    builds: u32,
    /// Nothing goes wrong any more: no limit of time is to pass, however busy this machine is.
    is_patient: bool,
    told: Vec<String>,
    words: Vec<String>,
    /// Last, so that it sees the others end.
    world: World,
}

/// What a supervisor is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Recover,
    ColdStart,
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.prompter.leave(self.world.layout());
    }
}

impl Operator {
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

    /// Does what is to be done until a supervisor is there that has nothing to do and knows who serves.
    fn go_on(&mut self, mut due: Due) {
        let bound = Instant::now() + 2 * self.plan.times.bound().duration();
        loop {
            assert!(Instant::now() < bound, "still not one process serves, known to its supervisor");
            due = match due {
                _ if self.boss.as_ref().is_none_or(|boss| !processes::lives(boss.pid())) => {
                    self.start_boss();
                    Due::Recover
                }
                Due::Nothing if self.child.is_none_or(|child| !processes::lives(child)) => Due::Recover,
                Due::Nothing => return,
                Due::Recover => self.recover(),
                Due::ColdStart => self.start_cold(),
            };
        }
    }

    fn start_boss(&mut self) {
        if let Some(dead) = self.boss.take() {
            self.child = None;
            dead.kill();
            thread::sleep(self.plan.times.restart.duration());
        }
        self.bosses += 1;
        let boss = Arc::new(self.world.staged_boss());
        let mut book = self.prompter.book();
        book.boss = Arc::downgrade(&boss);
        book.successor = None;
        self.boss = Some(boss);
    }

    /// Lets the supervisor do `deed`. `None` if it dies over it.
    fn order(&mut self, build: u32, deed: Deed) -> Option<Outcome> {
        let pending = self.boss.as_ref()?.begin(&self.build(build), deed);
        let outcome = pending.outcome_if_told();
        if outcome.is_none() {
            // Its links close before it has ended.
            self.boss.as_ref()?.kill();
        }
        self.prompter.book().successor = None;
        outcome
    }

    fn recover(&mut self) -> Due {
        let Some(found) = self.order(1, Deed::Recover) else { return Due::Nothing };
        self.child = found.pid;
        match found.verdict.as_str() {
            "Serves" => Due::Nothing,
            "NobodyServes" => Due::ColdStart,
            _ => {
                thread::sleep(self.plan.times.liveness.duration());
                Due::Recover
            }
        }
    }

    fn start_cold(&mut self) -> Due {
        self.rebound |= self.bosses > 1;
        let Some(outcome) = self.order(1, Deed::StartAgain) else { return Due::Nothing };
        self.follow(&outcome, false)
    }

    /// What follows from the end of a handoff, or of a cold start.
    fn follow(&mut self, outcome: &Outcome, replaces: bool) -> Due {
        match outcome.verdict.as_str() {
            "Committed" => {
                self.failures = 0;
                self.child = outcome.pid;
                // It was not told that its predecessor has ended.
                let unwritten = outcome.warnings.iter().any(|warning| warning.contains("journal"));
                if unwritten { Due::Recover } else { Due::Nothing }
            }
            "RolledBack" if replaces => Due::Nothing,
            _ => {
                self.child = None;
                if !replaces {
                    self.failures += 1;
                    thread::sleep(Duration::from_millis(10 << self.failures.min(5)));
                }
                Due::Recover
            }
        }
    }

    /// Asks for a swap, and sees to what comes of it. What the supervisor says of it, if it lives to.
    fn swaps(&mut self) -> Option<String> {
        self.builds += 1;
        let outcome = self.order(self.builds, Deed::Handoff);
        let due = outcome.as_ref().map_or(Due::Nothing, |outcome| self.follow(outcome, true));
        self.go_on(due);
        self.words.extend(outcome.as_ref().map(|outcome| format!("{}: {}", outcome.verdict, outcome.reason)));
        outcome.map(|outcome| match outcome.verdict.as_str() {
            "Peer" => "Unreachable".into(),
            "other" => "Cancelled".into(),
            verdict => verdict.into(),
        })
    }

    /// Asks for the `nth` handoff, in which things may go wrong.
    fn asks(&mut self, nth: u32) {
        self.prompter.book().faults.handoff = nth;
        self.prompter.time_faults(Some(nth));
        let told = self.swaps();
        self.told.extend(told);
    }

    /// No more faults.
    fn heal(&mut self) {
        thread::sleep(self.plan.pause.duration());
        self.prompter.book().faults.over = true;
        self.go_on(Due::Nothing);
    }

    /// Waits until all is at rest, and looks.
    fn rests(&mut self, writers: &[Writer]) -> Report {
        let pid = until_ok("one process serves", || self.prompter.book().only_daemon());
        until_ok("it holds all there is to hold", || self.world.holds_all(pid));
        let boss = self.boss.as_ref().map(|boss| boss.pid());
        let stray = || {
            processes::of_world(self.world.layout()).into_iter().filter(|it| *it != pid && Some(*it) != boss)
        };
        until("nobody else is there", || stray().next().is_none());
        writers.iter().for_each(|writer| writer.wait_for_write_by(pid));
        until("all is quiet", || self.prompter.book().heard.elapsed() > QUIET);
        let journal = self.journal();
        let book = self.prompter.book();
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
        Report { ends, lines, sent, missed, struck_at: book.struck_at.clone(), words: Vec::new() }
    }

    /// What the supervisor's journal holds.
    fn journal(&self) -> Journal {
        let bytes = std::fs::read(self.world.layout().journal()).unwrap();
        let slots = decode_slots::<InBoot<Journal>>(&bytes, MAGIC, SLOT_SIZE);
        slots.newest.map(|(_, kept)| kept.value).unwrap_or_default()
    }

    /// What clients saw that they must not, all things considered.
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

impl Prompter {
    /// Lets the faults strike whose time is known, counted from now.
    fn time_faults(&self, handoff: Option<u32>) {
        let timed = self.book().faults.timed(handoff);
        for fault in timed {
            let (At::Time(after) | At::Handoff(_, after)) = fault.at else { continue };
            let prompter = self.clone();
            thread::spawn(move || {
                thread::sleep(after.duration());
                let mut book = prompter.book();
                if !book.faults.over {
                    book.faults.has_struck(&fault);
                    drop(book);
                    prompter.strike(&fault, None);
                }
            });
        }
    }
}
