//! The kernel that is searched: processes, one lock with its record, one control path, links.
//!
//! Faults it can make: a process dies in any gap or while idle and takes its time to do so (its links close, then
//! the lock is freed, then it has ended); is stopped for any time; loses a frame; has its link reset; runs a hook
//! that fails, hangs or opens something unfit; has an operation fail; is told to stop; the deadline comes early,
//! the caller cancels. All of them are to be survived.
//!
//! A supervisor that died, or has lost track, may be followed by one that recovers ([`ModelRecovery`]); so may one that is
//! merely stopped, by another, which begins no handoff of its own.
//!
//! No time passes. A timer fires when what it waits for has happened (`steps.rs` says what that is), and only if
//! its process has nothing to read: that is rule 18; none does in the moment before a process's first turn, nor in the one between its freeing
//! the lock and its end. What keeps the search finite without hiding anything: a
//! heartbeat goes out only if no process that runs has a frame of its sender to read (it would repeat it), is not said twice
//! to one that is stopped, and frames are lost
//! from the head of a queue (each is at its head once). Links have numbers that are used again once free.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use handoff::journal::Journal;
use handoff::machine::{
    Awaited, ExitReason, IncumbentMachine, LinkId, LockAnswer, Op, RecoveryMachine, SuccessorMachine,
    SupervisorMachine, Timers, incumbent, recovery,
    supervisor::{self, Outcome, Peer},
};
use handoff::message::{Capabilities, Hello, Message, MessageName, PROTO_MAX, PROTO_MIN, Role, SealProgress};
pub(crate) use handoff::node::daemon::DaemonMachine;
use handoff::node::daemon::Hook as AnyHook;
use handoff::node::keeper;
use handoff::record::Record;
use handoff::{HandoffId, ProcessId};

use self::clients::{ClientBudget, Clients};
use self::faults::FaultBudget;
use self::flaws::CarryFlaw;
pub(crate) use crate::kernel::Life;

pub(super) mod client_steps;
pub(super) mod clients;
pub(super) mod connection;
pub(super) mod faults;
pub(super) mod flaws;
pub(super) mod journal;
pub(super) mod names;
mod passing;
mod recover;
pub(super) mod steps;
pub(super) mod watch;

/// The versions of the protocol that a build speaks, if not those of all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Version {
    /// Those, and a later one.
    Later,
    /// Only a later one.
    OnlyLater,
}

impl Version {
    pub(crate) const OTHERS: [Version; 2] = [Version::Later, Version::OnlyLater];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Version::Later => "a later version, too",
            Version::OnlyLater => "a later version, and no other",
        }
    }
}

/// A daemon's process, as the kernel and its clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ModelDaemon {
    pub daemon: DaemonMachine,
    pub life: Life,
    /// `true` if it was stopped, so the supervisor may think that it hangs; or it was told to leave.
    pub suspect: bool,
    /// The handoff that it is, or was, part of, and the last that it has said of it.
    pub handoff: Option<HandoffId>,
    pub said: Option<MessageName>,
    /// `true` if its supervisor has been heard since it was last silent.
    pub heard: bool,
    /// `true` if its supervisor has told it to resume.
    pub told_to_resume: bool,
    pub told_to_retire: bool,
    pub told_to_leave: bool,
    pub heard_begin: bool,
    pub told_to_begin: bool,
    pub told_to_commit: bool,
    /// `true` if it has had its first turn.
    pub has_started: bool,
    /// The incumbent of the handoff for which it was spawned.
    pub predecessor: Option<u32>,
    /// The record's generation when it was spawned.
    pub generation: u64,
    /// `true` if its build speaks no version that the supervisor does.
    pub alien: bool,
    /// Run one after the other.
    pub hooks: Vec<(Op, AnyHook)>,
    /// `true` if the first hook never returns.
    pub hung: bool,
    /// `true` if it accepts connections and writes what they ask for.
    pub accepts: bool,
    /// `true` if it was told that its predecessor has ended; or it never had one.
    pub finalized: bool,
    /// Operations whose results are put off.
    pub pending: Vec<Awaited>,
    /// The last operation that carried a number.
    pub last_op: Op,
    pub exited: Option<ExitReason>,
}

