//! The outcome of a plan, on whichever arm it was run.
use std::fmt;

use handoff::machine::{Cell, EffectName, EventName, MachineRole, Speaker, StateName, Timer};
use handoff::message::MessageName;
use handoff_sim::Span;
use handoff_sim::plan::{At, Fault, Plan, What};
use handoff_sim::run::{AtRest, RunReport};
use handoff_sim::trace::{Name, Reaction};

/// One event of a machine, and the effects that its process lived to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The state, and the event in it.
    pub cell: Cell,
    /// The effects that the machine asked for.
    pub effects: Vec<EffectName>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cell)?;
        for (nth, effect) in self.effects.iter().enumerate() {
            write!(f, "{}{effect}", if nth == 0 { " -> " } else { ", " })?;
        }
        Ok(())
    }
}

impl From<&Reaction> for Line {
    fn from(step: &Reaction) -> Line {
        Line { cell: step.cell, effects: step.effects.clone() }
    }
}

impl Line {
    /// Returns whether it is only said again that a process lives, or asked again what was asked before: how
    /// often is a matter of time. So is how many connections a supervisor needs that looks which processes
    /// are there, and which it asks first.
    pub fn is_idle(&self) -> bool {
        let Cell { role, state, event } = self.cell;
        let hears = |message| event == EventName::Message(Speaker::Supervisor, message);
        let closed = event == EventName::Closed(Speaker::Supervisor);
        let silent = match role {
            MachineRole::Recovery => speaker(event) == Some(Speaker::Daemon),
            MachineRole::Successor => closed || hears(MessageName::HelloAck),
            MachineRole::Incumbent if state == StateName::ServingInSession => hears(MessageName::Final),
            MachineRole::Incumbent => closed || hears(MessageName::Final),
            MachineRole::Supervisor => false,
        };
        let repeats = match event {
            EventName::Timer(Timer::Heartbeat | Timer::Retry)
            | EventName::SomebodySeen
            | EventName::LockBusy
            | EventName::Connected => true,
            EventName::Message(_, message) => matches!(
                message,
                MessageName::Heartbeat
                    | MessageName::StandingQuery
                    | MessageName::StandingReport
                    | MessageName::ListenersQuery
            ),
            _ => false,
        };
        silent && self.effects.is_empty() || repeats && self.effects.iter().all(|effect| is_poll(*effect))
    }
}

/// The process that has said something, or is not there any more.
pub(super) fn speaker(event: EventName) -> Option<Speaker> {
    match event {
        EventName::Message(speaker, _) | EventName::Closed(speaker) | EventName::Ended(speaker) => {
            Some(speaker)
        }
        _ => None,
    }
}

/// Returns whether `effect` is done again and again while a process waits.
fn is_poll(effect: EffectName) -> bool {
    match effect {
        EffectName::Look | EffectName::Connect | EffectName::Lock | EffectName::SendListeners => true,
        EffectName::Send(message) => is_said_again(message),
        _ => false,
    }
}

/// Returns whether `message` is said again and again while a process waits.
pub(super) fn is_said_again(message: MessageName) -> bool {
    matches!(
        message,
        MessageName::Heartbeat
            | MessageName::StandingQuery
            | MessageName::StandingReport
            | MessageName::ListenersQuery
            | MessageName::Listeners
            | MessageName::Hello
            | MessageName::Status
            | MessageName::SealProgress
    )
}

/// The state when all faults are over, and the outcome of the swap with which every run ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// The process that serves.
    pub serves: Option<Name>,
    /// The process that holds the lock.
    pub holder: Option<Name>,
    /// The verdicts that supervisors have reported, of those handoffs whose end they lived to see.
    pub told: Vec<String>,
    /// The process that the journal names as the one that runs, if that lives.
    pub running: Option<Name>,
    /// The build that it names as committed.
    pub committed: Option<u32>,
    /// `true` if it says that something is under way.
    pub is_under_way: bool,
    /// The outcome of the last swap, without any fault.
    pub last: String,
    /// The events that clients must not see, and saw: refused connections, lost writes.
    pub harm: Vec<String>,
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: Option<Name>| name.map_or("nobody".into(), |name| name.to_string());
        let build = self.committed.map_or("none".into(), |build| build.to_string());
        write!(f, "{} serves, {} has the lock", name(self.serves), name(self.holder))?;
        write!(f, "; told: {}", if self.told.is_empty() { "nothing".into() } else { self.told.join(", ") })?;
        write!(f, "; journal: {} runs, committed {build}", name(self.running))?;
        write!(f, "{}", if self.is_under_way { ", under way" } else { "" })?;
        write!(f, "; then {}", self.last)?;
        if self.harm.is_empty() { Ok(()) } else { write!(f, "; clients: {}", self.harm.join("; ")) }
    }
}

