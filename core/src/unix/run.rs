//! The high-level entry: a daemon in one call, cold start and successor alike.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::bounds;
use crate::carry::CarryHook;
use crate::error::{Error, HostError, Result};
use crate::machine::ExitReason;
use crate::node::daemon::RESUME_BOUND;
use crate::text::PlainText;
use crate::unix::again::again;
use crate::unix::connections::Carrier;
use crate::unix::daemon::{self, Call, HookReply, Protocol, Replies, stop_on_signals};
use crate::unix::env::{self, Inherited};
use crate::unix::hooks::{Daemon, Drainable};
use crate::unix::listen::bind;
use crate::unix::listeners::Listeners;
use crate::unix::lock::{DataDir, DataDirLock};
use crate::unix::reports::{HookResult, ReadinessSnapshot, ResumeFrom};

/// A data directory that is open, or is to be opened.
#[derive(Clone, Debug)]
enum DataPlace {
    Named(PathBuf),
    Open(DataDir),
}

/// A daemon's place: its data directory, its control socket, its listeners.
#[derive(Clone, Debug)]
pub struct Options {
    data_dir: DataPlace,
    control_socket: PathBuf,
    build_id: Vec<u8>,
    listeners: Vec<(String, String)>,
}

impl Options {
    /// Makes the options: `data_dir` is what only one process may write; it must exist, and no other user may
    /// read or write it. `control_socket` is where supervisors find the daemon that serves: the same path for
    /// every build.
    ///
    /// A daemon that opens its files by this path relies on it to lead to the same directory as long as it runs. One
    /// that opens them through a [`DataDir`] does not: see [`Options::in_dir`].
    pub fn new(data_dir: impl Into<PathBuf>, control_socket: impl Into<PathBuf>) -> Self {
        Options::at(DataPlace::Named(data_dir.into()), control_socket.into())
    }

    /// Takes a directory that is open instead: what is locked is then what the daemon opens through
    /// [`DataDir::path`] or its descriptor.
    pub fn in_dir(data_dir: DataDir, control_socket: impl Into<PathBuf>) -> Self {
        Options::at(DataPlace::Open(data_dir), control_socket.into())
    }

    fn at(data_dir: DataPlace, control_socket: PathBuf) -> Self {
        Options { data_dir, control_socket, build_id: Vec::new(), listeners: Vec::new() }
    }

    /// Names the build, to people.
    #[must_use]
    pub fn build_id(mut self, id: impl Into<Vec<u8>>) -> Self {
        self.build_id = id.into();
        self
    }

    /// Names a listener that the daemon needs. A supervisor must pass it; without one it is bound at `addr`
    /// (`127.0.0.1:6379`, `[::]:80`, `unix:/path`), unless the process inherited it from systemd or the like.
    #[must_use]
    pub fn listener(mut self, name: impl Into<String>, addr: impl Into<String>) -> Self {
        self.listeners.push((name.into(), addr.into()));
        self
    }
}

impl DataPlace {
    fn open(self, control: &Path, build_id: Vec<u8>) -> Result<daemon::Place> {
        let dir = match self {
            DataPlace::Named(path) => DataDir::open(path)?,
            DataPlace::Open(dir) => dir,
        };
        daemon::Place::with_lock(DataDirLock::of(dir), control, build_id)
    }
}

/// The reason why a daemon is not needed any more. The process is to exit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// A successor serves.
    Retired,
    /// The daemon was asked to stop, and has drained, sealed and unlocked.
    Stopped,
    /// The daemon was a successor and is not to serve, for this reason.
    Aborted(PlainText),
}

/// Runs `daemon` until it is replaced or stopped: as a successor if a supervisor started this process, else by
/// itself. SIGTERM and SIGINT stop it: drain, seal, leave. The hooks run on this thread.
///
/// # Errors
/// [`Error::Locked`] if another process serves; [`Error::Hook`] if a hook failed so that the daemon can't serve;
/// [`Error::Caller`] and [`Error::System`] for what is wrong with the options or the machine.
pub fn run(options: Options, daemon: impl Daemon) -> Result<Ended> {
    match env::inherited()? {
        Some(inherited) => run_supervised(options, daemon, inherited),
        None => run_alone(options, daemon),
    }
}

