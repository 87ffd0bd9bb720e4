//! The times at which a plan's faults strike, and what they do.
use std::collections::BTreeMap;

use handoff::node::daemon::HookName;

use handoff::host::Gap;
use handoff::message::Message;

use super::{Process, RunWorld};
use crate::happening::Happening;
use crate::kernel::{ArmedWrite, Delivery, Disk, LengthOf, Micros, Side};
use crate::plan::span::Span;
use crate::plan::{At, Fault, HitRole, Operation, Passed, Wanted, What};
use crate::program::{HandoffTask, Program, SupervisorProgram};
use crate::trace;
use crate::trace::words::message_name;

/// The plan's faults, as far as the run has come.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Vec<Armed>,
    /// The handoff that was begun last; 0 before the first.
    handoff: u32,
    /// The time at which the last one struck, or came to its end.
    pub last: Micros,
    /// Those that have struck.
    pub struck: Vec<Struck>,
    /// The place that is being passed.
    here: Option<At>,
    /// The time that those that dump their memory take over it.
    dumps: BTreeMap<u32, Micros>,
    /// No more of them.
    over: bool,
    /// The places that are passed, if they are wanted.
    pub passed: Option<Vec<Passed>>,
    has_gaps: bool,
    has_frames: bool,
}

/// A fault that struck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struck {
    /// Its number in the plan.
    pub index: usize,
    /// The kind of the fault and the role that was hit, such as `crash incumbent`: outages are counted under this name.
    pub class: String,
    /// The exact place, if the plan left that open.
    pub place: Option<At>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    /// The number of times that its place is still passed.
    left: u32,
}

impl Faults {
    pub(crate) fn new(faults: &[Fault], disk: &Disk) -> Faults {
        let arm = |fault: &Fault| Armed { fault: fault.clone(), left: fault.nth };
        let writes = faults.iter().enumerate().filter(|(_, fault)| fault.at == At::DataWrite);
        disk.lock().armed = writes
            .map(|(index, fault)| ArmedWrite {
                index,
                torn: fault.what == What::Torn,
                in_handoff: fault.in_handoff,
                left: fault.nth,
            })
            .collect();
        Faults {
            armed: faults.iter().map(arm).collect(),
            has_gaps: faults.iter().any(|fault| matches!(fault.at, At::Gap { .. })),
            has_frames: faults.iter().any(|fault| matches!(fault.at, At::Frame { .. })),
            ..Faults::default()
        }
    }

    /// The fault whose place was passed often enough. Two at one place strike one after the other.
    fn due(&mut self, is_here: impl Fn(&At) -> bool) -> Option<usize> {
        self.due_fault(|fault| is_here(&fault.at))
    }

    fn due_fault(&mut self, is_here: impl Fn(&Fault) -> bool) -> Option<usize> {
        let (handoff, over) = (self.handoff, self.over);
        let mut due = None;
        let waits = |armed: &Armed| armed.left > 0 && armed.fault.in_handoff <= handoff && !over;
        for (index, armed) in self.armed.iter_mut().enumerate() {
            if waits(armed) && is_here(&armed.fault) {
                if armed.left > 1 {
                    armed.left -= 1;
                } else if due.is_none() {
                    armed.left = 0;
                    due = Some(index);
                }
            }
        }
        due
    }

    pub(crate) fn fault(&self, index: usize) -> &Fault {
        &self.armed[index].fault
    }

    fn span(&self, index: usize) -> Micros {
        let fault = self.fault(index);
        fault.span.unwrap_or_else(|| fault.what.usual_span()).micros()
    }

    /// Notes that a fault has come to its end.
    pub(crate) fn passed(&mut self, now: Micros) {
        self.last = self.last.max(now);
    }

    /// Returns how much longer `pid` takes to end.
    pub(crate) fn core_dumps(&self, pid: u32) -> Micros {
        self.dumps.get(&pid).copied().unwrap_or_default()
    }

    /// Returns whether another supervisor comes, has come, or may.
    pub(crate) fn has_rival(&self) -> bool {
        self.armed.iter().any(|armed| armed.fault.what == What::Rival)
    }

    /// No more of them.
    pub(crate) fn end(&mut self) {
        self.over = true;
    }

    /// A place is passed.
    fn passes(&mut self, when: Micros, at: impl FnOnce() -> At) {
        let handoff = self.handoff;
        if let Some(passed) = self.passed.as_mut().filter(|_| !self.over) {
            passed.push(Passed { at: at(), handoff, when });
        }
    }
}

