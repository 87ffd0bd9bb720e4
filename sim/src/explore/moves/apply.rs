//! The effect of a step on the model.
use handoff::host::Transport;
use handoff::machine::{
    Awaited, DaemonEvent, LinkId, LockAnswer, SupervisorMachine, Timer, recovery,
    supervisor::{self, Limits, Peer},
};
use handoff::message::{Message, MessageName};
use handoff::time::Time;
use handoff::{HandoffId, HostError, Reason};

use super::hooks::{DaemonInput, Ran};
use super::host::ModelHost;
use crate::checks::daemon::one_writes;
use crate::explore::checks;
use crate::explore::checks::obligations::{self, daemon::DaemonObligations};
use crate::explore::model::faults::FaultBudget;
use crate::explore::model::steps::{ModelFault, ModelStep};
use crate::explore::model::watch::Observer;
use crate::explore::model::{
    DaemonMachine, LIVENESS, Life, Model, ModelEnd, ModelLink, ModelSupervisor, SECOND, id, is_stray,
};
use crate::mutant::drive;

/// A step that was taken, and in which of its gaps the process that acts died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub step: ModelStep,
    pub dies: Option<u8>,
}

impl Move {
    pub(crate) fn happen(&self, model: &mut Model, watch: &mut Observer<'_>) {
        match self.dies {
            None => model.apply(&self.step, watch),
            Some(n) => model.apply_and_die(&self.step, n.into(), watch),
        }
    }
}

impl Model {
    /// Returns what becomes of the model: the one in which the acting process lives, then one for every gap
    /// in which it dies.
    pub(crate) fn after(&self, step: &ModelStep, watch: &mut Observer<'_>) -> (Model, Vec<Model>) {
        let mut lived = self.clone();
        lived.apply(step, watch);
        let mut died = Vec::new();
        if self.faults.crashes > 0 {
            for n in 0..watch.gaps.len() {
                let mut model = self.clone();
                model.apply_and_die(step, n, &mut Observer::of(watch.meddling.mutation()));
                died.push(model);
            }
        }
        (lived, died)
    }

    /// Lets `step` happen.
    pub(crate) fn apply(&mut self, step: &ModelStep, watch: &mut Observer<'_>) {
        watch.clear();
        self.apply_step(step, watch);
        self.violated(watch.is_endless().then(|| "a turn has no end".into()));
        self.settle();
        self.violated(one_writes(self));
        self.violated(checks::timer_bounds(self));
        self.violated(checks::clients::one_reads(self));
    }

    /// Lets `step` happen, but that the process that acts dies in the `n`-th gap that it passes.
    pub(crate) fn apply_and_die(&mut self, step: &ModelStep, n: usize, watch: &mut Observer<'_>) {
        self.fault(|faults| &mut faults.crashes);
        watch.crash = Some(n);
        self.apply(step, watch);
    }

    fn apply_step(&mut self, step: &ModelStep, watch: &mut Observer<'_>) {
        match *step {
            ModelStep::Recover
            | ModelStep::TellRecovery(_)
            | ModelStep::Refused(_)
            | ModelStep::RecoveryComplete
            | ModelStep::RecoveryTimer(_)
            | ModelStep::ContinueRecovery => self.apply_to_recovery(step, watch),
            ModelStep::Accept(i) | ModelStep::Down(i) | ModelStep::DownClosed(i) => {
                self.daemon_reads_from(i, step, watch)
            }
            ModelStep::Up(i) => self.supervisor_reads(i, watch),
            ModelStep::UpClosed(i) => self.supervisor_reads_end(i, watch),
            ModelStep::Handoff => self.start(true, watch),
            ModelStep::ColdStart => self.start(false, watch),
            ModelStep::Connect => self.connect(watch),
            ModelStep::Begin(pid) => {
                self.processes.get_mut(&pid).into_iter().for_each(|process| process.has_started = true);
                self.daemon(pid, DaemonInput::Start, watch);
            }
            ModelStep::Hook(pid) => self.finish_hook(pid, Ok(true), watch),
            ModelStep::Complete(pid) => self.complete(pid, true, watch),
            ModelStep::SupervisorComplete => self.supervisor_complete(true, watch),
            ModelStep::FreesLock(pid) => self.lock = self.lock.filter(|holder| *holder != pid),
            ModelStep::GivesUp(pid) => self.dies(pid),
            ModelStep::Ends(pid) => {
                self.processes.remove(&pid);
            }
            ModelStep::TellEnded(pid) => self.tell_ended(pid, watch),
            ModelStep::SupervisorTimer(timer) => {
                self.supervisor.iter_mut().for_each(|supervisor| supervisor.late |= timer == Timer::Deadline);
                self.supervisor(supervisor::Event::Timer(timer), watch);
            }
            ModelStep::DaemonTimer(pid, timer) => self.daemon(pid, DaemonInput::Timer(timer), watch),
            ModelStep::ContinueSupervisor => {
                self.supervisor.iter_mut().for_each(|supervisor| supervisor.stopped = false)
            }
            ModelStep::Continue(pid) => self.set_life(pid, Life::Runs),
            ModelStep::Client(ref step) => self.apply_to_clients(step, watch),
            ModelStep::Fault(ref fault) => self.go_wrong(fault, watch),
        }
    }

