//! Every command that a page shows is run here, or is listed in `commands-not-run.txt` with the reason why not. What a listed
//! command names must be there all the same. The commands of the simulator are run by `sim/tests/commands.rs`.
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use handoff_tests::lists::listed;
use handoff_tests::{Bin, Layout, World, until, until_some};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use crate::shell::commands_on;
use crate::{pages, put_configuration_of_the_readme, read, root};

/// The end of a command.
#[derive(Clone, Copy)]
enum StepEnd {
    /// The command ends with this status.
    Exits(i32),
    /// The command is a supervisor, and a daemon serves; the file that it logs to has the text.
    Supervises,
    /// The command prints a line, and goes on until Ctrl-C.
    Interrupted,
}
use StepEnd::{Exits, Interrupted, Supervises};

/// A command as a page has it, what is put in for words of it, what comes of it, and what it prints among other things.
type SessionStep = (&'static str, &'static [(&'static str, &'static str)], StepEnd, &'static str);

/// The acts of an operator, one command after the other, in a directory with the README's configuration. The
/// data directory and the configuration are open to others at first.
const SESSION: [SessionStep; 22] = [
    ("chmod go-rwx DIR", &[("DIR", "var/lib/lines/data")], Exits(0), ""),
    ("chmod go-w /etc/kv/handoff.toml", &[("/etc/kv/handoff.toml", "handoff.toml")], Exits(0), ""),
    ("handoff-supervisor --help", &[], Exits(0), "Exit status:"),
    ("handoff-supervisor check --config handoff.toml", &[], Exits(0), "handoff.toml: good"),
    ("handoff-supervisor run --config handoff.toml", &[], Supervises, " INFO "),
    ("handoff-supervisor status --config handoff.toml", &[], Exits(0), "daemon:     pid "),
    ("handoff-supervisor status --config handoff.toml --watch", &[], Interrupted, "handoff-minimal"),
    ("handoff-supervisor swap --config handoff.toml --dry-run", &[], Exits(0), "tried: "),
    ("handoff-supervisor swap --config handoff.toml", &[], Exits(0), "committed: "),
    (
        "handoff-supervisor swap --config handoff.toml --expect-build ID",
        &[("ID", "another")],
        Exits(77),
        "\"another\" is expected",
    ),
    (
        "handoff-supervisor swap --config handoff.toml --binary PATH",
        &[("PATH", "usr/local/bin/handoff-minimal")],
        Exits(0),
        "committed: ",
    ),
    (
        "handoff-supervisor swap --config handoff.toml --binary PATH --expect-build ID",
        &[("PATH", "usr/local/bin/handoff-minimal"), ("ID", "''")],
        Exits(0),
        "committed: ",
    ),
    ("handoff-supervisor history --config handoff.toml", &[], Exits(0), "committed in "),
    ("handoff-supervisor cancel --config handoff.toml", &[], Exits(69), "no swap is under way"),
    ("handoff-supervisor accept-data --config handoff.toml", &[], Exits(69), "there is nothing to accept"),
    ("handoff-supervisor journal show --config handoff.toml", &[], Exits(0), "running:   pid "),
    ("handoff-supervisor detach --config handoff.toml", &[], Exits(0), " serves on"),
    ("HANDOFF_LOG=handoff=trace handoff-supervisor run --config handoff.toml", &[], Supervises, " TRACE "),
    ("handoff-supervisor status --config handoff.toml", &[], Exits(0), "recovered:  "),
    ("handoff-supervisor completions bash", &[], Exits(0), "accept-data"),
    ("handoff-supervisor man DIR", &[("DIR", "run")], Exits(0), ""),
    ("handoff-supervisor journal show --config handoff.toml", &[], Exits(0), "running:   pid "),
];

/// The place where the session takes place.
struct OperatorSession {
    world: World,
    supervisor: Option<Child>,
}

impl OperatorSession {
    fn new() -> OperatorSession {
        let world = World::new();
        let dir = world.layout().dir();
        put_configuration_of_the_readme(dir);
        fs::set_permissions(dir.join("handoff.toml"), fs::Permissions::from_mode(0o664)).unwrap();
        fs::create_dir(dir.join("bin")).unwrap();
        symlink(Bin::Supervisor.path(), dir.join("bin/handoff-supervisor")).unwrap();
        OperatorSession { world, supervisor: None }
    }

    fn dir(&self) -> &Path {
        self.world.layout().dir()
    }

    /// `line`, as typed into a shell, in a process group of its own.
    fn shell(&self, line: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.dir()).process_group(0).stdin(Stdio::null());
        command.env("PATH", format!("{}:{path}", self.dir().join("bin").display()));
        command.env(Layout::MARK, self.dir()).env("HANDOFF_TEST_OWN_LOG", "1");
        command
    }

    fn take(&mut self, (command, given, end, prints): SessionStep) {
        let line = given.iter().fold(command.to_string(), |line, (word, value)| line.replace(word, value));
        match end {
            Exits(code) => {
                let output = self.shell(&line).output().unwrap();
                let said =
                    [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
                assert_eq!(output.status.code(), Some(code), "{command}: {said}");
                assert!(said.contains(prints), "{command}: {said}");
            }
            Supervises => self.supervise(&line, prints),
            Interrupted => {
                let mut child = self.shell(&line).stdout(Stdio::piped()).spawn().unwrap();
                let mut first = String::new();
                BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
                assert!(first.contains(prints), "{command}: {first}");
                killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
                until_some("Ctrl-C ends it", || child.try_wait().unwrap());
            }
        }
    }

    /// Starts a supervisor when the one before it has ended, and waits until a daemon serves.
    fn supervise(&mut self, line: &str, prints: &str) {
        if let Some(mut before) = self.supervisor.take() {
            until_some("the supervisor has left", || before.try_wait().unwrap());
        }
        let log = self.world.layout().output();
        let _ = fs::remove_file(&log);
        let to = File::options().append(true).create(true).open(&log).unwrap();
        let child = self.shell(line).stdout(Stdio::null()).stderr(to).spawn().unwrap();
        self.supervisor = Some(child);
        until("a daemon serves", || {
            let status =
                self.shell("handoff-supervisor status --config handoff.toml --json").output().unwrap();
            let status = serde_json::from_slice::<Value>(&status.stdout).unwrap_or_default();
            status["activity"] == "watching"
        });
        until(line, || fs::read_to_string(&log).is_ok_and(|log| log.contains(prints)));
    }
}

#[test]
fn what_an_operator_is_told_to_type_does_what_the_pages_say() {
    let mut session = OperatorSession::new();
    for step in SESSION {
        session.take(step);
    }
    let pages = fs::read_dir(session.dir().join("run")).unwrap().map(|entry| entry.unwrap().file_name());
    let pages: Vec<String> = pages.map(|name| name.into_string().unwrap()).collect();
    assert!(pages.iter().any(|name| name == "handoff-supervisor-swap.1"), "{pages:?}");
}

fn not_run() -> PathBuf {
    root().join("tests/tests/docs/commands-not-run.txt")
}

/// The commands of all pages but the simulator's.
fn shown() -> BTreeSet<String> {
    let all = pages().into_iter().flat_map(|page| commands_on(&read(&page)));
    all.filter(|command| !command.contains("handoff-sim ")).collect()
}

#[test]
fn every_command_is_run_or_listed_with_the_reason_why_not() {
    let shown = shown();
    let run: BTreeSet<String> = SESSION.iter().map(|(command, ..)| (*command).to_string()).collect();
    let listed: BTreeSet<String> = listed(&not_run()).into_keys().collect();
    let known: BTreeSet<String> = run.union(&listed).cloned().collect();
    let lines =
        |commands: Vec<&String>| commands.into_iter().map(|line| format!("{line}\n")).collect::<String>();
    let missing = lines(shown.difference(&known).collect());
    assert!(
        missing.is_empty(),
        "add them to the session, or with a reason to commands-not-run.txt:\n{missing}"
    );
    let stale = lines(known.difference(&shown).collect());
    assert!(stale.is_empty(), "no page shows them any more:\n{stale}");
    let twice = lines(run.intersection(&listed).collect());
    assert!(twice.is_empty(), "they are run, so no reason is needed:\n{twice}");
}

/// Returns what cargo knows of the workspace: packages, each with its targets and features.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(root());
    let output = metadata.output().unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    metadata["packages"].as_array().unwrap().clone()
}

