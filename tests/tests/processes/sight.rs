//! The view of the operator: what runs, what is under way, what was; and how a swap is called off.
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use handoff_tests::processes::send;
use handoff_tests::{Act, Build, Gate, HoldPoint, HookName, PATIENCE, Reference, World, until, until_some};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::survives::ReferenceScene;

/// A supervisor with a daemon that serves, and a build that is configured and waits in `hook`.
fn held_in(hook: HookName) -> (World, Reference, Gate) {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    let build = world.build();
    let gate = build.gate(hook);
    reference.configure_build(&build);
    (world, reference, gate)
}

/// A command that runs, with what it prints in pipes.
fn begin(reference: &Reference, command: &[&str]) -> Child {
    let (name, args) = command.split_first().unwrap();
    let mut command = reference.command(name);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(reference: &Reference, command: &[&str]) -> Output {
    begin(reference, command).wait_with_output().unwrap()
}

/// Returns what a command prints as JSON.
#[track_caller]
fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A command that takes no `--config`.
fn plain(reference: &Reference, args: &[&str]) -> Output {
    std::process::Command::new(reference.command("").get_program()).args(args).output().unwrap()
}

/// The phases that the lines on standard error name, in their order: `    0.012 s  warm-up, pid 1 -> 2`.
fn phases(stderr: &str) -> Vec<&str> {
    let after_time = stderr.lines().filter_map(|line| line.split_once(" s  "));
    after_time.filter_map(|(_, phase)| phase.split(',').next()).collect()
}

#[test]
fn status_says_since_when_what_runs_where_it_listens_and_whether_its_file_was_replaced() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let build = world.build();
    let program = world.layout().dir().join("program");
    fs::copy(handoff_tests::Bin::Actor.path(), &program).unwrap();
    let args: Vec<&str> = build.args.iter().map(|arg| arg.to_str().unwrap()).collect();
    reference.configure(&program, &args);
    reference.start();
    let (code, status) = reference.ask_json("status");
    assert_eq!((code, &status["under_way"]), (0, &Value::Null), "{status}");
    let served = format!("unix:{}", world.layout().dir().join("served").display());
    let listeners = status["listeners"].as_array().unwrap();
    assert_eq!(listeners[1], json!({"name": "unix", "addr": served}), "{status}");
    assert!(listeners[0]["addr"].as_str().unwrap().ends_with(":7100"), "{status}");
    let daemon = &status["daemon"];
    assert_eq!(daemon["file"], "same", "{status}");
    for at in [&daemon["started_at"], &daemon["committed_at"], &status["supervisor_since"]] {
        let at = at.as_str().unwrap();
        assert!(at.len() == 20 && at.starts_with("20") && at.ends_with('Z'), "{status}");
    }

    fs::rename(&program, program.with_extension("old")).unwrap();
    assert_eq!(reference.ask_json("status").1["daemon"]["file"], "missing");
    fs::copy("/bin/true", &program).unwrap();
    assert_eq!(reference.ask_json("status").1["daemon"]["file"], "replaced");
    let human = text(&run(&reference, &["status"]).stdout);
    for part in ["its file was replaced", ", committed 20", "\nlistener:   unix unix:/", "(20"] {
        assert!(human.contains(part), "{part}: {human}");
    }
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(reference.ask_json("status").1["daemon"]["file"], "unknown", "of a script it can't be told");
}

#[test]
fn status_says_what_is_under_way_in_which_phase_for_how_long_and_with_which_processes() {
    let (world, reference, gate) = held_in(HookName::WarmUp);
    let old = world.assert_one_serves(&[reference.pid().unwrap()]);
    let ((_, swap), (status, human)) = reference.swap_held_json(&gate, || {
        (reference.ask_json("status").1, text(&run(&reference, &["status"]).stdout))
    });
    let under_way = &status["under_way"];
    let progress = &under_way["progress"];
    assert_eq!(
        (&progress["phase"], &progress["incumbent"]["pid"]),
        (&json!("warm_up"), &json!(old)),
        "{status}"
    );
    assert_eq!((&progress["successor"]["pid"], &progress["handoff_id"]), (&swap["pid"], &swap["handoff_id"]));
    assert!(progress["incumbent"]["build_id"].is_string(), "{status}");
    let secs = |of: &Value| of.as_f64().unwrap();
    assert!(secs(&under_way["for_secs"]) >= secs(&under_way["phase_secs"]), "{status}");
    assert!(secs(&under_way["phase_secs"]) > 0.0, "{status}");
    assert_eq!(status["listeners"].as_array().unwrap().len(), 2, "also while the library is at work");
    assert!(human.contains("under way:  swapping to ") && human.contains("; warm-up for "), "{human}");
    assert!(human.contains(&format!("pid {old} -> {}", swap["pid"])), "{human}");
    assert_eq!(reference.ask_json("status").1["under_way"], Value::Null);
}

