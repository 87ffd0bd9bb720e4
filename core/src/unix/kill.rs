//! Ends processes. No other place sends a signal that ends a process, and none is sent without a [`MayBeKilled`]: never on the
//! strength of a name, a number or a clock.
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpgid};

use crate::id::ProcessId;
use crate::journal::Journal;
use crate::message::Hello;
use crate::unix::control;
use crate::unix::env::{HANDOFF_ROLE, LISTEN_PID};
use crate::unix::pid::{Watch, may_live, open_pidfd, start_time_of};

/// A process that this supervisor may end. There are two ways to make one: the process was started by it, or it has spoken
/// as a daemon of its control path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MayBeKilled {
    process: ProcessId,
}

impl MayBeKilled {
    /// "I started it": the process is a child of this one, or `journal` names it. That is the journal whose lock this
    /// supervisor holds, without the processes of another boot: what an earlier supervisor started is this one's.
    pub fn started(watch: &Watch, journal: &Journal) -> Option<MayBeKilled> {
        let process = watch.id();
        (watch.is_child() || journal.processes().any(|named| named == process))
            .then_some(MayBeKilled { process })
    }

    /// "It spoke": the process that the kernel names at the other end of `link` has said `hello`, as the user `uid` or root,
    /// and it listens for the control path `control`. A process of another pid namespace has no number here and is none.
    pub fn spoke(hello: &Hello, link: &UnixStream, control: &Path, uid: u32) -> Option<MayBeKilled> {
        let peer = control::peer(link).ok()?;
        let is_itself = hello.pid != 0 && peer.pid == Some(hello.pid);
        let is_it = is_itself && peer.may_speak_to(uid) && control::is_for(control, link);
        is_it.then(|| MayBeKilled { process: hello.process() })
    }

    /// The process.
    pub fn process(self) -> ProcessId {
        self.process
    }

    /// Sends `signal` to the process that `watch` watches; nothing, if it has ended.
    ///
    /// # Errors
    /// `watch` is of another process; no permission.
    pub fn signal(self, watch: &Watch, signal: Signal) -> io::Result<()> {
        self.check(watch)?;
        if watch.has_ended() {
            return Ok(());
        }
        watch.check_certain()?;
        ignore_gone(match watch.pidfd() {
            Some(pidfd) => pidfd_signal(pidfd, signal),
            None if watch.is_same()? => kill(watch.pid(), signal),
            None => Ok(()),
        })
    }

    /// Kills (SIGKILL) the process that `watch` watches, and the group that it leads, if it leads one. The group is left alone
    /// once the leader has been reaped: until then no other group can have its number.
    ///
    /// # Errors
    /// As [`MayBeKilled::signal`].
    pub fn kill_group(self, watch: &Watch) -> io::Result<()> {
        self.check(watch)?;
        if watch.has_ended() {
            return Ok(());
        }
        watch.check_certain()?;
        let leads = watch.is_same()? && getpgid(Some(watch.pid())) == Ok(watch.pid());
        // The group first: its leader's end may let another thread reap it.
        let group = if leads { ignore_gone(killpg(watch.pid(), Signal::SIGKILL)) } else { Ok(()) };
        self.signal(watch, Signal::SIGKILL).and(group)
    }

    /// Kills (SIGKILL) what is left of the process group that the ended process led; whether there was anything. The group may
    /// be another's by now: only those are killed that have inherited the variables by which the process was told what it
    /// inherited, with its number in them.
    ///
    /// # Errors
    /// No permission.
    pub(crate) fn kill_leftovers(self) -> io::Result<bool> {
        let ProcessId { pid, start_time } = self.process;
        let is_another = || Ok::<_, io::Error>(start_time_of(pid)?.is_some_and(|now| now != start_time));
        let Ok(group) = i32::try_from(pid) else { return Ok(false) };
        // Most daemons leave nothing, and to go through all processes takes long on a large machine.
        let is_empty = || killpg(Pid::from_raw(group), None) == Err(Errno::ESRCH);
        if group <= 1 || is_empty() || may_live(pid) || is_another()? {
            return Ok(false);
        }
        let mut any = false;
        for member in members_of(group)? {
            // Held by its descriptor before it is looked at: what is killed is what was looked at.
            let Some(pidfd) = open_pidfd(member).ok().flatten() else { continue };
            if is_of_group(member, group) && was_left_by(member, pid) {
                ignore_gone(pidfd_signal(&pidfd, Signal::SIGKILL))?;
                any = true;
            }
        }
        Ok(any)
    }

    fn check(self, watch: &Watch) -> io::Result<()> {
        if watch.id() == self.process {
            return Ok(());
        }
        let why = format!("{} is not {}, which may be ended", watch.id(), self.process);
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    }
}

