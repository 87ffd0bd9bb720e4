//! A simulated supervisor's process: what it does between two handoffs.
//!
//! It recovers when it starts, when its daemon has ended, and after any outcome but committed and rolled back; it starts
//! what was committed when nobody serves. `swap.rs` and `recover.rs` give its two nodes their turns, `handoff_os.rs` and `recovery_os.rs` are what these stand on.
use handoff::ProcessId;
use handoff::journal::{Binary, Journal, MAGIC};
use handoff::machine::recovery;
use handoff::machine::supervisor::{Outcome, Verdict};
use handoff::node::Node;
use handoff::{HandoffId, slots};

use self::recover::RecoveryTask;
use self::swap::Handoff;
use crate::kernel::{JOURNAL, Micros};
use crate::plan::What as Fault;
use crate::process::Process;
use crate::run::Planted;
use crate::world::World;

mod handoff_os;
mod recover;
mod recovery_os;
pub(crate) mod swap;

/// As in production, but that slots are smaller there is no difference.
const JOURNAL_SLOT: usize = 2048;

/// The longest pause between two cold starts.
const MOST_BACKOFF: Micros = 400_000;

/// A supervisor.
pub(crate) struct SupervisorProcess {
    /// It has no journal, does one handoff, and leaves.
    pub rival: bool,
    begun: bool,
    pub knows: Journal,
    /// Of the next write of the journal.
    sequence: u64,
    slot: usize,
    pub task: Task,
    /// The daemon that serves, as far as it knows.
    pub child: Option<ProcessId>,
    pub due: Option<(Micros, Due)>,
    /// The operator has called off what is under way.
    pub cancelled: bool,
    /// Cold starts that came to nothing, in a row.
    failures: u32,
}

/// What is under way.
pub(crate) enum Task {
    Idle,
    Recovery(Box<RecoveryTask>),
    Handoff(Box<Handoff>),
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Recover,
    ColdStart,
    /// To this build; a rival's.
    Swap(u32),
}

impl SupervisorProcess {
    pub(crate) fn new(rival: bool) -> SupervisorProcess {
        SupervisorProcess {
            rival,
            begun: false,
            knows: Journal::default(),
            sequence: 1,
            slot: 0,
            task: Task::Idle,
            child: None,
            due: None,
            cancelled: false,
            failures: 0,
        }
    }

    /// Nothing is under way or due, and a daemon serves.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.task, Task::Idle) && self.due.is_none() && self.child.is_some()
    }

    pub(crate) fn state(&self) -> &'static str {
        match &self.task {
            Task::Idle => "idle",
            Task::Recovery(recovery) => recovery.node.as_ref().map_or("", Node::state),
            Task::Handoff(handoff) => handoff.node.as_ref().map_or("", Node::state),
        }
    }

    pub(crate) fn handoff(&self) -> Option<&Handoff> {
        match &self.task {
            Task::Handoff(handoff) => Some(handoff),
            _ => None,
        }
    }

    pub(crate) fn handoff_mut(&mut self) -> Option<&mut Handoff> {
        match &mut self.task {
            Task::Handoff(handoff) => Some(handoff),
            _ => None,
        }
    }

    pub(crate) fn recovery_mut(&mut self) -> Option<&mut RecoveryTask> {
        match &mut self.task {
            Task::Recovery(recovery) => Some(recovery),
            _ => None,
        }
    }

    pub(crate) fn recovery(&self) -> Option<&RecoveryTask> {
        match &self.task {
            Task::Recovery(recovery) => Some(recovery),
            _ => None,
        }
    }

    /// Who is to serve in the handoff that is under way.
    pub(crate) fn successor(&self) -> Option<u32> {
        self.handoff()?.successor()
    }

    /// The build that was committed last; the first, if none was.
    fn committed(&self) -> u32 {
        SupervisorProcess::build_to_start(&self.knows)
    }

    /// The build that a supervisor starts which reads `journal`.
    pub(crate) fn build_to_start(journal: &Journal) -> u32 {
        SupervisorProcess::committed_build(journal).unwrap_or(1)
    }

    /// The build that a journal says was committed last.
    pub(crate) fn committed_build(journal: &Journal) -> Option<u32> {
        let path =
            journal.committed.as_ref().map(|binary| String::from_utf8_lossy(&binary.path).into_owned());
        path?.rsplit('/').next()?.parse().ok()
    }
}