#[test]
fn a_swap_in_a_pipe_prints_a_line_for_each_phase_and_the_result_last() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    let old = world.assert_one_serves(&[reference.pid().unwrap()]);
    let mark = world.mark();
    let swap = run(&reference, &["swap"]);
    let (stdout, stderr) = (text(&swap.stdout), text(&swap.stderr));
    assert_eq!(
        phases(&stderr),
        ["spawn", "warm-up", "drain", "seal", "open", "commit", "retire"],
        "{stderr}"
    );
    let new = world.assert_one_serves(&[reference.pid().unwrap()]);
    assert!(stderr.lines().nth(1).unwrap().ends_with(&format!("warm-up, pid {old} -> {new}")), "{stderr}");
    assert!(stdout.starts_with("committed: ") && stdout.lines().count() == 2, "{stdout}");
    let supervisor = reference.pid().unwrap();
    assert!(world.has_said(mark, supervisor, "handoff.retire: retired"));
    assert!(!world.has_said(mark, supervisor, "given up"), "nothing was");

    reference.configure_build(&world.build().on(HookName::Open, [Act::Fail]));
    let stderr = text(&run(&reference, &["swap"]).stderr);
    assert_eq!(phases(&stderr), ["spawn", "warm-up", "drain", "seal", "open", "roll-back"], "{stderr}");
    reference.configure_build(&world.build());
    for quiet in ["--quiet", "--json"] {
        assert_eq!(text(&run(&reference, &["swap", quiet]).stderr), "", "{quiet}");
    }
}

#[test]
fn a_swap_goes_on_when_its_client_is_killed_or_stops_to_read() {
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let (world, reference, gate) = held_in(HookName::WarmUp);
        let old = world.assert_one_serves(&[reference.pid().unwrap()]);
        let mut client = begin(&reference, &["swap"]);
        gate.wait();
        send(client.id(), signal);
        gate.open();
        until("another one serves", || {
            let (code, status) = reference.ask_json("status");
            code == 0 && status["activity"] == "watching" && status["daemon"]["pid"] != old
        });
        assert_eq!(reference.ask_json("swap").0, 0, "and the next one commits");
        client.kill().unwrap();
        client.wait().unwrap();
    }
}

#[test]
fn cancel_undoes_the_swap_that_is_under_way_and_no_other_and_both_callers_are_told() {
    let (world, reference, gate) = held_in(HookName::WarmUp);
    let supervisor = reference.pid().unwrap();
    let old = world.assert_one_serves(&[supervisor]);
    let (code, refusal) = reference.ask_json("cancel");
    assert_eq!((code, &refusal["error"]["message"]), (69, &json!("no swap is under way")));
    let ((swap_code, swap), (cancel_code, cancel)) =
        reference.swap_held_json(&gate, || reference.ask_json("cancel"));
    assert_eq!((swap_code, cancel_code), (1, 1));
    assert_eq!(swap, cancel);
    assert_eq!(swap["outcome"], "rolled_back", "{swap}");
    assert!(swap["reason"].as_str().unwrap().contains("cancelled"), "{swap}");
    assert_eq!(world.assert_one_serves(&[supervisor]), old);
    reference.configure_build(&world.build());
    assert_eq!(reference.ask_json("swap").0, 0, "what is asked for afterwards goes ahead");
}

