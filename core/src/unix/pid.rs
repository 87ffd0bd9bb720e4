//! Processes: their identity, and watching one until it ends.
//!
//! A [`Watch`] means one process and never a later one with its number: on Linux it holds a pidfd
//! (`pidfd_open(2)`), and elsewhere it signals only an unreaped child, or a process whose start time
//! still is the known one.
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getsid};

use crate::id::{BootId, ProcessId};
use crate::unix::again::uninterrupted;

/// Returns the id of this process.
///
/// # Errors
/// `/proc` can't be read.
pub fn this_process() -> io::Result<ProcessId> {
    let pid = std::process::id();
    Ok(ProcessId { pid, start_time: start_time_of(pid)?.unwrap_or(0) })
}

/// Returns the id of this boot, where the system has a name for it.
pub fn boot_id() -> BootId {
    static BOOT: OnceLock<BootId> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits = text.trim().replace('-', "");
        u128::from_str_radix(&digits, 16).map(|id| BootId(id.to_be_bytes())).unwrap_or_default()
    })
}

/// Returns the time at which the process `pid` started, as in [`ProcessId`]; `None` if there is no such
/// process (or no `/proc`), 0 where the system has no such figure.
///
/// # Errors
/// `/proc` can't be read, or its text isn't `proc_pid_stat(5)`'s.
pub fn start_time_of(pid: u32) -> io::Result<Option<u64>> {
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return Ok(Some(0));
    }
    Ok(stat_of(pid)?.map(|stat| stat.start_time))
}

/// Returns whether there is a process `pid` that has not ended. One that was not waited for counts as ended;
/// what can't be told counts as alive.
pub(crate) fn may_live(pid: u32) -> bool {
    let there = i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH));
    there && !matches!(stat_of(pid), Ok(Some(Stat { state: b'Z' | b'X', .. })))
}

/// The way in which a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Exited with this status.
    Code(i32),
    /// The signal that killed it.
    Signal(i32),
    /// Has ended, but not as this process's child: how is not known.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Code(code) => write!(f, "exited with {code}"),
            Exit::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "was killed by {signal} ({number})"),
                Err(_) => write!(f, "was killed by signal {number}"),
            },
            Exit::Unknown => f.write_str("has ended"),
        }
    }
}

/// Watches one process until it ends. Dropping it does nothing to the process; a child that is not watched to
/// its end stays a zombie.
#[derive(Debug)]
pub struct Watch {
    process: ProcessId,
    is_child: bool,
    /// `true` if the process leads a session, as every process that a supervisor has started does: its group
    /// is its own. A program of a pipeline in a shell may lead a group in which others are.
    leads_session: bool,
    pidfd: Option<Arc<OwnedFd>>,
    exit: Option<Exit>,
}

impl Watch {
    /// Watches a child of this process. No other code may wait for it (a `waitpid(-1)` in a reaper would take
    /// its status): then the watch is that of an ended process.
    ///
    /// # Errors
    /// Descriptors are exhausted, or `/proc` can't be read.
    pub fn child(process: ProcessId) -> io::Result<Watch> {
        Watch::open(process, true)
    }

    /// Watches a process that is not our child. If it has gone already, its number maybe given to another,
    /// the watch is that of an ended process.
    ///
    /// # Errors
    /// As [`Watch::child`].
    pub fn other(process: ProcessId) -> io::Result<Watch> {
        Watch::open(process, false)
    }

    fn open(process: ProcessId, is_child: bool) -> io::Result<Watch> {
        let mut watch = Watch { process, is_child, leads_session: false, pidfd: None, exit: None };
        match open_pidfd(process.pid) {
            Err(Errno::ESRCH) => watch.exit = Some(Exit::Unknown),
            // The process whose start time is compared now is, or was, the one that the pidfd is for.
            opened => watch.pidfd = opened?.map(Arc::new),
        }
        if !watch.is_same()? {
            watch.pidfd = None;
            watch.exit = Some(Exit::Unknown);
        }
        watch.leads_session = watch.exit.is_none() && getsid(Some(watch.pid())) == Ok(watch.pid());
        Ok(watch)
    }

    /// Watches the same process by the same pidfd: unlike a second `pidfd_open(2)`, this can't fail.
    pub(super) fn share(&self) -> Watch {
        let Watch { process, is_child, leads_session, ref pidfd, exit } = *self;
        Watch { process, is_child, leads_session, pidfd: pidfd.clone(), exit }
    }

    /// The process that this watches.
    pub fn id(&self) -> ProcessId {
        self.process
    }

