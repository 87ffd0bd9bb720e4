//! The names of a step: in words for people and for files, and as an action that is the same in every state.
use handoff::machine::supervisor::{self, Peer};
use handoff::machine::{Awaited, Timer};
use handoff::message::Message;

use crate::explore::model::client_steps::ClientStep;
use crate::explore::model::steps::{ModelFault, ModelStep};
use crate::explore::model::{Model, ModelEnd};
use crate::kernel::Name;
use crate::trace::words::message_name;

/// A supervisor that drives a handoff.
pub(crate) const SUPERVISOR: Name = Name { kind: 'S', number: 1 };
/// The supervisor that recovers.
pub(crate) const RECOVERY: Name = Name { kind: 'R', number: 1 };

pub(crate) fn daemon(pid: u32) -> Name {
    Name { kind: 'D', number: pid }
}

impl ModelEnd {
    pub(crate) fn name(self) -> Name {
        match self {
            ModelEnd::Supervisor(_) => SUPERVISOR,
            ModelEnd::Recovery => RECOVERY,
        }
    }
}

/// A step, whatever the state that it is taken in: what it does, to which daemon, at which end of a link or by which timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Action {
    what: std::mem::Discriminant<ModelStep>,
    pid: u32,
    end: Option<ModelEnd>,
    timer: Option<Timer>,
    client: Option<std::mem::Discriminant<ClientStep>>,
}

/// The actor that takes a turn in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    Supervisor,
    Recovery,
    DaemonMachine(u32),
}

impl Model {
    pub(crate) fn action(&self, step: &ModelStep) -> Action {
        let (pid, end, timer) = match *step {
            ModelStep::Accept(i)
            | ModelStep::Down(i)
            | ModelStep::DownClosed(i)
            | ModelStep::Up(i)
            | ModelStep::UpClosed(i) => (self.links[i].pid, Some(self.links[i].end), None),
            ModelStep::DaemonTimer(pid, timer) => (pid, None, Some(timer)),
            ModelStep::SupervisorTimer(timer) | ModelStep::RecoveryTimer(timer) => (0, None, Some(timer)),
            ModelStep::TellRecovery(pid)
            | ModelStep::Refused(pid)
            | ModelStep::Begin(pid)
            | ModelStep::Hook(pid)
            | ModelStep::Complete(pid)
            | ModelStep::GivesUp(pid)
            | ModelStep::FreesLock(pid)
            | ModelStep::Ends(pid)
            | ModelStep::TellEnded(pid)
            | ModelStep::Continue(pid) => (pid, None, None),
            ModelStep::Client(ClientStep::Part(pid) | ClientStep::Comes(pid) | ClientStep::IsLater(pid)) => {
                (pid, None, None)
            }
            ModelStep::Client(ClientStep::Takes(i) | ClientStep::Breaks(i) | ClientStep::Loses(i)) => {
                (self.clients.as_ref().map_or(0, |clients| clients.links[i].to), None, None)
            }
            ModelStep::Client(ClientStep::Leaves(_)) => (0, None, None),
            ModelStep::Recover
            | ModelStep::RecoveryComplete
            | ModelStep::ContinueRecovery
            | ModelStep::Handoff
            | ModelStep::ColdStart
            | ModelStep::Connect
            | ModelStep::SupervisorComplete
            | ModelStep::ContinueSupervisor
            | ModelStep::Fault(_) => (0, None, None),
        };
        let client = match step {
            ModelStep::Client(step) => Some(std::mem::discriminant(step)),
            _ => None,
        };
        Action { what: std::mem::discriminant(step), pid, end, timer, client }
    }

