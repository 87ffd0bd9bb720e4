//! The users that may hold the locks, whose files are believed, and which directory is opened: strangers, and
//! paths that lead elsewhere by now.
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use handoff_tests::{HookName, Layout, Reference, Scene, World, until};
use nix::sys::signal::Signal;

const STRANGER: u32 = 65_533;

fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can be another user");
    }
    is_root
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// `flock(1)` of a stranger, on all that a stranger can open: whether it got the lock, and the process that has it.
fn lock_as_stranger(path: &Path, kind: &str) -> (bool, Child) {
    let mut command = Command::new("flock");
    command.args(["-F", kind, "-n"]).arg(path).args(["sh", "-c", "echo got; exec sleep 60"]);
    command.uid(STRANGER).gid(STRANGER).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
    let mut child = command.spawn().unwrap();
    let mut said = [0; 3];
    let got = std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).is_ok();
    (got, child)
}

fn end(mut child: Child) {
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn a_stranger_can_hold_neither_the_lock_nor_the_journal_nor_the_triggers_lock() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let reference = Reference::for_actor(&world);
    for dir in [world.layout().dir(), world.layout().run().as_path()] {
        set_mode(dir, 0o755);
    }
    reference.start();
    let lock = world.layout().run().join("trigger.lock");
    assert_eq!(fs::metadata(&lock).unwrap().permissions().mode() & 0o777, 0o600);
    for path in [&world.layout().data(), &lock, &world.layout().journal()] {
        for kind in ["-x", "-s"] {
            let (got, child) = lock_as_stranger(path, kind);
            assert!(!got, "{}", path.display());
            end(child);
        }
    }
    assert_eq!(reference.ask_json("swap").0, 0);
}

#[test]
fn a_data_directory_that_others_may_open_is_refused_before_anybody_is_disturbed() {
    let scene = Scene::new();
    set_mode(&scene.world.layout().data(), 0o755);
    let outcome = scene.supervisor.handoff(&scene.world.build());
    outcome.assert_rolled_back("chmod go-rwx");
    assert!(!scene.world.output().contains("handoff.drain"), "nobody was asked to drain");
    set_mode(&scene.world.layout().data(), 0o700);
    let pid = scene.supervisor.handoff(&scene.world.build()).assert_committed();
    scene.writer.wait_for_write_by(pid);
    scene.assert_well();
}

/// As after a mode that was too wide for a moment: a stranger can lock for ever what it has opened by then.
#[test]
fn a_lock_that_a_stranger_holds_is_told_in_his_name() {
    if !is_root() {
        return;
    }
    let world = World::new();
    set_mode(world.layout().dir(), 0o755);
    set_mode(&world.layout().data(), 0o755);
    let (got, stranger) = lock_as_stranger(&world.layout().data(), "-s");
    assert!(got);
    set_mode(&world.layout().data(), 0o700);
    let reference = Reference::for_actor(&world);
    reference.launch();
    let name = format!("process {} (", stranger.id());
    until("the kernel's holder is named", || world.output().contains(&name));
    end(stranger);
    reference.wait_until_watching();
    world.assert_one_serves(&[reference.pid().unwrap()]);
}

#[test]
fn the_triggers_lock_that_another_program_holds_is_told_in_its_name() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let lock = world.layout().run().join("trigger.lock");
    let mut other = Command::new("flock");
    other.args(["-F", "-s"]).arg(&lock).args(["sh", "-c", "echo got; exec sleep 60"]).stdout(Stdio::piped());
    let mut other = other.spawn().unwrap();
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
    let refused = reference.command("run").stderr(Stdio::piped()).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(75), "{words}");
    assert!(words.contains(&format!("process {} (", other.id())), "{words}");
    end(other);
}

/// The data directory is a link from the beginning, and is pointed elsewhere afterwards.
fn move_data(world: &World, to: &str) {
    let [data, target] = ["data", to].map(|name| world.layout().dir().join(name));
    if data.is_symlink() {
        fs::remove_file(&data).unwrap();
    } else {
        fs::rename(&data, &target).unwrap();
    }
    if !target.exists() {
        fs::create_dir(&target).unwrap();
        set_mode(&target, 0o700);
    }
    symlink(&target, &data).unwrap();
}

