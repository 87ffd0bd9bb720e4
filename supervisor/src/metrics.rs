//! The metrics that Prometheus is told.
//!
//! No fact is kept here that is kept elsewhere. What has happened is counted where it is reported: a swap where the history gets it.
//! What is so at the moment of a scrape is read from the report that `status` shows.
use handoff::daemon::LossyWriter;
use handoff::message::Standing;
use handoff::{Phase, metrics};
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::Serialize;

use crate::exit::Code;
use crate::protocol::{FileState, RecoveryEnd, StatusReport, SwapReport};
use crate::when;

/// The names of labels, and their values.
type MetricLabels = Vec<(&'static str, String)>;

/// The counts of what has happened since the supervisor began. Copies count the same.
#[derive(Clone, Debug)]
pub(crate) struct SupervisorMetrics {
    handoffs: Family<MetricLabels, Counter>,
    durations: Family<MetricLabels, Histogram>,
    phases: Family<MetricLabels, Histogram>,
    pauses: Histogram,
    connections_left: Counter,
    refused_swaps: Family<MetricLabels, Counter>,
    recoveries: Family<MetricLabels, Counter>,
    refused_peers: Counter,
    log: Option<LossyWriter>,
}

impl Default for SupervisorMetrics {
    fn default() -> Self {
        SupervisorMetrics::new(Counter::default(), None)
    }
}

impl SupervisorMetrics {
    /// Nothing has happened yet. `refused_peers` counts them, `log` its own lost lines.
    pub(crate) fn new(refused_peers: Counter, log: Option<LossyWriter>) -> SupervisorMetrics {
        SupervisorMetrics {
            handoffs: Family::default(),
            durations: Family::new_with_constructor(histogram),
            phases: Family::new_with_constructor(histogram),
            pauses: histogram(),
            connections_left: Counter::default(),
            refused_swaps: Family::default(),
            recoveries: Family::default(),
            refused_peers,
            log,
        }
    }

    /// A swap, or a start that was asked for, is over.
    pub(crate) fn swap_has_ended(&self, report: &SwapReport) {
        let outcome = ("outcome", word(&report.outcome));
        let reason = report.reason_name.as_deref().unwrap_or("none").to_owned();
        self.handoffs.get_or_create(&vec![outcome.clone(), ("reason", reason)]).inc();
        self.connections_left.inc_by(report.connections_left.into());
        // What an earlier supervisor has begun, or the library has not ended, was not measured.
        if report.phases_ms.total > 0.0 {
            self.durations.get_or_create(&vec![outcome]).observe(report.phases_ms.total / 1000.0);
        }
        let passed = Phase::ALL.iter().filter(|phase| report.phases_ms.took(**phase) > 0.0);
        for phase in passed {
            let label = vec![("phase", phase.name().to_owned())];
            self.phases.get_or_create(&label).observe(report.phases_ms.took(*phase) / 1000.0);
        }
        if report.pause_ms > 0.0 {
            self.pauses.observe(report.pause_ms / 1000.0);
        }
    }

    /// A swap was refused, and nothing was touched.
    pub(crate) fn swap_was_refused(&self, code: Code) {
        self.refused_swaps.get_or_create(&vec![("code", code.number().to_string())]).inc();
    }

    /// A recovery is over.
    pub(crate) fn has_recovered(&self, found: RecoveryEnd) {
        self.recoveries.get_or_create(&vec![("found", word(&found))]).inc();
    }

    /// All of it, and what `status` says now, in the text format of Prometheus.
    pub(crate) fn text(&self, status: &StatusReport) -> String {
        let mut exposed = Exposed(Registry::default());
        self.expose(&mut exposed);
        expose_supervisor(status, &mut exposed);
        expose_daemon(status, &mut exposed);
        let mut text = String::new();
        // A text has room for all that is written to it.
        let _ = prometheus_text::encode(&mut text, &exposed.0);
        text
    }

    fn expose(&self, exposed: &mut Exposed) {
        let Exposed(registry) = exposed;
        // The encoder adds what counters end with.
        let counted = |name: &'static str| name.trim_end_matches("_total");
        let help = "Handoffs that have ended, by their outcome and by why they were not committed";
        registry.register(counted(metrics::HANDOFFS_TOTAL), help, self.handoffs.clone());
        registry.register(metrics::DURATION_SECONDS, "The time of a whole handoff", self.durations.clone());
        registry.register(metrics::PHASE_SECONDS, "The time of a handoff's phase", self.phases.clone());
        let help = "The time in a handoff in which no daemon accepts connections";
        registry.register(metrics::PAUSE_SECONDS, help, self.pauses.clone());
        let help = "Connections that were still open when a drain's grace was over";
        registry.register("handoff_connections_left", help, self.connections_left.clone());
        let help = "Swaps that were refused before anything was touched, by the exit code of the command";
        registry.register("handoff_refused_swaps", help, self.refused_swaps.clone());
        let help = "Times that the supervisor had to find out which daemon serves, by what it has found";
        registry.register("handoff_recoveries", help, self.recoveries.clone());
        let help = "Peers that the trigger socket refused for their user";
        registry.register("handoff_refused_peers", help, self.refused_peers.clone());
        let lost = self.log.as_ref().map_or(0, LossyWriter::lost);
        let help = "Lines of the supervisor's log that could not be written";
        registry.register("handoff_log_lines_lost", help, ConstCounter::new(lost));
    }
}

/// From a millisecond, or what a handoff takes at least, to minutes.
fn histogram() -> Histogram {
    let millis = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000];
    Histogram::new(millis.map(|millis| f64::from(millis) / 1000.0))
}

