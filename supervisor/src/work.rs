//! What the library does for the supervisor, each time on a thread of its own: the main loop goes on meanwhile.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::{io, thread};

use handoff::{HandoffOutcome, RecoveryOutcome, RecoverySpec, SpawnSpec, Supervisor};

use crate::config::Config;
use crate::exit::{Code, Failure};
use crate::inbox::Outbox;
use crate::run::Event;
use crate::trigger::Reply;

/// What the library can be asked for.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// Find out who serves.
    Recover(RecoverySpec),
    /// Start a daemon where none serves.
    ColdStart(SpawnSpec),
    /// Replace the one that serves.
    Handoff(SpawnSpec),
}

impl Task {
    /// In a word, for the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Task::Recover(_) => "recovery",
            Task::ColdStart(_) => "cold start",
            Task::Handoff(_) => "handoff",
        }
    }

    /// What is started, if something is.
    pub(crate) fn binary(&self) -> Option<PathBuf> {
        match self {
            Task::Recover(_) => None,
            Task::ColdStart(spec) | Task::Handoff(spec) => Some(spec.binary.clone()),
        }
    }
}

/// What the library answers.
#[derive(Debug)]
pub(crate) enum Done {
    /// To a recovery.
    Recovered(RecoveryOutcome),
    /// To everything else.
    Started(HandoffOutcome),
}

/// What is under way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) task: Task,
    /// `None` if nobody asked for it: a recovery, a restart.
    pub(crate) swap: Option<Swap>,
}

/// A swap that somebody asked for.
#[derive(Debug)]
pub(crate) struct Swap {
    /// `None` if he can't be answered: SIGHUP.
    pub(crate) reply: Option<Reply>,
    /// The configuration as it was read for this swap; in force once that is committed.
    pub(crate) fresh: Config,
    /// What he should know, whatever becomes of it.
    pub(crate) warnings: Vec<String>,
}

impl Job {
    /// Starts it; [`Event::Finished`] comes when it has ended, whichever way.
    pub(crate) fn start(&self, supervisor: &Arc<Supervisor>, outbox: &Outbox<Event>) -> io::Result<()> {
        let task = self.task.clone();
        let (supervisor, outbox) = (Arc::clone(supervisor), outbox.clone());
        let work = move || {
            outbox.post(Event::Finished(Box::new(perform(&supervisor, task))));
        };
        thread::Builder::new().name("handoff".into()).spawn(work).map(drop)
    }
}

/// A panic would leave the main loop waiting for ever. What it left behind is not known, and that is reported.
fn perform(supervisor: &Supervisor, task: Task) -> Result<Done, Failure> {
    let call = AssertUnwindSafe(|| match task {
        Task::Recover(spec) => supervisor.recover(&spec).map(Done::Recovered),
        Task::ColdStart(spec) => supervisor.cold_start(spec).map(Done::Started),
        Task::Handoff(spec) => supervisor.perform_handoff(spec).map(Done::Started),
    });
    match catch_unwind(call) {
        Ok(result) => result.map_err(Failure::from),
        Err(_) => Err(Failure::new(Code::Unconfirmed, "the library panicked; see the supervisor's log")),
    }
}
