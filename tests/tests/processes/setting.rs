//! A daemon with a user, a directory, a umask and an environment of its own.
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use handoff_kv::load::{Load, LoadOptions};
use handoff_tests::{Bin, Layout, Reference, World, free_address, processes, until, until_some};
use nix::sys::signal::Signal;

const USER: u32 = 65_533;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Copies an executable in a process of its own: a child that another test forks meanwhile would hold what this
/// process has open for writing, and the copy could not be executed (ETXTBSY).
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
    set_mode(to, 0o755);
}

/// A supervisor of root's, and the key-value server under it as another user.
struct SettingScene {
    world: World,
    reference: Reference,
    binary: PathBuf,
    resp: String,
}

impl SettingScene {
    /// `None` without root: there is nothing to see then.
    fn new(more: &str) -> Option<SettingScene> {
        SettingScene::with(&format!("user = {USER}\ngroup = {USER}\n{more}\n"))
    }

    /// The same with these lines of configuration.
    fn with(more: &str) -> Option<SettingScene> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can start a daemon as another user");
            return None;
        }
        let world = World::new();
        let dir = world.layout().dir().to_path_buf();
        let (daemon, binary) = (dir.join("daemon"), dir.join("kv"));
        fs::create_dir(&daemon).unwrap();
        for path in [&daemon, &world.layout().data()] {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
        for (path, mode) in [(&dir, 0o755), (&world.layout().run(), 0o711), (&daemon, 0o750)] {
            set_mode(path, mode);
        }
        copy(&Bin::Kv.path(), &binary);
        let resp = free_address();
        let reference = Reference::new(&world, &[("resp", resp.clone()), ("http", free_address())]);
        reference.add(more);
        let scene = SettingScene { world, reference, binary, resp };
        scene.configure();
        Some(scene)
    }

    fn configure(&self) {
        let control = self.world.layout().dir().join("daemon/control");
        let data = self.world.layout().data();
        let args = ["--data", data.to_str().unwrap(), "--control", control.to_str().unwrap()];
        self.reference.configure(&self.binary, &[&args[..], &["--map-size-mb", "64"]].concat());
        let text = fs::read_to_string(self.reference.config()).unwrap();
        let beside = format!("control_socket = {:?}", self.world.layout().control());
        fs::write(self.reference.config(), text.replace(&beside, &format!("control_socket = {control:?}")))
            .unwrap();
    }

    /// The daemon that says that it serves.
    #[track_caller]
    fn serves(&self) -> u32 {
        until_some("a daemon serves", || {
            let (code, status) = self.reference.ask_json("status");
            let pid = status["answer"]["pid"].as_u64().or(status["daemon"]["pid"].as_u64())?;
            (code == 0 && status["activity"] == "watching").then(|| u32::try_from(pid).unwrap())
        })
    }
}

/// The words of the line `name` in `proc_pid_status(5)`.
fn status_of(pid: u32, name: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap().split_whitespace().map(String::from).collect()
}

#[track_caller]
fn assert_is_the_users(pid: u32) {
    let four = vec![USER.to_string(); 4];
    assert_eq!((status_of(pid, "Uid"), status_of(pid, "Gid")), (four.clone(), four));
    assert_eq!(status_of(pid, "Groups"), [USER.to_string()]);
}

