//! The reference supervisor, as people run it.
use std::fmt::Write as _;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use crate::build::Build;
use crate::layout::Layout;
use crate::processes;
use crate::script::Gate;
use crate::wait::{until, until_some};
use crate::world::{Bin, World};
use crate::writer::{Server, Writer};

/// A configuration, and the supervisor that runs on it, if one does. Dropped, it is killed.
#[derive(Debug)]
pub struct Reference {
    layout: Layout,
    listeners: Mutex<Vec<(String, String)>>,
    /// More lines of the configuration.
    extra: Mutex<String>,
    deadline_secs: u32,
    liveness_secs: u32,
    /// The events that are logged, unless it is what the tests wait for.
    log: Option<String>,
    /// More variables of each process's environment.
    env: Mutex<Vec<(String, PathBuf)>>,
    child: Mutex<Option<Child>>,
}

impl Reference {
    /// Nothing runs yet. `listeners` are names and addresses.
    pub fn new(world: &World, listeners: &[(&str, String)]) -> Reference {
        let reference = Reference {
            layout: world.layout().clone(),
            listeners: Mutex::default(),
            extra: Mutex::default(),
            deadline_secs: 600,
            liveness_secs: 15,
            log: None,
            env: Mutex::default(),
            child: Mutex::default(),
        };
        listeners.iter().for_each(|(name, addr)| reference.set_listener(name, addr));
        reference
    }