/// What build `build` is started from.
pub(crate) fn binary(build: u32, handoff_id: HandoffId) -> Binary {
    Binary { handoff_id, path: format!("/builds/{build}").into_bytes(), args: Vec::new(), identity: None }
}

impl World {
    /// When a supervisor has something to do by itself.
    pub(crate) fn supervisor_turn(
        &self,
        process: &Process,
        supervisor: &SupervisorProcess,
    ) -> Option<Micros> {
        if !supervisor.begun {
            return Some(self.now);
        }
        let due = supervisor.due.filter(|_| matches!(supervisor.task, Task::Idle)).map(|(at, _)| at);
        let own = match &supervisor.task {
            Task::Idle => self.child_ended(supervisor).then_some(self.now),
            Task::Recovery(recovery) => self.recovery_turn(process, supervisor, recovery),
            Task::Handoff(handoff) => self.handoff_turn(process, supervisor, handoff),
        };
        due.into_iter().chain(own).min()
    }

    fn child_ended(&self, supervisor: &SupervisorProcess) -> bool {
        supervisor.child.is_some_and(|child| !self.processes.contains_key(&child.pid))
    }

    pub(crate) fn run_supervisor(&mut self, pid: u32) {
        let Some(supervisor) = self.processes.get_mut(&pid).and_then(Process::supervisor_mut) else { return };
        if !std::mem::replace(&mut supervisor.begun, true) {
            self.reads_journal(pid);
        }
        let Some(supervisor) = self.processes.get(&pid).and_then(Process::supervisor) else { return };
        match &supervisor.task {
            Task::Recovery(_) => return self.run_recovery(pid),
            Task::Handoff(_) => return self.run_handoff(pid),
            Task::Idle => {}
        }
        let child_ended = self.child_ended(supervisor);
        // Answers to what is over are nobody's.
        while self.pending(pid).is_some() {}
        if child_ended {
            let now = self.now;
            self.supervisor_mut(pid).into_iter().for_each(|supervisor| {
                supervisor.child = None;
                supervisor.due = Some((now, Due::Recover));
            });
        }
        self.does_what_is_due(pid);
    }

    fn does_what_is_due(&mut self, pid: u32) {
        let now = self.now;
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        let Some((_, due)) = supervisor.due.filter(|(at, _)| *at <= now) else { return };
        supervisor.due = None;
        match due {
            Due::Recover => self.begins_recovery(pid),
            Due::ColdStart => self.starts_cold(pid),
            Due::Swap(build) => self.begins_handoff(pid, build, true),
        }
    }

    /// Starts what was committed. It can't open a listening socket that another process has, and ends as in production:
    /// the one that is started after it finds out anew who serves.
    fn starts_cold(&mut self, pid: u32) {
        if self.planted == Planted::NoDaemonAgain && self.operator.asked > 0 {
            return;
        }
        if !self.listener.has(pid) && self.listener.is_open() {
            return self.die(pid, "can't listen: the address is in use", true);
        }
        self.listener.give(pid);
        let Some(build) = self.supervisor_mut(pid).map(|supervisor| supervisor.committed()) else { return };
        self.begins_handoff(pid, build, false);
    }

    pub(crate) fn is_due(&mut self, pid: u32, after: Micros, due: Due) {
        let at = self.now + after;
        self.supervisor_mut(pid).into_iter().for_each(|supervisor| supervisor.due = Some((at, due)));
        self.poke(pid, at);
    }

    /// The journal, as it lies there.
    pub(crate) fn journal(&self) -> Journal {
        let slots =
            slots::decode_slots::<Journal>(self.disk.lock().system_read(JOURNAL), MAGIC, JOURNAL_SLOT);
        slots.newest.map(|(_, journal)| journal).unwrap_or_default()
    }