    fn daemon_reads_from(&mut self, i: usize, step: &ModelStep, watch: &mut Observer<'_>) {
        let link = &mut self.links[i];
        let (pid, id) = (link.pid, link.id);
        let input = match step {
            ModelStep::Accept(_) => {
                link.accepted = true;
                DaemonInput::Connected(id)
            }
            ModelStep::Down(_) => match link.down.pop_front() {
                Some(message) => DaemonInput::Frame(id, message),
                None => return,
            },
            _ => {
                link.daemon_open = false;
                DaemonInput::Closed(id)
            }
        };
        self.daemon(pid, input, watch);
    }

    fn supervisor_reads(&mut self, i: usize, watch: &mut Observer<'_>) {
        let link = &mut self.links[i];
        let (end, pid) = (link.end, link.pid);
        let Some(message) = link.up.pop_front() else { return };
        match end {
            ModelEnd::Supervisor(peer) => self.supervisor_reads_frame(peer, message, watch),
            ModelEnd::Recovery => self.recovery_hears(pid, message, watch),
        }
    }

    fn supervisor_reads_end(&mut self, i: usize, watch: &mut Observer<'_>) {
        let link = &mut self.links[i];
        link.supervisor_open = false;
        let (end, pid) = (link.end, link.pid);
        match end {
            ModelEnd::Supervisor(peer) => {
                self.supervisor(supervisor::Event::Closed(peer, "end of file".into()), watch)
            }
            ModelEnd::Recovery => self.recovery(recovery::Event::Closed(id(pid)), watch),
        }
    }

    fn go_wrong(&mut self, fault: &ModelFault, watch: &mut Observer<'_>) {
        self.fault(fault.kind());
        match *fault {
            ModelFault::HookFails(pid) => self.finish_hook(pid, Err(HostError::system("injected")), watch),
            ModelFault::HookUnfit(pid) => self.finish_hook(pid, Ok(false), watch),
            ModelFault::HookHangs(pid) => {
                self.processes.get_mut(&pid).into_iter().for_each(|process| process.hung = true);
            }
            ModelFault::OperationFails(pid) => self.complete(pid, false, watch),
            ModelFault::SupervisorOperationFails => self.supervisor_complete(false, watch),
            ModelFault::RecoveryOperationFails => self.recovery_complete(false, watch),
            ModelFault::DropDown(i) => drop(self.links[i].down.pop_front()),
            ModelFault::DropUp(i) => drop(self.links[i].up.pop_front()),
            ModelFault::Reset(i) => self.links[i].reset(),
            ModelFault::StrayDown(i) => {
                let (pid, link) = (self.links[i].pid, self.links[i].id);
                self.daemon(pid, DaemonInput::Frame(link, self.stray_down(i)), watch);
            }
            ModelFault::StrayUp(i) => {
                let ModelEnd::Supervisor(peer) = self.links[i].end else { return };
                self.supervisor(supervisor::Event::Frame(peer, self.stray_up(i)), watch);
            }
            ModelFault::Crash(pid) => self.dies(pid),
            ModelFault::CrashSupervisor => self.supervisor_dies(),
            ModelFault::CrashRecovery => self.recovery_dies(),
            ModelFault::Stop(pid) => {
                self.set_life(pid, Life::Stopped);
                self.processes.get_mut(&pid).into_iter().for_each(|process| process.suspect = true);
            }
            ModelFault::StopSupervisor => {
                self.supervisor.iter_mut().for_each(|supervisor| supervisor.stopped = true)
            }
            ModelFault::StopRecovery => self.recovery.iter_mut().for_each(|recovery| recovery.stopped = true),
            ModelFault::Late => {
                self.supervisor.iter_mut().for_each(|supervisor| supervisor.late = true);
                self.supervisor(supervisor::Event::Timer(Timer::Deadline), watch);
            }
            ModelFault::Cancel => {
                let goes_back = !self.is_decided();
                self.supervisor.iter_mut().for_each(|supervisor| supervisor.cancelled = goes_back);
                self.supervisor(supervisor::Event::Cancel(Reason::Cancelled), watch);
            }
            ModelFault::CancelRecovery => {
                self.recovery(recovery::Event::Cancel, watch);
                self.violated(
                    (!self.recovery_is_over()).then(|| "the recovery is called off, and goes on".into()),
                );
            }
            ModelFault::Speaks(pid, version) => self.speaks(pid, version),
            ModelFault::SealGoesOn(pid) => self.seal_goes_on(pid, watch),
            ModelFault::Signal(pid) => {
                self.signalled = Some(pid);
                self.daemon(pid, DaemonInput::Stop, watch);
            }
        }
    }