/// The outcome of a plan.
#[derive(Clone, Debug)]
pub struct StageReport {
    /// The ends.
    pub ends: Ends,
    /// The events of each process, up to then.
    pub lines: Vec<(Name, Line)>,
    /// The frames between them: from, to, which.
    pub sent: Vec<(Name, Name, MessageName)>,
    /// The faults that never struck.
    pub missed: Vec<String>,
    /// The event that a real process was at when a fault struck it in a gap, the last time. Not compared.
    pub struck_at: Option<EventName>,
    /// The words of supervisors about each handoff. Not compared.
    pub words: Vec<String>,
}

impl StageReport {
    /// Returns what the simulator says. `None` if it did not come to an end that can be compared.
    pub fn simulated(plan: &Plan, report: &RunReport) -> Option<StageReport> {
        let AtRest { serves, holder, verdicts, running, committed, is_under_way, told, sent } =
            report.rest.clone()?;
        let name = |verdict| format!("{verdict:?}");
        let ends = Ends {
            serves,
            holder,
            told: verdicts.iter().map(name).collect(),
            running,
            committed,
            is_under_way,
            last: report.verdicts.get(verdicts.len()).map_or("nothing".into(), name),
            harm: report.violation.iter().map(|violation| violation.why.clone()).collect(),
        };
        let struck = |index: usize| report.struck.iter().any(|struck| struck.index == index);
        let missed = plan.faults.iter().enumerate().filter(|(index, _)| !struck(*index));
        Some(StageReport {
            ends,
            lines: report.told[..told].iter().map(|(who, step)| (*who, step.into())).collect(),
            sent: report.sent[..sent].iter().map(|one| (one.from, one.to, one.message)).collect(),
            missed: missed.map(|(_, fault)| format!("{} at {}", fault.what, fault.at)).collect(),
            struck_at: None,
            words: Vec::new(),
        })
    }
}

/// The factor by which everything takes longer for real processes. A busy machine may keep one from running
/// for as long as the simulator's liveness (200 ms), and a word that is said again since it is late is
/// another trace.
pub const PACE: u64 = 8;

/// The same plan at a pace that real processes can keep, at which something else may be reported.
pub fn real_times(plan: &Plan) -> Plan {
    let slower = |span: Span| Span::from_micros(PACE * span.micros());
    let mut plan = Plan { reports: Vec::new(), ..plan.clone() };
    let times = &mut plan.times;
    for span in [
        &mut times.liveness,
        &mut times.deadline,
        &mut times.drain_grace,
        &mut times.hook_limit,
        &mut times.retire_limit,
        &mut times.unreachable_limit,
        &mut times.restart,
        &mut plan.pause,
    ] {
        *span = slower(*span);
    }
    for fault in &mut plan.faults {
        fault.span = Some(slower(fault.span.unwrap_or_else(|| fault.what.usual_span())));
        match &mut fault.at {
            At::Time(span) | At::Handoff(_, span) => *span = slower(*span),
            _ => {}
        }
    }
    plan
}

/// Returns why a fault can't be made to happen to real processes, if it can't.
pub fn unstaged(fault: &Fault) -> Option<&'static str> {
    Some(match fault.what {
        What::PowerFailure => "the power of this machine is not ours to cut",
        What::ClockStep => "the monotonic clock of a process can't be set",
        What::FullDisk | What::FsyncFails => "that takes a file system of its own, and root",
        What::CoreDump => "how long a process takes to end can't be chosen: EOF comes, and its end at once",
        What::CrashUnsent => "what was written to a socket is there, whatever becomes of its writer",
        What::NoDescriptors => "a limit holds for the threads of the test's own probe as well",
        What::OtherData => "real daemons are shown another directory by a link that is switched",
        What::Rival => "which of two supervisors comes first is a matter of microseconds",
        What::Stranger => "a process that takes a lock as soon as it is free can't be told when",
        What::Swept => "which name is removed first is a race with the process that puts it back",
        What::Reload => "the stage's supervisor has no configuration",
        What::ReusedPids => "another boot can't be had",
        What::HalfRequest | What::UnreadReply => "the stage's daemon has no clients",
        _ => return None,
    })
}
