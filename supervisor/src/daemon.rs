//! The daemon as the supervisor knows it: what runs, and what is still to be collected.
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use handoff::{Child, ProcessId};
use nix::unistd::{SysconfVar, sysconf};

use crate::protocol::DaemonReport;

/// What runs now.
#[derive(Debug, Default)]
pub(crate) struct RunningDaemon {
    current: Option<Current>,
    /// Predecessors that are still to be collected.
    former: Vec<Child>,
    restarts: u64,
}

#[derive(Debug)]
struct Current {
    child: Child,
    binary: PathBuf,
    fell_back: bool,
    since: Instant,
    since_wall: SystemTime,
}

impl RunningDaemon {
    pub(crate) fn child(&self) -> Option<&Child> {
        self.current.as_ref().map(|current| &current.child)
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Whether `pid` is for this to collect.
    pub(crate) fn owns(&self, pid: u32) -> bool {
        self.children().any(|child| child.id().pid == pid)
    }

    /// Nothing is left to wait for.
    pub(crate) fn is_gone(&self) -> bool {
        self.current.is_none() && self.former.is_empty()
    }

    /// The daemons that have not been collected yet.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Child> {
        self.child().into_iter().chain(&self.former)
    }

    /// `child`, started from `binary`, serves. `fell_back`: another binary was asked for, and kept failing.
    pub(crate) fn commit(&mut self, child: Child, binary: PathBuf, fell_back: bool) {
        self.serves(Current {
            child,
            binary,
            fell_back,
            since: Instant::now(),
            since_wall: SystemTime::now(),
        });
    }

    /// `child`, which an earlier supervisor or another program started from `binary`, serves.
    pub(crate) fn adopt(&mut self, child: Child, binary: PathBuf) {
        if self.child().is_none_or(|known| known.id() != child.id()) {
            let age = age_of(child.id()).unwrap_or_default();
            let since = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
            let since_wall = SystemTime::now() - age;
            self.serves(Current { child, binary, fell_back: false, since, since_wall });
        }
    }

    fn serves(&mut self, current: Current) {
        self.former.extend(self.current.replace(current).map(|current| current.child));
    }

    /// Every process that could serve has ended.
    pub(crate) fn is_nobody(&mut self) {
        self.former.extend(self.current.take().map(|current| current.child));
    }

    /// Collects the daemons that have ended. If the current one is among them: how it ended, and how long it served.
    pub(crate) fn collect(&mut self) -> Option<(String, Duration)> {
        self.former.retain_mut(|child| ended(child).is_none());
        let current = self.current.as_mut()?;
        let how = ended(&mut current.child)?;
        let lived = current.since.elapsed();
        self.current = None;
        self.restarts += 1;
        Some((how, lived))
    }

    pub(crate) fn report(&self) -> Option<DaemonReport> {
        let current = self.current.as_ref()?;
        Some(DaemonReport {
            pid: current.child.id().pid,
            binary: current.binary.clone(),
            fell_back: current.fell_back,
            since_unix_secs: current.since_wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            up_secs: current.since.elapsed().as_secs_f64(),
        })
    }
}

/// For how long a process has been running, where `/proc/uptime` tells.
fn age_of(process: ProcessId) -> Option<Duration> {
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    let started = process.start_time as f64 / ticks_per_second as f64;
    Duration::try_from_secs_f64(uptime - started).ok()
}

/// How `child` ended, if it has. One that can't be asked any more counts as ended: should it live nevertheless,
/// its lock on the state keeps the next one out, and that is tried again.
fn ended(child: &mut Child) -> Option<String> {
    match child.try_wait() {
        Ok(exit) => exit.map(|exit| exit.to_string()),
        Err(error) => Some(format!("is lost: {error}")),
    }
}
