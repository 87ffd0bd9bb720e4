//! A daemon's side: the protocol runs on a thread of its own, the hooks on the caller's.
//!
//! So heartbeats go out, and the supervisor is heard, whatever a hook does; and no thread is started in the pause.
//! `host.rs` is what the protocol's thread stands on, `hooks.rs` what the two threads say to each other, `names.rs` puts back the sockets' names.
mod give_up;
mod hooks;
mod host;
mod links;
mod names;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

pub(crate) use give_up::or_give_up;
pub(crate) use hooks::{Call, HookReply, Replies};

use crate::bounds;
use crate::error::{Error, ErrorKind, HostError, Result};
use crate::id::ProcessId;
use crate::machine::{IncumbentMachine, LinkId, SuccessorMachine};
use crate::message::{Capabilities, Hello, PROTO_MAX, PROTO_MIN};
use crate::node::daemon::DaemonMachine;
use crate::record::{Claim, Record};
use crate::unix::connections::Inbound;
use crate::unix::context::Context;
use crate::unix::control::ControlSocket;
use crate::unix::env::Inherited;
use crate::unix::listeners::Listeners;
use crate::unix::lock::{DataDirLock, in_words};
use crate::unix::pid::this_process;
use crate::unix::record_file::RecordFile;
use crate::unix::wake::{Waker, waker};

/// The time for which a daemon that is asked to stop lets open requests finish.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(10);

/// The parts of a daemon besides its hooks: its place, its lock, its control socket.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) process: ProcessId,
    pub(crate) control: ControlSocket,
    pub(crate) lock: DataDirLock,
    pub(crate) record: RecordFile,
    /// For a supervisor that comes anew: the last one may have died, and could not bind them again.
    pub(crate) listeners: Listeners,
    pub(crate) build_id: Vec<u8>,
    /// The receiver of an incumbent's connections, if this daemon takes them over.
    pub(crate) inbound: Option<Arc<Inbound>>,
}

impl Place {
    /// Binds the control socket beside its path; disturbs no process.
    pub(crate) fn with_lock(lock: DataDirLock, control: &Path, build_id: Vec<u8>) -> Result<Place> {
        if build_id.len() > bounds::BUILD_ID {
            let (length, most) = (build_id.len(), bounds::BUILD_ID);
            return Err(Error::Caller(format!(
                "the build id has {length} bytes: at most {most} are possible"
            )));
        }
        Ok(Place {
            process: this_process().context(|| "can't tell when this process started".into())?,
            control: ControlSocket::bind_beside(control)?,
            record: RecordFile::open(lock.dir())?,
            lock,
            listeners: Listeners::default(),
            build_id,
            inbound: None,
        })
    }

    /// Sees that the data directory is the one that its path leads to and, for a successor, the one that `incumbent` has:
    /// no process has been touched yet.
    pub(crate) fn check(&self, incumbent: Option<ProcessId>) -> std::result::Result<(), HostError> {
        self.lock.dir().check_place()?;
        let Some(incumbent) = incumbent else { return Ok(()) };
        let recorded = self.record.read().ok().and_then(|(record, _)| record).map(|record| record.holder);
        let holds = || self.lock.holder().is_some_and(|holder| holder.pid == incumbent.pid);
        if recorded == Some(incumbent) || holds() {
            return Ok(());
        }
        let why = format!(
            "the data directory {} is not that of process {incumbent}, which is to be replaced: start this one on the \
             same directory",
            self.lock.dir().named().display()
        );
        Err(HostError::new(ErrorKind::Caller, why))
    }

    /// The generation of the record as it lies there.
    pub(crate) fn generation(&self) -> Result<u64> {
        let (record, problems) = self.record.read().context(|| "can't read the record".into())?;
        for problem in problems {
            tracing::warn!(target: "handoff.record", %problem);
        }
        Ok(record.map_or(0, |record| record.generation))
    }

    /// Takes the lock for a start that replaces no daemon, and writes the record.
    pub(crate) fn claim(&mut self) -> Result<()> {
        let generation = self.generation()?;
        let locked = self.lock.try_lock().context(|| "can't lock the data directory".into())?;
        if !locked {
            let (holder, dir) = (in_words(self.lock.holder()), self.lock.dir().named().display());
            return Err(Error::Locked(format!(
                "{holder} holds the lock of the data directory {dir}: if that is a daemon, stop it or swap it; if not, end it"
            )));
        }
        let (last, _) = self.record.read().context(|| "can't read the record".into())?;
        if !(Claim::ColdStart { generation }).holds(self.process, last.as_ref()) {
            return Err(Error::Locked("another process has taken the data directory meanwhile".into()));
        }
        self.note(generation + 1, false)
    }

