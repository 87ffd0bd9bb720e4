//! A plan: all that a run depends on, as a person would write it down.
//!
//! A seed is only a way to draw one. Faults name *where* they strike by the protocol's own words (a gap between two
//! effects, a frame, a hook), not by a count of events, so that a plan still means the same after the code has changed.
use std::fmt;
use std::path::Path;

use handoff::connections::Patience;
use serde::{Deserialize, Serialize};

use self::span::Span;

pub(crate) mod classes;
pub(crate) mod draw;
pub(crate) mod mutate;
mod place;
mod planted;
pub(crate) mod span;

pub use self::place::{At, HitRole, Operation, Passed, Wanted};
pub use self::planted::Planted;

/// All that a run depends on, besides the daemon and the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plan {
    /// The thing to see, and why it matters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The source of lengths of time. The same number, the same lengths.
    #[serde(default, skip_serializing_if = "is_default")]
    pub noise: u64,
    /// The way in which lengths of time vary.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delays: Delays,
    /// `true` if processes' clocks differ and drift.
    #[serde(default, skip_serializing_if = "is_default")]
    pub skewed_clocks: bool,
    /// The number of clients that read and write, each on a key of its own. At most 64.
    #[serde(default = "one")]
    pub clients: u32,
    /// The number of clients besides that hold a connection, on which they number their requests: they ask
    /// for several things at once, send half of a request and the rest later, and don't read for a while. At
    /// most 64.
    #[serde(default, skip_serializing_if = "is_default")]
    pub connections: u32,
    /// The builds whose connections end with their process, and that take none over. The first one that runs is build 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plain_builds: Vec<u32>,
    /// The number of handoffs that the operator asks for. One more follows when all faults are over: it must
    /// commit.
    #[serde(default = "one")]
    pub handoffs: u32,
    /// The pause between two of them.
    #[serde(default = "usual_pause")]
    pub pause: Span,
    /// The verdicts that are to be reported of the handoffs that are asked for, in turn, as traces have it:
    /// `RolledBack`. If it is left open, whatever is so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<String>,
    /// The longest times that things may take.
    #[serde(default, skip_serializing_if = "is_default")]
    pub times: Times,
    /// After so many failures in a row the build that was committed before is started; never if 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fall_back_after: u32,
    /// The faults.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// The protocol's limits in a run. Short, so that a run of seconds meets them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Times {
    /// A peer that was silent for so long counts as hung.
    pub liveness: Span,
    /// A whole handoff.
    pub deadline: Span,
    /// The longest time that open requests may take to finish.
    pub drain_grace: Span,
    /// The longest time that a hook may run.
    pub hook_limit: Span,
    /// The longest time that a client may make no progress in a drain before it is cut. Less than
    /// `drain_grace`.
    pub stall: Span,
    /// The longest time that a retired incumbent may take to end.
    pub retire_limit: Span,
    /// The longest time that a recovery waits for a process that may hold the lock and says nothing.
    pub unreachable_limit: Span,
    /// The time until a supervisor that died is started again.
    pub restart: Span,
}

impl Default for Times {
    fn default() -> Self {
        let ms = Span::from_millis;
        Times {
            liveness: ms(200),
            deadline: ms(1500),
            drain_grace: ms(100),
            stall: ms(40),
            hook_limit: ms(600),
            retire_limit: ms(300),
            unreachable_limit: ms(1000),
            restart: ms(50),
        }
    }
}

impl Times {
    /// Returns how long a daemon bears with its clients: in production's proportions.
    pub(crate) fn patience(&self) -> Patience {
        let stall = self.stall.duration();
        Patience::new(stall, stall * 2 / 5)
    }

    /// After the last fault, one process serves within this: whatever waits, waits for one of these limits, and each
    /// of them may have to pass once for the handoff, and once for the recovery that follows it.
    pub fn bound(&self) -> Span {
        let resume = 2 * self.deadline.micros().max(self.hook_limit.micros());
        let handoff = 2 * self.deadline.micros() + resume + self.retire_limit.micros();
        let recovery = 2 * self.unreachable_limit.micros() + self.retire_limit.micros();
        Span::from_micros(
            handoff
                + 2 * recovery
                + 6 * self.liveness.micros()
                + self.restart.micros()
                + 2 * self.deadline.micros(),
        )
    }
}

/// The way in which lengths of time vary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delays {
    /// Not at all.
    #[default]
    Fixed,
    /// As on a machine that has other things to do.
    Usual,
    /// As on one that has far too much to do.
    Long,
}

