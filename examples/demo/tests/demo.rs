//! The demonstration shows what is wrong when something is, and leaves nothing behind however it ends.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

const KV: &str = env!("CARGO_BIN_EXE_handoff-demo-test-kv");

/// A demonstration of two swaps that has just put load on the daemon.
struct Demo {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
    dir: TempDir,
}

impl Demo {
    fn start(next: impl AsRef<Path>) -> Demo {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_handoff-demo"));
        command.args(["--json", "--swaps", "2", "--connections", "4", "--dir"]).arg(dir.path());
        command.args([
            "--supervisor",
            env!("CARGO_BIN_EXE_handoff-demo-test-supervisor"),
            "--kv",
            KV,
            "--kv-next",
        ]);
        command.arg(next.as_ref()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        assert!(first.starts_with("kv serves at "), "{first}");
        Demo { child, lines, dir }
    }

    /// The processes that it started of the program `name`.
    fn processes(dir: &Path, name: &str) -> Vec<Pid> {
        let runs = |path: PathBuf| {
            let exe = fs::read_link(path.join("exe")).ok()?;
            let ours = exe.starts_with(dir) && exe.file_name()?.to_str()?.starts_with(name);
            ours.then(|| path.file_name()?.to_str()?.parse().ok().map(Pid::from_raw))?
        };
        fs::read_dir("/proc").unwrap().filter_map(|entry| runs(entry.unwrap().path())).collect()
    }

    fn kill_supervisor(&self) {
        let found = Demo::processes(self.dir.path(), "handoff-supervisor");
        let [supervisor] = found[..] else { panic!("{found:?}") };
        kill(supervisor, Signal::SIGKILL).unwrap();
    }

    /// Waits for its end, and sees that nothing is left: its exit status and its report.
    fn end(mut self) -> (i32, Value) {
        // Its standard error is read so that it is not held up.
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut rest).unwrap();
        let Output { status, stdout, .. } = self.child.wait_with_output().unwrap();
        let left: Vec<_> = fs::read_dir(self.dir.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(Demo::processes(self.dir.path(), ""), []);
        (status.code().unwrap(), serde_json::from_slice(&stdout).unwrap())
    }
}

#[test]
fn swaps_under_load_are_committed_and_the_broken_one_is_rolled_back() {
    let (code, report) = Demo::start(KV).end();
    assert_eq!(code, 0, "{report:#}");
    assert_eq!((&report["committed"], &report["rolled_back"]), (&2.into(), &1.into()), "{report:#}");
    assert_eq!((&report["failed"], &report["lost"]), (&0.into(), &0.into()), "{report:#}");
    assert_eq!(report["cut"], 0, "no client lost its connection: {report:#}");
    assert!(report["requests"].as_u64().unwrap() > 0 && report["longest_pause_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(report["seen"].as_array().unwrap().len(), 3, "each process was seen: {report:#}");
}

#[test]
fn a_next_build_that_does_not_start_is_named() {
    let (code, report) = Demo::start("/bin/false").end();
    assert_eq!(code, 1, "{report:#}");
    let problem = report["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("swap 1 was not committed: "), "{report:#}");
    assert_eq!(
        (&report["ok"], &report["failed"]),
        (&false.into(), &0.into()),
        "and no client noticed: {report:#}"
    );
}

#[test]
fn an_interrupt_ends_everything() {
    let demo = Demo::start(KV);
    kill(Pid::from_raw(demo.child.id().cast_signed()), Signal::SIGINT).unwrap();
    let (code, report) = demo.end();
    assert_eq!(code, 128 + Signal::SIGINT as i32);
    assert_eq!(report["problems"][0], "interrupted by SIGINT", "{report:#}");
}

#[test]
fn a_supervisor_that_is_killed_leaves_no_daemon() {
    let demo = Demo::start(KV);
    demo.kill_supervisor();
    let (code, report) = demo.end();
    assert_eq!(code, 1);
    let problem = report["problems"][0].as_str().unwrap();
    assert!(problem.contains("supervisor"), "{report:#}");
}