#[test]
fn cancel_comes_too_late_for_a_swap_that_is_committed_and_says_so() {
    let (world, reference, gate) = held_in(HookName::Serve);
    let ((swap_code, swap), (cancel_code, cancel)) = reference.swap_held_json(&gate, || {
        let (mark, supervisor) = (world.mark(), reference.pid().unwrap());
        let cancel = begin(&reference, &["cancel", "--json"]);
        until("it hears of it", || world.has_said(mark, supervisor, "event=Cancel"));
        gate.open();
        let cancel = cancel.wait_with_output().unwrap();
        (cancel.status.code().unwrap(), json_of(&cancel))
    });
    assert_eq!((swap_code, cancel_code, &swap), (0, 0, &cancel));
    assert_eq!(swap["outcome"], "committed");
}

#[test]
fn ctrl_c_in_a_pipe_leaves_the_swap_alone_and_says_so() {
    let (world, reference, gate) = held_in(HookName::WarmUp);
    let old = world.assert_one_serves(&[reference.pid().unwrap()]);
    let client = begin(&reference, &["swap"]);
    gate.wait();
    send(client.id(), Signal::SIGINT);
    let left = client.wait_with_output().unwrap();
    let stderr = text(&left.stderr);
    assert_eq!((left.status.code(), text(&left.stdout)), (Some(3), String::new()));
    assert!(stderr.contains("the swap goes on"), "{stderr}");
    assert_eq!(reference.ask_json("status").1["activity"], "swapping");
    gate.open();
    until("another one serves", || {
        let (code, status) = reference.ask_json("status");
        code == 0 && status["activity"] == "watching" && status["daemon"]["pid"] != old
    });
}

/// A command on a terminal of its own.
struct OnTerminal {
    child: Child,
    terminal: File,
    seen: String,
}

impl OnTerminal {
    fn begin(reference: &Reference, command: &[&str]) -> OnTerminal {
        let pty = openpty(None, None).unwrap();
        let (name, args) = command.split_first().unwrap();
        let side = || Stdio::from(pty.slave.try_clone().unwrap());
        let client = reference.command(name);
        // What starts in the background of a shell ignores Ctrl-C, and so would all that it starts.
        let mut command = Command::new("env");
        command.arg("--default-signal=INT").arg(client.get_program()).args(client.get_args()).args(args);
        command.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        OnTerminal { child, terminal: pty.master.into(), seen: String::new() }
    }

    /// Reads until `what` is shown.
    #[track_caller]
    fn shows(&mut self, what: &str) {
        let mut chunk = [0; 4096];
        while !self.seen.contains(what) {
            let mut terminal = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut terminal, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
            assert_eq!(ready, 1, "{what:?} is not shown: {:?}", self.seen);
            let count = self.terminal.read(&mut chunk).unwrap_or_default();
            assert!(count > 0, "it has ended without {what:?}: {:?}", self.seen);
            self.seen += &text(&chunk[..count]);
        }
        self.seen = self.seen.split_off(self.seen.find(what).unwrap() + what.len());
    }

    fn interrupt(&self) {
        send(self.child.id(), Signal::SIGINT);
    }

    fn types(&self, line: &str) {
        std::io::Write::write_all(&mut &self.terminal, line.as_bytes()).unwrap();
    }

    fn ends(mut self) -> Option<i32> {
        until_some("the client ends", || self.child.try_wait().unwrap()).code()
    }
}

#[test]
fn ctrl_c_on_a_terminal_asks_whether_to_cancel_and_the_swap_is_cancelled_if_so() {
    let (world, reference, gate) = held_in(HookName::WarmUp);
    let old = world.assert_one_serves(&[reference.pid().unwrap()]);
    let mut client = OnTerminal::begin(&reference, &["swap"]);
    gate.wait();
    client.shows("\r\u{1b}[Kwarm-up ");
    client.shows("\r\u{1b}[Kwarm-up ");
    client.interrupt();
    client.shows("Cancel the swap?");
    client.types("\n");
    client.shows("\r\u{1b}[Kwarm-up ");
    assert_eq!(reference.ask_json("status").1["activity"], "swapping", "it was not to be cancelled");
    client.interrupt();
    client.shows("Cancel the swap?");
    client.types("y\n");
    client.shows("rolled back: ");
    assert_eq!(client.ends(), Some(1));
    assert_eq!(world.assert_one_serves(&[reference.pid().unwrap()]), old);
    gate.open();
}