    /// Returns the actor whose machine has a turn.
    pub(crate) fn actor(&self, step: &ModelStep) -> Option<Actor> {
        match *step {
            ModelStep::Handoff
            | ModelStep::ColdStart
            | ModelStep::SupervisorComplete
            | ModelStep::TellEnded(_)
            | ModelStep::SupervisorTimer(_) => Some(Actor::Supervisor),
            // If a daemon is there, its `Hello` says so.
            ModelStep::Connect => self.path.is_none_or(|pid| !self.listens(pid)).then_some(Actor::Supervisor),
            ModelStep::Recover
            | ModelStep::TellRecovery(_)
            | ModelStep::Refused(_)
            | ModelStep::RecoveryComplete
            | ModelStep::RecoveryTimer(_) => Some(Actor::Recovery),
            ModelStep::Up(i) | ModelStep::UpClosed(i) => Some(match self.links[i].end {
                ModelEnd::Supervisor(_) => Actor::Supervisor,
                ModelEnd::Recovery => Actor::Recovery,
            }),
            ModelStep::Accept(i) | ModelStep::Down(i) | ModelStep::DownClosed(i) => {
                Some(Actor::DaemonMachine(self.links[i].pid))
            }
            ModelStep::Begin(pid)
            | ModelStep::Client(ClientStep::Part(pid))
            | ModelStep::Hook(pid)
            | ModelStep::Complete(pid)
            | ModelStep::DaemonTimer(pid, _) => Some(Actor::DaemonMachine(pid)),
            ModelStep::GivesUp(_)
            | ModelStep::FreesLock(_)
            | ModelStep::Ends(_)
            | ModelStep::ContinueRecovery
            | ModelStep::ContinueSupervisor
            | ModelStep::Client(_)
            | ModelStep::Continue(_) => None,
            ModelStep::Fault(ref fault) => match *fault {
                ModelFault::HookFails(pid)
                | ModelFault::HookUnfit(pid)
                | ModelFault::OperationFails(pid)
                | ModelFault::SealGoesOn(pid)
                | ModelFault::Signal(pid) => Some(Actor::DaemonMachine(pid)),
                ModelFault::StrayDown(i) => Some(Actor::DaemonMachine(self.links[i].pid)),
                ModelFault::SupervisorOperationFails
                | ModelFault::StrayUp(_)
                | ModelFault::Late
                | ModelFault::Cancel => Some(Actor::Supervisor),
                ModelFault::RecoveryOperationFails | ModelFault::CancelRecovery => Some(Actor::Recovery),
                ModelFault::HookHangs(_)
                | ModelFault::CrashRecovery
                | ModelFault::StopRecovery
                | ModelFault::DropDown(_)
                | ModelFault::DropUp(_)
                | ModelFault::Reset(_)
                | ModelFault::CrashSupervisor
                | ModelFault::Crash(_)
                | ModelFault::StopSupervisor
                | ModelFault::Stop(_)
                | ModelFault::Speaks(..) => None,
            },
        }
    }

    /// Returns what `step` does, in words. No two steps of a state are called the same.
    pub(crate) fn name_of(&self, step: &ModelStep) -> String {
        match *step {
            ModelStep::Recover => format!("{RECOVERY} recovers"),
            ModelStep::TellRecovery(pid) => format!("{RECOVERY} sees that D{pid} has ended"),
            ModelStep::Refused(pid) => format!("{RECOVERY} can't connect to D{pid}"),
            ModelStep::RecoveryComplete => format!("{RECOVERY} has its answer"),
            ModelStep::RecoveryTimer(timer) => format!("{RECOVERY}: timer {}", timer.name()),
            ModelStep::ContinueRecovery => format!("{RECOVERY} goes on"),
            ModelStep::Handoff => format!("{SUPERVISOR} is asked to swap"),
            ModelStep::ColdStart => format!("{SUPERVISOR} is asked to start one"),
            ModelStep::Connect => format!("{SUPERVISOR} connects"),
            ModelStep::Begin(pid) => format!("D{pid} starts"),
            ModelStep::Accept(i) => format!("D{} accepts {}", self.links[i].pid, self.links[i].end.name()),
            ModelStep::Down(i) => {
                let link = &self.links[i];
                format!("D{} reads {} from {}", link.pid, front(link.down.front()), link.end.name())
            }
            ModelStep::DownClosed(i) => {
                format!("D{} reads the end of {}'s link", self.links[i].pid, self.links[i].end.name())
            }
            ModelStep::Up(i) => {
                let link = &self.links[i];
                format!("{} reads {} from {}", link.end.name(), front(link.up.front()), self.peer(i))
            }
            ModelStep::UpClosed(i) => {
                format!("{} reads the end of {}'s link", self.links[i].end.name(), self.peer(i))
            }
            ModelStep::Hook(pid) => format!("D{pid}: {} returns", self.hook(pid)),
            ModelStep::Complete(pid) => format!("D{pid}: {} is answered", self.asked(pid)),
            ModelStep::SupervisorComplete => format!("{SUPERVISOR}: {} is answered", self.supervisor_asked()),
            ModelStep::GivesUp(pid) => format!("D{pid} is killed by whoever has told it to stop"),
            ModelStep::FreesLock(pid) => format!("D{pid}'s lock is freed"),
            ModelStep::Ends(pid) => format!("D{pid} has ended"),
            ModelStep::TellEnded(pid) => format!("{SUPERVISOR} sees that D{pid} has ended"),
            ModelStep::SupervisorTimer(timer) => format!("{SUPERVISOR}: timer {}", timer.name()),
            ModelStep::DaemonTimer(pid, timer) => format!("D{pid}: timer {}", timer.name()),
            ModelStep::ContinueSupervisor => format!("{SUPERVISOR} goes on"),
            ModelStep::Continue(pid) => format!("D{pid} goes on"),
            ModelStep::Client(ref step) => self.name_of_client_step(step),
            ModelStep::Fault(ref fault) => self.name_of_fault(fault),
        }
    }