/// The metrics that a scrape is answered with.
struct Exposed(Registry);

impl Exposed {
    fn gauge(&mut self, name: &str, help: &str, value: impl Into<i64>) {
        let gauge: Gauge = Gauge::default();
        gauge.set(value.into());
        self.0.register(name, help, gauge);
    }

    /// The gauge for a point in time, if that is known.
    fn time(&mut self, name: &str, help: &str, shown: Option<&str>) {
        let secs = shown.and_then(when::unix_secs).and_then(|secs| i64::try_from(secs).ok());
        secs.into_iter().for_each(|secs| self.gauge(name, help, secs));
    }

    /// A gauge that is 1: what it says is in its labels.
    fn info(&mut self, name: &str, help: &str, labels: MetricLabels) {
        let family = Family::<MetricLabels, Gauge>::default();
        family.get_or_create(&labels).set(1);
        self.0.register(name, help, family);
    }
}

fn expose_supervisor(status: &StatusReport, exposed: &mut Exposed) {
    let version = vec![("version", status.supervisor_version.clone())];
    exposed.info("handoff_supervisor_info", "The supervisor's version", version);
    let since = Some(status.supervisor_since.as_str());
    exposed.time("handoff_supervisor_start_time_seconds", "When the supervisor began", since);
    let activity = vec![("activity", word(&status.activity))];
    exposed.info("handoff_supervisor_activity", "What the supervisor is doing", activity);
    let seconds = status.under_way.as_ref().map_or(0, |job| job.for_secs as i64);
    let help = "For how long what is under way (a swap, a start, a recovery) has been; 0 if nothing is";
    exposed.gauge("handoff_under_way_seconds", help, seconds);
    let help = "Listening sockets that daemons inherit";
    exposed.gauge("handoff_listeners", help, i64::try_from(status.listeners.len()).unwrap_or(i64::MAX));
    let help = "Warnings of the status: why what was committed may not come back as it ran";
    exposed.gauge("handoff_warnings", help, i64::try_from(status.warnings.len()).unwrap_or(i64::MAX));
    if let Some(last) = &status.last_swap {
        let help = "Whether the last handoff was committed";
        exposed.gauge("handoff_last_handoff_committed", help, last.report.committed);
        let help = "When the last handoff ended";
        exposed.time("handoff_last_handoff_timestamp_seconds", help, Some(&last.ended_at));
    }
}

fn expose_daemon(status: &StatusReport, exposed: &mut Exposed) {
    let serves = status.answer.as_ref().is_some_and(|answer| answer.standing == Standing::Serving);
    exposed.gauge("handoff_daemon_serving", "Whether the daemon says that it serves", serves);
    let help = "Times that the daemon had to be started again because it ended by itself";
    exposed.0.register("handoff_daemon_restarts", help, ConstCounter::new(status.restarts));
    let help = "Whether no daemon serves, and the last start came to nothing";
    exposed.gauge("handoff_daemon_start_failed", help, status.failed_start.is_some());
    if let Some(answer) = &status.answer {
        let build = vec![("build_id", answer.build_id.to_string())];
        exposed.info("handoff_daemon_info", "What the daemon calls its build", build);
        exposed.gauge("handoff_daemon_open_connections", "The daemon's open connections", answer.open_conns);
    }
    if let Some(daemon) = &status.daemon {
        let help = "When the daemon's process started";
        exposed.time("handoff_daemon_start_time_seconds", help, Some(&daemon.started_at));
        let help = "When the daemon was committed";
        exposed.time("handoff_daemon_commit_time_seconds", help, daemon.committed_at.as_deref());
        let help = "Whether the daemon is what was committed before, because the newer one kept failing";
        exposed.gauge("handoff_daemon_fell_back", help, daemon.fell_back);
        if daemon.file != FileState::Unknown {
            let help = "Whether the file at the daemon's path is not what the daemon executes";
            exposed.gauge("handoff_daemon_file_differs", help, daemon.file != FileState::Same);
        }
    }
}

/// The word that `value` is in JSON.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(String::from)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
