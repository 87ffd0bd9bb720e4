//! A run as a timeline for <https://ui.perfetto.dev>: Chrome's trace event format, as JSON.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{GONE, Happened, Name, TraceEntry, TracedEffect};

/// The timeline of a run: a track a process; hooks and times of service as slices, frames as flows, all else as instants.
pub fn perfetto(trace: &[TraceEntry]) -> String {
    let mut events = Vec::new();
    let mut tracks: BTreeMap<Option<Name>, u32> = BTreeMap::new();
    for entry in trace {
        let next = tracks.len() as u32;
        let track = *tracks.entry(entry.who).or_insert(next);
        add(entry, track, &mut events);
    }
    for (name, track) in tracks {
        let name = name.map_or_else(|| "the machine".into(), |name| name.to_string());
        events
            .push(json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": track, "args": {"name": name}}));
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": events }).to_string()
}

fn add(entry: &TraceEntry, track: u32, events: &mut Vec<Value>) {
    let mut event = |phase: &str, name: &str, more: Value| {
        let mut event =
            json!({"ph": phase, "name": name, "ts": entry.at, "pid": 1, "tid": track, "cat": "handoff"});
        if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
            event.extend(more);
        }
        events.push(event);
    };
    let instant = json!({"s": "t"});
    match &entry.what {
        Happened::Turn(turn) => {
            // Flows are tied to slices: a turn is one of a microsecond.
            let states = json!({"dur": 1, "args": {"before": turn.before, "after": turn.after}});
            event("X", &turn.event, states);
            if let Some(frame) = turn.frame {
                event("f", "frame", json!({"id": frame, "bp": "e"}));
            }
            for effect in &turn.effects {
                match effect {
                    TracedEffect::Sent { frame, .. } => event("s", "frame", json!({"id": frame})),
                    TracedEffect::Tried(what) | TracedEffect::Did(what) => {
                        event("i", what, json!({"s": "t"}))
                    }
                }
            }
        }
        Happened::HookBegan(hook) => event("b", hook.name(), json!({"id": track, "cat": "hook"})),
        Happened::HookEnded(hook, _) => event("e", hook.name(), json!({"id": track, "cat": "hook"})),
        Happened::Serves(true) => event("b", "serves", json!({"id": track, "cat": "serves"})),
        Happened::Serves(false) => event("e", "serves", json!({"id": track, "cat": "serves"})),
        Happened::Born { role, .. } => event("i", &format!("begins as {role}"), instant),
        Happened::Ends(what) | Happened::Note(what) => event("i", what, instant),
        Happened::IsGone => event("i", GONE, instant),
        Happened::Fault(what) => event("i", &format!("FAULT {what}"), json!({"s": "g"})),
        Happened::Violated { check, why } => {
            event("i", &format!("VIOLATED {check}: {why}"), json!({"s": "g"}))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::Plan;
    use crate::run::{RunOptions, ledgers, run};

    #[test]
    fn every_frame_that_came_is_a_flow_with_a_beginning() {
        let report =
            run(&Arc::new(Plan::calm()), &ledgers(), RunOptions { trace: true, ..RunOptions::default() });
        let timeline: Value = serde_json::from_str(&perfetto(&report.trace)).expect("json");
        let events = timeline["traceEvents"].as_array().expect("events");
        let flows = |phase: &str| -> Vec<u64> {
            events
                .iter()
                .filter(|event| event["ph"] == phase)
                .filter_map(|event| event["id"].as_u64())
                .collect()
        };
        let (begins, ends) = (flows("s"), flows("f"));
        assert!(ends.len() > 20 && ends.iter().all(|frame| begins.contains(frame)));
        assert!(events.iter().any(|event| event["name"] == "serves" && event["ph"] == "b"));
    }
}