/// The supervisor's process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ModelSupervisor {
    pub machine: SupervisorMachine,
    pub stopped: bool,
    pub incumbent: Option<u32>,
    pub successor: Option<u32>,
    /// The processes that it has killed.
    pub killed: Vec<Peer>,
    /// Ends that it was told of.
    pub told: Vec<u32>,
    pub wants_connect: bool,
    pub pending: Vec<supervisor::Awaited>,
    pub outcome: Option<Outcome>,
    /// `true` if the last write of the journal has failed, or says too little.
    pub journal_failed: bool,
    /// The journal that the supervisor knows, written down or not.
    pub knows: Arc<Journal>,
    /// The journal that the supervisor knew when it began.
    pub before: Arc<Journal>,
    /// `true` if its successor has said that it can't.
    pub heard_failed: bool,
    /// `true` if it was called off before it had told its successor to commit.
    pub cancelled: bool,
    /// `true` if its deadline has passed.
    pub late: bool,
    /// `true` if it began with one idle process that serves, and no fault has happened since: it must commit.
    pub must_commit: bool,
}

/// A supervisor that recovers: another process than [`ModelSupervisor`], which is gone, at its end, or stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ModelRecovery {
    pub machine: RecoveryMachine,
    pub stopped: bool,
    /// `true` if the journal is its own: no other supervisor holds it.
    pub has_journal: bool,
    /// The journal that the supervisor knows, written down or not.
    pub knows: Arc<Journal>,
    /// The processes that it watches, and whose end it was not told.
    pub watched: Vec<u32>,
    /// The processes that the journal, the record or the control path has named.
    pub named: BTreeSet<u32>,
    /// Those that the journal has named.
    pub journaled: BTreeSet<u32>,
    /// The processes that have said something to it.
    pub heard: BTreeSet<u32>,
    /// `true` if it was given the listening sockets.
    pub has_listeners: bool,
    /// The processes that it has killed: it does not hear them any more.
    pub killed: BTreeSet<u32>,
    /// The pids of the processes whose answer is still to come.
    pub asked: BTreeSet<u32>,
    /// The processes that could not be connected to.
    pub refused: Vec<u32>,
    pub pending: Vec<recovery::Awaited>,
    /// `true` if the last write of the journal has failed, or says too little.
    pub journal_failed: bool,
    pub outcome: Option<recovery::Outcome>,
}

/// The peer that has a link to a daemon, and what the daemon is to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ModelEnd {
    Supervisor(Peer),
    Recovery,
}

/// A connection between a supervisor and a daemon. An end that is not open has closed it, or has read its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ModelLink {
    pub end: ModelEnd,
    pub pid: u32,
    pub id: LinkId,
    pub handoff_id: HandoffId,
    /// `true` if the daemon knows of it.
    pub accepted: bool,
    /// `true` if the daemon has read over it that a supervisor has a handoff with it.
    pub joined: bool,
    /// `true` if the supervisor has made the daemon part of its handoff over it.
    pub acked: bool,
    /// `true` if the daemon has said something of the handoff over it.
    pub answered: bool,
    /// The last that the supervisor has said of the handoff over it.
    pub said: Option<MessageName>,
    pub reset: bool,
    pub down: VecDeque<Message>,
    pub up: VecDeque<Message>,
    pub supervisor_open: bool,
    pub daemon_open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    pub faults: FaultBudget,
    /// The number of handoffs that may still be started.
    pub handoffs: u8,
    pub started: u8,
    pub processes: BTreeMap<u32, ModelDaemon>,
    pub supervisor: Option<ModelSupervisor>,
    pub recovery: Option<ModelRecovery>,
    /// The journal that is written down.
    pub journal: Arc<Journal>,
    /// `true` if a supervisor died, or has lost track.
    pub astray: bool,
    pub links: Vec<ModelLink>,
    pub lock: Option<u32>,
    pub record: Option<Record>,
    /// The incumbent of the handoff for which the record's holder was spawned.
    pub before_holder: Option<u32>,
    pub path: Option<u32>,
    pub next_pid: u32,
    /// A daemon was told to stop: that nobody serves then is what was wanted.
    pub signalled: Option<u32>,
    pub violation: Option<String>,
    /// The connections that stay, in a bound that has any.
    pub clients: Option<Box<Clients>>,
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const LIVENESS: Duration = Duration::from_secs(5);
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