/// Returns whether one of `packages` has the target, or the feature, that `option` means by `name`.
fn has(packages: &[&Value], option: &str, name: &str) -> bool {
    let has_target = |package: &Value, kind: &str| {
        let targets = package["targets"].as_array().unwrap();
        targets.iter().any(|target| target["name"] == name && target["kind"][0] == kind)
    };
    packages.iter().any(|package| match option {
        "-p" => package["name"] == name,
        "--features" => !package["features"][name].is_null(),
        "--test" => has_target(package, "test"),
        "--bench" => has_target(package, "bench"),
        "--bin" => has_target(package, "bin"),
        _ => true,
    })
}

/// Returns whether a test, or a module of tests, below the folder of one of `packages` has `filter` in its
/// name.
fn has_test(packages: &[&Value], filter: &str) -> bool {
    let filter = filter.rsplit("::").next().unwrap_or_default();
    packages.iter().any(|package| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let mut names = BTreeSet::new();
        crate::tests_below(manifest.parent().unwrap(), &mut names);
        names.iter().any(|name| name.contains(filter))
    })
}

/// Returns what a command of cargo names and is not there.
fn missing_of_cargo(command: &str, packages: &[Value]) -> Vec<String> {
    let words: Vec<&str> = command.split([' ', ')']).skip_while(|word| *word != "cargo").collect();
    let Some(what) = words.get(1).filter(|what| ["bench", "package", "run", "test"].contains(what)) else {
        return Vec::new();
    };
    let options: Vec<(&str, &str)> = words.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let meant: Vec<&str> =
        options.iter().filter(|(option, _)| *option == "-p").map(|(_, name)| *name).collect();
    let is_meant = |package: &&Value| meant.is_empty() || meant.iter().any(|name| package["name"] == *name);
    let meant: Vec<&Value> = packages.iter().filter(is_meant).collect();
    let absent = options.iter().filter(|(option, name)| !has(&meant, option, name));
    let mut missing: Vec<String> = absent.map(|(option, name)| format!("{option} {name}")).collect();
    let takes_value =
        |at: usize| matches!(words[at - 1], "-p" | "--test" | "--bench" | "--bin" | "--features");
    let filter = (2..words.len()).find(|at| !words[*at].starts_with('-') && !takes_value(*at));
    let before_tests = words.iter().position(|word| *word == "--").unwrap_or(words.len());
    if let Some(at) = filter.filter(|at| *what == "test" && *at < before_tests)
        && !has_test(&meant, words[at])
    {
        missing.push(format!("test {}", words[at]));
    }
    missing
}

