//! What becomes of the world when a step happens.
use handoff::HandoffId;
use handoff::drive::turn;
use handoff::host::Gap;
use handoff::machine::{
    Awaited, DaemonEvent, LockAnswer, Op, Supervisor, Timer, incumbent, recovery, successor,
    supervisor::{self, Config, Peer},
};
use handoff::time::Time;

use crate::checks;
use crate::host::Host;
use crate::steps::{Fault, Step};
use crate::world::{AnyHook, Boss, Daemon, End, Life, SECOND, World, id};

/// A hook that has returned.
pub(crate) struct Ran {
    hook: AnyHook,
    /// What it reports is good enough to go on.
    fit: bool,
}

type Input = DaemonEvent<Ran>;

impl World {
    /// What becomes of the world: the one in which whoever acts lives, then one for every gap in which it dies.
    pub(crate) fn after(&self, step: &Step) -> (World, Vec<(Gap, World)>) {
        let mut lived = self.clone();
        let gaps = lived.apply(step, None);
        let mut died = Vec::new();
        if self.faults.crashes > 0 {
            for (n, gap) in gaps.into_iter().enumerate() {
                let mut world = self.clone();
                world.fault(|faults| &mut faults.crashes);
                world.apply(step, Some(n));
                died.push((gap, world));
            }
        }
        (lived, died)
    }

    /// Lets `step` happen; the process that acts dies at gap `crash`. Returns the gaps passed.
    fn apply(&mut self, step: &Step, crash: Option<usize>) -> Vec<Gap> {
        let gaps = self.act(step, crash);
        self.settle();
        gaps
    }

    fn act(&mut self, step: &Step, crash: Option<usize>) -> Vec<Gap> {
        match *step {
            Step::Recover => return self.survey(crash),
            Step::TellSurveyor(pid) => {
                self.links
                    .iter_mut()
                    .filter(|l| l.pid == pid && l.end == End::Surveyor)
                    .for_each(|l| l.boss_open = false);
                if let Some(surveyor) = &mut self.surveyor {
                    surveyor.watched.retain(|watched| *watched != pid);
                    surveyor.asked.remove(&pid);
                }
                return self.surveys(recovery::Event::Ended(id(pid)), crash);
            }
            Step::Refused(pid) => {
                self.surveyor.iter_mut().for_each(|surveyor| {
                    surveyor.refused.remove(0);
                });
                return self.surveys(recovery::Event::Closed(id(pid)), crash);
            }
            Step::SurveyorComplete => return self.surveyor_complete(true, crash),
            Step::SurveyorTimer(timer) => return self.surveys(recovery::Event::Timer(timer), crash),
            Step::ContinueSurveyor => self.surveyor.iter_mut().for_each(|surveyor| surveyor.stopped = false),
            Step::Handoff => return self.start(true, crash),
            Step::ColdStart => return self.start(false, crash),
            Step::Connect => return self.connect(crash),
            Step::Begin(pid) => {
                self.processes.get_mut(&pid).into_iter().for_each(|process| process.begun = true);
                return self.daemon(pid, Input::Start, crash);
            }
            Step::Accept(i) => {
                let link = &mut self.links[i];
                link.accepted = true;
                let (pid, id) = (link.pid, link.id);
                return self.daemon(pid, Input::Connected(id), crash);
            }
            Step::Down(i) => {
                let link = &mut self.links[i];
                let (pid, id) = (link.pid, link.id);
                if let Some(message) = link.down.pop_front() {
                    return self.daemon(pid, Input::Frame(id, message), crash);
                }
            }
            Step::DownClosed(i) => {
                let link = &mut self.links[i];
                link.daemon_open = false;
                let (pid, id) = (link.pid, link.id);
                return self.daemon(pid, Input::Closed(id), crash);
            }
            Step::Up(i) => {
                let link = &mut self.links[i];
                let (end, pid) = (link.end, link.pid);
                if let Some(message) = link.up.pop_front() {
                    return match end {
                        End::Boss(peer) => self.boss(supervisor::Event::Frame(peer, message), crash),
                        End::Surveyor => self.surveyor_hears(pid, message, crash),
                    };
                }
            }
            Step::UpClosed(i) => {
                let link = &mut self.links[i];
                link.boss_open = false;
                let (end, pid) = (link.end, link.pid);
                return match end {
                    End::Boss(peer) => {
                        self.boss(supervisor::Event::Closed(peer, "end of file".into()), crash)
                    }
                    End::Surveyor => self.surveys(recovery::Event::Closed(id(pid)), crash),
                };
            }
            Step::Hook(pid) => return self.finish_hook(pid, Ok(true), crash),
            Step::Complete(pid) => return self.complete(pid, true, crash),
            Step::BossComplete => return self.boss_complete(true, crash),
            Step::FreesLock(pid) => self.lock = self.lock.filter(|holder| *holder != pid),
            Step::Ends(pid) => {
                self.processes.remove(&pid);
            }
            Step::TellEnded(pid) => return self.tell_ended(pid, crash),
            Step::BossTimer(timer) => {
                self.boss.iter_mut().for_each(|boss| boss.late |= timer == Timer::Deadline);
                self.boss(supervisor::Event::Timer(timer), crash);
            }
            Step::DaemonTimer(pid, timer) => return self.daemon(pid, Input::Timer(timer), crash),
            Step::ContinueBoss => self.boss.iter_mut().for_each(|boss| boss.stopped = false),
            Step::Continue(pid) => self.set_life(pid, Life::Runs),
            Step::Fault(ref fault) => return self.go_wrong(fault, crash),
        }
        Vec::new()
    }

