//! A run as a page for a browser: one file, nothing to fetch.
use serde::Serialize;

use super::{GONE, Happened, TraceEntry, TracedEffect, text};

const TEMPLATE: &str = include_str!("page.html");

/// The data that the page's script draws.
#[derive(Serialize)]
struct Page<'a> {
    why: &'a str,
    plan: &'a str,
    facts: &'a str,
    violation: Option<&'a str>,
    steps: Vec<Dot>,
}

/// One entry of the trace.
#[derive(Debug, Default, Serialize)]
struct Dot {
    /// In milliseconds.
    at: f64,
    who: String,
    kind: &'static str,
    /// The text beside its dot.
    label: String,
    /// `true` if most of the time it is of no interest.
    idle: bool,
    role: &'static str,
    states: Option<[&'static str; 2]>,
    /// The frame that came.
    came: Option<u64>,
    /// Frames that were sent: number, receiver, message.
    sent: Vec<(u64, String, String)>,
    /// The other effects.
    did: Vec<String>,
}

/// The parts of a run that are shown.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    /// The thing to see.
    pub why: &'a str,
    /// The plan, or what else it is replayed from.
    pub plan: String,
    /// The verdicts that supervisors reported, the longest time that nobody served, what the times are.
    pub facts: String,
    /// The check that failed, and why.
    pub violation: Option<String>,
    /// The events.
    pub trace: &'a [TraceEntry],
}

/// The page of a run: three lanes, frames as arrows, hooks as bars, faults marked, the check that failed in red.
pub fn page(shown: &Shown<'_>) -> String {
    let page = Page {
        why: shown.why,
        plan: &shown.plan,
        facts: &shown.facts,
        violation: shown.violation.as_deref(),
        steps: shown.trace.iter().map(step).collect(),
    };
    // A string can't be serialized wrongly; `</` would end the script.
    let data = serde_json::to_string(&page).unwrap_or_default().replace("</", "<\\/");
    TEMPLATE.replace("/*DATA*/null", &data)
}

fn step(entry: &TraceEntry) -> Dot {
    let who = entry.who.map(|who| who.to_string()).unwrap_or_default();
    let step = Dot { at: entry.at as f64 / 1000.0, who, idle: text::is_idle(entry), ..Dot::default() };
    let of = |kind, label: &str, step| Dot { kind, label: label.to_string(), ..step };
    match &entry.what {
        Happened::Born { role, build } => {
            let build = build.map(|build| format!(", build {build}")).unwrap_or_default();
            Dot { role: role.name(), ..of("born", &format!("begins{build}"), step) }
        }
        Happened::Turn(turn) => {
            let sent = turn.effects.iter().filter_map(|effect| match effect {
                TracedEffect::Sent { to, message, frame, .. } => {
                    Some((*frame, to.to_string(), message.clone()))
                }
                TracedEffect::Tried(_) | TracedEffect::Did(_) => None,
            });
            let did = turn.effects.iter().filter_map(|effect| match effect {
                TracedEffect::Tried(what) | TracedEffect::Did(what) => Some(what.clone()),
                TracedEffect::Sent { .. } => None,
            });
            Dot {
                role: turn.role.name(),
                states: Some([turn.before, turn.after]),
                came: turn.frame,
                sent: sent.collect(),
                did: did.collect(),
                ..of("turn", &turn.event, step)
            }
        }
        Happened::HookBegan(hook) => of("hook", hook.name(), step),
        Happened::HookEnded(hook, None) => of("hook-end", hook.name(), step),
        Happened::HookEnded(hook, Some(why)) => of("hook-end", &format!("{hook} fails: {why}"), step),
        Happened::Serves(true) => of("serves", "serves", step),
        Happened::Serves(false) => of("serves-no-more", "serves no more", step),
        Happened::Ends(how) => of("ends", how, step),
        Happened::IsGone => of("gone", GONE, step),
        Happened::Fault(what) => of("fault", what, step),
        Happened::Note(what) => of("note", what, step),
        Happened::Violated { check, why } => of("violated", &format!("{check}: {why}"), step),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::Plan;
    use crate::run::{Planted, RunOptions, ledgers, run};

    fn page_of(plan: &str, planted: Planted) -> (String, serde_json::Value) {
        let plan = Plan::parse(plan).expect("a plan");
        let report = run(
            &Arc::new(plan.clone()),
            &ledgers(),
            RunOptions { trace: true, planted, ..RunOptions::default() },
        );
        let page = page(&report.shown(&plan));
        let data =
            page.split("const run = ").nth(1).and_then(|rest| rest.split(";\n").next()).expect("the data");
        let data = serde_json::from_str(&data.replace("<\\/", "</")).expect("json");
        (page, data)
    }

    #[test]
    fn every_frame_that_came_was_sent() {
        let (_, data) = page_of("handoffs = 2", Planted::Nothing);
        let steps = data["steps"].as_array().expect("steps");
        let sent: Vec<u64> = steps
            .iter()
            .flat_map(|step| step["sent"].as_array().expect("frames"))
            .filter_map(|frame| frame[0].as_u64())
            .collect();
        let came: Vec<u64> = steps.iter().filter_map(|step| step["came"].as_u64()).collect();
        assert!(came.len() > 40, "{}", came.len());
        assert!(came.iter().all(|frame| sent.contains(frame)));
    }

    #[test]
    fn what_went_wrong_is_on_the_page() {
        let crash =
            "why = \"<b>bold</b></script>\"\n[[fault]]\nat = \"hook open\"\nin-handoff = 1\ndo = \"panic\"";
        let (page, data) = page_of(crash, Planted::Nothing);
        let steps = data["steps"].as_array().expect("steps");
        assert!(steps.iter().any(|step| step["kind"] == "fault" && step["label"] == "panic: open"));
        assert!(data["violation"].is_null());
        assert!(!page.contains("bold</b></script>"), "the data must not end the script");
        let (_, data) = page_of("", Planted::FlockExcludesNobody);
        assert!(data["violation"].as_str().is_some_and(|why| why.starts_with("one writer")));
    }
}