#[test]
fn a_daemon_of_another_user_is_swapped_taken_over_and_started_again() {
    let Some(scene) = SettingScene::new("") else { return };
    let private = scene.world.layout().dir().join("private");
    fs::create_dir(&private).unwrap();
    set_mode(&private, 0o700);
    scene.reference.start();
    let first = scene.serves();
    assert_is_the_users(first);
    let options = LoadOptions { connections: 2, pace: Some(100.0), ..LoadOptions::default() };
    let load = Load::start(scene.resp.parse().unwrap(), options).unwrap();
    let (code, swap) = scene.reference.ask_json("swap");
    assert_eq!(code, 0, "{swap}");
    let second = scene.serves();
    assert_ne!(first, second);
    assert_is_the_users(second);

    // The next supervisor believes it, and ends no process. It is started where the user may not go, as in /root.
    scene.reference.kill();
    scene.reference.launch_in(&private);
    scene.reference.wait_until_watching();
    assert_eq!(scene.serves(), second);
    let (code, swap) = scene.reference.ask_json("swap");
    assert_eq!(code, 0, "{swap}");
    let report = load.stop();
    assert!(report.is_clean(), "{report:#?}");

    // What was committed is started again by the same user, though another file lies at its path.
    let third = scene.serves();
    until_some("the copy is kept", || {
        let mut beside = fs::read_dir(scene.world.layout().run()).unwrap();
        beside.find_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.starts_with("journal.binary-").then_some(())
        })
    });
    fs::remove_file(&scene.binary).unwrap();
    fs::write(&scene.binary, "#!/bin/sh\nexit 9\n").unwrap();
    set_mode(&scene.binary, 0o755);
    processes::send(third, Signal::SIGKILL);
    let fourth = until_some("it is started again", || Some(scene.serves()).filter(|pid| *pid != third));
    assert_is_the_users(fourth);

    // Nor does it matter that the directory in which it was started is gone.
    fs::remove_dir(&private).unwrap();
    processes::send(fourth, Signal::SIGKILL);
    let fifth = until_some("it is started once more", || Some(scene.serves()).filter(|pid| *pid != fourth));
    assert_is_the_users(fifth);
    scene.reference.signal(Signal::SIGTERM);
    assert_eq!(scene.reference.wait().code(), Some(0));
    assert!(processes::of_world(scene.world.layout()).is_empty());
}

/// The capabilities of `pid`, as `proc_pid_status(5)` has them.
fn capabilities_of(pid: u32) -> String {
    status_of(pid, "CapEff").concat()
}

const NET_BIND_SERVICE: &str = "0000000000000400";

fn give_capabilities(binary: &Path) {
    let given = Command::new("setcap").arg("cap_net_bind_service+ep").arg(binary).status();
    assert!(given.is_ok_and(|status| status.success()), "setcap (libcap2-bin) is needed");
}

/// Another file comes to the path of the daemon's binary, and the daemon dies. Returns the next daemon.
fn replace_and_kill(scene: &SettingScene, daemon: u32) -> u32 {
    until("the copy is kept", || {
        let mut beside = fs::read_dir(scene.world.layout().run()).unwrap();
        beside.any(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.starts_with("journal.binary-") && !name.ends_with("new")
        })
    });
    fs::remove_file(&scene.binary).unwrap();
    copy(&Bin::Kv.path(), &scene.binary);
    processes::send(daemon, Signal::SIGKILL);
    until_some("it is started again", || Some(scene.serves()).filter(|pid| *pid != daemon))
}

#[test]
fn file_capabilities_are_kept_with_what_was_committed() {
    let Some(scene) = SettingScene::new("") else { return };
    give_capabilities(&scene.binary);
    scene.reference.start();
    let first = scene.serves();
    assert_eq!(capabilities_of(first), NET_BIND_SERVICE);
    // The kept copy is all that there is for a supervisor that comes anew.
    scene.reference.kill();
    fs::rename(&scene.binary, scene.binary.with_extension("old")).unwrap();
    copy(&Bin::Kv.path(), &scene.binary);
    processes::send(first, Signal::SIGKILL);
    until("it has ended", || !processes::lives(first));
    scene.reference.start();
    let second = scene.serves();
    assert_eq!(capabilities_of(second), NET_BIND_SERVICE);
    let (_, status) = scene.reference.ask_json("status");
    assert_eq!(status["warnings"], serde_json::json!([]), "nothing is lost");
}

/// A supervisor that is not root can't give them: they are said to be missing in the copy, and the very file, which it still has
/// open, is started though it has no name any more.
#[test]
fn file_capabilities_that_a_copy_can_not_have_are_said_and_the_very_file_is_preferred() {
    let Some(scene) = SettingScene::with("") else { return };
    give_capabilities(&scene.binary);
    let (run, dir) = (scene.reference.command("run"), scene.world.layout().dir());
    chown(scene.world.layout().run(), Some(USER), Some(USER)).unwrap();
    // The user may not go where it was built.
    copy(&Bin::Supervisor.path(), &dir.join("supervisor"));
    let mut users = Command::new("setpriv");
    users.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).arg("--clear-groups");
    users.arg(dir.join("supervisor")).args(run.get_args()).env(Layout::MARK, dir).current_dir("/");
    let mut supervisor = users.spawn().unwrap();
    scene.reference.wait_until_watching();
    let (code, swap) = scene.reference.ask_json("swap");
    let (_, status) = scene.reference.ask_json("status");
    for said in [&swap["warnings"], &status["warnings"]] {
        assert!(code == 0 && said.to_string().contains("lacks its file capabilities"), "{said}");
    }
    let next = replace_and_kill(&scene, scene.serves());
    assert_eq!(capabilities_of(next), NET_BIND_SERVICE);
    processes::send(supervisor.id(), Signal::SIGTERM);
    assert!(supervisor.wait().unwrap().success());
}

