//! The rules of a run. Reads the kernel, the disk and what clients were told, never a machine's own state.
use std::collections::{BTreeMap, BTreeSet};

use handoff::host::Gap;
use handoff::machine::supervisor::{Outcome, Peer};
use handoff::machine::{Cell, ExitReason, Timer, recovery};
use handoff::message::Message;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Process, RunWorld};
use crate::checks::{self, GivesUp};
use crate::daemon::process::failed;
use crate::harness::coverage::CoveragePoint;
use crate::kernel::{KernelLink, Life, Micros, Refused, Side};
use crate::simulated::Promise;
use crate::trace::Happened;

/// The names of the checks.
pub const CHECKS: [&str; 10] = [
    "one writer",
    "nothing lost",
    "never refused",
    "never cut",
    "one reader",
    "serves again",
    "reachable",
    "told the truth",
    "nothing left",
    "bounded outage",
];

/// The name of the check that a plan that is run twice leaves the same trace.
pub const DETERMINISTIC: &str = "deterministic";

/// A violation as it is written down.
#[derive(Deserialize)]
struct WrittenViolation {
    check: String,
    why: String,
    at: Micros,
}

impl<'de> Deserialize<'de> for Violation {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Violation, D::Error> {
        let WrittenViolation { check, why, at } = WrittenViolation::deserialize(from)?;
        match CHECKS.into_iter().chain([DETERMINISTIC]).find(|known| *known == check) {
            Some(check) => Ok(Violation { check, why, at }),
            None => Err(D::Error::custom(format_args!("there is no check {check:?}"))),
        }
    }
}

/// A check that has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The name of one of [`CHECKS`], or of [`DETERMINISTIC`].
    pub check: &'static str,
    /// The reason, in a sentence.
    pub why: String,
    /// The time, in virtual microseconds.
    pub at: Micros,
}

/// The facts that are kept in mind for the checks.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub violation: Option<Violation>,
    /// Daemons that were asked to stop: that nobody serves then is what was wanted.
    pub signalled: BTreeSet<u32>,
    pub has_served: BTreeSet<u32>,
    /// The incumbent of the handoff for which the record's holder was started.
    pub before_holder: Option<u32>,
    /// Gaps that were passed.
    pub gaps: BTreeSet<Gap>,
    /// Cells that were met.
    pub cells: BTreeSet<Cell>,
    /// The same in more detail, if that is wanted.
    pub coverage: Option<BTreeSet<CoveragePoint>>,
    /// The time at which a process has last read a heartbeat over a link.
    pub heard: BTreeMap<(u32, u64), Micros>,
    /// The findings of recoveries.
    pub findings: Vec<recovery::RecoveryVerdict>,
    outage: OutageWatch,
}

/// The times when nobody served.
#[derive(Debug, Default)]
struct OutageWatch {
    /// `true` if a daemon has served at least once.
    has_begun: bool,
    since: Option<Micros>,
    /// The one that serves is stopped: since when, and for how long it was before within this outage.
    stopped_at: Option<Micros>,
    stopped: Micros,
    longest: Micros,
}

impl Audit {
    pub(crate) fn gap(&mut self, gap: Gap) {
        self.gaps.insert(gap);
    }

    pub(crate) fn cell(&mut self, cell: Cell) {
        self.cells.insert(cell);
    }

    /// The longest time that nobody served. That the one that serves was stopped meanwhile is not counted: no client can tell
    /// that from a daemon that is slow. A stop of any other process is, since the service must not wait for it.
    pub(crate) fn longest_outage(&self) -> Micros {
        self.outage.longest
    }
}

impl RunWorld {
    /// A check has failed: nothing that follows is of interest.
    pub(crate) fn violated(&mut self, check: &'static str, why: String) {
        if self.around.audit.violation.is_none() {
            self.note(None, || Happened::Violated { check, why: why.clone() });
            self.around.audit.violation = Some(Violation { check, why, at: self.kernel.now });
            self.around.over = true;
        }
    }

    /// After every step.
    pub(crate) fn look(&mut self) {
        let wrong = checks::daemon::one_writes(self);
        self.is_right("one writer", wrong);
        let first = self.daemons().find(|(.., daemon)| daemon.accepts).map(|(pid, ..)| pid);
        self.time_outage(first);
    }

