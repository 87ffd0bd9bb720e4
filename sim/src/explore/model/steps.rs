//! The next events: what the model does by itself, the time at which a timer fires, and the faults that are
//! left.
use handoff::machine::{Machine, StateName, Timer, Timers, recovery, supervisor::Peer};
use handoff::message::Message;
use handoff::node::daemon::Hook as AnyHook;
use handoff::text::PlainText;

use super::client_steps::ClientStep;
use super::faults::FaultBudget;
use super::{
    DaemonMachine, Life, Model, ModelDaemon, ModelEnd, ModelLink, ModelRecovery, ModelSupervisor, STRAY,
    Version,
};

/// One thing that can happen next. Daemons are named by their pid, links by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelStep {
    Recover,
    TellRecovery(u32),
    Refused(u32),
    RecoveryComplete,
    RecoveryTimer(Timer),
    ContinueRecovery,
    Handoff,
    ColdStart,
    Connect,
    Begin(u32),
    Accept(usize),
    Down(usize),
    DownClosed(usize),
    Up(usize),
    UpClosed(usize),
    Hook(u32),
    Complete(u32),
    SupervisorComplete,
    /// The operator that has told it to stop kills it, since it does not end.
    GivesUp(u32),
    FreesLock(u32),
    Ends(u32),
    TellEnded(u32),
    SupervisorTimer(Timer),
    DaemonTimer(u32, Timer),
    ContinueSupervisor,
    Continue(u32),
    Client(ClientStep),
    Fault(ModelFault),
}

/// The fault of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelFault {
    HookFails(u32),
    HookHangs(u32),
    /// A drain that leaves the listener open, an open that is unhealthy.
    HookUnfit(u32),
    OperationFails(u32),
    SupervisorOperationFails,
    RecoveryOperationFails,
    CrashRecovery,
    StopRecovery,
    DropDown(usize),
    DropUp(usize),
    Reset(usize),
    StrayDown(usize),
    StrayUp(usize),
    CrashSupervisor,
    Crash(u32),
    StopSupervisor,
    Stop(u32),
    Late,
    Cancel,
    CancelRecovery,
    Signal(u32),
    /// A process is of a build with another version of the protocol.
    Speaks(u32, Version),
    /// No fault: a seal says how far it has come.
    SealGoesOn(u32),
}

/// The condition under which a step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing, or little time.
    Nothing,
    /// A deadline's time. If all are there and talk to each other, it does not come to that.
    Deadline,
    /// A stopped process goes on.
    Somebody,
}

impl ModelStep {
    /// A stopped process need never go on.
    pub(crate) fn needs(&self) -> Needs {
        match self {
            ModelStep::Continue(_) | ModelStep::ContinueSupervisor | ModelStep::ContinueRecovery => {
                Needs::Somebody
            }
            _ => Needs::Nothing,
        }
    }
}

impl ModelStep {
    /// Returns whether it happens only so many times, and need not.
    pub(crate) fn is_bounded(&self) -> bool {
        match self {
            ModelStep::Fault(_) => true,
            ModelStep::Client(step) => step.is_bounded(),
            _ => false,
        }
    }
}

impl ModelFault {
    /// Of which kind it is: the one that there is one less of then.
    pub(crate) fn kind(&self) -> fn(&mut FaultBudget) -> &mut u8 {
        match self {
            ModelFault::HookFails(_) | ModelFault::HookHangs(_) | ModelFault::HookUnfit(_) => {
                |faults| &mut faults.bad_hooks
            }
            ModelFault::OperationFails(_)
            | ModelFault::SupervisorOperationFails
            | ModelFault::RecoveryOperationFails => |faults| &mut faults.errors,
            ModelFault::Crash(_) | ModelFault::CrashSupervisor | ModelFault::CrashRecovery => {
                |faults| &mut faults.crashes
            }
            ModelFault::Stop(_) | ModelFault::StopSupervisor | ModelFault::StopRecovery => {
                |faults| &mut faults.stops
            }
            ModelFault::DropDown(_) | ModelFault::DropUp(_) => |faults| &mut faults.drops,
            ModelFault::Reset(_) => |faults| &mut faults.resets,
            ModelFault::StrayDown(_) | ModelFault::StrayUp(_) => |faults| &mut faults.strays,
            ModelFault::Late => |faults| &mut faults.late,
            ModelFault::Cancel | ModelFault::CancelRecovery => |faults| &mut faults.cancels,
            ModelFault::Signal(_) => |faults| &mut faults.signals,
            ModelFault::Speaks(..) => |faults| &mut faults.versions,
            ModelFault::SealGoesOn(_) => |faults| &mut faults.progress,
        }
    }
}