impl RunWorld {
    /// Gets the plan's faults ready, those of the disk on the disk.
    pub(super) fn arm_faults(&mut self) {
        self.around.faults = Faults::new(&self.plan.faults, &self.kernel.disk);
    }

    /// Puts the faults whose time is known onto the timeline.
    pub(crate) fn arm_times(&mut self) {
        for index in 0..self.plan.faults.len() {
            if let At::Time(span) = self.plan.faults[index].at {
                self.kernel.at(span.micros(), Happening::Fault(index));
            }
        }
    }

    /// A handoff begins.
    pub(crate) fn handoff_begins(&mut self, nth: u32) {
        self.around.faults.handoff = nth;
        self.kernel.disk.lock().handoff = nth;
        for index in 0..self.plan.faults.len() {
            match self.plan.faults[index].at {
                At::Handoff(at, span) if at == nth => {
                    self.kernel.after(span.micros(), Happening::Fault(index))
                }
                _ => {}
            }
        }
    }

    pub(crate) fn fault_is_due(&mut self, index: usize) {
        if !self.around.faults.over {
            self.strike(index, None);
        }
    }

    /// A process is in the gap between two effects: it may not live to see the next.
    pub(crate) fn passes_gap(&mut self, pid: u32, gap: Gap) {
        self.around.audit.gap(gap);
        let now = self.kernel.now;
        self.around.faults.passes(now, || gap.into());
        if !self.around.faults.has_gaps
            || self.kernel.processes.get(&pid).is_none_or(|process| process.name.kind == 'R')
        {
            return;
        }
        let is_here = |at: &At| match at {
            At::Gap { role, state, before } => {
                *role == gap.role && state.is(gap.state) && before.is(gap.before)
            }
            _ => false,
        };
        if let Some(index) = self.around.faults.due(is_here) {
            self.around.faults.here = Some(gap.into());
            self.strike(index, Some(pid));
        }
    }

    /// Returns what becomes of a frame that is sent, and how much longer it takes.
    pub(crate) fn frame_fate(
        &mut self,
        from: u32,
        to: u32,
        side: Side,
        message: &Message,
    ) -> (Delivery, Micros) {
        if !self.around.faults.has_frames && self.around.faults.passed.is_none() {
            return (Delivery::Arrives, 0);
        }
        let receiver = match side {
            Side::Supervisor if self.is_in_the_role_of_successor(to) => HitRole::Successor,
            Side::Supervisor => HitRole::Incumbent,
            Side::Daemon => HitRole::Supervisor,
        };
        let place = || At::Frame { name: Wanted::This(message.name()), to: receiver };
        self.around.faults.passes(self.kernel.now, place);
        let is_here = |at: &At| match at {
            At::Frame { name, to } => *to == receiver && name.is(message.name()),
            _ => false,
        };
        let Some(index) = self.around.faults.due(is_here) else { return (Delivery::Arrives, 0) };
        self.around.faults.here = Some(place());
        let fault = self.around.faults.fault(index);
        let fate = match fault.what {
            What::Drop => Delivery::IsLost,
            What::Tear => Delivery::IsCut,
            What::Reset => Delivery::Resets,
            What::Delay => Delivery::Arrives,
            _ => {
                self.strike(index, Some(to));
                return (Delivery::Arrives, 0);
            }
        };
        let late = if fault.what == What::Delay { self.around.faults.span(index) } else { 0 };
        let what = format!("{}: {} to {receiver}", fault.what, message_name(message));
        self.struck(index, Some(from), what);
        self.around.faults.passed(self.kernel.now + late);
        // One that is heard so late, or whose first word is lost, which an incumbent does not repeat, can't be told from one
        // that hangs.
        let first = matches!(message, Message::Hello(_)) && fate == Delivery::IsLost;
        if first || late > self.plan.times.liveness.micros() / 2 {
            [from, to].iter().for_each(|pid| {
                self.kernel.processes.get_mut(pid).into_iter().for_each(|p| p.suspect = true)
            });
        }
        (fate, late)
    }

    /// Returns what goes wrong with a hook, and for how long.
    pub(crate) fn hook_fate(&mut self, pid: u32, hook: HookName) -> Option<(What, Micros)> {
        self.around.faults.passes(self.kernel.now, || At::Hook(Wanted::This(hook)));
        let index = self.around.faults.due(|at| matches!(at, At::Hook(name) if name.is(hook)))?;
        let (what, span) = (self.around.faults.fault(index).what, self.around.faults.span(index));
        self.around.faults.here = Some(At::Hook(Wanted::This(hook)));
        match what {
            What::Slow | What::Fail | What::Panic | What::Hang | What::Unfit => {
                self.struck(index, Some(pid), format!("{what}: {hook}"));
                self.around.faults.passed(self.kernel.now + if what == What::Slow { span } else { 0 });
                Some((what, span))
            }
            _ => {
                self.strike(index, Some(pid));
                None
            }
        }
    }