/// Something that goes wrong, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fault {
    /// The place.
    pub at: At,
    /// At which of the times that this is passed.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub nth: u32,
    /// Not before this handoff has begun; counted from there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub in_handoff: u32,
    /// The fault.
    #[serde(rename = "do")]
    pub what: What,
    /// The role of the process that it happens to; by default the one that `at` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<HitRole>,
    /// For how long, or by how much.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
}

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The process dies (SIGKILL); what it has sent may still arrive.
    Crash,
    /// The process dies, and what it has sent and was not received yet is lost, the last frame in the middle.
    CrashUnsent,
    /// The process dies and takes its time over it: its links are closed long before its lock is free.
    CoreDump,
    /// The process is asked to stop (SIGTERM).
    Terminate,
    /// The process is stopped (SIGSTOP), and continued after a while.
    Stop,
    /// The machine loses power: everything dies, what was not synced is lost.
    PowerFailure,
    /// The frame is lost.
    Drop,
    /// The frame, and all behind it, comes late.
    Delay,
    /// The frame is cut, and the link ends there.
    Tear,
    /// The link is reset; what is on its way is lost.
    Reset,
    /// The hook takes long; an operation whose answer is awaited, the start of a process, a write to a journal: it is done,
    /// and answered, late, and the process that asked for it goes on meanwhile.
    Slow,
    /// The hook, or the start of a process, fails; a write to a journal, a daemon's operation does.
    Fail,
    /// The hook panics.
    Panic,
    /// The hook never returns; the new process never says a word, and dies after a while.
    Hang,
    /// The hook returns what is not good enough: a drain that leaves the listener open; an open that is unhealthy, or has less than
    /// what was sealed, or something else.
    Unfit,
    /// The new process dies before it says anything.
    DieEarly,
    /// The new process calls itself by another pid.
    WrongPid,
    /// The new process speaks only a version of the protocol that the supervisor doesn't.
    OtherVersion,
    /// The new process speaks this version and later ones.
    NewerVersion,
    /// The new process opens another data directory, an empty one: where it is to replace none, and a daemon has served before.
    OtherData,
    /// The process dies in the middle of the write.
    Torn,
    /// Nothing can be written for a while: the disk is full.
    FullDisk,
    /// An fsync fails, once; what it was to make durable is not.
    FsyncFails,
    /// The process can open no descriptor for a while.
    NoDescriptors,
    /// The process' clock jumps forward.
    ClockStep,
    /// Another supervisor, with no journal, takes over for one handoff.
    Rival,
    /// The operator calls the handoff off.
    Cancel,
    /// The operator has changed what is to run and says so by a signal, whatever is under way.
    Reload,
    /// A process that has nothing to do with it takes the lock on the data directory as soon as that is free, for a while.
    Stranger,
    /// The sockets in the run directory are removed. They are put back after a while.
    Swept,
    /// The machine loses power, and in its next boot strangers have the pids, and the start times, that journal and record name.
    ReusedPids,
    /// A client sends half a request, and the rest after a while.
    HalfRequest,
    /// A client reads the reply to its next request only after a while.
    UnreadReply,
}

/// The fault of a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPlan(String);

/// The verdicts that can be reported of a handoff.
const REPORTS: [&str; 8] = [
    "Committed",
    "RolledBack",
    "FellBack",
    "Unconfirmed",
    "NobodyServes",
    "Busy",
    "Unreachable",
    "Cancelled",
];

impl Plan {
    /// A plan in which nothing goes wrong.
    pub fn calm() -> Plan {
        Plan {
            why: String::new(),
            noise: 0,
            delays: Delays::Fixed,
            skewed_clocks: false,
            clients: 1,
            connections: 0,
            plain_builds: Vec::new(),
            handoffs: 1,
            pause: usual_pause(),
            reports: Vec::new(),
            times: Times::default(),
            fall_back_after: 0,
            faults: Vec::new(),
        }
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// It is no TOML, has unknown keys, or asks for what can't be: the text says where, and what would do.
    pub fn parse(text: &str) -> Result<Plan, BadPlan> {
        let plan: Plan = toml::from_str(text).map_err(|error| BadPlan(error.to_string()))?;
        plan.check()?;
        Ok(plan)
    }

    /// Reads the plan in a file.
    ///
    /// # Errors
    /// As [`Plan::parse`]; the file can't be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Plan, BadPlan> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| BadPlan(format!("can't read {}: {error}", path.display())))?;
        Plan::parse(&text).map_err(|BadPlan(why)| BadPlan(format!("{}: {why}", path.display())))
    }

