//! Starts a process that inherits the listeners and a link to the supervisor, and nothing else.
//!
//! `std::process::Command` can't do it: what a `pre_exec` closure puts into the environment is lost once the
//! command has an environment of its own, and a `dup2` onto 3 and up may hit the pipe through which std hears
//! of a failed `exec`, so that a missing binary "starts". So this is a fork (on Linux one that borrows our
//! memory) and `execve`: everything is prepared before, and what runs between (`after_fork`) is
//! async-signal-safe.
mod after_fork;
mod setting;

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{Pid, pipe2};

use crate::bounds;
use crate::error::{Error, Result};
use crate::id::ProcessId;
use crate::unix::again::uninterrupted;
use crate::unix::context::Context;
use crate::unix::env::{FIRST_FD, LISTEN_PID, StartRole};
use crate::unix::kill;
use crate::unix::pid::{start_time_in, start_time_of};
use after_fork::{ChildFailure, ChildPlan, ChildStep, UserChange};
pub use setting::{RunAs, Setting};

/// The longest name of a listener, in bytes: the limit of `FileDescriptorName=` in `systemd.socket(5)`.
pub const NAME_MAX: usize = 255;

/// The program to start, and the things to start it with.
#[derive(Debug)]
pub struct SpawnRequest<'a> {
    /// The executable. `PATH` is not searched; a relative path starts at the current directory.
    pub binary: &'a Path,
    /// The file that is executed in place of `binary`, which stays the zeroth argument.
    pub image: Option<&'a Path>,
    /// The arguments after the zeroth, which is `binary`.
    pub args: &'a [OsString],
    /// Variables that are added to what is passed on of this process's environment, or replace what is there. The variables of
    /// [`crate::unix::env`] are set by the library, whatever is given here.
    pub env: &'a [(OsString, OsString)],
    /// The user, the directory, the umask and the environment.
    pub setting: &'a Setting,
    /// The sockets that the process inherits from descriptor 3 on, in this order. Names are unique, neither empty nor longer than
    /// [`NAME_MAX`], of printable ASCII and without `:`.
    pub listeners: &'a [(String, BorrowedFd<'a>)],
    /// The process's end of the link, which becomes its descriptor right after the listeners. It is closed here.
    pub link: OwnedFd,
    /// The role that the process is started in.
    pub role: StartRole,
    /// The file that becomes its standard output and error; those of this process if `None`.
    pub output: Option<BorrowedFd<'a>>,
}

/// A process that was started: a child of this one, leader of a session and process group of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spawned {
    /// The process.
    pub process: ProcessId,
}

