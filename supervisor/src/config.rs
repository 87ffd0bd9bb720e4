//! The configuration file: its keys, their defaults, and everything that can be wrong with them.
//!
//! Loading a file checks all of it, the binary included, so that `check`, the start and each swap agree on what
//! is good. Relative paths are relative to the file's own directory.
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use handoff::bounds;
use handoff::node::keeper;
use handoff::unix::trusted::{self, Distrust};
use handoff::{RecoverySpec, SpawnSpec};
use nix::unistd::{AccessFlags, access};
use toml::de::DeValue;

use crate::exit::{Code, Failure};
pub use crate::fields::Problem;
use crate::fields::{At, Fields, Source, integer, number, string, table};

/// The longest path of a Unix socket, less what a temporary name beside it needs; see `unix(7)`.
const SOCKET_PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 } - 4;
/// The longest configuration, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// A day: no grace or deadline is longer.
const LONGEST_SECS: f64 = 86_400.0;

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Addr {
    /// An IP address and a port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Tcp(addr) => write!(f, "{addr}"),
            Addr::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening socket that the supervisor binds and the daemon inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The name by which the daemon asks for it (`LISTEN_FDNAMES`).
    pub name: String,
    /// Where it is bound.
    pub addr: Addr,
}

/// A good configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the daemon that serves can be reached.
    pub control_socket: PathBuf,
    /// Where `swap` and `status` reach the supervisor.
    pub trigger_socket: PathBuf,
    /// The supervisor's durable record. Default: beside the control socket.
    pub journal: PathBuf,
    /// The daemon.
    pub binary: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Added to the supervisor's own environment.
    pub env: Vec<(OsString, OsString)>,
    /// How long open requests may take to finish in a swap. Default 60 s.
    pub drain_grace: Duration,
    /// How long a whole swap may take. Default 300 s.
    pub deadline: Duration,
    /// A daemon that was silent for so long counts as hung. Default 5 s.
    pub liveness: Duration,
    /// How long the daemon may take to stop before it is killed. Default 60 s.
    pub stop_grace: Duration,
    /// A daemon that may hold the state and says nothing for so long, while none serves, is killed and replaced.
    /// Default 60 s.
    pub unreachable: Duration,
    /// The daemon's data directory: its lock's holder is then found though its sockets and the journal are gone.
    pub data_dir: Option<PathBuf>,
    /// The first pause between two restarts. Default 0.1 s.
    pub restart_min: Duration,
    /// The longest pause between two restarts; a daemon that lived for longer starts anew with the shortest.
    /// Default 30 s.
    pub restart_max: Duration,
    /// After so many starts in a row that came to nothing, or whose daemon died young, the binary committed before
    /// is started instead; never if 0. Default 0.
    pub fall_back_after: u32,
    /// Users who may use the trigger socket beside root and the supervisor's own.
    pub allowed_uids: Vec<u32>,
    /// What may be swapped to beside `binary`.
    pub allowed_binaries: Vec<PathBuf>,
    /// The listening sockets.
    pub listeners: Vec<Listener>,
    /// What is odd without being wrong.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// All that is wrong with it, in the order of its lines.
    pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
        let text = read(path)?;
        let source = Source::new(&text);
        let root = source.parse();
        let config = Reader { dir: directory(path)?, fields: Fields::new(&source, &root) }.config();
        let mut problems = source.into_problems();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => {
                problems.dedup();
                Err(problems)
            }
        }
    }

    /// The trigger socket alone: a client must reach a supervisor whatever else has become of its file.
    ///
    /// # Errors
    /// That key is missing or wrong, or the file can't be read.
    pub fn trigger_socket_of(path: &Path) -> Result<PathBuf, Vec<Problem>> {
        // What a client asks is answered by the process at the socket, whoever wrote the file.
        let text = fs::read_to_string(path).map_err(|error| whole_file(error.to_string()))?;
        let source = Source::new(&text);
        let root = source.parse();
        let mut reader = Reader { dir: directory(path)?, fields: Fields::new(&source, &root) };
        reader.socket("trigger_socket").map(|socket| socket.value).ok_or_else(|| source.into_problems())
    }

    /// How long things may take between two tasks, and when to fall back.
    pub(crate) fn keeper(&self) -> keeper::Config {
        keeper::Config {
            liveness: self.liveness,
            restart_min: self.restart_min,
            restart_max: self.restart_max,
            fall_back_after: self.fall_back_after,
            stop_grace: self.stop_grace,
        }
    }

    /// How `binary` is to be started.
    pub fn spawn_spec(&self, binary: &Path) -> SpawnSpec {
        let mut spec = SpawnSpec::new(binary);
        spec.args.clone_from(&self.args);
        spec.env.clone_from(&self.env);
        (spec.deadline, spec.drain_grace, spec.liveness) = (self.deadline, self.drain_grace, self.liveness);
        spec
    }

    /// How to find out who serves.
    pub(crate) fn recovery_spec(&self) -> RecoverySpec {
        let mut spec = RecoverySpec::default();
        (spec.liveness, spec.unreachable_limit, spec.deadline) =
            (self.liveness, self.unreachable, self.deadline);
        spec
    }

    /// The same for a binary that was never started here.
    ///
    /// # Errors
    /// [`Code::NoBinary`] if it can't be executed.
    pub fn checked_spec(&self, binary: &Path) -> Result<SpawnSpec, Failure> {
        executable(binary).map_err(|message| Failure::new(Code::NoBinary, message))?;
        Ok(self.spawn_spec(binary))
    }

    /// The listed path that `asked` means, or the configured binary if nothing was asked for. It is the listed
    /// path that is returned, never the one that was named: the caller could point that one elsewhere afterwards.
    ///
    /// # Errors
    /// [`Code::NotAllowed`], naming what is allowed.
    pub fn allowed_binary(&self, asked: Option<&Path>) -> Result<&Path, Failure> {
        let Some(asked) = asked else { return Ok(&self.binary) };
        let canonical = asked.canonicalize().ok();
        let mut listed = std::iter::once(&self.binary).chain(&self.allowed_binaries);
        let same = |path: &&PathBuf| canonical.is_some() && path.canonicalize().ok() == canonical;
        listed.find(same).map(PathBuf::as_path).ok_or_else(|| {
            let allowed: Vec<String> = std::iter::once(&self.binary)
                .chain(&self.allowed_binaries)
                .map(|path| path.display().to_string())
                .collect();
            let message = format!("{} is not allowed; allowed: {}", asked.display(), allowed.join(", "));
            Failure::new(Code::NotAllowed, message)
        })
    }

    /// `fresh`, but for the keys that can't change while the supervisor runs.
    pub fn updated(&self, fresh: Config) -> Config {
        Config {
            control_socket: self.control_socket.clone(),
            trigger_socket: self.trigger_socket.clone(),
            journal: self.journal.clone(),
            data_dir: self.data_dir.clone(),
            allowed_uids: self.allowed_uids.clone(),
            listeners: self.listeners.clone(),
            ..fresh
        }
    }

    /// The keys whose new values take effect only when the supervisor is started again.
    pub fn needs_restart(&self, fresh: &Config) -> Vec<&'static str> {
        let changed = [
            ("control_socket", self.control_socket != fresh.control_socket),
            ("trigger_socket", self.trigger_socket != fresh.trigger_socket),
            ("journal", self.journal != fresh.journal),
            ("data_dir", self.data_dir != fresh.data_dir),
            ("allowed_uids", self.allowed_uids != fresh.allowed_uids),
            ("listeners", self.listeners != fresh.listeners),
        ];
        changed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
    }
}