    /// Takes one fault from those that are left.
    fn fault(&mut self, kind: impl Fn(&mut FaultBudget) -> &mut u8) {
        *kind(&mut self.faults) -= 1;
        self.is_disturbed();
    }

    /// A fault has happened: a handoff need not commit.
    pub(super) fn is_disturbed(&mut self) {
        self.supervisor.iter_mut().for_each(|supervisor| supervisor.must_commit = false);
    }

    fn seal_goes_on(&mut self, pid: u32, watch: &mut Observer<'_>) {
        let said = self.processes.get(&pid).and_then(|process| process.seal_progress());
        if let Some((link, message)) = said {
            ModelHost { model: self, pid, watch }.send(link, &message);
        }
    }

    /// Returns whether the supervisor has told its successor to serve, or the incumbent to leave, or is about
    /// to; or the successor is the only one left.
    fn is_decided(&self) -> bool {
        let decides = |link: &ModelLink| {
            matches!(link.said, Some(MessageName::Commit | MessageName::Retire | MessageName::Final))
        };
        let note = supervisor::Awaited::Persist(supervisor::Note::Committed);
        let decided = |supervisor: &ModelSupervisor| {
            supervisor.pending.contains(&note)
                || supervisor.has_committed()
                || supervisor.incumbent_has_ended()
        };
        self.links.iter().any(decides) || self.supervisor.as_ref().is_some_and(decided)
    }

    fn has_alien(&self) -> bool {
        self.processes.values().any(|process| process.alien)
            || self
                .clients
                .iter()
                .flat_map(|clients| clients.processes.values())
                .any(|process| process.is_later)
    }

    fn set_life(&mut self, pid: u32, life: Life) {
        self.processes.get_mut(&pid).into_iter().for_each(|process| process.life = life);
    }

    /// A new supervisor, which knows nothing of those before it.
    fn start(&mut self, replace: bool, watch: &mut Observer<'_>) {
        self.recovery = None;
        let must_commit = replace && checks::one_serves(self) && self.links.is_empty() && !self.has_alien();
        self.handoffs -= u8::from(replace);
        self.started += 1;
        let config = Limits {
            liveness: LIVENESS,
            deadline: 300 * SECOND,
            drain_grace: 60 * SECOND,
            hook_limit: 300 * SECOND,
            retire_limit: 10 * SECOND,
        };
        self.supervisor = Some(ModelSupervisor {
            machine: SupervisorMachine::new(config),
            stopped: false,
            incumbent: None,
            successor: None,
            killed: Vec::new(),
            told: Vec::new(),
            wants_connect: false,
            pending: Vec::new(),
            outcome: None,
            journal_failed: false,
            knows: self.journal.clone(),
            before: self.journal.clone(),
            heard_failed: false,
            cancelled: false,
            late: false,
            must_commit,
        });
        let handoff_id = HandoffId([self.started; 16]);
        self.supervisor(supervisor::Event::Start { handoff_id, replace }, watch)
    }

    /// Connecting to a process that is stopped succeeds. The incumbent is the process that was there at first.
    fn connect(&mut self, watch: &mut Observer<'_>) {
        let there = self.path.filter(|pid| self.listens(*pid));
        let Some(supervisor) = &mut self.supervisor else { return };
        supervisor.wants_connect = false;
        match there {
            Some(pid) => {
                supervisor.incumbent.get_or_insert(pid);
                self.link(ModelEnd::Supervisor(Peer::Incumbent), pid);
            }
            None => {
                self.supervisor(supervisor::Event::ConnectFailed(HostError::system("nobody answers")), watch)
            }
        }
    }

