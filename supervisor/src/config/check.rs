//! The meaning of the keys together, and on this machine: everything that can be known to fail before it is
//! tried.
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use handoff::unix::privileges;
use handoff::unix::trusted::{self, Distrust, Flaw};
use handoff::{BindOptions, bounds};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::geteuid;

use super::rights::{Rights, rights};
use super::{Addr, Config, ListenerConfig, Problem};
use crate::fields::Source;

/// Descriptors that a supervisor, or a daemon, needs beside its listeners.
const OTHER_DESCRIPTORS: u64 = 64;

/// Notes what is wrong with `config`, which was read from `file`, in `source`, and what is odd in its warnings.
pub(super) fn check(config: &mut Config, file: &Path, source: &Source<'_>, lines: &BTreeMap<String, usize>) {
    let mut check = Check { config, source, lines, warnings: Vec::new() };
    check.command();
    check.listeners();
    check.metrics();
    check.descriptors();
    check.places(file);
    check.own_directories();
    check.data_dir();
    check.user();
    check.privileges();
    let warnings = check.warnings;
    config.warnings.extend(warnings);
    config.warnings.sort_by_key(|warning| warning.line);
}

struct Check<'a> {
    config: &'a Config,
    source: &'a Source<'a>,
    lines: &'a BTreeMap<String, usize>,
    warnings: Vec<Problem>,
}

