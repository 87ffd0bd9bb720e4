//! Configurations that can't be, and what is said of each.
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use super::{Config, Dir, mistake};

/// A directory with what the rows need.
fn furnished() -> Dir {
    let dir = Dir::new();
    let at = |name: &str| dir.path().join(name);
    for (name, mode) in [("private", 0o700), ("shared", 0o755), ("open", 0o777)] {
        fs::create_dir(at(name)).unwrap();
        fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::write(at("file"), "").unwrap();
    symlink(".", at("link")).unwrap();
    dir
}

fn listener(name: &str, rest: &str) -> String {
    format!("[[listeners]]\nname = '{name}'\n{rest}\n")
}

/// Returns what is good but for one thing, after three lines; and what `check` says, `DIR` standing for the
/// directory.
fn rows() -> Vec<(String, &'static str)> {
    let two = |first: &str, second: &str| listener("a", first) + &listener("b", second);
    let row = |text: &str, said| (text.to_string(), said);
    vec![
        row(
            "deadline_secs = 0",
            "line 4: deadline_secs: must be a number of seconds from 0.001 to 86400, not 0",
        ),
        row(
            "args = ['a', \"b\\u0000c\"]",
            "line 4: args[1]: \"b\\0c\" has a NUL byte, which ends a text for the system",
        ),
        row("env = { A = \"\\u0000\" }", "line 4: env.A: \"\\0\" has a NUL byte"),
        row("data_dir = \"\\u0000\"", "line 4: data_dir: \"\\0\" has a NUL byte"),
        row("unreachable_secs = 0", "line 4: unreachable_secs: must be a number of seconds from 0.001"),
        row("restart_max_secs = 0", "line 4: restart_max_secs: must be a number of seconds from 0.001"),
        row("journal = 'none/journal'", "line 4: journal: there is no directory DIR/none: mkdir -p DIR/none"),
        row(
            "journal = 'open/journal'",
            "line 4: journal: DIR/open can't be trusted: others may write to it (mode 0777): chmod go-w DIR/open",
        ),
        row("journal = 'control.sock'", "line 4: journal: must not be the same path as control_socket"),
        row(
            "journal = 'link/link/trigger.sock'",
            "line 4: journal: must not be the same path as trigger_socket",
        ),
        row(
            "journal = 'trigger.sock.lock'",
            "line 4: journal: must not be the same path as the lock of trigger_socket",
        ),
        row("journal = 'handoff.toml'", "line 4: journal: must not be the same path as the configuration"),
        row("data_dir = 'file'", "line 4: data_dir: DIR/file can't be trusted: it is not a directory"),
        row(
            "data_dir = 'shared'",
            "line 4: data_dir: DIR/shared can't be trusted: others may open it (mode 0755), and with that hold its lock: chmod go-rwx DIR/shared",
        ),
        row(
            "working_directory = 'none'",
            "line 4: working_directory: there is no directory DIR/none: mkdir -p DIR/none",
        ),
        row("umask = 27", "line 4: umask: must be octal, \"0027\" or 0o027, and at most 0777"),
        row("umask = '0999'", "line 4: umask: must be octal"),
        row(
            "user = 'no-such-user'",
            "line 4: user: there is no user \"no-such-user\": create it (useradd --system no-such-user)",
        ),
        row("group = 'no-such-group'", "line 4: group: there is no group \"no-such-group\""),
        row("user = 65533", "line 4: user: uid 65533 is in no user database: name its group as well"),
        row("clear_env = 1", "line 4: clear_env: must be true or false"),
        row(
            "pass_env = ['PATH']",
            "line 4: pass_env: all of the environment is passed on unless `clear_env = true`",
        ),
        row(
            "clear_env = true\npass_env = ['NOTIFY_SOCKET']",
            "line 5: pass_env[0]: NOTIFY_SOCKET is what systemd gives the supervisor for itself",
        ),
        (
            listener("a", "addr = 'unix:trigger.sock'"),
            "line 6: listeners[0].addr: must not be the same path as trigger_socket",
        ),
        (
            listener("a", "addr = 'unix:link/control.sock'"),
            "line 6: listeners[0].addr: must not be the same path as control_socket",
        ),
        row(
            "metrics = '0.0.0.0:9180'",
            "line 4: metrics: 0.0.0.0:9180 is not a loopback address, and every peer that reaches it would be answered: give \
             127.0.0.1 or [::1]",
        ),
        row("metrics = '[::1]:0'", "line 4: metrics: [::1]:0 has no port that a client could know: give one"),
        row("metrics = 'unix:none/s'", "line 4: metrics: there is no directory DIR/none: mkdir -p DIR/none"),
        row("metrics = 'unix:trigger.sock'", "line 4: metrics: must not be the same path as trigger_socket"),
        (
            format!("metrics = '127.0.0.1:80'\n{}", listener("a", "addr = '0.0.0.0:80'")),
            "line 4: metrics: 0.0.0.0:80 takes the connections to 127.0.0.1:80, too: leave one of them out",
        ),
        (
            format!("metrics = 'unix:s'\n{}", listener("a", "addr = 'unix:s'")),
            "line 7: listeners[0].addr: must not be the same path as metrics",
        ),
        (two("addr = 'unix:s'", "addr = 'unix:s'"), "line 9: listeners[1].addr: unix:DIR/s is given twice"),
        (two("addr = 'unix:@s'", "addr = 'unix:@s'"), "line 9: listeners[1].addr: unix:@s is given twice"),
        (
            two("addr = '0.0.0.0:80'", "addr = '[::]:80'"),
            "line 9: listeners[1].addr: [::]:80 takes the connections to 0.0.0.0:80, too: give the IPv6 one `only_v6 = true`",
        ),
        (
            two("addr = '[::]:80'", "addr = '127.0.0.1:80'"),
            "line 9: listeners[1].addr: [::]:80 takes the connections to 127.0.0.1:80, too: give the IPv6 one",
        ),
        (
            two("addr = '0.0.0.0:80'", "addr = '127.0.0.1:80'"),
            "line 9: listeners[1].addr: 0.0.0.0:80 takes the connections to 127.0.0.1:80, too: leave one of them out",
        ),
        (
            listener("a", "addr = '127.0.0.1:80'\nonly_v6 = true"),
            "line 7: listeners[0].only_v6: is for IPv6 addresses only",
        ),
        (
            listener("a", "addr = '127.0.0.1:80'\nmode = '0660'"),
            "line 7: listeners[0].mode: is for Unix sockets with a path only",
        ),
        (
            listener("a", "addr = 'unix:@s'\nowner = 'root'"),
            "line 7: listeners[0].owner: is for Unix sockets with a path only",
        ),
        (listener("a", "addr = 'unix:s'\nmode = 660"), "line 7: listeners[0].mode: must be octal"),
        (
            listener("a", "addr = 'unix:s'\nowner = 'no-such-user'"),
            "line 7: listeners[0].owner: there is no user",
        ),
        (
            listener("a", "addr = 'unix:@'"),
            "line 6: listeners[0].addr: the name after unix:@ must have 1 to 107 bytes",
        ),
        // One mistake is one error, whatever it makes unreadable.
        row("args = [\nenv = {\njournal = 'x'", "line 5: "),
    ]
}

#[test]
fn each_is_told_once_with_its_line_its_key_and_what_helps() {
    let dir = furnished();
    for (text, said) in rows() {
        let problems = dir.load(&text).expect_err(&text);
        let expected = said.replace("DIR", &dir.path().display().to_string());
        assert!(
            problems.len() == 1 && problems[0].to_string().starts_with(&expected),
            "{text}\n{problems:?}"
        );
    }
    dir.load(&listener("a", "addr = 'unix:@s'")).unwrap();
}

/// The warning in line 4.
fn warning(dir: &Dir, text: &str) -> String {
    let config = dir.load(text).unwrap();
    let [warning] = &config.warnings[..] else { panic!("{text}: {:?}", config.warnings) };
    warning.to_string()
}

#[test]
fn what_may_be_meant_is_a_warning() {
    let dir = furnished();
    let said = warning(&dir, "data_dir = 'none'");
    assert!(said.starts_with("line 4: data_dir: is not there: ") && said.contains("mkdir -m 700"), "{said}");
    // `/dev/shm` and `/proc` are mounted noexec on some systems; only root can mount what is.
    let noexec = ["/dev/shm", "/run/lock", "/run"].into_iter().find(|dir| {
        let flags = nix::sys::statvfs::statvfs(*dir).map(|found| found.flags());
        flags.is_ok_and(|flags| flags.contains(nix::sys::statvfs::FsFlags::ST_NOEXEC))
    });
    match noexec {
        Some(noexec) => {
            let said = warning(&dir, &format!("journal = '{noexec}/handoff-test-journal'"));
            assert!(said.contains("mounted noexec") && said.contains("journal = "), "{said}");
        }
        None => eprintln!("skipped: nothing is mounted noexec here"),
    }
}

#[test]
fn one_of_two_times_is_enough_and_the_others_default_gives_way() {
    let secs = |text: &str| -> [f64; 4] {
        let Config { drain_grace, deadline, restart_min, restart_max, .. } = Dir::new().load(text).unwrap();
        [drain_grace, deadline, restart_min, restart_max].map(|time| time.as_secs_f64())
    };
    assert_eq!(secs(""), [60.0, 300.0, 0.1, 30.0]);
    assert_eq!(secs("deadline_secs = 20"), [10.0, 20.0, 0.1, 30.0]);
    assert_eq!(secs("drain_grace_secs = 400"), [400.0, 800.0, 0.1, 30.0]);
    assert_eq!(secs("restart_min_secs = 45"), [60.0, 300.0, 45.0, 45.0]);
    assert_eq!(secs("restart_max_secs = 0.05"), [60.0, 300.0, 0.05, 0.05]);
    assert_eq!(secs("drain_grace_secs = 0"), [0.0, 300.0, 0.1, 30.0], "nothing is waited for");
}

/// Listeners for more descriptors than a process may have: in a process of its own, whose limit is its own.
#[test]
fn more_listeners_than_descriptors_are_told_with_the_command_that_raises_the_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const AGAIN: &str = "CONFIG_TEST_AGAIN";
    if std::env::var_os(AGAIN).is_none() {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let name = std::thread::current().name().unwrap().to_string();
        let output = again.args([&name, "--exact", "--test-threads=1"]).env(AGAIN, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 256, hard).unwrap();
    let listeners = |count: usize| -> String {
        (0..count)
            .map(|at| listener(&format!("l{at}"), &format!("addr = '127.0.0.1:{}'", 1000 + at)))
            .collect()
    };
    assert!(Dir::new().load(&listeners(96)).is_ok());
    let said = mistake(&listeners(97));
    assert!(said.contains("97 listeners need 258 descriptors") && said.contains("LimitNOFILE=258"), "{said}");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A control socket of its own directory, as a daemon of another user needs it.
fn load_for_another_user(dir: &Dir, more: &str) -> Result<Config, Vec<String>> {
    let text = format!(
        "control_socket = 'daemon/control'\ntrigger_socket = 'own/trigger'\nbinary = '/bin/sh'\nuser = 65533\n\
         group = 65533\n{more}"
    );
    dir.load_exactly(&text).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn what_the_daemons_user_can_not_reach_is_told_with_the_command_that_helps() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: only root can start a daemon as another user");
    }
    let dir = Dir::new();
    let [daemon, own, data] = ["daemon", "own", "data"].map(|name| dir.path().join(name));
    for (path, mode) in [(&daemon, 0o755), (&own, 0o755), (&data, 0o700)] {
        fs::create_dir(path).unwrap();
        set_mode(path, mode);
    }
    set_mode(dir.path(), 0o755);
    let refusal = |more: &str| {
        let problems = load_for_another_user(&dir, more).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].clone()
    };
    let said = refusal("");
    assert!(
        said.contains("line 1: control_socket: ")
            && said.contains("chown 65533 ")
            && said.contains("/daemon"),
        "{said}"
    );
    chown(&daemon, Some(65_533), Some(65_533)).unwrap();
    let config = load_for_another_user(&dir, "").unwrap();
    assert_eq!(config.journal, own.join("trigger.journal"), "not where the daemon's user could replace it");
    let said = refusal("journal = 'daemon/journal'");
    assert!(said.starts_with("line 6: journal: ") && said.contains("belongs to the daemon's user"), "{said}");
    let said = refusal("data_dir = 'data'");
    assert!(
        said.starts_with("line 6: data_dir: ") && said.contains(&format!("chown 65533 {}", data.display())),
        "{said}"
    );
    chown(&data, Some(65_533), Some(65_533)).unwrap();
    load_for_another_user(&dir, "data_dir = 'data'\nworking_directory = 'data'").unwrap();
    set_mode(&own, 0o700);
    let said = refusal("");
    assert!(said.starts_with("journal: ") && said.contains("chmod a+x"), "{said}");
    set_mode(&own, 0o755);
    set_mode(dir.path(), 0o700);
    let problems = load_for_another_user(&dir, "").unwrap_err();
    assert!(
        problems.iter().any(|said| said.contains(&format!("chmod a+x {}", dir.path().display()))),
        "{problems:?}"
    );
    set_mode(dir.path(), 0o755);
}

#[test]
fn another_user_needs_root() {
    if nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: root can start a daemon as anybody");
    }
    let said = mistake("user = 'root'");
    assert!(said.starts_with("line 4: user: only root can start a daemon as another user"), "{said}");
}
