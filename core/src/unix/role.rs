//! The low-level entry: what this process was started as, and the steps of a successor as types.
//!
//! Each step consumes the one before, so that a wrong order doesn't compile. The protocol runs on a thread of
//! the library's: heartbeats go out whatever the caller does between two steps.
//!
//! ```no_run
//! use handoff::{DataDir, DataDirLock, DetectedRole, Incumbent, detect_role};
//! # use handoff::{Drainable, Listeners, ReadinessSnapshot, Result};
//! # trait Store: Drainable {
//! #     fn open(_: &std::path::Path) -> Self;
//! #     fn accept(&mut self, _: Listeners);
//! # }
//! # fn serve<Db: Store>(mut db: Db) -> Result<()> {
//! let (data, control) = (DataDir::open("/var/lib/db")?, "/run/db/control.sock");
//! let files = data.path();
//! let incumbent = match detect_role()? {
//!     DetectedRole::ColdStart => {
//!         let listeners = Listeners::from_env()?;
//!         let incumbent = Incumbent::bind_cold_start(control, DataDirLock::of(data), &listeners)?;
//!         db = Db::open(&files);
//!         db.accept(listeners);
//!         incumbent
//!     }
//!     DetectedRole::Successor(successor) => {
//!         let begun = successor.handshake(data, control, "1.2.3")?.warmed().wait_for_begin()?;
//!         let (listeners, opening) = begun.take_listeners();
//!         db = Db::open(&files);
//!         let ready = ReadinessSnapshot::healthy(Vec::new());
//!         let committed = opening.ready(ready).wait_for_commit()?;
//!         db.accept(listeners);
//!         committed.serving()
//!     }
//!     other => return Err(handoff::Error::Caller(format!("no way to start as {other:?}"))),
//! };
//! incumbent.serve(&mut db)?;
//! # Ok(())
//! # }
//! ```
use std::path::Path;

use crate::error::{Error, HostError, Result};
use crate::machine::Op;
use crate::message::Sealed;
use crate::text::PlainText;
use crate::unix::daemon::{Call, HookReply, Place, Protocol, StopHandle, or_give_up};
use crate::unix::env::{self, Inherited, StartRole};
use crate::unix::hooks::Drainable;
use crate::unix::listeners::Listeners;
use crate::unix::lock::{DataDir, DataDirLock};
use crate::unix::reports::ReadinessSnapshot;
use crate::unix::run::{Ended, carrier_of, ended, serve_calls};

/// The role that this process was started in.
#[derive(Debug)]
#[non_exhaustive]
pub enum DetectedRole {
    /// By no supervisor: it starts by itself.
    ColdStart,
    /// By a supervisor, to replace an incumbent or to be the first.
    Successor(Successor),
}

/// Returns what this process was started as. To be called once.
///
/// # Errors
/// [`Error::Caller`] if the environment contradicts itself, or it was called before.
pub fn detect_role() -> Result<DetectedRole> {
    Ok(match env::inherited()? {
        Some(inherited) => DetectedRole::Successor(Successor { inherited }),
        None => DetectedRole::ColdStart,
    })
}

/// A process that a supervisor started.
#[derive(Debug)]
pub struct Successor {
    inherited: Inherited,
}

impl Successor {
    /// Returns whether there is no daemon to replace.
    pub fn is_first(&self) -> bool {
        self.inherited.role == StartRole::ColdStart
    }

    /// Binds the control socket beside its path, introduces this process, and waits to become part of the handoff.
    ///
    /// # Errors
    /// The supervisor is gone or refused; the data directory or the socket can't be used; a listener is not what the
    /// environment says.
    pub fn handshake(
        self,
        data_dir: DataDir,
        control_socket: impl AsRef<Path>,
        build_id: impl Into<Vec<u8>>,
    ) -> Result<HandshookSuccessor> {
        let build_id = build_id.into();
        let steps = or_give_up(self.inherited, &build_id.clone(), |inherited| {
            let listeners = Listeners::from_env()?;
            let mut place = Place::with_lock(DataDirLock::of(data_dir), control_socket.as_ref(), build_id)?;
            place.listeners = listeners.try_clone()?;
            Ok(Steps { protocol: Protocol::successor(place, inherited)?, listeners })
        })?;
        let warm_up = |call| if let Call::WarmUp(op, place) = call { Ok((op, place)) } else { Err(call) };
        match steps.wait(warm_up)? {
            (op, Ok(())) => Ok(HandshookSuccessor { steps, op }),
            (op, Err(why)) => {
                steps.protocol.replies.send(HookReply::Done(op, Err(why.clone())));
                // It is told to the supervisor before this process ends.
                steps.wait(Err::<HandshookSuccessor, _>).map_err(|_| Error::Caller(why.detail.into()))
            }
        }
    }
}

/// Part of the handoff: the time to warm up, read-only.
#[derive(Debug)]
pub struct HandshookSuccessor {
    steps: Steps,
    op: Op,
}

impl HandshookSuccessor {
    /// The warm-up is done.
    pub fn warmed(self) -> WarmSuccessor {
        self.steps.protocol.replies.send(HookReply::Done(self.op, Ok(())));
        WarmSuccessor { steps: self.steps }
    }
}

/// Warm, and harmless.
#[derive(Debug)]
pub struct WarmSuccessor {
    steps: Steps,
}

