//! The work of a supervisor between two tasks: it finds the daemon that serves, starts one where none does,
//! and swaps when that is asked for. The keeper decides; its host performs, and tells how each task has
//! ended.
//!
//! The keeper is not the protocol of a task: that is in the machines. Two rules hold always. One task at a time.
//! Nothing is started before a recovery has found that nobody serves.
use serde::{Deserialize, Serialize};

use crate::machine::supervisor::{HandoffVerdict, Outcome};
use crate::machine::{Reason, recovery};
use crate::time::{Duration, Time};

mod backoff;
mod reload;
mod stop;
mod turn;

use backoff::Backoff;
use reload::Reload;
use stop::StopProgress;
use turn::FallBackTurn;

/// The longest time that a supervisor waits for a listener's address that is in use: a process that the
/// supervisor before had just started has the listeners, and leaves when it sees that its supervisor has
/// died.
pub const ADDRESS_WAIT: Duration = Duration::from_secs(2);

/// The longest time that the outcome of a handoff waits for what is to be said of the kept binaries: a slow
/// disk must not delay it for longer.
pub const KEEP_PATIENCE: Duration = Duration::from_secs(1);

/// The longest time that a daemon that is asked for its status has to answer.
pub const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// The longest time that a new binary may take to check itself, before anything is touched.
pub const CHECK_PATIENCE: Duration = Duration::from_secs(60);

/// The longest time that a check that was killed may take to end.
pub const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// The pause before the next recovery where no process has said in time that it serves; a shorter liveness shortens it.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// The longest times that things may take, and the time at which to fall back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The silence after which a daemon counts as hung.
    pub liveness: Duration,
    /// The pause before the second restart. The first one comes at once, and each further pause is twice as long.
    pub restart_min: Duration,
    /// The longest pause before a restart. A daemon that lived for longer has proved itself: the next restart comes at once.
    pub restart_max: Duration,
    /// The number of failures in a row after which the binary that was committed before is started instead; never if 0.
    pub fall_back_after: u32,
    /// The time that a daemon has to stop before it is killed.
    pub stop_grace: Duration,
}

/// The work that is done by means of a machine, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Find the daemon that serves.
    Recover,
    /// Start a daemon where none serves.
    ColdStart(Which),
    /// Replace the daemon that serves.
    Swap,
}

impl Task {
    /// Returns whether it was asked for; if not, it follows from something.
    fn is_asked(self) -> bool {
        matches!(self, Task::Swap | Task::ColdStart(Which::Asked))
    }
}

/// The binary that is started where no daemon serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// The binary that was committed last.
    Last,
    /// The binary that was committed before that: a fall-back, since starts keep failing.
    Before,
    /// The configured binary: none was committed, or the daemon was stopped on purpose.
    Configured,
    /// The binary that is asked for.
    Asked,
}

/// The committed binaries that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    /// None.
    Nothing,
    /// The last one.
    Last,
    /// The last one, and the one before.
    Both,
}

/// The step that the host is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeeperStep {
    /// Begin a task, and tell how it has ended: [`Keeper::recovered`], [`Keeper::ended`].
    Begin(Task),
    /// Call off the task that is under way. It ends one way or the other, and its end is told.
    CallOff,
    /// Tell every daemon to stop.
    Terminate,
    /// Kill every daemon: the time to stop is over.
    Kill,
    /// Leave without stopping a daemon: which one serves can't be found out in time.
    LeaveAlone,
}

/// The end of a swap or of a cold start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskEnd {
    /// Not begun, and nothing was touched: the binary is missing, say, or the configuration is wrong.
    NotBegun,
    /// Begun and over.
    Over {
        /// The result; [`HandoffVerdict::Unconfirmed`] where the system failed before a verdict.
        verdict: HandoffVerdict,
        /// `true` if the journal says so.
        journalled: bool,
        /// `true` if a daemon was refused for the data that it has opened: no binary is to blame.
        of_data: bool,
    },
}

