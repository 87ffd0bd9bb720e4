//! The supervisor's side of the blocking API.
//!
//! ```no_run
//! use std::net::TcpListener;
//!
//! use handoff::{Listeners, RecoverySpec, SpawnSpec, Supervisor};
//!
//! # fn main() -> handoff::Result<()> {
//! let supervisor =
//!     Supervisor::new("/run/kv/control.sock")?.with_journal("/var/lib/kv/handoff.journal")?;
//! // A daemon may run already: then it is taken over, with its listeners.
//! if supervisor.recover(&RecoverySpec::default())?.nobody_serves {
//!     let listener = TcpListener::bind("127.0.0.1:6379").expect("the port is free");
//!     supervisor.set_listeners(Listeners::from_entries(vec![("resp".into(), listener.into())])?)?;
//!     supervisor.cold_start(SpawnSpec::new("/usr/bin/kv-1"))?;
//! }
//! let outcome = supervisor.perform_handoff(SpawnSpec::new("/usr/bin/kv-2"))?;
//! assert!(outcome.is_committed(), "{:?}", outcome.abort_reason);
//! # Ok(())
//! # }
//! ```
mod check;
mod child;
mod committed;
mod discovery;
mod error;
mod host;
mod journal;
mod keep;
mod outcome;
mod progress;
mod query;
mod recover;
mod recovery;

use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

pub use child::Child;
pub use committed::{CommittedBinary, Image};
pub use error::HandoffError;
pub use outcome::{HandoffOutcome, Phases, Verdict};
pub use progress::{HandoffProgress, Participant};
pub use query::DaemonStatus;
pub use recovery::{Interrupted, InterruptedEnd, RecoveryOutcome, RecoverySpec};

use crate::bounds;
use crate::error::{Error, Result};
use crate::journal::{Journal, UnderWay};
use crate::message::{MAX_LIVENESS, MIN_LIVENESS};
use crate::node::keeper::{KEEP_PATIENCE, STATUS_PATIENCE};
use crate::text::PlainText;
use crate::unix::context::Context;
use crate::unix::control;
use crate::unix::journal::{JournalFile, Recovered};
use crate::unix::listeners::Listeners;
use crate::unix::spawn::Setting;
use crate::unix::trusted;
use crate::unix::wake::{WakeReceiver, Waker, waker};
use keep::{Copier, Shelf};
use progress::ProgressObserver;

/// The program to start as the successor, and the times that things may take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpawnSpec {
    /// The executable. `PATH` is not searched.
    pub binary: PathBuf,
    /// The image that is executed in place of the file at `binary`, which stays the zeroth argument; see
    /// [`CommittedBinary::spec`]. `None` by default.
    pub image: Option<Image>,
    /// Its arguments after the zeroth.
    pub args: Vec<OsString>,
    /// Variables that are added to what is passed on of this process's environment, or replace those in it.
    pub env: Vec<(OsString, OsString)>,
    /// The process's user, directory and umask, and what is passed on of this process's environment.
    /// [`Supervisor::with_user`] must be told the user, too.
    pub setting: Setting,
    /// The time of the whole handoff; when it is over and the successor has not been committed, all is rolled back. Absolute:
    /// neither a drain nor a peer that drips extends it. 5 minutes by default.
    pub deadline: Duration,
    /// The longest time that the incumbent's open requests may take to finish. 60 seconds by default.
    pub drain_grace: Duration,
    /// The time after which a silent process counts as hung; heartbeats come at a fifth of it. 50 ms to 60 seconds,
    /// 5 seconds by default.
    pub liveness: Duration,
    /// The longest time that one hook of a daemon may run before its process ends itself: it would hold up
    /// all others. The deadline by default.
    pub hook_limit: Option<Duration>,
    /// The longest time that a retired incumbent may take to end before it is killed. 10 seconds by default.
    pub retire_limit: Duration,
    /// Calls off this handoff alone: [`Supervisor::new_cancel_handle`]. `None` by default.
    pub cancel: Option<CancelHandle>,
    /// The name that the successor must give to its build. Another one is let go when it is warm, before the
    /// incumbent is told anything, with [`Reason::OtherBuild`](crate::Reason::OtherBuild). `None`, any build,
    /// by default.
    pub expected_build: Option<PlainText>,
    /// `true` if the successor is only to become warm, and is then let go, with
    /// [`Reason::Tried`](crate::Reason::Tried). If the incumbent ends by itself meanwhile, the successor
    /// serves. `false` by default.
    pub dry_run: bool,
    /// The arguments with which the binary checks itself before anything is touched: [`SpawnSpec::check_itself`]. None, and no check,
    /// by default.
    pub check_args: Vec<OsString>,
}

