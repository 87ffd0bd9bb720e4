//! The steps of the child between `fork` and `execve`.
//!
//! Invariant: async-signal-safe (`signal-safety(7)`) throughout. Another thread may have held any lock at the
//! fork, that of the allocator included: so nothing here allocates, panics or formats; it makes system calls
//! on what was prepared, and writes into memory that was set aside for it.
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::libc::{self, c_char, c_int};

use super::setting::RunAs;
use crate::unix::env::FIRST_FD;

/// The room that a pid takes, in decimal digits.
pub(super) const PID_DIGITS: usize = 10;

/// Room for the first half of a `proc_pid_stat(5)`, where the start time is.
pub(super) const STAT: usize = 512;

/// The things that the child needs, prepared before the fork.
pub(super) struct ChildPlan {
    /// The descriptors that are to become descriptor 3 and those after it. May be any descriptors, in any
    /// order, twice too.
    pub(super) sources: Vec<RawFd>,
    /// The descriptor that is to become standard output and error, if not the parent's.
    pub(super) output: Option<RawFd>,
    /// The descriptor on which a failure is reported: close-on-exec, so that a success is an end of file.
    pub(super) report: RawFd,
    /// The executable.
    pub(super) binary: *const c_char,
    /// Null-terminated.
    pub(super) argv: *const *const c_char,
    /// Null-terminated.
    pub(super) envp: *const *const c_char,
    /// Inside one entry of `envp`: where the digits of the pid go, [`PID_DIGITS`] and a NUL.
    pub(super) listen_pid_digits: *mut u8,
    /// The bytes that the child leaves for the parent, if they share their memory: its own
    /// `proc_pid_stat(5)`, or as much of it as fits. The parent would have to wait for the whole `execve` to
    /// see it.
    pub(super) stat: [u8; STAT],
    /// The limit up to which descriptors are looked for where `close_range(2)` is missing.
    pub(super) open_max: RawFd,
    /// The umask, if it is another than the parent's.
    pub(super) umask: Option<u32>,
    /// The user, if it is another than the parent's.
    pub(super) run_as: Option<UserChange>,
    /// The directory to start in; null if it is the parent's.
    pub(super) directory: *const c_char,
    /// The signal that the parent is sent before the `exec`; 0 if none.
    #[cfg(feature = "crash-points")]
    pub(super) strike: c_int,
}

/// A user, a group and supplementary groups to take. The array is another's, and outlives the child's use of it.
pub(super) struct UserChange {
    uid: u32,
    gid: u32,
    groups: *const u32,
    groups_len: usize,
}

impl UserChange {
    pub(super) fn to(run_as: &RunAs) -> UserChange {
        let RunAs { uid, gid, groups, .. } = run_as;
        UserChange { uid: *uid, gid: *gid, groups: groups.as_ptr(), groups_len: groups.len() }
    }
}

/// The step that the child was at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ChildStep {
    Session,
    Stdin,
    Descriptors,
    CloseOnExec,
    User,
    Directory,
    Exec,
}

impl ChildStep {
    const ALL: [ChildStep; 7] = [
        ChildStep::Session,
        ChildStep::Stdin,
        ChildStep::Descriptors,
        ChildStep::CloseOnExec,
        ChildStep::User,
        ChildStep::Directory,
        ChildStep::Exec,
    ];
}

/// The error that the child failed with.
pub(super) struct ChildFailure {
    pub(super) step: ChildStep,
    pub(super) errno: i32,
}

impl ChildFailure {
    /// Its length in the pipe, in bytes.
    pub(super) const SIZE: usize = 5;

    fn at(step: ChildStep) -> impl Fn(Errno) -> ChildFailure {
        move |errno| ChildFailure { step, errno: errno as i32 }
    }

