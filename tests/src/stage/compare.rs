//! Holds one arm to the other.
//!
//! How long things take on real processes can't be chosen. So the simulator says first what comes of a plan with
//! lengths of time that do not vary; what differs from that must be what it says with others. A turn is one moment to it,
//! and a death as well, which they are not: [`differences`] allows for that.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use handoff::machine::{EffectName, EventName, Timer};
use handoff::message::MessageName;
use handoff_sim::plan::{Delays, Plan};
use handoff_sim::run::{RunOptions, ledgers};
use handoff_sim::trace::Name;

use super::report::{Line, StageReport, is_said_again, speaker};

/// Returns what the simulator makes of `plan`.
pub fn simulate(plan: &Plan) -> Option<StageReport> {
    let options = RunOptions { trace: true, ..RunOptions::default() };
    StageReport::simulated(plan, &handoff_sim::run(&Arc::new(plan.clone()), &ledgers(), options))
}

/// The same plan with other lengths of time: usual ones, and those of a machine with far too much to do.
fn noisy(plan: &Plan, noise: u64) -> Plan {
    let delays = if noise % 2 == 1 { Delays::Usual } else { Delays::Long };
    Plan { noise, delays, ..plan.clone() }
}

/// Sees that `real` is what the simulator makes of `plan`, part by part (see `part`), with lengths of time that do not vary
/// or with those of one of `seeds`. How many of those it took.
///
/// # Errors
/// What differs from all of them; shown is the difference from the first.
pub fn conforms(
    plan: &Plan,
    real: &StageReport,
    seeds: u64,
    part: impl Fn(&StageReport, &StageReport) -> BTreeMap<String, String>,
) -> Result<u64, Vec<String>> {
    let none = |why: &str| Err(vec![why.to_string()]);
    let Some(first) = simulate(plan) else { return none("the simulator does not come to an end") };
    let mut open = part(&first, real);
    for seed in 0..seeds {
        if open.is_empty() {
            return Ok(seed);
        }
        if let Some(other) = simulate(&noisy(plan, seed + 1)) {
            let differs = part(&other, real);
            open.retain(|name, _| differs.contains_key(name));
        }
    }
    if open.is_empty() { Ok(seeds) } else { Err(open.into_values().collect()) }
}

/// Returns whether a limit of time has passed for a role in `real` that does not pass for it in what the
/// simulator makes of `plan`: this machine was too busy, or something is wrong; another run tells.
pub fn is_starved(plan: &Plan, real: &StageReport) -> bool {
    let limit = |line: &Line| match line.cell.event {
        EventName::Timer(timer) => Some(timer).filter(|timer| is_limit(*timer)),
        _ => None,
    };
    let limits = |report: &StageReport| -> BTreeSet<(Name, Timer)> {
        report.lines.iter().filter_map(|(who, line)| Some((*who, limit(line)?))).collect()
    };
    simulate(plan).is_some_and(|simulated| !limits(real).is_subset(&limits(&simulated)))
}

fn is_limit(timer: Timer) -> bool {
    match timer {
        Timer::SupervisorSilent
        | Timer::IncumbentSilent
        | Timer::SuccessorSilent
        | Timer::Deadline
        | Timer::HookLimit => true,
        Timer::Heartbeat | Timer::Retry | Timer::Patience => false,
    }
}

/// Returns whether an event is a heartbeat, a peer's or its own.
pub fn is_heartbeat(event: EventName) -> bool {
    matches!(event, EventName::Timer(Timer::Heartbeat) | EventName::Message(_, MessageName::Heartbeat))
}

/// Returns how two runs ended, if that differs.
pub fn ends(simulated: &StageReport, real: &StageReport) -> BTreeMap<String, String> {
    let (left, right) = (&simulated.ends, &real.ends);
    let words = real.words.join("; ");
    let differs = format!("the end\n  simulated: {left}\n  real:      {right}\n  its words: {words}");
    (left != right).then_some(("the end".into(), differs)).into_iter().collect()
}

/// Returns what each process did, without what is a matter of time: what only says again what was said, and
/// what comes twice while its machine stays where it is.
pub fn roles(report: &StageReport) -> BTreeMap<Name, Vec<String>> {
    let mut roles: BTreeMap<Name, RoleLines<'_>> = BTreeMap::new();
    for (who, line) in report.lines.iter().filter(|(_, line)| !line.is_idle()) {
        roles.entry(*who).or_default().add(line);
    }
    let text = |role: RoleLines<'_>| role.lines.into_iter().map(Line::to_string).collect();
    roles.into_iter().map(|(who, role)| (who, text(role))).collect()
}

#[derive(Default)]
struct RoleLines<'a> {
    lines: Vec<&'a Line>,
    /// The position at which the run of the present state begins.
    since: usize,
    /// The position at which what is under way begins.
    start: usize,
}