impl SpawnSpec {
    /// Makes the specification of `binary`, without arguments, with the default times.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        SpawnSpec {
            binary: binary.into(),
            image: None,
            args: Vec::new(),
            env: Vec::new(),
            setting: Setting::default(),
            deadline: Duration::from_secs(300),
            drain_grace: Duration::from_secs(60),
            liveness: Duration::from_secs(5),
            hook_limit: None,
            retire_limit: Duration::from_secs(10),
            cancel: None,
            expected_build: None,
            dry_run: false,
            check_args: Vec::new(),
        }
    }

    fn check(&self) -> Result<()> {
        if !(MIN_LIVENESS..=MAX_LIVENESS).contains(&self.liveness) {
            let given = self.liveness;
            let why =
                format!("a liveness of {given:?} is out of range: {MIN_LIVENESS:?} to {MAX_LIVENESS:?}");
            return Err(Error::Caller(why));
        }
        let args = self.args.iter().map(|arg| arg.as_bytes());
        let length = bounds::command_length(self.binary.as_os_str().as_bytes(), args);
        if length > bounds::COMMAND {
            let why = format!(
                "the binary's path and arguments take {length} bytes: at most {} are possible",
                bounds::COMMAND
            );
            return Err(Error::Caller(why));
        }
        let binary = || format!("the binary {}", self.binary.display());
        match self.image_path() {
            // The bytes that were committed: a kept copy was looked at, and an open file is what it was.
            Some(image) => std::fs::metadata(image).map(drop).context(binary),
            None => trusted::check_executable(&self.binary).context(binary),
        }
    }
}

/// Ends what a [`Supervisor`] has under way, one way or the other: what was not committed is rolled back; what was
/// goes on, and so does a handoff whose incumbent has ended, since there is no process to go back to.
///
/// The handle of [`Supervisor::cancel_handle`] also ends whatever is asked for afterwards; one of
/// [`Supervisor::new_cancel_handle`] ends only what was given it in its [`SpawnSpec`].
#[derive(Clone)]
pub struct CancelHandle {
    cancelled: Arc<AtomicBool>,
    waker: Waker,
}

impl CancelHandle {
    /// Cancels, for good.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelHandle").field("cancelled", &self.is_cancelled()).finish()
    }
}

/// Holds the listening sockets and replaces the daemon behind them. Usable from any thread; one handoff at a
/// time.
#[derive(Debug)]
pub struct Supervisor {
    control: PathBuf,
    data_dir: Option<PathBuf>,
    user: Option<u32>,
    build_id: Vec<u8>,
    observer: Option<ProgressObserver>,
    recovered: Recovered,
    cancel: CancelHandle,
    shelf: Mutex<Shelf>,
    /// The complaints about the copies on it.
    complaints: Arc<Mutex<Vec<String>>>,
    /// The parts that only the handoff that is under way may touch.
    busy: Mutex<Workshop>,
}

/// The parts that a handoff works with.
#[derive(Debug)]
struct Workshop {
    wake: WakeReceiver,
    /// The listeners that successors inherit.
    listeners: Listeners,
    journal: Option<JournalFile>,
    /// The journal as it is, or would be.
    knows: Journal,
    /// The handoff that was under way in another boot, until it is reported.
    interrupted: Option<UnderWay>,
    /// `true` if the journal says so.
    is_written: bool,
    copier: Copier,
    /// Processes that were started here and have not been reaped.
    children: Vec<Child>,
}

