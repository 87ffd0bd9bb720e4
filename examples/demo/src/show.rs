//! The demonstration itself: swaps under load, each checked from three sides: what the supervisor reports, what the
//! daemon says when asked, and what the clients see.
use std::time::{Duration, Instant};

use anyhow::Result;
use handoff_kv::load::{Load, SeenProcess};
use handoff_supervisor::protocol::{SwapOutcome, SwapReport};

use crate::builds::DaemonBuild;
use crate::progress::Progress;
use crate::report::DemoReport;
use crate::stage::DemoStage;

/// For how long the load has a server to itself between two swaps.
const SPACING: Duration = Duration::from_millis(400);
/// The longest time that anything may take to be seen.
const LIMIT: Duration = Duration::from_secs(30);

/// The programs that take part, and what has come of it.
pub(crate) struct Show<'a> {
    pub(crate) stage: &'a DemoStage,
    pub(crate) load: &'a Load,
    pub(crate) builds: &'a [DaemonBuild; 2],
    pub(crate) progress: &'a Progress,
    pub(crate) report: &'a mut DemoReport,
}

impl Show<'_> {
    /// Swaps `swaps` times to and fro between the builds, and half-way to one that can't open the database.
    ///
    /// # Errors
    /// It can't go on. What merely went wrong is in the report.
    pub(crate) fn run(&mut self, swaps: u32) -> Result<()> {
        let [first, second] = self.builds;
        self.breathe()?;
        self.report.longest_pause_before_ms = self.load.progress().longest_pause_ms;
        let (mut now, mut next) = (first, second);
        for swap in 1..=swaps {
            if self.commit(swap, now, next)? {
                (now, next) = (next, now);
            }
            if swap == swaps.div_ceil(2) {
                self.roll_back(now, next)?;
            }
        }
        let restarts = self.stage.status()?.restarts;
        if restarts > 0 {
            self.report
                .problem(format!("the daemon ended by itself and was started again, {restarts} times"));
        }
        Ok(())
    }

    /// A swap from `now` to `next`; returns whether that serves.
    fn commit(&mut self, number: u32, now: &DaemonBuild, next: &DaemonBuild) -> Result<bool> {
        let swap = self.stage.swap(next, false)?;
        let total = swap.phases_ms.total;
        self.progress.step();
        self.progress.say(&format!(
            "swap {number:>2}  {} -> {}: {} in {total:.1} ms",
            now.name,
            next.name,
            outcome(&swap)
        ));
        let pid = swap.pid.filter(|_| swap.outcome == SwapOutcome::Committed);
        match pid {
            Some(pid) => self.see(next, pid)?,
            None => self.report.problem(format!("swap {number} was not committed: {}", reason(&swap))),
        }
        self.report.swaps.push(swap);
        self.breathe()?;
        Ok(pid.is_some())
    }

    /// A swap from `now` to `next`, which can't open the database.
    fn roll_back(&mut self, now: &DaemonBuild, next: &DaemonBuild) -> Result<()> {
        let before = self.stage.status()?.daemon.map(|daemon| daemon.pid);
        let swap = self.stage.swap(next, true)?;
        let total = swap.phases_ms.total;
        self.progress.step();
        self.progress.say(&format!(
            "broken   {} -> {}: {} in {total:.1} ms: {}",
            now.name,
            next.name,
            outcome(&swap),
            reason(&swap)
        ));
        let after = self.stage.status()?.daemon.map(|daemon| daemon.pid);
        if swap.outcome != SwapOutcome::RolledBack || !swap.resumed_confirmed || before != after {
            self.report.problem(format!("the swap to a broken build was not rolled back: {}", reason(&swap)));
        }
        self.report.swaps.push(swap);
        self.breathe()
    }

    /// Waits until clients have seen `pid`, which must be `build`.
    fn see(&mut self, build: &DaemonBuild, pid: u32) -> Result<()> {
        let mut found = None;
        self.stage.until(&format!("INFO to show process {pid}"), LIMIT, || {
            found = self.load.progress().seen.into_iter().find(|seen| seen.pid == pid);
            Ok(found.is_some())
        })?;
        let wrong = |seen: &SeenProcess| build.id.as_ref().is_some_and(|id| *id != seen.build_id);
        if let Some(seen) = found.filter(wrong) {
            self.report.problem(format!("process {pid} is not build {} but {}", build.name, seen.build_id));
        }
        Ok(())
    }

    /// Leaves the load to itself for a while, in which every connection gets replies.
    fn breathe(&self) -> Result<()> {
        let (load, progress) = (self.load, self.progress);
        let (until, before) = (Instant::now() + SPACING, load.progress().requests);
        self.stage.until("replies", LIMIT, || {
            let counters = load.progress();
            progress.show(&counters);
            Ok(counters.requests > before && Instant::now() >= until)
        })
    }
}

fn outcome(swap: &SwapReport) -> &'static str {
    match swap.outcome {
        SwapOutcome::Committed => "committed",
        SwapOutcome::RolledBack => "rolled back",
        SwapOutcome::FellBack => "committed, then fell back",
        SwapOutcome::Unconfirmed => "unconfirmed",
        SwapOutcome::NobodyServes => "nobody serves",
    }
}

fn reason(swap: &SwapReport) -> &str {
    swap.reason.as_deref().unwrap_or("no reason was given")
}
