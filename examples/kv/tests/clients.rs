//! Clients as they are installed, with their defaults, against the program, which is swapped while they work: `cargo test -p handoff-kv
//! --test clients -- --ignored`. They are fetched from their registries, so the everyday tests leave them out. A client that can't be
//! had here is skipped, and the test says so on standard error.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
mod common;

use std::io::{Write, stderr};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Raw, until};
use handoff::{Child, HandoffOutcome, SpawnSpec, Supervisor};
use handoff_kv::{HTTP, RESP};
use tempfile::TempDir;

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");

/// The number of times that the program is swapped while a client works.
const SWAPS: usize = 3;

/// The program under a supervisor, killed (SIGKILL) at the latest when it is dropped.
struct ServerProgram {
    supervisor: Supervisor,
    child: Option<Child>,
    port: u16,
    dir: TempDir,
}

impl ServerProgram {
    fn start() -> ServerProgram {
        let dir = tempfile::tempdir().unwrap();
        let [resp, http] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let port = resp.local_addr().unwrap().port();
        let supervisor = Supervisor::new(dir.path().join("control.sock")).unwrap();
        let supervisor = supervisor.with_listener(RESP, resp).unwrap().with_listener(HTTP, http).unwrap();
        let mut server = ServerProgram { supervisor, child: None, port, dir };
        let outcome = server.supervisor.cold_start(server.spec()).unwrap();
        server.serves(outcome);
        server
    }

    fn spec(&self) -> SpawnSpec {
        let mut spec = SpawnSpec::new(env!("CARGO_BIN_EXE_handoff-kv"));
        let [data, control] =
            ["data", "control.sock"].map(|name| self.dir.path().join(name).into_os_string());
        spec.args = vec!["--data".into(), data, "--control".into(), control];
        spec
    }

    fn swap(&mut self) {
        let outcome = self.supervisor.perform_handoff(self.spec()).unwrap();
        self.serves(outcome);
    }

    fn serves(&mut self, outcome: HandoffOutcome) {
        assert!(outcome.is_committed(), "{outcome:?}");
        self.child = outcome.child;
    }

    /// Returns what the server answers to `words`.
    fn ask(&self, words: &[&str]) -> String {
        let mut client = Raw::connect(SocketAddr::from(([127, 0, 0, 1], self.port)));
        for words in [words, &["QUIT"]] {
            client.send(format!("*{}\r\n", words.len()));
            words.iter().for_each(|word| client.send(format!("${}\r\n{word}\r\n", word.len())));
        }
        client.rest().trim_end_matches("+OK\r\n").to_owned()
    }

    /// Runs a client that says when it counts, counts until it is told that all swaps are over, and ends. What it says.
    fn swapped_beside(&mut self, client: &mut Command) -> String {
        let pipes = client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = pipes.spawn().unwrap();
        let mut ended = || running.try_wait().unwrap().is_some();
        for swap in 0..=SWAPS {
            let before = self.ask(&["GET", "count"]);
            until("the client counts", || ended() || self.ask(&["GET", "count"]) != before);
            if swap < SWAPS {
                self.swap();
            }
        }
        self.ask(&["SET", "swapped", "yes"]);
        succeeded(client, running.wait_with_output().unwrap())
    }
}

impl Drop for ServerProgram {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        child.kill().unwrap();
        child.wait_timeout(Duration::from_secs(60)).unwrap();
    }
}

/// Says something although the test passes; what `println!` says is kept back then.
fn say(text: &str) {
    stderr().write_all(format!("{}\n", text.trim_end()).as_bytes()).unwrap();
}

/// Runs what must succeed, and returns what it says.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    succeeded(command, output)
}

fn succeeded(command: &Command, output: Output) -> String {
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out
}

/// Returns whether all of `tools` are there; says so if not.
fn at_hand(client: &str, tools: &[&[&str]]) -> bool {
    let missing = tools.iter().find(|tool| {
        let status =
            Command::new(tool[0]).args(&tool[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        !status.is_ok_and(|status| status.success())
    });
    if let Some(missing) = missing {
        say(&format!("SKIPPED {client}: `{}` does not work here", missing.join(" ")));
    }
    missing.is_none()
}

/// Returns where `client`'s files and packages are.
fn workshop(client: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(client);
    std::fs::create_dir_all(&dir).unwrap();
    for file in Path::new(CLIENTS).read_dir().unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), dir.join(file.file_name())).unwrap();
    }
    dir
}

fn node(client: &str, script: &str) {
    if at_hand(client, &[&["npm", "--version"], &["node", "--version"]]) {
        let dir = workshop(client);
        run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--no-package-lock"])
            .current_dir(&dir));
        let mut server = ServerProgram::start();
        let port = server.port.to_string();
        say(&server.swapped_beside(Command::new("node").arg(script).arg(port).current_dir(&dir)));
    }
}

#[test]
#[ignore = "installs redis-py"]
fn redis_py_connects_with_its_defaults_and_works_through_swaps() {
    if at_hand(
        "redis-py",
        &[&["python3", "-m", "pip", "--version"], &["python3", "-c", "import venv, ensurepip"]],
    ) {
        let dir = workshop("redis-py");
        run(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(&dir));
        let python = dir.join("venv/bin/python");
        run(Command::new(&python)
            .args(["-m", "pip", "install", "-q", "-r", "requirements.txt"])
            .current_dir(&dir));
        let mut server = ServerProgram::start();
        let port = server.port.to_string();
        say(&server.swapped_beside(Command::new(&python).arg("redis_py.py").arg(port).current_dir(&dir)));
    }
}

#[test]
#[ignore = "installs node-redis"]
fn node_redis_connects_with_its_defaults_and_works_through_swaps() {
    node("node-redis", "node_redis.js");
}

#[test]
#[ignore = "installs ioredis"]
fn ioredis_connects_with_its_defaults_and_works_through_swaps() {
    node("ioredis", "ioredis.js");
}

#[test]
#[ignore = "needs redis-cli and redis-benchmark"]
fn the_tools_of_redis_work_with_their_defaults() {
    if at_hand("redis-tools", &[&["redis-cli", "--version"], &["redis-benchmark", "--version"]]) {
        let server = ServerProgram::start();
        let port = server.port.to_string();
        let cli = |args: &[&str]| run(Command::new("redis-cli").args(["-p", &port]).args(args));
        assert_eq!(cli(&["-r", "100", "incr", "n"]).lines().last(), Some("100"));
        assert_eq!(cli(&["-3", "get", "none"]), "\n");
        assert_eq!(cli(&["-3", "incrby", "n", "5"]), "105\n");
        for extra in [&[][..], &["-P", "16"], &["-3"]] {
            let mut benchmark = Command::new("redis-benchmark");
            benchmark.args(["-p", &port, "-t", "set,get,incr", "-n", "1000", "-q"]).args(extra);
            let told = run(&mut benchmark);
            assert!(told.contains("requests per second") && !told.to_lowercase().contains("error"), "{told}");
            // It overwrites its own lines while it works.
            told.split(['\r', '\n']).filter(|line| line.contains("requests per second")).for_each(say);
        }
    }
}
