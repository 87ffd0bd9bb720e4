//! The controller: hears from every process of a stage what it does, and says what goes wrong.
//!
//! One thread a process. All of them look at one [`Book`], so that "the second time" means the same as in the simulator,
//! where there is one order of everything.
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use handoff::host::Gap;
use handoff::machine::{Cell, EffectName, EventName, MachineRole};
use handoff::message::MessageName;
use handoff::node::daemon::HookName;
use handoff::unix::probe::SystemCall;
use handoff_sim::plan::{At, Fault, HitRole, Plan, What};
use handoff_sim::trace::Name;
use nix::sys::signal::Signal;

use super::faults::{StagedFaults, millis};
use super::report::Line;
use super::words::{Death, Instruction, Word};
use crate::checks::NotAtRest;
use crate::layout::Layout;
use crate::processes;
use crate::supervisor_process::SupervisorProcess;
use crate::wait::until;

/// The facts that are known of the run.
#[derive(Debug)]
pub(super) struct Book {
    pub faults: StagedFaults,
    death: Death,
    /// All processes that were ever there, by pid.
    pub names: BTreeMap<u32, Name>,
    births: BTreeMap<char, u32>,
    /// The quirk of the next daemon.
    quirk: Option<What>,
    /// Daemons that have come to be incumbents.
    promoted: Vec<u32>,
    /// The daemon that was started last in what is under way.
    pub successor: Option<u32>,
    /// The supervisor that is to be there.
    pub supervisor: Weak<SupervisorProcess>,
    pub lines: Vec<(Name, Line)>,
    /// From, to, what.
    pub sent: Vec<(Name, Name, MessageName)>,
    /// The event that a process was at when a fault struck in a gap, the last time.
    pub struck_at: Option<EventName>,
    /// `true` if the test is over.
    has_left: bool,
    /// The time at which a process last said something that changes anything.
    pub heard: Instant,
}

/// Sits in the test.
#[derive(Clone, Debug)]
pub(super) struct Controller(Arc<Mutex<Book>>);

impl Controller {
    /// Listens in the world of `layout`.
    pub(super) fn listen(layout: &Layout, plan: &Plan, step: Option<SystemCall>, death: Death) -> Controller {
        let book = Book {
            faults: StagedFaults::new(&plan.faults, step),
            death,
            names: BTreeMap::new(),
            births: BTreeMap::new(),
            quirk: None,
            promoted: Vec::new(),
            successor: None,
            supervisor: Weak::new(),
            lines: Vec::new(),
            sent: Vec::new(),
            struck_at: None,
            has_left: false,
            heard: Instant::now(),
        };
        let listener = UnixListener::bind(layout.controller()).unwrap();
        let controller = Controller(Arc::new(Mutex::new(book)));
        let listening = controller.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok).take_while(|_| !listening.book().has_left)
            {
                let controller = listening.clone();
                thread::spawn(move || controller.listen_to(stream));
            }
        });
        controller
    }

    /// No new process is listened to.
    pub(super) fn leave(&self, layout: &Layout) {
        self.book().has_left = true;
        // The thread that listens wakes only for a connection.
        drop(UnixStream::connect(layout.controller()));
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen_to(&self, stream: UnixStream) {
        let mut pid = 0;
        let Ok(mut answers) = stream.try_clone() else { return };
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let Ok(word) = serde_json::from_str(&line) else { return };
            let Some(answer) = self.hear(&mut pid, word) else { continue };
            let mut line = serde_json::to_vec(&answer).unwrap();
            line.push(b'\n');
            if answers.write_all(&line).is_err() {
                return;
            }
        }
    }

    /// Returns what is to be answered to `word`, if anything.
    fn hear(&self, pid: &mut u32, word: Word) -> Option<Instruction> {
        let mut book = self.book();
        let fault = match word {
            Word::Born { is_supervisor, pid: born } => {
                *pid = born;
                return Some(book.is_born(is_supervisor, born));
            }
            Word::Handles { cell } => {
                book.handles(*pid, read(&cell));
                return None;
            }
            Word::Gap { role, state, before, step } => {
                let before = before.as_deref().map(read);
                let gap = Gap { role: read(&role), state: read(&state), before };
                book.passes(*pid, gap, step.as_deref().map(read))
            }
            Word::Frame { role, pid: to, message } => book.sends(*pid, role, to, read(&message)),
            Word::Hook(name) => {
                let hook: HookName = read(&name);
                book.faults.due(None, |at| matches!(at, At::Hook(wanted) if wanted.is(hook)))
            }
            Word::DataWrite => book.faults.due(None, |at| *at == At::DataWrite),
        };
        let death = book.death;
        drop(book);
        let Some(fault) = fault else { return Some(Instruction::default()) };
        let here = self.strike(&fault, Some(*pid));
        Some(Instruction { what: here.then_some(fault.what), ms: millis(&fault), death })
    }

    /// A fault strikes. `true` if the process that asked is to do it to itself.
    pub(super) fn strike(&self, fault: &Fault, asks: Option<u32>) -> bool {
        if fault.what == What::Cancel {
            let supervisor = self.book().supervisor.upgrade();
            supervisor.into_iter().for_each(|supervisor| supervisor.cancel());
            return false;
        }
        let target = match fault.who {
            None => asks,
            Some(who) => self.book().who(who),
        };
        let Some(target) = target else { return false };
        if fault.what == What::Stop {
            let span = Duration::from_millis(millis(fault));
            thread::spawn(move || {
                thread::sleep(span);
                processes::send(target, Signal::SIGCONT);
            });
        }
        if Some(target) == asks && fault.what != What::Terminate {
            return true;
        }
        match fault.what {
            What::Terminate => {
                processes::send(target, Signal::SIGTERM);
                if Some(target) != asks {
                    until("it has heard that it is to stop", || {
                        self.book().was_told(target, EventName::Stop)
                    });
                }
            }
            What::Stop => {
                processes::send(target, Signal::SIGSTOP);
                until("it is stopped", || processes::is_stopped(target));
            }
            _ => {
                processes::send(target, Signal::SIGKILL);
                until("it has ended", || !processes::lives(target));
            }
        }
        false
    }
}

