//! From a seed to a plan. Every choice comes from ChaCha, in one order, and from nothing else.
//!
//! Rates are drawn a run, so that runs differ in kind and not only in detail: some have no fault, some one class of them,
//! some many, some a chain of them that leads into a state which is rarely met. Crashes strike where state is half-way more
//! often than anywhere else.
use std::str::FromStr;

use handoff::machine::{MachineRole, StateName};
use handoff::message::MessageName;
use handoff::node::daemon::HookName;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::span::Span;
use crate::plan::Wanted::{self, This};
use crate::plan::{At, Delays, Fault, HitRole, Operation, Plan, Times, What};

/// Most faults in a run.
const MOST_FAULTS: u64 = 4;

/// States in which a process is half-way: it holds something, or has given something up, that another needs.
const HALF_WAY: [(MachineRole, StateName); 36] = [
    (MachineRole::Supervisor, StateName::AwaitSpawn),
    (MachineRole::Supervisor, StateName::AwaitWarmed),
    (MachineRole::Supervisor, StateName::AwaitDrained),
    (MachineRole::Supervisor, StateName::AwaitSealed),
    (MachineRole::Supervisor, StateName::AwaitReady),
    (MachineRole::Supervisor, StateName::AwaitServing),
    (MachineRole::Supervisor, StateName::AwaitCommitted),
    (MachineRole::Supervisor, StateName::AwaitRetired),
    (MachineRole::Supervisor, StateName::AwaitResumed),
    (MachineRole::Supervisor, StateName::AwaitSuccessorEnd),
    (MachineRole::Supervisor, StateName::AwaitSuccessorEndToResume),
    (MachineRole::Supervisor, StateName::AwaitIncumbentEnd),
    (MachineRole::Supervisor, StateName::AwaitNoted),
    (MachineRole::Recovery, StateName::AwaitServing),
    (MachineRole::Recovery, StateName::AwaitOthers),
    (MachineRole::Recovery, StateName::AwaitNoted),
    (MachineRole::Incumbent, StateName::Draining),
    (MachineRole::Incumbent, StateName::Drained),
    (MachineRole::Incumbent, StateName::Sealing),
    (MachineRole::Incumbent, StateName::NotingSeal),
    (MachineRole::Incumbent, StateName::Sealed),
    (MachineRole::Incumbent, StateName::LockingToResume),
    (MachineRole::Incumbent, StateName::LockingToRetire),
    (MachineRole::Incumbent, StateName::LockingAsOrphan),
    (MachineRole::Incumbent, StateName::Claiming),
    (MachineRole::Incumbent, StateName::Resuming),
    (MachineRole::Incumbent, StateName::TakingPath),
    (MachineRole::Incumbent, StateName::NotingServing),
    (MachineRole::Successor, StateName::Warmed),
    (MachineRole::Successor, StateName::Locking),
    (MachineRole::Successor, StateName::Claiming),
    (MachineRole::Successor, StateName::Opening),
    (MachineRole::Successor, StateName::Ready),
    (MachineRole::Successor, StateName::TakingPath),
    (MachineRole::Successor, StateName::NotingServing),
    (MachineRole::Successor, StateName::Starting),
];