/// All mistakes as one failure.
pub fn failure(path: &Path, problems: &[Problem]) -> Failure {
    let lines: Vec<String> =
        problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect();
    Failure::new(Code::Config, lines.join("\n"))
}

/// Whether `path` is a file that this process may execute.
///
/// # Errors
/// What it is instead, in words.
pub fn executable(path: &Path) -> Result<(), String> {
    trusted::check_executable(path).map_err(|error| match Distrust::of(&error) {
        Some(distrust) => distrust.to_string(),
        None => format!("{}: {error}", path.display()),
    })?;
    access(path, AccessFlags::X_OK).map_err(|_| format!("{}: not executable by this user", path.display()))
}

fn read(path: &Path) -> Result<String, Vec<Problem>> {
    trusted::read_named(path, FILE_MAX).map_err(|error| whole_file(error.to_string()))
}

fn directory(path: &Path) -> Result<PathBuf, Vec<Problem>> {
    let absolute = std::path::absolute(path).map_err(|error| whole_file(error.to_string()))?;
    Ok(absolute.parent().unwrap_or(Path::new("/")).to_path_buf())
}

fn whole_file(message: String) -> Vec<Problem> {
    vec![Problem { line: 0, key: String::new(), message }]
}

/// Reads the keys of the top level, and of those below it.
struct Reader<'a> {
    dir: PathBuf,
    fields: Fields<'a>,
}