impl Book {
    /// Returns the instruction that says what is wrong with a process from its birth on.
    fn is_born(&mut self, is_supervisor: bool, pid: u32) -> Instruction {
        self.gets_name(pid, if is_supervisor { 'S' } else { 'D' });
        if is_supervisor {
            return Instruction::default();
        }
        self.successor = Some(pid);
        Instruction { what: self.quirk.take(), ..Instruction::default() }
    }

    /// By order of birth, as the first to say so says: the process itself, or its supervisor.
    fn gets_name(&mut self, pid: u32, kind: char) {
        if !self.names.contains_key(&pid) {
            let number = self.births.entry(kind).or_default();
            *number += 1;
            self.names.insert(pid, Name { kind, number: *number });
        }
    }

    fn name(&self, pid: u32) -> Name {
        self.names.get(&pid).copied().unwrap_or(Name { kind: '?', number: pid })
    }

    fn handles(&mut self, pid: u32, cell: Cell) {
        if cell.role == MachineRole::Incumbent && !self.promoted.contains(&pid) {
            self.promoted.push(pid);
        }
        let line = (self.name(pid), Line { cell, effects: Vec::new() });
        if !line.1.is_idle() {
            self.heard = Instant::now();
        }
        self.lines.push(line);
    }

    /// The effect will be seen: its process lives.
    fn sees(&mut self, pid: u32, effect: EffectName) {
        let name = self.name(pid);
        if effect == EffectName::Send(MessageName::Serving) {
            self.promoted.push(pid);
        }
        let last = self.lines.iter_mut().rev().find(|(who, _)| *who == name);
        last.into_iter().for_each(|(_, line)| line.effects.push(effect));
    }

    fn last_event(&self, pid: u32) -> Option<EventName> {
        let name = self.name(pid);
        let last = self.lines.iter().rev().find(|(who, _)| *who == name);
        last.map(|(_, line)| line.cell.event)
    }

    /// A process is in `gap`, or between two system calls of the effect after it: before `step`.
    fn passes(&mut self, pid: u32, gap: Gap, step: Option<SystemCall>) -> Option<Fault> {
        match step {
            None => self.in_gap(pid, gap),
            Some(step) => {
                if step == SystemCall::Watch {
                    // It may be killed before it says a word.
                    let children = processes::children_at_once(pid);
                    children.into_iter().for_each(|child| self.gets_name(child, 'D'));
                }
                self.in_step(gap, step)
            }
        }
    }