    fn reads_journal(&mut self, pid: u32) {
        let now = self.now;
        let slots =
            slots::decode_slots::<Journal>(self.disk.lock().system_read(JOURNAL), MAGIC, JOURNAL_SLOT);
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        supervisor.due = Some((now, Due::Recover));
        if supervisor.rival {
            return;
        }
        supervisor.sequence = slots.next_sequence();
        supervisor.slot = slots.next;
        supervisor.knows = slots.newest.map(|(_, journal)| journal).unwrap_or_default();
    }

    /// What it knows from here on, written if there is a file for it. `None` if it dies over it.
    pub(crate) fn writes_journal(&mut self, pid: u32, journal: Journal) -> Option<Result<(), String>> {
        let supervisor = self.supervisor_mut(pid)?;
        supervisor.knows = journal.clone();
        if supervisor.rival {
            return Some(Ok(()));
        }
        let (sequence, slot) = (supervisor.sequence, supervisor.slot);
        let bytes = slots::encode_slot(MAGIC, sequence, &journal, JOURNAL_SLOT).unwrap_or_default();
        let fate = self.journal_fate(pid);
        self.supervisor_mut(pid)?;
        let mut disk = self.disk.lock();
        let result = match fate {
            Some(Fault::Torn) => {
                let _ = disk.system_write(JOURNAL, slot * JOURNAL_SLOT, &bytes[..bytes.len() / 2]);
                drop(disk);
                self.die(pid, "dies in the middle of a write", false);
                return None;
            }
            Some(_) => Err("injected".into()),
            None => disk
                .system_write(JOURNAL, slot * JOURNAL_SLOT, &bytes)
                .and_then(|()| disk.system_sync(JOURNAL)),
        };
        drop(disk);
        if result.is_ok() {
            let supervisor = self.supervisor_mut(pid)?;
            supervisor.sequence += 1;
            supervisor.slot = (supervisor.slot + 1) % slots::SLOTS;
        }
        Some(result)
    }

    /// A handoff, or a cold start, is over: what follows from it.
    pub(crate) fn goes_on_after(
        &mut self,
        pid: u32,
        outcome: &Outcome,
        serves: Option<ProcessId>,
        replaced: bool,
    ) {
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        if supervisor.rival {
            return self.die(pid, "leaves", true);
        }
        match outcome.verdict {
            Verdict::Committed => {
                supervisor.failures = 0;
                supervisor.child = serves;
                // It was not told that its predecessor has ended.
                if outcome.journal_error.is_some() {
                    self.is_due(pid, 0, Due::Recover);
                }
            }
            Verdict::RolledBack if replaced => supervisor.child = serves,
            _ => {
                supervisor.child = None;
                let after = if replaced { 0 } else { supervisor.next_backoff() };
                self.is_due(pid, after, Due::Recover);
            }
        }
    }

    /// A recovery is over: what follows from it.
    pub(crate) fn goes_on_with(&mut self, pid: u32, found: recovery::Verdict) {
        let liveness = self.plan.times.liveness.micros();
        let Some(supervisor) = self.supervisor_mut(pid) else { return };
        match found {
            recovery::Verdict::Serves(process) => {
                supervisor.child = Some(process);
                // The same build once more: the first supervisor knows no other that it could start.
                if supervisor.rival {
                    let build = self.daemon_mut(process.pid).map_or(1, |daemon| daemon.build);
                    self.is_due(pid, 0, Due::Swap(build));
                }
            }
            _ if supervisor.rival => self.die(pid, "leaves", true),
            recovery::Verdict::NobodyServes => self.is_due(pid, 0, Due::ColdStart),
            recovery::Verdict::Unconfirmed | recovery::Verdict::Cancelled => {
                self.is_due(pid, liveness, Due::Recover);
            }
        }
    }
}

impl SupervisorProcess {
    /// How long to wait before the next cold start: it doubles.
    fn next_backoff(&mut self) -> Micros {
        self.failures += 1;
        (10_000 << self.failures.min(10)).min(MOST_BACKOFF)
    }
}
