//! The answer to a scrape, beside the files and the page that name it.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use handoff::node::keeper::Activity;

use super::*;
use crate::protocol::{DaemonAnswer, DaemonReport, LastSwap, ListenerReport, PhasesMs, SwapOutcome};

fn swap(outcome: SwapOutcome, reason_name: Option<&str>) -> SwapReport {
    SwapReport {
        outcome,
        committed: outcome == SwapOutcome::Committed,
        reason: reason_name.map(String::from),
        reason_name: reason_name.map(Into::into),
        resumed_confirmed: true,
        handoff_id: "7".into(),
        binary: "/bin/d".into(),
        build_id: None,
        pid: Some(7),
        phases_ms: PhasesMs::new(|phase| if phase == Phase::RollBack { 0.0 } else { 1.5 }, 12.0),
        pause_ms: 6.0,
        connections_left: 2,
        warnings: Vec::new(),
    }
}

fn report() -> StatusReport {
    StatusReport {
        activity: Activity::BackingOff,
        supervisor_pid: 1,
        supervisor_version: "1.2.3".into(),
        supervisor_up_secs: 9.0,
        supervisor_since: "2026-03-14T15:09:26Z".into(),
        daemon: Some(DaemonReport {
            pid: 7,
            binary: "/bin/d".into(),
            fell_back: true,
            since_unix_secs: 1,
            up_secs: 1.0,
            started_at: "2026-03-14T15:09:27Z".into(),
            committed_at: Some("2026-03-14T15:09:28Z".into()),
            file: FileState::Replaced,
        }),
        answer: Some(DaemonAnswer {
            build_id: "a \"blue\" one".into(),
            standing: Standing::Serving,
            open_conns: 5,
            last_revision_per_shard: vec![1],
        }),
        silence: None,
        listeners: vec![ListenerReport { name: "a".into(), addr: None }],
        under_way: None,
        restarts: 3,
        failed_start: None,
        warnings: vec!["odd".into()],
        last_swap: Some(LastSwap {
            ended_secs_ago: 1.0,
            ended_at: "2026-03-14T15:09:28Z".into(),
            report: swap(SwapOutcome::RolledBack, Some("unhealthy")),
        }),
        recovery: None,
    }
}

/// All that can be told.
fn everything() -> String {
    let metrics = SupervisorMetrics::default();
    metrics.swap_has_ended(&swap(SwapOutcome::Committed, None));
    metrics.swap_has_ended(&swap(SwapOutcome::RolledBack, Some("unhealthy")));
    metrics.swap_was_refused(Code::Busy);
    metrics.has_recovered(RecoveryEnd::Nobody);
    metrics.text(&report())
}

/// The samples of `text`, by their name and labels.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect()
}

/// The metrics that `text` tells, by their kind.
fn told(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// The metrics that `text` names, in queries for example.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let series = words.filter(|word| word.starts_with("handoff_"));
    let of_histogram = |series: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|part| series.strip_suffix(part)).map(String::from)
    };
    series.map(|series| of_histogram(series).unwrap_or_else(|| series.to_owned())).collect()
}

/// A file of the repository.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn what_has_happened_is_counted_once_and_what_is_so_is_read_from_the_status() {
    let text = everything();
    let samples = samples(&text);
    for (sample, value) in [
        (r#"handoff_handoffs_total{outcome="committed",reason="none"}"#, 1.0),
        (r#"handoff_handoffs_total{outcome="rolled_back",reason="unhealthy"}"#, 1.0),
        (r#"handoff_duration_seconds_sum{outcome="committed"}"#, 0.012),
        (r#"handoff_duration_seconds_bucket{outcome="committed",le="0.01"}"#, 0.0),
        (r#"handoff_duration_seconds_bucket{outcome="committed",le="0.02"}"#, 1.0),
        (r#"handoff_phase_seconds_count{phase="drain"}"#, 2.0),
        ("handoff_pause_seconds_sum", 0.012),
        ("handoff_connections_left_total", 4.0),
        (r#"handoff_refused_swaps_total{code="75"}"#, 1.0),
        (r#"handoff_recoveries_total{found="nobody"}"#, 1.0),
        ("handoff_refused_peers_total", 0.0),
        ("handoff_log_lines_lost_total", 0.0),
        (r#"handoff_supervisor_info{version="1.2.3"}"#, 1.0),
        ("handoff_supervisor_start_time_seconds", 1_773_500_966.0),
        (r#"handoff_supervisor_activity{activity="backing_off"}"#, 1.0),
        ("handoff_under_way_seconds", 0.0),
        ("handoff_listeners", 1.0),
        ("handoff_warnings", 1.0),
        ("handoff_last_handoff_committed", 0.0),
        ("handoff_last_handoff_timestamp_seconds", 1_773_500_968.0),
        ("handoff_daemon_serving", 1.0),
        ("handoff_daemon_restarts_total", 3.0),
        ("handoff_daemon_start_failed", 0.0),
        (r#"handoff_daemon_info{build_id="a \"blue\" one"}"#, 1.0),
        ("handoff_daemon_open_connections", 5.0),
        ("handoff_daemon_start_time_seconds", 1_773_500_967.0),
        ("handoff_daemon_commit_time_seconds", 1_773_500_968.0),
        ("handoff_daemon_fell_back", 1.0),
        ("handoff_daemon_file_differs", 1.0),
    ] {
        assert_eq!(samples.get(sample), Some(&value), "{sample}\n{text}");
    }
    assert!(!text.contains("phase=\"roll_back\""), "no handoff came to that");
}

#[test]
fn what_is_not_known_is_not_told() {
    let status = StatusReport { daemon: None, answer: None, last_swap: None, ..report() };
    let text = SupervisorMetrics::default().text(&status);
    let told = told(&text);
    assert_eq!(samples(&text).get("handoff_daemon_serving"), Some(&0.0));
    for name in
        ["handoff_daemon_info", "handoff_daemon_commit_time_seconds", "handoff_last_handoff_committed"]
    {
        assert!(!told.contains_key(name), "{name}");
    }
}

#[test]
fn names_and_help_follow_the_conventions() {
    let text = everything();
    for (name, kind) in told(&text) {
        let help = text.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
        assert!(help.is_some_and(|help| help.len() > 10), "{name} has no help");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}: {kind}");
        let known = ["counter", "gauge", "histogram"].contains(&kind.as_str());
        assert!(
            known && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{name}: {kind}"
        );
    }
}

#[test]
fn the_alerts_the_dashboard_and_the_page_name_what_is_told() {
    let told: BTreeSet<String> = told(&everything()).into_keys().collect();
    for path in ["supervisor/contrib/alerts.yml", "supervisor/contrib/dashboard.json", "docs/operations.md"] {
        let named = named(&file(path));
        let unknown: Vec<_> = named.difference(&told).collect();
        assert!(named.len() > 5 && unknown.is_empty(), "{path} names what is not told: {unknown:?}");
    }
    let missing: Vec<_> = told.difference(&named(&file("docs/operations.md"))).cloned().collect();
    assert!(missing.is_empty(), "docs/operations.md does not name {missing:?}");
    let dashboard: serde_json::Value =
        serde_json::from_str(&file("supervisor/contrib/dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 5));
}