    fn to_bytes(&self) -> [u8; ChildFailure::SIZE] {
        let [a, b, c, d] = self.errno.to_ne_bytes();
        [self.step as u8, a, b, c, d]
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<ChildFailure> {
        let (&step, errno) = bytes.split_first()?;
        let step = ChildStep::ALL.into_iter().find(|known| *known as u8 == step)?;
        Some(ChildFailure { step, errno: i32::from_ne_bytes(errno.try_into().ok()?) })
    }
}

/// Becomes the new process, or reports why not and exits.
///
/// # Safety
/// Only in the child of a fork; all pointers of `plan` must be valid, its arrays null-terminated.
#[allow(unsafe_code)]
pub(super) unsafe fn run(plan: &mut ChildPlan) -> ! {
    // SAFETY: as promised by the caller.
    let failure = unsafe { prepare_and_exec(plan) };
    let bytes = failure.to_bytes();
    // SAFETY: `bytes` is ours; five bytes go into a pipe at once. `_exit` runs no handlers of the parent.
    unsafe {
        libc::write(plan.report, bytes.as_ptr().cast(), bytes.len());
        libc::_exit(127)
    }
}

/// # Safety
/// As [`run`].
#[allow(unsafe_code)]
unsafe fn prepare_and_exec(plan: &mut ChildPlan) -> ChildFailure {
    // SAFETY: system calls on the child's own state; `listen_pid_digits` has the room, `execve`'s arrays are
    // null-terminated (the caller's promise).
    unsafe {
        read_own_stat(&mut plan.stat);
        if let Err(failure) = leave_session().and_then(|()| place(plan)).and_then(|()| settle(plan)) {
            return failure;
        }
        write_pid(plan.listen_pid_digits, libc::getpid());
        reset_signals();
        #[cfg(feature = "crash-points")]
        if plan.strike != 0 {
            libc::kill(libc::getppid(), plan.strike);
        }
        libc::execve(plan.binary, plan.argv, plan.envp);
    }
    ChildFailure::at(ChildStep::Exec)(Errno::last())
}

/// Leaves zeros where there is no `/proc`.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
fn read_own_stat(stat: &mut [u8; STAT]) {
    // SAFETY: the path is a C string, the buffer as long as is said, and the descriptor was opened here.
    unsafe {
        let fd = libc::open(c"/proc/self/stat".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if fd >= 0 {
            libc::read(fd, stat.as_mut_ptr().cast(), stat.len());
            libc::close(fd);
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn read_own_stat(_stat: &mut [u8; STAT]) {}

/// A session, and with it a process group, of its own: a Ctrl-C at the supervisor's terminal must not reach
/// the daemon, and the group is what gets killed.
#[allow(unsafe_code)]
fn leave_session() -> Result<(), ChildFailure> {
    // SAFETY: setsid touches no memory.
    Errno::result(unsafe { libc::setsid() }).map(drop).map_err(ChildFailure::at(ChildStep::Session))
}

/// Takes the umask, the directory and the user; the directory first: a daemon that is started in the supervisor's own
/// directory inherits it, whether or not the user may enter, and is started there again after a crash.
#[allow(unsafe_code)]
fn settle(plan: &ChildPlan) -> Result<(), ChildFailure> {
    if let Some(umask) = plan.umask {
        // SAFETY: umask touches no memory.
        unsafe { libc::umask(umask as libc::mode_t) };
    }
    if !plan.directory.is_null() {
        // SAFETY: a C string, prepared before the fork.
        Errno::result(unsafe { libc::chdir(plan.directory) })
            .map_err(ChildFailure::at(ChildStep::Directory))?;
    }
    if let Some(run_as) = &plan.run_as {
        become_user(run_as).map_err(ChildFailure::at(ChildStep::User))?;
    }
    Ok(())
}

/// The groups first: only root can change them. The system calls themselves, because the C library's functions change
/// all threads of the process, as it knows them, by signals and locks.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
fn become_user(to: &UserChange) -> nix::Result<()> {
    #[cfg(not(any(
        target_arch = "arm",
        target_arch = "m68k",
        target_arch = "sparc",
        target_arch = "x86"
    )))]
    use libc::{SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID};
    #[cfg(any(target_arch = "arm", target_arch = "m68k", target_arch = "sparc", target_arch = "x86"))]
    use libc::{SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID};

    // SAFETY: the array has the length that is said; everything else is numbers.
    unsafe {
        Errno::result(libc::syscall(SETGROUPS, to.groups_len, to.groups))?;
        Errno::result(libc::syscall(SETRESGID, to.gid, to.gid, to.gid))?;
        Errno::result(libc::syscall(SETRESUID, to.uid, to.uid, to.uid)).map(drop)
    }
}

/// The groups first: only root can change them. Set as root, each changes the saved id too.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[allow(unsafe_code)]
fn become_user(to: &UserChange) -> nix::Result<()> {
    // SAFETY: the array has the length that is said; everything else is numbers. This is the only thread.
    unsafe {
        Errno::result(libc::setgroups(to.groups_len as _, to.groups))?;
        Errno::result(libc::setgid(to.gid))?;
        Errno::result(libc::setuid(to.uid)).map(drop)
    }
}

/// Puts every descriptor where it belongs. First everything that lies where something else will go is moved
/// above all targets; from there each is copied down. So no copy can overwrite what is still needed, whatever
/// the order.
fn place(plan: &mut ChildPlan) -> Result<(), ChildFailure> {
    let above = FIRST_FD + plan.sources.len() as RawFd;
    for fd in plan.sources.iter_mut().chain([&mut plan.report]).chain(&mut plan.output) {
        if *fd < above {
            *fd = move_above(*fd, above).map_err(ChildFailure::at(ChildStep::Descriptors))?;
        }
    }
    stdin_from_null().map_err(ChildFailure::at(ChildStep::Stdin))?;
    for target in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        plan.output
            .map_or(Ok(()), |output| copy(output, target))
            .map_err(ChildFailure::at(ChildStep::Descriptors))?;
    }
    for (target, source) in (FIRST_FD..).zip(&plan.sources) {
        // `dup2` leaves the copy open across `exec`; the source is not the target, so there always is a copy.
        copy(*source, target).map_err(ChildFailure::at(ChildStep::Descriptors))?;
    }
    close_on_exec_from(above, plan.open_max).map_err(ChildFailure::at(ChildStep::CloseOnExec))
}

