//! Every scenario leaves the trace that was reviewed, and no check fails.
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use handoff_sim::run::{RunOptions, RunReport, ledgers};
use handoff_sim::trace::{Happened, TraceEntry, text};
use handoff_sim::{Plan, run};

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files =
        fs::read_dir(folder).expect("the folder scenarios").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

/// From the first handoff or fault to where the swap begins with which every run ends.
fn trace(report: &RunReport) -> String {
    let asked =
        |entry: &TraceEntry| matches!(&entry.what, Happened::Turn(turn) if turn.event == "asked to swap");
    let last = report.trace.iter().rposition(asked).unwrap_or(report.trace.len());
    let first = report.trace.iter().position(|entry| entry.at >= report.origin).unwrap_or(0);
    let mut lines = text::lines(&report.trace[first.min(last)..last], report.origin);
    lines.push(format!("then a swap that must commit: {:?}", report.verdicts.last()));
    lines.join("\n")
}

/// Returns what is wrong with a run, besides what its snapshot says.
fn wrong(plan: &Plan, report: &RunReport) -> Option<String> {
    let strikes = |index: usize| report.struck.iter().any(|struck| struck.index == index);
    let missed = (0..plan.faults.len()).find(|index| !strikes(*index));
    match (&report.violation, missed) {
        (Some(violation), _) => Some(format!("the check {:?} fails: {}", violation.check, violation.why)),
        (None, Some(index)) => Some(format!("this never happens: {:?}", plan.faults[index])),
        (None, None) if plan.why.is_empty() => Some("it does not say why".into()),
        (None, None) => None,
    }
}

#[test]
fn every_scenario_leaves_the_trace_that_was_reviewed() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(".");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut problems = Vec::new();
    for path in scenarios() {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let plan = Plan::load(&path).expect("a good scenario");
        let report =
            run(&Arc::new(plan.clone()), &ledgers(), RunOptions { trace: true, ..RunOptions::default() });
        problems.extend(wrong(&plan, &report).map(|problem| format!("{name}: {problem}")));
        settings.set_description(plan.why.replace('\n', " "));
        let compared = catch_unwind(AssertUnwindSafe(|| {
            settings.bind(|| insta::assert_snapshot!(name.as_str(), trace(&report)));
        }));
        problems
            .extend(compared.err().map(|_| format!("{name}: another trace than the one that was reviewed")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
