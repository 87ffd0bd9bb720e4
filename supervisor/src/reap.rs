//! Collects the children that no other code does: as PID 1 of a container the supervisor is the parent of every
//! process whose own parent has ended.
//!
//! The library's own children are never touched: each is looked at before it is collected.
/// Collects ended children until none is left, or one that is `known` and therefore another's to collect.
///
/// Not to be called while the library may have children that its caller does not know of: during a handoff.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(crate) fn orphans(known: impl Fn(u32) -> bool) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};

    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    // `ECHILD`, no child at all, ends the loop as "none has ended" does.
    while let Ok(ended) = waitid(Id::All, peek) {
        let Some(pid) = ended.pid().filter(|pid| !known(pid.as_raw().unsigned_abs())) else { return };
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(status) => tracing::debug!(?status, "collected an orphan"),
            Err(error) => return tracing::warn!("orphan {pid}: {error}"),
        }
    }
}

/// Without `WNOWAIT` there is no looking without collecting; nor are there containers with a PID 1 to be.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(crate) fn orphans(_known: impl Fn(u32) -> bool) {}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    fn ended_child() -> std::process::Child {
        let child = Command::new("/bin/sh").args(["-c", "exit 7"]).stdin(Stdio::null()).spawn().unwrap();
        let stat = format!("/proc/{}/stat", child.id());
        let limit = Instant::now() + Duration::from_secs(10);
        while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
            assert!(Instant::now() < limit, "the child does not end");
            std::thread::yield_now();
        }
        child
    }

    #[test]
    fn an_orphan_is_collected_and_a_known_child_is_left_to_its_owner() {
        let mut owned = ended_child();
        let owned_pid = owned.id();
        orphans(|pid| pid == owned_pid);
        assert_eq!(owned.wait().unwrap().code(), Some(7), "its owner still learns its status");

        let orphan_pid = ended_child().id();
        orphans(|_| false);
        assert!(!std::path::Path::new(&format!("/proc/{orphan_pid}")).exists(), "a zombie is left");
    }
}