fn run_supervised(options: Options, mut daemon: impl Daemon, inherited: Inherited) -> Result<Ended> {
    let build_id = options.build_id.clone();
    let take_part = |inherited| take_part(options, inherited, &daemon);
    let (protocol, listeners, mut carrier) = daemon::or_give_up(inherited, &build_id, take_part)?;
    stop_on_signals(&protocol.stop_handle())?;
    let mut listeners = Some(listeners);
    loop {
        let reply = match protocol.next() {
            Call::WarmUp(op, place) => HookReply::Done(op, place.and_then(|()| guarded(|| daemon.warm_up()))),
            Call::Open(op, sealed) => {
                HookReply::Opened(op, guarded(|| daemon.open(sealed.as_ref()).and_then(kept)))
            }
            Call::Serve(op) => {
                let listeners = listeners.take().unwrap_or_default();
                let serve = || daemon.serve(listeners);
                HookReply::Done(op, guarded(|| around(&mut carrier, CarryHook::Serve, serve)))
            }
            Call::Exit(exit) => return ended(exit),
            call => match perform(call, &mut daemon, &mut carrier, &protocol.replies) {
                Some(reply) => reply,
                None => continue,
            },
        };
        protocol.replies.send(reply);
    }
}

/// Has everything that a successor needs, and starts its protocol.
fn take_part(
    options: Options,
    inherited: Inherited,
    daemon: &dyn Drainable,
) -> Result<(Protocol, Listeners, Option<Carrier>)> {
    let listeners = Listeners::from_env()?;
    let names = listeners.names();
    if let Some((missing, _)) = options.listeners.iter().find(|(name, _)| !names.contains(name)) {
        let why =
            format!("the supervisor passed no listener called {missing:?}, only {names:?}: add it there");
        return Err(Error::Caller(why));
    }
    let carrier = carrier_of(daemon, &options.control_socket)?;
    let mut place = options.data_dir.open(&options.control_socket, options.build_id)?;
    place.listeners = listeners.try_clone()?;
    place.inbound = carrier.as_ref().map(Carrier::inbound);
    Ok((Protocol::successor(place, inherited)?, listeners, carrier))
}

fn run_alone(options: Options, mut daemon: impl Daemon) -> Result<Ended> {
    let carrier = carrier_of(&daemon, &options.control_socket)?;
    let mut place = options.data_dir.open(&options.control_socket, options.build_id)?;
    guarded(|| daemon.warm_up()).map_err(failed)?;
    place.claim()?;
    let opened = guarded(|| daemon.open(None).and_then(kept)).map_err(failed)?;
    if !opened.healthz_ok {
        return Err(Error::Hook("the daemon calls itself unhealthy".into()));
    }
    let listeners = bind_missing(Listeners::from_env()?, &options.listeners)?;
    place.listeners = listeners.try_clone()?;
    guarded(|| daemon.serve(listeners)).map_err(failed)?;
    let protocol = Protocol::incumbent(place)?;
    stop_on_signals(&protocol.stop_handle())?;
    serve_calls(&protocol, &mut daemon, carrier)
}

/// Returns what lets the connections of `daemon` outlive its process, if it wants that.
pub(crate) fn carrier_of(daemon: &dyn Drainable, control: &Path) -> Result<Option<Carrier>> {
    daemon.connections().map(|connections| connections.carrier(control)).transpose()
}

/// Lets `daemon` do what the protocol asks of one that serves, until it is over.
pub(crate) fn serve_calls(
    protocol: &Protocol,
    daemon: &mut dyn Drainable,
    mut carrier: Option<Carrier>,
) -> Result<Ended> {
    loop {
        match protocol.next() {
            Call::Exit(exit) => return ended(exit),
            call => {
                if let Some(reply) = perform(call, daemon, &mut carrier, &protocol.replies) {
                    protocol.replies.send(reply);
                }
            }
        }
    }
}