#[test]
fn a_second_ctrl_c_on_a_terminal_leaves_and_the_swap_goes_on() {
    let (world, reference, gate) = held_in(HookName::WarmUp);
    let old = world.assert_one_serves(&[reference.pid().unwrap()]);
    let mut client = OnTerminal::begin(&reference, &["swap"]);
    gate.wait();
    client.interrupt();
    client.shows("Cancel the swap?");
    client.interrupt();
    client.shows("the swap goes on");
    assert_eq!(client.ends(), Some(3));
    gate.open();
    until("another one serves", || {
        let (code, status) = reference.ask_json("status");
        code == 0 && status["activity"] == "watching" && status["daemon"]["pid"] != old
    });
}

/// The next line of `lines` that has `what` in it.
#[track_caller]
fn line_with(lines: &mut impl Iterator<Item = std::io::Result<String>>, what: &str) -> String {
    lines
        .map(Result::unwrap)
        .find(|line| line.contains(what))
        .unwrap_or_else(|| panic!("no line with {what}"))
}

fn lines_of(child: &mut Child) -> std::io::Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

#[test]
fn a_status_that_is_watched_in_a_pipe_prints_a_line_for_each_change_and_ends_with_its_reader() {
    let (world, reference, gate) = held_in(HookName::WarmUp);
    let old = world.assert_one_serves(&[reference.pid().unwrap()]);
    let mut people = begin(&reference, &["status", "--watch"]);
    let mut programs = begin(&reference, &["status", "--watch", "--json"]);
    let (mut lines, mut objects) = (lines_of(&mut people), lines_of(&mut programs));
    let first = lines.next().unwrap().unwrap();
    assert!(
        first.contains(&format!("watching; pid {old} ")) && first.contains("; serving, build "),
        "{first}"
    );
    let object: Value = serde_json::from_str(&objects.next().unwrap().unwrap()).unwrap();
    assert_eq!(object["activity"], "watching");
    let ((_, swap), ()) = reference.swap_held_json(&gate, || {
        let line = line_with(&mut lines, "swapping");
        assert!(line.contains(&format!("; warm-up, pid {old} -> ")), "{line}");
        line_with(&mut objects, "\"activity\":\"swapping\"");
    });
    let line = line_with(&mut lines, "watching");
    assert!(line.contains(&format!("pid {} ", swap["pid"])) && line.contains("committed"), "{line}");
    reference.kill();
    line_with(&mut lines, "no supervisor runs");
    line_with(&mut objects, "no supervisor runs");
    drop((lines, objects));
    assert_eq!(people.wait().unwrap().code(), Some(0), "its reader has gone");
    assert_eq!(programs.wait().unwrap().code(), Some(0));
}

#[test]
fn a_status_that_is_watched_on_a_terminal_is_drawn_again_until_ctrl_c() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    let mut watch = OnTerminal::begin(&reference, &["status", "--watch"]);
    for _ in 0..2 {
        watch.shows("\u{1b}[H\u{1b}[Jsupervisor: pid ");
    }
    watch.interrupt();
    assert_eq!(watch.ends(), None, "the signal has ended it");
}

/// Outcomes of all swaps, as `history` tells them.
fn history(reference: &Reference) -> Vec<Value> {
    let history = json_of(&run(reference, &["history", "--json"]));
    history["history"].as_array().unwrap().clone()
}

#[test]
fn the_history_outlives_the_supervisor_and_can_be_read_while_none_runs() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    assert_eq!(text(&run(&reference, &["history"]).stdout), "no swap has ended yet\n");
    let old = world.assert_one_serves(&[reference.pid().unwrap()]);
    let failing: Build = world.build().on(HookName::Open, [Act::Fail]);
    reference.configure_build(&failing);
    assert_eq!(reference.ask_json("swap").0, 1);
    reference.configure_build(&world.build());
    let (_, swap) = reference.ask_json("swap");
    let entries = || {
        until("both are written", || history(&reference).len() == 2);
        history(&reference)
    };
    let [failed, committed] = &entries()[..] else { panic!("two") };
    assert_eq!(
        (&failed["outcome"], &failed["from"]["pid"]),
        (&json!("rolled_back"), &json!(old)),
        "{failed}"
    );
    assert!(failed["reason"].as_str().unwrap().contains("told to fail in open"), "{failed}");
    assert_eq!(failed["to"]["build_id"], failing.name.as_str(), "{failed}");
    assert_eq!((&committed["handoff_id"], &committed["to"]["pid"]), (&swap["handoff_id"], &swap["pid"]));
    assert_eq!(committed["phases_ms"], swap["phases_ms"]);
    let mode = fs::metadata(world.layout().run().join("journal.history")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    reference.kill();
    let before = entries();
    let human = text(&run(&reference, &["history"]).stdout);
    assert!(
        human.contains("rolled back in ") && human.contains(&format!(" -> {} (pid", failing.name)),
        "{human}"
    );
    reference.start();
    let (_, status) = reference.ask_json("status");
    assert_eq!(status["last_swap"]["report"]["handoff_id"], swap["handoff_id"], "{status}");
    assert_eq!(status["daemon"]["committed_at"], before[1]["ended_at"], "{status}");
    assert_eq!(entries(), before, "a recovery is no swap");
}

