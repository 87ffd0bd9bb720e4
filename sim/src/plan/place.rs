//! Places in a run, as a plan names them: where a fault strikes, and which role.
use std::fmt;
use std::str::FromStr;

use handoff::host::Gap;
use handoff::machine::{EffectName, MachineRole, StateName};
use handoff::message::MessageName;
use handoff::node::daemon::HookName;
use serde::{Deserialize, Serialize};

use super::BadPlan;
use super::span::Span;

/// A place in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum At {
    /// `gap ROLE.STATE.before-EFFECT`, `gap ROLE.STATE.after`; `*` for any state or effect.
    Gap {
        /// The role whose machine it is.
        role: MachineRole,
        /// The state that the machine is in.
        state: Wanted<StateName>,
        /// The effect that it does not live to see; none after the last.
        before: Wanted<Option<EffectName>>,
    },
    /// `frame MESSAGE to WHO`: as it is sent; `*` for any message.
    Frame {
        /// The message.
        name: Wanted<MessageName>,
        /// The role that is to receive it.
        to: HitRole,
    },
    /// `hook NAME`: as it begins.
    Hook(Wanted<HookName>),
    /// `time 12ms`: since the start of the run.
    Time(Span),
    /// `handoff 2 + 3ms`: since the operator asked for it.
    Handoff(u32, Span),
    /// `spawn`: as the supervisor starts a daemon.
    Spawn,
    /// `journal write`: as the supervisor writes its journal.
    JournalWrite,
    /// `data write`: as a daemon writes to its data directory.
    DataWrite,
    /// `operation lock`: as a daemon asks the system for something that its machine waits for.
    Operation(Operation),
}

/// A place that was passed, at which a fault could have struck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The place.
    pub at: At,
    /// The handoff that was begun last by then; 0 before the first.
    pub handoff: u32,
    /// The time, in virtual microseconds.
    pub when: u64,
}

/// The thing that is looked for in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<T> {
    /// Any value that there is: `*`.
    Any,
    /// The value that is looked for.
    This(T),
}

impl<T: PartialEq> Wanted<T> {
    /// Returns whether `it` is what is looked for.
    pub fn is(&self, it: T) -> bool {
        match self {
            Wanted::Any => true,
            Wanted::This(this) => *this == it,
        }
    }

    /// Returns whether it may be anything.
    pub fn is_any(&self) -> bool {
        matches!(self, Wanted::Any)
    }
}

impl<T: fmt::Display> fmt::Display for Wanted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Any => f.write_str("*"),
            Wanted::This(this) => write!(f, "{this}"),
        }
    }
}

impl From<Gap> for At {
    fn from(Gap { role, state, before }: Gap) -> At {
        At::Gap { role, state: Wanted::This(state), before: Wanted::This(before) }
    }
}

/// The operation that a daemon's machine asks the system for, and waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Tries the lock.
    Lock,
    /// Writes the record.
    Record,
    /// Takes the control path.
    Path,
}

/// The role of the process that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HitRole {
    /// The supervisor.
    Supervisor,
    /// The daemon that serves, or did last.
    Incumbent,
    /// The daemon that is to serve.
    Successor,
}

impl HitRole {
    /// As a plan spells it.
    pub fn name(self) -> &'static str {
        match self {
            HitRole::Supervisor => "supervisor",
            HitRole::Incumbent => "incumbent",
            HitRole::Successor => "successor",
        }
    }
}

impl fmt::Display for HitRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for HitRole {
    type Err = BadPlan;

