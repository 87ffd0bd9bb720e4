//! The ways in which an actor is made to misbehave: for each hook a file that says what to do. A hook takes
//! its file away, so that each script is played once.
use std::fmt;
use std::fs;
use std::process::Command;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use handoff::HookResult;
pub use handoff::node::daemon::HookName;
use thiserror::Error;

use crate::layout::Layout;
use crate::wait::until;

/// The hooks of a successor that can undo a handoff.
pub const OF_SUCCESSOR: [HookName; 3] = [HookName::WarmUp, HookName::Open, HookName::Serve];

/// The hooks of an incumbent on its way out.
pub const OF_INCUMBENT: [HookName; 2] = [HookName::Drain, HookName::Seal];

/// The act in a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Return an error.
    Fail,
    /// Return an error, and again whenever the hook is called.
    KeepFailing,
    /// Panic.
    Panic,
    /// Take so many milliseconds.
    Slow(u64),
    /// Never return.
    Hang,
    /// Say that it is there, and wait until it may go on: [`Gate`].
    Gate,
    /// End the process at once.
    Exit,
    /// Start a process of its own, which sleeps.
    Child,
    /// The same, and it keeps the data directory's descriptor, as one that is forked does.
    Fork,
    /// Open: call itself unhealthy.
    Unhealthy,
    /// Open: be a revision behind.
    Behind,
    /// Open: have another fingerprint.
    Foreign,
    /// Drain: say that connections are still accepted.
    StillAccepting,
    /// Drain: say that so many connections are left.
    Remaining(u32),
}

/// The text names nothing that an actor can do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("an actor can not {0:?}")]
pub struct NoAct(String);

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Fail => f.write_str("fail"),
            Act::KeepFailing => f.write_str("keep-failing"),
            Act::Panic => f.write_str("panic"),
            Act::Slow(ms) => write!(f, "slow {ms}"),
            Act::Hang => f.write_str("hang"),
            Act::Gate => f.write_str("gate"),
            Act::Exit => f.write_str("exit"),
            Act::Child => f.write_str("child"),
            Act::Fork => f.write_str("fork"),
            Act::Unhealthy => f.write_str("unhealthy"),
            Act::Behind => f.write_str("behind"),
            Act::Foreign => f.write_str("foreign"),
            Act::StillAccepting => f.write_str("still-accepting"),
            Act::Remaining(count) => write!(f, "remaining {count}"),
        }
    }
}

impl FromStr for Act {
    type Err = NoAct;

    fn from_str(text: &str) -> Result<Act, NoAct> {
        let (word, number) = text.split_once(' ').unwrap_or((text, "0"));
        let number: u32 = number.parse().map_err(|_| NoAct(text.to_owned()))?;
        Ok(match word {
            "fail" => Act::Fail,
            "keep-failing" => Act::KeepFailing,
            "panic" => Act::Panic,
            "slow" => Act::Slow(number.into()),
            "hang" => Act::Hang,
            "gate" => Act::Gate,
            "exit" => Act::Exit,
            "child" => Act::Child,
            "fork" => Act::Fork,
            "unhealthy" => Act::Unhealthy,
            "behind" => Act::Behind,
            "foreign" => Act::Foreign,
            "still-accepting" => Act::StillAccepting,
            "remaining" => Act::Remaining(number),
            _ => return Err(NoAct(text.to_owned())),
        })
    }
}

/// Writes the script of `hook` for the actor called `name`.
pub fn write(layout: &Layout, name: &str, hook: HookName, acts: &[Act]) {
    let text: String = acts.iter().map(|act| format!("{act}\n")).collect();
    let path = layout.script(name, hook);
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// Returns what the script of `hook` says, if there is one: for the actor.
///
/// # Errors
/// It can't be read.
pub fn take(layout: &Layout, name: &str, hook: HookName) -> HookResult<Vec<Act>> {
    let path = layout.script(name, hook);
    let Ok(text) = fs::read_to_string(&path) else { return Ok(Vec::new()) };
    fs::remove_file(path)?;
    Ok(text.lines().map(Act::from_str).collect::<Result<Vec<_>, _>>()?)
}

/// Does what `acts` say. Returns what concerns the hook's result.
///
/// # Errors
/// It is to fail.
pub fn play(layout: &Layout, name: &str, hook: HookName, acts: Vec<Act>) -> HookResult<Vec<Act>> {
    let mut rest = Vec::new();
    for act in acts {
        match act {
            Act::Fail => return Err(format!("told to fail in {hook}").into()),
            Act::KeepFailing => {
                write(layout, name, hook, &[Act::KeepFailing]);
                return Err(format!("told to keep failing in {hook}").into());
            }
            Act::Panic => panic!("told to panic in {hook}"),
            Act::Slow(ms) => thread::sleep(Duration::from_millis(ms)),
            Act::Hang => thread::sleep(Duration::from_secs(3600)),
            Act::Gate => wait_at_gate(layout, name, hook)?,
            Act::Exit => std::process::exit(9),
            Act::Child => drop(Command::new("sleep").arg("3600").spawn()?),
            Act::Fork => fork(layout)?,
            act => rest.push(act),
        }
    }
    Ok(rest)
}

/// Starts a process that has this one's descriptor of the data directory, and with it the lock.
fn fork(layout: &Layout) -> HookResult<()> {
    let is_data = |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|to| to == layout.data());
    let kept = fs::read_dir("/proc/self/fd")?.filter_map(Result::ok).find(is_data).ok_or("no descriptor")?;
    let kept: i32 = kept.file_name().to_string_lossy().parse()?;
    #[allow(unsafe_code, reason = "a descriptor of another part of this process is passed on")]
    // SAFETY: it is open as long as the daemon holds the lock, which it does while its hooks run.
    let kept = unsafe { std::os::fd::BorrowedFd::borrow_raw(kept) }.try_clone_to_owned()?;
    Command::new("sleep").arg("3600").stdin(kept).spawn()?;
    Ok(())
}

fn wait_at_gate(layout: &Layout, name: &str, hook: HookName) -> HookResult<()> {
    fs::write(layout.at(name, hook), "")?;
    while !layout.go(name, hook).exists() {
        thread::sleep(Duration::from_millis(1));
    }
    fs::remove_file(layout.at(name, hook))?;
    Ok(fs::remove_file(layout.go(name, hook))?)
}

/// The gate at which an actor waits ([`Act::Gate`]).
#[derive(Clone, Debug)]
pub struct Gate {
    layout: Layout,
    name: String,
    hook: HookName,
}

impl Gate {
    pub(crate) fn new(layout: &Layout, name: &str, hook: HookName) -> Gate {
        Gate { layout: layout.clone(), name: name.into(), hook }
    }

    /// Waits until the actor is there.
    #[track_caller]
    pub fn wait(&self) {
        until(&format!("{} in {}", self.name, self.hook), || self.layout.at(&self.name, self.hook).exists());
    }

    /// Lets it go on, now or when it comes.
    pub fn open(&self) {
        fs::write(self.layout.go(&self.name, self.hook), "").unwrap();
    }
}