impl<'a> RoleLines<'a> {
    fn add(&mut self, line: &'a Line) {
        if self.lines.last().is_none_or(|last| last.cell.state != line.cell.state) {
            self.since = self.lines.len();
        }
        if matches!(line.cell.event, EventName::Start | EventName::StartToReplace | EventName::StartCold) {
            self.start = self.lines.len();
        }
        // A heartbeat repeats what was said last, which is answered again; Hello whatever has happened since.
        let greets = line.effects == [EffectName::Send(MessageName::HelloAck)];
        let from = if greets { self.start } else { self.since };
        let answered = |old: &&Line| {
            is_of_the_same(old.cell.event, line.cell.event)
                && line.effects.iter().all(|effect| old.effects.contains(effect))
        };
        let again = is_heartbeat(line.cell.event) && self.lines[from..].iter().any(answered);
        if !again && !self.lines[self.since..].contains(&line) {
            self.lines.push(line);
        }
    }
}

/// Returns whether two events come from the same peer, or both from timers.
fn is_of_the_same(one: EventName, other: EventName) -> bool {
    match (one, other) {
        (EventName::Timer(_), EventName::Timer(_)) => true,
        _ => speaker(one).is_some() && speaker(one) == speaker(other),
    }
}

/// Returns what went over each link, one way, without what only says again what was said.
pub fn links(report: &StageReport) -> BTreeMap<(Name, Name), Vec<String>> {
    let mut links: BTreeMap<(Name, Name), Vec<String>> = BTreeMap::new();
    for (from, to, message) in report.sent.iter().filter(|(.., message)| !is_said_again(*message)) {
        let (link, message) = (links.entry((*from, *to)).or_default(), message.to_string());
        if link.last() != Some(&message) {
            link.push(message);
        }
    }
    links
}

/// Returns where the traces of two runs part: of each process and of each link, each in its own order.
///
/// A turn is one moment to the simulator. A real process may be killed in the middle of its last one, and what was sent to
/// it by then goes nowhere: so the last line, and what was sent last, of and to a process that has ended may be cut short.
/// Its hooks run on a thread of their own: when it dies in one, the protocol's thread may have gone on until then.
pub fn differences(simulated: &StageReport, real: &StageReport) -> BTreeMap<String, String> {
    let has_ended = |who: Name| real.ends.serves != Some(who);
    let cut_line = |who: Name, simulated: &str, real: &str| has_ended(who) && simulated.starts_with(real);
    let last = |who: Name| simulated.lines.iter().rev().find(|(name, _)| *name == who);
    let dies_in_hook = |who: Name| {
        let begins = |effect: &EffectName| effect.starts_hook();
        has_ended(who) && last(who).is_some_and(|(_, line)| line.effects.last().is_some_and(begins))
    };
    let goes_on = |who: Name, simulated: &[String]| simulated.is_empty() && dies_in_hook(who);
    let mut all = parting(&roles(simulated), &roles(real), |who| who.to_string(), cut_line, goes_on);
    let lost = |(_, to): (Name, Name), _: &[String]| has_ended(to);
    let name = |(from, to): (Name, Name)| format!("{from} to {to}");
    all.extend(parting(&links(simulated), &links(real), name, |_, _, _| false, lost));
    all
}

/// Returns where two traces part, if they do: unless their last lines are the same but `cut`, or only one of
/// them goes on and that is `lost`, which is told what the simulated one has left.
fn parting<K: Ord + Copy>(
    simulated: &BTreeMap<K, Vec<String>>,
    real: &BTreeMap<K, Vec<String>>,
    name: impl Fn(K) -> String,
    cut: impl Fn(K, &str, &str) -> bool,
    lost: impl Fn(K, &[String]) -> bool,
) -> BTreeMap<String, String> {
    let all: BTreeSet<K> = simulated.keys().chain(real.keys()).copied().collect();
    let none = Vec::new();
    let mut differences = BTreeMap::new();
    for key in all {
        let (simulated, real) = (simulated.get(&key).unwrap_or(&none), real.get(&key).unwrap_or(&none));
        let at = simulated.iter().zip(real).take_while(|(a, b)| a == b).count();
        let (left, right) = (&simulated[at..], &real[at..]);
        let same = match (left, right) {
            ([], []) => true,
            ([], _) | (_, []) => lost(key, left),
            ([left], [right]) => cut(key, left, right),
            _ => false,
        };
        if !same {
            let shown = |lines: &[String]| lines.first().cloned().unwrap_or_else(|| "nothing".into());
            let before = at.checked_sub(1).map_or("nothing".into(), |last| simulated[last].clone());
            let (name, left, right) = (name(key), shown(left), shown(right));
            let differs = format!("{name}: after {before}\n  simulated: {left}\n  real:      {right}");
            differences.insert(name, differs);
        }
    }
    differences
}