impl Supervisor {
    /// A supervisor of the daemon whose control socket is at `control_socket`. Nothing is touched yet.
    ///
    /// # Errors
    /// [`Error::Caller`] if the path is too long for a socket.
    pub fn new(control_socket: impl AsRef<Path>) -> Result<Self> {
        let control = control_socket.as_ref().to_path_buf();
        control::check_path_for_daemons(&control)?;
        let (waker, wake) = waker().context(|| "can't open a pipe".into())?;
        let knows = Journal::default();
        let copier = Copier::default();
        Ok(Supervisor {
            control,
            data_dir: None,
            user: None,
            build_id: Vec::new(),
            observer: None,
            recovered: Recovered::default(),
            cancel: CancelHandle { cancelled: Arc::default(), waker },
            shelf: Mutex::default(),
            complaints: copier.complaints(),
            busy: Mutex::new(Workshop {
                wake,
                listeners: Listeners::default(),
                journal: None,
                knows,
                interrupted: None,
                is_written: false,
                copier,
                children: Vec::new(),
            }),
        })
    }

    /// Lets successors inherit `listener`, a listening socket, under `name`. Their order is the order of calls.
    ///
    /// # Errors
    /// [`Error::Caller`] if the name can't be passed on: empty, given twice, or with a `:` in it.
    pub fn with_listener(mut self, name: impl Into<String>, listener: impl Into<OwnedFd>) -> Result<Self> {
        let listeners = &mut self.busy.get_mut().unwrap_or_else(PoisonError::into_inner).listeners;
        listeners.push(name.into(), listener.into())?;
        Ok(self)
    }

    /// Keeps a durable record of what runs and what is under way at `path`. What an earlier supervisor left
    /// there is in [`Supervisor::resume_from_journal`].
    ///
    /// The binary that was committed last, and the one before, are kept beside it, as `<path>.binary-<handoff id>`:
    /// see [`Supervisor::last_committed`]. So the journal should lie where there is room for them and programs can
    /// be executed. That a copy can't be made is logged, and costs no handoff.
    ///
    /// # Errors
    /// Another supervisor holds it ([`Error::Locked`]), or it can't be read or written.
    pub fn with_journal(mut self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (journal, recovered) = JournalFile::open(path)?;
        let shelf = self.shelf.get_mut().unwrap_or_else(PoisonError::into_inner);
        shelf.keep_beside(path).context(|| "can't tell the current directory".into())?;
        for report in &recovered.reports {
            tracing::warn!(target: "handoff.journal", "{report}");
        }
        let workshop = self.busy.get_mut().unwrap_or_else(PoisonError::into_inner);
        workshop.journal = Some(journal);
        // A process of another boot is neither believed nor ended: its number is another's by now.
        workshop.knows = recovered.journal.clone();
        if recovered.is_of_another_boot {
            workshop.interrupted = workshop.knows.under_way.take();
            workshop.knows = workshop.knows.without_processes();
        }
        // Where something was wrong, more may have been known than what is left.
        workshop.is_written = recovered.reports.is_empty();
        keep(&self.shelf, workshop);
        self.recovered = recovered;
        Ok(self)
    }

    /// Says where the daemon's data directory is: a recovery then finds the process that holds its lock, though its sockets and
    /// the journal are gone.
    #[must_use]
    pub fn with_data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Says that daemons run as the user `uid`. No other user's process is believed to be one, nor controlled, except
    /// root's. By default it is the effective user of this process.
    #[must_use]
    pub fn with_user(mut self, uid: u32) -> Self {
        self.user = Some(uid);
        self
    }

    /// Names the supervisor's own build in its logs.
    #[must_use]
    pub fn with_build_id(mut self, build_id: impl Into<Vec<u8>>) -> Self {
        self.build_id = build_id.into();
        self
    }