    fn go_wrong(&mut self, fault: &Fault, crash: Option<usize>) -> Vec<Gap> {
        match *fault {
            Fault::HookFails(pid) => {
                self.fault(|faults| &mut faults.bad_hooks);
                return self.finish_hook(pid, Err("injected".into()), crash);
            }
            Fault::HookUnfit(pid) => {
                self.fault(|faults| &mut faults.bad_hooks);
                return self.finish_hook(pid, Ok(false), crash);
            }
            Fault::HookHangs(pid) => {
                self.fault(|faults| &mut faults.bad_hooks);
                self.processes.get_mut(&pid).into_iter().for_each(|process| process.hung = true);
            }
            Fault::OperationFails(pid) => {
                self.fault(|faults| &mut faults.errors);
                return self.complete(pid, false, crash);
            }
            Fault::BossOperationFails => {
                self.fault(|faults| &mut faults.errors);
                return self.boss_complete(false, crash);
            }
            Fault::DropDown(i) => {
                self.fault(|faults| &mut faults.drops);
                self.links[i].down.pop_front();
            }
            Fault::DropUp(i) => {
                self.fault(|faults| &mut faults.drops);
                self.links[i].up.pop_front();
            }
            Fault::Reset(i) => {
                self.fault(|faults| &mut faults.resets);
                let link = &mut self.links[i];
                link.reset = true;
                link.down.clear();
                link.up.clear();
            }
            Fault::CrashBoss => {
                self.fault(|faults| &mut faults.crashes);
                self.boss_dies();
            }
            Fault::Crash(pid) => {
                self.fault(|faults| &mut faults.crashes);
                self.dies(pid);
            }
            Fault::SurveyorOperationFails => {
                self.fault(|faults| &mut faults.errors);
                return self.surveyor_complete(false, crash);
            }
            Fault::CrashSurveyor => {
                self.fault(|faults| &mut faults.crashes);
                self.surveyor_dies();
            }
            Fault::StopSurveyor => {
                self.fault(|faults| &mut faults.stops);
                self.surveyor.iter_mut().for_each(|surveyor| surveyor.stopped = true);
            }
            Fault::StopBoss => {
                self.fault(|faults| &mut faults.stops);
                self.boss.iter_mut().for_each(|boss| boss.stopped = true);
            }
            Fault::Stop(pid) => {
                self.fault(|faults| &mut faults.stops);
                self.set_life(pid, Life::Stopped);
                self.processes.get_mut(&pid).into_iter().for_each(|process| process.suspect = true);
            }
            Fault::Late => {
                self.fault(|faults| &mut faults.late);
                self.boss.iter_mut().for_each(|boss| boss.late = true);
                return self.boss(supervisor::Event::Timer(Timer::Deadline), crash);
            }
            Fault::Cancel => {
                self.fault(|faults| &mut faults.cancels);
                return self.boss(supervisor::Event::Cancel, crash);
            }
            Fault::Signal(pid) => {
                self.fault(|faults| &mut faults.signals);
                self.signalled = Some(pid);
                return self.daemon(pid, Input::Stop, crash);
            }
        }
        Vec::new()
    }

