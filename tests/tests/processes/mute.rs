//! Standard error that takes nothing: what is told to people never stops what must be done.
use std::fs::File;
use std::io::{PipeReader, pipe};
use std::process::{Child, Command, Stdio};

use handoff_kv::load::{Load, LoadOptions};
use handoff_tests::{Bin, Reference, World, free_address, processes, until, until_some};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;

/// A supervisor and a key-value server with their own logs, which go to `output`.
struct MuteScene {
    world: World,
    reference: Reference,
    resp: String,
    supervisor: Child,
}

impl MuteScene {
    fn new(format: &str, output: impl Into<Stdio>, prepare: impl FnOnce(&mut Command)) -> MuteScene {
        let world = World::new();
        let resp = free_address();
        let reference = Reference::new(&world, &[("resp", resp.clone()), ("http", free_address())]);
        let (data, control) = (world.layout().data(), world.layout().control());
        let args = ["--data", data.to_str().unwrap(), "--control", control.to_str().unwrap()];
        reference.configure(&Bin::Kv.path(), &[&args[..], &["--map-size-mb", "64"]].concat());
        let mut command = reference.command("run");
        command.args(["--log-format", format]).env("HANDOFF_TEST_OWN_LOG", "1");
        // As many lines as there can be.
        command.env("HANDOFF_LOG", "trace").env("RUST_LOG", "trace").stderr(output);
        prepare(&mut command);
        let supervisor = command.spawn().unwrap();
        reference.wait_until_watching();
        MuteScene { world, reference, resp, supervisor }
    }

    /// The daemon that says that it serves.
    #[track_caller]
    fn serves(&self) -> u32 {
        until_some("a daemon serves", || {
            let (code, status) = self.reference.ask_json("status");
            let pid = status["daemon"]["pid"].as_u64().filter(|_| code == 0)?;
            u32::try_from(pid).ok()
        })
    }

    /// Status, swaps, a daemon that dies, a roll-back, SIGTERM: all as ever.
    #[track_caller]
    fn assert_works(mut self) {
        let options = LoadOptions { connections: 2, pace: Some(100.0), ..LoadOptions::default() };
        let load = Load::start(self.resp.parse().unwrap(), options).unwrap();
        for _ in 0..3 {
            let (code, swap) = self.reference.ask_json("swap");
            assert_eq!(code, 0, "{swap}");
            let (code, status) = self.reference.ask_json("status");
            assert_eq!(code, 0, "{status}");
        }
        let report = load.stop();
        assert!(report.is_clean(), "{report:#?}");
        let pid = self.serves();
        processes::send(pid, Signal::SIGKILL);
        until("another daemon serves", || {
            let (code, status) = self.reference.ask_json("status");
            code == 0 && status["daemon"]["pid"] != pid
        });
        processes::send(self.supervisor.id(), Signal::SIGTERM);
        let ended = until_some("the supervisor ends", || self.supervisor.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0));
        assert!(processes::of_world(self.world.layout()).is_empty(), "the daemon has ended first");
    }
}

/// A pipe that has no room left, and its reading end.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, writer) = pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while nix::unistd::write(&writer, &[0; 4096]).is_ok() {}
    while nix::unistd::write(&writer, &[0; 1]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer.into())
}

#[test]
fn a_full_disk_stops_nobody() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    MuteScene::new("text", full, |_| ()).assert_works();
}

#[test]
fn a_full_pipe_that_nobody_reads_stops_nobody() {
    let (_reader, full) = full_pipe();
    MuteScene::new("text", full, |_| ()).assert_works();
}

#[test]
fn a_pipe_whose_reader_has_gone_stops_nobody() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    MuteScene::new("json", writer, |_| ()).assert_works();
}

/// Checks that what keeps a supervisor from starting is told by its exit status, and costs it a moment.
#[test]
fn a_start_that_fails_ends_though_it_can_not_say_why() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    std::fs::write(reference.config(), "typo = 1").unwrap();
    let (_reader, full) = full_pipe();
    let mut refused = reference.command("run").env("HANDOFF_TEST_OWN_LOG", "1").stderr(full).spawn().unwrap();
    assert_eq!(until_some("it ends", || refused.try_wait().unwrap()).code(), Some(78));
}

