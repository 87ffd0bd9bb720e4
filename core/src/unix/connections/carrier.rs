//! A daemon's connections on their way from process to process, as its hooks' thread sees it.
//!
//! A successor of a build that takes no connections over gets none: they are drained. One that does, and fails to, is not worth
//! the clients: the drain or the seal fails, the handoff is rolled back, and the daemon goes on with its connections.
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::carry::{CarryHook, CarryStep};
use crate::error::Result;
use crate::id::ProcessId;
use crate::unix::context::Context;
use crate::unix::reports::HookResult;

use super::inbound::Inbound;
use super::lot;
use super::outbound::Outbound;
use super::shared::Shared;

/// The connections of a daemon that outlive its process.
#[derive(Debug)]
pub(crate) struct Carrier {
    shared: Arc<Shared>,
    control: PathBuf,
    inbound: Arc<Inbound>,
    successor: Option<ProcessId>,
    outbound: Option<Outbound>,
    /// The reason why the successor was not sent all that it is to have.
    unsent: Option<io::Error>,
}

impl Carrier {
    pub(super) fn new(shared: Arc<Shared>, control: PathBuf) -> Result<Carrier> {
        shared.set_carries();
        raise_descriptor_limit();
        lot::start(shared.clone()).context(|| "can't start a thread that waits for clients".into())?;
        let inbound = Arc::new(Inbound::new(shared.clone()));
        Ok(Carrier { shared, control, inbound, successor: None, outbound: None, unsent: None })
    }

    /// Returns what receives the connections of an incumbent. Nothing is accepted until they are served
    /// ([`CarryStep::Adopt`]): what a new client asks for must find them.
    pub(crate) fn inbound(&self) -> Arc<Inbound> {
        self.shared.hold();
        self.inbound.clone()
    }

    /// Names the process that is to have the connections after the drain that is about to begin, if there is one.
    pub(crate) fn set_successor(&mut self, successor: Option<ProcessId>) {
        self.successor = successor;
    }

    /// Runs a daemon's `hook`, and what belongs before and after it.
    pub(crate) fn around<T>(
        &mut self,
        which: CarryHook,
        hook: impl FnOnce() -> HookResult<T>,
    ) -> HookResult<T> {
        which.before().iter().try_for_each(|step| self.perform(*step))?;
        let done = hook()?;
        which.after().iter().try_for_each(|step| self.perform(*step))?;
        Ok(done)
    }

    fn perform(&mut self, step: CarryStep) -> HookResult<()> {
        match step {
            CarryStep::Offer => self.unsent = self.offer().err(),
            CarryStep::Offered => self.unsent.take().map_or(Ok(()), Err).map_err(refused)?,
            CarryStep::Finish => {
                let finish = |outbound: &mut Outbound| outbound.send_rest().err();
                self.unsent = self.outbound.as_mut().and_then(finish);
            }
            CarryStep::Confirm => {
                self.unsent.take().map_or(Ok(()), Err).map_err(lost)?;
                self.outbound.as_mut().map_or(Ok(()), Outbound::confirm).map_err(lost)?;
            }
            CarryStep::TakeBack => {
                if self.outbound.take().is_some_and(Outbound::take_back) {
                    let cut = self.shared.abandon();
                    tracing::warn!(target: "handoff.connections", cut, "the successor has served and ended: its connections end, too");
                }
            }
            CarryStep::Adopt => self.adopt(),
        }
        Ok(())
    }

    fn offer(&mut self) -> io::Result<()> {
        self.outbound = None;
        let Some(successor) = self.successor.filter(|_| self.shared.serves()) else { return Ok(()) };
        let offered = Outbound::to(successor, &self.control, self.shared.clone()).and_then(|outbound| {
            let Some(mut outbound) = outbound else { return Ok(None) };
            outbound.send_open()?;
            Ok(Some(outbound))
        });
        match offered {
            Ok(outbound) => self.outbound = outbound,
            Err(error) => {
                // They stay with this process.
                self.shared.keep();
                return Err(error);
            }
        }
        Ok(())
    }

    fn adopt(&self) {
        let (adopted, closed) = self.inbound.adopt();
        self.shared.begin();
        match closed {
            0 => tracing::info!(target: "handoff.connections", adopted, "goes on with connections"),
            _ => {
                tracing::warn!(target: "handoff.connections", adopted, closed, "could not go on with all connections")
            }
        }
    }
}

fn refused(error: io::Error) -> Box<dyn std::error::Error + Send + Sync> {
    format!("the successor can't take the connections over: {error}").into()
}

fn lost(error: io::Error) -> Box<dyn std::error::Error + Send + Sync> {
    format!("the successor does not confirm the connections that it was sent: {error}").into()
}

/// Lets this process open as many descriptors as it may: it is to have the incumbent's connections beside its own.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        tracing::debug!(target: "handoff.connections", %error, "can't raise RLIMIT_NOFILE");
    }
}