/// Ends and reaps a child that was forked a moment ago and did not become what it was to be. It has usually ended by itself, and
/// its number can't be another's before it is reaped.
pub(super) fn end_unstarted(child: Pid) {
    let _ = kill(child, Signal::SIGKILL);
    while waitpid(child, None) == Err(Errno::EINTR) {}
}

/// The processes of a process group.
fn members_of(group: i32) -> io::Result<Vec<u32>> {
    let entries = match std::fs::read_dir("/proc") {
        Ok(entries) => entries,
        // A process can't be told from others.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter(|pid| is_of_group(*pid, group)).collect())
}

fn is_of_group(pid: u32, group: i32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| getpgid(Some(Pid::from_raw(pid))) == Ok(Pid::from_raw(group)))
}

/// Returns whether the variables of `pid` say that the process `daemon` was started by a supervisor: it has
/// inherited them.
fn was_left_by(pid: u32, daemon: u32) -> bool {
    let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let has =
        |wanted: &str| variables.split(|byte| *byte == 0).any(|entry| entry.starts_with(wanted.as_bytes()));
    let its_number = format!("{LISTEN_PID}={daemon}");
    let names_it = variables.split(|byte| *byte == 0).any(|entry| entry == its_number.as_bytes());
    names_it && has(&format!("{HANDOFF_ROLE}="))
}

fn ignore_gone(sent: nix::Result<()>) -> io::Result<()> {
    match sent {
        Err(Errno::ESRCH) => Ok(()),
        sent => sent.map_err(io::Error::from),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
fn pidfd_signal(pidfd: &OwnedFd, signal: Signal) -> nix::Result<()> {
    let (fd, info) = (pidfd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: the descriptor is open; a null siginfo asks for what kill(2) sends.
    Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal as libc::c_int, info, 0) })
        .map(drop)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn pidfd_signal(_pidfd: &OwnedFd, _signal: Signal) -> nix::Result<()> {
    Err(Errno::ENOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    /// The leader of a process group that ends at once and leaves a process in it.
    fn leader(role: Option<&str>) -> (MayBeKilled, u32) {
        let mut command = Command::new("/bin/sh");
        let script = "LISTEN_PID=$$; export LISTEN_PID; /bin/sleep 1000 >/dev/null & echo $!";
        command.args(["-c", script]).process_group(0).stdout(Stdio::piped());
        if let Some(role) = role {
            command.env(HANDOFF_ROLE, role);
        }
        let mut leader = command.spawn().unwrap();
        let mut left = String::new();
        BufReader::new(leader.stdout.take().unwrap()).read_line(&mut left).unwrap();
        leader.wait().unwrap();
        let left: u32 = left.trim().parse().unwrap();
        // Before it executes it has the shell's own variables.
        let executes = || std::fs::read(format!("/proc/{left}/cmdline")).unwrap().starts_with(b"/bin/sleep");
        let waited = (0..180_000).find(|_| {
            std::thread::sleep(Duration::from_millis(1));
            executes()
        });
        assert!(waited.is_some(), "{left} never executes");
        (MayBeKilled { process: ProcessId { pid: leader.id(), start_time: 1 } }, left)
    }

    #[test]
    fn of_a_group_only_what_the_daemon_left_is_killed() {
        let (ours, left) = leader(Some("successor"));
        assert!(ours.kill_leftovers().unwrap());
        (0..180_000).find(|_| {
            std::thread::sleep(Duration::from_millis(1));
            !may_live(left)
        });
        assert!(!may_live(left), "the daemon had started it");
        let (another, stranger) = leader(None);
        assert!(!another.kill_leftovers().unwrap());
        assert!(may_live(stranger), "the group is another's by now");
        kill(Pid::from_raw(stranger.cast_signed()), Signal::SIGKILL).unwrap();
    }

    #[test]
    fn what_was_neither_started_nor_has_spoken_may_not_be_killed() {
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let start_time = start_time_of(child.id()).unwrap().unwrap();
        let process = ProcessId { pid: child.id(), start_time };
        let watch = Watch::other(process).unwrap();
        assert_eq!(MayBeKilled::started(&watch, &Journal::default()), None);
        let another = MayBeKilled { process: ProcessId { pid: 1, start_time: 0 } };
        for refused in [another.kill_group(&watch), another.signal(&watch, Signal::SIGTERM)] {
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
        assert!(child.try_wait().unwrap().is_none(), "it lives");
        let own = MayBeKilled::started(&Watch::child(process).unwrap(), &Journal::default()).unwrap();
        own.kill_group(&watch).unwrap();
        child.wait().unwrap();
    }
}