#[test]
fn the_data_directory_is_another_one_by_now_and_nothing_is_touched() {
    let world = World::new();
    move_data(&world, "one");
    let supervisor = world.supervisor();
    let pid = supervisor.cold_start(&world.build()).assert_committed();
    let writer = world.writer();
    writer.wait_for_write_by(pid);
    move_data(&world, "two");
    supervisor.handoff(&world.build()).assert_rolled_back("is not that of process");
    assert!(!world.output().contains("handoff.drain"), "nobody was asked to drain");
    move_data(&world, "one");
    writer.wait_for_write_by(pid);
    let pid = supervisor.handoff(&world.build()).assert_committed();
    writer.wait_for_write_by(pid);
    world.assert_one_serves_and_nothing_lost(&supervisor, &writer);
}

/// Moves it in the middle of a swap: the successor has the right one open, the incumbent would not find it again.
#[test]
fn the_data_directory_is_moved_during_the_warm_up_and_nothing_is_sealed() {
    let world = World::new();
    move_data(&world, "one");
    let supervisor = world.supervisor();
    let pid = supervisor.cold_start(&world.build()).assert_committed();
    let writer = world.writer();
    writer.wait_for_write_by(pid);
    let build = world.build();
    let gate = build.gate(HookName::WarmUp);
    let handoff = supervisor.begin_handoff(&build);
    gate.wait();
    move_data(&world, "two");
    gate.open();
    handoff.outcome().assert_rolled_back("is another one than this process has open");
    move_data(&world, "one");
    writer.wait_for_write_by(pid);
    world.assert_one_serves_and_nothing_lost(&supervisor, &writer);
}

#[test]
fn a_journal_of_another_user_starts_nothing() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    reference.signal(Signal::SIGTERM);
    reference.wait();
    chown(world.layout().journal(), Some(STRANGER), None).unwrap();
    let refused = reference.command("run").stderr(Stdio::piped()).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{words}");
    assert!(words.contains("belongs to uid 65533: chown 0"), "{words}");
}

#[test]
fn a_configuration_or_a_binary_that_all_may_write_is_not_good() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let check = || reference.command("check").stderr(Stdio::piped()).stdout(Stdio::piped()).output().unwrap();
    assert_eq!(check().status.code(), Some(0));
    set_mode(&reference.config(), 0o666);
    let output = check();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(78) && said.contains("chmod go-w"), "{output:?}");
    set_mode(&reference.config(), 0o644);
    let binary = world.layout().dir().join("binary");
    fs::copy("/bin/true", &binary).unwrap();
    set_mode(&binary, 0o777);
    reference.configure(&binary, &[]);
    let output = check();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(78) && said.contains("chmod go-w"), "{said}");
}

#[test]
fn a_fifo_for_a_record_keeps_no_supervisor_from_stopping() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.add(&format!("data_dir = {:?}\n", world.layout().data()));
    reference.configure_build(&world.build());
    nix::unistd::mkfifo(&world.layout().data().join("handoff.record"), nix::sys::stat::Mode::S_IRWXU)
        .unwrap();
    reference.launch();
    until("the daemon says why it can't start", || world.output().contains("it is not a regular file"));
    reference.signal(Signal::SIGTERM);
    reference.wait();
}

#[test]
fn a_listeners_path_that_was_removed_is_made_anew_and_one_that_is_anothers_stays() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    let served = world.layout().dir().join("served");
    reference.kill();
    fs::remove_file(&served).unwrap();
    reference.start();
    assert!(world.output().contains("was removed or replaced"), "it is said");
    assert!(std::os::unix::net::UnixStream::connect(&served).is_ok(), "it waits there for the next daemon");
    assert_eq!(reference.ask_json("swap").0, 0);
    // Another's by the time that it is stopped.
    fs::remove_file(&served).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&served).unwrap();
    reference.signal(Signal::SIGTERM);
    reference.wait();
    assert!(served.exists(), "it is not the supervisor's to remove");
}

#[test]
fn a_listener_that_is_taken_over_and_is_not_as_configured_is_said() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    reference.kill();
    let text = fs::read_to_string(reference.config()).unwrap();
    let [_, unix] = Layout::LISTENERS;
    let name = format!("name = {unix:?}\n");
    assert!(text.contains(&name));
    fs::write(reference.config(), text.replace(&name, &format!("{name}mode = \"0606\"\n"))).unwrap();
    reference.start();
    let warnings = reference.ask_json("status").1["recovery"]["warnings"].to_string();
    assert!(warnings.contains("was taken over as it is") && warnings.contains("chmod 0606"), "{warnings}");
}