/// Returns which words of a command are paths of the workspace and lead nowhere, or variables that no source
/// reads.
fn missing_of_workspace(command: &str, sources: &str) -> Vec<String> {
    let is_there = |word: &str| match word.split_once('=') {
        Some((variable, _)) if variable.starts_with("HANDOFF_") => sources.contains(variable),
        _ => {
            let first = word.split('/').next().unwrap_or_default();
            first.is_empty() || first == word || !root().join(first).is_dir() || root().join(word).exists()
        }
    };
    command.split([' ', '(', ')']).filter(|word| !is_there(word)).map(String::from).collect()
}

/// The text of all Rust files below `dir`.
fn text_below(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() && !entry.ends_with("target") {
            text_below(&entry, text);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&entry).unwrap());
        }
    }
}

#[test]
fn what_a_command_that_is_not_run_names_is_there() {
    let packages = packages();
    let mut sources = String::new();
    ["core", "sim", "snapshots", "tests"]
        .iter()
        .for_each(|member| text_below(&root().join(member), &mut sources));
    let mut missing = Vec::new();
    for command in listed(&not_run()).into_keys() {
        let gone = [missing_of_cargo(&command, &packages), missing_of_workspace(&command, &sources)].concat();
        missing.extend(gone.into_iter().map(|what| format!("{command}: there is no {what}")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Checks that `ci/systemd` gives to a systemd of its own every command that a page gives to systemd.
#[test]
fn every_command_to_systemd_is_given_to_a_real_one() {
    let script = read("ci/systemd");
    for command in shown().into_iter().filter(|command| command.starts_with("systemctl ")) {
        assert!(script.contains(&command), "ci/systemd has no {command}");
    }
}
