//! The events of a run, step by step: the one source of the text, the page and the timeline.
use handoff::machine::{Cell, EffectName, MachineRole};
use handoff::message::MessageName;
use handoff::node::daemon::HookName;

use crate::kernel::Micros;
pub use crate::kernel::Name;

mod html;
mod perfetto;
pub mod text;
pub(crate) mod words;

pub use html::{Shown, page};
pub use perfetto::perfetto;

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// The time, in virtual microseconds since the start of the run.
    pub at: Micros,
    /// The process to which it happened; none: the kernel, or clients.
    pub who: Option<Name>,
    /// The event.
    pub what: Happened,
}

/// The kinds of event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A process has begun.
    Born {
        /// The machine with which it begins.
        role: MachineRole,
        /// A daemon's build.
        build: Option<u32>,
    },
    /// A machine has handled an event: one turn.
    Turn(Turn),
    /// A hook has begun.
    HookBegan(HookName),
    /// A hook has returned; with what went wrong.
    HookEnded(HookName, Option<String>),
    /// A process serves clients from here on, or does no more.
    Serves(bool),
    /// A process is about to end: how.
    Ends(String),
    /// A process has ended.
    IsGone,
    /// The fault, on purpose.
    Fault(String),
    /// The note, which is neither a turn nor a fault.
    Note(String),
    /// A check has failed.
    Violated {
        /// The check.
        check: &'static str,
        /// The reason, in a sentence.
        why: String,
    },
}

/// The text that is shown of a process that has ended.
const GONE: &str = "has ended";

/// One turn of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The role whose machine it is.
    pub role: MachineRole,
    /// The process that has sent the frame, if one came.
    pub from: Option<Name>,
    /// The event: a message's name, a timer, a hook's end.
    pub event: String,
    /// `true` if the event only repeats what was said, asked or tried before.
    pub repeats: bool,
    /// The frame's number.
    pub frame: Option<u64>,
    /// The state before it.
    pub before: &'static str,
    /// The state after it.
    pub after: &'static str,
    /// The effects that the machine asked for, in order, and what came of each.
    pub effects: Vec<TracedEffect>,
}

/// The effect that a machine asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TracedEffect {
    /// A frame was sent.
    Sent {
        /// The receiver.
        to: Name,
        /// The message's name.
        message: String,
        /// The frame's number.
        frame: u64,
        /// `true` if it only repeats what was said or asked before.
        repeats: bool,
    },
    /// A look, or an attempt that came to nothing: made again and again until it finds something.
    Tried(String),
    /// Anything else.
    Did(String),
}

/// One event of a machine and what it asked for, in names that every host has: without times, pids and results, which a
/// host may tell as it likes. What real processes do is held against this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reaction {
    /// The state, and the event in it.
    pub cell: Cell,
    /// The effects that the process lived to see.
    pub effects: Vec<EffectName>,
}

/// A frame that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentFrame {
    /// The sender.
    pub from: Name,
    /// The receiver.
    pub to: Name,
    /// The message.
    pub message: MessageName,
}

/// The recorder of steps, if they are to be shown.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub on: bool,
    /// From here on: what comes before is of no interest.
    pub entries: Vec<TraceEntry>,
    /// Of the turn that is being taken.
    effects: Vec<TracedEffect>,
    frames: u64,
    /// Of each process, in order.
    pub steps: Vec<(Name, Reaction)>,
    pub sent: Vec<SentFrame>,
    /// The time at which the first handoff was asked for, or the first fault struck.
    pub origin: Option<Micros>,
}

impl Recorder {
    pub(crate) fn note(&mut self, at: Micros, who: Option<Name>, what: impl FnOnce() -> Happened) {
        if self.on {
            self.entries.push(TraceEntry { at, who, what: what() });
        }
    }

    /// Marks the begin: what comes before is of no interest.
    pub(crate) fn begins(&mut self, now: Micros) {
        self.origin.get_or_insert(now);
    }

    pub(crate) fn step(&mut self, who: Name, cell: Cell) {
        if self.on {
            self.steps.push((who, Reaction { cell, effects: Vec::new() }));
        }
    }

    /// `who` has lived to see this effect.
    pub(crate) fn sees(&mut self, who: Name, effect: EffectName) {
        let last = self.steps.iter_mut().rev().find(|(name, _)| *name == who);
        last.into_iter().for_each(|(_, step)| step.effects.push(effect));
    }

    pub(crate) fn frame(&mut self, from: Name, to: Name, message: MessageName) {
        if self.on {
            self.sent.push(SentFrame { from, to, message });
        }
    }

    pub(crate) fn next_frame(&mut self) -> u64 {
        self.frames += 1;
        self.frames
    }

    pub(crate) fn effect(&mut self, effect: impl FnOnce() -> TracedEffect) {
        if self.on {
            self.effects.push(effect());
        }
    }

    /// The effects of the turn that is over.
    pub(crate) fn take_effects(&mut self) -> Vec<TracedEffect> {
        std::mem::take(&mut self.effects)
    }
}