impl TaskEnd {
    /// Returns whether the daemon could not be asked at all: it can't be reached, or another supervisor has
    /// it.
    pub fn met_nobody(self) -> bool {
        use HandoffVerdict::{Busy, Unreachable};
        matches!(self, TaskEnd::Over { verdict: Busy | Unreachable, .. })
    }

    /// Returns whether it is known which daemon serves after this end of a swap (`replaces`) or of a cold
    /// start. If not, a recovery follows.
    pub fn is_clear(self, replaces: bool) -> bool {
        let TaskEnd::Over { verdict, journalled, .. } = self else { return true };
        match verdict {
            // A successor that the journal does not name was not told that its predecessor has ended.
            HandoffVerdict::Committed => journalled,
            HandoffVerdict::RolledBack | HandoffVerdict::Cancelled => replaces,
            // Another supervisor has the incumbent, so another daemon may serve when that is over.
            HandoffVerdict::Busy => false,
            HandoffVerdict::FellBack
            | HandoffVerdict::Unconfirmed
            | HandoffVerdict::NobodyServes
            | HandoffVerdict::Unreachable => false,
        }
    }

    /// Returns whether it was begun and its end is not known.
    pub fn is_unconfirmed(self) -> bool {
        matches!(self, TaskEnd::Over { verdict: HandoffVerdict::Unconfirmed, .. })
    }

    /// Returns whether what was started serves.
    pub fn is_committed(self) -> bool {
        matches!(self, TaskEnd::Over { verdict: HandoffVerdict::Committed, .. })
    }
}

impl From<&Outcome> for TaskEnd {
    fn from(outcome: &Outcome) -> TaskEnd {
        TaskEnd::Over {
            verdict: outcome.verdict,
            journalled: outcome.journal_error.is_none(),
            of_data: outcome.reason.as_ref().is_some_and(Reason::is_of_data),
        }
    }
}

/// The activity of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Watches the daemon.
    Watching,
    /// Starts a daemon where none serves.
    Starting,
    /// Finds the daemon that serves.
    Recovering,
    /// Swaps.
    Swapping,
    /// Waits out a pause before it starts a daemon: none runs.
    BackingOff,
    /// Stops the daemon, and then itself.
    Stopping,
}

/// The facts that are known of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Knows {
    /// Nothing. A recovery begins then.
    Nothing(Time),
    /// Nobody serves, as a recovery has found.
    Nobody,
    /// A daemon serves.
    Serves,
}

/// Decides what follows from what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Keeper {
    config: Limits,
    knows: Knows,
    under_way: Option<Task>,
    reload: Reload,
    /// No daemon is started before, unless that is asked for.
    start_at: Time,
    backoff: Backoff,
    turn: FallBackTurn,
    /// `true` if what was committed is started again: a daemon serves, or the last one was not stopped on
    /// purpose.
    again: bool,
    /// A swap or a cold start ended, and which daemon serves is not known since.
    unclear: Option<Task>,
    stop: Option<StopProgress>,
}

impl Keeper {
    /// The keeper of a supervisor that begins and knows nothing yet. `was_stopped`: the daemon was stopped on purpose, as
    /// far as an earlier supervisor knew, and none was committed since.
    pub fn new(config: Limits, was_stopped: bool) -> Keeper {
        Keeper {
            config,
            knows: Knows::Nothing(Time::ZERO),
            under_way: None,
            reload: Reload::new(config.restart_min, config.restart_max),
            start_at: Time::ZERO,
            backoff: Backoff::new(config.restart_min, config.restart_max),
            turn: FallBackTurn::default(),
            again: !was_stopped,
            unclear: None,
            stop: None,
        }
    }

    /// Takes over a fresh configuration, from which the daemon that serves was started. Pauses begin anew.
    pub fn configure(&mut self, config: Limits) {
        self.config = config;
        self.backoff = Backoff::new(config.restart_min, config.restart_max);
        self.reload.configure(config.restart_min, config.restart_max);
    }

