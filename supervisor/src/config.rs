//! The configuration file: its keys, their defaults, and everything that can be wrong with them.
//!
//! Loading a file checks all of it, the binary included, so that `check`, the start and each swap agree on what
//! is good. Relative paths are relative to the file's own directory.
mod addr;
mod bad_value;
mod check;
mod reader;
mod rights;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use handoff::node::keeper;
use handoff::unix::trusted::{self, Distrust};
use handoff::{RecoverySpec, Setting, SpawnSpec};
use nix::unistd::{AccessFlags, access};

pub use self::addr::{Addr, ListenerConfig};
pub use self::bad_value::NotExecutable;
use self::reader::Reader;
use crate::exit::{Code, CommandFailure};
pub use crate::fields::Problem;
use crate::fields::{Fields, Source};

/// The longest configuration, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// A good configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The path at which the daemon that serves can be reached.
    pub control_socket: PathBuf,
    /// The path at which `swap` and `status` reach the supervisor.
    pub trigger_socket: PathBuf,
    /// The supervisor's durable record. Default: beside the control socket, or beside the trigger socket if the daemon
    /// has a user of its own.
    pub journal: PathBuf,
    /// The daemon.
    pub binary: PathBuf,
    /// The reason why it can't be executed, if it can't.
    pub no_binary: Option<String>,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The arguments with which the binary checks itself before a swap; no check if empty.
    pub check_args: Vec<OsString>,
    /// Added to what is passed on of the supervisor's own environment.
    pub env: Vec<(OsString, OsString)>,
    /// The daemon's user, directory and umask, and what is passed on of the supervisor's environment.
    pub setting: Setting,
    /// The longest time that open requests may take to finish in a swap. Default 60 s, or half of `deadline`
    /// if that is less.
    pub drain_grace: Duration,
    /// The longest time that a whole swap may take. Default 300 s.
    pub deadline: Duration,
    /// A daemon that was silent for so long counts as hung. Default 5 s.
    pub liveness: Duration,
    /// The longest time that the daemon may take to stop before it is killed. Default 60 s.
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
    /// Users that may use the trigger socket beside root and the supervisor's own.
    pub allowed_uids: Vec<u32>,
    /// The binaries that may be swapped to beside `binary`.
    pub allowed_binaries: Vec<PathBuf>,
    /// The address at which Prometheus is told how the supervisor and its daemon are: a loopback address, or
    /// a Unix socket.
    pub metrics: Option<Addr>,
    /// The listening sockets.
    pub listeners: Vec<ListenerConfig>,
    /// The settings that are odd without being wrong.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// All that is wrong with it, in the order of its lines.
    pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
        let (config, problems) = Config::read(path)?;
        config.filter(|_| problems.is_empty()).ok_or(problems)
    }

    /// The same for a supervisor that starts or restarts a daemon: that the binary can't be executed is no error then
    /// ([`Config::no_binary`]). A daemon may serve, and what was committed may be there.
    ///
    /// # Errors
    /// All else that is wrong with it.
    pub fn load_to_run(path: &Path) -> Result<Config, Vec<Problem>> {
        let (config, mut problems) = Config::read(path)?;
        let Some(config) = config else { return Err(problems) };
        problems
            .retain(|problem| problem.key != "binary" || Some(&problem.message) != config.no_binary.as_ref());
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Returns what can be read of the file, and all that is wrong with it.
    fn read(path: &Path) -> Result<(Option<Config>, Vec<Problem>), Vec<Problem>> {
        let text = read(path)?;
        let source = Source::new(&text);
        let root = source.parse();
        if !source.is_good() {
            return Err(source.into_problems());
        }
        let mut config = Reader { dir: directory(path)?, fields: Fields::new(&source, &root) }.config();
        if let Some(config) = &mut config {
            check::check(config, path, &source, &source.lines(&root));
        }
        Ok((config, source.into_problems()))
    }

    /// The trigger socket alone: a client must reach a supervisor whatever else has become of its file.
    ///
    /// # Errors
    /// That key is missing or wrong, or the file can't be read.
    pub fn trigger_socket_of(path: &Path) -> Result<PathBuf, Vec<Problem>> {
        // What a client asks is answered by the process at the socket, whichever user wrote the file.
        let text = fs::read_to_string(path).map_err(|error| whole_file(error.to_string()))?;
        let source = Source::new(&text);
        let root = source.parse();
        let mut reader = Reader { dir: directory(path)?, fields: Fields::new(&source, &root) };
        reader.socket("trigger_socket").map(|socket| socket.value).ok_or_else(|| source.into_problems())
    }

    /// Returns how long things may take between two tasks, and when to fall back.
    pub(crate) fn keeper(&self) -> keeper::Limits {
        keeper::Limits {
            liveness: self.liveness,
            restart_min: self.restart_min,
            restart_max: self.restart_max,
            fall_back_after: self.fall_back_after,
            stop_grace: self.stop_grace,
        }
    }

    /// Returns how `binary` is to be started.
    pub fn spawn_spec(&self, binary: &Path) -> SpawnSpec {
        let mut spec = SpawnSpec::new(binary);
        spec.args.clone_from(&self.args);
        spec.env.clone_from(&self.env);
        spec.setting.clone_from(&self.setting);
        (spec.deadline, spec.drain_grace, spec.liveness) = (self.deadline, self.drain_grace, self.liveness);
        spec
    }

    /// Has the binary check itself, if `check_args` says how; what is wrong.
    pub(crate) fn checked_binary(&self) -> Option<Problem> {
        let mut spec = self.spawn_spec(&self.binary);
        spec.check_args.clone_from(&self.check_args);
        let failed = spec.check_itself(|| false).err()?;
        Some(Problem { line: 0, key: "check_args".into(), message: failed.to_string() })
    }

    /// Returns how to find the daemon that serves.
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
    pub fn checked_spec(&self, binary: &Path) -> Result<SpawnSpec, CommandFailure> {
        executable(binary).map_err(|error| CommandFailure::new(Code::NoBinary, error.to_string()))?;
        Ok(self.spawn_spec(binary))
    }

    /// The listed path that `asked` means, or the configured binary if nothing was asked for. It is the listed
    /// path that is returned, never the one that was named: the caller could point that one elsewhere afterwards. One
    /// that is listed and missing is returned as well: that it is missing is another mistake.
    ///
    /// # Errors
    /// [`Code::NotAllowed`], naming what is allowed.
    pub fn allowed_binary(&self, asked: Option<&Path>) -> Result<&Path, CommandFailure> {
        let Some(asked) = asked else { return Ok(&self.binary) };
        let listed = || std::iter::once(&self.binary).chain(&self.allowed_binaries);
        let canonical = asked.canonicalize().ok();
        let same = |path: &&PathBuf| match &canonical {
            Some(canonical) => path.canonicalize().ok().as_ref() == Some(canonical),
            None => path.as_path() == asked,
        };
        listed().find(same).map(PathBuf::as_path).ok_or_else(|| {
            let allowed: Vec<String> = listed().map(|path| path.display().to_string()).collect();
            let message = format!("{} is not allowed; allowed: {}", asked.display(), allowed.join(", "));
            CommandFailure::new(Code::NotAllowed, message)
        })
    }

    /// `fresh`, but for the keys that can't change while the supervisor runs.
    pub fn updated(&self, fresh: Config) -> Config {
        let mut updated = Config {
            control_socket: self.control_socket.clone(),
            trigger_socket: self.trigger_socket.clone(),
            journal: self.journal.clone(),
            data_dir: self.data_dir.clone(),
            allowed_uids: self.allowed_uids.clone(),
            metrics: self.metrics.clone(),
            listeners: self.listeners.clone(),
            ..fresh
        };
        updated.setting.run_as.clone_from(&self.setting.run_as);
        updated
    }

    /// The keys whose new values take effect only when the supervisor is started again.
    pub fn needs_restart(&self, fresh: &Config) -> Vec<&'static str> {
        let changed = [
            ("control_socket", self.control_socket != fresh.control_socket),
            ("trigger_socket", self.trigger_socket != fresh.trigger_socket),
            ("journal", self.journal != fresh.journal),
            ("data_dir", self.data_dir != fresh.data_dir),
            ("allowed_uids", self.allowed_uids != fresh.allowed_uids),
            ("metrics", self.metrics != fresh.metrics),
            ("listeners", self.listeners != fresh.listeners),
            ("user or group", self.setting.run_as != fresh.setting.run_as),
        ];
        changed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
    }
}

/// All mistakes as one failure.
pub fn failure(path: &Path, problems: &[Problem]) -> CommandFailure {
    let lines: Vec<String> =
        problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect();
    CommandFailure::new(Code::Config, lines.join("\n"))
}

/// Checks whether `path` is a file that this process may execute.
///
/// # Errors
/// What it is instead.
pub fn executable(path: &Path) -> Result<(), NotExecutable> {
    trusted::check_executable(path).map_err(|error| match Distrust::of(&error) {
        Some(distrust) => NotExecutable::Distrusted(distrust.clone()),
        None => NotExecutable::Unreadable { path: path.to_path_buf(), error },
    })?;
    access(path, AccessFlags::X_OK).map_err(|_| NotExecutable::Refused(path.to_path_buf()))
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

#[cfg(test)]
pub(crate) mod tests;
