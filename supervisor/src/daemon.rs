//! The daemon as the supervisor knows it: what runs, what to start if it ends, and when.
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use handoff::{Child, ProcessId};
use nix::unistd::{SysconfVar, sysconf};

use crate::backoff::Backoff;
use crate::protocol::DaemonReport;
use crate::turn::Turn;

/// What runs now, and what comes next.
#[derive(Debug)]
pub(crate) struct Daemon {
    current: Option<Current>,
    /// Predecessors that are still to be collected.
    former: Vec<Child>,
    turn: Turn,
    backoff: Backoff,
    /// When to find out who serves. Nothing is started before.
    recover_at: Option<Instant>,
    start_at: Option<Instant>,
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

impl Daemon {
    /// It is not known yet whether one runs.
    pub(crate) fn new(backoff: Backoff) -> Daemon {
        Daemon {
            current: None,
            former: Vec::new(),
            turn: Turn::default(),
            backoff,
            recover_at: Some(Instant::now()),
            start_at: None,
            restarts: 0,
        }
    }

    pub(crate) fn child(&self) -> Option<&Child> {
        self.current.as_ref().map(|current| &current.child)
    }

    /// Which binary is to be started next.
    pub(crate) fn turn(&mut self) -> &mut Turn {
        &mut self.turn
    }

    /// When to find out who serves, if that is not known.
    pub(crate) fn recover_at(&self) -> Option<Instant> {
        self.recover_at
    }

    /// When to start a daemon, if none runs.
    pub(crate) fn start_at(&self) -> Option<Instant> {
        self.start_at.filter(|_| self.recover_at.is_none())
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

    /// Everyone who has not been collected yet.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Child> {
        self.child().into_iter().chain(&self.former)
    }

    /// `child`, started from `binary`, serves. It was `asked` for, or is the one whose turn it was.
    pub(crate) fn commit(&mut self, child: Child, binary: PathBuf, asked: bool) {
        self.turn.committed(asked);
        let fell_back = self.turn.is_older();
        let current =
            Current { child, binary, fell_back, since: Instant::now(), since_wall: SystemTime::now() };
        self.serves(current);
    }

    /// `child`, which an earlier supervisor or somebody else started from `binary`, serves.
    pub(crate) fn adopt(&mut self, child: Child, binary: PathBuf) {
        (self.start_at, self.recover_at) = (None, None);
        if self.child().is_none_or(|known| known.id() != child.id()) {
            let age = age_of(child.id()).unwrap_or_default();
            let since = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
            let since_wall = SystemTime::now() - age;
            self.serves(Current { child, binary, fell_back: false, since, since_wall });
        }
    }

    fn serves(&mut self, current: Current) {
        self.former.extend(self.current.replace(current).map(|current| current.child));
        (self.start_at, self.recover_at) = (None, None);
    }

    /// Every process that could serve has ended: one is started, as soon as the pause allows.
    pub(crate) fn is_nobody(&mut self) {
        self.recover_at = None;
        self.former.extend(self.current.take().map(|current| current.child));
        self.start_at.get_or_insert_with(Instant::now);
    }

    /// It is not known who serves: that is found out after `pause`.
    pub(crate) fn astray(&mut self, pause: Duration) {
        self.recover_at = Some(Instant::now() + pause);
    }

    /// It is being found out who serves.
    pub(crate) fn recovery_taken(&mut self) {
        self.recover_at = None;
    }

    /// Takes over the pauses of a fresh configuration.
    pub(crate) fn set_backoff(&mut self, backoff: Backoff) {
        self.backoff = backoff;
    }

    /// A start is under way, or will not be tried any more.
    pub(crate) fn start_taken(&mut self) {
        self.start_at = None;
    }

    /// A start came to nothing; the next one is due after a pause. One that was `asked` for says nothing about the
    /// binary whose turn it is.
    pub(crate) fn start_failed(&mut self, asked: bool) -> Duration {
        if !asked {
            self.turn.failed();
        }
        self.pause(Duration::ZERO)
    }

    /// Collects whoever has ended. If that is the daemon, it is to be started again after a pause: how it ended,
    /// and the pause.
    pub(crate) fn collect(&mut self) -> Option<(String, Duration)> {
        self.former.retain_mut(|child| ended(child).is_none());
        let current = self.current.as_mut()?;
        let how = ended(&mut current.child)?;
        let lived = current.since.elapsed();
        self.current = None;
        if self.backoff.is_young(lived) {
            self.turn.failed();
        } else {
            self.turn.proved();
        }
        self.restarts += 1;
        self.recover_at = Some(Instant::now());
        Some((how, self.pause(lived)))
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

    fn pause(&mut self, lived: Duration) -> Duration {
        let pause = self.backoff.pause(lived);
        self.start_at = Some(Instant::now() + pause);
        pause
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