#[test]
fn a_swap_that_its_supervisor_did_not_survive_is_in_the_history() {
    let scene = ReferenceScene::new();
    scene.during_swap(HoldPoint::WarmUp, |scene, _, go_on| {
        scene.reference.kill();
        go_on();
    });
    let recovery = scene.restart();
    assert_eq!(recovery["interrupted"]["end"], "undone", "{recovery}");
    until("it is written", || history(&scene.reference).len() == 1);
    let [entry] = &history(&scene.reference)[..] else { panic!("one") };
    assert_eq!((&entry["outcome"], &entry["from"]["pid"]), (&json!("rolled_back"), &json!(scene.daemon)));
    assert!(entry["reason"].as_str().unwrap().contains("its supervisor ended"), "{entry}");
    assert_eq!(entry["handoff_id"], recovery["interrupted"]["handoff_id"]);
    scene.assert_well();
}

#[test]
fn a_history_that_can_not_be_written_costs_no_swap() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    fs::create_dir(world.layout().run().join("journal.history")).unwrap();
    reference.start();
    assert_eq!(reference.ask_json("swap").0, 0);
    until("the log says so", || world.output().contains("the history of swaps lacks one"));
    let output = run(&reference, &["history"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(71), String::new()), "{output:?}");
}

#[test]
fn the_journal_is_shown_whether_a_supervisor_runs_or_not_and_a_bad_one_is_said_to_be_bad() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    let pid = world.assert_one_serves(&[reference.pid().unwrap()]);
    let path = world.layout().journal();
    let path = path.to_str().unwrap();
    for runs in [true, false] {
        if !runs {
            reference.kill();
        }
        let output = plain(&reference, &["journal", "show", "--journal", path, "--json"]);
        let shown = json_of(&output);
        let journal = &shown["journal"];
        assert_eq!((&journal["running"]["pid"], &shown["problems"]), (&json!(pid), &json!([])), "{shown}");
        assert_eq!((&journal["is_of_another_boot"], &journal["stopped"]), (&json!(false), &json!(false)));
        assert_eq!(output.status.code(), Some(0));
    }
    let human = text(&plain(&reference, &["journal", "show", "--journal", path]).stdout);
    assert!(
        human.contains(&format!("running:   pid {pid}, build ")) && human.contains("\ncommitted: /"),
        "{human}"
    );
    fs::write(path, "a letter to somebody else").unwrap();
    let output = plain(&reference, &["journal", "show", "--journal", path]);
    assert_eq!(output.status.code(), Some(65));
    assert!(text(&output.stdout).contains("not a file of this kind"), "{output:?}");
    assert_eq!(fs::read_to_string(path).unwrap(), "a letter to somebody else", "it is only read");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&plain(&reference, &["completions", shell]).stdout);
        assert!(script.contains("accept-data") && script.contains("journal"), "{shell}: {script}");
    }
    let dir = world.layout().dir().join("man");
    let refused = plain(&reference, &["man", dir.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(73), "{refused:?}");
    fs::create_dir(&dir).unwrap();
    assert_eq!(plain(&reference, &["man", dir.to_str().unwrap()]).status.code(), Some(0));
    for page in ["handoff-supervisor.1", "handoff-supervisor-swap.1", "handoff-supervisor-journal-show.1"] {
        assert!(fs::read_to_string(dir.join(page)).unwrap().contains(".TH"), "{page}");
    }
}
