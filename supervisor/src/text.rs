//! Reports, as people read them.
use std::time::Duration;

use handoff::Phase;
use handoff::text::PlainText;

use crate::history::HistoryEntry;
use crate::protocol::{
    Activity, DaemonAnswer, DaemonReport, FileState, LastSwap, PhasesMs, ProcessReport, RecoveryEnd,
    RecoveryReport, StatusReport, SwapEnd, SwapOutcome, SwapProgress, SwapReport, UnderWayReport,
};

/// Returns what became of a swap: a line for the outcome, one for the phases, one for each warning.
pub(crate) fn swap(report: &SwapReport) -> String {
    let mut lines = vec![headline(report), format!("  {}", phases(&report.phases_ms))];
    lines.extend(report.warnings.iter().map(|warning| format!("  warning: {warning}")));
    lines.join("\n")
}

/// Returns what runs, one subject a line.
pub(crate) fn status(report: &StatusReport) -> String {
    let mut lines = vec![format!(
        "supervisor: pid {}, version {}, up {}{}, {}",
        report.supervisor_pid,
        report.supervisor_version,
        duration(report.supervisor_up_secs),
        since(&report.supervisor_since),
        activity(report.activity)
    )];
    match &report.daemon {
        Some(running) => lines.extend(daemon(running, report.restarts)),
        None => lines.push(format!("daemon:     none, restarts {}", report.restarts)),
    }
    lines.push(match (&report.answer, &report.silence) {
        (Some(answer), _) => format!("says:       {}", says(answer)),
        (None, Some(why)) => format!("says:       nothing: {why}"),
        (None, None) => "says:       nothing".into(),
    });
    lines.extend(report.listeners.iter().map(|listener| {
        let addr = listener.addr.as_deref().unwrap_or("without an address");
        format!("listener:   {} {addr}", listener.name)
    }));
    lines.extend(
        report.under_way.as_ref().map(|job| format!("under way:  {}", under_way(report.activity, job))),
    );
    lines.extend(report.failed_start.as_ref().map(|why| format!("last start: failed: {why}")));
    lines.extend(report.warnings.iter().map(|warning| format!("warning:    {warning}")));
    lines.extend(report.last_swap.as_ref().map(last_swap));
    lines.extend(report.recovery.iter().flat_map(recovery));
    lines.join("\n")
}

/// Returns what runs, in one line that changes only when something has happened.
pub(crate) fn summary(report: &StatusReport) -> String {
    let mut parts = vec![activity(report.activity).to_string()];
    parts.extend(report.daemon.as_ref().map(|daemon| {
        let binary = daemon.binary.display();
        format!("pid {} {binary}{}", daemon.pid, if daemon.fell_back { " (a FALL-BACK)" } else { "" })
    }));
    parts.push(match &report.answer {
        Some(answer) => format!("{}, build {}", standing(answer), answer.build_id),
        None => "no answer".into(),
    });
    let progress = report.under_way.as_ref().and_then(|job| job.progress.as_ref());
    parts.extend(progress.map(|progress| format!("{}{}", phase(progress), pids(progress))));
    parts.extend(report.failed_start.as_ref().map(|why| format!("last start failed: {why}")));
    parts.extend(
        report
            .last_swap
            .as_ref()
            .map(|last| format!("last swap {} {}", last.ended_at, headline(&last.report))),
    );
    parts.join("; ")
}

/// The daemon's process: a line, and another for its times and its file.
fn daemon(daemon: &DaemonReport, restarts: u64) -> Vec<String> {
    let fell_back = match daemon.fell_back {
        true => " as committed before: a FALL-BACK, the newer one kept failing",
        false => "",
    };
    let (pid, binary, up) = (daemon.pid, daemon.binary.display(), duration(daemon.up_secs));
    let headline = format!("daemon:     pid {pid}, {binary}{fell_back}, up {up}, restarts {restarts}");
    let mut times = Vec::new();
    if !daemon.started_at.is_empty() {
        times.push(format!("started {}", daemon.started_at));
    }
    times.extend(daemon.committed_at.as_ref().map(|at| format!("committed {at}")));
    let file = match daemon.file {
        FileState::Same | FileState::Unknown => None,
        FileState::Replaced => Some("its file was replaced since: another build lies at that path"),
        FileState::Missing => Some("its file was removed since"),
    };
    let more = [(!times.is_empty()).then(|| times.join(", ")), file.map(String::from)];
    let more = more.into_iter().flatten().map(|text| format!("            {text}"));
    [headline].into_iter().chain(more).collect()
}

