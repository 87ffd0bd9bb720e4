//! The stage: a directory, a configuration, and a supervisor that runs the daemon. Whatever happens, it is struck:
//! no process stays, and no file that was not asked for.
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use handoff_supervisor::client;
use handoff_supervisor::exit::CommandFailure;
use handoff_supervisor::protocol::{StatusReport, SwapReport};
use nix::sys::signal::Signal;
use serde::Serialize;
use tempfile::TempDir;

use crate::builds::DaemonBuild;
use crate::process::{DemoProcess, TICK, kill_all_from, running_from};
use crate::watch::DemoWatch;

/// The longest time that a swap may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// The longest time that the first start may take, and a stop.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// The number of lines of the log that are shown when something went wrong.
const LOG_LINES: usize = 12;

/// The supervisor's configuration; see `supervisor/handoff.example.toml`.
#[derive(Serialize)]
struct SupervisorFile<'a> {
    control_socket: &'a Path,
    trigger_socket: &'a Path,
    journal: &'a Path,
    binary: &'a Path,
    args: Vec<&'a Path>,
    drain_grace_secs: f64,
    deadline_secs: f64,
    stop_grace_secs: f64,
    listeners: [ListenerTable; 2],
}

#[derive(Clone, Debug, Serialize)]
struct ListenerTable {
    name: &'static str,
    addr: SocketAddr,
}

/// A supervisor that runs the daemon.
#[derive(Debug)]
pub(crate) struct DemoStage {
    dir: PathBuf,
    /// Socket paths are short: the build directory may be too deep.
    sockets: TempDir,
    listeners: [ListenerTable; 2],
    supervisor: DemoProcess,
    watch: DemoWatch,
}

impl DemoStage {
    /// Starts the supervisor at `supervisor` with `first` as the daemon in `dir`, and waits until that serves.
    pub(crate) fn set(
        dir: &Path,
        supervisor: &Path,
        first: &DaemonBuild,
        watch: &DemoWatch,
    ) -> Result<DemoStage> {
        let sockets = tempfile::Builder::new().prefix("handoff-demo-").tempdir();
        let sockets = sockets.context("can't make a directory for sockets; TMPDIR can name another place")?;
        let listeners = free_listeners().context("can't find free ports on the loopback interface")?;
        let config = dir.join("handoff.toml");
        configure(dir, sockets.path(), &listeners, &first.binary, false)?;
        let log = File::create(dir.join("log")).context("can't create the log")?;
        let mut command = Command::new(supervisor);
        command.args(["run", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let supervisor = DemoProcess::start(&mut command)
            .with_context(|| format!("can't run {}", supervisor.display()))?;
        watch.add(&supervisor);
        let stage = DemoStage { dir: dir.into(), sockets, listeners, supervisor, watch: watch.clone() };
        let serving = |stage: &DemoStage| Ok(stage.status().is_ok_and(|status| status.answer.is_some()));
        stage.until("the daemon to serve", START_LIMIT, || serving(&stage))?;
        Ok(stage)
    }

    /// Returns where the daemon speaks RESP.
    pub(crate) fn resp(&self) -> SocketAddr {
        self.listeners[0].addr
    }

    /// Installs `build` and swaps to it; `broken`, it is told to fail to open its database.
    pub(crate) fn swap(&self, build: &DaemonBuild, broken: bool) -> Result<SwapReport> {
        configure(&self.dir, self.sockets.path(), &self.listeners, &build.binary, broken)?;
        self.asked(client::swap(&self.trigger(), None))
    }

    /// Returns what runs.
    pub(crate) fn status(&self) -> Result<StatusReport> {
        self.asked(client::status(&self.trigger()))
    }

    /// Waits for `what`, which `come` looks for, while the supervisor lives and no signal interrupts.
    pub(crate) fn until(
        &self,
        what: &str,
        limit: Duration,
        mut come: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let until = Instant::now() + limit;
        while !come()? {
            self.watch.check()?;
            if let Some(status) = self.supervisor.ended()? {
                bail!("the supervisor has ended: {status}; {}", self.log());
            }
            ensure!(Instant::now() < until, "waited {} s for {what}; {}", limit.as_secs(), self.log());
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// Stops supervisor and daemon, and looks at what is left.
    pub(crate) fn strike(self) -> Result<()> {
        self.supervisor.signal(Signal::SIGTERM);
        match self.supervisor.wait(2 * STOP_LIMIT)? {
            Some(status) => ensure!(status.success(), "the supervisor ended with {status}; {}", self.log()),
            None => bail!("the supervisor does not stop; {}", self.log()),
        }
        let left = running_from(&self.dir);
        ensure!(left.is_empty(), "processes are left: {left:?}; {}", self.log());
        Ok(())
    }

    fn trigger(&self) -> PathBuf {
        trigger_socket(self.sockets.path())
    }

    fn asked<T>(&self, answer: Result<T, CommandFailure>) -> Result<T> {
        answer.or_else(|failure| {
            self.watch.check()?;
            bail!("{failure}; {}", self.log())
        })
    }

    /// The end of the log, for people.
    fn log(&self) -> String {
        let text = std::fs::read(self.dir.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("the log ends:\n  {}", end.join("\n  "))
    }
}

impl Drop for DemoStage {
    fn drop(&mut self) {
        self.supervisor.signal(Signal::SIGTERM);
        if !matches!(self.supervisor.wait(2 * STOP_LIMIT), Ok(Some(_))) {
            self.supervisor.signal(Signal::SIGKILL);
            // So that no child is left as a zombie; after SIGKILL this is short.
            let _ = self.supervisor.wait(STOP_LIMIT);
        }
        // A daemon outlives a supervisor that was killed.
        kill_all_from(&self.dir);
    }
}

fn trigger_socket(sockets: &Path) -> PathBuf {
    sockets.join("trigger.sock")
}

/// Two ports that no process uses. The supervisor binds them a moment later.
fn free_listeners() -> std::io::Result<[ListenerTable; 2]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (resp, http) = (bind()?, bind()?);
    let listener = |name, socket: TcpListener| {
        Ok::<_, std::io::Error>(ListenerTable { name, addr: socket.local_addr()? })
    };
    Ok([listener(handoff_kv::RESP, resp)?, listener(handoff_kv::HTTP, http)?])
}

/// Writes the configuration, which the supervisor reads again at each swap.
fn configure(
    dir: &Path,
    sockets: &Path,
    listeners: &[ListenerTable; 2],
    binary: &Path,
    broken: bool,
) -> Result<()> {
    let (control, data) = (sockets.join("control.sock"), dir.join("data"));
    let mut args = vec![Path::new("--data"), &data, Path::new("--control"), &control];
    args.extend(broken.then_some(Path::new("--fail-open")));
    let config = SupervisorFile {
        control_socket: &control,
        trigger_socket: &trigger_socket(sockets),
        journal: &dir.join("journal"),
        binary,
        args,
        drain_grace_secs: DEADLINE.as_secs_f64() / 2.0,
        deadline_secs: DEADLINE.as_secs_f64(),
        stop_grace_secs: STOP_LIMIT.as_secs_f64(),
        listeners: listeners.clone(),
    };
    let text = toml::to_string(&config).context("a path is not UTF-8; --dir can name another place")?;
    std::fs::write(dir.join("handoff.toml"), text).context("can't write the configuration")
}
