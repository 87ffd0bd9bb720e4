//! A schedule as a trace: what the text and the page of a run are made from.
use std::collections::{BTreeMap, VecDeque};

use handoff::machine::{Machine, MachineRole, StateName};

use crate::explore::model::names::{Actor, RECOVERY, SUPERVISOR, daemon};
use crate::explore::model::steps::{ModelFault, ModelStep};
use crate::explore::model::watch::{Observer, Wish};
use crate::explore::model::{DaemonMachine, Model};
use crate::explore::moves::apply::Move;
use crate::mutant::Mutation;
use crate::trace::{Happened, Name, TraceEntry, TracedEffect, Turn};

/// No time passes in an exploration. A step is shown a millisecond after the one before, so that a page has room for it.
const STEP_MICROS: u64 = 1000;

/// The story so far.
#[derive(Default)]
pub(crate) struct ToldSchedule {
    pub entries: Vec<TraceEntry>,
    now: u64,
    frames: u64,
    /// Numbers of the frames that are on their way, by sender and receiver.
    under_way: BTreeMap<(Name, Name), VecDeque<u64>>,
}

impl ToldSchedule {
    /// Lets a move happen, and notes what is seen of it.
    pub(crate) fn tell(&mut self, model: &mut Model, made: &Move, mutation: Option<&Mutation>) {
        let before = model.clone();
        let mut watch = Observer { asked: Some(Vec::new()), ..Observer::of(mutation) };
        made.happen(model, &mut watch);
        let actor = before.actor(&made.step);
        if let ModelStep::Fault(_) = made.step {
            self.note(None, Happened::Fault(before.name_of(&made.step)));
        }
        match (actor, &made.step) {
            (Some(actor), step) => self.turn(&before, model, actor, step, watch.asked.unwrap_or_default()),
            (None, ModelStep::Fault(fault)) => self.lose(&before, fault),
            (None, step) => self.note(None, Happened::Note(before.name_of(step))),
        }
        if made.dies.is_some() {
            let who = actor.map(|actor| actor.name());
            self.note(who, Happened::Ends("dies there".into()));
        }
        self.changes(&before, model);
        self.forget(model);
        self.now += STEP_MICROS;
    }

    fn note(&mut self, who: Option<Name>, what: Happened) {
        self.entries.push(TraceEntry { at: self.now, who, what });
    }

    fn turn(&mut self, before: &Model, after: &Model, actor: Actor, step: &ModelStep, asked: Vec<Wish>) {
        let from = match *step {
            ModelStep::Up(i) => Some(daemon(before.links[i].pid)),
            ModelStep::Down(i) => Some(before.links[i].end.name()),
            _ => None,
        };
        let who = actor.name();
        let frame = from.and_then(|from| self.under_way.get_mut(&(from, who))?.pop_front());
        let effects = asked.into_iter().map(|asked| self.effect(who, asked)).collect();
        let spoken = before.name_of(step);
        let event = spoken.strip_prefix(&format!("{who}: ")).or(spoken.strip_prefix(&format!("{who} ")));
        let turn = Turn {
            role: actor.role(before, after),
            from,
            event: event.unwrap_or(&spoken).to_string(),
            repeats: matches!(step, ModelStep::Refused(_)),
            frame,
            before: actor.state(before),
            after: actor.state(after),
            effects,
        };
        self.note(Some(who), Happened::Turn(turn));
    }

    fn effect(&mut self, from: Name, asked: Wish) -> TracedEffect {
        match asked {
            Wish::Did(what) => TracedEffect::Did(what),
            Wish::Tried(what) => TracedEffect::Tried(what),
            Wish::Sent { to, message, repeats } => {
                self.frames += 1;
                self.under_way.entry((from, to)).or_default().push_back(self.frames);
                TracedEffect::Sent { to, message, frame: self.frames, repeats }
            }
        }
    }

    /// A frame is lost.
    fn lose(&mut self, before: &Model, fault: &ModelFault) {
        let key = match *fault {
            ModelFault::DropDown(i) => (before.links[i].end.name(), daemon(before.links[i].pid)),
            ModelFault::DropUp(i) => (daemon(before.links[i].pid), before.links[i].end.name()),
            _ => return,
        };
        self.under_way.get_mut(&key).and_then(VecDeque::pop_front);
    }

    /// Tells the changes: which process serves, which are gone, and what is not as it must be.
    fn changes(&mut self, before: &Model, after: &Model) {
        for (pid, process) in &before.processes {
            let now = after.processes.get(pid).is_some_and(|process| process.accepts);
            if process.accepts != now {
                self.note(Some(daemon(*pid)), Happened::Serves(now));
            }
            if !after.processes.contains_key(pid) {
                self.note(Some(daemon(*pid)), Happened::IsGone);
            }
        }
        if let Some(why) = after.violation.as_ref().filter(|_| before.violation.is_none()) {
            self.note(None, Happened::Violated { check: "explored", why: why.clone() });
        }
    }

    /// Frames of links that are gone never come.
    fn forget(&mut self, model: &Model) {
        for ((from, to), frames) in &mut self.under_way {
            let left = model.links.iter().map(|link| match () {
                () if daemon(link.pid) == *to && link.end.name() == *from => link.down.len(),
                () if daemon(link.pid) == *from && link.end.name() == *to => link.up.len(),
                () => 0,
            });
            let left: usize = left.sum();
            while frames.len() > left {
                frames.pop_front();
            }
        }
    }
}

impl Actor {
    fn name(self) -> Name {
        match self {
            Actor::Supervisor => SUPERVISOR,
            Actor::Recovery => RECOVERY,
            Actor::DaemonMachine(pid) => daemon(pid),
        }
    }

    fn role(self, before: &Model, after: &Model) -> MachineRole {
        match self {
            Actor::Supervisor => MachineRole::Supervisor,
            Actor::Recovery => MachineRole::Recovery,
            Actor::DaemonMachine(pid) => {
                match before.processes.get(&pid).or(after.processes.get(&pid)).map(|p| &p.daemon) {
                    Some(DaemonMachine::Successor(_)) => MachineRole::Successor,
                    _ => MachineRole::Incumbent,
                }
            }
        }
    }

    fn state(self, model: &Model) -> &'static str {
        let state = match self {
            Actor::Supervisor => model.supervisor.as_ref().map(|supervisor| supervisor.machine.state()),
            Actor::Recovery => model.recovery.as_ref().map(|recovery| recovery.machine.state()),
            Actor::DaemonMachine(pid) => model.processes.get(&pid).map(|process| process.daemon.state()),
        };
        state.map_or("-", StateName::name)
    }
}