impl Model {
    /// Returns what would have consequences if it counted.
    pub(crate) fn stray_down(&self, i: usize) -> Message {
        match self.processes.get(&self.links[i].pid).map(|process| &process.daemon) {
            Some(DaemonMachine::Successor(_)) => {
                Message::Abort { handoff_id: STRAY, reason: PlainText::default() }
            }
            _ => Message::Retire { handoff_id: STRAY },
        }
    }

    pub(crate) fn stray_up(&self, i: usize) -> Message {
        match self.links[i].end {
            ModelEnd::Supervisor(Peer::Successor) => Message::Serving { handoff_id: STRAY },
            _ => Message::Resumed { handoff_id: STRAY },
        }
    }

    pub(crate) fn steps(&self) -> Vec<ModelStep> {
        let mut steps = Vec::new();
        if self.faults.prompt {
            self.recovery_and_its_peers(&mut steps);
            if !steps.is_empty() {
                return steps;
            }
        }
        self.reads(&mut steps);
        self.deaths(&mut steps);
        self.work(&mut steps);
        steps.extend(self.client_work().into_iter().map(ModelStep::Client));
        self.recovery_steps(&mut steps);
        let quiet = steps.is_empty();
        if !self.processes.iter().any(|(pid, process)| self.is_prompt(*pid, process)) {
            self.supervisor_timers(quiet, &mut steps);
            self.daemon_timers(quiet, &mut steps);
            self.recovery_timers(quiet, &mut steps);
        }
        self.continues(&mut steps);
        self.starts(&mut steps);
        self.bad_luck(&mut steps);
        steps
    }

    /// Timers that time alone lets expire, whatever else is to be done first: heartbeats soon, the deadlines of supervisors
    /// at last.
    pub(crate) fn due(&self) -> Vec<(ModelStep, Needs)> {
        let mut due = Vec::new();
        let mut note = |timers: &Timers, step: &dyn Fn(Timer) -> ModelStep| {
            for (timer, needs) in [(Timer::Heartbeat, Needs::Nothing), (Timer::Deadline, Needs::Deadline)] {
                due.extend(timers.is_armed(timer).then(|| (step(timer), needs)));
            }
        };
        if let Some(supervisor) = self.supervisor.as_ref().filter(|supervisor| !supervisor.stopped) {
            note(supervisor.machine.timers(), &ModelStep::SupervisorTimer);
        }
        if let Some(recovery) = self.recovery.as_ref().filter(|recovery| !recovery.stopped) {
            note(recovery.machine.timers(), &ModelStep::RecoveryTimer);
        }
        for (pid, process) in self.processes.iter().filter(|(_, process)| process.life == Life::Runs) {
            let beats = process.timers().is_armed(Timer::Heartbeat);
            due.extend(beats.then_some((ModelStep::DaemonTimer(*pid, Timer::Heartbeat), Needs::Nothing)));
        }
        due
    }

    /// Returns whether what is next for a process takes less time than any timer.
    fn is_prompt(&self, pid: u32, process: &ModelDaemon) -> bool {
        match process.life {
            Life::Runs => !process.has_started,
            Life::Dying => self.lock != Some(pid),
            Life::Stopped => false,
        }
    }

    /// Adds what is under way between a supervisor that recovers and the daemons that it asks.
    fn recovery_and_its_peers(&self, steps: &mut Vec<ModelStep>) {
        self.recovery_steps(steps);
        let is_asked = |(pid, _): &(&u32, &ModelDaemon)| {
            let reads = |link: &ModelLink| {
                link.end == ModelEnd::Recovery
                    && link.pid == **pid
                    && link.supervisor_open
                    && !link.down.is_empty()
            };
            self.recovery_runs() && self.links.iter().any(reads)
        };
        steps.extend(self.processes.iter().filter(is_asked).filter_map(|(pid, _)| self.daemon_reads(*pid)));
    }