    /// Readable (`POLLIN`) once the process has ended. `None` if it is known to have ended, or if the system
    /// has no such descriptor: then [`Watch::ended`] is to be asked now and then.
    pub fn pollable(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_deref().filter(|_| self.exit.is_none()).map(AsFd::as_fd)
    }

    /// Returns whether it has ended, and how. Reaps it if it is a child. Never blocks.
    ///
    /// # Errors
    /// The system's; none is expected.
    pub fn ended(&mut self) -> io::Result<Option<Exit>> {
        if self.exit.is_none() {
            self.exit = if self.is_child { self.reap()? } else { self.gone()?.then_some(Exit::Unknown) };
        }
        Ok(self.exit)
    }

    /// Returns whether the process is a child of this one.
    pub(super) fn is_child(&self) -> bool {
        self.is_child
    }

    /// Returns whether the process was seen to end.
    pub(super) fn has_ended(&self) -> bool {
        self.exit.is_some()
    }

    /// Returns what the process is signalled by, where the system has that.
    pub(super) fn pidfd(&self) -> Option<&OwnedFd> {
        self.pidfd.as_deref()
    }

    /// Refuses to signal a process of which only the number is known: no child, whose number no other process can have, and none
    /// whose start time was read.
    pub(super) fn check_certain(&self) -> io::Result<()> {
        let told = self.process.start_time != 0 && start_time_of(self.process.pid)?.is_some();
        if self.is_child || told || !may_live(self.process.pid) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "without /proc it can't be told whether {} still is the process that was meant: end it by hand",
                self.process
            ),
        ))
    }

    /// Returns whether the process has ended and led a session of its own, in whose group it may have left
    /// others: `true` once.
    pub(super) fn may_have_left(&mut self) -> bool {
        self.exit.is_some() && std::mem::take(&mut self.leads_session)
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.process.pid.cast_signed())
    }

    /// Returns whether the number still belongs to the known process.
    pub(super) fn is_same(&self) -> io::Result<bool> {
        let now = start_time_of(self.process.pid)?;
        Ok(self.process.start_time == 0 || now.is_none_or(|now| now == self.process.start_time))
    }

    fn reap(&mut self) -> io::Result<Option<Exit>> {
        match self.wait_status() {
            Ok(WaitStatus::Exited(_, code)) => Ok(Some(Exit::Code(code))),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ok(Some(Exit::Signal(signal as i32))),
            Ok(_) => Ok(None),
            // Another thread has reaped it, or this process ignores SIGCHLD.
            Err(Errno::ECHILD) => Ok(self.gone()?.then_some(Exit::Unknown)),
            // A real-time signal, which nix has no name for: it has been reaped.
            Err(Errno::EINVAL) if self.gone()? => Ok(Some(Exit::Unknown)),
            Err(Errno::EINTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn wait_status(&self) -> nix::Result<WaitStatus> {
        use nix::sys::wait::{Id, waitid};
        match &self.pidfd {
            Some(pidfd) => {
                match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
                    // Linux 5.3 has pidfds, but can't wait for them.
                    Err(Errno::EINVAL) => waitpid(self.pid(), Some(WaitPidFlag::WNOHANG)),
                    status => status,
                }
            }
            None => waitpid(self.pid(), Some(WaitPidFlag::WNOHANG)),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn wait_status(&self) -> nix::Result<WaitStatus> {
        waitpid(self.pid(), Some(WaitPidFlag::WNOHANG))
    }

    /// Returns whether the process runs no more, reaped or not. Without a pidfd and without `/proc` a zombie
    /// still counts as running.
    fn gone(&self) -> io::Result<bool> {
        if let Some(pidfd) = &self.pidfd {
            let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            // Where that fails, for want of memory, the number tells.
            if let Ok(ready) = poll(&mut fds, PollTimeout::ZERO) {
                return Ok(ready > 0);
            }
        }
        if kill(self.pid(), None) == Err(Errno::ESRCH) || !self.is_same()? {
            return Ok(true);
        }
        Ok(stat_of(self.process.pid)?.is_some_and(|stat| matches!(stat.state, b'Z' | b'X')))
    }
}

/// `None` if the system has no pidfds.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
pub(super) fn open_pidfd(pid: u32) -> nix::Result<Option<OwnedFd>> {
    use std::os::fd::FromRawFd;
    // SAFETY: pidfd_open takes plain numbers. It sets close-on-exec itself.
    match Errno::result(unsafe {
        libc::syscall(libc::SYS_pidfd_open, libc::pid_t::from_ne_bytes(pid.to_ne_bytes()), 0)
    }) {
        // SAFETY: a new descriptor, which has no other owner.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })),
        // EPERM: a sandbox older than the call.
        Err(Errno::ENOSYS | Errno::EPERM) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn open_pidfd(_pid: u32) -> nix::Result<Option<OwnedFd>> {
    Ok(None)
}

struct Stat {
    state: u8,
    start_time: u64,
}

/// The process's `proc_pid_stat(5)`; `None` if there is none.
fn stat_of(pid: u32) -> io::Result<Option<Stat>> {
    // Longer than any: one read, which sees one state.
    let mut text = [0; 2048];
    let read =
        File::open(format!("/proc/{pid}/stat")).and_then(|mut file| uninterrupted(|| file.read(&mut text)));
    match read {
        Ok(length) => parse_stat(&text[..length]).map(Some).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("can't understand /proc/{pid}/stat"))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // It ended between open and read.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The start time in a `proc_pid_stat(5)`.
pub(crate) fn start_time_in(stat: &[u8]) -> Option<u64> {
    parse_stat(stat).map(|stat| stat.start_time)
}

/// The name, in parentheses, may contain spaces and parentheses itself: what counts begins after the last
/// one.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    /// Fields are numbered from 1; the one after the name is the third.
    const STATE: usize = 3;
    const START_TIME: usize = 22;

    let after_name = text.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = text[after_name..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let state = *fields.next()?.first()?;
    let start_time = std::str::from_utf8(fields.nth(START_TIME - STATE - 1)?).ok()?.parse().ok()?;
    Some(Stat { state, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;
    use crate::unix::kill::MayBeKilled;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    /// Makes a watch as on a system without pidfds.
    fn without_pidfd(child: &Child, is_child: bool) -> Watch {
        let start_time = start_time_of(child.id()).unwrap().unwrap();
        Watch {
            process: ProcessId { pid: child.id(), start_time },
            is_child,
            leads_session: false,
            pidfd: None,
            exit: None,
        }
    }

    fn started(watch: &Watch) -> MayBeKilled {
        MayBeKilled::started(watch, &Journal::default()).unwrap()
    }

    fn sleep() -> Child {
        Command::new("/bin/sleep").arg("1000").process_group(0).spawn().unwrap()
    }

    fn poll_until_ended(watch: &mut Watch) -> Exit {
        (0..10_000)
            .find_map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(1));
                watch.ended().unwrap()
            })
            .expect("it was killed")
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "the watch reaps it")]
    fn without_pidfds_a_child_is_asked_for_and_reaped() {
        let child = sleep();
        let mut watch = without_pidfd(&child, true);
        assert!(watch.pollable().is_none());
        assert_eq!(watch.ended().unwrap(), None);
        started(&watch).kill_group(&watch).unwrap();
        assert_eq!(poll_until_ended(&mut watch), Exit::Signal(9));
        assert_eq!(start_time_of(child.id()).unwrap(), None);
    }

    #[test]
    fn without_pidfds_another_process_has_ended_when_it_is_a_zombie() {
        let mut child = sleep();
        let mut watch = without_pidfd(&child, false);
        assert_eq!(watch.ended().unwrap(), None);
        started(&without_pidfd(&child, true)).signal(&watch, Signal::SIGTERM).unwrap();
        assert_eq!(poll_until_ended(&mut watch), Exit::Unknown);
        child.wait().unwrap();
    }

    #[test]
    fn of_whom_only_the_number_is_known_is_not_signalled() {
        let mut child = sleep();
        let process = ProcessId { pid: child.id(), start_time: 0 };
        let watch = Watch::other(process).unwrap();
        let may = started(&Watch::child(process).unwrap());
        assert_eq!(may.kill_group(&watch).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(may.signal(&watch, Signal::SIGTERM).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(child.try_wait().unwrap().is_none(), "it lives");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_name_may_look_like_fields() {
        let stat = b"42 (a) S 1 (b ) 2) Z 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 10\n";
        let stat = parse_stat(stat).expect("well-formed");
        assert_eq!((stat.state, stat.start_time), (b'Z', 777));
        assert!(parse_stat(b"42 (cut) S 1").is_none());
        assert!(parse_stat(b"").is_none());
    }

    #[test]
    fn an_exit_is_told_in_words() {
        assert_eq!(Exit::Code(3).to_string(), "exited with 3");
        assert_eq!(Exit::Signal(9).to_string(), "was killed by SIGKILL (9)");
        assert_eq!(Exit::Signal(40).to_string(), "was killed by signal 40");
        assert_eq!(Exit::Unknown.to_string(), "has ended");
    }
}