/// Returns what is under way, in which phase, for how long.
fn under_way(activity: Activity, job: &UnderWayReport) -> String {
    let binary = job.binary.as_ref().map(|binary| format!(" to {}", binary.display())).unwrap_or_default();
    let (what, took) = (self::activity(activity), duration(job.for_secs));
    let come = job.progress.as_ref().map(|progress| {
        let (phase, took, id) = (phase(progress), duration(job.phase_secs), &progress.handoff_id);
        format!("; {phase} for {took}{}; handoff {id}", pids(progress))
    });
    format!("{what}{binary} for {took}{}", come.unwrap_or_default())
}

/// A line for a phase that begins.
pub(crate) fn phase_begins(progress: &SwapProgress) -> String {
    format!("{:>9.3} s  {}{}", progress.elapsed_ms / 1000.0, phase(progress), pids(progress))
}

/// A line for a phase that lasts.
pub(crate) fn phase_now(progress: &SwapProgress, in_phase: Duration, elapsed: Duration) -> String {
    let (in_phase, elapsed) = (in_phase.as_secs_f64(), elapsed.as_secs_f64());
    format!("{} {in_phase:.1} s{}, {elapsed:.1} s in all", phase(progress), pids(progress))
}

fn phase(progress: &SwapProgress) -> String {
    progress.phase.replace('_', "-")
}

/// Both processes, as far as there are two by now.
fn pids(progress: &SwapProgress) -> String {
    match (&progress.incumbent, &progress.successor) {
        (Some(old), Some(new)) => format!(", pid {} -> {}", old.pid, new.pid),
        (Some(old), None) => format!(", pid {}", old.pid),
        (None, Some(new)) => format!(", pid {}", new.pid),
        (None, None) => String::new(),
    }
}

/// The swaps that have ended, the last one last: a line for each, and one for the reason of those that were not committed.
pub(crate) fn history(entries: &[HistoryEntry]) -> String {
    if entries.is_empty() {
        return "no swap has ended yet".into();
    }
    let lines: Vec<String> = entries.iter().map(entry).collect();
    lines.join("\n")
}

fn entry(entry: &HistoryEntry) -> String {
    let process = |process: &Option<ProcessReport>| match process {
        Some(ProcessReport { pid, build_id: Some(build) }) => format!("{build} (pid {pid})"),
        Some(ProcessReport { pid, build_id: None }) => format!("pid {pid}"),
        None => "none".into(),
    };
    let report = &entry.report;
    let (from, to, outcome) = (process(&entry.from), process(&entry.to), outcome(report.outcome));
    let (at, id) = (plain(&entry.ended_at), plain(&report.handoff_id));
    let took = match report.phases_ms.total {
        0.0 => String::new(),
        total => format!(" in {total:.1} ms"),
    };
    let binary = plain(&report.binary.to_string_lossy());
    let reason = report.reason.as_ref().map(|reason| format!("\n    {}", plain(reason))).unwrap_or_default();
    format!("{at}  {outcome}{took}: {from} -> {to}, {binary}, handoff {id}{reason}")
}

/// Makes plain what is read from a file and shown on terminals.
fn plain(text: &str) -> PlainText {
    PlainText::from(text)
}

fn outcome(outcome: SwapOutcome) -> &'static str {
    match outcome {
        SwapOutcome::Committed => "committed",
        SwapOutcome::RolledBack => "rolled back",
        SwapOutcome::FellBack => "fell back",
        SwapOutcome::Unconfirmed => "unconfirmed",
        SwapOutcome::NobodyServes => "nobody serves",
    }
}

/// Returns what a recovery found: a line, and one for each warning.
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
        _ if report.was_tried() => {
            let build = report.build_id.as_ref().filter(|build| !build.is_empty());
            let build = build.map(|build| format!(", build {build},")).unwrap_or_default();
            format!("tried: {binary}{build} became warm and was let go; the old daemon was not disturbed")
        }
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
    let (standing, build, open_conns) = (standing(answer), &answer.build_id, answer.open_conns);
    format!("{standing}, build {build}, connections {open_conns}, revisions {revisions}")
}

fn standing(answer: &DaemonAnswer) -> String {
    format!("{:?}", answer.standing).to_lowercase()
}

fn last_swap(last: &LastSwap) -> String {
    let (ago, at) = (duration(last.ended_secs_ago), since(&last.ended_at));
    format!("last swap:  {ago} ago{at}, {}", headline(&last.report))
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

/// A point in time beside how long ago it is, if it is known.
fn since(at: &str) -> String {
    if at.is_empty() { String::new() } else { format!(" ({at})") }
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
