//! The outcome of the demonstration: one object, and the same for people.
use std::fmt::{self, Display};
use std::path::PathBuf;

use handoff_kv::load;
use handoff_supervisor::protocol::{Phase, PhasesMs, SwapOutcome, SwapReport};
use indicatif::HumanCount;
use serde::Serialize;

/// The outcome of the demonstration.
#[derive(Debug, Default, Serialize)]
pub(crate) struct DemoReport {
    /// `true` if all was as it should be.
    pub(crate) ok: bool,
    /// Swaps that were committed.
    pub(crate) committed: usize,
    /// Swaps that were rolled back: there should be one.
    pub(crate) rolled_back: usize,
    /// The report of the clients.
    #[serde(flatten)]
    pub(crate) load: load::LoadReport,
    /// The longest pause before the first swap, for comparison.
    pub(crate) longest_pause_before_ms: f64,
    /// The time that each phase took in the swaps that were committed, in milliseconds: the median of each,
    /// so that they do not add up.
    pub(crate) median_phases_ms: PhasesMs,
    /// The median of drain, seal, open and commit together: from when the old build stops to take requests to when
    /// the supervisor's journal says that the new one serves.
    pub(crate) median_handover_ms: f64,
    /// Each swap.
    pub(crate) swaps: Vec<SwapReport>,
    /// The directory that the data was in.
    pub(crate) data_dir: PathBuf,
    /// The file system that the directory is on.
    pub(crate) filesystem: Option<String>,
    /// The faults, in words.
    pub(crate) problems: Vec<String>,
}

impl DemoReport {
    /// Notes that something was not as it should be.
    pub(crate) fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// Sums up, and judges.
    pub(crate) fn conclude(&mut self) {
        let ended = |outcome| self.swaps.iter().filter(move |swap| swap.outcome == outcome);
        self.committed = ended(SwapOutcome::Committed).count();
        self.rolled_back = ended(SwapOutcome::RolledBack).count();
        let phases: Vec<PhasesMs> = ended(SwapOutcome::Committed).map(|swap| swap.phases_ms).collect();
        self.median_phases_ms = median_phases(&phases);
        self.median_handover_ms = median(&phases, |swap| {
            [Phase::Drain, Phase::Seal, Phase::Open, Phase::Commit].map(|phase| swap.took(phase)).iter().sum()
        });
        self.problems.extend(self.load.errors.iter().map(|error| format!("a client, at {error}")));
        if self.load.counters.cut > 0 {
            self.problem(format!("{} connections were closed on clients", self.load.counters.cut));
        }
        self.ok = self.problems.is_empty() && self.load.is_clean();
    }
}

/// Phase by phase.
fn median_phases(swaps: &[PhasesMs]) -> PhasesMs {
    PhasesMs::new(|phase| median(swaps, |swap| swap.took(phase)), median(swaps, |swap| swap.total))
}

/// The median of what `time` gives for each swap; 0 if there were none.
fn median(swaps: &[PhasesMs], time: impl Fn(&PhasesMs) -> f64) -> f64 {
    let mut times: Vec<f64> = swaps.iter().map(time).collect();
    times.sort_by(f64::total_cmp);
    let (low, high) = (times.get(times.len().saturating_sub(1) / 2), times.get(times.len() / 2));
    low.zip(high).map_or(0.0, |(low, high)| (low + high) / 2.0)
}

impl Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}",
            if self.ok { "Nothing failed, nothing was lost." } else { "It did not go as it should:" }
        )?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "  - {problem}"))?;
        if self.load.counters.requests == 0 {
            return Ok(());
        }
        self.rows().iter().try_for_each(|(name, text)| writeln!(f, "  {name:<15} {text}"))
    }
}

