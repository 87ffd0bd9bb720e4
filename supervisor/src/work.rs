//! The calls of the library for the supervisor, each on a thread of its own: the main loop goes on meanwhile.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use std::{io, thread};

use handoff::machine::{recovery, supervisor::HandoffVerdict};
use handoff::node::keeper::TaskEnd;
use handoff::{
    CancelHandle, HandoffError, HandoffOutcome, RecoveryOutcome, RecoverySpec, SpawnSpec, Supervisor,
};

use crate::config::Config;
use crate::exit::{Code, CommandFailure};
use crate::inbox::Outbox;
use crate::listen;
use crate::protocol::ListenerReport;
use crate::trigger::{Asked, ReplyTo};

/// The call that the library can be asked for.
#[derive(Clone, Debug)]
pub(crate) enum LibraryCall {
    /// Find the daemon that serves.
    Recover(RecoverySpec),
    /// Start a daemon where none serves.
    ColdStart(SpawnSpec),
    /// Replace the one that serves.
    Handoff(SpawnSpec),
}

impl LibraryCall {
    /// In a word, for the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            LibraryCall::Recover(_) => "recovery",
            LibraryCall::ColdStart(_) => "cold start",
            LibraryCall::Handoff(_) => "handoff",
        }
    }

    /// Returns what is started, if something is.
    pub(crate) fn binary(&self) -> Option<PathBuf> {
        match self {
            LibraryCall::Recover(_) => None,
            LibraryCall::ColdStart(spec) | LibraryCall::Handoff(spec) => Some(spec.binary.clone()),
        }
    }

    /// Returns what comes of it if the library gives no answer. `begun`: something may have been touched.
    pub(crate) fn failed(&self, begun: bool, failure: CommandFailure) -> LibraryAnswer {
        match self {
            LibraryCall::Recover(_) => {
                LibraryAnswer::Recovered(recovery::RecoveryVerdict::Unconfirmed, Err(failure))
            }
            _ if begun => {
                let end =
                    TaskEnd::Over { verdict: HandoffVerdict::Unconfirmed, journalled: false, of_data: false };
                LibraryAnswer::Started(end, Err(failure))
            }
            _ => LibraryAnswer::Started(TaskEnd::NotBegun, Err(failure)),
        }
    }
}

/// The answer of the library: for the keeper, and for people.
#[derive(Debug)]
pub(crate) enum LibraryAnswer {
    /// To a recovery.
    Recovered(recovery::RecoveryVerdict, Result<RecoveryOutcome, CommandFailure>),
    /// To everything else.
    Started(TaskEnd, Result<HandoffOutcome, CommandFailure>),
}

/// The news that other threads tell the loop.
#[derive(Debug)]
pub(crate) enum LoopEvent {
    /// A client has sent a request.
    Asked(Asked),
    /// The job has ended.
    Finished(Box<LibraryAnswer>),
}

/// The call that is under way.
#[derive(Debug)]
pub(crate) struct LibraryJob {
    pub(crate) call: LibraryCall,
    /// `None` if it was not asked for: a recovery, a restart.
    pub(crate) swap: Option<Swap>,
    pub(crate) since: Instant,
    /// Calls off this alone.
    pub(crate) cancel: CancelHandle,
    /// The listeners that daemons inherit; while the library works, it does not say.
    pub(crate) listeners: Vec<ListenerReport>,
}

/// A swap that was asked for.
#[derive(Debug)]
pub(crate) struct Swap {
    /// The clients that are answered when it ends: the one that asked for it, if one did and not a signal, and those that
    /// have called it off.
    pub(crate) replies: Vec<ReplyTo>,
    /// The configuration as it was read for this swap; in force once that is committed.
    pub(crate) fresh: Config,
    /// The new daemon is only to become warm.
    pub(crate) dry_run: bool,
    /// The things that the caller should know, whatever becomes of the call.
    pub(crate) warnings: Vec<String>,
}

impl LibraryJob {
    /// `call`, which is not started yet.
    pub(crate) fn new(mut call: LibraryCall, swap: Option<Swap>, supervisor: &Supervisor) -> LibraryJob {
        let cancel = supervisor.new_cancel_handle();
        if let LibraryCall::ColdStart(spec) | LibraryCall::Handoff(spec) = &mut call {
            spec.cancel = Some(cancel.clone());
        }
        LibraryJob { call, swap, since: Instant::now(), cancel, listeners: listen::report(supervisor) }
    }

    /// Starts it; [`LoopEvent::Finished`] comes when it has ended, whichever way.
    pub(crate) fn start(&self, supervisor: &Arc<Supervisor>, outbox: &Outbox<LoopEvent>) -> io::Result<()> {
        let call = self.call.clone();
        let (supervisor, outbox) = (Arc::clone(supervisor), outbox.clone());
        let work = move || {
            outbox.post(LoopEvent::Finished(Box::new(perform(&supervisor, call))));
        };
        thread::Builder::new().name("handoff".into()).spawn(work).map(drop)
    }
}

/// A panic would leave the main loop waiting for ever. What it left behind is not known, and that is reported.
fn perform(supervisor: &Supervisor, call: LibraryCall) -> LibraryAnswer {
    let work = AssertUnwindSafe(|| match call.clone() {
        LibraryCall::Recover(spec) => {
            let result = supervisor.recover(&spec);
            let found =
                result.as_ref().map_or(recovery::RecoveryVerdict::Unconfirmed, RecoveryOutcome::verdict);
            LibraryAnswer::Recovered(found, result.map_err(CommandFailure::from))
        }
        LibraryCall::ColdStart(spec) => started(supervisor.cold_start(spec)),
        LibraryCall::Handoff(spec) => started(supervisor.perform_handoff(spec)),
    });
    catch_unwind(work).unwrap_or_else(|_| {
        let why = "the library panicked; see the supervisor's log";
        call.failed(true, CommandFailure::new(Code::Unconfirmed, why))
    })
}

fn started(result: Result<HandoffOutcome, HandoffError>) -> LibraryAnswer {
    LibraryAnswer::Started(TaskEnd::from(&result), result.map_err(CommandFailure::from))
}