    /// Takes one fault from those that are left.
    fn fault(&mut self, which: impl Fn(&mut crate::world::Faults) -> &mut u8) {
        *which(&mut self.faults) -= 1;
        self.boss.iter_mut().for_each(|boss| boss.must_commit = false);
    }

    fn set_life(&mut self, pid: u32, life: Life) {
        self.processes.get_mut(&pid).into_iter().for_each(|process| process.life = life);
    }

    /// A new supervisor, which knows nothing of those before it.
    fn start(&mut self, replace: bool, crash: Option<usize>) -> Vec<Gap> {
        self.surveyor = None;
        let must_commit = replace && checks::one_serves(self) && self.links.is_empty();
        self.handoffs -= u8::from(replace);
        self.started += 1;
        let config = Config {
            liveness: 5 * SECOND,
            deadline: 300 * SECOND,
            drain_grace: 60 * SECOND,
            hook_limit: 300 * SECOND,
            retire_limit: 10 * SECOND,
        };
        self.boss = Some(Boss {
            machine: Supervisor::new(config),
            stopped: false,
            incumbent: None,
            successor: None,
            told: Vec::new(),
            wants_connect: false,
            pending: Vec::new(),
            outcome: None,
            late: false,
            must_commit,
        });
        let handoff_id = HandoffId([self.started; 16]);
        self.boss(supervisor::Event::Start { handoff_id, replace }, crash)
    }

    /// Connecting to a process that is stopped succeeds. The incumbent is whoever was there at first.
    fn connect(&mut self, crash: Option<usize>) -> Vec<Gap> {
        let there = self.path.filter(|pid| self.listens(*pid));
        let Some(boss) = &mut self.boss else { return Vec::new() };
        boss.wants_connect = false;
        match there {
            Some(pid) => {
                boss.incumbent.get_or_insert(pid);
                self.link(End::Boss(Peer::Incumbent), pid);
                Vec::new()
            }
            None => self.boss(supervisor::Event::ConnectFailed("nobody answers".into()), crash),
        }
    }

    fn tell_ended(&mut self, pid: u32, crash: Option<usize>) -> Vec<Gap> {
        let Some(boss) = &mut self.boss else { return Vec::new() };
        boss.told.push(pid);
        boss.told.sort_unstable();
        let peer = if boss.incumbent == Some(pid) { Peer::Incumbent } else { Peer::Successor };
        let its = |link: &&mut crate::world::Link| link.pid == pid && link.end != End::Surveyor;
        self.links.iter_mut().filter(its).for_each(|link| link.boss_open = false);
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
                let flow = turn(&mut machine, &mut host, typed(input));
                (Daemon::Incumbent(machine), flow)
            }
            Daemon::Successor(mut machine) => {
                let flow = turn(&mut machine, &mut host, typed(input));
                let promoted = machine.promoted(Time::ZERO, SECOND);
                (promoted.map_or(Daemon::Successor(machine), Daemon::Incumbent), flow)
            }
        };
        let gaps = host.gaps;
        let Some(process) = self.processes.get_mut(&pid) else { return gaps };
        process.daemon = daemon;
        if flow.is_break() || process.exited.is_some() {
            self.dies(pid);
        }
        gaps
    }

    fn finish_hook(&mut self, pid: u32, result: Result<bool, String>, crash: Option<usize>) -> Vec<Gap> {
        let Some(process) = self.processes.get_mut(&pid) else { return Vec::new() };
        let (op, hook) = process.hooks.remove(0);
        let good = result == Ok(true);
        match &hook {
            // A drain that failed may have closed the door.
            AnyHook::Incumbent(incumbent::Hook::Drain { .. }) => process.accepts = result == Ok(false),
            AnyHook::Incumbent(incumbent::Hook::Resume { .. }) => process.accepts = result.is_ok(),
            AnyHook::Successor(successor::Hook::Serve) => process.accepts = result.is_ok(),
            AnyHook::Incumbent(incumbent::Hook::Seal | incumbent::Hook::Finalize) => {}
            AnyHook::Successor(successor::Hook::WarmUp | successor::Hook::Open { .. }) => {}
        }
        let result = result.map(|_| Ran { hook, fit: good });
        self.daemon(pid, Input::HookDone(op, result), crash)
    }

    /// What was put off is done, or fails.
    fn complete(&mut self, pid: u32, good: bool, crash: Option<usize>) -> Vec<Gap> {
        let Some(process) = self.processes.get_mut(&pid) else { return Vec::new() };
        let result = if good { Ok(()) } else { Err("injected".to_string()) };
        let input = match process.pending.remove(0) {
            Awaited::Lock(op) if good => Input::Locked(op, self.try_lock(pid)),
            Awaited::Lock(op) => Input::Locked(op, LockAnswer::Error("injected".into())),
            Awaited::WriteRecord(op, record) => {
                if good {
                    self.write_record(pid, record);
                }
                Input::Recorded(op, result)
            }
            Awaited::TakePath(op) => {
                self.path = if good { Some(pid) } else { self.path };
                Input::PathTaken(op, result)
            }
            Awaited::Exit(_) => return Vec::new(),
        };
        self.daemon(pid, input, crash)
    }

    fn boss_complete(&mut self, good: bool, crash: Option<usize>) -> Vec<Gap> {
        let Some(boss) = &mut self.boss else { return Vec::new() };
        let event = match boss.pending.remove(0) {
            supervisor::Awaited::Spawn if good => supervisor::Event::Spawned(Ok(id(self.spawn()))),
            supervisor::Awaited::Spawn => supervisor::Event::Spawned(Err("injected".into())),
            supervisor::Awaited::Persist(note) => {
                if good {
                    self.note(note);
                }
                supervisor::Event::Persisted(note, if good { Ok(()) } else { Err("injected".into()) })
            }
            supervisor::Awaited::Finish(_) => return Vec::new(),
        };
        self.boss(event, crash)
    }
}

