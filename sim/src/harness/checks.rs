//! What must hold. Reads the kernel, the disk and what clients were told, never a machine's own state.
use std::collections::{BTreeMap, BTreeSet};

use handoff::ProcessId;
use handoff::host::Gap;
use handoff::machine::supervisor::{Outcome, Peer, Verdict};
use handoff::machine::{Cell, Exit, incumbent, recovery, successor};
use handoff::message::Message;

use serde::Serialize;

use crate::daemon::Promise;
use crate::kernel::{Link, Micros, Refused, Side};
use crate::process::{AnyHook, Life, Process};
use crate::search::coverage::CoveragePoint;
use crate::trace::What;
use crate::world::World;

/// The names of the checks.
pub const CHECKS: [&str; 8] = [
    "one writer",
    "nothing lost",
    "never refused",
    "serves again",
    "reachable",
    "told the truth",
    "nothing left",
    "bounded outage",
];

/// A check that has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// One of [`CHECKS`].
    pub check: &'static str,
    /// Why, in a sentence.
    pub why: String,
    /// When, in virtual microseconds.
    pub at: Micros,
}

/// What is kept in mind for the checks.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub violation: Option<Violation>,
    /// Daemons that were asked to stop: that nobody serves then is what was wanted.
    pub signalled: BTreeSet<u32>,
    pub has_served: BTreeSet<u32>,
    /// The incumbent of the handoff for which the record's holder was started.
    pub before_holder: Option<u32>,
    /// Gaps that were passed, by the addresses of their names.
    pub gaps: BTreeSet<GapKey>,
    /// Cells that were met, likewise.
    pub cells: BTreeSet<CellKey>,
    /// The same in more detail, if somebody wants to know.
    pub coverage: Option<BTreeSet<CoveragePoint>>,
    /// When a process has last read a heartbeat over a link.
    pub heard: BTreeMap<(u32, u64), Micros>,
    /// What recoveries found.
    pub findings: Vec<recovery::Verdict>,
    outage: Outage,
}

/// A gap, told from others without comparing names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GapKey(pub Gap);

/// A cell, likewise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellKey(pub Cell);

/// The times when nobody served.
#[derive(Debug, Default)]
struct Outage {
    /// Somebody has served at least once.
    begun: bool,
    since: Option<Micros>,
    /// The one that serves is stopped: since when, and for how long it was before within this outage.
    stopped_at: Option<Micros>,
    stopped: Micros,
    longest: Micros,
}

impl Audit {
    pub(crate) fn gap(&mut self, gap: Gap) {
        self.gaps.insert(GapKey(gap));
    }

    pub(crate) fn cell(&mut self, cell: Cell) {
        self.cells.insert(CellKey(cell));
    }

    /// The longest time that nobody served. That the one that serves was stopped meanwhile is not counted: nobody can tell
    /// that from a daemon that is slow. A stop of anybody else is, for the service must not wait for him.
    pub(crate) fn longest_outage(&self) -> Micros {
        self.outage.longest
    }
}

impl World {
    /// A check has failed: nothing that follows is of interest.
    pub(crate) fn violated(&mut self, check: &'static str, why: String) {
        if self.audit.violation.is_none() {
            self.note(None, || What::Violated { check, why: why.clone() });
            self.audit.violation = Some(Violation { check, why, at: self.now });
            self.over = true;
        }
    }

    /// After every step.
    pub(crate) fn look(&mut self) {
        let mut accepting = self.daemons().filter(|(.., daemon)| daemon.accepts).map(|(pid, ..)| pid);
        let (first, second) = (accepting.next(), accepting.next());
        drop(accepting);
        if let (Some(first), Some(second)) = (first, second) {
            let why = format!("{} and {} serve at the same time", self.name_of(first), self.name_of(second));
            self.violated("one writer", why);
        }
        let lawless = first.filter(|pid| !self.disk.lock().holders.contains(pid));
        if let Some(lawless) = lawless {
            let why = format!("{} serves without the lock", self.name_of(lawless));
            self.violated("one writer", why);
        }
        self.time_outage(first);
    }