    fn name_of_fault(&self, fault: &ModelFault) -> String {
        match *fault {
            ModelFault::HookFails(pid) => format!("D{pid}: {} fails", self.hook(pid)),
            ModelFault::HookHangs(pid) => format!("D{pid}: {} hangs", self.hook(pid)),
            ModelFault::HookUnfit(pid) => {
                format!("D{pid}: {} returns what is not good enough", self.hook(pid))
            }
            ModelFault::OperationFails(pid) => format!("D{pid}: {} fails", self.asked(pid)),
            ModelFault::SupervisorOperationFails => {
                format!("{SUPERVISOR}: {} fails", self.supervisor_asked())
            }
            ModelFault::RecoveryOperationFails => format!("{RECOVERY}: journal fails"),
            ModelFault::CrashRecovery => format!("{RECOVERY} crashes"),
            ModelFault::StopRecovery => format!("{RECOVERY} is stopped"),
            ModelFault::DropDown(i) => {
                let link = &self.links[i];
                format!("{} from {} to {} is lost", front(link.down.front()), link.end.name(), self.peer(i))
            }
            ModelFault::DropUp(i) => {
                let link = &self.links[i];
                format!("{} from {} to {} is lost", front(link.up.front()), self.peer(i), link.end.name())
            }
            ModelFault::Reset(i) => {
                format!("the link of {} and {} is reset", self.links[i].end.name(), self.peer(i))
            }
            ModelFault::StrayDown(i) => {
                let (to, what) = (self.peer(i), self.stray_down(i).name());
                format!("{to} reads {what} of another handoff from {}", self.links[i].end.name())
            }
            ModelFault::StrayUp(i) => {
                let (to, what) = (self.links[i].end.name(), self.stray_up(i).name());
                format!("{to} reads {what} of another handoff from {}", self.peer(i))
            }
            ModelFault::CrashSupervisor => format!("{SUPERVISOR} crashes"),
            ModelFault::Crash(pid) => format!("D{pid} crashes"),
            ModelFault::StopSupervisor => format!("{SUPERVISOR} is stopped"),
            ModelFault::Stop(pid) => format!("D{pid} is stopped"),
            ModelFault::Late => format!("{SUPERVISOR}: the deadline comes early"),
            ModelFault::Cancel => format!("{SUPERVISOR} is told to call it off"),
            ModelFault::CancelRecovery => format!("{RECOVERY} is told to call it off"),
            ModelFault::Signal(pid) => format!("D{pid} is told to stop"),
            ModelFault::SealGoesOn(pid) => format!("D{pid} says how far its seal has come"),
            ModelFault::Speaks(pid, version) => format!("D{pid} speaks {}", version.name()),
        }
    }

    /// The daemon at a link; if it has several to the same supervisor, which of them.
    fn peer(&self, i: usize) -> String {
        let link = &self.links[i];
        let earlier =
            self.links[..i].iter().filter(|other| other.pid == link.pid && same_side(other.end, link.end));
        match earlier.count() {
            0 => format!("D{}", link.pid),
            nth => format!("D{} (link {})", link.pid, nth + 1),
        }
    }

    fn hook(&self, pid: u32) -> &'static str {
        let hook = self.processes.get(&pid).and_then(|process| process.hooks.first());
        hook.map_or("no hook", |(_, hook)| hook.name().name())
    }

    fn asked(&self, pid: u32) -> &'static str {
        match self.processes.get(&pid).and_then(|process| process.pending.first()) {
            Some(Awaited::Lock(_)) => "lock",
            Some(Awaited::WriteRecord(..)) => "record",
            Some(Awaited::TakePath(_)) => "path",
            Some(Awaited::Exit(_)) | None => "nothing",
        }
    }

    fn supervisor_asked(&self) -> &'static str {
        match self.supervisor.as_ref().and_then(|supervisor| supervisor.pending.first()) {
            Some(supervisor::Awaited::Spawn) => "spawn",
            Some(supervisor::Awaited::Persist(_)) => "journal",
            Some(supervisor::Awaited::Finish(_)) | None => "nothing",
        }
    }
}

fn same_side(one: ModelEnd, other: ModelEnd) -> bool {
    matches!(
        (one, other),
        (ModelEnd::Recovery, ModelEnd::Recovery)
            | (
                ModelEnd::Supervisor(Peer::Incumbent | Peer::Successor),
                ModelEnd::Supervisor(Peer::Incumbent | Peer::Successor)
            )
    )
}

fn front(message: Option<&Message>) -> String {
    message.map_or_else(|| "nothing".into(), message_name)
}
