//! The user that a process runs as: of the process that a pidfd is for where the system tells, else of the process with its number.
use std::fs::File;
use std::io::Read;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsRawFd;

use crate::unix::again::uninterrupted;
use crate::unix::pid::Watch;

/// Returns the effective user of the process that `watch` watches; `None` where the system does not tell. Clients wait for this in a
/// swap: it is one call, on Linux since 6.13, or a look into `/proc`.
pub(crate) fn effective_user_of(watch: &Watch) -> Option<u32> {
    by_pidfd(watch).or_else(|| by_number(watch.id().pid))
}

/// The data that `PIDFD_GET_INFO` asks for and fills in, as in the first version of `struct pidfd_info`
/// (`linux/pidfd.h`): later ones are longer, and their size is part of the request's number.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    pid: u32,
    thread_group: u32,
    parent: u32,
    real_uid: u32,
    real_gid: u32,
    effective_uid: u32,
    effective_gid: u32,
    saved_uid: u32,
    saved_gid: u32,
    filesystem_uid: u32,
    filesystem_gid: u32,
    spare: u32,
}

/// The bit of the mask that asks for users and groups, and says that they are there.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CREDENTIALS: u64 = 1 << 1;

#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
mod request {
    nix::ioctl_readwrite!(get_info, 0xff, 11, super::PidfdInfo);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
fn by_pidfd(watch: &Watch) -> Option<u32> {
    let mut info = PidfdInfo { mask: CREDENTIALS, ..PidfdInfo::default() };
    // SAFETY: the request's number says how long `info` is, and no system writes more than that. A system that does not know the
    // request writes nothing.
    unsafe { request::get_info(watch.pidfd()?.as_raw_fd(), &raw mut info) }.ok()?;
    (info.mask & CREDENTIALS != 0).then_some(info.effective_uid)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn by_pidfd(_watch: &Watch) -> Option<u32> {
    None
}

/// Reads `proc_pid_status(5)`, at once: the users come before all that has no bound.
fn by_number(pid: u32) -> Option<u32> {
    let mut status = [0; 1024];
    let length = File::open(format!("/proc/{pid}/status"))
        .and_then(|mut file| uninterrupted(|| file.read(&mut status)))
        .ok()?;
    let uids = status[..length].split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    str::from_utf8(uids).ok()?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use nix::unistd::geteuid;

    use super::*;
    use crate::id::ProcessId;
    use crate::unix::pid::start_time_of;

    /// `PIDFD_GET_INFO` came with Linux 6.13.
    fn pidfds_tell() -> bool {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
        (numbers.next(), numbers.next()) >= (Some(6), Some(13))
    }

    /// Asked as root it is another user; otherwise only that both ways say the same is shown.
    #[test]
    fn both_ways_tell_the_effective_user_of_a_process() {
        let user = if geteuid().is_root() { 4321 } else { geteuid().as_raw() };
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped());
        if geteuid().is_root() {
            command.uid(user);
        }
        let mut child = command.spawn().unwrap();
        let process = ProcessId { pid: child.id(), start_time: start_time_of(child.id()).unwrap().unwrap() };
        let watch = Watch::child(process).unwrap();
        assert_eq!(by_number(process.pid), Some(user));
        assert_eq!(by_pidfd(&watch), pidfds_tell().then_some(user));
        assert_eq!(effective_user_of(&watch), Some(user));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