    /// Returns what goes wrong as a daemon is started, and for how long.
    pub(crate) fn spawn_fate(&mut self, supervisor: u32) -> Option<(What, Micros)> {
        self.around.faults.passes(self.kernel.now, || At::Spawn);
        let may_differ = self.may_have_other_data(supervisor);
        let is_here = |fault: &Fault| {
            let may_strike = fault.what != What::OtherData || may_differ;
            fault.at == At::Spawn && fault.what != What::Slow && may_strike
        };
        let index = self.around.faults.due_fault(is_here)?;
        let what = self.around.faults.fault(index).what;
        match what {
            What::Fail
            | What::Hang
            | What::DieEarly
            | What::WrongPid
            | What::OtherVersion
            | What::NewerVersion
            | What::OtherData => {
                self.struck(index, Some(supervisor), format!("{what}: the process that is started"));
                let span = if what == What::Hang { self.around.faults.span(index) } else { 0 };
                self.around.faults.passed(self.kernel.now + span);
                Some((what, span))
            }
            _ => {
                self.strike(index, Some(supervisor));
                None
            }
        }
    }

    /// Returns whether the daemon that is started replaces none, and its supervisor knows the data that were
    /// served before.
    fn may_have_other_data(&self, supervisor: u32) -> bool {
        let supervisor = self.kernel.processes.get(&supervisor).and_then(Process::supervisor);
        let is_cold = |handoff: &HandoffTask| handoff.incumbent().is_none();
        supervisor.is_some_and(|it| it.knows.data.directory.is_some() && it.handoff().is_some_and(is_cold))
    }

    /// Returns what goes wrong with a write of the journal.
    pub(crate) fn journal_fate(&mut self, supervisor: u32) -> Option<What> {
        self.around.faults.passes(self.kernel.now, || At::JournalWrite);
        let is_here = |fault: &Fault| fault.at == At::JournalWrite && fault.what != What::Slow;
        let index = self.around.faults.due_fault(is_here)?;
        let what = self.around.faults.fault(index).what;
        match what {
            What::Fail | What::Torn => {
                self.struck(index, Some(supervisor), format!("{what}: the journal"));
                Some(what)
            }
            _ => {
                self.strike(index, Some(supervisor));
                None
            }
        }
    }

    /// Returns how much later the answer comes to what `pid` asks for at `place`: a start of a process, a
    /// write of the journal.
    pub(crate) fn slowness(&mut self, pid: u32, place: &At) -> Micros {
        let is_here = |fault: &Fault| fault.at == *place && fault.what == What::Slow;
        let Some(index) = self.around.faults.due_fault(is_here) else { return 0 };
        self.is_late(index, pid, place)
    }

    fn is_late(&mut self, index: usize, pid: u32, place: &At) -> Micros {
        let span = self.around.faults.span(index);
        self.struck(index, Some(pid), format!("{}: {place}, {}", What::Slow, Span::from_micros(span)));
        self.around.faults.passed(self.kernel.now + span);
        span
    }

    /// Returns what goes wrong with an operation of a daemon: how much later it is performed, and whether it
    /// fails.
    pub(crate) fn operation_fate(&mut self, pid: u32, operation: Operation) -> (Micros, bool) {
        let place = At::Operation(operation);
        self.around.faults.passes(self.kernel.now, || place.clone());
        let Some(index) = self.around.faults.due(|at| *at == place) else { return (0, false) };
        match self.around.faults.fault(index).what {
            What::Slow => (self.is_late(index, pid, &place), false),
            What::Fail => {
                self.struck(index, Some(pid), format!("{}: {place}", What::Fail));
                (0, true)
            }
            _ => {
                self.around.faults.here = Some(place);
                self.strike(index, Some(pid));
                (0, false)
            }
        }
    }