/// The faults that lead a handoff off its usual way: back, or on without one of its processes; or keep it for
/// long where it hardly ever is.
const LEADS: [(&str, What); 38] = [
    ("gap supervisor.await-warmed.*", What::Cancel),
    ("gap supervisor.await-drained.*", What::Cancel),
    ("gap supervisor.await-sealed.*", What::Cancel),
    ("gap supervisor.await-ready.*", What::Cancel),
    ("hook drain", What::Fail),
    ("hook seal", What::Fail),
    ("hook open", What::Fail),
    ("hook drain", What::Slow),
    ("hook seal", What::Slow),
    ("hook open", What::Slow),
    ("hook serve", What::Slow),
    ("gap incumbent.draining.*", What::Crash),
    ("gap incumbent.sealed.*", What::Crash),
    ("gap incumbent.serving-in-session.*", What::CoreDump),
    ("gap incumbent.draining.*", What::CoreDump),
    ("gap incumbent.sealing.*", What::CoreDump),
    ("gap successor.opening.*", What::Crash),
    ("gap successor.starting.*", What::Crash),
    ("gap successor.warming.*", What::CoreDump),
    ("gap successor.warmed.*", What::CoreDump),
    ("gap successor.opening.*", What::CoreDump),
    ("gap successor.ready.*", What::CoreDump),
    ("gap supervisor.await-sealed.*", What::Crash),
    ("gap supervisor.await-ready.*", What::Crash),
    ("gap supervisor.await-retired.*", What::Crash),
    ("gap incumbent.draining.*", What::Stop),
    ("gap incumbent.sealing.*", What::Stop),
    ("frame HelloAck to successor", What::Drop),
    ("frame HelloAck to successor", What::Delay),
    ("frame Heartbeat to successor", What::Delay),
    ("frame Begin to successor", What::Delay),
    ("frame SealComplete to supervisor", What::Delay),
    ("frame Ready to supervisor", What::Delay),
    ("frame SealComplete to supervisor", What::Reset),
    ("frame Ready to supervisor", What::Reset),
    ("journal write", What::Slow),
    ("journal write", What::Slow),
    ("operation lock", What::Slow),
];

/// The faults that strike in the states to which those lead.
const STRIKES: [What; 18] = [
    What::Crash,
    What::CrashUnsent,
    What::Stop,
    What::Cancel,
    What::Terminate,
    What::Rival,
    What::Reset,
    What::Drop,
    What::Delay,
    What::Slow,
    What::Slow,
    What::Slow,
    What::Slow,
    What::Fail,
    What::Hang,
    What::Stranger,
    What::Swept,
    What::Reload,
];

/// The faults that happen to real processes most: every other run with one class of faults has one of these.
const COMMON: [What; 4] = [What::Crash, What::CrashUnsent, What::Stop, What::Drop];

/// Messages, and the roles that they go to.
const FRAMES: [(Wanted<MessageName>, HitRole); 27] = [
    (This(MessageName::Hello), HitRole::Supervisor),
    (This(MessageName::HelloAck), HitRole::Incumbent),
    (This(MessageName::HelloAck), HitRole::Successor),
    (This(MessageName::Warmed), HitRole::Supervisor),
    (This(MessageName::PrepareHandoff), HitRole::Incumbent),
    (This(MessageName::Drained), HitRole::Supervisor),
    (This(MessageName::DrainFailed), HitRole::Supervisor),
    (This(MessageName::SealRequest), HitRole::Incumbent),
    (This(MessageName::SealComplete), HitRole::Supervisor),
    (This(MessageName::SealFailed), HitRole::Supervisor),
    (This(MessageName::Begin), HitRole::Successor),
    (This(MessageName::Ready), HitRole::Supervisor),
    (This(MessageName::Failed), HitRole::Supervisor),
    (This(MessageName::Commit), HitRole::Successor),
    (This(MessageName::Serving), HitRole::Supervisor),
    (This(MessageName::Retire), HitRole::Incumbent),
    (This(MessageName::Final), HitRole::Successor),
    (This(MessageName::Abort), HitRole::Successor),
    (This(MessageName::ResumeAfterAbort), HitRole::Incumbent),
    (This(MessageName::Resumed), HitRole::Supervisor),
    (This(MessageName::Heartbeat), HitRole::Supervisor),
    (This(MessageName::Heartbeat), HitRole::Incumbent),
    (This(MessageName::Heartbeat), HitRole::Successor),
    (This(MessageName::StandingReport), HitRole::Supervisor),
    (Wanted::Any, HitRole::Supervisor),
    (Wanted::Any, HitRole::Incumbent),
    (Wanted::Any, HitRole::Successor),
];

/// The source of choices.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn of(seed: u64) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0.next_u64() % limit.max(1)
    }

    /// Once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn between(&mut self, least: Span, most: Span) -> Span {
        Span::from_micros(least.micros() + self.below(most.micros() - least.micros() + 1))
    }

    /// Returns where lengths of time come from.
    pub(crate) fn noise(&mut self) -> u64 {
        self.0.next_u64() >> 12
    }

    pub(crate) fn delays(&mut self) -> Delays {
        self.pick(&[Delays::Fixed, Delays::Usual, Delays::Usual, Delays::Usual, Delays::Long])
    }
}

