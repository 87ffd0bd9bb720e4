//! The restart of what was committed, byte for byte, whatever has become of the file that it was started
//! from.
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use handoff::{CommittedBinary, HandoffError, SpawnSpec, Supervisor, Verdict};
use handoff_tests::processes::{lives, of_world, send};
use handoff_tests::{Bin, Build, Layout, Reference, World, until, until_some};
use nix::sys::signal::Signal;

/// Runs a script in a process of its own: no other test may ever start a process that has these files open.
#[track_caller]
fn shell(script: &str, args: &[&Path]) {
    let status = Command::new("/bin/sh").args(["-ec", script, "sh"]).args(args).status().unwrap();
    assert!(status.success(), "{script}");
}

/// Puts a build of the actor at `path`, over what is there, by a rename.
fn install(path: &Path, mark: &str) {
    let script = "cp \"$1\" \"$2.new\"; printf %s \"$3\" >> \"$2.new\"; mv \"$2.new\" \"$2\"";
    shell(script, &[&Bin::Actor.path(), path, Path::new(mark)]);
}

/// Writes another build of the actor into the very file at `path`.
fn overwrite(path: &Path, mark: &str) {
    install(&path.with_extension("other"), mark);
    shell("cat \"$1\" > \"$2\"", &[&path.with_extension("other"), path]);
}

/// The mark of the build that `pid` executes.
fn mark_of(pid: u32) -> String {
    mark_in(Path::new(&format!("/proc/{pid}/exe")))
}

fn mark_in(file: &Path) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(6)..]).into_owned()
}

/// A build at a path of its own, with a mark of six letters.
fn build(world: &World, name: &str, mark: &str) -> Build {
    let binary = world.layout().dir().join(name);
    install(&binary, mark);
    let mut build = world.build();
    build.binary = binary;
    build
}

/// The copies beside the journal, drafts included.
fn copies(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.layout().run()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains(".binary-")).collect()
}

/// Waits until copies of exactly these builds are kept.
#[track_caller]
fn assert_keeps(world: &World, marks: &[&str]) {
    until(&format!("{marks:?} are kept"), || {
        let mut kept: Vec<String> = copies(world).iter().map(|path| mark_in(path)).collect();
        kept.sort();
        kept == marks && !copies(world).iter().any(|path| path.extension().is_some_and(|end| end == "new"))
    });
}

/// The daemon of `reference`, other than `before`.
#[track_caller]
fn daemon(reference: &Reference, before: u32) -> u32 {
    let mut pid = before;
    until("another daemon serves", || {
        let (_, status) = reference.ask_json("status");
        let found = status["daemon"]["pid"].as_u64().filter(|_| status["activity"] == "watching");
        pid = found.map_or(before, |found| u32::try_from(found).unwrap());
        pid != before
    });
    pid
}

/// A new supervisor on the world's journal.
fn supervisor_here(world: &World) -> Supervisor {
    let supervisor = Supervisor::new(world.layout().control()).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(world.layout().dir().join(format!("l{:p}", &tcp))).unwrap();
    tcp.set_nonblocking(true).unwrap();
    unix.set_nonblocking(true).unwrap();
    let [first, second] = Layout::LISTENERS;
    supervisor.with_listener(first, tcp).unwrap().with_listener(second, unix).unwrap()
}

/// Starts `committed`, and says which build it is.
#[track_caller]
fn start(world: &World, supervisor: &Supervisor, committed: CommittedBinary) -> (u32, String) {
    let mut times = SpawnSpec::new("/unused");
    times.env = vec![(Layout::MARK.into(), world.layout().dir().into())];
    let outcome = supervisor.cold_start(committed.spec(times)).unwrap();
    assert_eq!(outcome.verdict, Verdict::Committed, "{outcome:?}");
    let pid = outcome.child.unwrap().id().pid;
    (pid, mark_of(pid))
}

/// Kills the daemon, and sees it end.
fn end(pid: u32) {
    send(pid, Signal::SIGKILL);
    until("it has ended", || !lives(pid));
}

#[test]
fn the_daemon_dies_after_its_file_was_replaced_and_the_same_build_is_started() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let build = build(&world, "d", "first.");
    reference.configure_build(&build);
    reference.start();
    let first = daemon(&reference, 0);
    install(&build.binary, "second");
    end(first);
    let again = daemon(&reference, first);
    assert_eq!(mark_of(again), "first.");
    let command = fs::read(format!("/proc/{again}/cmdline")).unwrap();
    assert!(command.starts_with(build.binary.to_str().unwrap().as_bytes()), "people see the path they know");
    // And once more, from the copy that runs now.
    assert_keeps(&world, &["first."]);
    end(again);
    assert_eq!(mark_of(daemon(&reference, again)), "first.");
}