    /// Faults that the disk has made by itself, and where it could have.
    pub(crate) fn disk_struck(&mut self, pid: u32) {
        let (struck, writes) = {
            let mut disk = self.kernel.disk.lock();
            (std::mem::take(&mut disk.struck), std::mem::take(&mut disk.writes))
        };
        (0..writes).for_each(|_| self.around.faults.passes(self.kernel.now, || At::DataWrite));
        for index in struck {
            let what = format!("{}: a write to the data", self.around.faults.fault(index).what);
            self.struck(index, Some(pid), what);
        }
    }

    fn struck(&mut self, index: usize, pid: Option<u32>, what: String) {
        let place = self.around.faults.here.take();
        let class = self.class(self.around.faults.fault(index), place.as_ref(), pid);
        self.around.faults.struck.push(Struck { index, class, place });
        self.around.faults.passed(self.kernel.now);
        self.around.operator.disturbed();
        self.recorder.begins(self.kernel.now);
        self.note(pid, || trace::Happened::Fault(what));
    }

    /// A fault strikes the process that the plan names, or the one `here`.
    fn strike(&mut self, index: usize, here: Option<u32>) {
        let fault = self.around.faults.fault(index).clone();
        let span = self.around.faults.span(index);
        let target = match fault.who {
            Some(who) => self.who(who),
            None => here,
        };
        let text = match fault.what {
            What::Stop | What::CoreDump | What::FullDisk | What::NoDescriptors | What::ClockStep => {
                format!("{}, {}", fault.what, Span::from_micros(span))
            }
            What::Stranger | What::Swept | What::HalfRequest | What::UnreadReply => {
                format!("{}, {}", fault.what, Span::from_micros(span))
            }
            what => what.to_string(),
        };
        match fault.what {
            What::PowerFailure => {
                self.struck(index, None, text);
                return self.power_fails();
            }
            What::FullDisk => {
                self.struck(index, None, text);
                self.kernel.disk.lock().full = true;
                self.around.faults.passed(self.kernel.now + span);
                return self.kernel.after(span, Happening::DiskHasRoom);
            }
            What::FsyncFails => {
                self.struck(index, None, text);
                self.kernel.disk.lock().fsync_fails = true;
                return;
            }
            What::Rival => return self.rival_comes(index),
            What::ReusedPids => {
                self.struck(index, None, text);
                return self.numbers_are_reused();
            }
            What::Stranger => {
                self.struck(index, None, text);
                self.around.faults.passed(self.kernel.now + span);
                return self.stranger_comes(span);
            }
            What::Reload | What::Swept | What::HalfRequest | What::UnreadReply => {
                return self.strike_if_it_can(index, fault.what, span, text);
            }
            What::Cancel => {
                self.struck(index, None, text);
                let Some(supervisor) = self.main_supervisor() else { return };
                return match self.kernel.length(supervisor, LengthOf::Order) {
                    0 => self.is_told_to_cancel(supervisor),
                    later => self.kernel.after(later, Happening::Cancel(supervisor)),
                };
            }
            _ => {}
        }
        if let Some(pid) =
            target.filter(|pid| self.kernel.processes.get(pid).is_some_and(|process| process.lives()))
        {
            self.struck(index, Some(pid), text);
            self.hit(pid, fault.what, span);
        }
        // If there was no process to strike, the next fault that does strikes elsewhere.
        self.around.faults.here = None;
    }

    /// Strikes, unless there is nothing to be changed.
    fn strike_if_it_can(&mut self, index: usize, what: What, span: Micros, text: String) {
        let has_struck = match what {
            What::Reload => self.reloads(),
            What::Swept => self.sockets_are_swept(span),
            _ => self.client_stalls(what, self.kernel.now + span),
        };
        if has_struck {
            let lasts = if what == What::Reload { 0 } else { span };
            self.struck(index, None, text);
            self.around.faults.passed(self.kernel.now + lasts);
        }
        self.around.faults.here = None;
    }

    /// The operator's word that what is under way is called off has come to a supervisor.
    pub(crate) fn is_told_to_cancel(&mut self, pid: u32) {
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        supervisor.cancelled = true;
        self.around.operator.disturbed();
        self.around.faults.passed(self.kernel.now);
        self.kernel.poke(pid, self.kernel.now);
    }