    fn time_outage(&mut self, accepts: Option<u32>) {
        let (now, last, bound) = (self.now, self.faults.last, self.plan.times.bound().micros());
        let serves = accepts.is_some_and(|pid| self.runs(pid));
        let all_run = serves || !self.has_stops();
        let outage = &mut self.audit.outage;
        match accepts.filter(|_| !serves) {
            Some(_) => outage.stopped_at = outage.stopped_at.or(Some(now)),
            None => outage.stopped += outage.stopped_at.take().map_or(0, |since| now - since),
        }
        match (serves, outage.since) {
            (true, Some(since)) => {
                outage.longest = outage.longest.max(now - since - outage.stopped);
                outage.since = None;
            }
            (true, None) => outage.begun = true,
            (false, None) if outage.begun => {
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

    /// A process is stopped.
    pub(crate) fn has_stops(&self) -> bool {
        self.processes.values().any(|process| process.life == Life::Stopped)
    }

    /// The process that serves, and can be reached.
    pub(crate) fn who_serves(&self) -> Option<u32> {
        let serves = |(pid, process, daemon): &(u32, &Process, &crate::process::Daemon)| {
            process.runs()
                && daemon.accepts
                && self.control_path == Some(*pid)
                && self.disk.lock().holders.contains(pid)
        };
        self.daemons().find(serves).map(|(pid, ..)| pid)
    }

    fn serves(&self, pid: u32) -> bool {
        let accepts = self.processes.get(&pid).and_then(Process::daemon).is_some_and(|daemon| daemon.accepts);
        accepts && self.disk.lock().holders.contains(&pid) && self.control_path == Some(pid)
    }

    /// A client could not connect.
    pub(crate) fn is_refused(&mut self, refused: Refused) {
        // All who had the socket may have been killed; who leaves by himself leaves it to somebody.
        if refused == Refused::NobodyListens && self.listener.abandoned {
            self.violated(
                "never refused",
                "a client was refused: the last who listened has left by itself".into(),
            );
        }
    }

    /// What a read found.
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
        let unsynced = self.disk.lock().unsynced().map(str::to_string);
        if let Some(file) = unsynced {
            let why = format!("{} has sealed, and what it wrote to {file} is not synced", self.name_of(pid));
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

    /// Nothing is made that a predecessor which may have to come back could not undo.
    pub(crate) fn hook_is_lawful(&mut self, pid: u32, hook: &AnyHook) {
        let writes = match hook {
            AnyHook::Incumbent(incumbent::Hook::Drain { .. })
            | AnyHook::Successor(successor::Hook::WarmUp) => false,
            AnyHook::Incumbent(_) | AnyHook::Successor(_) => true,
        };
        if writes && !self.disk.lock().holders.contains(&pid) {
            let why = format!("{} runs its {} without the lock", self.name_of(pid), hook.name());
            self.violated("one writer", why);
        }
        let predecessor = self.daemon_mut(pid).and_then(|daemon| daemon.predecessor);
        let lives = predecessor.is_some_and(|pid| self.processes.contains_key(&pid));
        if *hook == AnyHook::Incumbent(incumbent::Hook::Finalize) && lives {
            let why = format!("{} was told that its predecessor has ended, which has not", self.name_of(pid));
            self.violated("told the truth", why);
        }
    }

    /// When a daemon leaves because another serves: there is one, or it has no right to the lock.
    pub(crate) fn leaves_for_cause(&mut self, pid: u32, exit: &Exit) {
        // One that was stopped between its look at the lock and its end did not see what happened meanwhile.
        let stopped = self.processes.get(&pid).is_some_and(|process| process.suspect);
        if *exit != Exit::Retired || stopped || !self.audit.signalled.is_empty() {
            return;
        }
        let record = self.record();
        let rightful =
            self.audit.before_holder == Some(pid) || record.is_none_or(|record| record.holder.pid == pid);
        let holders = self.disk.lock().holders.clone();
        let other = self.daemons().any(|(other, process, _)| {
            other != pid && (process.life != Life::Dying || holders.contains(&other))
        });
        if rightful && !other {
            let why = format!("{} leaves since another serves, and nobody does", self.name_of(pid));
            self.violated("serves again", why);
        }
    }

    /// What a supervisor says to a daemon.
    pub(crate) fn word_is_lawful(&mut self, supervisor: u32, to: Peer, message: &Message) {
        match message {
            Message::Abort { .. } | Message::Retire { .. } => {
                self.may_give_up(supervisor, to, message.name())
            }
            Message::ResumeAfterAbort { .. } => self.may_resume(supervisor),
            _ => {}
        }
        let successor = self.supervisor_mut(supervisor).and_then(|supervisor| supervisor.successor());
        let told = successor.filter(|_| to == Peer::Successor);
        if let Some(daemon) = told.and_then(|pid| self.daemon_mut(pid)) {
            daemon.told_to_leave |= matches!(message, Message::Abort { .. });
            daemon.told_to_begin |= matches!(message, Message::Begin { .. });
            daemon.told_to_commit |= matches!(message, Message::Commit { .. });
        }
    }

    pub(crate) fn kill_is_lawful(&mut self, supervisor: u32, peer: Peer) {
        self.may_give_up(supervisor, peer, "kills");
    }

    /// A supervisor gives somebody up: not one that serves and can be talked to, nor the last one that it knows of.
    fn may_give_up(&mut self, supervisor: u32, peer: Peer, how: &str) {
        if let Some(why) = self.gives_up(supervisor, peer, how) {
            self.violated("serves again", why);
        }
    }

    fn gives_up(&self, supervisor: u32, peer: Peer, how: &str) -> Option<String> {
        let suspects = self.processes.get(&supervisor)?.suspect;
        let handoff = self.processes.get(&supervisor)?.supervisor()?.handoff()?;
        let (pid, other) = match peer {
            Peer::Incumbent => (handoff.incumbent()?, handoff.successor()),
            Peer::Successor => (handoff.successor()?, handoff.incumbent()),
        };
        let process = self.processes.get(&pid)?;
        let daemon = process.daemon()?;
        let linked =
            handoff.link(peer).and_then(|id| self.links.get(&id)).is_some_and(|link| link.is_whole());
        let well = process.runs() && !daemon.hangs() && daemon.quirk.is_none() && linked;
        let suspect = process.suspect || daemon.told_to_leave || suspects;
        let gone = |pid: u32| handoff.was_told(pid);
        let cancelled = self.processes.get(&supervisor)?.supervisor()?.cancelled;
        let excused = suspect || handoff.late || cancelled || !self.audit.signalled.is_empty();
        let last = !excused && other.is_none_or(gone);
        // The last word of one that is about to end can't be told from one that lives.
        let dying = other.and_then(|other| self.processes.get(&other)).is_some_and(|p| p.life == Life::Dying);
        let committed = peer == Peer::Successor && daemon.told_to_commit && !suspect && !dying && !last;
        let name = self.name_of(pid);
        match () {
            () if well
                && committed
                && !handoff.late
                && other.is_some_and(|pid| !gone(pid))
                && how == "kills" =>
            {
                Some(format!("the supervisor kills {name}, which was told to commit and is heard"))
            }
            () if well && daemon.accepts && !dying && !suspect => {
                Some(format!("the supervisor ({how}) gives up {name}, which serves"))
            }
            () if well && last => Some(format!("the supervisor ({how}) gives up {name}, the last one")),
            () => None,
        }
    }

    /// When the incumbent is told to resume: a successor that was told to begin has been seen to end.
    fn may_resume(&mut self, supervisor: u32) {
        let Some(handoff) = self
            .processes
            .get(&supervisor)
            .and_then(Process::supervisor)
            .and_then(|supervisor| supervisor.handoff())
        else {
            return;
        };
        let Some(pid) = handoff.successor().filter(|pid| !handoff.was_told(*pid)) else { return };
        let begun =
            self.processes.get(&pid).and_then(Process::daemon).is_some_and(|daemon| daemon.told_to_begin);
        if begun {
            let name = self.name_of(pid);
            let why =
                format!("the incumbent is told to resume, though {name} was told to begin and has not ended");
            self.violated("one writer", why);
        }
    }

    /// What a supervisor reports of a handoff is so, but for an end that it can't have heard of.
    pub(crate) fn report_is_true(&mut self, supervisor: u32, outcome: &Outcome) {
        if let Some(why) = self.untrue_report(supervisor, outcome) {
            self.violated("told the truth", why);
        }
    }

    fn untrue_report(&self, supervisor: u32, outcome: &Outcome) -> Option<String> {
        let handoff = self.processes.get(&supervisor)?.supervisor()?.handoff()?;
        let (incumbent, successor) = (handoff.incumbent(), handoff.successor());
        let unheard = |pid: u32| !handoff.was_told(pid);
        // Another supervisor replaces it already: what it said was so.
        let is_replaced = |pid: u32| {
            self.supervisors().any(|(other, rival)| {
                other != supervisor && rival.handoff().is_some_and(|handoff| handoff.incumbent() == Some(pid))
            })
        };
        let serves = |pid: Option<u32>| {
            pid.is_some_and(|pid| {
                self.serves(pid) || self.may_be_thought_to(pid, unheard(pid)) || is_replaced(pid)
            })
        };
        let lives = |pid: Option<u32>| pid.is_some_and(|pid| self.processes.contains_key(&pid));
        let so = match outcome.verdict {
            Verdict::Committed => serves(successor) && !lives(incumbent),
            Verdict::RolledBack if incumbent.is_none() => !lives(successor),
            Verdict::RolledBack | Verdict::FellBack => serves(incumbent) && !lives(successor),
            Verdict::NobodyServes => !lives(incumbent) && !lives(successor),
            // Or a daemon of another supervisor answers at the control path.
            Verdict::Unconfirmed => incumbent.is_none_or(unheard) || self.who_answers_at_path().is_some(),
            Verdict::Busy | Verdict::Unreachable | Verdict::Cancelled => !lives(successor),
        };
        let missed = self.still_calm(handoff.calm) && outcome.verdict != Verdict::Committed;
        match () {
            () if !so => Some(format!("the supervisor reports {:?}, which is not so", outcome.verdict)),
            () if missed => Some(format!(
                "nothing went wrong, but the supervisor reports {:?}: {}",
                outcome.verdict,
                outcome.reason.as_ref().map(ToString::to_string).unwrap_or_default()
            )),
            () => None,
        }
    }

    /// It said so, and something has happened to it since that its supervisor could not hear of.
    fn may_be_thought_to(&self, pid: u32, unheard: bool) -> bool {
        match self.processes.get(&pid) {
            // It was stopped: whoever thought that it hung may have replaced it since.
            Some(process) => {
                process.life == Life::Dying || process.suspect || self.audit.signalled.contains(&pid)
            }
            None => unheard && self.audit.has_served.contains(&pid),
        }
    }

    /// A recovery kills somebody: one that is its to end; not one that serves, nor the last one that could.
    pub(crate) fn recovery_kill_is_lawful(&mut self, supervisor: u32, pid: u32) {
        if let Some(why) = self.unlawful_recovery_kill(supervisor, pid) {
            self.violated("serves again", why);
        }
    }

    fn unlawful_recovery_kill(&self, supervisor: u32, pid: u32) -> Option<String> {
        let suspects = self.processes.get(&supervisor)?.suspect;
        let crate::supervisor::Task::Recovery(recovery) =
            &self.processes.get(&supervisor)?.supervisor()?.task
        else {
            return None;
        };
        let name = self.name_of(pid);
        if !recovery.named.contains(&pid) {
            return Some(format!("the recovery kills {name}, which is another's"));
        }
        let process = self.processes.get(&pid)?;
        let daemon = process.daemon()?;
        let well = process.runs()
            && daemon.begun
            && daemon.quirk.is_none()
            && !daemon.hangs()
            && !process.suspect
            && !daemon.told_to_leave;
        let dying = self.daemons().any(|(_, process, _)| process.life == Life::Dying);
        let others = self.daemons().any(|(other, process, _)| other != pid && process.life != Life::Dying);
        match () {
            () if !well || dying || suspects || !self.audit.signalled.is_empty() => None,
            () if daemon.accepts => Some(format!("the recovery kills {name}, which serves")),
            () if !others => Some(format!("the recovery kills {name}, the last one")),
            () => None,
        }
    }

    /// A process reads a message.
    pub(crate) fn hears_over(&mut self, pid: u32, link: u64, message: &Message) {
        if matches!(message, Message::Heartbeat { .. }) {
            self.audit.heard.insert((pid, link), self.now);
        }
    }

    /// When a process takes a peer for silent, it has not just read its heartbeat.
    pub(crate) fn silence_is_true(&mut self, pid: u32, timer: &str) {
        let Some(process) = self.processes.get(&pid).filter(|process| !process.suspect) else { return };
        let links = match (timer, process.daemon()) {
            ("SupervisorSilent", Some(_)) => self.links_of_daemon(pid),
            _ => self.link_of_timer(pid, timer).into_iter().collect(),
        };
        let lately = self.now.saturating_sub(self.plan.times.liveness.micros() * 3 / 4);
        let heard = |link: &u64| self.audit.heard.get(&(pid, *link)).is_some_and(|at| *at > lately);
        if links.iter().any(heard) {
            let why = format!("{} takes for silent whom it has just heard ({timer})", self.name_of(pid));
            self.violated("told the truth", why);
        }
    }

    /// The links that a daemon has open.
    fn links_of_daemon(&self, pid: u32) -> Vec<u64> {
        let its = |link: &Link| link.pid(Side::Daemon) == pid && link.is_open(Side::Daemon);
        self.links.iter().filter(|(_, link)| its(link)).map(|(id, _)| *id).collect()
    }

    /// What a recovery finds is so.
    pub(crate) fn finding_is_true(&mut self, supervisor: u32, outcome: &recovery::Outcome) {
        self.audit.findings.push(outcome.verdict);
        if let Some(why) = self.untrue_finding(supervisor, outcome) {
            self.violated("told the truth", why);
        }
    }

    fn untrue_finding(&self, pid: u32, outcome: &recovery::Outcome) -> Option<String> {
        let crate::supervisor::Task::Recovery(recovery) = &self.processes.get(&pid)?.supervisor()?.task
        else {
            return None;
        };
        // Another supervisor is at work on them: what they said may be over by now.
        let at_work = |supervisor: &crate::supervisor::SupervisorProcess| {
            supervisor.handoff().is_some() || outcome.verdict == recovery::Verdict::NobodyServes
        };
        if recovery.beside
            || self.supervisors().any(|(other, supervisor)| other != pid && at_work(supervisor))
        {
            return None;
        }
        // One that has not said `Hello` yet knows of no handoff, and leaves when it sees that its supervisor is gone.
        let matters = |process: &Process, daemon: &crate::process::Daemon| {
            process.life != Life::Dying && (daemon.is_incumbent() || daemon.told_to_begin)
        };
        let so = match outcome.verdict {
            recovery::Verdict::Serves(process) => {
                self.serves(process.pid) || self.may_be_thought_to(process.pid, true)
            }
            recovery::Verdict::NobodyServes => {
                !self.daemons().any(|(_, process, daemon)| matters(process, daemon))
            }
            recovery::Verdict::Unconfirmed => self.daemons().next().is_some(),
            recovery::Verdict::Cancelled => true,
        };
        if !so {
            let found = match outcome.verdict {
                recovery::Verdict::Serves(ProcessId { pid, .. }) => {
                    format!("that {} serves", self.name_of(pid))
                }
                verdict => format!("{verdict:?}"),
            };
            return Some(format!("the recovery reports {found}, which is not so"));
        }
        let recovery::Verdict::Serves(heir) = outcome.verdict else { return None };
        // One that it has killed, and that takes its time to end, may be there if it says so.
        let said = |process: &Process| process.life == Life::Dying && outcome.left.contains(&process.id);
        let is_there = |pid: u32| self.processes.get(&pid).is_some_and(|process| !said(process));
        let stray = recovery.named.iter().find(|pid| **pid != heir.pid && is_there(**pid))?;
        Some(format!("the recovery is over, and {} is left", self.name_of(*stray)))
    }

    /// At the end of a run.
    pub(crate) fn all_is_in_order(&mut self) {
        let Some(server) = self.who_serves() else {
            let path = self.control_path.map(|pid| self.name_of(pid));
            let why = format!("the control path leads to {path:?}, which is not the one that serves");
            return self.violated("reachable", why);
        };
        for key in 0..self.clients.len() as u32 {
            let found = self.call(server, |app| app.read(key).map_err(|error| error.to_string()));
            let Some(Ok(found)) = found else {
                return self.violated("nothing lost", format!("key {key} can't be read: {found:?}"));
            };
            let (acknowledged, _) = self.promised(key);
            self.is_not_lost(key, found.unwrap_or_default(), acknowledged);
        }
        if let Some(left) = self.what_is_left(server) {
            self.violated("nothing left", left);
        }
    }

    fn what_is_left(&self, server: u32) -> Option<String> {
        let supervisor = self.main_supervisor()?;
        let journal = &self.processes[&supervisor].supervisor()?.knows;
        let stray = self.processes.keys().find(|pid| ![supervisor, server].contains(pid));
        let holder = self.disk.lock().holders.iter().copied().find(|pid| *pid != server);
        let name = self.names_beside.iter().find(|pid| **pid != server);
        let listener = self.listener.holders().find(|pid| ![supervisor, server].contains(pid));
        let under_way = journal.under_way.as_ref().filter(|under_way| !under_way.retiring);
        let running = journal.running.as_ref().map(|running| running.process.pid);
        match () {
            () if stray.is_some() => Some(format!("{} is left", self.name_of(*stray?))),
            () if holder.is_some() => Some(format!("process {} has a lock that is not its own", holder?)),
            () if name.is_some() => {
                Some(format!("the socket of process {} is left beside the control path", name?))
            }
            () if listener.is_some() => Some(format!("process {} still has the listening socket", listener?)),
            () if !self.listener.has(supervisor) || !self.listener.has(server) => {
                Some("a listening socket is missing".into())
            }
            () if !self.links.is_empty() => Some(format!("{} links are left", self.links.len())),
            () if under_way.is_some() => Some("the journal says that a handoff is under way".into()),
            () if !self.processes[&server].daemon().is_some_and(|daemon| daemon.finalizes) => {
                Some(format!("{} was not told that its predecessor has ended", self.name_of(server)))
            }
            () if running != Some(server) => {
                Some(format!("the journal says that process {running:?} serves"))
            }
            () => None,
        }
    }
}

/// Names are static: one that is at two addresses is merely kept twice.
fn address(name: &'static str) -> usize {
    name.as_ptr() as usize
}

impl GapKey {
    fn addresses(&self) -> [usize; 3] {
        let Gap { role, state, before } = self.0;
        [address(role), address(state), before.map_or(0, address)]
    }
}

impl CellKey {
    fn addresses(&self) -> [usize; 4] {
        let Cell { role, state, event } = self.0;
        [address(role), address(state), address(event.of), address(event.what)]
    }
}

macro_rules! by_addresses {
    ($key:ident) => {
        impl PartialEq for $key {
            fn eq(&self, other: &Self) -> bool {
                self.addresses() == other.addresses()
            }
        }

        impl Eq for $key {}

        impl PartialOrd for $key {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $key {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.addresses().cmp(&other.addresses())
            }
        }
    };
}

by_addresses!(GapKey);
by_addresses!(CellKey);