#[test]
fn the_file_is_overwritten_in_place_while_the_daemon_is_dead_and_the_same_build_is_started() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let build = build(&world, "d", "first.");
    reference.configure_build(&build);
    reference.start();
    let first = daemon(&reference, 0);
    assert_keeps(&world, &["first."]);
    reference.signal(Signal::SIGSTOP);
    end(first);
    overwrite(&build.binary, "second");
    reference.signal(Signal::SIGCONT);
    assert_eq!(mark_of(daemon(&reference, first)), "first.");
}

#[test]
fn the_supervisor_is_killed_and_the_next_one_still_has_the_bytes() {
    let world = World::new();
    let supervisor = world.supervisor();
    let build = build(&world, "d", "first.");
    let first = supervisor.cold_start(&build).assert_committed();
    assert_keeps(&world, &["first."]);
    supervisor.kill();
    end(first);
    overwrite(&build.binary, "second");
    let next = supervisor_here(&world).with_journal(world.layout().journal()).unwrap();
    let committed = next.last_committed().unwrap();
    assert_eq!((&committed.binary, &committed.args), (&build.binary, &build.args));
    assert!(next.committed_before().is_none());
    assert_eq!(start(&world, &next, committed).1, "first.");
}

#[test]
fn a_copy_that_is_missing_is_made_by_the_next_supervisor_while_the_daemon_runs() {
    let world = World::new();
    let supervisor = world.supervisor();
    let build = build(&world, "d", "first.");
    let first = supervisor.cold_start(&build).assert_committed();
    assert_keeps(&world, &["first."]);
    supervisor.kill();
    let copy = copies(&world).remove(0);
    let draft = PathBuf::from(format!("{}.new", copy.display()));
    fs::rename(&copy, &draft).unwrap();
    install(&build.binary, "second");
    let next = supervisor_here(&world).with_journal(world.layout().journal()).unwrap();
    assert_keeps(&world, &["first."]);
    end(first);
    assert_eq!(start(&world, &next, next.last_committed().unwrap()).1, "first.");
}

#[test]
fn after_three_swaps_the_last_two_are_kept_and_the_one_before_can_be_started() {
    let world = World::new();
    let supervisor = world.supervisor();
    let builds = ["one...", "two...", "three."].map(|mark| build(&world, mark, mark));
    supervisor.cold_start(&builds[0]).assert_committed();
    supervisor.handoff(&builds[1]).assert_committed();
    let mut last = supervisor.handoff(&builds[2]).assert_committed();
    assert_keeps(&world, &["three.", "two..."]);
    // The same once more does not make it its own predecessor.
    last = supervisor.handoff(&builds[2]).assert_committed().max(last);
    supervisor.kill();
    of_world(world.layout()).into_iter().for_each(end);
    assert!(!lives(last));
    builds.iter().for_each(|build| fs::remove_file(&build.binary).unwrap());
    let next = supervisor_here(&world).with_journal(world.layout().journal()).unwrap();
    let (pid, mark) = start(&world, &next, next.committed_before().unwrap());
    assert_eq!(mark, "two...");
    end(pid);
    assert_eq!(
        start(&world, &next, next.committed_before().unwrap()).1,
        "three.",
        "they have changed places"
    );
}

#[test]
fn without_a_journal_the_open_file_is_started() {
    let world = World::new();
    let supervisor = supervisor_here(&world);
    let build = build(&world, "d", "first.");
    let mut spec = SpawnSpec::new(&build.binary);
    spec.args.clone_from(&build.args);
    spec.env = vec![(Layout::MARK.into(), world.layout().dir().into())];
    let first = supervisor.cold_start(spec).unwrap().child.unwrap().id().pid;
    install(&build.binary, "second");
    end(first);
    assert_eq!(start(&world, &supervisor, supervisor.last_committed().unwrap()).1, "first.");
}

#[test]
fn a_copy_that_can_not_be_made_costs_no_swap_and_is_said_with_the_remedy() {
    let world = World::new();
    // The journal's own name just fits; that of a copy does not.
    let journal = world.layout().run().join("j".repeat(230));
    let supervisor = supervisor_here(&world).with_journal(journal).unwrap();
    let (one, two) = (build(&world, "one", "one..."), build(&world, "two", "two..."));
    for (at, build) in [one, two].iter().enumerate() {
        let mut spec = SpawnSpec::new(&build.binary);
        spec.args.clone_from(&build.args);
        spec.env = vec![(Layout::MARK.into(), world.layout().dir().into())];
        // A process that another test forks at this moment has a copy of the last link until it is executed: so long the
        // incumbent takes the handoff before for one that is not over.
        let outcome = until_some("the supervisor is heard", || {
            let spec = spec.clone();
            let outcome =
                if at == 0 { supervisor.cold_start(spec) } else { supervisor.perform_handoff(spec) };
            (!matches!(outcome, Err(HandoffError { error: handoff::Error::Busy, .. }))).then_some(outcome)
        });
        assert!(outcome.unwrap().is_committed());
    }
    assert!(copies(&world).is_empty());
    let committed = supervisor.last_committed().unwrap();
    let pid = supervisor.status().unwrap().hello.pid;
    install(&committed.binary, "other.");
    end(pid);
    assert_eq!(start(&world, &supervisor, committed).1, "two...", "from the open file");
}