/// The plan of a seed.
pub fn draw(seed: u64) -> Plan {
    let mut dice = Dice::of(seed);
    let mut plan = draw_all_but_connections(&mut dice);
    // Drawn last: without them a seed's plan is what it was before there were any.
    if dice.once_in(4) {
        plan.connections = 1 + dice.below(4) as u32;
        let build = 1 + dice.below(u64::from(plan.handoffs) + 1) as u32;
        plan.plain_builds = if dice.once_in(4) { vec![build] } else { Vec::new() };
    }
    plan
}

fn draw_all_but_connections(dice: &mut Dice) -> Plan {
    let noise = dice.noise();
    let delays = dice.delays();
    let mut plan = Plan {
        noise,
        delays,
        skewed_clocks: dice.once_in(4),
        clients: 1 + dice.below(3) as u32,
        handoffs: 1 + dice.below(3) as u32,
        pause: dice.between(Span::from_millis(1), Span::from_millis(30)),
        times: draw_times(dice),
        ..Plan::calm()
    };
    if dice.once_in(3) {
        plan.faults = draw_chain(dice, plan.handoffs);
        return plan;
    }
    let classes = draw_classes(dice);
    let faults = if classes.is_empty() { 0 } else { 1 + dice.below(MOST_FAULTS) };
    for _ in 0..faults {
        let what = dice.pick(&classes);
        let fault = draw_fault(dice, what, plan.handoffs);
        plan.faults.push(fault);
    }
    plan
}

/// One or two things that lead a handoff off its way, and what strikes while it is there.
fn draw_chain(dice: &mut Dice, handoffs: u32) -> Vec<Fault> {
    let in_handoff = 1 + dice.below(u64::from(handoffs)) as u32;
    let mut faults = Vec::new();
    for _ in 0..1 + dice.below(2) {
        let (at, what) = dice.pick(&LEADS);
        let nth = 1 + dice.below(8).saturating_sub(4) as u32;
        let span = draw_length(dice, what);
        let lead = At::from_str(at).into_iter().map(|at| Fault { nth, span, ..Fault::new(at, what) });
        faults.extend(lead);
    }
    for _ in 0..1 + dice.below(MOST_FAULTS) {
        let what = dice.pick(&STRIKES);
        let strike = draw_fault(dice, what, handoffs);
        // What comes late may fail as well.
        let late = strike.at == At::JournalWrite && what == What::Slow;
        let fails =
            (late && dice.once_in(3)).then(|| Fault { what: What::Fail, span: None, ..strike.clone() });
        faults.extend([strike].into_iter().chain(fails));
    }
    let timed = |fault: &Fault| matches!(fault.at, At::Time(_) | At::Handoff(..));
    faults.iter_mut().filter(|fault| !timed(fault)).for_each(|fault| fault.in_handoff = in_handoff);
    faults
}

pub(crate) fn draw_times(dice: &mut Dice) -> Times {
    let usual = Times::default();
    match dice.below(4) {
        // What a hook may take can be more, or less, than the whole handoff may.
        0 => Times { hook_limit: Span::from_millis(2000), ..usual },
        1 => Times { liveness: Span::from_millis(80), deadline: Span::from_millis(500), ..usual },
        _ => usual,
    }
}

/// The classes of faults that a run may have: none, one, some, all.
fn draw_classes(dice: &mut Dice) -> Vec<What> {
    match dice.below(8) {
        0 => Vec::new(),
        1 | 2 => vec![dice.pick(&What::ALL)],
        3 => vec![dice.pick(&COMMON)],
        4..=6 => {
            let share = 1 + dice.below(4);
            What::ALL.into_iter().filter(|_| dice.below(8) < share).collect()
        }
        _ => What::ALL.to_vec(),
    }
}