    fn from_str(text: &str) -> Result<Self, BadPlan> {
        [HitRole::Supervisor, HitRole::Incumbent, HitRole::Successor]
            .into_iter()
            .find(|who| who.name() == text)
            .ok_or_else(|| BadPlan(format!("{text:?} is no role: supervisor, incumbent or successor")))
    }
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 3] = [Operation::Lock, Operation::Record, Operation::Path];

    /// As a plan spells it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Lock => "lock",
            Operation::Record => "record",
            Operation::Path => "path",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Operation {
    type Err = BadPlan;

    fn from_str(text: &str) -> Result<Self, BadPlan> {
        let known = Operation::ALL.into_iter().find(|operation| operation.name() == text);
        known.ok_or_else(|| BadPlan(format!("{text:?} is no operation: lock, record or path")))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Gap { role, state, before: Wanted::Any } => write!(f, "gap {role}.{state}.*"),
            At::Gap { role, state, before: Wanted::This(None) } => write!(f, "gap {role}.{state}.after"),
            At::Gap { role, state, before: Wanted::This(Some(effect)) } => {
                write!(f, "gap {role}.{state}.before-{effect}")
            }
            At::Frame { name, to } => write!(f, "frame {name} to {to}"),
            At::Hook(name) => write!(f, "hook {name}"),
            At::Time(span) => write!(f, "time {span}"),
            At::Handoff(nth, span) => write!(f, "handoff {nth} + {span}"),
            At::Spawn => f.write_str("spawn"),
            At::JournalWrite => f.write_str("journal write"),
            At::DataWrite => f.write_str("data write"),
            At::Operation(operation) => write!(f, "operation {operation}"),
        }
    }
}

const PLACES: &str = "\"gap ROLE.STATE.before-EFFECT\", \"gap ROLE.STATE.after\", \"frame MESSAGE to WHO\", \"hook NAME\", \
\"time 12ms\", \"handoff 2 + 3ms\", \"spawn\", \"journal write\", \"data write\", \"operation lock\", also record and path";

impl FromStr for At {
    type Err = BadPlan;

    fn from_str(text: &str) -> Result<Self, BadPlan> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["gap", gap] => gap_of(gap),
            ["frame", name, "to", who] => {
                Ok(At::Frame { name: wanted("message", name, MessageName::ALL)?, to: who.parse()? })
            }
            ["hook", name] => Ok(At::Hook(wanted("hook", name, HookName::ALL)?)),
            ["time", span] => Ok(At::Time(span.parse()?)),
            ["handoff", nth] => Ok(At::Handoff(number(nth)?, Span::default())),
            ["handoff", nth, "+", span] => Ok(At::Handoff(number(nth)?, span.parse()?)),
            ["spawn"] => Ok(At::Spawn),
            ["journal", "write"] => Ok(At::JournalWrite),
            ["data", "write"] => Ok(At::DataWrite),
            ["operation", name] => Ok(At::Operation(name.parse()?)),
            _ => Err(BadPlan(format!("{text:?} is no place in a run; one of {PLACES}"))),
        }
    }
}

fn gap_of(text: &str) -> Result<At, BadPlan> {
    let parts: Vec<&str> = text.split('.').collect();
    let [role, state, before] = parts.as_slice() else {
        return Err(BadPlan(format!("{text:?} is no gap: ROLE.STATE.before-EFFECT or ROLE.STATE.after")));
    };
    let before = match (before.strip_prefix("before-"), *before) {
        (Some(effect), _) => Wanted::This(Some(named("effect", effect, EffectName::ALL)?)),
        (None, "after") => Wanted::This(None),
        (None, "*") => Wanted::Any,
        (None, _) => return Err(BadPlan(format!("{before:?} should be before-EFFECT, after, or *"))),
    };
    let (role, state) = (named("role", role, MachineRole::ALL)?, wanted("state", state, StateName::ALL)?);
    Ok(At::Gap { role, state, before })
}

/// The `what` that is called `name`, one of `known`.
fn named<T: FromStr + fmt::Display>(what: &str, name: &str, known: &[T]) -> Result<T, BadPlan> {
    let known = || known.iter().map(T::to_string).collect::<Vec<_>>().join(", ");
    name.parse().map_err(|_| BadPlan(format!("{name:?} is no {what}: {}", known())))
}

/// The same, or `*` for any.
fn wanted<T: FromStr + fmt::Display>(what: &str, name: &str, known: &[T]) -> Result<Wanted<T>, BadPlan> {
    Ok(if name == "*" { Wanted::Any } else { Wanted::This(named(what, name, known)?) })
}

fn number(text: &str) -> Result<u32, BadPlan> {
    text.parse().map_err(|_| BadPlan(format!("{text:?} is no number")))
}

impl TryFrom<String> for At {
    type Error = BadPlan;

    fn try_from(text: String) -> Result<Self, BadPlan> {
        text.parse()
    }
}

impl From<At> for String {
    fn from(at: At) -> String {
        at.to_string()
    }
}
