//! Crash points: places where a test can end this very process, or spoil what it is about to do.
//!
//! Only with the feature `crash-points`, which the tests of this workspace turn on as a dev-dependency and nothing else does:
//! a supervisor or daemon that is built to be run has no such code. A test's process installs a [`Probe`] by a call; there
//! is no other way in, no variable and no file. It is asked in every gap of the driver ([`crate::host::Gaps`]), between
//! the system calls of one effect, and before every frame.
use std::cell::Cell as Slot;
use std::hint::black_box;
use std::io;
use std::ops::ControlFlow;
use std::process;
use std::sync::OnceLock;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{Signal, raise};

use crate::host::{Crashed, Gap};
use crate::machine::{Cell, EffectName, supervisor};

use crate::message::Message;
use crate::names::names;

/// The mark of every executable that has crash points: so it can be seen that one has none.
pub const MARK: &str = "handoff: this executable has crash points";

/// The probe by which a test learns of its process, and decides about it.
pub trait Probe: Send + Sync {
    /// A machine is about to handle an event.
    fn handles(&self, cell: Cell);

    /// The process is in `gap`; with `step`, between two system calls of the effect after it: before the one of that name
    /// ([`steps`]).
    fn gap(&self, gap: Gap, step: Option<SystemCall>) -> Fate;

    /// Notes that `message` is about to be sent over a link at whose other end is `to`.
    fn frame(&self, to: Receiver, message: &Message) -> FrameFate;
}

names! {
    /// A system call of an effect that takes several.
    pub enum SystemCall {
        Write = "write",
        WriteRest = "write-rest",
        Sync = "sync",
        Fork = "fork",
        Exec = "exec",
        Watch = "watch",
        Rename = "rename",
    }
}

/// The process that is to receive a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its role in a handoff; unknown to a recovery, and none if it goes to a supervisor.
    pub role: Option<supervisor::Peer>,
    /// Its pid, where the system tells.
    pub pid: Option<u32>,
}

/// The fate of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    LivesOn,
    /// Ends at once, by `_exit(2)`: no destructor runs, no buffer is flushed.
    Exits,
    /// Kills itself: SIGKILL.
    IsKilled,
    /// Stops itself: SIGSTOP. It goes on from here when it is continued.
    IsStopped,
    /// The system call fails. Only between two of them.
    Fails,
}

/// The fate of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FrameFate {
    /// Is sent.
    #[default]
    Arrives,
    /// Is lost, and the sender doesn't know.
    IsLost,
    /// Comes so much later, and all behind it.
    IsLate(Duration),
    /// Half of it is sent, then the link ends.
    IsCut,
    /// Is not sent, and the link ends.
    Resets,
    /// The message that is sent in its place.
    Becomes(Box<Message>),
}

static PROBE: OnceLock<Box<dyn Probe>> = OnceLock::new();

thread_local! {
    /// The gap that this thread was in last: the steps of an effect belong to it.
    static LAST: Slot<Option<Gap>> = const { Slot::new(None) };
}

/// Lets `probe` decide from here on. Only the first one does.
pub fn install(probe: impl Probe + 'static) {
    let _ = PROBE.set(Box::new(probe));
}

/// Everything that has crash points comes by here, and so has the mark.
fn probe() -> Option<&'static dyn Probe> {
    black_box(MARK);
    PROBE.get().map(Box::as_ref)
}

/// The system calls of an effect in the gaps between which a process can die; none, if it is only one.
pub fn steps(effect: EffectName) -> &'static [SystemCall] {
    match effect {
        EffectName::PersistUnderWay
        | EffectName::PersistCommitted
        | EffectName::PersistOver
        | EffectName::Note => &[SystemCall::Write, SystemCall::WriteRest, SystemCall::Sync],
        EffectName::Spawn => &[SystemCall::Fork, SystemCall::Exec, SystemCall::Watch],
        EffectName::TakePath => &[SystemCall::Rename],
        _ => &[],
    }
}

pub(crate) fn handles(cell: Cell) {
    if let Some(probe) = probe() {
        probe.handles(cell);
    }
}

pub(crate) fn gap(gap: Gap) -> ControlFlow<Crashed> {
    LAST.set(Some(gap));
    if let Some(probe) = probe() {
        meet(probe.gap(gap, None));
    }
    ControlFlow::Continue(())
}

/// Between two system calls of one effect, before `step`.
///
/// # Errors
/// That one is to fail.
pub(crate) fn step(step: SystemCall) -> io::Result<()> {
    match ask(step) {
        Fate::Fails => Err(io::Error::other("injected")),
        fate => {
            meet(fate);
            Ok(())
        }
    }
}

/// With what signal a child, which is yet to execute its binary, is to end or stop this process.
pub(crate) fn strike_from_child(step: SystemCall) -> libc::c_int {
    match ask(step) {
        Fate::LivesOn | Fate::Fails => 0,
        // Only the process itself could end it by `_exit`.
        Fate::Exits | Fate::IsKilled => libc::SIGKILL,
        Fate::IsStopped => libc::SIGSTOP,
    }
}

fn ask(step: SystemCall) -> Fate {
    match (probe(), LAST.get()) {
        (Some(probe), Some(gap)) => probe.gap(gap, Some(step)),
        _ => Fate::LivesOn,
    }
}

pub(crate) fn frame(to: Receiver, message: &Message) -> FrameFate {
    probe().map_or(FrameFate::Arrives, |probe| probe.frame(to, message))
}

/// `raise` reaches this very thread: it goes no further, whatever the others do meanwhile.
fn meet(fate: Fate) {
    match fate {
        Fate::LivesOn | Fate::Fails => {}
        Fate::IsStopped => drop(raise(Signal::SIGSTOP)),
        Fate::IsKilled => {
            let _ = raise(Signal::SIGKILL);
            process::abort();
        }
        #[allow(unsafe_code)]
        // SAFETY: it ends the process and touches no memory of ours.
        Fate::Exits => unsafe { libc::_exit(86) },
    }
}