/// No handoff that was ever asked for.
pub(super) const STRAY: HandoffId = HandoffId([0xff; 16]);

/// Returns whether it belongs to another handoff.
pub(crate) fn is_stray(message: &Message) -> bool {
    message.handoff_id() == Some(STRAY)
}

pub(crate) fn id(pid: u32) -> ProcessId {
    ProcessId { pid, start_time: 0 }
}

pub(crate) fn hello(pid: u32, role: Role) -> Hello {
    Hello {
        role,
        pid,
        start_time: 0,
        build_id: Vec::new(),
        proto_min: PROTO_MIN,
        proto_max: PROTO_MAX,
        capabilities: Capabilities::default(),
    }
}

impl Model {
    /// Makes the model in which one daemon serves and a supervisor is about to replace it.
    pub(crate) fn new(faults: FaultBudget, handoffs: u8) -> Model {
        let machine = IncumbentMachine::new(hello(1, Role::Incumbent), 1, SECOND);
        let first = ModelDaemon {
            has_started: true,
            accepts: true,
            finalized: true,
            ..ModelDaemon::new(DaemonMachine::Incumbent(machine), None)
        };
        let record = Record {
            generation: 1,
            holder: id(1),
            sealed_for: None,
            serving: true,
            revisions: Vec::new(),
            fingerprint: Default::default(),
        };
        Model {
            faults,
            handoffs,
            started: 0,
            processes: BTreeMap::from([(1, first)]),
            supervisor: None,
            recovery: None,
            journal: Arc::new(journal::at_first(1)),
            astray: false,
            links: Vec::new(),
            lock: Some(1),
            record: Some(record),
            before_holder: None,
            path: Some(1),
            next_pid: 2,
            signalled: None,
            violation: None,
            clients: None,
        }
    }

    /// The same with connections that stay.
    pub(crate) fn with(self, clients: ClientBudget, flaw: Option<CarryFlaw>) -> Model {
        Model { clients: Clients::new(clients, flaw), ..self }
    }

    /// A process that has said nothing yet is of another build than one thought.
    pub(crate) fn speaks(&mut self, pid: u32, version: Version) {
        let link = self.links.iter().find(|link| link.pid == pid).map(|link| link.id);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let other = |hello: Hello| Hello {
            proto_min: if version == Version::OnlyLater { PROTO_MAX + 1 } else { PROTO_MIN },
            proto_max: PROTO_MAX + 1,
            ..hello
        };
        process.alien = version == Version::OnlyLater;
        process.daemon = match (&process.daemon, link) {
            (DaemonMachine::Successor(_), Some(link)) => {
                let hello = other(hello(pid, Role::Successor));
                DaemonMachine::Successor(SuccessorMachine::new(hello, process.generation, link))
            }
            _ => {
                DaemonMachine::Incumbent(IncumbentMachine::new(other(hello(pid, Role::Incumbent)), 1, SECOND))
            }
        };
    }

    pub(crate) fn violated(&mut self, violation: Option<String>) {
        self.violation = self.violation.take().or(violation);
    }

    pub(crate) fn supervisor_runs(&self) -> bool {
        self.supervisor.as_ref().is_some_and(|supervisor| !supervisor.stopped)
    }

