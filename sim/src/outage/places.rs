//! Every single fault at every place: what is to be run.
//!
//! Places are not written down but found: a *path* (a swap in which nothing goes wrong, one that the operator calls off, a
//! supervisor that is started anew) is run once, and whatever it passes is a place: each gap, frame, hook, start of a process,
//! and write. Each gets every fault that can happen there.
use std::collections::BTreeMap;
use std::sync::Arc;

use handoff::host::Gap;
use handoff::machine::{MachineRole, StateName};
use handoff::node::daemon::HookName;

use crate::kernel::Micros;
use crate::plan::span::Span;
use crate::plan::{At, Fault, HitRole, Passed, Plan, Times, Wanted, What};
use crate::run::{RunOptions, run};
use crate::simulated::Make;

/// A swap in which nothing goes wrong besides.
pub(super) const SWAP: &str = "a swap";
/// A swap that the operator calls off: the way back.
pub(super) const WAY_BACK: &str = "a swap that is called off";
/// A supervisor that is started anew beside a daemon that serves.
pub(super) const TAKEOVER: &str = "a supervisor is started anew";
/// A daemon that dies, and another one that is started in its place.
pub(super) const COLD: &str = "a cold start";
/// A swap with two faults.
pub(super) const PAIR: &str = "two faults";

/// A run with one fault.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// The thing that happens besides.
    pub path: &'static str,
    /// The fault, and its process, such as `crash incumbent`.
    pub class: String,
    /// The number of its limits, see [`settings`].
    pub setting: usize,
    /// The plan. Its last fault is the one in question; one before it is no fault, but makes the path.
    pub plan: Plan,
}

/// The faults that happen to a process.
const TO_PROCESSES: [What; 7] = [
    What::Crash,
    What::CrashUnsent,
    What::CoreDump,
    What::Terminate,
    What::Stop,
    What::NoDescriptors,
    What::ClockStep,
];
/// The faults that happen to the machine, or come from outside.
const TO_ALL: [What; 11] = [
    What::PowerFailure,
    What::FullDisk,
    What::FsyncFails,
    What::Cancel,
    What::Rival,
    What::Reload,
    What::Stranger,
    What::Swept,
    What::ReusedPids,
    What::HalfRequest,
    What::UnreadReply,
];
const TO_FRAMES: [What; 4] = [What::Drop, What::Delay, What::Tear, What::Reset];
const TO_SPAWNS: [What; 8] = [
    What::Slow,
    What::Fail,
    What::DieEarly,
    What::Hang,
    What::WrongPid,
    What::OtherVersion,
    What::NewerVersion,
    What::OtherData,
];
/// The faults that are different where a daemon replaces none.
const TO_COLD_STARTS: [What; 2] = [What::Stranger, What::OtherData];
const ROLES: [HitRole; 3] = [HitRole::Supervisor, HitRole::Incumbent, HitRole::Successor];

/// The limits under which all is run. Each limit is the longest in one of them and differs from all others, so that a rule
/// that names the wrong one does not hold, or is not reached.
pub(super) fn settings() -> [Times; 3] {
    let ms = Span::from_millis;
    let usual = Times::default();
    [
        usual,
        Times {
            liveness: ms(80),
            stall: ms(25),
            deadline: ms(700),
            hook_limit: ms(2000),
            retire_limit: ms(900),
            unreachable_limit: ms(400),
            restart: ms(250),
            ..usual
        },
        Times {
            liveness: ms(500),
            stall: ms(70),
            deadline: ms(3000),
            hook_limit: ms(900),
            retire_limit: ms(150),
            unreachable_limit: ms(2200),
            restart: ms(120),
            ..usual
        },
    ]
}

