//! Each mistake names its key, its line, and what is allowed.
use std::fs;
use std::path::Path;

use handoff::bounds;

use super::*;

mod bad;

/// A directory with a configuration in it.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Loads a configuration of three good lines and then `more`.
    pub(crate) fn load(&self, more: &str) -> Result<Config, Vec<Problem>> {
        let good = "control_socket = 'control.sock'\ntrigger_socket = 'trigger.sock'\nbinary = '/bin/sh'\n";
        self.load_exactly(&format!("{good}{more}"))
    }

    fn load_exactly(&self, text: &str) -> Result<Config, Vec<Problem>> {
        let path = self.path().join("handoff.toml");
        fs::write(&path, text).unwrap();
        Config::load(&path)
    }
}

/// The one mistake in line 4 and below.
fn mistake(more: &str) -> String {
    let problems = Dir::new().load(more).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

#[test]
fn the_three_keys_without_a_default_are_enough() {
    let dir = Dir::new();
    let config = dir.load("").unwrap();
    assert_eq!(config.control_socket, dir.path().join("control.sock"), "relative to the file");
    assert_eq!(config.journal, dir.path().join("control.journal"));
    assert_eq!(config.binary, Path::new("/bin/sh"));
    assert_eq!(config.drain_grace, Duration::from_secs(60));
    assert_eq!(config.deadline, Duration::from_secs(300));
    assert_eq!(config.liveness, Duration::from_secs(5));
    assert_eq!(config.fall_back_after, 0, "never");
    assert!(config.listeners.is_empty() && config.allowed_uids.is_empty() && config.warnings.is_empty());
}

#[test]
fn every_key_is_read() {
    let dir = Dir::new();
    fs::create_dir(dir.path().join("j")).unwrap();
    let config = dir
        .load(
            "journal = 'j/journal'\nargs = ['--port', '1']\ndrain_grace_secs = 0.5\ndeadline_secs = 7\n\
             liveness_ms = 200\nstop_grace_secs = 3\nunreachable_secs = 4\ndata_dir = 'data'\nrestart_min_secs = 0.01\nrestart_max_secs = 1\nfall_back_after = 3\n\
             allowed_uids = [33, 34]\nallowed_binaries = ['/bin/ls', 'next']\nenv = { RUST_LOG = 'debug' }\n\
             [[listeners]]\nname = 'resp'\naddr = '127.0.0.1:6379'\n\
             [[listeners]]\nname = 'v6'\naddr = '[::]:80'\n[[listeners]]\nname = 'local'\naddr = 'unix:local.sock'\n",
        )
        .unwrap();
    assert_eq!(config.journal, dir.path().join("j/journal"));
    assert_eq!(config.allowed_uids, [33, 34]);
    assert_eq!(config.allowed_binaries, [Path::new("/bin/ls"), &dir.path().join("next")]);
    let addrs: Vec<String> = config.listeners.iter().map(|listener| listener.addr.to_string()).collect();
    let local = format!("unix:{}", dir.path().join("local.sock").display());
    assert_eq!(addrs, ["127.0.0.1:6379", "[::]:80", &local]);
    let warnings: Vec<(usize, &str)> =
        config.warnings.iter().map(|warning| (warning.line, warning.key.as_str())).collect();
    assert_eq!(warnings, [(11, "data_dir"), (16, "allowed_binaries")], "missing yet");

    let spec = config.spawn_spec(&config.binary);
    assert_eq!(spec.args, ["--port", "1"]);
    assert_eq!(spec.env, [("RUST_LOG".into(), "debug".into())]);
    assert_eq!((spec.drain_grace, spec.deadline), (Duration::from_millis(500), Duration::from_secs(7)));
    assert_eq!(spec.liveness, Duration::from_millis(200));
    assert_eq!(config.data_dir, Some(dir.path().join("data")));
    assert_eq!(config.recovery_spec().unreachable_limit, Duration::from_secs(4));
    assert_eq!((config.stop_grace, config.restart_max), (Duration::from_secs(3), Duration::from_secs(1)));
    assert_eq!(config.fall_back_after, 3);
}

#[test]
fn an_unknown_key_names_itself_its_line_and_what_is_allowed() {
    let text = mistake("\ndrain_grace = 5\n");
    assert!(text.starts_with("line 5: drain_grace: unknown key; allowed here: control_socket, "), "{text}");
    assert!(text.contains("drain_grace_secs") && text.contains("listeners"), "{text}");
    let text = mistake("[[listeners]]\nname = 'a'\naddr = '[::1]:1'\nport = 3\n");
    assert_eq!(
        text,
        "line 7: listeners[0].port: unknown key; allowed here: name, addr, only_v6, mode, owner"
    );
}

#[test]
fn a_bad_value_names_its_key_its_line_and_what_is_allowed() {
    let cases = [
        ("args = 'x'", "line 4: args: must be an array, not a string"),
        ("check_args = 'x'", "line 4: check_args: must be an array, not a string"),
        ("args = ['x',\n 7]", "line 5: args[1]: must be a string, not an integer"),
        ("drain_grace_secs = 'x'", "line 4: drain_grace_secs: must be a number, not a string"),
        (
            "drain_grace_secs = -1",
            "line 4: drain_grace_secs: must be a number of seconds from 0 to 86400, not -1",
        ),
        (
            "deadline_secs = nan",
            "line 4: deadline_secs: must be a number of seconds from 0.001 to 86400, not NaN",
        ),
        (
            "deadline_secs = 5\ndrain_grace_secs = 6",
            "line 5: drain_grace_secs: must not be more than deadline_secs (5), but is 6",
        ),
        (
            "restart_min_secs = 60\nrestart_max_secs = 30",
            "line 5: restart_min_secs: must not be more than restart_max_secs (30), but is 60",
        ),
        ("liveness_ms = 5", "line 4: liveness_ms: must be a whole number from 50 to 60000, not 5"),
        ("liveness_ms = 0.5", "line 4: liveness_ms: must be a whole number from 50 to 60000, not a float"),
        (
            "allowed_uids = [-1]",
            "line 4: allowed_uids[0]: must be a whole number from 0 to 4294967294, not -1",
        ),
        ("journal = ''", "line 4: journal: must be a path, not empty"),
        ("env = 7", "line 4: env: must be a table, not an integer"),
        (
            "[env]\nLISTEN_FDS = '3'",
            "line 4: env.LISTEN_FDS: is the supervisor's own: names must not begin with \
          LISTEN_ or HANDOFF_",
        ),
        ("[env]\n\"A=B\" = '3'", "line 4: env.A=B: \"A=B\" is not the name of an environment variable"),
        ("[env]\nA = 3", "line 4: env.A: must be a string, not an integer"),
        ("listeners = 3", "line 4: listeners: must be an array, not an integer"),
        ("metrics = 9180", "line 4: metrics: must be a string, not an integer"),
        ("metrics = 'localhost:9180'", "line 4: metrics: \"localhost:9180\" is not an address; allowed: "),
        ("[[listeners]]\nname = 'a'", "line 4: listeners[0].addr: is missing"),
        ("args = [", "line 4: "),
    ];
    for (more, expected) in cases {
        let text = mistake(more);
        assert!(text.starts_with(expected), "{more}\n{text}");
    }
}

#[test]
fn listeners_need_good_addresses_and_names_of_their_own() {
    let one = |name: &str, addr: &str| format!("[[listeners]]\nname = '{name}'\naddr = '{addr}'\n");
    let text = mistake(&one("a", "localhost:80"));
    assert!(
        text.starts_with("line 6: listeners[0].addr: \"localhost:80\" is not an address; allowed: "),
        "{text}"
    );
    assert!(mistake(&one("a b", "[::1]:1")).starts_with("line 5: listeners[0].name: "));
    assert!(mistake(&one("a", "unix:/nowhere/s")).contains("there is no directory /nowhere"));
    let twice = mistake(&(one("a", "[::1]:1") + &one("a", "[::1]:2")));
    assert_eq!(twice, "line 8: listeners[1].name: \"a\" is given twice");
    let twice = mistake(&(one("a", "[::1]:1") + &one("b", "[::1]:1")));
    assert_eq!(twice, "line 9: listeners[1].addr: [::1]:1 is given twice");
    assert!(
        Dir::new().load(&(one("a", "[::1]:0") + &one("b", "[::1]:0"))).is_ok(),
        "two ports of the system's choice"
    );
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_their_lines() {
    let problems = Dir::new()
        .load_exactly(
            "control_socket = 'a'\nbinary = '/nowhere'\ntypo = 1\nliveness_ms = 'x'\n[[listeners]]\n",
        )
        .unwrap_err();
    let found: Vec<(usize, &str)> =
        problems.iter().map(|problem| (problem.line, problem.key.as_str())).collect();
    let expected = [
        (0, "trigger_socket"),
        (2, "binary"),
        (3, "typo"),
        (4, "liveness_ms"),
        (5, "listeners[0].name"),
        (5, "listeners[0].addr"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn sockets_need_a_directory_a_short_path_and_one_each() {
    let dir = Dir::new();
    let load = |control: &str, trigger: &str| {
        let text = format!("control_socket = '{control}'\ntrigger_socket = '{trigger}'\nbinary = '/bin/sh'");
        dir.load_exactly(&text).unwrap_err()[0].to_string()
    };
    assert!(load("/nowhere/a", "b").starts_with("line 1: control_socket: there is no directory /nowhere"));
    assert!(load("a", &"b".repeat(120)).starts_with("line 2: trigger_socket: "));
    assert_eq!(load("a", "a"), "line 2: trigger_socket: must not be the same path as control_socket");
}

#[test]
fn the_binary_must_be_executable() {
    let dir = Dir::new();
    fs::write(dir.path().join("text"), "").unwrap();
    let load = |binary: &str| {
        let text = format!("control_socket = 'a'\ntrigger_socket = 'b'\nbinary = '{binary}'");
        dir.load_exactly(&text).unwrap_err()[0].to_string()
    };
    assert!(load("text").contains("not executable"), "{}", load("text"));
    assert!(load("/").contains("not a regular file"));
    assert!(load("missing").starts_with("line 3: binary: "));
}

#[test]
fn a_client_finds_the_trigger_socket_in_a_file_that_is_otherwise_broken() {
    let dir = Dir::new();
    dir.load_exactly("trigger_socket = 't'\nbinary = 3\ntypo = 1").unwrap_err();
    let file = dir.path().join("handoff.toml");
    assert_eq!(Config::trigger_socket_of(&file).unwrap(), dir.path().join("t"));
    dir.load_exactly("binary = 3").unwrap_err();
    assert_eq!(Config::trigger_socket_of(&file).unwrap_err()[0].key, "trigger_socket");
}

#[test]
fn only_listed_binaries_may_be_named_whatever_leads_to_them() {
    let dir = Dir::new();
    fs::write(dir.path().join("next"), "").unwrap();
    fs::write(dir.path().join("other"), "").unwrap();
    let config = dir.load("allowed_binaries = ['next', 'missing']").unwrap();
    let at = |name: &str| dir.path().join(name);
    std::os::unix::fs::symlink(at("next"), at("link")).unwrap();

    assert_eq!(config.allowed_binary(None).unwrap(), Path::new("/bin/sh"));
    assert_eq!(config.allowed_binary(Some(Path::new("/bin/../bin/sh"))).unwrap(), Path::new("/bin/sh"));
    assert_eq!(config.allowed_binary(Some(&at("next"))).unwrap(), at("next"));
    assert_eq!(
        config.allowed_binary(Some(&at("link"))).unwrap(),
        at("next"),
        "the listed path, not the link"
    );
    assert_eq!(config.allowed_binary(Some(&at("missing"))).unwrap(), at("missing"));
    assert_eq!(
        config.checked_spec(&at("missing")).unwrap_err().code,
        Code::NoBinary,
        "listed, but not there"
    );
    for name in ["other", "nowhere"] {
        let failure = config.allowed_binary(Some(&at(name))).unwrap_err();
        assert_eq!(failure.code, Code::NotAllowed);
        assert!(failure.message.contains("/bin/sh, ") && failure.message.contains("next"), "{failure}");
    }
}

#[test]
fn what_needs_a_restart_is_named_and_kept() {
    let dir = Dir::new();
    let old = dir.load("").unwrap();
    let fresh =
        dir.load("allowed_uids = [5]\nargs = ['x']\n[[listeners]]\nname = 'a'\naddr = '[::1]:1'").unwrap();
    assert_eq!(old.needs_restart(&fresh), ["allowed_uids", "listeners"]);
    let updated = old.updated(fresh.clone());
    assert_eq!(updated.args, fresh.args);
    assert_eq!(updated.needs_restart(&fresh), ["allowed_uids", "listeners"], "until it is restarted");
}

#[test]
fn the_example_shows_every_key_and_its_default() {
    let example = include_str!("../../handoff.example.toml");
    let dir = Dir::new();
    let unknown = mistake("typo = 1\n");
    let (_, keys) = unknown.split_once("allowed here: ").unwrap();
    for key in keys.split(", ").chain(["name =", "addr =", "only_v6 =", "mode =", "owner ="]) {
        assert!(example.contains(key), "{key} is missing");
    }
    // All of it, what is commented out included, but for what this machine does not have.
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let text = example
        .replace("\n#: ", "\n")
        .replace("\"kv:www-data\"", &format!("\"{uid}:{gid}\""))
        .replace("user = \"kv\"", &format!("user = {uid}"))
        .replace("group = \"kv\"", &format!("group = {gid}"))
        .replace("/usr/local/bin/kv-next", "ls")
        .replace("/usr/local/bin/kv", "/bin/sh");
    let config = dir.load_exactly(&text.replace("/run/kv/", "")).unwrap();
    assert_eq!(config.setting.umask, Some(0o027));
    let defaults = dir.load("").unwrap();
    let figures = |config: &Config| {
        let Config {
            drain_grace, deadline, liveness, stop_grace, unreachable, restart_min, restart_max, ..
        } = config;
        [*drain_grace, *deadline, *liveness, *stop_grace, *unreachable, *restart_min, *restart_max]
    };
    assert_eq!(figures(&config), figures(&defaults));
    assert_eq!(config.listeners.len(), 4);
}

#[test]
fn what_can_not_be_executed_is_refused_before_anything_is_touched() {
    let dir = Dir::new();
    let config = dir.load("").unwrap();
    for (name, why) in [("missing", "No such file"), ("", "not a regular file")] {
        let failure = config.checked_spec(&dir.path().join(name)).unwrap_err();
        assert_eq!(failure.code, Code::NoBinary);
        assert!(failure.message.contains(why), "{failure}");
    }
}

#[test]
fn more_than_a_supervisor_takes_over_or_keeps_is_refused() {
    let listeners = |count: usize| -> String {
        (0..count)
            .map(|n| format!("[[listeners]]\nname = 'l{n}'\naddr = '127.0.0.1:{}'\n", 1000 + n))
            .collect()
    };
    assert!(Dir::new().load(&listeners(bounds::LISTENERS)).is_ok());
    assert_eq!(mistake(&listeners(600)), "listeners: 600 are too many: at most 512");
    let args = |length: usize| format!("args = ['a', '{}']", "x".repeat(length));
    assert!(Dir::new().load(&args(10_000)).is_ok());
    let long = mistake(&args(30_000));
    assert!(long.starts_with("line 4: args: ") && long.contains("at most 20480"), "{long}");
}