impl WarmSuccessor {
    /// Waits until this process holds the lock and may open the state.
    ///
    /// # Errors
    /// The handoff was rolled back: the process is to exit.
    pub fn wait_for_begin(self) -> Result<BegunSuccessor> {
        let opening = |call| if let Call::Open(op, sealed) = call { Ok((op, sealed)) } else { Err(call) };
        let (op, sealed) = self.steps.wait(opening)?;
        Ok(BegunSuccessor { steps: self.steps, op, sealed })
    }
}

/// Holds the lock.
#[derive(Debug)]
pub struct BegunSuccessor {
    steps: Steps,
    op: Op,
    sealed: Option<Sealed>,
}

impl BegunSuccessor {
    /// Returns what the predecessor sealed; nothing in a cold start and after a crash.
    pub fn sealed(&self) -> Option<&Sealed> {
        self.sealed.as_ref()
    }

    /// Takes the listeners that the supervisor passed. Nothing is to be accepted yet.
    pub fn take_listeners(mut self) -> (Listeners, OpeningSuccessor) {
        let listeners = std::mem::take(&mut self.steps.listeners);
        (listeners, OpeningSuccessor { steps: self.steps, op: self.op })
    }
}

/// Holds the lock and the listeners, and opens the state.
#[derive(Debug)]
pub struct OpeningSuccessor {
    steps: Steps,
    op: Op,
}

impl OpeningSuccessor {
    /// The state is open. What is unhealthy or behind what was sealed is refused: that shows in the next step.
    pub fn ready(self, readiness: ReadinessSnapshot) -> ReadySuccessor {
        self.steps.protocol.replies.send(HookReply::Opened(self.op, Ok(readiness)));
        ReadySuccessor { steps: self.steps }
    }

    /// The state can't be opened: gives the lock back. The process is to exit.
    ///
    /// # Errors
    /// Always: with `why`.
    pub fn failed(self, why: impl Into<PlainText>) -> Result<Ended> {
        self.steps.protocol.replies.send(HookReply::Opened(self.op, Err(HostError::hook(why))));
        match self.steps.protocol.next() {
            Call::Exit(exit) => ended(exit),
            call => Err(unexpected(&call)),
        }
    }
}

/// Holds the lock and the open state.
#[derive(Debug)]
pub struct ReadySuccessor {
    steps: Steps,
}

impl ReadySuccessor {
    /// Waits until this process may accept connections. By then the control path leads to it.
    ///
    /// # Errors
    /// The handoff was rolled back: the process is to exit, and must not write any more.
    pub fn wait_for_commit(self) -> Result<CommittedSuccessor> {
        let op = self.steps.wait(|call| if let Call::Serve(op) = call { Ok(op) } else { Err(call) })?;
        Ok(CommittedSuccessor { steps: self.steps, op })
    }
}

/// May accept connections.
#[derive(Debug)]
pub struct CommittedSuccessor {
    steps: Steps,
    op: Op,
}

impl CommittedSuccessor {
    /// Connections are accepted: the predecessor may leave.
    pub fn serving(self) -> Incumbent {
        self.steps.protocol.replies.send(HookReply::Done(self.op, Ok(())));
        Incumbent { protocol: self.steps.protocol }
    }
}

/// The protocol, between two steps.
#[derive(Debug)]
struct Steps {
    protocol: Protocol,
    listeners: Listeners,
}

impl Steps {
    /// Waits for the call that `wanted` picks.
    fn wait<T>(&self, wanted: impl Fn(Call) -> std::result::Result<T, Call>) -> Result<T> {
        match wanted(self.protocol.next()) {
            Ok(found) => Ok(found),
            Err(Call::Exit(exit)) => match ended(exit)? {
                Ended::Retired => Err(Error::Peer("another process serves".into())),
                Ended::Stopped => Err(Error::Peer("this process was asked to stop".into())),
                Ended::Aborted(why) => Err(Error::Peer(format!("the handoff was rolled back: {why}"))),
            },
            Err(call) => Err(unexpected(&call)),
        }
    }
}

fn unexpected(call: &Call) -> Error {
    Error::Caller(format!("the protocol is at {call:?}, not at this step: a defect of the library"))
}

/// A process that serves.
#[derive(Debug)]
pub struct Incumbent {
    protocol: Protocol,
}

impl Incumbent {
    /// For a process that no supervisor started, takes `lock`, if it isn't taken yet, and the control path. A
    /// supervisor that comes later is given duplicates of `listeners`.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process serves; the socket can't be bound.
    pub fn bind_cold_start(
        control_socket: impl AsRef<Path>,
        lock: DataDirLock,
        listeners: &Listeners,
    ) -> Result<Self> {
        let mut place = Place::with_lock(lock, control_socket.as_ref(), Vec::new())?;
        place.listeners = listeners.try_clone()?;
        place.claim()?;
        Ok(Incumbent { protocol: Protocol::incumbent(place)? })
    }

    /// Asks this daemon to stop, from any thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.protocol.stop_handle()
    }

    /// Does what supervisors ask for, until a successor serves or the daemon is stopped. The hooks run on this
    /// thread.
    ///
    /// # Errors
    /// [`Error::Hook`] if it could not serve again after an aborted handoff.
    pub fn serve(self, drainable: &mut dyn Drainable) -> Result<Ended> {
        let carrier = carrier_of(drainable, &self.protocol.control)?;
        serve_calls(&self.protocol, drainable, carrier)
    }
}