    fn hit(&mut self, pid: u32, what: What, span: Micros) {
        match what {
            What::CrashUnsent => {
                for link in self.kernel.links.values_mut() {
                    for side in [Side::Supervisor, Side::Daemon] {
                        if link.pid(side) == pid {
                            link.lose_unreceived(side, self.kernel.now);
                        }
                    }
                }
                self.die(pid, "is killed", false);
            }
            What::CoreDump => {
                self.around.faults.dumps.insert(pid, span);
                self.around.faults.passed(self.kernel.now + span);
                self.die(pid, "dies, and dumps its memory", false);
            }
            What::Terminate if self.daemon_mut(pid).is_some() => {
                self.daemon_mut(pid).into_iter().for_each(|daemon| daemon.stop_asked = true);
                self.around.audit.signalled.insert(pid);
                self.kernel.poke(pid, self.kernel.now);
                // An operator that asks a daemon to stop kills it if it doesn't, as systemd does.
                let patience = 2 * self.plan.times.hook_limit.micros();
                self.around.faults.passed(self.kernel.now + patience);
                self.kernel.after(patience, Happening::GivesUp(pid));
            }
            What::Stop => self.kernel.stop(pid, span),
            What::NoDescriptors => {
                let until = self.kernel.now + span;
                if let Some(process) = self.kernel.processes.get_mut(&pid) {
                    process.no_descriptors_until = until;
                    // One that accepts nothing can't be told from one that hangs.
                    process.suspect = true;
                }
                self.around.faults.passed(until);
                self.kernel.poke(pid, until);
            }
            What::ClockStep => {
                let now = self.kernel.now;
                if let Some(process) = self.kernel.processes.get_mut(&pid) {
                    process.clock.step(now, span);
                    // It takes for silence what was none.
                    process.suspect = true;
                }
                self.kernel.poke(pid, now);
            }
            _ => self.die(pid, "is killed", false),
        }
    }

    /// Another supervisor comes, recovers, and does one handoff.
    fn rival_comes(&mut self, index: usize) {
        let pid = self.start_process('R', Program::Supervisor(Box::new(SupervisorProgram::new(true))));
        self.struck(index, Some(pid), "rival".into());
        let after = self.kernel.length(pid, LengthOf::Wake);
        self.kernel.poke(pid, self.kernel.now + after);
    }

    /// The process that a plan means.
    fn who(&self, who: HitRole) -> Option<u32> {
        let successor =
            self.main_supervisor().and_then(|pid| self.kernel.processes[&pid].supervisor()?.successor());
        let there = |pid: &u32| self.kernel.processes.get(pid).is_some_and(|process| process.lives());
        let is_new = |(pid, _, daemon): &(u32, _, &crate::program::DaemonProgram)| {
            Some(*pid) == successor || !daemon.is_incumbent() && !daemon.accepts
        };
        match who {
            HitRole::Supervisor => self.main_supervisor(),
            HitRole::Successor => self.daemons().filter(is_new).map(|(pid, ..)| pid).filter(there).last(),
            HitRole::Incumbent => self.daemons().filter(|d| !is_new(d)).map(|(pid, ..)| pid).find(there),
        }
    }

    /// Returns whether it is the one that is to serve in a handoff that is under way.
    fn is_in_the_role_of_successor(&self, pid: u32) -> bool {
        let named = self.supervisors().any(|(_, supervisor)| supervisor.successor() == Some(pid));
        named
            || self
                .kernel
                .processes
                .get(&pid)
                .and_then(|process| process.daemon())
                .is_some_and(|d| !d.is_incumbent())
    }

    /// Under which name a fault's outages are counted.
    fn class(&self, fault: &Fault, place: Option<&At>, pid: Option<u32>) -> String {
        let what = fault.what;
        match (place.unwrap_or(&fault.at), what) {
            (At::Frame { to, .. }, What::Drop | What::Delay | What::Tear | What::Reset) => {
                format!("{what} to {to}")
            }
            (At::Hook(hook), What::Slow | What::Fail | What::Panic | What::Hang | What::Unfit) => {
                format!("{what} {hook}")
            }
            (At::Spawn, What::Slow | What::Fail | What::Hang) => format!("{what} spawn"),
            (At::JournalWrite, What::Slow | What::Fail | What::Torn) => format!("{what} journal"),
            (At::Operation(operation), What::Slow | What::Fail) => format!("{what} {operation}"),
            _ => {
                match pid.and_then(|pid| self.kernel.processes.get(&pid)).map(|process| &process.program.what)
                {
                    Some(Program::Supervisor(supervisor)) if supervisor.rival => what.to_string(),
                    Some(Program::Supervisor(_)) => format!("{what} supervisor"),
                    Some(Program::Daemon(daemon)) if daemon.is_incumbent() => format!("{what} incumbent"),
                    Some(Program::Daemon(_)) => format!("{what} successor"),
                    Some(Program::Stranger) | None => what.to_string(),
                }
            }
        }
    }
}