    /// The plan as text that [`Plan::parse`] reads.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# can't be written: {error}\n"))
    }

    fn check(&self) -> Result<(), BadPlan> {
        let bad = |why: String| Err(BadPlan(why));
        if !(1..=64).contains(&self.clients) {
            return bad(format!("clients = {}: 1 to 64 of them can read and write", self.clients));
        }
        if self.connections > 64 {
            return bad(format!("connections = {}: at most 64 can be held", self.connections));
        }
        if !(1..=100).contains(&self.handoffs) {
            return bad(format!("handoffs = {}: 1 to 100 can be asked for", self.handoffs));
        }
        if !(50_000..=60_000_000).contains(&self.times.liveness.micros()) {
            return bad(format!(
                "times.liveness = \"{}\": the protocol allows 50ms to 60s",
                self.times.liveness
            ));
        }
        if let Some(unknown) = self.reports.iter().find(|report| !REPORTS.contains(&report.as_str())) {
            return bad(format!("reports = [\"{unknown}\"]: one of {}", REPORTS.join(", ")));
        }
        self.faults.iter().try_for_each(|fault| match fault.problem() {
            Some(why) => bad(format!("fault at = \"{}\", do = \"{}\": {why}", fault.at, fault.what)),
            None => Ok(()),
        })
    }
}

impl Fault {
    /// A fault at the first time that `at` is passed.
    pub fn new(at: At, what: What) -> Fault {
        Fault { at, nth: 1, in_handoff: 0, what, who: None, span: None }
    }

    pub(crate) fn problem(&self) -> Option<String> {
        let at = match &self.at {
            At::Frame { .. } => "frame",
            At::Hook(_) => "hook",
            At::Spawn => "spawn",
            At::JournalWrite => "journal write",
            At::DataWrite => "data write",
            At::Operation(_) => "operation",
            At::Gap { .. } | At::Time(_) | At::Handoff(..) => "",
        };
        let places = self.what.places();
        if !places.is_empty() && !places.contains(&at) {
            return Some(format!("that happens at one of these: {}", places.join(", ")));
        }
        let needs_who = places.is_empty() && self.what.hits_somebody();
        let names_who = matches!(self.at, At::Gap { .. } | At::Frame { .. } | At::Hook(_) | At::Operation(_));
        if needs_who && self.who.is_none() && !names_who {
            return Some("add who = \"supervisor\", \"incumbent\" or \"successor\"".into());
        }
        (self.nth == 0).then(|| "nth counts from 1".into())
    }
}

impl What {
    /// All of them.
    pub const ALL: [What; 33] = [
        What::Crash,
        What::CrashUnsent,
        What::CoreDump,
        What::Terminate,
        What::Stop,
        What::PowerFailure,
        What::Drop,
        What::Delay,
        What::Tear,
        What::Reset,
        What::Slow,
        What::Fail,
        What::Panic,
        What::Hang,
        What::Unfit,
        What::DieEarly,
        What::WrongPid,
        What::OtherVersion,
        What::NewerVersion,
        What::OtherData,
        What::Torn,
        What::FullDisk,
        What::FsyncFails,
        What::NoDescriptors,
        What::ClockStep,
        What::Rival,
        What::Cancel,
        What::Reload,
        What::Stranger,
        What::Swept,
        What::ReusedPids,
        What::HalfRequest,
        What::UnreadReply,
    ];