#[test]
fn a_copy_that_can_not_be_executed_is_an_error_that_names_the_remedy() {
    let world = World::new();
    let supervisor = world.supervisor();
    let build = build(&world, "d", "first.");
    let first = supervisor.cold_start(&build).assert_committed();
    assert_keeps(&world, &["first."]);
    supervisor.kill();
    end(first);
    fs::remove_file(&build.binary).unwrap();
    shell("chmod 600 \"$1\"", &[&copies(&world)[0]]);
    let next = supervisor_here(&world).with_journal(world.layout().journal()).unwrap();
    let outcome = next.cold_start(next.last_committed().unwrap().spec(SpawnSpec::new("/unused"))).unwrap();
    let why = outcome.abort_reason.unwrap().to_string();
    assert!(why.contains("noexec") && why.contains("put the journal where"), "{why}");
}

#[test]
fn a_build_that_keeps_dying_is_replaced_by_the_one_before_and_that_is_said_loudly() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let configure = |build: &Build| {
        reference.configure_build(build);
        let text = fs::read_to_string(reference.config()).unwrap();
        fs::write(reference.config(), format!("fall_back_after = 2\nrestart_min_secs = 0.01\n{text}"))
            .unwrap();
    };
    let (older, newer) = (build(&world, "older", "older."), build(&world, "newer", "newer."));
    configure(&older);
    reference.start();
    let mut pid = daemon(&reference, 0);
    configure(&newer);
    assert_eq!(reference.ask_json("swap").0, 0);
    pid = daemon(&reference, pid);
    for expected in ["newer.", "older.", "older.", "newer."] {
        end(pid);
        pid = daemon(&reference, pid);
        assert_eq!(mark_of(pid), expected);
        let (_, status) = reference.ask_json("status");
        assert_eq!(status["daemon"]["fell_back"], expected == "older.", "{status}");
    }
    assert_eq!(world.output().matches("FALL-BACK").count(), 2, "each time that the other has its turn");
}

#[test]
fn a_configured_binary_that_is_missing_keeps_no_supervisor_from_starting() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let build = build(&world, "d", "first.");
    reference.configure_build(&build);
    reference.start();
    let first = daemon(&reference, 0);
    assert_keeps(&world, &["first."]);
    fs::remove_file(&build.binary).unwrap();
    // A daemon serves.
    reference.kill();
    reference.start();
    let (_, status) = reference.ask_json("status");
    assert_eq!(status["daemon"]["pid"], first, "{status}");
    assert!(status["warnings"][0].as_str().unwrap().contains("No such file"), "{status}");
    assert_eq!(reference.ask_json("swap").0, 78, "it is wrong all the same");
    // None serves, and a supervisor is started anew.
    reference.kill();
    end(first);
    reference.start();
    let second = daemon(&reference, 0);
    assert_eq!(mark_of(second), "first.");
    // The daemon was stopped on purpose: what is configured would be next, and what was committed is there.
    reference.signal(Signal::SIGTERM);
    assert!(reference.wait().success());
    reference.start();
    assert_eq!(mark_of(daemon(&reference, 0)), "first.");
}

#[test]
fn a_supervisor_that_has_nothing_to_start_says_so() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.configure(&world.layout().dir().join("missing"), &[]);
    let refused = reference.command("run").stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(78) && said.contains("No such file"), "{said}");
}

/// A supervisor that may write no file of more than 300 KiB: there is no room for a copy.
#[test]
fn that_a_binary_is_not_kept_is_said_by_the_swap_and_the_status() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let run = reference.command("run");
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", "ulimit -f 600; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    limited.env(Layout::MARK, world.layout().dir()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut supervisor = limited.spawn().unwrap();
    reference.wait_until_watching();
    let before = reference.ask_json("status").1;
    assert_eq!(before["warnings"], serde_json::json!([]), "the script is small");
    reference.configure_build(&build(&world, "d", "second"));
    let (code, swap) = reference.ask_json("swap");
    assert_eq!(code, 0, "{swap}");
    let (_, status) = reference.ask_json("status");
    for said in [&swap["warnings"], &status["warnings"]] {
        assert!(said.to_string().contains("is not kept as"), "{said}");
    }
    send(supervisor.id(), Signal::SIGTERM);
    assert!(supervisor.wait().unwrap().success());
}