    fn in_gap(&mut self, pid: u32, gap: Gap) -> Option<Fault> {
        let due = self.faults.due(None, is_gap(gap));
        if due.is_some() {
            self.struck_at = self.last_event(pid);
        }
        let dies = |fault: &Fault| fault.who.is_none() && fault.what == What::Crash;
        let effect = gap.before.filter(|_| !due.as_ref().is_some_and(dies));
        effect.into_iter().for_each(|effect| self.sees(pid, effect));
        due
    }

    /// Before a system call, of several that make an effect.
    fn in_step(&mut self, gap: Gap, step: SystemCall) -> Option<Fault> {
        let fault = match step {
            SystemCall::Fork => self.faults.due(None, |at| *at == At::Spawn),
            SystemCall::Write => self.faults.due(None, |at| *at == At::JournalWrite),
            _ => None,
        };
        match fault.as_ref().map(|fault| fault.what) {
            None => self.faults.due(Some(step), is_gap(gap)),
            Some(What::Fail | What::Crash | What::Stop) => fault,
            // It comes to pass a system call later: the first half is written by then.
            Some(What::Torn) => {
                self.faults.torn(gap);
                None
            }
            quirk => {
                self.quirk = quirk;
                None
            }
        }
    }

    /// The one daemon that lives.
    pub(super) fn only_daemon(&self) -> Result<u32, NotAtRest> {
        let lives = |(pid, name): &(&u32, &Name)| name.kind == 'D' && processes::lives(**pid);
        let alive: Vec<u32> = self.names.iter().filter(lives).map(|(pid, _)| *pid).collect();
        if let [pid] = alive[..] { Ok(pid) } else { Err(NotAtRest::Processes(alive)) }
    }

    fn sends(
        &mut self,
        from: u32,
        role: Option<HitRole>,
        to: Option<u32>,
        message: MessageName,
    ) -> Option<Fault> {
        let is_supervisor = self.name(from).kind == 'S';
        let known = to.filter(|to| self.promoted.contains(to));
        let receiver = match (is_supervisor, role) {
            (false, _) => HitRole::Supervisor,
            (true, Some(role)) => role,
            (true, None) if known.is_some() => HitRole::Incumbent,
            (true, None) => HitRole::Successor,
        };
        let to = self.name(to.unwrap_or_default());
        self.sent.push((self.name(from), to, message));
        self.faults
            .due(None, |at| matches!(at, At::Frame { name, to } if *to == receiver && name.is(message)))
    }

    /// Returns whether `pid` has handled `event`, or can't any more.
    fn was_told(&self, pid: u32, event: EventName) -> bool {
        let name = self.name(pid);
        self.lines.iter().any(|(who, line)| *who == name && line.cell.event == event)
            || !processes::lives(pid)
    }

    /// The process that a plan means.
    fn who(&self, who: HitRole) -> Option<u32> {
        let is_new = |pid: &u32| Some(*pid) == self.successor || !self.promoted.contains(pid);
        let mut daemons = self.names.iter().filter(|(pid, name)| name.kind == 'D' && processes::lives(**pid));
        match who {
            HitRole::Supervisor => self.supervisor.upgrade().map(|supervisor| supervisor.pid()),
            HitRole::Successor => {
                daemons.filter(|(pid, _)| is_new(pid)).max_by_key(|(_, n)| n.number).map(|(pid, _)| *pid)
            }
            HitRole::Incumbent => daemons.find(|(pid, _)| !is_new(pid)).map(|(pid, _)| *pid),
        }
    }
}

/// Returns whether a place in a plan is this gap.
fn is_gap(gap: Gap) -> impl Fn(&At) -> bool {
    move |at| match at {
        At::Gap { role, state, before } => *role == gap.role && state.is(gap.state) && before.is(gap.before),
        _ => false,
    }
}

/// Parses what a process of the stage calls by its name.
fn read<T: FromStr<Err: Debug>>(name: &str) -> T {
    name.parse().unwrap()
}