impl DemoReport {
    fn rows(&self) -> [(&'static str, String); 11] {
        let (counters, latency) = (&self.load.counters, &self.load.latency);
        let took = |phase| self.median_phases_ms.took(phase);
        let pause = counters.longest_pause_ms;
        let before = self.longest_pause_before_ms;
        let handover = self.median_handover_ms;
        let filesystem = self.filesystem.as_deref().unwrap_or("an unknown file system");
        [
            ("swaps", format!("{} committed, {} rolled back", self.committed, self.rolled_back)),
            ("builds seen", self.builds()),
            ("requests", self.requests()),
            ("failed", counters.failed.to_string()),
            ("lost writes", format!("{}, reordered {}", self.lost(), counters.reordered)),
            ("connections cut", counters.cut.to_string()),
            ("longest pause", format!("{pause:.1} ms (before the first swap: {before:.1} ms)")),
            (
                "latency",
                format!(
                    "p50 {:.1} ms, p99 {:.1}, p99.9 {:.1}",
                    latency.p50_ms, latency.p99_ms, latency.p999_ms
                ),
            ),
            (
                "median swap",
                format!(
                    "{:.1} ms (spawn {:.1}, warm-up {:.1}, handover, retire {:.1})",
                    self.median_phases_ms.total,
                    took(Phase::Spawn),
                    took(Phase::WarmUp),
                    took(Phase::Retire)
                ),
            ),
            (
                "  its handover",
                format!(
                    "{handover:.1} ms (drain {:.1}, seal {:.1}, open {:.1}, commit {:.1})",
                    took(Phase::Drain),
                    took(Phase::Seal),
                    took(Phase::Open),
                    took(Phase::Commit)
                ),
            ),
            ("data", format!("on {filesystem}, in {}", self.data_dir.display())),
        ]
    }

    fn requests(&self) -> String {
        let (load, counters) = (&self.load, &self.load.counters);
        let rate = counters.requests as f64 / load.seconds.max(0.001);
        format!(
            "{} on {} connections in {:.1} s ({} a second), {} of them durable writes",
            HumanCount(counters.requests),
            load.connections,
            load.seconds,
            HumanCount(rate as u64),
            HumanCount(counters.acknowledged_writes)
        )
    }

    /// Acknowledged writes that were not there, and numbers that were handed out twice or to no client.
    fn lost(&self) -> u64 {
        let counters = &self.load.counters;
        counters.lost + counters.duplicated + counters.skipped
    }

    /// Each build that answered, and as how many processes.
    fn builds(&self) -> String {
        let mut builds: Vec<(&str, usize)> = Vec::new();
        for seen in &self.load.counters.seen {
            match builds.iter_mut().find(|(id, _)| *id == seen.build_id) {
                Some((_, processes)) => *processes += 1,
                None => builds.push((&seen.build_id, 1)),
            }
        }
        let shown: Vec<String> =
            builds.iter().map(|(id, count)| format!("{id} ({count} processes)")).collect();
        shown.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_taken_phase_by_phase() {
        let swap =
            |drain, total| PhasesMs::new(|phase| if phase == Phase::Drain { drain } else { 0.0 }, total);
        let of = median_phases(&[swap(3.0, 10.0), swap(1.0, 30.0), swap(2.0, 20.0)]);
        assert_eq!((of.took(Phase::Drain), of.total), (2.0, 20.0));
        assert_eq!(median_phases(&[swap(1.0, 1.0), swap(2.0, 3.0)]).total, 2.0);
        assert_eq!(median_phases(&[]), PhasesMs::default());
    }

    #[test]
    fn one_failed_request_or_one_problem_is_enough() {
        let clean = || {
            let mut report = DemoReport::default();
            report.load.counters.requests = 1;
            report
        };
        let ok = |change: fn(&mut DemoReport)| {
            let mut report = clean();
            change(&mut report);
            report.conclude();
            report.ok
        };
        assert!(ok(|_| ()));
        assert!(!ok(|report| report.load.counters.requests = 0));
        assert!(!ok(|report| report.load.counters.failed = 1));
        assert!(!ok(|report| report.load.counters.skipped = 1));
        assert!(!ok(|report| report.load.counters.cut = 1));
        assert!(!ok(|report| report.problem("this")));
    }
}