    pub(crate) fn runs(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.life == Life::Runs)
    }

    pub(crate) fn listens(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.life != Life::Dying)
    }

    /// Returns whether no supervisor is at work on a handoff.
    pub(crate) fn idle(&self) -> bool {
        self.supervisor.as_ref().is_none_or(|supervisor| supervisor.machine.is_done())
    }

    /// Returns whether no supervisor recovers.
    pub(crate) fn recovery_is_over(&self) -> bool {
        self.recovery.as_ref().is_none_or(|recovery| recovery.machine.is_done())
    }

    /// Returns whether a supervisor is stopped, whatever it is at.
    pub(crate) fn is_stopped(&self) -> bool {
        self.supervisor.as_ref().is_some_and(|supervisor| supervisor.stopped)
            || self.recovery.as_ref().is_some_and(|s| s.stopped)
    }

    pub(crate) fn recovery_runs(&self) -> bool {
        self.recovery.as_ref().is_some_and(|recovery| !recovery.stopped)
    }

    /// Connects a supervisor to `pid`.
    pub(crate) fn link(&mut self, end: ModelEnd, pid: u32) -> LinkId {
        let id = LinkId((0..).find(|n| self.links.iter().all(|link| link.id.0 != *n)).unwrap_or_default());
        self.links.push(ModelLink {
            end,
            pid,
            id,
            handoff_id: HandoffId([self.started; 16]),
            accepted: end == ModelEnd::Supervisor(Peer::Successor),
            joined: false,
            acked: false,
            answered: false,
            said: None,
            reset: false,
            down: VecDeque::new(),
            up: VecDeque::new(),
            supervisor_open: true,
            daemon_open: true,
        });
        id
    }

    pub(crate) fn spawn(&mut self) -> u32 {
        let pid = self.next_pid;
        self.next_pid += 1;
        let link = self.link(ModelEnd::Supervisor(Peer::Successor), pid);
        let generation = self.record.as_ref().map_or(0, |record| record.generation);
        let machine = SuccessorMachine::new(hello(pid, Role::Successor), generation, link);
        let predecessor = self.supervisor.as_ref().and_then(|supervisor| supervisor.incumbent);
        let process =
            ModelDaemon { generation, ..ModelDaemon::new(DaemonMachine::Successor(machine), predecessor) };
        self.processes.insert(pid, process);
        if let Some(supervisor) = &mut self.supervisor {
            supervisor.successor = Some(pid);
        }
        pid
    }

    pub(crate) fn try_lock(&mut self, pid: u32) -> LockAnswer {
        let record = self.record.clone();
        match self.lock {
            Some(holder) if holder != pid => LockAnswer::Busy { hint: record, holder: None },
            _ => {
                self.lock = Some(pid);
                LockAnswer::Held { last: record }
            }
        }
    }

    pub(crate) fn write_record(&mut self, pid: u32, record: Record) {
        let lawful = self.lock == Some(pid);
        self.violated((!lawful).then(|| format!("{pid} writes the record without the lock")));
        // A number that comes again would be taken for the one that is known.
        let before = self.record.as_ref().filter(|before| before.holder.pid != pid);
        let again = before.is_some_and(|before| record.generation <= before.generation);
        self.violated(again.then(|| format!("{pid} takes the record over, and its generation stays")));
        self.clients.iter_mut().for_each(|clients| clients.recorded(pid, &record));
        self.record = Some(record);
        self.before_holder = self.processes.get(&pid).and_then(|process| process.predecessor);
    }

    /// A process is about to end, however: its links close at once.
    pub(crate) fn dies(&mut self, pid: u32) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.life = Life::Dying;
            process.accepts = false;
            process.hung = false;
            process.hooks.clear();
            process.pending.clear();
        }
        for link in self.links.iter_mut().filter(|link| link.pid == pid) {
            link.daemon_open = false;
        }
        let exit = self.processes.get(&pid).and_then(|process| process.exited.as_ref());
        let wrong = self.clients.as_mut().and_then(|clients| clients.dies(pid, exit));
        self.violated(wrong);
    }

    pub(crate) fn supervisor_dies(&mut self) {
        self.supervisor = None;
        self.astray = true;
    }

    pub(crate) fn recovery_dies(&mut self) {
        self.recovery = None;
        self.astray = true;
    }

    /// Returns whether a daemon that runs has a handoff with the supervisor at the other end.
    pub(crate) fn is_in_session(&self, link: &ModelLink) -> bool {
        let runs = |process: &ModelDaemon| {
            process.has_started && process.life == Life::Runs && process.handoff == Some(link.handoff_id)
        };
        link.joined && self.processes.get(&link.pid).is_some_and(runs)
    }

    /// Returns whether the supervisor at this end of a link is there and at work.
    pub(crate) fn is_at_work(&self, end: ModelEnd) -> bool {
        match end {
            ModelEnd::Supervisor(_) => !self.idle(),
            ModelEnd::Recovery => !self.recovery_is_over(),
        }
    }

    /// Takes note of what supervisors know once a handoff is over. A commit that the journal does not have
    /// leads to a recovery; where no supervisor recovers, it is no excuse for anything.
    pub(crate) fn finished(&mut self, outcome: &Outcome) {
        let end = keeper::TaskEnd::from(outcome);
        self.astray |= !end.is_clear(true) && (self.faults.recovers || !end.is_committed());
    }

    /// Forgets what can't be seen any more.
    pub(crate) fn settle(&mut self) {
        let at_work = self.links.iter().map(|link| self.is_at_work(link.end)).collect::<Vec<_>>();
        for (link, at_work) in self.links.iter_mut().zip(at_work) {
            link.supervisor_open &= at_work;
            if !link.supervisor_open {
                link.up.clear();
            }
            if !link.daemon_open {
                link.down.clear();
            }
        }
        self.links.retain(|link| link.daemon_open || link.supervisor_open);
    }
}

