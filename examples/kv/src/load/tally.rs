//! The counts that all connections make together, and the report.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::Wrong;
use crate::sync::lock;

/// The number of failures that are kept in words.
const ERRORS_KEPT: usize = 20;

/// A process that answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeenProcess {
    /// The name that the process gives to its build.
    pub build_id: String,
    /// Its pid.
    pub pid: u32,
}

/// The state of a load.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counters {
    /// Requests that got a reply.
    pub requests: u64,
    /// Attempts that ended in anything but a reply, or the end of the stream before its first byte.
    pub failed: u64,
    /// Attempts that ended with the end of the stream before the reply's first byte, and were made again.
    pub retried: u64,
    /// Connections that the server, or its end, has closed on a client.
    pub cut: u64,
    /// Writes that were acknowledged.
    pub acknowledged_writes: u64,
    /// Acknowledged writes that were not there when they were read.
    pub lost: u64,
    /// Keys that held something newer than, or foreign to, what was acknowledged.
    pub reordered: u64,
    /// Numbers that `INCR` handed out twice.
    pub duplicated: u64,
    /// Numbers that `INCR` handed out to no client: a request was executed although its connection said not.
    pub skipped: u64,
    /// The longest time from a request's first byte sent to its reply, repetitions included.
    pub longest_pause_ms: f64,
    /// The same among the requests that had to be sent again: what a replacement costs, without what the disk does at
    /// other times.
    pub longest_retry_ms: f64,
    /// The longest time in which no connection got any reply.
    pub longest_silence_ms: f64,
    /// The processes that answered, in the order in which they were first seen.
    pub seen: Vec<SeenProcess>,
}

/// The time that requests took, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// Half were faster.
    pub p50_ms: f64,
    /// 99 of 100 were faster.
    pub p99_ms: f64,
    /// 999 of 1000 were faster.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// The outcome of a load.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoadReport {
    /// The number of connections that made it, the one that asks `INFO` aside.
    pub connections: usize,
    /// The time that it took, the final check included, in seconds.
    pub seconds: f64,
    /// The sums.
    #[serde(flatten)]
    pub counters: Counters,
    /// The time that requests took, repetitions included.
    pub latency: Latency,
    /// The first failures, in words.
    pub errors: Vec<String>,
}

impl LoadReport {
    /// Returns whether nothing failed and nothing was lost, reordered, duplicated or skipped, and there were
    /// requests at all.
    pub fn is_clean(&self) -> bool {
        let c = &self.counters;
        c.requests > 0 && [c.failed, c.lost, c.reordered, c.duplicated, c.skipped].iter().all(|&n| n == 0)
    }
}

#[derive(Debug)]
pub(super) struct Tally {
    connections: usize,
    started: Instant,
    stopping: AtomicBool,
    waker: (Mutex<()>, Condvar),
    requests: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    cut: AtomicU64,
    written: AtomicU64,
    lost: AtomicU64,
    reordered: AtomicU64,
    duplicated: AtomicU64,
    skipped: AtomicU64,
    longest_pause_us: AtomicU64,
    longest_retry_us: AtomicU64,
    longest_silence_us: AtomicU64,
    last_reply_us: AtomicU64,
    seen: Mutex<Vec<SeenProcess>>,
    errors: Mutex<Vec<String>>,
    latencies: Mutex<Option<Histogram<u64>>>,
}

impl Tally {
    pub(super) fn new(connections: usize) -> Tally {
        Tally {
            connections,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            waker: Default::default(),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            reordered: AtomicU64::new(0),
            duplicated: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            longest_pause_us: AtomicU64::new(0),
            longest_retry_us: AtomicU64::new(0),
            longest_silence_us: AtomicU64::new(0),
            last_reply_us: AtomicU64::new(0),
            seen: Mutex::default(),
            errors: Mutex::default(),
            latencies: Mutex::default(),
        }
    }

    pub(super) fn stop(&self) {
        let _held = lock(&self.waker.0);
        self.stopping.store(true, Relaxed);
        self.waker.1.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Waits until `until` or the load is stopped.
    pub(super) fn rest(&self, until: Instant) {
        let mut held = lock(&self.waker.0);
        while !self.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            held = self.waker.1.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A request got its reply, after `took` and, if `again`, not at the first attempt.
    pub(super) fn replied(&self, took: Duration, again: bool) {
        self.requests.fetch_add(1, Relaxed);
        self.longest_pause_us.fetch_max(micros(took), Relaxed);
        if again {
            self.longest_retry_us.fetch_max(micros(took), Relaxed);
        }
        let now = micros(self.started.elapsed());
        let silence = now.saturating_sub(self.last_reply_us.swap(now, Relaxed));
        // Before the first reply there is nothing to be silent after.
        if silence < now {
            self.longest_silence_us.fetch_max(silence, Relaxed);
        }
    }

    pub(super) fn written(&self) {
        self.written.fetch_add(1, Relaxed);
    }

    pub(super) fn retry(&self) {
        self.retried.fetch_add(1, Relaxed);
    }

    pub(super) fn cut(&self) {
        self.cut.fetch_add(1, Relaxed);
    }

    pub(super) fn fail(&self, why: String) {
        self.failed.fetch_add(1, Relaxed);
        self.note(why);
    }

    pub(super) fn wrong(&self, wrong: Wrong, what: String) {
        let (sum, by) = match wrong {
            Wrong::Lost => (&self.lost, 1),
            Wrong::Reordered => (&self.reordered, 1),
            Wrong::Duplicated => (&self.duplicated, 1),
            Wrong::Skipped(by) => (&self.skipped, by),
        };
        sum.fetch_add(by, Relaxed);
        self.note(format!("{wrong:?}: {what}"));
    }

    pub(super) fn saw(&self, process: SeenProcess) {
        let mut seen = lock(&self.seen);
        if !seen.contains(&process) {
            seen.push(process);
        }
    }

    pub(super) fn add_latencies(&self, of: Histogram<u64>) {
        let mut all = lock(&self.latencies);
        match all.as_mut() {
            // Both resize themselves, so nothing is out of range.
            Some(sum) => drop(sum.add(of)),
            None => *all = Some(of),
        }
    }

    fn note(&self, text: String) {
        let mut errors = lock(&self.errors);
        if errors.len() < ERRORS_KEPT {
            errors.push(format!("{:.3} s: {text}", self.started.elapsed().as_secs_f64()));
        }
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            requests: self.requests.load(Relaxed),
            failed: self.failed.load(Relaxed),
            retried: self.retried.load(Relaxed),
            cut: self.cut.load(Relaxed),
            acknowledged_writes: self.written.load(Relaxed),
            lost: self.lost.load(Relaxed),
            reordered: self.reordered.load(Relaxed),
            duplicated: self.duplicated.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            longest_pause_ms: millis(self.longest_pause_us.load(Relaxed)),
            longest_retry_ms: millis(self.longest_retry_us.load(Relaxed)),
            longest_silence_ms: millis(self.longest_silence_us.load(Relaxed)),
            seen: lock(&self.seen).clone(),
        }
    }

    pub(super) fn report(&self) -> LoadReport {
        let latency = lock(&self.latencies).as_ref().map_or(Latency::default(), |all| Latency {
            p50_ms: millis(all.value_at_quantile(0.5)),
            p99_ms: millis(all.value_at_quantile(0.99)),
            p999_ms: millis(all.value_at_quantile(0.999)),
            max_ms: millis(all.max()),
        });
        LoadReport {
            connections: self.connections,
            seconds: self.started.elapsed().as_secs_f64(),
            counters: self.counters(),
            latency,
            errors: lock(&self.errors).clone(),
        }
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