#[allow(unsafe_code)]
fn move_above(fd: RawFd, least: RawFd) -> nix::Result<RawFd> {
    // SAFETY: F_DUPFD_CLOEXEC touches no memory.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) })
}

#[allow(unsafe_code)]
fn copy(source: RawFd, target: RawFd) -> nix::Result<()> {
    loop {
        // SAFETY: dup2 touches no memory, and what it closes in the child is needed no more.
        match Errno::result(unsafe { libc::dup2(source, target) }) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR | Errno::EBUSY) => {}
            Err(error) => return Err(error),
        }
    }
}

#[allow(unsafe_code)]
fn stdin_from_null() -> nix::Result<()> {
    // SAFETY: the path is a C string; `open` changes no memory.
    let null = Errno::result(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY) })?;
    if null == 0 {
        return Ok(());
    }
    copy(null, 0)?;
    // SAFETY: `null` was opened above and has been copied.
    Errno::result(unsafe { libc::close(null) }).map(drop)
}

/// Keeps everything from `first` on from the new program.
fn close_on_exec_from(first: RawFd, open_max: RawFd) -> nix::Result<()> {
    match close_on_exec_range(first) {
        // Linux before 5.9 has no such call, before 5.11 no such flag.
        Err(Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => {}
        result => return result,
    }
    (first..open_max).for_each(close_on_exec);
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
fn close_on_exec_range(first: RawFd) -> nix::Result<()> {
    // SAFETY: close_range takes plain numbers. Through `syscall`, because old C libraries lack the function.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    Errno::result(result).map(drop)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn close_on_exec_range(_first: RawFd) -> nix::Result<()> {
    Err(Errno::ENOSYS)
}

#[allow(unsafe_code)]
fn close_on_exec(fd: RawFd) {
    // SAFETY: F_SETFD touches no memory; on a closed descriptor it does nothing.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// Every signal does what it does by default, and none is blocked.
#[allow(unsafe_code)]
fn reset_signals() {
    // SAFETY: an all-zero sigaction is SIG_DFL with an empty mask; what can't be changed (SIGKILL, SIGSTOP,
    // the C library's own) is refused, and that is fine. All signals are blocked until the last call, so that
    // no handler of the parent runs here.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=MAX_SIGNAL {
            libc::sigaction(signal, &default, std::ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// The highest signal number: 64 on Linux (mips: 127), at most 128 on the BSDs.
const MAX_SIGNAL: c_int =
    if cfg!(target_os = "linux") && !cfg!(any(target_arch = "mips", target_arch = "mips64")) {
        64
    } else {
        127
    };

/// Writes `pid` in decimal, without a formatter.
///
/// # Safety
/// `to` must have room for [`PID_DIGITS`] bytes.
#[allow(unsafe_code)]
unsafe fn write_pid(mut to: *mut u8, pid: libc::pid_t) {
    let mut divisor: libc::pid_t = 1;
    while pid / divisor >= 10 {
        divisor *= 10;
    }
    while divisor > 0 {
        // SAFETY: a pid is positive and has at most ten digits, each of which is written once.
        unsafe {
            *to = b'0' + ((pid / divisor) % 10) as u8;
            to = to.add(1);
        }
        divisor /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn pids_are_written_in_decimal() {
        for pid in [1, 9, 10, 4_194_304, i32::MAX] {
            let mut room = [0; PID_DIGITS];
            // SAFETY: `room` is as large as it must be.
            unsafe { write_pid(room.as_mut_ptr(), pid) };
            let end = room.iter().position(|byte| *byte == 0).unwrap_or(PID_DIGITS);
            assert_eq!(room[..end], *pid.to_string().as_bytes());
        }
    }
}