/// Starts a process. It runs the binary by the time this returns: `execve(2)` has succeeded. Its standard
/// input is `/dev/null`; it shares standard output and error with this process, unless it is given others; no signal is blocked or
/// ignored; and besides the listeners and the link it inherits no descriptor. It outlives this process.
///
/// # Errors
/// [`Error::Caller`] for a name, argument or variable that can't be passed on; [`Error::System`] if the
/// binary is missing or not executable, or the system refuses. In each case no process is left.
pub fn spawn(request: SpawnRequest<'_>) -> Result<Spawned> {
    check_names(request.listeners)?;
    let binary = c_string(request.binary.as_os_str(), "the path of the binary")?;
    let image = request.image.unwrap_or(request.binary);
    // A relative path starts here, not in the directory that the new process starts in.
    let executed = std::path::absolute(image).context(|| "can't tell the current directory".into())?;
    let executed = c_string(executed.as_os_str(), "the path of what is executed")?;
    let directory = request.setting.working_dir.as_ref();
    let directory = directory.map(|dir| c_string(dir.as_os_str(), "the working directory")).transpose()?;
    let argv = arguments(&binary, request.args)?;
    let mut listen_pid = listen_pid_entry();
    let environment = setting::environment(&request)?;

    let (report, report_child) =
        pipe2(OFlag::O_CLOEXEC).context(|| "can't open a pipe to a new process".into())?;
    let argv = pointers(argv.iter().map(|entry| entry.as_ptr()));
    let listen_pid_at = listen_pid.as_mut_ptr();
    let envp =
        pointers(environment.iter().map(|entry| entry.as_ptr()).chain([listen_pid_at.cast_const().cast()]));
    let mut plan = ChildPlan {
        sources: sources(&request),
        output: request.output.map(|fd| fd.as_raw_fd()),
        report: report_child.as_raw_fd(),
        binary: executed.as_ptr(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        listen_pid_digits: listen_pid_at.wrapping_add(LISTEN_PID.len() + 1),
        stat: [0; after_fork::STAT],
        open_max: open_max(),
        umask: request.setting.umask,
        run_as: request.setting.change().map(UserChange::to),
        directory: directory.as_ref().map_or(std::ptr::null(), |directory| directory.as_ptr()),
        #[cfg(feature = "crash-points")]
        strike: crate::unix::probe::strike_from_child(crate::unix::probe::SystemCall::Exec),
    };
    let child = start(&mut plan).context(|| "can't start another process".into())?;
    drop(report_child);

    let pid = child.as_raw().unsigned_abs();
    let failure = read_failure(report);
    let start_time = match start_time_in(&plan.stat) {
        None => start_time_of(pid),
        known => Ok(known),
    };
    let started = match (failure, start_time) {
        (Ok(None), Ok(start_time)) => Ok(start_time.unwrap_or(0)),
        (Ok(Some(failure)), _) => Err(explain(&failure, image, request.setting)),
        (Err(error), _) | (_, Err(error)) => {
            Err(error).context(|| format!("can't tell how {} started", request.binary.display()))
        }
    };
    if started.is_err() {
        kill::end_unstarted(child);
    }
    started.map(|start_time| Spawned { process: ProcessId { pid, start_time } })
}

/// Refuses names that `LISTEN_FDNAMES` can't carry, and more listeners than a supervisor would take over.
pub(crate) fn check_names<F>(entries: &[(String, F)]) -> Result<()> {
    if entries.len() > bounds::LISTENERS {
        let (count, most) = (entries.len(), bounds::LISTENERS);
        return Err(Error::Caller(format!("{count} listeners are too many: at most {most}")));
    }
    for (at, (name, _)) in entries.iter().enumerate() {
        let complaint = match name.as_bytes() {
            [] => "is empty",
            bytes if bytes.len() > NAME_MAX => "is longer than 255 bytes",
            bytes if bytes.contains(&b':') => "contains ':', which separates names",
            bytes if !bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) => "is not printable ASCII",
            _ if entries[..at].iter().any(|(other, _)| other == name) => "is given twice",
            _ => continue,
        };
        return Err(Error::Caller(format!("listener name {name:?} {complaint}")));
    }
    Ok(())
}

fn sources(request: &SpawnRequest<'_>) -> Vec<RawFd> {
    request.listeners.iter().map(|(_, fd)| fd.as_raw_fd()).chain([request.link.as_raw_fd()]).collect()
}

fn c_string(text: &OsStr, what: &str) -> Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Error::Caller(format!("{what} contains a NUL byte: {text:?}")))
}

fn arguments(binary: &CString, args: &[OsString]) -> Result<Vec<CString>> {
    let rest = args.iter().map(|arg| c_string(arg, "an argument"));
    [Ok(binary.clone())].into_iter().chain(rest).collect()
}

/// Returns `LISTEN_PID=`, and room for the digits and a NUL: only the child knows its pid.
fn listen_pid_entry() -> Vec<u8> {
    let mut entry = format!("{LISTEN_PID}=").into_bytes();
    entry.resize(entry.len() + after_fork::PID_DIGITS + 1, 0);
    entry
}

/// A null-terminated array, as `execve(2)` wants it.
fn pointers(entries: impl Iterator<Item = *const libc::c_char>) -> Vec<*const libc::c_char> {
    entries.chain([std::ptr::null()]).collect()
}

/// Returns the number that no descriptor is above, unless the limit was lowered since.
#[allow(unsafe_code)]
fn open_max() -> RawFd {
    // SAFETY: sysconf takes a plain number and touches no memory of ours.
    let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    RawFd::try_from(limit).unwrap_or(RawFd::MAX).max(FIRST_FD)
}

/// Makes the child, which goes on in [`after_fork`]. All signals are blocked meanwhile: a handler of ours
/// that ran in the child would speak for it through descriptors that both share.
fn start(plan: &mut ChildPlan) -> nix::Result<Pid> {
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let child = new_process(plan);
    mask.thread_set_mask()?;
    child
}