    fn time_outage(&mut self, accepts: Option<u32>) {
        let (now, last, bound) = (self.kernel.now, self.around.faults.last, self.plan.times.bound().micros());
        let serves = accepts.is_some_and(|pid| self.kernel.runs(pid));
        let all_run = serves || !self.has_stops() && !self.has_stranger_at_lock();
        let outage = &mut self.around.audit.outage;
        match accepts.filter(|_| !serves) {
            Some(_) => outage.stopped_at = outage.stopped_at.or(Some(now)),
            None => outage.stopped += outage.stopped_at.take().map_or(0, |since| now - since),
        }
        match (serves, outage.since) {
            (true, Some(since)) => {
                outage.longest = outage.longest.max(now - since - outage.stopped);
                outage.since = None;
            }
            (true, None) => outage.has_begun = true,
            (false, None) if outage.has_begun => {
                outage.since = Some(now);
                outage.stopped = 0;
            }
            (false, Some(since)) if all_run && now > since.max(last) + bound => {
                let why = format!(
                    "nobody has served for {} ms, and nothing went wrong for {} ms",
                    (now - since) / 1000,
                    (now - since.max(last)) / 1000
                );
                self.violated("bounded outage", why);
            }
            _ => {}
        }
    }

    /// Returns whether a process is stopped.
    pub(crate) fn has_stops(&self) -> bool {
        self.kernel.processes.values().any(|process| process.life == Life::Stopped)
    }

    /// The process that serves, and can be reached.
    pub(crate) fn who_serves(&self) -> Option<u32> {
        let serves = |(pid, process, daemon): &(u32, &Process, &crate::program::DaemonProgram)| {
            process.runs()
                && daemon.accepts
                && self.kernel.control_path == Some(*pid)
                && self.kernel.disk.lock().holders.contains(pid)
        };
        self.daemons().find(serves).map(|(pid, ..)| pid)
    }

    /// A client could not connect.
    pub(crate) fn is_refused(&mut self, refused: Refused) {
        // All holders of the socket may have been killed; a holder that leaves by itself leaves it to another.
        if refused == Refused::NobodyListens && self.kernel.listener.abandoned {
            self.violated(
                "never refused",
                "a client was refused: the last who listened has left by itself".into(),
            );
        }
    }

    /// Checks what a read found.
    pub(crate) fn is_not_lost(&mut self, key: u32, found: u64, floor: u64) {
        let (_, tried) = self.promised(key);
        if found < floor {
            let why = format!("a read of key {key} found {found}, but {floor} was acknowledged before");
            self.violated("nothing lost", why);
        } else if found > tried {
            let why = format!("a read of key {key} found {found}, which nobody has written");
            self.violated("nothing lost", why);
        }
    }

    /// A seal has returned: all that is in the data directory must be durable.
    pub(crate) fn seal_is_durable(&mut self, pid: u32) {
        let unsynced = self.kernel.disk.lock().unsynced().map(str::to_string);
        if let Some(file) = unsynced {
            let why =
                format!("{} has sealed, and what it wrote to {file} is not synced", self.kernel.name_of(pid));
            self.violated("nothing lost", why);
        }
        self.clients_are_sealed();
    }

    /// Power has failed: what was promised to outlive it?
    pub(crate) fn power_takes_promises(&mut self) {
        let promise = self.daemons().find_map(|(.., daemon)| daemon.app.as_ref().map(|app| app.promise()));
        if promise == Some(Promise::OutlivesPowerOnceSealed) {
            self.clients_lose_what_was_not_sealed();
        }
    }

    pub(crate) fn unlock_is_lawful(&mut self, pid: u32) {
        let wrong = checks::daemon::unlocks(self, pid);
        self.is_right("one writer", wrong);
    }

    /// A daemon writes the record.
    pub(super) fn record_is_lawful(&mut self, pid: u32) {
        if !self.kernel.disk.lock().holders.contains(&pid) {
            self.violated("one writer", format!("process {pid} writes the record without the lock"));
        }
        self.around.audit.before_holder = self.daemon(pid).and_then(|daemon| daemon.predecessor);
    }