#[test]
fn each_line_says_its_role_its_process_and_its_build() {
    for format in ["text", "json"] {
        let output = tempfile::NamedTempFile::new().unwrap();
        let scene = MuteScene::new(format, output.reopen().unwrap(), |command| {
            command.env("HANDOFF_LOG", "debug").env("RUST_LOG", "debug");
        });
        let (supervisor, build) = (scene.supervisor.id(), env!("CARGO_PKG_VERSION"));
        let daemon = scene.serves();
        scene.assert_works();
        let log = std::fs::read_to_string(output.path()).unwrap();
        let text = format!("supervisor[{supervisor}] {build} ");
        let json = format!("{{\"role\":\"supervisor\",\"pid\":{supervisor},\"build\":\"{build}\",");
        for line in log.lines() {
            let is_daemons = line.starts_with("kv[") && line.contains(&format!("] {build} "));
            let is_ours = match format {
                "text" => line.starts_with(&text),
                _ => line.starts_with(&json) && serde_json::from_str::<serde_json::Value>(line).is_ok(),
            };
            assert!(is_daemons || is_ours, "{line}");
        }
        assert!(log.contains(&format!("kv[{daemon}] ")), "{log}");
        assert_handoffs_are_named(&log, &format!("kv[{daemon}] "), format == "json");
    }
}

/// From a handoff's begin to its end each line of the supervisor's says its id, and each step of a daemon's that belongs to one.
#[track_caller]
fn assert_handoffs_are_named(log: &str, first_daemon: &str, is_json: bool) {
    let begins = |line: &str| line.contains("replace=") || line.contains("\"replace\":");
    let is_over = |line: &str| line.contains("verdict=") || line.contains("\"verdict\":");
    let key = if is_json { "\"handoff\":\"" } else { "handoff=" };
    let id_in = |line: &str, key: &str| Some(line.split_once(key)?.1.get(..32)?.to_owned());
    let lines = || log.lines().take_while(|line| !line.contains("stopping"));
    // Each process writes its own lines when it comes to that.
    let ids: Vec<String> = lines().filter(|line| begins(line)).filter_map(|line| id_in(line, key)).collect();
    let (mut under_way, mut steps) = (None, 0);
    for line in lines() {
        if line.starts_with("kv[") {
            let in_handoff = ["draining", "sealing", "locking", "opening"];
            let is_step =
                line.contains("handoff.state") && in_handoff.iter().any(|state| line.contains(state));
            if is_step {
                assert!(id_in(line, "handoff=").is_some_and(|id| ids.contains(&id)), "{line}");
                steps += usize::from(line.starts_with(first_daemon));
            }
            continue;
        }
        if begins(line) {
            under_way = id_in(line, key);
        }
        assert!(under_way.is_none() || id_in(line, key) == under_way, "of {under_way:?}: {line}");
        under_way.take_if(|_| is_over(line));
    }
    assert!(ids.len() >= 4, "three swaps and a start: {ids:?}");
    assert!(steps >= 4, "the first daemon was swapped: {steps}");
}

/// A limit on the size of files (`ulimit -f`): a copy of the binary can't be made, and a journal that is made already
/// can be written.
#[test]
fn a_file_that_would_be_too_large_ends_nobody() {
    use nix::sys::resource::{Resource, setrlimit};
    use std::os::unix::process::CommandExt;
    let output = tempfile::NamedTempFile::new().unwrap();
    let file = output.reopen().unwrap();
    let scene = MuteScene::new("text", file, |command| {
        let binary = std::fs::metadata(Bin::Kv.path()).unwrap().len();
        let limit = binary / 2;
        command.env("HANDOFF_LOG", "info").env("RUST_LOG", "warn");
        let lower = move || setrlimit(Resource::RLIMIT_FSIZE, limit, limit).map_err(std::io::Error::from);
        // SAFETY: one system call, between fork and exec.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(lower)
        };
    });
    until("the copy could not be made", || {
        std::fs::read_to_string(output.path()).unwrap().contains("is not kept as")
    });
    let supervisor = scene.supervisor.id();
    assert!(processes::lives(supervisor));
    scene.assert_works();
}