/// Performs what a daemon that serves can be asked for. `None` if there is nothing to reply.
fn perform(
    call: Call,
    daemon: &mut dyn Drainable,
    carrier: &mut Option<Carrier>,
    replies: &Replies,
) -> Option<HookReply> {
    Some(match call {
        Call::Drain(op, grace, successor, place) => {
            carrier.iter_mut().for_each(|carrier| carrier.set_successor(successor));
            let which = CarryHook::Drain { for_successor: successor.is_some() };
            let drain = || daemon.drain(grace);
            HookReply::Drained(op, place.and_then(|()| guarded(|| around(carrier, which, drain))))
        }
        Call::Seal(op) => {
            let mut progress = |progress| replies.send(HookReply::Progress(progress));
            HookReply::Sealed(op, guarded(|| around(carrier, CarryHook::Seal, || daemon.seal(&mut progress))))
        }
        Call::Resume(op, from_disk) => {
            let from = if from_disk { ResumeFrom::Disk } else { ResumeFrom::Memory };
            let resume = || again(RESUME_BOUND, "resume", || daemon.resume_after_abort(from));
            HookReply::Done(op, guarded(|| around(carrier, CarryHook::Resume, resume)))
        }
        Call::Snapshot => HookReply::Snapshot(guarded(|| Ok(daemon.snapshot_state())).unwrap_or_default()),
        Call::Finalize => {
            let finalized = guarded(|| {
                daemon.finalize();
                Ok(())
            });
            if let Err(error) = finalized {
                tracing::error!(target: "handoff", %error, "finalize failed");
            }
            return None;
        }
        Call::WarmUp(op, _) | Call::Open(op, _) | Call::Serve(op) => {
            HookReply::Done(op, Err(HostError::hook("this process serves already")))
        }
        Call::Exit(_) => return None,
    })
}

/// Runs a daemon's hook and what belongs to it for the connections that are carried, if any are.
fn around<T>(
    carrier: &mut Option<Carrier>,
    which: CarryHook,
    hook: impl FnOnce() -> HookResult<T>,
) -> HookResult<T> {
    match carrier {
        Some(carrier) => carrier.around(which, hook),
        None => hook(),
    }
}

/// Returns what was opened, if the record has room for it when it is sealed.
fn kept(ready: ReadinessSnapshot) -> HookResult<ReadinessSnapshot> {
    match ready.advertised_revision_per_shard.len() {
        count if count > bounds::SHARDS => {
            Err(format!("{count} shards are too many: at most {}", bounds::SHARDS).into())
        }
        _ => Ok(ready),
    }
}

/// Runs a hook. A panic is a hook that failed, in words.
fn guarded<T>(hook: impl FnOnce() -> HookResult<T>) -> std::result::Result<T, HostError> {
    match catch_unwind(AssertUnwindSafe(hook)) {
        Ok(result) => result.map_err(|error| HostError::hook(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let text = text.as_deref().unwrap_or("without a message");
            Err(HostError::hook(format!("the hook panicked: {text}")))
        }
    }
}

/// A hook of a daemon that has not begun to serve has failed.
fn failed(error: HostError) -> Error {
    Error::Hook(error.detail.into())
}

fn bind_missing(inherited: Listeners, wanted: &[(String, String)]) -> Result<Listeners> {
    let names = inherited.names();
    let mut entries = inherited.into_entries();
    for (name, addr) in wanted.iter().filter(|(name, _)| !names.contains(name)) {
        entries.push((name.clone(), bind(addr)?));
    }
    Listeners::from_entries(entries)
}

/// Returns what the end of the protocol means to the caller.
pub(crate) fn ended(exit: ExitReason) -> Result<Ended> {
    match exit {
        ExitReason::Retired => Ok(Ended::Retired),
        ExitReason::Stopped => Ok(Ended::Stopped),
        ExitReason::Aborted(why) => Ok(Ended::Aborted(why)),
        ExitReason::Failed(why) => Err(Error::Hook(why.into())),
        ExitReason::HookLimit => Err(Error::Hook("a hook ran past its limit".into())),
    }
}
