//! Reports, as people read them.
use std::time::Duration;

use handoff::Phase;

use crate::protocol::{
    Activity, DaemonAnswer, LastSwap, PhasesMs, RecoveryEnd, RecoveryReport, StatusReport, SwapEnd,
    SwapOutcome, SwapReport,
};

/// What became of a swap: a line for the outcome, one for the phases, one for each warning.
pub(crate) fn swap(report: &SwapReport) -> String {
    let mut lines = vec![headline(report), format!("  {}", phases(&report.phases_ms))];
    lines.extend(report.warnings.iter().map(|warning| format!("  warning: {warning}")));
    lines.join("\n")
}

/// What runs, one subject a line.
pub(crate) fn status(report: &StatusReport) -> String {
    let mut lines = vec![format!(
        "supervisor: pid {}, version {}, up {}, {}",
        report.supervisor_pid,
        report.supervisor_version,
        duration(report.supervisor_up_secs),
        activity(report.activity)
    )];
    lines.push(match &report.daemon {
        Some(daemon) => format!(
            "daemon:     pid {}, {}{}, up {}, restarts {}",
            daemon.pid,
            daemon.binary.display(),
            if daemon.fell_back {
                " as committed before: a FALL-BACK, the newer one kept failing"
            } else {
                ""
            },
            duration(daemon.up_secs),
            report.restarts
        ),
        None => format!("daemon:     none, restarts {}", report.restarts),
    });
    lines.push(match (&report.answer, &report.silence) {
        (Some(answer), _) => format!("says:       {}", says(answer)),
        (None, Some(why)) => format!("says:       nothing: {why}"),
        (None, None) => "says:       nothing".into(),
    });
    lines.extend(report.failed_start.as_ref().map(|why| format!("last start: failed: {why}")));
    lines.extend(report.warnings.iter().map(|warning| format!("warning:    {warning}")));
    lines.extend(report.last_swap.as_ref().map(last_swap));
    lines.extend(report.recovery.iter().flat_map(recovery));
    lines.join("\n")
}

/// What a recovery found: a line, and one for each warning.
fn recovery(report: &RecoveryReport) -> Vec<String> {
    let found = match (report.found, report.pid) {
        (RecoveryEnd::Serving, Some(pid)) => format!("pid {pid} serves"),
        (RecoveryEnd::Serving, None) => "a daemon serves".into(),
        (RecoveryEnd::Nobody, _) => "nobody served".into(),
        (RecoveryEnd::Unconfirmed, _) => "no daemon has said that it serves".into(),
    };
    let mut parts = vec![format!("{found} (found in {:.1} ms)", report.took_ms)];
    parts.extend(report.interrupted.as_ref().map(|swap| {
        let end = match swap.end {
            SwapEnd::Finished => "was finished",
            SwapEnd::Undone => "was undone",
            SwapEnd::Lost => "has left neither daemon serving",
        };
        format!("swap {} {end}", swap.handoff_id)
    }));
    let named =
        |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", names.join(" ")));
    let pids = |pids: &[u32]| pids.iter().map(u32::to_string).collect::<Vec<_>>();
    parts.extend(named("listeners taken over:", &report.listeners_taken));
    parts.extend(named("listeners opened:", &report.listeners_opened));
    parts.extend(named("killed:", &pids(&report.killed)));
    parts.extend(named("left alone:", &pids(&report.left)));
    let headline = format!("recovered:  {} ago, {}", duration(report.ended_secs_ago), parts.join("; "));
    let warnings = report.warnings.iter().map(|warning| format!("            warning: {warning}"));
    [headline].into_iter().chain(warnings).collect()
}

pub(crate) fn headline(report: &SwapReport) -> String {
    let binary = report.binary.display();
    let reason = report.reason.as_deref().unwrap_or("no reason was given");
    match report.outcome {
        SwapOutcome::Committed => match report.pid {
            Some(pid) => format!("committed: {binary} serves as pid {pid}"),
            None => format!("committed: {binary} serves"),
        },
        SwapOutcome::RolledBack => format!("rolled back: {reason}; the old daemon serves"),
        SwapOutcome::FellBack => format!("committed, then fell back: {reason}; the old daemon serves"),
        SwapOutcome::Unconfirmed => {
            format!("unconfirmed: {reason}; it is not known whether the old daemon serves")
        }
        SwapOutcome::NobodyServes => {
            format!("nobody serves: {reason}; the supervisor starts the daemon again")
        }
    }
}

fn phases(phases: &PhasesMs) -> String {
    let without = match phases.took(Phase::RollBack) > 0.0 {
        true => &[Phase::Commit, Phase::Retire][..],
        false => &[Phase::RollBack],
    };
    let passed = Phase::ALL.iter().filter(|phase| !without.contains(phase));
    let took = passed.map(|phase| format!("{} {:.1}", phase.name().replace('_', "-"), phases.took(*phase)));
    let took = took.collect::<Vec<_>>().join(", ").replacen(',', " ms,", 1);
    format!("{took}; total {:.1} ms", phases.total)
}

fn says(answer: &DaemonAnswer) -> String {
    let revisions: Vec<String> = answer.last_revision_per_shard.iter().map(u64::to_string).collect();
    let revisions = if revisions.is_empty() { "none".into() } else { revisions.join(" ") };
    let standing = format!("{:?}", answer.standing).to_lowercase();
    format!("{standing}, build {}, connections {}, revisions {revisions}", answer.build_id, answer.open_conns)
}

fn last_swap(last: &LastSwap) -> String {
    format!("last swap:  {} ago, {}", duration(last.ended_secs_ago), headline(&last.report))
}

fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::Watching => "watching",
        Activity::Starting => "starting the daemon",
        Activity::Recovering => "finding the daemon that serves",
        Activity::Swapping => "swapping",
        Activity::BackingOff => "waiting to start the daemon again",
        Activity::Stopping => "stopping",
    }
}

/// The two largest units of a duration.
fn duration(secs: f64) -> String {
    let secs = Duration::try_from_secs_f64(secs).unwrap_or_default().as_secs();
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min {} s", secs % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_shows_its_two_largest_units() {
        let cases = [(59.9, "59 s"), (60.0, "1 min 0 s"), (3_720.0, "1 h 2 min"), (90_000.0, "1 d 1 h")];
        for (secs, text) in cases {
            assert_eq!(duration(secs), text);
        }
        assert_eq!(duration(f64::NAN), "0 s");
    }
}