    fn reads(&self, steps: &mut Vec<ModelStep>) {
        steps.extend(self.processes.keys().filter_map(|pid| self.daemon_reads(*pid)));
        steps.extend((0..self.links.len()).filter_map(|i| self.reads_next(i)));
        if self.supervisor_runs()
            && self.supervisor.as_ref().is_some_and(|supervisor| supervisor.wants_connect)
        {
            steps.push(ModelStep::Connect);
        }
    }

    /// Hosts read older links first: what came over one is handled before what its sender says over the next.
    fn daemon_reads(&self, pid: u32) -> Option<ModelStep> {
        let mut links = self.links.iter().enumerate().filter(|(_, link)| link.pid == pid && link.daemon_open);
        links.find_map(|(i, link)| match () {
            () if !self.runs(pid) || !self.processes[&pid].has_started => None,
            () if !link.accepted => Some(ModelStep::Accept(i)),
            () if !link.down.is_empty() => Some(ModelStep::Down(i)),
            () if !link.supervisor_open || link.reset => Some(ModelStep::DownClosed(i)),
            () => None,
        })
    }

    /// Nothing of what a process has sent is read after its end has been seen.
    fn reads_next(&self, i: usize) -> Option<ModelStep> {
        let link = &self.links[i];
        match () {
            () if link.end == ModelEnd::Recovery => None,
            () if !self.supervisor_runs()
                || !link.supervisor_open
                || !self.processes.contains_key(&link.pid) =>
            {
                None
            }
            () if !link.up.is_empty() => Some(ModelStep::Up(i)),
            () if !link.daemon_open || link.reset => Some(ModelStep::UpClosed(i)),
            () => None,
        }
    }

    fn supervisor_can_read(&self) -> bool {
        (0..self.links.len()).any(|i| self.reads_next(i).is_some()) || self.untold().next().is_some()
    }

    fn deaths(&self, steps: &mut Vec<ModelStep>) {
        for pid in self.processes.iter().filter(|(_, p)| p.life == Life::Dying).map(|(pid, _)| *pid) {
            steps.push(if self.lock == Some(pid) { ModelStep::FreesLock(pid) } else { ModelStep::Ends(pid) });
        }
        steps.extend(self.untold().map(ModelStep::TellEnded));
    }

    /// Ends that the supervisor can see and has not seen.
    fn untold(&self) -> impl Iterator<Item = u32> {
        let supervisor = self
            .supervisor
            .as_ref()
            .filter(|supervisor| !supervisor.stopped && !supervisor.machine.is_done());
        let unseen = |supervisor: &ModelSupervisor, pid: u32| {
            !self.processes.contains_key(&pid) && !supervisor.told.contains(&pid)
        };
        supervisor.into_iter().flat_map(move |supervisor| {
            [supervisor.incumbent, supervisor.successor]
                .into_iter()
                .flatten()
                .filter(move |pid| unseen(supervisor, *pid))
        })
    }

    fn work(&self, steps: &mut Vec<ModelStep>) {
        for (pid, process) in &self.processes {
            match process.life {
                Life::Runs if !process.has_started => steps.push(ModelStep::Begin(*pid)),
                Life::Runs => {
                    steps.extend(self.hook_returns(*pid).then_some(ModelStep::Hook(*pid)));
                    steps.extend((!process.pending.is_empty()).then_some(ModelStep::Complete(*pid)));
                    // One that is in no handoff has no limit to what its hooks take.
                    let unlimited = process.hung && !process.timers().is_armed(Timer::HookLimit);
                    let stops = self.signalled == Some(*pid);
                    steps.extend((stops && unlimited).then_some(ModelStep::GivesUp(*pid)));
                }
                Life::Stopped | Life::Dying => {}
            }
        }
        let pending = self
            .supervisor
            .as_ref()
            .is_some_and(|supervisor| !supervisor.stopped && !supervisor.pending.is_empty());
        steps.extend(pending.then_some(ModelStep::SupervisorComplete));
    }