/// The event, as the machine of one role knows it.
fn typed<D: From<Ran>>(input: Input) -> DaemonEvent<D> {
    match input {
        Input::Start => DaemonEvent::Start,
        Input::Connected(link) => DaemonEvent::Connected(link),
        Input::Frame(link, message) => DaemonEvent::Frame(link, message),
        Input::Closed(link) => DaemonEvent::Closed(link),
        Input::HookDone(op, result) => DaemonEvent::HookDone(op, result.map(D::from)),
        Input::Locked(op, answer) => DaemonEvent::Locked(op, answer),
        Input::Recorded(op, result) => DaemonEvent::Recorded(op, result),
        Input::PathTaken(op, result) => DaemonEvent::PathTaken(op, result),
        Input::Timer(timer) => DaemonEvent::Timer(timer),
        Input::Stop => DaemonEvent::Stop,
    }
}

impl From<Ran> for incumbent::Done {
    fn from(Ran { hook, fit }: Ran) -> Self {
        match hook {
            AnyHook::Incumbent(incumbent::Hook::Drain { .. }) => {
                incumbent::Done::Drained { open_conns_remaining: 0, accept_closed: fit }
            }
            AnyHook::Incumbent(incumbent::Hook::Seal) => incumbent::Done::Sealed {
                last_revision_per_shard: vec![1],
                data_dir_fingerprint: Default::default(),
            },
            AnyHook::Incumbent(incumbent::Hook::Resume { .. } | incumbent::Hook::Finalize) => {
                incumbent::Done::Ok
            }
            AnyHook::Successor(_) => incumbent::Done::Ok,
        }
    }
}

impl From<Ran> for successor::Done {
    fn from(Ran { hook, fit }: Ran) -> Self {
        match hook {
            AnyHook::Successor(successor::Hook::Open { .. }) => successor::Done::Opened {
                listening_on: Vec::new(),
                healthz_ok: fit,
                advertised_revision_per_shard: vec![1],
                data_dir_fingerprint: Default::default(),
            },
            AnyHook::Successor(successor::Hook::WarmUp | successor::Hook::Serve) => successor::Done::Ok,
            AnyHook::Incumbent(_) => successor::Done::Ok,
        }
    }
}

/// An operation's number, to be kept for the table.
pub(crate) fn op_of(awaited: &Awaited) -> Option<Op> {
    match awaited {
        Awaited::Lock(op) | Awaited::WriteRecord(op, _) | Awaited::TakePath(op) => Some(*op),
        Awaited::Exit(_) => None,
    }
}
