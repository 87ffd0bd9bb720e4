//! The daemon as the supervisor knows it: what runs, and what is still to be collected.
use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use handoff::unix::trusted;
use handoff::{Child, ProcessId};
use nix::unistd::{SysconfVar, sysconf};

use crate::protocol::{DaemonReport, FileState};
use crate::when;

/// The daemon that runs now.
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
    /// The time at which the daemon's process started; empty if that is not known.
    started_at: String,
    /// The time at which the daemon was committed, if that is known.
    committed_at: Option<String>,
}

impl RunningDaemon {
    pub(crate) fn child(&self) -> Option<&Child> {
        self.current.as_ref().map(|current| &current.child)
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Returns whether `pid` is for this to collect.
    pub(crate) fn owns(&self, pid: u32) -> bool {
        self.children().any(|child| child.id().pid == pid)
    }

    /// Returns whether nothing is left to wait for.
    pub(crate) fn is_gone(&self) -> bool {
        self.current.is_none() && self.former.is_empty()
    }

    /// The daemons that have not been collected yet.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Child> {
        self.child().into_iter().chain(&self.former)
    }

    /// `child`, started from `binary`, serves. `fell_back`: another binary was asked for, and kept failing.
    pub(crate) fn commit(&mut self, child: Child, binary: PathBuf, fell_back: bool) {
        let started_at = shown_start(age_of(child.id()));
        self.serves(Current {
            child,
            binary,
            fell_back,
            since: Instant::now(),
            since_wall: SystemTime::now(),
            started_at,
            committed_at: Some(when::now()),
        });
    }

    /// `child`, which an earlier supervisor or another program started from `binary`, serves; `committed_at` if that is known.
    pub(crate) fn adopt(&mut self, child: Child, binary: PathBuf, committed_at: Option<String>) {
        if self.child().is_none_or(|known| known.id() != child.id()) {
            let known_age = age_of(child.id());
            let (age, started_at) = (known_age.unwrap_or_default(), shown_start(known_age));
            let since = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
            let since_wall = SystemTime::now() - age;
            self.serves(Current {
                child,
                binary,
                fell_back: false,
                since,
                since_wall,
                started_at,
                committed_at,
            });
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
            started_at: current.started_at.clone(),
            committed_at: current.committed_at.clone(),
            file: FileState::Unknown,
        })
    }
}

/// Returns whether the process `pid` executes the file at `binary`. Not for the main loop: it may have to
/// wait for a disk.
pub(crate) fn file_state(pid: u32, binary: &Path) -> FileState {
    let file = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let executed = Path::new("/proc").join(pid.to_string()).join("exe").metadata().map(file);
    match (executed, binary.metadata().map(file)) {
        (Ok(executed), Ok(there)) if executed == there => FileState::Same,
        (_, Err(error)) if error.kind() == ErrorKind::NotFound => FileState::Missing,
        (Ok(_), Ok(_)) if is_program(binary) => FileState::Replaced,
        _ => FileState::Unknown,
    }
}

/// Returns whether a process that executes `binary` executes this very file: that of a script executes its
/// interpreter.
fn is_program(binary: &Path) -> bool {
    let mut begin = [0; 2];
    trusted::open_named(binary).and_then(|mut file| file.read_exact(&mut begin)).is_ok() && begin != *b"#!"
}

/// For how long a process has been running, where `/proc/uptime` tells.
fn age_of(process: ProcessId) -> Option<Duration> {
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    let started = process.start_time as f64 / ticks_per_second as f64;
    Duration::try_from_secs_f64(uptime - started).ok()
}

/// Returns the time at which a process of this age started, as it is shown; empty if that is not known.
fn shown_start(age: Option<Duration>) -> String {
    age.map(|age| when::rfc3339(when::ago(age))).unwrap_or_default()
}

/// Returns how `child` ended, if it has. One that can't be asked now lives, as far as is known: what wakes
/// the loop at its end wakes it again.
fn ended(child: &mut Child) -> Option<String> {
    let ended = child.try_wait().unwrap_or_else(|error| {
        tracing::warn!("{error}");
        None
    });
    ended.map(|exit| exit.to_string())
}