    fn supervisor_timers(&self, quiet: bool, steps: &mut Vec<ModelStep>) {
        let at_work = |supervisor: &&ModelSupervisor| !supervisor.stopped && !supervisor.machine.is_done();
        let Some(supervisor) = self.supervisor.as_ref().filter(at_work) else { return };
        if self.supervisor_can_read() {
            return;
        }
        let mine =
            |link: &&ModelLink| link.end != ModelEnd::Recovery && link.supervisor_open && link.daemon_open;
        // What a stopped process has not read keeps no peer from saying it again.
        let unread = self.links.iter().filter(mine).any(|link| !link.down.is_empty() && self.runs(link.pid));
        let armed = |timer: &Timer| supervisor.machine.timers().is_armed(*timer);
        // A connection that is tried again, and will succeed, comes before any silence; silence before the deadline.
        let quiet = quiet && !(armed(&Timer::Retry) && self.path.is_some_and(|pid| self.listens(pid)));
        // A hook that began before the first deadline has reached its limit before the second.
        let second = matches!(
            supervisor.machine.state(),
            StateName::AwaitServing | StateName::AwaitResumed | StateName::AwaitRetired
        );
        let silent = |timer: &Timer| match timer {
            Timer::IncumbentSilent => self.unheard(quiet, Peer::Incumbent, supervisor.incumbent),
            Timer::SuccessorSilent => self.unheard(quiet, Peer::Successor, supervisor.successor),
            _ => false,
        };
        for timer in Timer::ALL.into_iter().filter(armed) {
            let fires = match timer {
                Timer::Heartbeat => !unread && (quiet || !self.faults.sparse),
                Timer::IncumbentSilent | Timer::SuccessorSilent => silent(&timer),
                // A process is slow.
                Timer::Patience => quiet || self.processes.values().any(ModelDaemon::is_slow),
                Timer::Deadline if second && self.processes.values().any(|process| process.hung) => false,
                Timer::Deadline if !self.is_stuck() => false,
                Timer::Deadline => quiet && !Timer::ALL.iter().filter(|timer| armed(timer)).any(silent),
                Timer::Retry => !supervisor.wants_connect,
                Timer::SupervisorSilent | Timer::HookLimit => false,
            };
            steps.extend(fires.then_some(ModelStep::SupervisorTimer(timer)));
        }
    }

    fn daemon_timers(&self, quiet: bool, steps: &mut Vec<ModelStep>) {
        for (pid, process) in self.processes.iter().filter(|(_, p)| p.life == Life::Runs) {
            if self.daemon_reads(*pid).is_some() {
                continue;
            }
            let mine = |link: &&ModelLink| link.pid == *pid && link.supervisor_open && link.daemon_open;
            let reads = |link: &ModelLink| match link.end {
                ModelEnd::Supervisor(_) => self.supervisor_runs(),
                ModelEnd::Recovery => self.recovery_runs(),
            };
            let unread = self.links.iter().filter(mine).any(|link| !link.up.is_empty() && reads(link));
            for timer in Timer::ALL.into_iter().filter(|timer| process.timers().is_armed(*timer)) {
                let fires = match timer {
                    Timer::Heartbeat => !unread && (quiet || !self.faults.sparse),
                    Timer::SupervisorSilent => self.supervisor_unheard(quiet, *pid),
                    Timer::Patience | Timer::Deadline => quiet,
                    Timer::Retry => true,
                    Timer::HookLimit => process.hung,
                    Timer::IncumbentSilent | Timer::SuccessorSilent => false,
                };
                steps.extend(fires.then_some(ModelStep::DaemonTimer(*pid, timer)));
            }
        }
    }

    /// Returns whether it has a link to the supervisor of a handoff.
    fn is_linked(&self, pid: u32) -> bool {
        let its = |link: &ModelLink| link.pid == pid && link.end != ModelEnd::Recovery;
        self.links.iter().any(|link| its(link) && link.supervisor_open && link.daemon_open)
    }

    /// Returns whether not all are there and talk to each other. If they are, heartbeats mend what was lost,
    /// long before a deadline.
    fn is_stuck(&self) -> bool {
        let linked = |pid: u32| self.is_linked(pid);
        let well = |process: &ModelDaemon| process.life == Life::Runs && !process.hung;
        self.processes.iter().any(|(pid, process)| !linked(*pid) || !well(process))
    }