impl Reader<'_> {
    /// `None` only if a mistake was noted.
    fn config(mut self) -> Option<Config> {
        let control_socket = self.socket("control_socket");
        let trigger_socket = self.socket("trigger_socket");
        let journal = self.path("journal");
        let binary = self.binary();
        let args = self.fields.list("args", string);
        let env = self.env();
        let drain_grace = self.seconds("drain_grace_secs", 60.0);
        let deadline = self.seconds("deadline_secs", 300.0);
        let liveness = self.fields.optional("liveness_ms", |value| integer(value, 50..60_001));
        let stop_grace = self.seconds("stop_grace_secs", 60.0);
        let unreachable = self.seconds("unreachable_secs", 60.0);
        let data_dir = self.path("data_dir");
        let restart_min = self.seconds("restart_min_secs", 0.1);
        let restart_max = self.seconds("restart_max_secs", 30.0);
        let allowed_uids = self.fields.list("allowed_uids", |value| integer(value, 0..u32::MAX.into()));
        let fall_back_after =
            self.fields.optional("fall_back_after", |value| integer(value, 0..u64::from(u32::MAX) + 1));
        let (allowed_binaries, warnings) = self.allowed_binaries();
        let listeners = self.listeners();
        binary.iter().for_each(|binary| self.short(binary, &args));
        if listeners.len() > bounds::LISTENERS {
            let (count, most) = (listeners.len(), bounds::LISTENERS);
            self.fields.note(0, "listeners", format!("{count} are too many: at most {most}"));
        }
        self.ordered("drain_grace_secs", &drain_grace, "deadline_secs", &deadline);
        self.ordered("restart_min_secs", &restart_min, "restart_max_secs", &restart_max);
        self.distinct(&[("control_socket", &control_socket), ("trigger_socket", &trigger_socket)]);
        self.fields.finish();

        let control_socket = control_socket?.value;
        Some(Config {
            journal: journal
                .map_or_else(|| control_socket.with_extension("journal"), |journal| journal.value),
            control_socket,
            trigger_socket: trigger_socket?.value,
            binary: binary?,
            args: args.into_iter().map(|arg| arg.value.into()).collect(),
            env,
            drain_grace: drain_grace.value,
            deadline: deadline.value,
            liveness: Duration::from_millis(liveness.map_or(5000, |liveness| liveness.value)),
            stop_grace: stop_grace.value,
            unreachable: unreachable.value,
            data_dir: data_dir.map(|dir| dir.value),
            restart_min: restart_min.value,
            restart_max: restart_max.value,
            fall_back_after: fall_back_after.and_then(|count| count.value.try_into().ok()).unwrap_or(0),
            allowed_uids: allowed_uids.into_iter().filter_map(|uid| u32::try_from(uid.value).ok()).collect(),
            allowed_binaries,
            listeners,
            warnings,
        })
    }

    fn path(&mut self, key: &'static str) -> Option<At<PathBuf>> {
        let dir = &self.dir;
        self.fields.optional(key, |value| absolute(dir, value))
    }

    fn socket(&mut self, key: &'static str) -> Option<At<PathBuf>> {
        let dir = &self.dir;
        self.fields.required(key, |value| socket_path(&absolute(dir, value)?))
    }

    fn binary(&mut self) -> Option<PathBuf> {
        let dir = &self.dir;
        let binary = self.fields.required("binary", |value| {
            let path = absolute(dir, value)?;
            executable(&path).map(|()| path)
        });
        binary.map(|binary| binary.value)
    }

    /// A listed binary may be missing: it is listed for a build that is yet to come.
    fn allowed_binaries(&mut self) -> (Vec<PathBuf>, Vec<Problem>) {
        let dir = &self.dir;
        let listed = self.fields.list("allowed_binaries", |value| absolute(dir, value));
        let warning = |path: &At<PathBuf>| {
            let message = executable(&path.value).err()?;
            Some(Problem { line: path.line, key: "allowed_binaries".into(), message })
        };
        let warnings = listed.iter().filter_map(warning).collect();
        (listed.into_iter().map(|path| path.value).collect(), warnings)
    }

    fn env(&mut self) -> Vec<(OsString, OsString)> {
        let Some(env) = self.fields.optional("env", table) else { return Vec::new() };
        let mut read = Vec::new();
        for (name, value) in env.value.iter() {
            let name: &str = name.get_ref();
            let value = variable(name).and_then(|()| string(value.get_ref()));
            match value {
                Ok(value) => read.push((name.into(), value.into())),
                Err(message) => self.fields.note(env.line, &format!("env.{name}"), message),
            }
        }
        read
    }

    fn seconds(&mut self, key: &'static str, default_secs: f64) -> At<Duration> {
        let given = self.fields.optional(key, |value| {
            let secs = number(value)?;
            let in_range = (0.0..=LONGEST_SECS).contains(&secs);
            in_range
                .then(|| Duration::from_secs_f64(secs))
                .ok_or_else(|| format!("must be a number of seconds from 0 to {LONGEST_SECS}, not {secs}"))
        });
        given.unwrap_or_else(|| At { line: 0, value: Duration::from_secs_f64(default_secs) })
    }

    fn listeners(&mut self) -> Vec<Listener> {
        let (mut names, mut addrs) = (BTreeSet::new(), BTreeSet::new());
        let mut listeners = Vec::new();
        for mut fields in self.fields.tables("listeners") {
            let name = fields.required("name", listener_name);
            let addr = fields.required("addr", |value| parse_addr(&self.dir, string(value)?));
            if let Some(name) = &name
                && !names.insert(name.value.clone())
            {
                fields.note(name.line, "name", format!("{:?} is given twice", name.value));
            }
            if let Some(addr) = &addr
                && !is_any_port(&addr.value)
                && !addrs.insert(addr.value.clone())
            {
                fields.note(addr.line, "addr", format!("{} is given twice", addr.value));
            }
            fields.finish();
            if let (Some(name), Some(addr)) = (name, addr) {
                listeners.push(Listener { name: name.value, addr: addr.value });
            }
        }
        listeners
    }

    fn ordered(&self, low_key: &str, low: &At<Duration>, high_key: &str, high: &At<Duration>) {
        if low.value > high.value {
            let (low_secs, high_secs) = (low.value.as_secs_f64(), high.value.as_secs_f64());
            let message = format!("must not be more than {high_key} ({high_secs}), but is {low_secs}");
            self.fields.note(low.line.max(high.line), low_key, message);
        }
    }

    /// A command that the journal has no room for could not be started again.
    fn short(&self, binary: &Path, args: &[At<&str>]) {
        let words = args.iter().map(|arg| arg.value.as_bytes());
        let length = bounds::command_length(binary.as_os_str().as_bytes(), words);
        if length > bounds::COMMAND {
            let line = args.first().map_or(0, |arg| arg.line);
            let most = bounds::COMMAND;
            self.fields.note(
                line,
                "args",
                format!("with binary's path they take {length} bytes: at most {most}"),
            );
        }
    }

    fn distinct(&self, sockets: &[(&str, &Option<At<PathBuf>>); 2]) {
        if let [(first, Some(a)), (second, Some(b))] = sockets
            && a.value == b.value
        {
            self.fields.note(b.line, second, format!("must not be the same path as {first}"));
        }
    }
}

