//! What the library does for the supervisor, each time on a thread of its own: the main loop goes on meanwhile.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::{io, thread};

use handoff::{HandoffOutcome, SpawnSpec, Supervisor};

use crate::config::Config;
use crate::exit::{Code, Failure};
use crate::inbox::Outbox;
use crate::run::Event;
use crate::trigger::Reply;

/// The two things that the library can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Start a daemon where none serves.
    ColdStart,
    /// Replace the one that serves.
    Handoff,
}

/// What is under way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) kind: Kind,
    pub(crate) spec: SpawnSpec,
    /// `None` if nobody asked for it: a restart.
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
    pub(crate) fn binary(&self) -> PathBuf {
        self.spec.binary.clone()
    }

    /// Starts it; [`Event::Finished`] comes when it has ended, whichever way.
    pub(crate) fn start(&self, supervisor: &Arc<Supervisor>, outbox: &Outbox<Event>) -> io::Result<()> {
        let (kind, spec) = (self.kind, self.spec.clone());
        let (supervisor, outbox) = (Arc::clone(supervisor), outbox.clone());
        let work = move || {
            outbox.post(Event::Finished(Box::new(perform(&supervisor, kind, spec))));
        };
        thread::Builder::new().name("handoff".into()).spawn(work).map(drop)
    }
}

/// A panic would leave the main loop waiting for ever. What it left behind is not known, and that is reported.
fn perform(supervisor: &Supervisor, kind: Kind, spec: SpawnSpec) -> Result<HandoffOutcome, Failure> {
    let call = AssertUnwindSafe(|| match kind {
        Kind::ColdStart => supervisor.cold_start(spec),
        Kind::Handoff => supervisor.perform_handoff(spec),
    });
    match catch_unwind(call) {
        Ok(result) => result.map_err(Failure::from),
        Err(_) => Err(Failure::new(Code::Unconfirmed, "the library panicked; see the supervisor's log")),
    }
}