    /// Returns whether the supervisor hears nothing from a peer that has not ended: it does not run, or there
    /// is no link.
    fn unheard(&self, quiet: bool, peer: Peer, pid: Option<u32>) -> bool {
        let mut links =
            self.links.iter().filter(|link| link.end == ModelEnd::Supervisor(peer) && link.supervisor_open);
        let linked = links.any(|link| link.daemon_open && link.accepted);
        let inert = |pid: u32| {
            self.processes.get(&pid).is_some_and(|p| matches!(p.life, Life::Stopped | Life::Dying))
        };
        let beats = |pid| {
            self.processes.get(&pid).is_some_and(|p: &ModelDaemon| p.timers().is_armed(Timer::Heartbeat))
        };
        pid.is_some_and(inert) || (quiet && !(linked && pid.is_some_and(beats)))
    }

    fn supervisor_unheard(&self, quiet: bool, pid: u32) -> bool {
        let linked = self.is_linked(pid);
        let stopped = self.supervisor.as_ref().is_some_and(|supervisor| supervisor.stopped);
        stopped || (quiet && !linked)
    }

    fn continues(&self, steps: &mut Vec<ModelStep>) {
        steps.extend(
            self.supervisor
                .iter()
                .filter(|supervisor| supervisor.stopped)
                .map(|_| ModelStep::ContinueSupervisor),
        );
        let recovery = self.recovery.iter().filter(|recovery| recovery.stopped);
        steps.extend(recovery.map(|_| ModelStep::ContinueRecovery));
        let stopped = self.processes.iter().filter(|(_, process)| process.life == Life::Stopped);
        steps.extend(stopped.map(|(pid, _)| ModelStep::Continue(*pid)));
    }

    fn starts(&self, steps: &mut Vec<ModelStep>) {
        let stopped = self.supervisor.as_ref().is_some_and(|supervisor| supervisor.stopped);
        if self.faults.recovers && (self.astray && self.idle() || stopped) && self.recovery_is_over() {
            // Once, beside a supervisor that is stopped.
            steps.extend((!stopped || self.recovery.is_none()).then_some(ModelStep::Recover));
            return;
        }
        if !self.idle() || !self.recovery_is_over() {
            return;
        }
        if self.processes.is_empty() {
            steps.push(ModelStep::ColdStart);
        } else if self.handoffs > 0 && self.path.is_some_and(|pid| self.processes.contains_key(&pid)) {
            steps.push(ModelStep::Handoff);
        }
    }

    fn bad_luck(&self, steps: &mut Vec<ModelStep>) {
        let mut faults = Vec::new();
        self.bad_processes(&mut faults);
        self.other_versions(&mut faults);
        self.bad_links(&mut faults);
        self.bad_work(&mut faults);
        if let Some(supervisor) =
            self.supervisor.as_ref().filter(|supervisor| !supervisor.stopped && !supervisor.machine.is_done())
        {
            // The first deadline may come early, at the worst moment; a second is a whole one.
            let late = self.faults.late > 0
                && supervisor.machine.state() != StateName::AwaitServing
                && !self.supervisor_can_read()
                && supervisor.machine.timers().is_armed(Timer::Deadline);
            faults.extend(late.then_some(ModelFault::Late));
            // Told after all that has come before it.
            let cancels = self.faults.cancels > 0 && !self.supervisor_can_read();
            faults.extend(cancels.then_some(ModelFault::Cancel));
        }
        let cancels = self.faults.cancels > 0 && self.recovery_runs() && !self.recovery_is_over();
        faults.extend(cancels.then_some(ModelFault::CancelRecovery));
        steps.extend(faults.into_iter().map(ModelStep::Fault));
        steps.extend(self.client_luck().into_iter().map(ModelStep::Client));
    }