/// All cases, in order.
pub(super) fn cases(make: &Arc<Make>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (setting, times) in settings().into_iter().enumerate() {
        for path in paths(times) {
            let faults = path.places(make).into_iter().flat_map(|(at, nth)| {
                // Of the starts at which that can happen, the first.
                let nth = move |fault: &Fault| if fault.what == What::OtherData { 1 } else { nth };
                faults_at(&at, &times).into_iter().map(move |fault| Fault { nth: nth(&fault), ..fault })
            });
            for fault in faults.filter(|fault| path.only.is_none_or(|only| only.contains(&fault.what))) {
                let mut plan = path.plan.clone();
                let fault = Fault { in_handoff: path.handoff, ..fault };
                let class = class(&fault);
                plan.faults.push(fault);
                cases.push(Case { path: path.name, class, setting, plan });
            }
        }
    }
    cases
}

/// A run in which nothing goes wrong but what was asked for.
struct Path {
    name: &'static str,
    plan: Plan,
    /// Its places count from the begin of this handoff on.
    handoff: u32,
    /// The other faults that happen on it; any, if that is not said.
    only: Option<&'static [What]>,
}

fn paths(times: Times) -> Vec<Path> {
    let calm = Plan { times, ..Plan::calm() };
    let called_off = |role: MachineRole, state: StateName| {
        let gap = At::from(Gap { role, state, before: None });
        let fault = Fault { in_handoff: 1, ..Fault::new(gap, What::Cancel) };
        Path { name: WAY_BACK, plan: Plan { faults: vec![fault], ..calm.clone() }, handoff: 1, only: None }
    };
    let anew = Fault::new(At::Time(Span::from_millis(60)), What::Terminate);
    let anew = Fault { who: Some(HitRole::Supervisor), ..anew };
    let anew = Plan { faults: vec![anew], pause: Span::from_millis(100), ..calm.clone() };
    let cold = Fault { what: What::Crash, who: Some(HitRole::Incumbent), ..anew.faults[0].clone() };
    let cold = Plan { faults: vec![cold], pause: Span::from_millis(200), ..calm.clone() };
    vec![
        Path { name: SWAP, plan: calm.clone(), handoff: 1, only: None },
        called_off(MachineRole::Incumbent, StateName::Drained),
        called_off(MachineRole::Successor, StateName::Locking),
        called_off(MachineRole::Successor, StateName::Ready),
        Path { name: TAKEOVER, plan: anew, handoff: 0, only: None },
        Path { name: COLD, plan: cold, handoff: 0, only: Some(&TO_COLD_STARTS) },
    ]
}

impl Path {
    /// The places that it passes once it is what it is, each with how often it was passed by then.
    fn places(&self, make: &Arc<Make>) -> Vec<(At, u32)> {
        let mut passed = passed(&self.plan, make);
        passed.retain(|passed| passed.handoff >= self.handoff);
        let begins = match self.plan.faults.first().map(|fault| &fault.at) {
            None => Some(0),
            Some(At::Time(span)) => passed.iter().position(|passed| passed.when >= span.micros()),
            Some(at) => passed.iter().position(|passed| passed.at == *at).map(|place| place + 1),
        };
        let mut times: BTreeMap<String, u32> = BTreeMap::new();
        let numbered = passed.into_iter().map(|Passed { at, handoff, .. }| {
            let nth = times.entry(at.to_string()).or_default();
            *nth += 1;
            ((at, *nth), handoff)
        });
        let here = numbered.skip(begins.unwrap_or(usize::MAX));
        // Once a supervisor that was started anew knows which daemon serves, it is a swap like any other.
        here.take_while(|(_, handoff)| self.handoff > 0 || *handoff == 0).map(|(place, _)| place).collect()
    }
}

/// The places that a plan passes, in order.
pub(super) fn passed(plan: &Plan, make: &Arc<Make>) -> Vec<Passed> {
    let options = RunOptions { places: true, ..RunOptions::default() };
    run(&Arc::new(plan.clone()), make, options).passed
}

