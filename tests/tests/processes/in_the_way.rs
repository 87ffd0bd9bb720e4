//! Processes that are in the way and not this supervisor's to end: they live on, and are named.
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use handoff_tests::processes::{lives, send};
use handoff_tests::{Layout, Reference, World, free_address, until};
use nix::sys::signal::Signal;

/// Waits until the last start of `reference` failed because of `why`.
#[track_caller]
fn assert_refused(reference: &Reference, why: &str) {
    until("the start is refused", || {
        reference.ask_json("status").1["failed_start"].as_str().is_some_and(|said| said.contains(why))
    });
}

/// The pid of the daemon of `reference`.
#[track_caller]
fn daemon(reference: &Reference) -> u32 {
    let (_, status) = reference.ask_json("status");
    status["daemon"]["pid"].as_u64().and_then(|pid| pid.try_into().ok()).unwrap_or_else(|| panic!("{status}"))
}

/// Longer than a silent process that is in the way is waited for.
fn outlasts(pid: u32) {
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        assert!(lives(pid), "it was killed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_program_at_the_control_path_that_is_no_daemon_of_it_is_named_and_lives() {
    let other = World::new();
    let others = Reference::for_actor(&other);
    others.start();
    let stranger = daemon(&others);
    let world = World::new();
    symlink(other.layout().control(), world.layout().control()).unwrap();
    // Were it to answer, it would be taken for this supervisor's daemon.
    send(stranger, Signal::SIGSTOP);
    let reference = Reference::for_actor(&world);
    reference.add("unreachable_secs = 1\n");
    reference.configure_build(&world.build());
    reference.launch();
    assert_refused(&reference, &format!("process {stranger} ("));
    assert_refused(&reference, "is no daemon of it");
    outlasts(stranger);
    fs::remove_file(world.layout().control()).unwrap();
    reference.wait_until_watching();
    send(stranger, Signal::SIGCONT);
    others.wait_until_watching();
    assert_eq!(daemon(&others), stranger);
}

/// Covers a daemon that answers, and whose words of itself are true, but not of this control path.
#[test]
fn a_daemon_of_another_control_path_is_not_swapped_though_the_path_leads_to_it() {
    let (other, world) = (World::new(), World::new());
    let (others, reference) = (Reference::for_actor(&other), Reference::for_actor(&world));
    others.start();
    reference.start();
    let (stranger, own) = (daemon(&others), daemon(&reference));
    let control = world.layout().control();
    // In one step: the daemon puts its socket back where nothing is.
    let link = world.layout().dir().join("link");
    symlink(other.layout().control(), &link).unwrap();
    fs::rename(&link, &control).unwrap();
    let (code, swap) = reference.ask_json("swap");
    assert_eq!(code, 69, "{swap}");
    assert!(swap["error"]["message"].as_str().unwrap().contains("of another control path"), "{swap}");
    assert!(!other.output().contains("handoff.drain"), "the stranger was not disturbed");
    until("the daemon names what lies at its path", || world.output().contains("another file lies at"));
    fs::remove_file(&control).unwrap();
    until("the daemon puts its socket back", || reference.ask_json("swap").0 == 0);
    assert!(!lives(own) && lives(stranger));
}

/// Covers a daemon that has the path, the lock and a socket of its own beside the path. None of that is a
/// word.
#[test]
fn a_daemon_that_no_journal_names_and_that_says_nothing_is_left_to_the_operator() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.add(&format!("unreachable_secs = 1\ndata_dir = {:?}\n", world.layout().data()));
    reference.configure_build(&world.build());
    reference.start();
    let pid = daemon(&reference);
    reference.kill();
    send(pid, Signal::SIGSTOP);
    fs::remove_file(world.layout().journal()).unwrap();
    // Otherwise it could not be tried to start another one: it has these.
    let [tcp, unix] = Layout::LISTENERS;
    reference.set_listener(tcp, &free_address());
    reference.set_listener(unix, &format!("unix:{}", world.layout().dir().join("served-2").display()));
    reference.configure_build(&world.build());
    reference.launch();
    assert_refused(&reference, &format!("process {pid} ("));
    outlasts(pid);
    send(pid, Signal::SIGCONT);
    until("it is found as soon as it speaks", || {
        let (_, status) = reference.ask_json("status");
        status["daemon"]["pid"] == pid
    });
    assert_eq!(reference.ask_json("swap").0, 0);
}

#[test]
fn another_supervisors_daemon_that_holds_the_same_data_is_named_and_serves_on() {
    let other = World::new();
    let others = Reference::for_actor(&other);
    others.start();
    let (holder, writer) = (daemon(&others), others.writer());
    writer.wait_for_write_by(holder);
    let world = World::new();
    fs::remove_dir(world.layout().data()).unwrap();
    symlink(other.layout().data(), world.layout().data()).unwrap();
    let reference = Reference::for_actor(&world);
    reference.add(&format!("unreachable_secs = 1\ndata_dir = {:?}\n", world.layout().data()));
    reference.configure_build(&world.build());
    reference.launch();
    assert_refused(&reference, &format!("process {holder} ("));
    outlasts(holder);
    writer.wait_for_write_by(holder);
    reference.signal(Signal::SIGTERM);
    reference.wait();
    assert!(lives(holder));
    assert_eq!(others.ask_json("swap").0, 0);
}