    /// Has `observer` told how far a handoff or a cold start has come, whenever it comes to another phase or more is known
    /// of the processes that take part. Called on the handoff's own thread, which waits for it: it must return at once.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Fn(&HandoffProgress) + Send + Sync + 'static) -> Self {
        self.observer = Some(ProgressObserver::new(observer));
        self
    }

    /// Replaces the daemon that answers at the control path by what `spec` says. Blocks until that has come to an end,
    /// whichever; the outcome says which.
    ///
    /// # Errors
    /// In all of these nothing was touched: [`Error::Busy`] if another handoff is under way, here or by another
    /// supervisor; [`Error::Unreachable`] if no daemon can be reached at the control path; [`Error::Peer`] if the one there breaks
    /// the protocol; [`Error::Caller`] and [`Error::System`] if `spec` can't be carried out. [`HandoffError::reason`] says why, for
    /// programs. After [`Error::Defect`] it is not known which process serves.
    pub fn perform_handoff(&self, spec: SpawnSpec) -> Result<HandoffOutcome, HandoffError> {
        self.run(spec, true)
    }

    /// Starts a daemon where none serves: the same protocol, without an incumbent. If another process serves
    /// after all, it holds the lock, and the outcome is [`Verdict::NobodyServes`] with that reason.
    ///
    /// # Errors
    /// As [`Supervisor::perform_handoff`].
    pub fn cold_start(&self, spec: SpawnSpec) -> Result<HandoffOutcome, HandoffError> {
        self.run(spec, false)
    }

    /// Finds out which process serves, when this one can't know: at its start, when the daemon has ended by itself, and after
    /// a handoff that was neither committed nor rolled back. Asks every process that may be a daemon at the control path,
    /// waits until one serves, ends strays that the journal names, and brings what was under way to its end. If this
    /// supervisor has no listeners, it takes those that the daemons have: see [`Supervisor::listeners`].
    ///
    /// If no process serves ([`RecoveryOutcome::nobody_serves`]), a cold start is the caller's to ask for.
    ///
    /// # Errors
    /// [`Error::Busy`] while something else is under way, [`Error::Cancelled`]; [`Error::System`] if the system
    /// refuses what a recovery needs.
    pub fn recover(&self, spec: &RecoverySpec) -> Result<RecoveryOutcome> {
        let mut workshop = self.workshop()?;
        workshop.reap();
        let outcome = recover::run(self, &mut workshop, spec);
        workshop.reap();
        keep(&self.shelf, &mut workshop);
        outcome
    }

    /// Notes that the daemon was stopped on purpose. If it is not, and nobody serves when a supervisor comes anew, that
    /// is an accident, and what was committed is to be started again: see [`Supervisor::was_stopped`].
    ///
    /// # Errors
    /// [`Error::Busy`] while something is under way; the journal can't be written.
    pub fn note_stopped(&self) -> Result<()> {
        self.note(Journal::when_stopped)
    }

    /// Says that whatever data the next daemon opens are the right ones. A daemon that replaces none is refused
    /// otherwise, if it opens another directory than the one that was served before, or is behind what was served:
    /// [`Reason::is_of_data`](crate::Reason::is_of_data).
    ///
    /// # Errors
    /// As [`Supervisor::note_stopped`].
    pub fn accept_data(&self) -> Result<()> {
        self.note(Journal::accepting_data)
    }

    fn note(&self, change: impl FnOnce(&Journal) -> Journal) -> Result<()> {
        let mut workshop = self.workshop()?;
        let changed = journal::dated(change(&workshop.knows));
        let written = journal::write(workshop.journal.as_mut(), &changed);
        workshop.knows = changed;
        written
    }

    /// Returns whether the daemon was stopped on purpose when an earlier supervisor wrote its journal last,
    /// and none was committed since: then what is configured is to be started, and not what was committed.
    pub fn was_stopped(&self) -> bool {
        self.recovered.journal.stopped
    }

    /// Duplicates of the listening sockets that successors inherit.
    ///
    /// # Errors
    /// [`Error::Busy`] while a handoff is under way; descriptors are exhausted.
    pub fn listeners(&self) -> Result<Listeners> {
        self.workshop()?.listeners.try_clone()
    }

    /// Lets successors inherit these from now on. The daemon that serves keeps what it has until it is replaced.
    ///
    /// # Errors
    /// [`Error::Busy`] while a handoff is under way.
    pub fn set_listeners(&self, listeners: Listeners) -> Result<()> {
        self.workshop()?.listeners = listeners;
        Ok(())
    }

    /// Returns what an earlier supervisor left in the journal, and what was wrong with it.
    pub fn resume_from_journal(&self) -> &Recovered {
        &self.recovered
    }

    /// The binary that was committed last, to be started again if nobody serves: the very bytes that were committed,
    /// though the file at its path was replaced or overwritten since. With a journal this outlives the supervisor;
    /// without one it holds while this lives, and not against a file that is overwritten in place. `None` if nothing
    /// was committed. What finds other files beside its executable may not find them beside the kept copy.
    pub fn last_committed(&self) -> Option<CommittedBinary> {
        let shelf = self.shelf();
        shelf.committed.as_ref().map(|binary| CommittedBinary::new(binary, &shelf))
    }

    /// Returns what was committed before [`Supervisor::last_committed`]: another binary, or the same with
    /// other arguments.
    pub fn committed_before(&self) -> Option<CommittedBinary> {
        let shelf = self.shelf();
        shelf.previous.as_ref().map(|binary| CommittedBinary::new(binary, &shelf))
    }

    /// Returns why what was committed may not come back as it ran: its copy could not be made, can't be
    /// executed, or lacks what the file gives to its process. Empty if there is nothing to say, as far as the
    /// copies were made by now.
    pub fn keep_warnings(&self) -> Vec<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A handle that ends what is under way, from any thread or a signal's thread.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// A handle that ends nothing yet, for the [`SpawnSpec::cancel`] of one handoff of this supervisor.
    pub fn new_cancel_handle(&self) -> CancelHandle {
        CancelHandle { cancelled: Arc::default(), waker: self.cancel.waker.clone() }
    }

    /// Asks the daemon that answers at the control path for its status. Works while a handoff is under way; takes a second at most.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no daemon answers; [`Error::Peer`] if it refuses to.
    pub fn status(&self) -> Result<DaemonStatus> {
        query::ask(&self.control, STATUS_PATIENCE)
    }

    /// The user that daemons run as.
    fn uid(&self) -> u32 {
        self.user.unwrap_or_else(|| nix::unistd::geteuid().as_raw())
    }

    fn workshop(&self) -> Result<MutexGuard<'_, Workshop>> {
        match self.busy.try_lock() {
            Ok(workshop) => Ok(workshop),
            Err(TryLockError::WouldBlock) => Err(Error::Busy),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        }
    }

    fn run(&self, spec: SpawnSpec, replace: bool) -> Result<HandoffOutcome, HandoffError> {
        spec.check()?;
        self.check_user(&spec)?;
        spec.check_itself(|| self.is_cancelled(&spec))?;
        let mut workshop = self.workshop()?;
        workshop.reap();
        if !replace {
            self.check_path()?;
        }
        let mut outcome = host::run(self, &mut workshop, &spec, replace);
        workshop.reap();
        keep(&self.shelf, &mut workshop);
        if let Some(outcome) = outcome.as_mut().ok().filter(|outcome| outcome.is_committed()) {
            outcome.warnings.extend(workshop.copier.said_within(KEEP_PATIENCE));
        }
        outcome
    }

    /// Returns whether what `spec` says is called off.
    fn is_cancelled(&self, spec: &SpawnSpec) -> bool {
        self.cancel.is_cancelled() || spec.cancel.as_ref().is_some_and(CancelHandle::is_cancelled)
    }

    /// Refuses a control path at which another program listens: a daemon would take it away.
    fn check_path(&self) -> Result<()> {
        let control = self.control.display();
        match discovery::stranger_at(&self.control) {
            None => Ok(()),
            Some(stranger) => Err(Error::Caller(format!(
                "{stranger} listens at the control socket {control} and is no daemon of it: give the daemon another control \
                 socket; or, if that process is not wanted, end it"
            ))),
        }
    }

    /// Refuses a user as which a daemon would be started and then not be believed.
    fn check_user(&self, spec: &SpawnSpec) -> Result<()> {
        let believed = self.uid();
        match spec
            .setting
            .run_as
            .as_ref()
            .map_or_else(|| nix::unistd::geteuid().as_raw(), |run_as| run_as.uid)
        {
            uid if uid == believed || uid == 0 => Ok(()),
            uid => Err(Error::Caller(format!(
                "the daemon would run as uid {uid}, but only one of uid {believed} would be believed: say the same to \
                 Supervisor::with_user"
            ))),
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.shelf)
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what was committed by what is known now, and removes other copies. To be called whenever that has changed.
/// Returns before the copies are made.
fn keep(shelf: &Mutex<Shelf>, workshop: &mut Workshop) {
    let chores = lock(shelf).update(&workshop.knows, workshop.is_written);
    if let Some(chores) = chores {
        workshop.copier.begin(chores);
    }
}

impl Workshop {
    /// Forgets the children that have ended.
    fn reap(&mut self) {
        self.children.retain_mut(|child| {
            let has_ended = matches!(child.ended(), Ok(Some(_)));
            if has_ended {
                child.end_leftovers();
            }
            !has_ended
        });
    }
}
