//! What the library does for the supervisor, each time on a thread of its own: the main loop goes on meanwhile.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::{io, thread};

use handoff::machine::{recovery, supervisor::HandoffVerdict};
use handoff::node::keeper::TaskEnd;
use handoff::{HandoffOutcome, RecoveryOutcome, RecoverySpec, SpawnSpec, Supervisor};

use crate::config::Config;
use crate::exit::{Code, Failure};
use crate::inbox::Outbox;
use crate::run::Event;
use crate::trigger::Reply;

/// What the library can be asked for.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// Find out who serves.
    Recover(RecoverySpec),
    /// Start a daemon where none serves.
    ColdStart(SpawnSpec),
    /// Replace the one that serves.
    Handoff(SpawnSpec),
}

impl Call {
    /// In a word, for the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Call::Recover(_) => "recovery",
            Call::ColdStart(_) => "cold start",
            Call::Handoff(_) => "handoff",
        }
    }

    /// What is started, if something is.
    pub(crate) fn binary(&self) -> Option<PathBuf> {
        match self {
            Call::Recover(_) => None,
            Call::ColdStart(spec) | Call::Handoff(spec) => Some(spec.binary.clone()),
        }
    }

    /// What comes of it if the library gives no answer. `begun`: something may have been touched.
    pub(crate) fn failed(&self, begun: bool, failure: Failure) -> Done {
        match self {
            Call::Recover(_) => Done::Recovered(recovery::RecoveryVerdict::Unconfirmed, Err(failure)),
            _ if begun => {
                let end =
                    TaskEnd::Over { verdict: HandoffVerdict::Unconfirmed, journalled: false, of_data: false };
                Done::Started(end, Err(failure))
            }
            _ => Done::Started(TaskEnd::NotBegun, Err(failure)),
        }
    }
}

/// What the library answers: for the keeper, and for people.
#[derive(Debug)]
pub(crate) enum Done {
    /// To a recovery.
    Recovered(recovery::RecoveryVerdict, Result<RecoveryOutcome, Failure>),
    /// To everything else.
    Started(TaskEnd, Result<HandoffOutcome, Failure>),
}

/// What is under way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) call: Call,
    /// `None` if nobody asked for it: a recovery, a restart.
    pub(crate) swap: Option<Swap>,
}

/// A swap that somebody asked for.
#[derive(Debug)]
pub(crate) struct Swap {
    /// `None` if the caller can't be answered: SIGHUP.
    pub(crate) reply: Option<Reply>,
    /// The configuration as it was read for this swap; in force once that is committed.
    pub(crate) fresh: Config,
    /// What the caller should know, whatever becomes of it.
    pub(crate) warnings: Vec<String>,
}

impl Job {
    /// Starts it; [`Event::Finished`] comes when it has ended, whichever way.
    pub(crate) fn start(&self, supervisor: &Arc<Supervisor>, outbox: &Outbox<Event>) -> io::Result<()> {
        let call = self.call.clone();
        let (supervisor, outbox) = (Arc::clone(supervisor), outbox.clone());
        let work = move || {
            outbox.post(Event::Finished(Box::new(perform(&supervisor, call))));
        };
        thread::Builder::new().name("handoff".into()).spawn(work).map(drop)
    }
}

/// A panic would leave the main loop waiting for ever. What it left behind is not known, and that is reported.
fn perform(supervisor: &Supervisor, call: Call) -> Done {
    let work = AssertUnwindSafe(|| match call.clone() {
        Call::Recover(spec) => {
            let result = supervisor.recover(&spec);
            let found =
                result.as_ref().map_or(recovery::RecoveryVerdict::Unconfirmed, RecoveryOutcome::verdict);
            Done::Recovered(found, result.map_err(Failure::from))
        }
        Call::ColdStart(spec) => started(supervisor.cold_start(spec)),
        Call::Handoff(spec) => started(supervisor.perform_handoff(spec)),
    });
    catch_unwind(work).unwrap_or_else(|_| {
        let why = "the library panicked; see the supervisor's log";
        call.failed(true, Failure::new(Code::Unconfirmed, why))
    })
}

fn started(result: handoff::Result<HandoffOutcome>) -> Done {
    Done::Started(TaskEnd::from(&result), result.map_err(Failure::from))
}