fn absolute(dir: &Path, value: &DeValue<'_>) -> Result<PathBuf, String> {
    match string(value)? {
        "" => Err("must be a path, not empty".into()),
        path => Ok(dir.join(path)),
    }
}

fn socket_path(path: &Path) -> Result<PathBuf, String> {
    let len = path.as_os_str().as_bytes().len();
    if len > SOCKET_PATH_MAX {
        return Err(format!(
            "{} has {len} bytes; a socket's path has at most {SOCKET_PATH_MAX}",
            path.display()
        ));
    }
    match path.parent() {
        Some(parent) if parent.is_dir() => Ok(path.to_path_buf()),
        Some(parent) => Err(format!("there is no directory {}", parent.display())),
        None => Err(format!("{} is not the path of a socket", path.display())),
    }
}

fn listener_name<'a>(value: &'a DeValue<'a>) -> Result<String, String> {
    let name = string(value)?;
    let good =
        (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    good.then(|| name.to_string()).ok_or_else(|| {
        format!("{name:?} must be 1 to 255 printable ASCII characters without space and colon")
    })
}

fn parse_addr(dir: &Path, text: &str) -> Result<Addr, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(&dir.join(path)).map(Addr::Unix);
    }
    text.parse().map(Addr::Tcp).map_err(|_| {
        format!("{text:?} is not an address; allowed: \"127.0.0.1:6379\", \"[::]:80\", \"unix:/path\"")
    })
}

fn is_any_port(addr: &Addr) -> bool {
    matches!(addr, Addr::Tcp(addr) if addr.port() == 0)
}

fn variable(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("is not the name of an environment variable".into());
    }
    if name.starts_with("LISTEN_") || name.starts_with("HANDOFF_") {
        return Err("is the supervisor's own: names must not begin with LISTEN_ or HANDOFF_".into());
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