    fn tell_ended(&mut self, pid: u32, watch: &mut Observer<'_>) {
        let Some(supervisor) = &mut self.supervisor else { return };
        supervisor.told.push(pid);
        supervisor.told.sort_unstable();
        let peer = if supervisor.incumbent == Some(pid) { Peer::Incumbent } else { Peer::Successor };
        let its = |link: &&mut ModelLink| link.pid == pid && link.end != ModelEnd::Recovery;
        self.links.iter_mut().filter(its).for_each(|link| link.supervisor_open = false);
        self.supervisor(supervisor::Event::Ended(peer, "was killed".into()), watch)
    }

    fn supervisor_reads_frame(&mut self, peer: Peer, message: Message, watch: &mut Observer<'_>) {
        let failed = peer == Peer::Successor && matches!(said(&message), Message::Failed { .. });
        self.supervisor.iter_mut().for_each(|supervisor| supervisor.heard_failed |= failed);
        self.supervisor(supervisor::Event::Frame(peer, message), watch);
    }

    /// Lets the supervisor handle `event`.
    fn supervisor(&mut self, event: supervisor::Event, watch: &mut Observer<'_>) {
        let Some(mut machine) = self.supervisor.as_ref().map(|supervisor| supervisor.machine.clone()) else {
            return;
        };
        if let supervisor::Event::Timer(timer) = &event {
            self.violated(obligations::fires_again(&machine, *timer, supervisor::Event::Timer, watch));
        }
        let obligations = obligations::supervisor::SupervisorObligations::new(self, &event);
        let mut meddling = watch.meddling.take();
        let mut host = ModelHost { model: self, pid: 0, watch };
        let lives = drive(&mut machine, &mut host, event, &mut meddling).is_continue();
        watch.meddling = meddling;
        match &mut self.supervisor {
            Some(supervisor) if lives => supervisor.machine = machine,
            _ => return self.supervisor_dies(),
        }
        self.violated(obligations.settle(self, watch));
    }

    /// Lets a daemon handle `input`.
    pub(super) fn daemon(&mut self, pid: u32, input: DaemonInput, watch: &mut Observer<'_>) {
        let Some(mut daemon) = self.processes.get(&pid).map(|process| process.daemon.clone()) else {
            return;
        };
        let obligations = DaemonObligations::new(self, pid, &input, watch);
        if let DaemonEvent::Timer(timer) = &input {
            let stuck = match &daemon {
                DaemonMachine::Incumbent(machine) => {
                    obligations::fires_again(machine, *timer, DaemonEvent::Timer, watch)
                }
                DaemonMachine::Successor(machine) => {
                    obligations::fires_again(machine, *timer, DaemonEvent::Timer, watch)
                }
            };
            self.violated(stuck);
        }
        let joins = match &input {
            DaemonEvent::Frame(link, message) if matches!(said(message), Message::HelloAck(_)) => {
                self.links.iter().find(|known| known.id == *link && !known.joined).map(|link| link.id)
            }
            _ => None,
        };
        self.hears_supervisor(pid, &input);
        self.links.iter_mut().filter(|link| Some(link.id) == joins).for_each(|link| link.joined = true);
        let mut meddling = watch.meddling.take();
        let mut host = ModelHost { model: self, pid, watch };
        let flow = match &mut daemon {
            DaemonMachine::Incumbent(machine) => drive(machine, &mut host, typed(input), &mut meddling),
            DaemonMachine::Successor(machine) => drive(machine, &mut host, typed(input), &mut meddling),
        };
        let is_promoted = daemon.promote(Time::ZERO, SECOND);
        watch.meddling = meddling;
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.daemon = daemon;
        let exited = process.exited.is_some();
        if flow.is_continue() {
            self.violated(obligations.settle(self, watch));
            self.remembers(pid, joins);
        }
        if flow.is_break() || exited {
            self.dies(pid);
        } else if is_promoted && self.signalled == Some(pid) {
            // A stop that came on the way is the incumbent's to carry out.
            self.daemon(pid, DaemonInput::Stop, watch);
        }
    }

