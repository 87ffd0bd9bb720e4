//! strace, attached to a process.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use handoff_tests::{ok_within, processes, until, until_some};
use nix::sys::signal::Signal;

/// The longest time that strace may take before it is tried again.
const ATTACH: Duration = Duration::from_secs(5);

/// The call that is to fail.
#[derive(Clone, Debug)]
pub(crate) struct Injection {
    pub(crate) call: String,
    pub(crate) error: String,
    /// The number of the occurrence in each thread, from 1 on.
    pub(crate) nth: u32,
}

/// The calls that one process made while it was traced.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Each call's occurrences: the first of every thread, the second of every thread, and so on, as strace writes them.
    pub(crate) calls: BTreeMap<String, Vec<Vec<String>>>,
    /// The calls that were made to fail.
    pub(crate) injected: Vec<String>,
}

/// Returns why nothing can be traced here.
pub(crate) fn why_not() -> Option<String> {
    static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
    let find_out = || {
        let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
        match tried {
            Err(error) => Some(format!("no strace: {error}")),
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(format!("strace: {}", String::from_utf8_lossy(&output.stderr))),
        }
    };
    WHY_NOT.get_or_init(find_out).clone()
}

/// A running strace. Dropped, it is killed, and what it traced goes on.
#[derive(Debug)]
pub(crate) struct Tracer {
    child: Child,
    /// The files that it writes, one for each thread, begin so.
    prefix: PathBuf,
}

impl Tracer {
    /// Attaches to all threads of `pid`; returns when it is there. What the process starts itself is left once it executes
    /// another program. The log goes into the directory `dir`.
    ///
    /// A thread that is started as strace attaches may be missed; then it is attached once more.
    #[track_caller]
    pub(crate) fn attach(pid: u32, dir: &Path, injection: Option<&Injection>) -> Tracer {
        until_some("strace is attached", || {
            let mut tracer = Tracer::begin(pid, dir, injection);
            let is_there = || {
                let ended = tracer.child.try_wait().unwrap();
                assert!(ended.is_none(), "strace has ended, {injection:?}: {ended:?}");
                let has_all = tracers(pid).iter().all(|by| *by == tracer.child.id());
                has_all.then_some(()).ok_or("a thread is not traced")
            };
            ok_within(ATTACH, is_there).is_ok().then_some(tracer)
        })
    }

    fn begin(pid: u32, dir: &Path, injection: Option<&Injection>) -> Tracer {
        let prefix = dir.join(format!("strace-{pid}"));
        let mut command = Command::new("strace");
        command.args(["-f", "-ff", "-qq", "-y", "-o"]).arg(&prefix).args(["-p", &pid.to_string()]);
        match injection {
            Some(Injection { call, error, nth }) => {
                command.arg(format!("--trace={call}"));
                command.arg(format!("--inject={call}:error={error}:when={nth}"));
            }
            None => drop(command.arg("--trace=all")),
        }
        // A process that is held executes its own program yet.
        if !processes::is_stopped(pid) {
            command.arg("--detach-on=execve");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Tracer { child, prefix }
    }

    /// Lets go of the process, and says what it has done.
    pub(crate) fn finish(mut self) -> Trace {
        processes::send(self.child.id(), Signal::SIGTERM);
        until("strace lets go", || self.child.try_wait().unwrap().is_some());
        let mut trace = Trace::default();
        for path in logs(&self.prefix) {
            let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
            trace.injected.extend(text.lines().filter(|line| line.ends_with("(INJECTED)")).map(String::from));
            let mut counts = BTreeMap::<&str, usize>::new();
            for line in text.lines() {
                let Some((call, _)) = line.split_once('(').filter(|(call, _)| is_name(call)) else {
                    continue;
                };
                let count = counts.entry(call).or_default();
                let occurrences = trace.calls.entry(call.into()).or_default();
                occurrences.resize(occurrences.len().max(*count + 1), Vec::new());
                occurrences[*count].push(line.into());
                *count += 1;
            }
        }
        trace
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The tracer of each thread of `pid`; 0 where there is none.
fn tracers(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let tracer = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("TracerPid:")?.trim().parse().ok())
    };
    tasks.filter_map(|task| tracer(task.ok()?)).collect()
}

fn logs(prefix: &Path) -> Vec<PathBuf> {
    let start = format!("{}.", prefix.file_name().unwrap().to_string_lossy());
    let entries = fs::read_dir(prefix.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&start)).collect()
}

fn is_name(word: &str) -> bool {
    !word.is_empty()
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