#[test]
fn a_user_that_can_not_get_at_its_directory_is_told_so_before_anything_is_started() {
    let Some(scene) = SettingScene::new("") else { return };
    chown(scene.world.layout().dir().join("daemon"), Some(0), Some(0)).unwrap();
    let refused = scene.reference.command("run").stderr(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("control_socket: ") && said.contains(&format!("chown {USER} ")), "{said}");
}

/// Keys that change the user are for a start of the supervisor: a daemon of another user would not be believed.
#[test]
fn a_user_that_changes_while_a_daemon_serves_waits_for_a_restart() {
    let Some(scene) = SettingScene::new("") else { return };
    scene.reference.start();
    scene.serves();
    let text = fs::read_to_string(scene.reference.config()).unwrap();
    fs::write(scene.reference.config(), text.replace(&format!("user = {USER}\n"), "user = \"root\"\n"))
        .unwrap();
    let (code, swap) = scene.reference.ask_json("swap");
    assert!(code == 0 && swap["warnings"].to_string().contains("user or group has changed"), "{swap}");
    assert_is_the_users(scene.serves());
}

#[test]
fn a_daemon_has_the_directory_the_umask_and_the_variables_that_are_configured() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    let dir = world.layout().dir().to_path_buf();
    reference.add(&format!(
        "working_directory = {dir:?}\numask = \"0027\"\nclear_env = true\npass_env = [\"{}\", \"PASSED\"]\n\
         env = {{ ADDED = \"yes\" }}\n",
        Layout::MARK
    ));
    reference.configure_build(&world.build());
    let mut supervisor = reference.command("run");
    supervisor.envs([
        ("PASSED", "1"),
        ("SECRET", "2"),
        ("NOTIFY_SOCKET", "/nowhere"),
        ("WATCHDOG_USEC", "1"),
    ]);
    let mut supervisor = supervisor.spawn().unwrap();
    reference.wait_until_watching();
    let pid = world.assert_one_serves(&[supervisor.id()]);
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), dir.canonicalize().unwrap());
    assert_eq!(status_of(pid, "Umask"), ["0027"]);
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let mut names: Vec<&str> =
        environment.split('\0').filter_map(|entry| Some(entry.split_once('=')?.0)).collect();
    // The actor is started by a shell.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    let library =
        ["HANDOFF_ROLE", "HANDOFF_SOCK_FD", Layout::MARK, "LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID"];
    assert_eq!(names, [&["ADDED"][..], &library, &["PASSED"]].concat());
    processes::send(supervisor.id(), Signal::SIGTERM);
    assert!(supervisor.wait().unwrap().success());
}

/// As an incumbent it would not be believed: no swap could reach it, and a supervisor that comes anew could not ask it.
#[test]
fn a_daemon_that_becomes_another_user_by_itself_is_refused_at_its_first_start() {
    let Some(mut scene) = SettingScene::with("") else { return };
    let script = scene.world.layout().dir().join("drops");
    let line = format!(
        "#!/bin/sh\nexec setpriv --reuid={USER} --regid={USER} --clear-groups -- '{}' \"$@\"\n",
        scene.binary.display()
    );
    fs::write(&script, line).unwrap();
    set_mode(&script, 0o755);
    scene.binary = script;
    scene.configure();
    scene.reference.launch();
    until_some("the start is refused", || {
        let (_, status) = scene.reference.ask_json("status");
        let said = status["failed_start"].as_str()?;
        (said.contains(&format!("has become uid {USER}")) && said.contains("`user`")).then_some(())
    });
}