    fn bad_processes(&self, faults: &mut Vec<ModelFault>) {
        if self.faults.crashes > 0 {
            faults.extend(self.supervisor.iter().map(|_| ModelFault::CrashSupervisor));
            let recovery = self.recovery.iter().filter(|recovery| !recovery.machine.is_done());
            faults.extend(recovery.map(|_| ModelFault::CrashRecovery));
            let alive = self.processes.iter().filter(|(_, process)| process.life != Life::Dying);
            faults.extend(alive.map(|(pid, _)| ModelFault::Crash(*pid)));
        }
        if self.faults.stops > 0 {
            let at_work =
                |supervisor: &&ModelSupervisor| !supervisor.stopped && !supervisor.machine.is_done();
            faults.extend(self.supervisor.iter().filter(at_work).map(|_| ModelFault::StopSupervisor));
            let recovery = self.recovery.iter().filter(|s| !s.stopped && !s.machine.is_done());
            faults.extend(recovery.map(|_| ModelFault::StopRecovery));
        }
        for pid in self.processes.keys().filter(|pid| self.runs(**pid)) {
            faults.extend((self.faults.stops > 0).then_some(ModelFault::Stop(*pid)));
            faults.extend((self.faults.signals > 0).then_some(ModelFault::Signal(*pid)));
        }
    }

    /// A process that has not said a word yet may be of any build; so may the one that serves before the first handoff.
    fn other_versions(&self, faults: &mut Vec<ModelFault>) {
        if self.faults.versions == 0 {
            return;
        }
        let untouched = self.started == 0 && self.signalled.is_none();
        let silent = |(_, process): &(&u32, &ModelDaemon)| !process.has_started || untouched;
        for (pid, _) in self.processes.iter().filter(silent) {
            faults.extend(Version::OTHERS.map(|version| ModelFault::Speaks(*pid, version)));
        }
    }

    fn bad_links(&self, faults: &mut Vec<ModelFault>) {
        for (i, link) in self.links.iter().enumerate() {
            let drops = self.faults.drops > 0;
            faults.extend((drops && !link.down.is_empty()).then_some(ModelFault::DropDown(i)));
            // What is not repeated is not lost: an incumbent's `Hello`, before it is part of a handoff.
            let repeated = !matches!(
                (link.end, link.up.front()),
                (ModelEnd::Supervisor(Peer::Incumbent), None | Some(Message::Hello(_)))
            );
            faults.extend((drops && repeated && !link.up.is_empty()).then_some(ModelFault::DropUp(i)));
            let whole = link.supervisor_open && link.daemon_open && link.accepted && !link.reset;
            faults.extend((self.faults.resets > 0 && whole).then_some(ModelFault::Reset(i)));
            if self.faults.strays > 0 && whole && matches!(link.end, ModelEnd::Supervisor(_)) {
                faults.extend(self.is_in_session(link).then_some(ModelFault::StrayDown(i)));
                let hears = link.acked && self.is_at_work(link.end) && !self.is_stopped();
                faults.extend(hears.then_some(ModelFault::StrayUp(i)));
            }
        }
    }

    fn bad_work(&self, faults: &mut Vec<ModelFault>) {
        for (pid, process) in &self.processes {
            if self.faults.bad_hooks > 0 && self.hook_returns(*pid) {
                faults.extend([
                    ModelFault::HookFails(*pid),
                    ModelFault::HookHangs(*pid),
                    ModelFault::HookUnfit(*pid),
                ]);
            }
            let goes_on =
                self.faults.progress > 0 && self.hook_returns(*pid) && process.seal_progress().is_some();
            faults.extend(goes_on.then_some(ModelFault::SealGoesOn(*pid)));
            let fails = self.faults.errors > 0 && !process.pending.is_empty();
            faults.extend(fails.then_some(ModelFault::OperationFails(*pid)));
        }
        let pending = self
            .supervisor
            .as_ref()
            .is_some_and(|supervisor| !supervisor.stopped && !supervisor.pending.is_empty());
        faults.extend((self.faults.errors > 0 && pending).then_some(ModelFault::SupervisorOperationFails));
        let notes =
            |recovery: &ModelRecovery| matches!(recovery.pending.first(), Some(recovery::Awaited::Note(_)));
        let noting = self.recovery_runs() && self.recovery.as_ref().is_some_and(notes);
        faults.extend((self.faults.errors > 0 && noting).then_some(ModelFault::RecoveryOperationFails));
    }
}

impl ModelDaemon {
    pub(crate) fn is_slow(&self) -> bool {
        let finalize = |(_, hook): &(_, AnyHook)| {
            *hook == AnyHook::Incumbent(handoff::machine::incumbent::Hook::Finalize)
        };
        self.life == Life::Stopped || self.hooks.iter().any(|hook| !finalize(hook))
    }
}
