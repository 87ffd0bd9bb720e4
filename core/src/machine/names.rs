//! Names of machines, of their states, effects and events: for the table of states and events, for crash points, for traces.
use alloc::string::ToString;
use core::{fmt, str::FromStr};

use super::Timer;
use crate::message::MessageName;
use crate::names::{UnknownName, names};

names! {
    /// A machine's role. A recovery is a supervisor's too, but another machine.
    pub enum MachineRole {
        Supervisor = "supervisor",
        Recovery = "recovery",
        Incumbent = "incumbent",
        Successor = "successor",
    }
}

names! {
    /// A state of a machine, after what the machine awaits in it. Two machines may have states of one name.
    pub enum StateName {
        Start = "start",
        AwaitIncumbent = "await-incumbent",
        AwaitSpawn = "await-spawn",
        AwaitWarmed = "await-warmed",
        AwaitDrained = "await-drained",
        AwaitSealed = "await-sealed",
        AwaitReady = "await-ready",
        AwaitServing = "await-serving",
        AwaitCommitted = "await-committed",
        AwaitRetired = "await-retired",
        AwaitResumed = "await-resumed",
        AwaitSuccessorEndToResume = "await-successor-end-to-resume",
        AwaitSuccessorEnd = "await-successor-end",
        AwaitIncumbentEnd = "await-incumbent-end",
        AwaitNoted = "await-noted",
        Done = "done",
        AwaitLook = "await-look",
        AwaitOthers = "await-others",
        AwaitAck = "await-ack",
        Warming = "warming",
        Warmed = "warmed",
        Locking = "locking",
        LockingAsOrphan = "locking-as-orphan",
        LockingToResume = "locking-to-resume",
        LockingToRetire = "locking-to-retire",
        Claiming = "claiming",
        Opening = "opening",
        Ready = "ready",
        TakingPath = "taking-path",
        NotingServing = "noting-serving",
        Starting = "starting",
        Serving = "serving",
        ServingInSession = "serving-in-session",
        Draining = "draining",
        Drained = "drained",
        Sealing = "sealing",
        NotingSeal = "noting-seal",
        Sealed = "sealed",
        Resuming = "resuming",
        Gone = "gone",
    }
}

names! {
    /// The effect that a machine asks for: a message that it sends, or something else.
    pub enum EffectName {
        Connect = "Connect",
        Close = "Close",
        Kill = "Kill",
        KillIncumbent = "KillIncumbent",
        KillSuccessor = "KillSuccessor",
        Spawn = "Spawn",
        PersistUnderWay = "PersistUnderWay",
        PersistCommitted = "PersistCommitted",
        PersistOver = "PersistOver",
        Finish = "Finish",
        Look = "Look",
        Note = "Note",
        StartWarmUp = "StartWarmUp",
        StartOpen = "StartOpen",
        StartServe = "StartServe",
        StartDrain = "StartDrain",
        StartSeal = "StartSeal",
        StartResume = "StartResume",
        StartFinalize = "StartFinalize",
        Lock = "Lock",
        Unlock = "Unlock",
        WriteRecord = "WriteRecord",
        TakePath = "TakePath",
        SendListeners = "SendListeners",
        Exit = "Exit",
    }
    or Send(MessageName)
}

impl EffectName {
    /// Returns whether it starts a hook.
    pub fn starts_hook(self) -> bool {
        matches!(
            self,
            EffectName::StartWarmUp
                | EffectName::StartOpen
                | EffectName::StartServe
                | EffectName::StartDrain
                | EffectName::StartSeal
                | EffectName::StartResume
                | EffectName::StartFinalize
        )
    }
}

names! {
    /// The process at the other end of a link, as a machine knows it.
    pub enum Speaker {
        Supervisor = "supervisor",
        Incumbent = "incumbent",
        Successor = "successor",
        Daemon = "daemon",
    }
}

names! {
    /// The task that a host was given, and has done or could not do.
    pub enum TaskName {
        Spawned = "spawned",
        Journal = "journal",
        JournalUnderWay = "journal UnderWay",
        JournalCommitted = "journal Committed",
        JournalOver = "journal Over",
        Hook = "hook",
        Record = "record",
        Path = "path",
    }
}