/// As `posix_spawn(3)` does it: the child borrows our memory, and this thread stands still until it has
/// executed the binary or exited. Copying the page tables would take longer than all the rest, and the longer
/// the larger the program is. A child that becomes another user has memory of its own: the kernel treats memory as
/// belonging to all users that run on it, and would take our right to be examined and to leave a core.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
fn new_process(plan: &mut ChildPlan) -> nix::Result<Pid> {
    use nix::sched::{CloneFlags, clone};
    /// `after_fork` needs less than a tenth, without optimisation too.
    const STACK: usize = 64 * 1024;

    let mut stack = vec![0; STACK];
    let shared = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    let flags = if plan.run_as.is_none() { shared } else { CloneFlags::empty() };
    // SAFETY: the child runs nothing but `after_fork::run`, which never returns, touches no memory but its
    // stack and `plan`, and neither allocates nor takes a lock. `plan`, what it points to and the stack
    // outlive its use of them: this thread, whose they are, goes on only when the child has left our memory.
    // With all signals blocked nothing else of this program can run in it.
    unsafe { clone(Box::new(|| after_fork::run(plan)), &mut stack, flags, Some(libc::SIGCHLD)) }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[allow(unsafe_code)]
fn new_process(plan: &mut ChildPlan) -> nix::Result<Pid> {
    use nix::unistd::{ForkResult, fork};
    // SAFETY: the child does nothing but `after_fork::run`, which is async-signal-safe and never returns.
    match unsafe { fork() }? {
        // SAFETY: this is the child, and `plan` points to what `spawn` owns until the fork has returned.
        ForkResult::Child => unsafe { after_fork::run(plan) },
        ForkResult::Parent { child } => Ok(child),
    }
}

/// Returns what the child reported; nothing, if the pipe was closed by its `exec` (or its death, which its
/// watch will see).
fn read_failure(report: OwnedFd) -> io::Result<Option<ChildFailure>> {
    let mut report = File::from(report);
    let mut bytes = [0; ChildFailure::SIZE];
    // It was written at once, and is read at once.
    let length = uninterrupted(|| report.read(&mut bytes))?;
    Ok(ChildFailure::from_bytes(&bytes[..length]))
}

fn explain(failure: &ChildFailure, binary: &Path, setting: &Setting) -> Error {
    let path = binary.display();
    let user = setting.run_as.as_ref().map(|run_as| format!(" as uid {}, gid {}", run_as.uid, run_as.gid));
    let user = user.unwrap_or_default();
    let context = match (failure.step, failure.errno) {
        (ChildStep::Exec, libc::ENOENT) if binary.exists() => {
            format!("can't execute {path}: the interpreter or dynamic loader that it names is missing")
        }
        (ChildStep::Exec, libc::EACCES) if !user.is_empty() => format!(
            "can't execute {path}{user}: that user needs execute permission for it, and for the directories on the way"
        ),
        (ChildStep::Exec, libc::EACCES) => {
            format!("can't execute {path}: a regular file with execute permission is needed")
        }
        (ChildStep::Exec, libc::ENOEXEC) => format!("can't execute {path}: not a program for this machine"),
        (ChildStep::Exec, _) => format!("can't execute {path}"),
        (ChildStep::Stdin, _) => "can't give a new process /dev/null as its stdin".into(),
        (ChildStep::Descriptors, _) => "can't give a new process its descriptors".into(),
        (ChildStep::CloseOnExec, _) => "can't keep our descriptors from a new process".into(),
        (ChildStep::Session, _) => "can't give a new process a session of its own".into(),
        (ChildStep::User, libc::EPERM) => {
            format!("can't start a process{user}: only root can; run the supervisor as root, or as that user")
        }
        (ChildStep::User, _) => format!("can't start a process{user}"),
        (ChildStep::Directory, _) => {
            let dir = setting.working_dir.as_deref().unwrap_or(Path::new("")).display();
            format!(
                "can't start a process in {dir}: the directory must exist, and this process must be able to enter it"
            )
        }
    };
    Error::System { context, source: io::Error::from_raw_os_error(failure.errno) }
}
