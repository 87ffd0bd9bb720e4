//! The code of a daemon's author: the daemon on a simulated disk, and one line for the sweep.
//!
//! `Counter` acknowledges before it syncs, as many stores do: an acknowledged write outlives the process and, once sealed, a
//! power failure. Without the `sync` in `seal` it breaks that promise, and a sweep finds the run in which it does.
use std::collections::BTreeMap;
use std::time::Duration;

use handoff::message::{SealProgress, Sealed};
use handoff::{DrainReport, Drainable, HookResult, ReadinessSnapshot, ResumeFrom, SealReport, StateSnapshot};
use handoff_sim::{Disk, Promise, Simulated, check};

struct Counter {
    disk: Disk,
    values: BTreeMap<u32, u64>,
    syncs: bool,
}

impl Counter {
    fn load(&mut self) {
        let log = String::from_utf8(self.disk.read("log").unwrap_or_default()).unwrap_or_default();
        let entry =
            |line: &str| line.split_once('=').and_then(|(k, v)| Some((k.parse().ok()?, v.parse().ok()?)));
        // A line that was torn by a crash has no end, and was not acknowledged.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let _ = self.disk.truncate("log", whole.len() + usize::from(!whole.is_empty()));
        self.values = whole.lines().filter_map(entry).collect();
    }
}

impl Drainable for Counter {
    fn drain(&mut self, _grace: Duration) -> HookResult<DrainReport> {
        Ok(DrainReport::closed(0))
    }
    fn seal(&mut self, _: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        if self.syncs && !self.values.is_empty() {
            self.disk.sync("log")?;
            self.disk.sync_dir()?;
        }
        Ok(SealReport::default())
    }
    fn resume_after_abort(&mut self, from: ResumeFrom) -> HookResult<()> {
        if from == ResumeFrom::Disk {
            self.load();
        }
        Ok(())
    }
    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot::default()
    }
}

impl Simulated for Counter {
    fn open(&mut self, _: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        self.load();
        Ok(ReadinessSnapshot::healthy(Vec::new()))
    }
    fn write(&mut self, key: u32, value: u64) -> HookResult<()> {
        self.disk.append("log", format!("{key}={value}\n").as_bytes())?;
        self.values.insert(key, value);
        Ok(())
    }
    fn read(&mut self, key: u32) -> HookResult<Option<u64>> {
        Ok(self.values.get(&key).copied())
    }
    fn promise(&self) -> Promise {
        Promise::OutlivesPowerOnceSealed
    }
}

#[test]
fn a_counter_that_syncs_at_its_seal_keeps_its_promise() {
    let summary = check(1000, |disk, _build| Counter { disk, values: BTreeMap::new(), syncs: true });
    assert!(summary.faults.keys().any(|fault| fault == "power-failure"), "{:?}", summary.faults);
}

#[test]
#[should_panic(expected = "has sealed, and what it wrote to log is not synced")]
fn without_the_sync_it_does_not_and_that_is_found() {
    check(1000, |disk, _build| Counter { disk, values: BTreeMap::new(), syncs: false });
}