fn faults_at(at: &At, times: &Times) -> Vec<Fault> {
    let of = |whats: &[What]| whats.iter().map(|what| Fault::new(at.clone(), *what)).collect::<Vec<_>>();
    let faults = match at {
        At::Gap { .. } => {
            let to_one = |who| of(&TO_PROCESSES).into_iter().map(move |f| Fault { who: Some(who), ..f });
            let mut faults: Vec<Fault> = ROLES.into_iter().flat_map(to_one).collect();
            faults.extend(of(&TO_ALL));
            faults
        }
        At::Frame { .. } => of(&TO_FRAMES),
        At::Hook(Wanted::This(HookName::Drain | HookName::Open)) => {
            of(&[What::Slow, What::Fail, What::Panic, What::Hang, What::Unfit])
        }
        At::Hook(_) => of(&[What::Slow, What::Fail, What::Panic, What::Hang]),
        At::Spawn => of(&TO_SPAWNS),
        At::JournalWrite => of(&[What::Slow, What::Fail, What::Torn]),
        At::Operation(_) => of(&[What::Slow, What::Fail]),
        At::DataWrite => of(&[What::Torn]),
        At::Time(_) | At::Handoff(..) => Vec::new(),
    };
    let lengths = |fault: Fault| {
        let spans = spans(fault.what, times);
        spans.into_iter().map(move |span| Fault { span, ..fault.clone() })
    };
    faults.into_iter().flat_map(lengths).collect()
}

/// Returns how long it lasts, where that matters: shorter than the liveness, longer, longer than a whole
/// handoff may take.
fn spans(what: What, times: &Times) -> Vec<Option<Span>> {
    let liveness = times.liveness.micros();
    let long = long(times).micros();
    let spans = match what {
        What::Stop | What::Delay | What::ClockStep | What::Stranger | What::Swept => {
            vec![liveness / 2, 5 * liveness / 2, long]
        }
        What::CoreDump
        | What::Slow
        | What::NoDescriptors
        | What::FullDisk
        | What::HalfRequest
        | What::UnreadReply => {
            vec![liveness / 2, 5 * liveness / 2]
        }
        What::Hang => vec![long],
        _ => return vec![None],
    };
    spans.into_iter().map(|span| Some(Span::from_micros(span))).collect()
}

/// Longer than a handoff, or a hook, may take.
pub(super) fn long(times: &Times) -> Span {
    let longest = times.deadline.max(times.hook_limit).micros();
    Span::from_micros(longest + 2 * times.liveness.micros())
}

/// Returns what goes wrong, and with which process.
pub(super) fn class(fault: &Fault) -> String {
    let what = fault.what;
    match (&fault.at, fault.who) {
        (_, Some(who)) => format!("{what} {who}"),
        (At::Frame { to, .. }, _) => format!("{what} to {to}"),
        (At::Hook(name), _) => format!("{what} {name}"),
        (At::Spawn, _) => format!("{what} spawn"),
        (At::JournalWrite, _) => format!("{what} journal"),
        (At::DataWrite, _) => format!("{what} data"),
        (At::Operation(operation), _) => format!("{what} {operation}"),
        _ => what.to_string(),
    }
}

impl Case {
    /// Returns how long what goes wrong lasts, in microseconds; 0 if that has no meaning.
    pub(super) fn length(&self) -> Micros {
        self.plan.faults.iter().filter_map(|fault| fault.span).map(Span::micros).max().unwrap_or_default()
    }

    /// Returns where in a plan's words.
    pub(super) fn place(&self) -> String {
        let wanted = |fault: &&Fault| fault.what != What::Cancel || self.class == "cancel";
        let places: Vec<String> = self.plan.faults.iter().filter(wanted).map(place).collect();
        places.join(", ")
    }
}

fn place(fault: &Fault) -> String {
    let nth = if fault.nth == 1 { String::new() } else { format!(" ({})", fault.nth) };
    let span = fault.span.map_or(String::new(), |span| format!(", for {span}"));
    format!("{}{nth}{span}", fault.at)
}