impl Check<'_> {
    fn line(&self, key: &str) -> usize {
        self.lines.get(key).copied().unwrap_or(0)
    }

    /// An error. One that is known of a key is enough.
    fn error(&self, key: &str, message: impl Into<String>) {
        if !self.source.has_problem_with(key) {
            self.source.note(self.line(key), key, message);
        }
    }

    fn warn(&mut self, key: &str, message: impl Into<String>) {
        self.warnings.push(Problem { line: self.line(key), key: key.into(), message: message.into() });
    }

    /// A command that the journal has no room for could not be started again.
    fn command(&self) {
        let words = self.config.args.iter().map(|arg| arg.as_bytes());
        let length = bounds::command_length(self.config.binary.as_os_str().as_bytes(), words);
        if length > bounds::COMMAND {
            let most = bounds::COMMAND;
            self.error("args", format!("with binary's path they take {length} bytes: at most {most}"));
        }
    }

    fn listeners(&self) {
        let listeners = &self.config.listeners;
        if listeners.len() > bounds::LISTENERS {
            let (count, most) = (listeners.len(), bounds::LISTENERS);
            return self.source.note(0, "listeners", format!("{count} are too many: at most {most}"));
        }
        for (at, listener) in listeners.iter().enumerate() {
            let before = &listeners[..at];
            if before.iter().any(|other| other.name == listener.name) {
                self.error(&format!("listeners[{at}].name"), format!("{:?} is given twice", listener.name));
            }
            if let Some(why) = before.iter().find_map(|other| listener.collides(other)) {
                self.error(&format!("listeners[{at}].addr"), why);
            }
            if listener.options.uid.is_some_and(|uid| !geteuid().is_root() && uid != geteuid().as_raw()) {
                let message =
                    "only root can give a socket away: run the supervisor as root, or name a group only";
                self.error(&format!("listeners[{at}].owner"), message);
            }
        }
    }

    /// Checks that what clients of the daemon connect to is not where the supervisor answers.
    fn metrics(&self) {
        // Paths are compared with all other paths.
        let Some(addr @ (Addr::Tcp(_) | Addr::Abstract(_))) = &self.config.metrics else { return };
        let own =
            ListenerConfig { name: "metrics".into(), addr: addr.clone(), options: BindOptions::default() };
        if let Some(why) = self.config.listeners.iter().find_map(|listener| own.collides(listener)) {
            self.error("metrics", why);
        }
    }

    /// Each process has its listeners twice: for itself, and for the next supervisor.
    fn descriptors(&self) {
        let count = self.config.listeners.len() as u64;
        let needed = 2 * count + OTHER_DESCRIPTORS;
        let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
        if count <= bounds::LISTENERS as u64 && limit < needed {
            let message = format!(
                "{count} listeners need {needed} descriptors, and a process may have {limit}: raise the limit \
                 (`ulimit -n {needed}`, in a unit for systemd LimitNOFILE={needed})"
            );
            self.error("listeners", message);
        }
    }

    /// No two things are at one place, however it is spelt.
    fn places(&self, file: &Path) {
        let config = self.config;
        let lock = with_suffix(&config.trigger_socket, ".lock");
        let mut places: Vec<(String, &Path)> = vec![
            ("the configuration".into(), file),
            ("binary".into(), &config.binary),
            ("control_socket".into(), &config.control_socket),
            ("trigger_socket".into(), &config.trigger_socket),
            ("the lock of trigger_socket".into(), &lock),
            ("journal".into(), &config.journal),
        ];
        places.extend(config.data_dir.iter().map(|dir| ("data_dir".into(), dir.as_path())));
        if let Some(Addr::Unix(path)) = &config.metrics {
            places.push(("metrics".into(), path));
        }
        for (at, listener) in config.listeners.iter().enumerate() {
            if let Addr::Unix(path) = &listener.addr {
                places.push((format!("listeners[{at}].addr"), path));
            }
        }
        let resolved: Vec<(String, PathBuf)> =
            places.into_iter().map(|(key, path)| (key, resolved(path))).collect();
        for (at, (key, path)) in resolved.iter().enumerate() {
            let first = resolved[..at].iter().find(|(_, other)| other == path);
            // Two listeners are told so as listeners.
            if let Some((first, _)) = first.filter(|(first, _)| !first.starts_with("listeners[")) {
                self.error(key, format!("must not be the same path as {first}"));
            }
        }
    }

    /// Checks that no other user may replace the supervisor's own files, the daemon's included.
    fn own_directories(&mut self) {
        for (key, path) in
            [("trigger_socket", &self.config.trigger_socket), ("journal", &self.config.journal)]
        {
            let dir = path.parent().unwrap_or(Path::new("/"));
            let shown = dir.display();
            if !dir.is_dir() {
                self.error(key, format!("there is no directory {shown}: mkdir -p {shown}"));
                continue;
            }
            let Err(error) = trusted::check_directory(dir) else { continue };
            let owner = Distrust::of(&error).and_then(|distrust| match distrust.flaw {
                Flaw::Owner { owner, .. } => Some(owner),
                _ => None,
            });
            let is_daemons =
                owner.is_some() && owner == self.config.setting.run_as.as_ref().map(|user| user.uid);
            self.error(key, match is_daemons {
                true => format!(
                    "{shown} belongs to the daemon's user, who could replace the supervisor's files there: put this in a \
                     directory of the supervisor's own, as in {key} = \"/run/handoff/{key}\""
                ),
                false => error.to_string(),
            });
        }
        let dir = self.config.journal.parent().unwrap_or(Path::new("/"));
        if statvfs(dir).is_ok_and(|found| found.flags().contains(FsFlags::ST_NOEXEC)) {
            let message = format!(
                "{} is mounted noexec: the committed binaries are kept beside the journal, and could not be started \
                 from there; put the journal where programs can be executed, as in journal = \"/var/lib/handoff/journal\"",
                dir.display()
            );
            self.warn("journal", message);
        }
    }

    /// Checks what the daemon refuses at its start.
    fn data_dir(&mut self) {
        let Some(dir) = &self.config.data_dir else { return };
        let shown = dir.display().to_string();
        let owner = self.config.setting.run_as.as_ref().map_or(geteuid().as_raw(), |run_as| run_as.uid);
        match trusted::check_private_directory(dir, owner) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.warn(
                    "data_dir",
                    format!("is not there: unless the daemon creates it, mkdir -m 700 {shown}"),
                );
            }
            Err(error) => self.error("data_dir", error.to_string()),
        }
    }

    /// Warns of what a copy of the binary would lack: a copy is what is kept.
    fn privileges(&mut self) {
        if let Some(lacking) = privileges::that_a_copy_will_lack(&self.config.binary) {
            let message = format!(
                "has {lacking}, which the copy that is kept of it will lack: a daemon that is started again after this file was \
                 replaced or removed will lack that as well"
            );
            self.warn("binary", message);
        }
    }

    /// Checks what the user that the daemon runs as must be able to do.
    fn user(&mut self) {
        let Some(run_as) = &self.config.setting.run_as else {
            return self.working_dir_exists();
        };
        if !run_as.is_own() && !geteuid().is_root() {
            let message =
                "only root can start a daemon as another user: run the supervisor as root, or leave this out";
            return self.error(if self.lines.contains_key("user") { "user" } else { "group" }, message);
        }
        self.working_dir_exists();
        let config = self.config;
        let parent = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let (control, journal) = (parent(&config.control_socket), parent(&config.journal));
        let mut needs = vec![
            ("control_socket", control, 0o3, "its sockets are made there"),
            ("binary", config.binary.clone(), 0o1, "it executes that"),
            ("journal", journal, 0o1, "the kept binaries beside the journal are executed"),
        ];
        let working_dir = config.setting.working_dir.iter().cloned();
        needs.extend(working_dir.map(|dir| ("working_directory", dir, 0o1, "it starts there")));
        let data_dir = config.data_dir.iter().filter(|dir| dir.is_dir()).cloned();
        needs.extend(data_dir.map(|dir| ("data_dir", dir, 0o7, "its data are there")));
        let uid = run_as.uid;
        for (key, path, wanted, why) in needs {
            let (found, at) = rights(run_as, &path, wanted);
            let remedy = match at == path && wanted & 0o2 != 0 {
                true => format!("chown {uid} {}", at.display()),
                false => format!("chmod a+x {}", at.display()),
            };
            match found {
                Rights::Given => {}
                Rights::Refused => {
                    let at = at.display();
                    self.error(
                        key,
                        format!("{at} does not let the daemon's user, uid {uid}, in, and {why}: {remedy}"),
                    );
                }
                Rights::Unknown => {
                    let at = at.display();
                    self.warn(
                        key,
                        format!("{at} may not let the daemon's user, uid {uid}, in, and {why}: {remedy}"),
                    );
                }
            }
        }
    }

    fn working_dir_exists(&self) {
        if let Some(dir) = self.config.setting.working_dir.as_ref().filter(|dir| !dir.is_dir()) {
            self.error(
                "working_directory",
                format!("there is no directory {0}: mkdir -p {0}", dir.display()),
            );
        }
    }
}

/// `path` with every link and `..` on the way to its last name resolved.
fn resolved(path: &Path) -> PathBuf {
    let dir = path.parent().and_then(|dir| dir.canonicalize().ok());
    match (dir, path.file_name()) {
        (Some(dir), Some(name)) => dir.join(name),
        _ => path.canonicalize().unwrap_or_else(|_| path.to_path_buf()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