    /// Adds the listener `name` at `addr`, or moves it there, from the next configuration on.
    pub fn set_listener(&self, name: &str, addr: &str) {
        let mut listeners = self.listeners.lock().unwrap();
        match listeners.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = addr.into(),
            None => listeners.push((name.into(), addr.into())),
        }
    }

    /// Adds lines to the configuration, from the next one on.
    pub fn add(&self, lines: &str) {
        self.extra.lock().unwrap().push_str(lines);
    }

    /// The same with a swap that takes `secs` at most, and requests that get a tenth of that.
    #[must_use]
    pub fn deadline(mut self, secs: u32) -> Reference {
        self.deadline_secs = secs;
        self
    }

    /// The same where a peer that says nothing for `secs` counts as silent. By default that is longer than a process waits for a
    /// processor, however busy the machine is.
    #[must_use]
    pub fn liveness(mut self, secs: u32) -> Reference {
        self.liveness_secs = secs;
        self
    }

    /// The same with a log that `filter` filters.
    #[must_use]
    pub fn log(mut self, filter: &str) -> Reference {
        self.log = Some(filter.into());
        self
    }

    /// Returns a supervisor that runs the actor; its listeners are its own, not the world's.
    pub fn for_actor(world: &World) -> Reference {
        let socket = format!("unix:{}", world.layout().dir().join("served").display());
        let [tcp, unix] = Layout::LISTENERS;
        let reference = Reference::new(world, &[(tcp, free_address()), (unix, socket)]);
        reference.configure_build(&world.build());
        reference
    }

    /// A supervisor of the key-value server, and the address where that speaks RESP.
    pub fn for_kv(world: &World) -> (Reference, String) {
        let resp = free_address();
        let reference = Reference::new(world, &[("resp", resp.clone()), ("http", free_address())]);
        reference.configure_kv(&[]);
        (reference, resp)
    }

    /// The key-value server, with the arguments `more` besides, is what is swapped to from now on.
    pub fn configure_kv(&self, more: &[&str]) {
        let (data, control) = (self.layout.data(), self.layout.control());
        let [data, control] = [data, control].map(|path| path.display().to_string());
        let own = ["--data", &data, "--control", &control, "--map-size-mb", "64"];
        self.configure(&Bin::Kv.path(), &[&own, more].concat());
    }

    /// Sets a variable of each process that is started from now on: the supervisors, their daemons, the commands.
    pub fn set_env(&self, name: &str, value: impl Into<PathBuf>) {
        self.env.lock().unwrap().push((name.into(), value.into()));
    }

    /// A client that writes to the actor all the time.
    pub fn writer(&self) -> Writer {
        Writer::start("r", Server::Unix(self.layout.dir().join("served")))
    }

    /// The same over TCP.
    pub fn writer_over_tcp(&self) -> Writer {
        let listeners = self.listeners.lock().unwrap();
        let addr = listeners.iter().find_map(|(_, addr)| addr.parse().ok()).expect("it has a TCP listener");
        Writer::start("t", Server::Tcp(addr))
    }

    /// `build` is what is swapped to from now on.
    pub fn configure_build(&self, build: &Build) {
        let args: Vec<&str> = build.args.iter().map(|arg| arg.to_str().unwrap()).collect();
        self.configure(&build.binary, &args);
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.layout.run().join("handoff.toml")
    }

    /// The trigger socket.
    pub fn trigger(&self) -> PathBuf {
        self.layout.run().join("trigger")
    }

    /// Writes the configuration: `binary` with `args` is what is swapped to from now on.
    pub fn configure(&self, binary: &Path, args: &[&str]) {
        let mut listeners = String::new();
        for (name, addr) in self.listeners.lock().unwrap().iter() {
            write!(listeners, "[[listeners]]\nname = {name:?}\naddr = {addr:?}\n").unwrap();
        }
        let text = format!(
            "control_socket = {:?}\ntrigger_socket = {:?}\njournal = {:?}\nbinary = {binary:?}\nargs = {args:?}\n\
             drain_grace_secs = {}\ndeadline_secs = {}\nliveness_ms = {}\n{}{listeners}",
            self.layout.control(),
            self.trigger(),
            self.layout.journal(),
            self.deadline_secs / 10,
            self.deadline_secs,
            self.liveness_secs * 1000,
            self.extra.lock().unwrap(),
        );
        fs::write(self.config(), text).unwrap();
    }

    /// Runs it, and waits until the trigger socket answers and a daemon serves. Returns its pid.
    #[track_caller]
    pub fn start(&self) -> u32 {
        let pid = self.launch();
        self.wait_until_watching();
        pid
    }

    /// Runs it, and waits for nothing. Returns its pid.
    pub fn launch(&self) -> u32 {
        self.launch_in(Path::new("."))
    }

    /// The same, from the directory `dir`.
    pub fn launch_in(&self, dir: &Path) -> u32 {
        self.launch_by(self.command("run").current_dir(dir))
    }

    /// The same, in a process that stops itself (SIGSTOP) before it becomes the supervisor. Returns its pid once it is stopped.
    pub fn launch_held(&self) -> u32 {
        let run = self.command("run");
        let mut held = Command::new("sh");
        held.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
        let pid = self.launch_by(self.surroundings(&mut held));
        until("the supervisor is held", || processes::is_stopped(pid));
        pid
    }

    /// The same by `command`, which ends up as [`Reference::command`]'s `run`.
    pub fn launch_by(&self, command: &mut Command) -> u32 {
        let child = command.spawn().unwrap();
        let pid = child.id();
        *self.child.lock().unwrap() = Some(child);
        pid
    }

    /// Waits until the trigger socket answers and a daemon serves.
    #[track_caller]
    pub fn wait_until_watching(&self) {
        until_some("the supervisor has started the daemon", || self.is_watching().then_some(()));
    }

    /// Returns whether the trigger socket answers and a daemon serves.
    pub fn is_watching(&self) -> bool {
        let status = serde_json::from_slice::<serde_json::Value>(&self.ask("status").stdout);
        status.is_ok_and(|status| status["activity"] == "watching")
    }

    /// Ends it without a word, and sees it end.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Returns how it has ended, if it has.
    pub fn try_wait(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().as_mut().and_then(|child| child.try_wait().unwrap())
    }

    /// Returns where everything of this world is logged.
    pub fn output(&self) -> File {
        File::options().append(true).create(true).open(self.layout.output()).unwrap()
    }

    /// `run`, `swap` or `status`, on the configuration.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(Bin::Supervisor.path());
        command.arg(name).arg("--config").arg(self.config());
        self.surroundings(&mut command);
        command
    }

    /// The environment and the output of every process of this supervisor.
    fn surroundings<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env(Layout::MARK, self.layout.dir());
        command.envs(self.log.iter().map(|filter| ("RUST_LOG", filter)));
        command.envs(self.env.lock().unwrap().iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(self.output()).stderr(self.output())
    }

    /// Returns what `swap` or `status` says, as JSON.
    pub fn ask(&self, name: &str) -> Output {
        self.command(name).arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
    }

    /// The same, parsed, with the exit status.
    #[track_caller]
    pub fn ask_json(&self, name: &str) -> (i32, serde_json::Value) {
        parsed(&self.ask(name))
    }

    /// Asks for a swap, waits until it is held at `gate`, runs `during`, and opens the gate. What the command printed.
    ///
    /// The gate opens also if `during` panics: a swap that stays held would keep the test from ending.
    #[track_caller]
    pub fn swap_held<T>(&self, gate: &Gate, during: impl FnOnce() -> T) -> (Output, T) {
        thread::scope(|scope| {
            let swap = scope.spawn(|| self.ask("swap"));
            let done = catch_unwind(AssertUnwindSafe(|| {
                gate.wait();
                during()
            }));
            gate.open();
            let swap = swap.join().unwrap();
            (swap, done.unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }

    /// The same, parsed, with the exit status.
    #[track_caller]
    pub fn swap_held_json<T>(
        &self,
        gate: &Gate,
        during: impl FnOnce() -> T,
    ) -> ((i32, serde_json::Value), T) {
        let (swap, done) = self.swap_held(gate, during);
        (parsed(&swap), done)
    }

    /// Its pid, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap().as_ref().map(Child::id)
    }

    /// Sends it `signal`.
    pub fn signal(&self, signal: Signal) {
        self.pid().into_iter().for_each(|pid| processes::send(pid, signal));
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn wait(&self) -> ExitStatus {
        let mut child = self.child.lock().unwrap().take().expect("it runs");
        until_some("the supervisor ends", || child.try_wait().unwrap())
    }
}

/// Returns what a command with `--json` printed, and its exit status.
#[track_caller]
fn parsed(output: &Output) -> (i32, serde_json::Value) {
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().expect("it was not killed"), value)
}

/// An address that nothing else listens at: the loopback network has sixteen million, and the port is below those
/// that the system gives away.
pub fn free_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("127.{}.{}.{}:{}", 10 + pid / 250 % 240, pid % 250, 1 + next % 250, 7100 + next / 250)
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.kill();
    }
}