    /// Notes what a process can know of its supervisor: whether it lives, and what it wants.
    fn hears_supervisor(&mut self, pid: u32, input: &DaemonInput) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let is_successor = matches!(process.daemon, DaemonMachine::Successor(_));
        let its = |link: &&ModelLink| {
            let joined = link.joined && Some(link.handoff_id) == process.handoff;
            link.pid == pid && (joined || is_successor && link.end == ModelEnd::Supervisor(Peer::Successor))
        };
        let mut links = self.links.iter().filter(its);
        match input {
            // Over a link that comes to its end with it.
            DaemonEvent::Frame(_, message) if is_stray(message) || is_refusal(message) => {
                process.heard = false
            }
            DaemonEvent::Frame(link, message) if links.any(|its| its.id == *link) => {
                // An attempt to do without it may be under way.
                process.heard |= process.pending.is_empty();
                process.told_to_retire |= matches!(said(message), Message::Retire { .. });
                process.told_to_resume |= matches!(said(message), Message::ResumeAfterAbort { .. });
                process.heard_begin |=
                    process.handoff.is_some() && matches!(said(message), Message::Begin { .. });
                process.told_to_leave |= is_successor && matches!(said(message), Message::Abort { .. });
            }
            DaemonEvent::Stop => process.told_to_leave |= is_successor,
            DaemonEvent::Timer(Timer::SupervisorSilent) => process.heard = false,
            DaemonEvent::Closed(_) => process.heard &= links.any(|link| link.daemon_open),
            _ => {}
        }
    }

    /// Notes what a process has come to: it is part of a handoff now, or has come back.
    fn remembers(&mut self, pid: u32, joins: Option<LinkId>) {
        let joined = self.links.iter().find(|link| Some(link.id) == joins && link.joined);
        let handoff = joined.map(|link| link.handoff_id);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if handoff.is_some() && handoff != process.handoff {
            (process.said, process.handoff) = (None, handoff);
            (process.heard, process.told_to_retire) = (false, false);
        }
        let serves = process.accepts && process.hooks.is_empty();
        process.told_to_resume &= handoff.is_none() && !serves;
    }

    /// Does, or fails, what was put off.
    fn complete(&mut self, pid: u32, good: bool, watch: &mut Observer<'_>) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let result = if good { Ok(()) } else { Err(HostError::system("injected")) };
        let input = match process.pending.remove(0) {
            Awaited::Lock(op) if good => {
                let answer = self.try_lock(pid);
                watch.found_busy = matches!(answer, LockAnswer::Busy { .. });
                DaemonInput::Locked(op, answer)
            }
            Awaited::Lock(op) => DaemonInput::Locked(op, LockAnswer::Error(HostError::system("injected"))),
            Awaited::WriteRecord(op, record) => {
                watch.left_service = true;
                if good {
                    self.write_record(pid, record);
                }
                DaemonInput::Recorded(op, result)
            }
            Awaited::TakePath(op) => {
                self.path = if good { Some(pid) } else { self.path };
                DaemonInput::PathTaken(op, result)
            }
            Awaited::Exit(_) => return,
        };
        self.daemon(pid, input, watch)
    }

    fn supervisor_complete(&mut self, good: bool, watch: &mut Observer<'_>) {
        let Some(supervisor) = &mut self.supervisor else { return };
        let event = match supervisor.pending.remove(0) {
            supervisor::Awaited::Spawn if good => supervisor::Event::Spawned(Ok(id(self.spawn()))),
            supervisor::Awaited::Spawn => supervisor::Event::Spawned(Err(HostError::system("injected"))),
            supervisor::Awaited::Persist(note) => {
                watch.persisted.push(note);
                self.note(note, good);
                supervisor::Event::Persisted(
                    note,
                    if good { Ok(()) } else { Err(HostError::system("injected")) },
                )
            }
            supervisor::Awaited::Finish(_) => return,
        };
        self.supervisor(event, watch)
    }
}

fn is_refusal(message: &Message) -> bool {
    matches!(message, Message::Refused { .. })
}

/// Returns what is said, for the first time or again.
fn said(message: &Message) -> &Message {
    match message {
        Message::Heartbeat { repeats: Some(repeats), .. } => said(repeats),
        message => message,
    }
}

/// The event, as the machine of one role knows it.
fn typed<D: From<Ran>>(input: DaemonInput) -> DaemonEvent<D> {
    match input {
        DaemonInput::Start => DaemonEvent::Start,
        DaemonInput::Connected(link) => DaemonEvent::Connected(link),
        DaemonInput::Frame(link, message) => DaemonEvent::Frame(link, message),
        DaemonInput::Closed(link) => DaemonEvent::Closed(link),
        DaemonInput::HookDone(op, result) => DaemonEvent::HookDone(op, result.map(D::from)),
        DaemonInput::Locked(op, answer) => DaemonEvent::Locked(op, answer),
        DaemonInput::Recorded(op, result) => DaemonEvent::Recorded(op, result),
        DaemonInput::PathTaken(op, result) => DaemonEvent::PathTaken(op, result),
        DaemonInput::Timer(timer) => DaemonEvent::Timer(timer),
        DaemonInput::Stop => DaemonEvent::Stop,
    }
}
