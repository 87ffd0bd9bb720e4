//! Processes as the kernel sees them, in `/proc`: never by what they say of themselves.
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::layout::Layout;

/// Every pid there is.
fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The processes of a world, its supervisors included, in ascending order. Zombies have no environment and don't
/// count.
pub fn of_world(layout: &Layout) -> Vec<u32> {
    let mark = format!("{}={}", Layout::MARK, layout.dir().display());
    let is_marked = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    };
    let mut pids: Vec<u32> = all().into_iter().filter(is_marked).collect();
    pids.sort_unstable();
    pids
}

/// The fields of `proc_pid_stat(5)` from the state on, if the process is there.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(String::from).collect())
}

/// Returns whether the process runs or is stopped: not a zombie, and there.
pub fn lives(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| !["Z", "X"].contains(&fields[0].as_str()))
}

/// Its state and its command line, for people.
pub(crate) fn described(pid: u32) -> String {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let state = stat(pid).map_or("gone".into(), |fields| fields[0].clone());
    format!("{state} {}", String::from_utf8_lossy(&command).replace('\0', " "))
}

/// Returns whether the process is stopped.
pub fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "T")
}

/// The children of `pid`, zombies included.
pub fn children(pid: u32) -> Vec<u32> {
    let parent = pid.to_string();
    all().into_iter().filter(|child| stat(*child).is_some_and(|fields| fields[1] == parent)).collect()
}

/// The children that `pid` has by now, zombies included: as `proc_pid_task(5)` lists them, which is quick.
pub fn children_at_once(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let lists: Vec<String> = tasks.filter_map(Result::ok).map(children).collect();
    lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

/// Returns what `pid` has open, by descriptor: the number and what it leads to.
pub fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let described = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let leads_to = fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, leads_to.display().to_string()))
    };
    let mut found: Vec<_> = entries.filter_map(described).collect();
    found.sort_unstable();
    found
}

/// A variable in the environment that `pid` was started with.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).ok()?;
    environment.split('\0').find_map(|entry| Some(entry.strip_prefix(name)?.strip_prefix('=')?.to_string()))
}

/// The processes that hold an `flock(2)` on `path`, by `proc_locks(5)`. (The device is left out: it is written differently on
/// some filesystems, and an inode of a directory that the test itself made is not there twice.)
pub fn lock_holders(path: &Path) -> Vec<u32> {
    // The kernel's list is read piece by piece: while other locks come and go, one may be left out.
    (0..5).map(|_| listed_holders(path)).find(|holders| !holders.is_empty()).unwrap_or_default()
}

fn listed_holders(path: &Path) -> Vec<u32> {
    let inode = format!(":{}", fs::metadata(path).unwrap().ino());
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let holder = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, "FLOCK", _, _, pid, place, ..] if place.ends_with(&inode) => pid.parse().ok(),
        _ => None,
    };
    locks.lines().filter_map(holder).collect()
}

/// Sends `signal`; a process that has ended meanwhile is none of our business.
pub fn send(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
}