    /// Says what is to be done now; to be called until that is `None`. A task that is returned is under way from then on.
    /// `kept`: the committed binaries that can be started.
    pub fn next(&mut self, now: Time, kept: Kept) -> Option<KeeperStep> {
        if self.stop.is_some() {
            return self.next_of_stop(now);
        }
        if self.under_way.is_some() {
            return None;
        }
        let reloads = self.reload.is_due(now);
        self.under_way = match self.knows {
            Knows::Nothing(at) => (at <= now).then_some(Task::Recover),
            Knows::Serves => reloads.then_some(Task::Swap),
            Knows::Nobody if reloads => Some(Task::ColdStart(Which::Asked)),
            Knows::Nobody => (self.start_at <= now).then(|| Task::ColdStart(self.which(kept))),
        };
        if self.under_way.is_some_and(Task::is_asked) {
            self.reload.begins();
        }
        self.under_way.map(KeeperStep::Begin)
    }

    /// The time at which [`Keeper::next`] has something to say though the keeper is told nothing more; `None` if there is none.
    pub fn wake_at(&self) -> Option<Time> {
        match (&self.stop, self.under_way, self.knows) {
            (Some(stop), _, _) => stop.wake_at(),
            (None, Some(_), _) => None,
            (None, None, Knows::Nothing(at)) => Some(at),
            (None, None, Knows::Nobody) => self.reload.due_at().into_iter().chain([self.start_at]).min(),
            (None, None, Knows::Serves) => self.reload.due_at(),
        }
    }

    /// Takes a request that can be answered: to replace the daemon or, where none serves, to start the one that is asked for,
    /// without a pause: a good build is the way out of a crash loop. The task is under way from then on.
    ///
    /// # Errors
    /// Something else is under way. The request is to be refused and not kept: its sender can ask again, and would find
    /// a swap that comes later than it thinks.
    pub fn ask(&mut self) -> Result<Task, Activity> {
        self.is_free()?;
        let task = if self.knows == Knows::Serves { Task::Swap } else { Task::ColdStart(Which::Asked) };
        self.under_way = Some(task);
        Ok(task)
    }

    /// Takes a request without a caller to answer: the daemon is to be as the configuration says by now. It comes after what
    /// is under way, once for all such requests until then, and is never lost but for a stop: a swap that could not reach the
    /// daemon, or found it in another supervisor's handoff, is tried again, after pauses as those before restarts.
    ///
    /// # Errors
    /// What it comes after; or, if the supervisor is [`Activity::Stopping`], that it is not kept.
    pub fn reload(&mut self) -> Result<(), Activity> {
        if self.stop.is_none() {
            self.reload.ask();
        }
        self.is_free()
    }

    /// Checks whether nothing is under way and it is known which daemon serves, if one does.
    ///
    /// # Errors
    /// What the supervisor is doing instead.
    pub fn is_free(&self) -> Result<(), Activity> {
        match self.activity() {
            Activity::Watching | Activity::BackingOff => Ok(()),
            busy => Err(busy),
        }
    }

    /// Notes that what kept a daemon from being started is mended: where none serves, the next start comes at once.
    ///
    /// # Errors
    /// What the supervisor is doing: nothing was kept from being started, or that is not over.
    pub fn start_now(&mut self, now: Time) -> Result<(), Activity> {
        match self.activity() {
            Activity::BackingOff => self.start_at = now,
            other => return Err(other),
        }
        Ok(())
    }

    /// Checks whether what is under way may be called off alone: a task that was asked for. It ends one way
    /// or the other, and its end is told.
    ///
    /// # Errors
    /// What the supervisor is doing: nothing that was asked for is under way, or it is called off already.
    pub fn may_call_off(&self) -> Result<(), Activity> {
        match self.activity() {
            Activity::Swapping => Ok(()),
            other => Err(other),
        }
    }

    /// Notes that a recovery has ended. One that failed has found nothing: [`recovery::RecoveryVerdict::Unconfirmed`]. `finished`: what serves
    /// is the successor of the task that had no clear end before, and is committed thereby.
    pub fn recovered(&mut self, now: Time, found: recovery::RecoveryVerdict, finished: bool) {
        self.under_way = None;
        if !found.is_clear() {
            self.stop = self.stop.map(StopProgress::finds_nobody);
            self.knows = Knows::Nothing(now + self.config.liveness.min(ASK_AGAIN_MAX));
            return;
        }
        match self.unclear.take() {
            _ if found.serves().is_none() => self.knows = Knows::Nobody,
            Some(task) if finished => self.commits(now, task),
            _ => self.serves(now),
        }
    }