pub(crate) fn draw_fault(dice: &mut Dice, what: What, handoffs: u32) -> Fault {
    let at = match what {
        What::Drop | What::Delay | What::Tear | What::Reset => draw_frame(dice),
        What::Panic | What::Unfit => At::Hook(This(dice.pick(HookName::ALL))),
        What::Slow | What::Fail => match dice.below(8) {
            0 => At::Spawn,
            1 | 2 => At::JournalWrite,
            3..=5 => At::Operation(dice.pick(&Operation::ALL)),
            _ => At::Hook(This(dice.pick(HookName::ALL))),
        },
        What::Hang if dice.once_in(3) => At::Spawn,
        What::Hang => At::Hook(This(dice.pick(HookName::ALL))),
        What::DieEarly | What::WrongPid | What::OtherVersion | What::NewerVersion | What::OtherData => {
            At::Spawn
        }
        What::Torn if dice.once_in(2) => At::JournalWrite,
        What::Torn => At::DataWrite,
        _ => draw_place(dice, handoffs),
    };
    let in_handoff = dice.below(u64::from(handoffs) + 1) as u32;
    let in_handoff = if matches!(at, At::Time(_) | At::Handoff(..)) { 0 } else { in_handoff };
    let nth = match &at {
        At::Gap { state: Wanted::Any, .. } => 1 + dice.below(40) as u32,
        At::Gap { .. } => 1 + dice.below(5) as u32,
        At::Frame { name: Wanted::Any, .. } => 1 + dice.below(20) as u32,
        At::DataWrite => 1 + dice.below(30) as u32,
        At::JournalWrite | At::Operation(_) => 1 + dice.below(4) as u32,
        _ => 1 + dice.below(8).saturating_sub(6) as u32,
    };
    let names_nobody =
        matches!(at, At::Time(_) | At::Handoff(..) | At::Spawn | At::JournalWrite | At::DataWrite);
    let who = dice.pick(&[HitRole::Supervisor, HitRole::Incumbent, HitRole::Successor]);
    let who = (names_nobody || dice.once_in(6)).then_some(who);
    let span = draw_length(dice, what);
    Fault { at, nth, in_handoff, what, who, span }
}

/// Somewhere half-way; anywhere; any time.
fn draw_place(dice: &mut Dice, handoffs: u32) -> At {
    let (role, state) = match dice.below(8) {
        0..=3 => {
            let (role, state) = dice.pick(&HALF_WAY);
            (role, This(state))
        }
        4 | 5 => (dice.pick(MachineRole::ALL), Wanted::Any),
        6 => {
            let nth = 1 + dice.below(u64::from(handoffs)) as u32;
            return At::Handoff(nth, dice.between(Span::from_micros(0), Span::from_millis(25)));
        }
        _ => return At::Time(dice.between(Span::from_micros(0), Span::from_millis(150))),
    };
    At::Gap { role, state, before: Wanted::Any }
}

fn draw_frame(dice: &mut Dice) -> At {
    let (name, to) = dice.pick(&FRAMES);
    At::Frame { name, to }
}

/// Returns how long it lasts, if it lasts.
pub(crate) fn draw_length(dice: &mut Dice, what: What) -> Option<Span> {
    match what {
        What::Stop | What::Delay | What::CoreDump | What::Slow | What::ClockStep => Some(draw_span(dice)),
        What::FullDisk | What::NoDescriptors | What::Hang => Some(draw_span(dice)),
        What::Stranger | What::Swept | What::HalfRequest | What::UnreadReply => Some(draw_span(dice)),
        _ => None,
    }
}

/// Shorter than any process waits, or longer than some, or than all.
fn draw_span(dice: &mut Dice) -> Span {
    let ms = Span::from_millis;
    let (least, most) = dice.pick(&[(ms(1), ms(60)), (ms(60), ms(400)), (ms(400), ms(3000))]);
    dice.between(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_that_is_named_here_is_one() {
        let gaps = include_str!("../../../snapshots/explored/gaps.snap");
        let known =
            |role: MachineRole, state: Wanted<StateName>| gaps.contains(&format!("\n{role}.{state}."));
        for (role, state) in HALF_WAY {
            assert!(known(role, This(state)), "{role}.{state}");
        }
        for (at, _) in LEADS {
            match at.parse::<At>() {
                Ok(At::Gap { role, state, .. }) => assert!(known(role, state), "{at}"),
                other => assert!(other.is_ok(), "{at}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_plan_that_is_drawn_can_be_written_down() {
        for seed in 0..2000 {
            let plan = draw(seed);
            assert_eq!(Plan::parse(&plan.to_toml()), Ok(plan.clone()), "{}", plan.to_toml());
        }
    }
}
