//! A daemon's connections on their way from process to process, as its hooks' thread sees it.
//!
//! A successor of a build that takes no connections over gets none: they are drained. One that does, and fails to, is not worth
//! the clients: the drain or the seal fails, the handoff is rolled back, and the daemon goes on with its connections.
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::Result;
use crate::id::ProcessId;
use crate::unix::context::Context;
use crate::unix::hooks::HookResult;

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
    outbound: Option<Outbound>,
}

impl Carrier {
    pub(super) fn new(shared: Arc<Shared>, control: PathBuf) -> Result<Carrier> {
        shared.set_carries();
        raise_descriptor_limit();
        lot::start(shared.clone()).context(|| "can't start a thread that waits for clients".into())?;
        let inbound = Arc::new(Inbound::new(shared.clone()));
        Ok(Carrier { shared, control, inbound, outbound: None })
    }

    /// What receives the connections of an incumbent. Nothing is accepted until they are served ([`Carrier::after_serve`]): what a
    /// new client asks for must find them.
    pub(crate) fn inbound(&self) -> Arc<Inbound> {
        self.shared.hold();
        self.inbound.clone()
    }

    /// Before a drain, while the daemon serves: sends the connections that are open to the successor, if there is one that takes
    /// them over.
    pub(crate) fn before_drain(&mut self, successor: Option<ProcessId>) -> HookResult<()> {
        self.outbound = None;
        let Some(successor) = successor.filter(|_| self.shared.serves()) else { return Ok(()) };
        self.outbound = Outbound::to(successor, &self.control, self.shared.clone()).map_err(refused)?;
        self.outbound.as_mut().map_or(Ok(()), Outbound::send_open).map_err(refused)
    }

    /// Before a seal: sends the rest.
    pub(crate) fn before_seal(&mut self) -> HookResult<()> {
        self.outbound.as_mut().map_or(Ok(()), Outbound::send_rest).map_err(lost)
    }

    /// After a seal: sees that the successor has it all.
    pub(crate) fn after_seal(&mut self) -> HookResult<()> {
        self.outbound.as_mut().map_or(Ok(()), Outbound::confirm).map_err(lost)
    }

    /// Before the daemon serves again: the successor must not touch what it was sent; and what a successor that has served may have
    /// touched, this process must not.
    pub(crate) fn before_resume(&mut self, successor_served: bool) {
        if let Some(mut outbound) = self.outbound.take() {
            outbound.revoke();
            if successor_served {
                let cut = self.shared.abandon();
                tracing::warn!(target: "handoff.connections", cut, "the successor has served and ended: its connections end, too");
            }
        }
    }

    /// After the daemon has begun to serve: goes on with what the incumbent has sent.
    pub(crate) fn after_serve(&self, noted: bool) {
        let (adopted, closed) = self.inbound.adopt(noted);
        self.shared.begin();
        match closed {
            0 => tracing::info!(target: "handoff.connections", adopted, "goes on with connections"),
            _ => {
                tracing::warn!(target: "handoff.connections", adopted, closed, "could not go on with all connections")
            }
        }
    }
}

fn refused(error: std::io::Error) -> Box<dyn std::error::Error + Send + Sync> {
    format!("the successor can't take the connections over: {error}").into()
}

fn lost(error: std::io::Error) -> Box<dyn std::error::Error + Send + Sync> {
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