    /// Writes the record of a process that holds the lock.
    fn note(&self, generation: u64, serving: bool) -> Result<()> {
        let holder = self.process;
        let (sealed_for, revisions, fingerprint) = (None, Vec::new(), Default::default());
        let record = Record { generation, holder, sealed_for, serving, revisions, fingerprint };
        self.record.write(&record).context(|| "can't write the record".into())
    }

    pub(crate) fn hello(&self, role: crate::message::Role) -> Hello {
        let capabilities = self.inbound.as_ref().map(|_| Capabilities::CONNECTIONS).unwrap_or_default();
        Hello { capabilities, ..hello_of(self.process, &self.build_id, role) }
    }
}

/// Returns what `process` says of itself.
fn hello_of(process: ProcessId, build_id: &[u8], role: crate::message::Role) -> Hello {
    Hello {
        role,
        pid: process.pid,
        start_time: process.start_time,
        build_id: build_id.to_vec(),
        proto_min: PROTO_MIN,
        proto_max: PROTO_MAX,
        capabilities: Capabilities::default(),
    }
}

/// The running protocol, as the thread of the hooks sees it.
#[derive(Debug)]
pub(crate) struct Protocol {
    pub(crate) calls: mpsc::Receiver<Call>,
    pub(crate) replies: Replies,
    /// The control path.
    pub(crate) control: PathBuf,
    stop: StopHandle,
}

impl Protocol {
    /// Starts the protocol of a successor, spawned with `inherited`.
    pub(crate) fn successor(place: Place, inherited: Inherited) -> Result<Protocol> {
        let hello = place.hello(crate::message::Role::Successor);
        let machine = SuccessorMachine::new(hello, place.generation()?, LinkId(0));
        Protocol::start(place, DaemonMachine::Successor(machine), Some(inherited))
    }

    /// Starts the protocol of a process that holds the lock, has claimed it, and serves.
    pub(crate) fn incumbent(place: Place) -> Result<Protocol> {
        place.control.take_path()?;
        let generation = place.generation()?;
        place.note(generation, true)?;
        let hello = place.hello(crate::message::Role::Incumbent);
        Protocol::start(
            place,
            DaemonMachine::Incumbent(IncumbentMachine::new(hello, generation, STOP_GRACE)),
            None,
        )
    }

    fn start(place: Place, role: DaemonMachine, inherited: Option<Inherited>) -> Result<Protocol> {
        let (waker, wake) = waker().context(|| "can't open a pipe".into())?;
        let (call, calls) = mpsc::channel();
        let (reply, results) = mpsc::channel();
        let stop = StopHandle::new(waker.clone());
        let control = place.control.path().to_path_buf();
        let host = host::Host::new(place, wake, call, results, stop.clone());
        thread::Builder::new()
            .name("handoff".into())
            .spawn(move || host.run(role, inherited))
            .context(|| "can't start the protocol's thread".into())?;
        Ok(Protocol { calls, replies: Replies::new(reply, waker), control, stop })
    }

    pub(crate) fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// The next thing that the protocol wants done. If its thread is gone, that is the end.
    pub(crate) fn next(&self) -> Call {
        self.calls
            .recv()
            .unwrap_or(Call::Exit(crate::machine::ExitReason::Failed("the protocol's thread died".into())))
    }
}

/// Asks a daemon to stop: it drains, seals, unlocks and leaves. Usable from any thread.
#[derive(Clone, Debug)]
pub struct StopHandle {
    asked: std::sync::Arc<std::sync::atomic::AtomicBool>,
    waker: Waker,
}

impl StopHandle {
    fn new(waker: Waker) -> Self {
        StopHandle { asked: Default::default(), waker }
    }

    /// Asks. It stays so.
    pub fn stop(&self) {
        self.asked.store(true, std::sync::atomic::Ordering::SeqCst);
        self.waker.wake();
    }

    fn is_asked(&self) -> bool {
        self.asked.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// Lets SIGTERM and SIGINT stop the daemon, without a thread of their own. What the process did on them before is
/// replaced.
pub(crate) fn stop_on_signals(stop: &StopHandle) -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    for signal in [SIGTERM, SIGINT] {
        // In the order of registration: a thread that is woken finds it asked.
        let asked = signal_hook::flag::register(signal, std::sync::Arc::clone(&stop.asked));
        asked.and_then(|_| stop.waker.wake_on(signal)).context(|| "can't handle signals".into())?;
    }
    Ok(())
}
