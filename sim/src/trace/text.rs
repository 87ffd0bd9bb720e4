//! A trace as text: one line a step.
use std::fmt::Write as _;

use super::{GONE, Happened, TraceEntry, TracedEffect, Turn};
use crate::kernel::Micros;

/// The steps as lines, times counted from `origin`.
///
/// Heartbeats, repeated questions and repeated attempts that change nothing are left out: they are most of a trace, and
/// say that nothing happens.
pub fn lines(entries: &[TraceEntry], origin: Micros) -> Vec<String> {
    entries.iter().filter(|entry| !is_idle(entry)).map(|entry| line(entry, origin)).collect()
}

/// All steps, idle ones included.
pub fn all_lines(entries: &[TraceEntry]) -> Vec<String> {
    entries.iter().map(|entry| line(entry, 0)).collect()
}

/// A turn that changes nothing and only repeats what was said or tried before; a hook's begin, which the turn that asked
/// for it says.
pub(super) fn is_idle(entry: &TraceEntry) -> bool {
    let turn = match &entry.what {
        Happened::HookBegan(_) => return true,
        Happened::Turn(turn) => turn,
        _ => return false,
    };
    let is_idle = |effect: &TracedEffect| match effect {
        TracedEffect::Sent { repeats, .. } => *repeats,
        TracedEffect::Tried(_) => true,
        TracedEffect::Did(_) => false,
    };
    turn.before == turn.after && turn.repeats && turn.effects.iter().all(is_idle)
}

fn line(entry: &TraceEntry, origin: Micros) -> String {
    let at = entry.at.saturating_sub(origin);
    let mut line = format!("{:>6}.{:03}  ", at / 1000, at % 1000);
    let who = entry.who.map_or_else(|| "-".into(), |who| who.to_string());
    // Writing into a String can't fail.
    let _ = match &entry.what {
        Happened::Turn(turn) => write_turn(&mut line, &who, turn),
        Happened::Born { role, build: Some(build) } => {
            write!(line, "{who:<8}begins as {role}, build {build}")
        }
        Happened::Born { role, build: None } => write!(line, "{who:<8}begins as {role}"),
        Happened::HookBegan(hook) => write!(line, "{who:<8}{hook} runs"),
        Happened::HookEnded(hook, None) => write!(line, "{who:<8}{hook} has run"),
        Happened::HookEnded(hook, Some(why)) => write!(line, "{who:<8}{hook} fails: {why}"),
        Happened::Serves(true) => write!(line, "{who:<8}SERVES"),
        Happened::Serves(false) => write!(line, "{who:<8}serves no more"),
        Happened::Ends(how) => write!(line, "{who:<8}{how}"),
        Happened::IsGone => write!(line, "{who:<8}{GONE}"),
        Happened::Fault(what) => write!(line, "{who:<8}*** {what}"),
        Happened::Note(what) => write!(line, "{who:<8}{what}"),
        Happened::Violated { check, why } => write!(line, "{who:<8}!!! {check}: {why}"),
    };
    line.truncate(line.trim_end().len());
    line
}

fn write_turn(line: &mut String, who: &str, turn: &Turn) -> std::fmt::Result {
    let between = match turn.from {
        Some(from) => format!("{from}>{who}"),
        None => who.to_string(),
    };
    let state = if turn.before == turn.after {
        turn.before.to_string()
    } else {
        format!("{} > {}", turn.before, turn.after)
    };
    write!(line, "{between:<8}{:<20} [{state}]", turn.event)?;
    for (place, effect) in turn.effects.iter().enumerate() {
        write!(line, "{}", if place == 0 { "  " } else { "; " })?;
        match effect {
            TracedEffect::Sent { to, message, .. } => write!(line, "{message} to {to}")?,
            TracedEffect::Tried(what) | TracedEffect::Did(what) => write!(line, "{what}")?,
        }
    }
    Ok(())
}