    /// A daemon's own code has run, and may have written.
    pub(super) fn has_run(&mut self, pid: u32, sick: bool) {
        self.disk_struck(pid);
        // What was to go wrong has gone wrong only now.
        if sick {
            self.around.operator.disturbed();
            self.around.faults.passed(self.kernel.now);
        }
        let violation = self.kernel.disk.lock().violation.take();
        if let Some(why) = violation {
            self.violated("one writer", why);
        }
    }

    /// Checks that a daemon leaves because another serves, or because it was told to.
    pub(crate) fn leaves_for_cause(&mut self, pid: u32, exit: &ExitReason) {
        let wrong = checks::daemon::leaves(self, pid, exit);
        self.is_right("serves again", wrong);
    }

    /// Checks what a supervisor says to a daemon.
    pub(crate) fn word_is_lawful(&mut self, supervisor: u32, to: Peer, message: &Message) {
        let Some(handoff) = self.handoff(supervisor) else { return };
        let (check, wrong) = match message {
            Message::Abort { .. } | Message::Retire { .. } => {
                let how = GivesUp::Says(message.name());
                ("serves again", checks::supervisor::gives_up(self, &handoff, to, how))
            }
            Message::Begin { .. } => ("one writer", checks::supervisor::begins(self, &handoff)),
            Message::Commit { .. } => ("one writer", checks::supervisor::commits(&handoff)),
            Message::ResumeAfterAbort { .. } => ("one writer", checks::supervisor::resumes(self, &handoff)),
            Message::Final { .. } => {
                return handoff
                    .successor
                    .pid
                    .into_iter()
                    .for_each(|pid| self.final_is_lawful(supervisor, pid));
            }
            _ => return,
        };
        self.is_right(check, wrong);
    }

    /// A daemon is told that its predecessor has ended. A rival supervisor has no journal that could say more.
    pub(crate) fn final_is_lawful(&mut self, supervisor: u32, pid: u32) {
        if self.main_supervisor() == Some(supervisor) {
            let wrong = checks::supervisor::finalizes(self, pid);
            self.is_right("told the truth", wrong);
        }
    }

    pub(crate) fn kill_is_lawful(&mut self, supervisor: u32, peer: Peer) {
        let handoff = self.handoff(supervisor);
        let wrong =
            handoff.and_then(|handoff| checks::supervisor::gives_up(self, &handoff, peer, GivesUp::Kills));
        self.is_right("serves again", wrong);
    }

    /// Checks what a supervisor reports of a handoff.
    pub(crate) fn report_is_true(&mut self, supervisor: u32, outcome: &Outcome) {
        let handoff = self.handoff(supervisor);
        let wrong = handoff.and_then(|handoff| checks::supervisor::reports(self, &handoff, outcome));
        self.is_right("told the truth", wrong);
    }

    pub(crate) fn recovery_kill_is_lawful(&mut self, supervisor: u32, pid: u32) {
        let recovery = self.recovery(supervisor);
        let wrong = recovery.and_then(|recovery| checks::recovery::kills(self, &recovery, pid));
        self.is_right("serves again", wrong);
    }

    /// Checks what a recovery finds.
    pub(crate) fn finding_is_true(&mut self, supervisor: u32, outcome: &recovery::Outcome) {
        self.around.audit.findings.push(outcome.verdict);
        let recovery = self.recovery(supervisor);
        let wrong = recovery.and_then(|recovery| checks::recovery::finds(self, &recovery, outcome));
        self.is_right("told the truth", wrong);
    }

    fn is_right(&mut self, check: &'static str, wrong: Option<String>) {
        wrong.into_iter().for_each(|why| self.violated(check, why));
    }

    /// A process reads a message.
    pub(crate) fn hears_over(&mut self, pid: u32, link: u64, message: &Message) {
        if matches!(message, Message::Heartbeat { .. }) {
            self.around.audit.heard.insert((pid, link), self.kernel.now);
        }
    }

