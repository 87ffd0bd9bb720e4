//! A way through the states, step by step, as a person can read it and `replay` can take it.
//!
//! A step is named by what it does in the model in which it happens, so that a line means what it says; it is found again by
//! that name among the steps that can be taken there.
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::explore::model::Model;
use crate::explore::model::clients::ClientBudget;
use crate::explore::model::faults::FaultBudget;
use crate::explore::model::watch::Observer;
use crate::explore::moves::apply::Move;

/// The fault of a schedule, in words: which step can't be taken, say, and which could.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSchedule(String);

/// A way through the states.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The thing to see in it.
    pub why: String,
    pub(crate) faults: FaultBudget,
    pub(crate) handoffs: u8,
    pub(crate) clients: ClientBudget,
    pub(crate) moves: Vec<Move>,
}

/// The same as a file says it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    why: String,
    explored: Bounds,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bounds {
    handoffs: u8,
    steps: Vec<String>,
    faults: FaultBudget,
    #[serde(default, skip_serializing_if = "is_nothing")]
    clients: ClientBudget,
}

fn is_nothing(clients: &ClientBudget) -> bool {
    *clients == ClientBudget::default()
}

const DIES: &str = ", and dies ";

impl Schedule {
    /// Returns how many steps it has.
    pub fn len(&self) -> usize {
        self.moves.len()
    }

    /// Returns whether nothing happens in it.
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }

    /// The schedule as text that [`Schedule::parse`] reads.
    pub fn to_toml(&self) -> String {
        let mut model = Model::new(self.faults, self.handoffs).with(self.clients, None);
        let mut steps = Vec::new();
        for made in &self.moves {
            steps.push(spell(&model, made));
            made.happen(&mut model, &mut Observer::default());
        }
        let explored = Bounds { handoffs: self.handoffs, steps, faults: self.faults, clients: self.clients };
        let written = Written { why: self.why.clone(), explored };
        toml::to_string_pretty(&written).unwrap_or_else(|error| format!("# can't be written: {error}\n"))
    }

    /// Returns whether a file is a schedule, rather than a plan.
    pub fn is_one(text: &str) -> bool {
        text.lines().any(|line| line.trim() == "[explored]")
    }

    /// Reads a schedule.
    ///
    /// # Errors
    /// It is no TOML, has unknown keys, or a step in it can't be taken: the text says which, and which could.
    pub fn parse(text: &str) -> Result<Schedule, BadSchedule> {
        let Written { why, explored: Bounds { handoffs, faults, clients, steps } } =
            toml::from_str(text).map_err(|error| BadSchedule(error.to_string()))?;
        let mut model = Model::new(faults, handoffs).with(clients, None);
        let mut moves = Vec::new();
        for (nth, line) in steps.iter().enumerate() {
            let made = read(&model, line).map_err(|why| BadSchedule(format!("step {}: {why}", nth + 1)))?;
            made.happen(&mut model, &mut Observer::default());
            moves.push(made);
        }
        Ok(Schedule { why, faults, handoffs, clients, moves })
    }

    /// Reads the schedule in a file.
    ///
    /// # Errors
    /// As [`Schedule::parse`]; the file can't be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Schedule, BadSchedule> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| BadSchedule(format!("can't read {}: {error}", path.display())))?;
        Schedule::parse(&text).map_err(|why| BadSchedule(format!("{}: {why}", path.display())))
    }
}

/// A move in words: what the step does, and before which effect its process dies.
fn spell(model: &Model, made: &Move) -> String {
    let step = model.name_of(&made.step);
    let Some(n) = made.dies else { return step };
    let mut watch = Observer::default();
    model.clone().apply(&made.step, &mut watch);
    format!("{step}{DIES}{}", where_in(&watch, n.into()))
}

/// The `n`-th gap that was passed, by the effect before which it lies; with a number, if another one is called the same.
fn where_in(watch: &Observer<'_>, n: usize) -> String {
    let name = |n: usize| {
        let gap = watch.gaps[n];
        gap.before.map_or_else(|| format!("after {}", gap.state), |effect| format!("before {effect}"))
    };
    let before = (0..n).filter(|other| name(*other) == name(n)).count();
    if before == 0 { name(n) } else { format!("{} ({})", name(n), before + 1) }
}

/// The move that is spelt so.
fn read(model: &Model, line: &str) -> Result<Move, BadSchedule> {
    let (name, dies) = line.split_once(DIES).map_or((line, None), |(name, dies)| (name, Some(dies)));
    let steps = model.steps();
    let Some(step) = steps.iter().find(|step| model.name_of(step) == name) else {
        let names: Vec<String> = steps.iter().map(|step| model.name_of(step)).collect();
        return Err(BadSchedule(format!("{name:?} can't happen here; what can: {}", names.join("; "))));
    };
    let dies = dies.map_or(Ok(None), |dies| {
        let mut watch = Observer::default();
        model.clone().apply(step, &mut watch);
        let places: Vec<String> = (0..watch.gaps.len()).map(|n| where_in(&watch, n)).collect();
        let place = places.iter().position(|place| place == dies).map(|n| Some(n as u8));
        place.ok_or_else(|| {
            BadSchedule(format!("no process can die {dies:?} here; where it can: {}", places.join("; ")))
        })
    })?;
    Ok(Move { step: step.clone(), dies })
}