    /// As a plan spells it.
    pub fn name(self) -> &'static str {
        match self {
            What::Crash => "crash",
            What::CrashUnsent => "crash-unsent",
            What::CoreDump => "core-dump",
            What::Terminate => "terminate",
            What::Stop => "stop",
            What::PowerFailure => "power-failure",
            What::Drop => "drop",
            What::Delay => "delay",
            What::Tear => "tear",
            What::Reset => "reset",
            What::Slow => "slow",
            What::Fail => "fail",
            What::Panic => "panic",
            What::Hang => "hang",
            What::Unfit => "unfit",
            What::DieEarly => "die-early",
            What::WrongPid => "wrong-pid",
            What::OtherVersion => "other-version",
            What::NewerVersion => "newer-version",
            What::OtherData => "other-data",
            What::Torn => "torn",
            What::FullDisk => "full-disk",
            What::FsyncFails => "fsync-fails",
            What::NoDescriptors => "no-descriptors",
            What::ClockStep => "clock-step",
            What::Rival => "rival",
            What::Cancel => "cancel",
            What::Reload => "reload",
            What::Stranger => "stranger",
            What::Swept => "swept",
            What::ReusedPids => "reused-pids",
            What::HalfRequest => "half-request",
            What::UnreadReply => "unread-reply",
        }
    }

    /// Returns where it can happen, if not anywhere.
    fn places(self) -> &'static [&'static str] {
        match self {
            What::Drop | What::Delay | What::Tear | What::Reset => &["frame"],
            What::Panic | What::Unfit => &["hook"],
            What::Slow | What::Fail => &["hook", "spawn", "journal write", "operation"],
            What::Hang => &["hook", "spawn"],
            What::DieEarly | What::WrongPid | What::OtherVersion | What::NewerVersion | What::OtherData => {
                &["spawn"]
            }
            What::Torn => &["journal write", "data write"],
            _ => &[],
        }
    }

    fn hits_somebody(self) -> bool {
        !matches!(
            self,
            What::PowerFailure
                | What::FullDisk
                | What::FsyncFails
                | What::Rival
                | What::Cancel
                | What::Reload
                | What::Stranger
                | What::Swept
                | What::ReusedPids
                | What::HalfRequest
                | What::UnreadReply
        )
    }

    /// Returns how long it lasts, or by how much, unless the plan says so.
    pub fn usual_span(self) -> Span {
        Span::from_millis(match self {
            What::Stop | What::Delay | What::Stranger | What::Swept => 300,
            What::HalfRequest | What::UnreadReply => 300,
            What::CoreDump => 500,
            What::Slow => 100,
            What::Hang => 2000,
            What::ClockStep => 1000,
            _ => 50,
        })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn one() -> u32 {
    1
}

fn is_one(value: &u32) -> bool {
    *value == 1
}

fn usual_pause() -> Span {
    Span::from_millis(20)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let text = r#"
            why = "the incumbent dies with its seal half said"
            clients = 3
            handoffs = 2

            [times]
            liveness = "400ms"

            [[fault]]
            at = "gap incumbent.noting-seal.before-SealComplete"
            in-handoff = 2
            do = "crash"

            [[fault]]
            at = "frame Begin to successor"
            nth = 2
            do = "delay"
            for = "1.5ms"

            [[fault]]
            at = "operation lock"
            do = "slow"
        "#;
        let plan = Plan::parse(text).expect("a good plan");
        assert_eq!(plan.faults[1].span, Some(Span::from_micros(1500)));
        assert_eq!(plan.times.liveness, Span::from_millis(400));
        assert_eq!(Plan::parse(&plan.to_toml()), Ok(plan));
    }

    #[test]
    fn what_is_wrong_with_a_plan_is_said_with_the_remedy() {
        let cases = [
            ("[[fault]]\nat = \"lunch\"\ndo = \"crash\"", "one of \"gap ROLE"),
            ("[[fault]]\nat = \"spawn\"\ndo = \"drop\"", "that happens at one of these: frame"),
            ("[[fault]]\nat = \"time 3ms\"\ndo = \"crash\"", "add who ="),
            ("[[fault]]\nat = \"time 3\"\ndo = \"crash\"", "us, ms or s"),
            ("[[fault]]\nat = \"gap cook.idle.after\"\ndo = \"crash\"", "\"cook\" is no role: supervisor"),
            ("[[fault]]\nat = \"operation nap\"\ndo = \"slow\"", "lock, record or path"),
            ("[[fault]]\nat = \"operation lock\"\ndo = \"hang\"", "one of these: hook, spawn"),
            ("clients = 0", "1 to 64"),
            ("connections = 65", "at most 64"),
            ("handofs = 2", "unknown field `handofs`"),
            ("reports = [\"Comitted\"]", "one of Committed, RolledBack"),
            ("[times]\nliveness = \"1ms\"", "50ms to 60s"),
        ];
        for (text, remedy) in cases {
            let error = Plan::parse(text).expect_err(text).to_string();
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }

    #[test]
    fn every_fault_is_spelled_as_its_name() {
        for what in What::ALL {
            let spelled = serde_json::to_string(&what).expect("a string");
            assert_eq!(spelled, format!("\"{what}\""));
        }
    }
}