    /// Checks that a process which takes a peer for silent has not just read its heartbeat.
    pub(crate) fn silence_is_true(&mut self, pid: u32, timer: Timer) {
        let Some(process) = self.kernel.processes.get(&pid).filter(|process| !process.suspect) else {
            return;
        };
        let links = match (timer, process.daemon()) {
            (Timer::SupervisorSilent, Some(_)) => self.links_of_daemon(pid),
            _ => self.link_of_timer(pid, timer).into_iter().collect(),
        };
        let lately = self.kernel.now.saturating_sub(self.plan.times.liveness.micros() * 3 / 4);
        let heard = |link: &u64| self.around.audit.heard.get(&(pid, *link)).is_some_and(|at| *at > lately);
        if links.iter().any(heard) {
            let why =
                format!("{} takes for silent whom it has just heard ({timer})", self.kernel.name_of(pid));
            self.violated("told the truth", why);
        }
    }

    /// The links that a daemon has open.
    fn links_of_daemon(&self, pid: u32) -> Vec<u64> {
        let its = |link: &KernelLink| link.pid(Side::Daemon) == pid && link.is_open(Side::Daemon);
        self.kernel.links.iter().filter(|(_, link)| its(link)).map(|(id, _)| *id).collect()
    }

    /// At the end of a run.
    pub(crate) fn all_is_in_order(&mut self) {
        let Some(server) = self.who_serves() else {
            let path = self.kernel.control_path.map(|pid| self.kernel.name_of(pid));
            let why = format!("the control path leads to {path:?}, which is not the one that serves");
            return self.violated("reachable", why);
        };
        for key in 0..(self.around.clients.len() + self.around.connected.len()) as u32 {
            let found = self.call(server, |app| app.read(key).map_err(failed));
            let Some(Ok(found)) = found else {
                return self.violated("nothing lost", format!("key {key} can't be read: {found:?}"));
            };
            let (acknowledged, _) = self.promised(key);
            self.is_not_lost(key, found.unwrap_or_default(), acknowledged);
        }
        self.no_reply_is_missing();
        if let Some(left) = self.what_is_left(server) {
            self.violated("nothing left", left);
        }
    }

    fn what_is_left(&self, server: u32) -> Option<String> {
        let supervisor = self.main_supervisor()?;
        let journal = &self.kernel.processes[&supervisor].supervisor()?.knows;
        let ours = |pid: &&u32| ![supervisor, server].contains(pid) && !self.is_stranger(**pid);
        let stray = self.kernel.processes.keys().find(ours);
        let untried = self.kernel.processes[&supervisor].supervisor()?.untried;
        let holder = self.kernel.disk.lock().holders.iter().copied().find(|pid| *pid != server);
        let name = self.kernel.names_beside.iter().find(|pid| **pid != server);
        let listener = self.kernel.listener.holders().find(|pid| ![supervisor, server].contains(pid));
        let under_way = journal.under_way.as_ref().filter(|under_way| !under_way.retiring);
        let running = journal.running.as_ref().map(|running| running.process.pid);
        match () {
            () if stray.is_some() => Some(format!("{} is left", self.kernel.name_of(*stray?))),
            () if holder.is_some() => Some(format!("process {} has a lock that is not its own", holder?)),
            () if name.is_some() => {
                Some(format!("the socket of process {} is left beside the control path", name?))
            }
            () if listener.is_some() => Some(format!("process {} still has the listening socket", listener?)),
            () if !self.kernel.listener.has(supervisor) || !self.kernel.listener.has(server) => {
                Some("a listening socket is missing".into())
            }
            () if !self.kernel.links.is_empty() => {
                Some(format!("{} links are left", self.kernel.links.len()))
            }
            () if !self.kernel.passing.all.is_empty() => Some("a link of connections is left".into()),
            () if untried.is_some() => {
                Some(format!("build {} was asked for, and no swap to it has met a daemon", untried?))
            }
            () if under_way.is_some() => Some("the journal says that a handoff is under way".into()),
            () if !self.kernel.processes[&server].daemon().is_some_and(|daemon| daemon.finalizes) => {
                Some(format!("{} was not told that its predecessor has ended", self.kernel.name_of(server)))
            }
            () if running != Some(server) => {
                Some(format!("the journal says that process {running:?} serves"))
            }
            () => None,
        }
    }
}