    /// Notes that the swap or the cold start that was under way has ended.
    pub fn ended(&mut self, now: Time, end: TaskEnd) {
        let Some(task) = self.under_way.take() else { return };
        self.reload.ended(now, end);
        let fails = match (task, end) {
            (_, TaskEnd::Over { verdict: HandoffVerdict::Committed, .. }) => {
                self.commits(now, task);
                false
            }
            (Task::ColdStart(which), TaskEnd::NotBegun) => which != Which::Asked,
            (Task::ColdStart(_), TaskEnd::Over { .. }) => true,
            (Task::Swap | Task::Recover, _) => false,
        };
        if fails {
            // What was asked for says nothing about the binary whose turn it is, and neither do data that are not the right ones.
            if !task.is_asked() && !matches!(end, TaskEnd::Over { of_data: true, .. }) {
                self.turn.failed();
            }
            self.start_at = now + self.backoff.pause(Duration::ZERO);
        }
        if !end.is_clear(task == Task::Swap) {
            self.unclear = (!end.is_committed()).then_some(task);
            self.knows = Knows::Nothing(now);
        }
    }

    /// Notes that what `task` has started is committed, and serves.
    fn commits(&mut self, now: Time, task: Task) {
        self.serves(now);
        self.turn.committed(task.is_asked());
        if task.is_asked() {
            self.configure(self.config);
        }
    }

    fn serves(&mut self, now: Time) {
        self.knows = Knows::Serves;
        self.again = true;
        self.start_at = now;
    }

    /// Notes that the daemon that served has ended, after it served for `lived`, while nothing was under way.
    pub fn daemon_ended(&mut self, now: Time, lived: Duration) {
        if self.backoff.is_young(lived) {
            self.turn.failed();
        } else {
            self.turn.proved();
        }
        self.start_at = now + self.backoff.pause(lived);
        self.knows = Knows::Nothing(now);
    }

    /// Returns whether a swap or a cold start has ended, and it is not known yet which daemon serves since.
    pub fn is_unclear(&self) -> bool {
        self.unclear.is_some()
    }

    /// The task that is under way; `None` if none is.
    pub fn under_way(&self) -> Option<Task> {
        self.under_way
    }

    /// Returns what the supervisor is doing.
    pub fn activity(&self) -> Activity {
        match (self.under_way, self.knows) {
            _ if self.stop.is_some() => Activity::Stopping,
            (Some(Task::Swap | Task::ColdStart(Which::Asked)), _) => Activity::Swapping,
            (Some(Task::ColdStart(_)), _) => Activity::Starting,
            (Some(Task::Recover), _) | (None, Knows::Nothing(_)) => Activity::Recovering,
            (None, Knows::Nobody) => Activity::BackingOff,
            (None, Knows::Serves) => Activity::Watching,
        }
    }

    /// Returns whether a daemon serves and nothing is to be done.
    pub fn is_settled(&self) -> bool {
        self.activity() == Activity::Watching && self.reload.due_at().is_none()
    }

    /// The time until a daemon is started, if nobody serves; zero if nothing is waited for.
    pub fn pause(&self, now: Time) -> Duration {
        self.start_at.since(now)
    }

    /// Returns whether what is started is not what was asked for last, which kept failing, but what was
    /// committed before.
    pub fn has_fallen_back(&self) -> bool {
        self.turn.is_older()
    }

    fn which(&mut self, kept: Kept) -> Which {
        match kept {
            Kept::Nothing => Which::Configured,
            _ if !self.again => Which::Configured,
            Kept::Last => Which::Last,
            Kept::Both => {
                self.turn.changes_after(self.config.fall_back_after);
                if self.turn.is_before_last() { Which::Before } else { Which::Last }
            }
        }
    }
}

#[cfg(test)]
mod tests;
