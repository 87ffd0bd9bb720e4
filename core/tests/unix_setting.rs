//! The user, the directory and the variables with which a process is started: a shell says what it sees.
#![cfg(feature = "unix")]
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use handoff::unix::control::socketpair;
use handoff::unix::env::{NEVER_PASSED, StartRole};
use handoff::unix::pid::{Exit, Watch};
use handoff::unix::spawn::{RunAs, Setting, SpawnRequest, spawn};
use handoff::{Error, Supervisor};

/// Starts a shell with `script`.
fn shell(script: &str, vars: &[(&str, &str)], setting: &Setting) -> handoff::Result<Exit> {
    let (_ours, theirs) = socketpair().unwrap();
    let vars: Vec<(OsString, OsString)> =
        vars.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let spawned = spawn(SpawnRequest {
        binary: Path::new("/bin/sh"),
        image: None,
        args: &["-c".into(), script.into()],
        env: &vars,
        setting,
        listeners: &[],
        link: OwnedFd::from(theirs),
        role: StartRole::ColdStart,
        output: None,
    })?;
    let mut watch = Watch::child(spawned.process).unwrap();
    loop {
        if let Some(exit) = watch.ended().unwrap() {
            return Ok(exit);
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Returns what `script` writes to its standard output.
fn said(script: &str, vars: &[(&str, &str)], setting: &Setting) -> String {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report");
    fs::write(&report, "").unwrap();
    // The shell opens it, as the user that it runs as.
    for (path, mode) in [(dir.path(), 0o711), (&report, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let script = format!("exec >{}; {script}", report.display());
    assert_eq!(shell(&script, vars, setting).unwrap(), Exit::Code(0), "{script}");
    fs::read_to_string(report).unwrap()
}

fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can start a process as another user");
    }
    is_root
}

/// The default, but for what `differ` sets.
fn setting(differ: impl FnOnce(&mut Setting)) -> Setting {
    let mut setting = Setting::default();
    differ(&mut setting);
    setting
}

fn nobody() -> Setting {
    setting(|it| it.run_as = Some(RunAs::find(Some("nobody"), None).unwrap()))
}

#[test]
fn another_user_has_its_groups_and_its_variables_and_no_way_back() {
    if !is_root() {
        return;
    }
    let asked = ["-u", "-g", "-G"].map(|flag| {
        let output = Command::new("id").args([flag, "nobody"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    });
    assert_eq!(said("id -u; id -g; id -G", &[], &nobody()), asked.concat());
    let ids = said("grep -E '^(Uid|Gid|CapEff)' /proc/self/status", &[], &nobody());
    let fields: Vec<Vec<&str>> = ids.lines().map(|line| line.split_whitespace().skip(1).collect()).collect();
    assert!(fields[..2].iter().all(|four| four.len() == 4 && four.iter().all(|id| *id == four[0])), "{ids}");
    assert_eq!(u64::from_str_radix(fields[2][0], 16).unwrap(), 0, "no capability is left");
    assert_eq!(said("echo $USER $LOGNAME", &[], &nobody()), "nobody nobody\n");
    assert_eq!(said("echo $USER", &[("USER", "given")], &nobody()), "given\n");
    assert_eq!(nix::unistd::geteuid().as_raw(), 0, "this process is who it was");
}

#[test]
fn the_groups_database_counts_as_at_a_login() {
    if !is_root() {
        return;
    }
    let found = RunAs::find(Some("nobody"), Some("0")).unwrap();
    assert!(found.gid == 0 && found.groups.contains(&0), "{found:?}");
    let setting = setting(|it| it.run_as = Some(found.clone()));
    let mut groups: Vec<u32> =
        said("id -G", &[], &setting).split_whitespace().map(|gid| gid.parse().unwrap()).collect();
    let mut expected = found.groups;
    groups.sort_unstable();
    expected.sort_unstable();
    assert_eq!(groups, expected);
}

#[test]
fn a_directory_and_a_umask_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let place = Some(dir.path().to_path_buf());
    let setting = setting(|it| (it.working_dir, it.umask) = (place, Some(0o027)));
    let told = said("pwd -P; umask", &[], &setting);
    assert_eq!(told, format!("{}\n0027\n", dir.path().canonicalize().unwrap().display()));
}

/// As a daemon that inherits it from root's shell in root's own directory.
#[test]
fn a_directory_is_taken_though_the_user_may_not_enter_it() {
    if !is_root() {
        return eprintln!("skipped: only root can start a process as another user");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut private = nobody();
    private.working_dir = Some(dir.path().to_path_buf());
    assert_eq!(said("id -u; cat ./* 2>/dev/null || echo nothing", &[], &private), "65534\nnothing\n");
}

#[test]
fn what_can_not_be_taken_is_told_with_what_helps() {
    let missing = setting(|it| it.working_dir = Some("/no/such/directory".into()));
    let error = shell("true", &[], &missing).unwrap_err();
    assert!(error.to_string().contains("/no/such/directory"), "{error}");
    if !is_root() {
        let root = setting(|it| it.run_as = Some(RunAs::find(Some("root"), None).unwrap()));
        assert!(shell("true", &[], &root).unwrap_err().to_string().contains("only root can"));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let binary = dir.path().join("sh");
    fs::copy("/bin/sh", &binary).unwrap();
    let (_ours, theirs) = socketpair().unwrap();
    let request = SpawnRequest {
        binary: &binary,
        image: None,
        args: &[],
        env: &[],
        setting: &nobody(),
        listeners: &[],
        link: OwnedFd::from(theirs),
        role: StartRole::ColdStart,
        output: None,
    };
    let error = spawn(request).unwrap_err();
    assert!(
        error.to_string().contains("as uid") && error.to_string().contains("execute permission"),
        "{error}"
    );
}

#[test]
fn of_the_environment_comes_what_is_to_be_passed_on() {
    let names = "env | sed 's/=.*//' | sort";
    let all = said(names, &[("ADDED", "1")], &Setting::default());
    assert!(all.contains("PATH\n") && all.contains("ADDED\n"), "{all}");
    let some = setting(|it| it.pass_env = Some(vec!["PATH".into()]));
    let some = said(names, &[("ADDED", "1")], &some);
    let shells_own = ["OLDPWD", "PWD", "SHLVL", "_"];
    let inherited: Vec<&str> = some.lines().filter(|name| !shells_own.contains(name)).collect();
    let library = ["HANDOFF_ROLE", "HANDOFF_SOCK_FD", "LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID"];
    let expected: Vec<&str> = ["ADDED"].into_iter().chain(library).chain(["PATH"]).collect();
    assert_eq!(inherited, expected);
}

/// Starts this test anew, as systemd would: its own environment can't be changed while other tests run.
#[test]
fn what_systemd_gave_the_supervisor_stays_there() {
    const AGAIN: &str = "SETTING_TEST_AGAIN";
    if env::var_os(AGAIN).is_none() {
        let mut again = Command::new(env::current_exe().unwrap());
        again
            .args(["what_systemd_gave_the_supervisor_stays_there", "--exact", "--test-threads=1"])
            .env(AGAIN, "1");
        again.envs(NEVER_PASSED.map(|name| (name, "0"))).env("STATE_DIRECTORY", "/var/lib/kv");
        let output = again.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let told = said("env", &[("INVOCATION_ID", "given")], &Setting::default());
    let library = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "INVOCATION_ID"];
    for name in NEVER_PASSED.iter().filter(|name| !library.contains(*name)) {
        assert!(!told.contains(&format!("{name}=")), "{name}: {told}");
    }
    assert!(
        told.contains("STATE_DIRECTORY=/var/lib/kv\n") && told.contains("INVOCATION_ID=given\n"),
        "{told}"
    );
}

#[test]
fn a_daemon_that_would_not_be_believed_is_not_started() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::new(dir.path().join("control")).unwrap();
    let mut spec = handoff::SpawnSpec::new("/bin/true");
    spec.setting.run_as = Some(RunAs::find(Some("65533"), Some("65533")).unwrap());
    let refused = supervisor.cold_start(spec).unwrap_err();
    assert!(matches!(&refused.error, Error::Caller(why) if why.contains("with_user")), "{refused}");
}