impl ModelLink {
    /// Loses what is on its way; both ends will see that there is no link any more.
    pub(crate) fn reset(&mut self) {
        self.reset = true;
        self.down.clear();
        self.up.clear();
    }
}

impl ModelSupervisor {
    /// Returns whether it has seen its incumbent end: there is no process to go back to.
    pub(crate) fn incumbent_has_ended(&self) -> bool {
        self.incumbent.is_some_and(|pid| self.told.contains(&pid))
    }
}

impl ModelDaemon {
    pub(crate) fn new(daemon: DaemonMachine, predecessor: Option<u32>) -> Self {
        ModelDaemon {
            daemon,
            life: Life::Runs,
            suspect: false,
            handoff: None,
            said: None,
            heard: false,
            told_to_resume: false,
            told_to_retire: false,
            told_to_leave: false,
            heard_begin: false,
            told_to_begin: false,
            told_to_commit: false,
            has_started: false,
            predecessor,
            generation: 0,
            alien: false,
            hooks: Vec::new(),
            hung: false,
            accepts: false,
            finalized: false,
            pending: Vec::new(),
            last_op: Op::default(),
            exited: None,
        }
    }

    pub(crate) fn timers(&self) -> &Timers {
        self.daemon.timers()
    }

    /// Returns whether it runs, and no other process could think that it does not.
    pub(crate) fn is_well(&self) -> bool {
        self.life == Life::Runs && !self.hung && !self.suspect && !self.alien
    }

    /// Returns whether a hook runs that something depends on, or an answer is awaited.
    pub(crate) fn is_busy(&self) -> bool {
        let finalize = AnyHook::Incumbent(incumbent::Hook::Finalize);
        self.hooks.iter().any(|(_, hook)| *hook != finalize) || !self.pending.is_empty()
    }

    /// Returns whether it seals, or writes down that it has.
    pub(crate) fn seals(&self) -> bool {
        let seal = |(_, hook): &(Op, AnyHook)| *hook == AnyHook::Incumbent(incumbent::Hook::Seal);
        self.hooks.iter().any(seal) || !self.pending.is_empty()
    }

    /// Returns how far its seal has come, and over which link that is said; nothing if no supervisor waits
    /// for it.
    pub(crate) fn seal_progress(&self) -> Option<(LinkId, Message)> {
        self.daemon.seal_progress(SealProgress::default())
    }

    /// Returns whether it may make what its predecessor can't undo.
    pub(crate) fn finalizes(&self) -> bool {
        self.hooks.iter().any(|(_, hook)| *hook == AnyHook::Incumbent(incumbent::Hook::Finalize))
    }
}
