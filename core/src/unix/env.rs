//! The environment variables through which a process learns what it inherited: the one place that names them.
//!
//! The first three are systemd's protocol (`sd_listen_fds(3)`), so that a daemon may read them with
//! libsystemd as well. All of them count only in the process whose pid `LISTEN_PID` is: a helper that the
//! daemon starts inherits the variables but not the descriptors, and must not take them for its own. That is
//! also why nothing is unset: to change the environment is unsafe as soon as a second thread runs, and what
//! is left there misleads no program.
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};

use crate::error::{Error, Result};
use crate::unix::bind::{set_close_on_exec, set_nonblocking};
use crate::unix::context::Context;

/// The pid that the variables are meant for, in decimal.
pub const LISTEN_PID: &str = "LISTEN_PID";
/// The number of listeners, in decimal; they are the descriptors from [`FIRST_FD`] on.
pub const LISTEN_FDS: &str = "LISTEN_FDS";
/// The listeners' names, joined by `:`.
pub const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";
/// The variable that says what the process is started as: `successor`, `cold-start` or `check`, a
/// [`StartRole`].
pub const HANDOFF_ROLE: &str = "HANDOFF_ROLE";
/// The descriptor of the link to the supervisor, in decimal.
pub const HANDOFF_SOCK_FD: &str = "HANDOFF_SOCK_FD";

/// The first inherited descriptor: `SD_LISTEN_FDS_START` of `sd_listen_fds(3)`.
pub const FIRST_FD: RawFd = 3;

/// Variables that a child never inherits as they are: its own are set, the rest would mislead it.
pub(crate) const RESERVED: [&str; 6] =
    [LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES, HANDOFF_ROLE, HANDOFF_SOCK_FD, "LISTEN_PIDFDID"];

/// The variables that an init system gives a service for itself (`systemd.exec(5)`): where and in whose name it reports, and
/// what it may read. A process that is started never inherits them; what names the unit's directories (`STATE_DIRECTORY` and the like) is passed on.
pub const NEVER_PASSED: [&str; 15] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "FDSTORE",
    "CREDENTIALS_DIRECTORY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "MAINPID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "SYSTEMD_EXEC_PID",
];

/// The role that a supervisor starts a process in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StartRole {
    /// To replace an incumbent.
    Successor,
    /// To serve where no daemon does.
    ColdStart,
    /// To check itself and end; never a daemon.
    Check,
}

impl fmt::Display for StartRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StartRole::Successor => "successor",
            StartRole::ColdStart => "cold-start",
            StartRole::Check => "check",
        })
    }
}

/// The things that a supervisor gave this process besides its listeners.
#[derive(Debug)]
pub struct Inherited {
    /// The role that this process was started in.
    pub role: StartRole,
    /// The link to the supervisor: non-blocking and close-on-exec.
    pub link: UnixStream,
}

/// Returns whether the variables are meant for this process.
pub(crate) fn is_for_us() -> bool {
    env::var(LISTEN_PID).is_ok_and(|pid| pid.parse() == Ok(std::process::id()))
}

/// Says so if the supervisor has started this process's parent in its place: neither of the two would be heard of.
fn warn_of_wrapper() {
    let parent = nix::unistd::getppid().to_string();
    if env::var(LISTEN_PID).is_ok_and(|pid| pid == parent) {
        tracing::warn!(
            target: "handoff",
            parent,
            "a supervisor started this process's parent, and waits for that: a wrapper script must end with `exec`"
        );
    }
}

/// Takes what a supervisor gave this process; `None` if no supervisor started it. To be called once in the
/// life of a process: a second call fails, because the descriptor has an owner by then.
///
/// # Errors
/// [`Error::Caller`] if the variables contradict themselves or the link was taken before; [`Error::System`] if the descriptor
/// is not open or no Unix socket.
pub fn inherited() -> Result<Option<Inherited>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    let Some(role) = env::var_os(HANDOFF_ROLE) else { return Ok(None) };
    if !is_for_us() {
        warn_of_wrapper();
        return Ok(None);
    }
    let role = [StartRole::Successor, StartRole::ColdStart]
        .into_iter()
        .find(|known| role.to_str() == Some(&known.to_string()))
        .ok_or_else(|| Error::Caller(no_daemon(&role)))?;
    let fd: RawFd = env::var(HANDOFF_SOCK_FD)
        .ok()
        .and_then(|fd| fd.parse().ok())
        .filter(|fd| *fd >= FIRST_FD)
        .ok_or_else(|| {
            Error::Caller(format!("{HANDOFF_ROLE} is set but {HANDOFF_SOCK_FD} names no descriptor"))
        })?;
    let what = || format!("descriptor {fd} ({HANDOFF_SOCK_FD}), the link to the supervisor");
    look_at(fd).and_then(check_unix).context(what)?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(Error::Caller("the link to the supervisor has been taken already".into()));
    }
    let link = adopt(fd);
    set_close_on_exec(&link).and_then(|()| set_nonblocking(&link)).context(what)?;
    Ok(Some(Inherited { role, link: UnixStream::from(link) }))
}

/// Returns why this process is not to be a daemon.
fn no_daemon(role: &OsStr) -> String {
    match role.to_str() == Some(&StartRole::Check.to_string()) {
        true => "this process was started to check itself (`check_args`), and its arguments make it a daemon"
            .into(),
        false => format!("{HANDOFF_ROLE}={role:?} is unknown to this version"),
    }
}

/// Looks at an inherited descriptor; an error unless it is open.
#[allow(unsafe_code)]
pub(crate) fn look_at<'a>(fd: RawFd) -> nix::Result<BorrowedFd<'a>> {
    // SAFETY: F_GETFD touches no memory and changes nothing, whatever `fd` is.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: it is open, and until it is adopted no code here knows of it that could close it.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Takes ownership of an inherited descriptor that [`look_at`] found open.
#[allow(unsafe_code)]
pub(crate) fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: `fd` is open. The environment says that the process that started this one left it here for us, and
    // the callers take each descriptor at most once in the life of the process; so it has no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn check_unix(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let address: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    if address.family() == Some(AddressFamily::Unix) { Ok(()) } else { Err(Errno::EAFNOSUPPORT) }
}