/// An event, without the process, the link or the operation that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventName {
    /// The machine begins.
    Start,
    /// A supervisor begins, to replace an incumbent.
    StartToReplace,
    /// A supervisor begins, where there is no incumbent.
    StartCold,
    /// A message has come.
    Message(Speaker, MessageName),
    /// A link has closed.
    Closed(Speaker),
    /// A process has ended.
    Ended(Speaker),
    /// The successor is ready, and must not serve.
    Unfit,
    /// The control path can't be connected to.
    ConnectFailed,
    /// A peer has connected.
    Connected,
    /// The task is done.
    Done(TaskName),
    /// The task can't be done.
    Failed(TaskName),
    /// The lock is this process's.
    LockHeld,
    /// The lock is another's.
    LockBusy,
    /// The lock can't be tried.
    LockFailed,
    /// No process is seen.
    NobodySeen,
    /// Processes are seen.
    SomebodySeen,
    /// A timer has expired.
    Timer(Timer),
    /// The caller calls it off.
    Cancel,
    /// The process was asked to stop.
    Stop,
}

impl EventName {
    /// The event in which `asked` is answered with `result`.
    pub(super) fn answered<T, E>(asked: TaskName, result: &Result<T, E>) -> EventName {
        if result.is_ok() { EventName::Done(asked) } else { EventName::Failed(asked) }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventName::Start => f.write_str("start"),
            EventName::StartToReplace => f.write_str("start to replace"),
            EventName::StartCold => f.write_str("start cold"),
            EventName::Message(speaker, message) => write!(f, "{speaker} {message}"),
            EventName::Closed(speaker) => write!(f, "{speaker} closed"),
            EventName::Ended(speaker) => write!(f, "{speaker} ended"),
            EventName::Unfit => f.write_str("successor unfit"),
            EventName::ConnectFailed => f.write_str("connect failed"),
            EventName::Connected => f.write_str("connected"),
            EventName::Done(asked) => write!(f, "{asked} ok"),
            EventName::Failed(asked) => write!(f, "{asked} error"),
            EventName::LockHeld => f.write_str("lock held"),
            EventName::LockBusy => f.write_str("lock busy"),
            EventName::LockFailed => f.write_str("lock error"),
            EventName::NobodySeen => f.write_str("looked nobody"),
            EventName::SomebodySeen => f.write_str("looked somebody"),
            EventName::Timer(timer) => write!(f, "timer {timer}"),
            EventName::Cancel => f.write_str("cancel"),
            EventName::Stop => f.write_str("stop"),
        }
    }
}

impl FromStr for EventName {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        const ALONE: [EventName; 12] = [
            EventName::Start,
            EventName::StartToReplace,
            EventName::StartCold,
            EventName::ConnectFailed,
            EventName::Connected,
            EventName::LockHeld,
            EventName::LockBusy,
            EventName::LockFailed,
            EventName::NobodySeen,
            EventName::SomebodySeen,
            EventName::Cancel,
            EventName::Stop,
        ];
        let alone = || ALONE.into_iter().find(|event| event.to_string() == text).ok_or(UnknownName);
        let Some((of, what)) = text.rsplit_once(' ') else { return alone() };
        match (of.parse(), of.parse(), what) {
            (Ok(Speaker::Successor), _, "unfit") => Ok(EventName::Unfit),
            (Ok(speaker), _, "closed") => Ok(EventName::Closed(speaker)),
            (Ok(speaker), _, "ended") => Ok(EventName::Ended(speaker)),
            (Ok(speaker), _, message) => Ok(EventName::Message(speaker, message.parse()?)),
            (_, Ok(asked), "ok") => Ok(EventName::Done(asked)),
            (_, Ok(asked), "error") => Ok(EventName::Failed(asked)),
            _ if of == "timer" => what.parse().map(EventName::Timer),
            _ => alone(),
        }
    }
}

/// A cell of a machine's table: a state, and an event in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// The machine.
    pub role: MachineRole,
    /// The state.
    pub state: StateName,
    /// The event.
    pub event: EventName,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}: {}", self.role, self.state, self.event)
    }
}

impl FromStr for Cell {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let (place, event) = text.split_once(": ").ok_or(UnknownName)?;
        let (role, state) = place.split_once('.').ok_or(UnknownName)?;
        Ok(Cell { role: role.parse()?, state: state.parse()?, event: event.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_shown() {
        for state in StateName::ALL {
            assert_eq!(state.name().parse(), Ok(*state));
        }
        let sends = MessageName::ALL.iter().map(|message| EffectName::Send(*message));
        for effect in EffectName::ALL.iter().copied().chain(sends) {
            assert_eq!(effect.name().parse(), Ok(effect), "no two are called the same");
        }
        assert!("await-nothing".parse::<StateName>().is_err());
    }
}
