//! The users that may swap, and what they may swap to: the trigger socket's mode, the uids, the binaries.
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use handoff_tests::{Bin, Reference, World};

const LISTED: u32 = 65_534;
const STRANGER: u32 = 65_533;

/// A supervisor whose sockets lie where others can get at them, with `keys` in its configuration.
fn supervised(world: &World, keys: &str) -> Reference {
    let reference = Reference::for_actor(world);
    let config = fs::read_to_string(reference.config()).unwrap();
    fs::write(reference.config(), format!("{keys}\n{config}")).unwrap();
    for dir in [world.layout().dir(), world.layout().run().as_path()] {
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    }
    reference.start();
    reference
}

/// `swap`, run by `uid`. Only root can become another user: without it there is nothing to see.
fn swap_as(world: &World, reference: &Reference, uid: u32) -> Option<Output> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can run a command as another user");
        return None;
    }
    // The built one may lie where `uid` can't look.
    let binary = world.layout().dir().join("handoff-supervisor");
    if !binary.exists() {
        copy(&Bin::Supervisor.path(), &binary);
    }
    Some(swap(&binary, reference).uid(uid).gid(uid).output().unwrap())
}

fn swap(binary: &Path, reference: &Reference) -> Command {
    let mut command = Command::new(binary);
    command.arg("swap").arg("--trigger").arg(reference.trigger()).current_dir("/");
    command
}

/// Copies an executable in a process of its own: a child that another test forks meanwhile would hold what this
/// process has open for writing, and the copy could not be executed (ETXTBSY).
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
    fs::set_permissions(to, Permissions::from_mode(0o755)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[track_caller]
fn assert_refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(77) && said.contains(why), "{output:?}");
}

#[test]
fn without_listed_uids_nobody_else_gets_at_the_trigger_socket() {
    let world = World::new();
    let reference = supervised(&world, "");
    assert_eq!(mode(&reference.trigger()), 0o600);
    assert_eq!(mode(&world.layout().control()), 0o600);
    if let Some(output) = swap_as(&world, &reference, STRANGER) {
        assert_refused(&output, "ermission");
    }
}

#[test]
fn a_listed_uid_may_swap_and_another_is_told_that_it_may_not() {
    let world = World::new();
    let reference = supervised(&world, &format!("allowed_uids = [{LISTED}]"));
    assert_eq!(mode(&reference.trigger()), 0o666);
    assert_eq!(mode(&world.layout().control()), 0o600, "the daemon's own is nobody else's");
    if let Some(output) = swap_as(&world, &reference, LISTED) {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    if let Some(output) = swap_as(&world, &reference, STRANGER) {
        assert_refused(&output, "allowed_uids");
    }
}

#[test]
fn strangers_who_try_again_and_again_are_a_few_lines_in_the_log() {
    let world = World::new();
    let reference = supervised(&world, &format!("allowed_uids = [{LISTED}]"));
    const TRIES: usize = 40;
    for _ in 0..TRIES {
        match swap_as(&world, &reference, STRANGER) {
            Some(output) => assert_refused(&output, "allowed_uids"),
            None => return,
        }
    }
    let lines = world.output().matches("not allowed").count();
    assert!((1..TRIES / 2).contains(&lines), "{lines} lines");
}

#[test]
fn only_listed_binaries_can_be_named() {
    let world = World::new();
    let next: PathBuf = world.layout().dir().join("next");
    copy(&world.build().binary, &next);
    let reference = supervised(&world, &format!("allowed_binaries = [{next:?}]"));

    let named =
        |path: &str| swap(&Bin::Supervisor.path(), &reference).arg("--binary").arg(path).output().unwrap();
    assert_refused(&named("/bin/true"), "not allowed");
    let output = named(next.to_str().unwrap());
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    // A path that leads to a listed binary is that binary; one that is replaced meanwhile gains nothing.
    let link = world.layout().dir().join("link");
    std::os::unix::fs::symlink("/bin/true", &link).unwrap();
    assert_refused(&named(link.to_str().unwrap()), "not allowed");
}
