//! Reads the configuration's keys, each by itself. What they mean together is `check.rs`.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use handoff::unix::env::NEVER_PASSED;
use handoff::{BindOptions, RunAs, Setting};
use toml::de::DeValue;

use super::addr::{Addr, ListenerConfig, local_addr, parse_addr, socket_path};
use super::bad_value::BadValue;
use super::{Config, executable};
use crate::fields::{AtLine, Fields, Problem, boolean, integer, number, octal, string, table};

/// A day: no grace or deadline is longer.
const LONGEST_SECS: f64 = 86_400.0;
/// A millisecond: what must take some time takes no less.
const SHORTEST_SECS: f64 = 0.001;

/// Reads the keys of the top level, and of those below it.
pub(super) struct Reader<'a> {
    pub(super) dir: PathBuf,
    pub(super) fields: Fields<'a>,
}

impl Reader<'_> {
    /// `None` only if a mistake was noted.
    pub(super) fn config(mut self) -> Option<Config> {
        let control_socket = self.socket("control_socket");
        let trigger_socket = self.socket("trigger_socket");
        let journal = self.path("journal");
        let binary = self.binary();
        let args = self.fields.list("args", string);
        let check_args = self.fields.list("check_args", string);
        let env = self.env();
        let setting = self.setting();
        let times = self.times();
        let data_dir = self.path("data_dir");
        let allowed_uids = self.fields.list("allowed_uids", |value| integer(value, 0..u32::MAX.into()));
        let fall_back_after =
            self.fields.optional("fall_back_after", |value| integer(value, 0..u64::from(u32::MAX) + 1));
        let (allowed_binaries, warnings) = self.allowed_binaries();
        let dir = &self.dir;
        let metrics = self.fields.optional("metrics", |value| local_addr(dir, string(value)?));
        let listeners = self.listeners();
        self.fields.finish();

        let (control_socket, trigger_socket) = (control_socket?.value, trigger_socket?.value);
        let (binary, no_binary) = binary?;
        // The daemon's user may own the directory of its sockets, and must not reach the supervisor's own files.
        let beside = if setting.run_as.is_some() { &trigger_socket } else { &control_socket };
        Some(Config {
            journal: journal.map_or_else(|| beside.with_extension("journal"), |journal| journal.value),
            control_socket,
            trigger_socket,
            no_binary,
            binary,
            args: args.into_iter().map(|arg| arg.value.into()).collect(),
            check_args: check_args.into_iter().map(|arg| arg.value.into()).collect(),
            env,
            setting,
            drain_grace: times.drain_grace,
            deadline: times.deadline,
            liveness: times.liveness,
            stop_grace: times.stop_grace,
            unreachable: times.unreachable,
            data_dir: data_dir.map(|dir| dir.value),
            restart_min: times.restart_min,
            restart_max: times.restart_max,
            fall_back_after: fall_back_after.and_then(|count| count.value.try_into().ok()).unwrap_or(0),
            allowed_uids: allowed_uids.into_iter().filter_map(|uid| u32::try_from(uid.value).ok()).collect(),
            allowed_binaries,
            metrics: metrics.map(|metrics| metrics.value),
            listeners,
            warnings,
        })
    }

    fn path(&mut self, key: &'static str) -> Option<AtLine<PathBuf>> {
        let dir = &self.dir;
        self.fields.optional(key, |value| absolute(dir, value))
    }

    /// Works without anything else of the file.
    pub(super) fn socket(&mut self, key: &'static str) -> Option<AtLine<PathBuf>> {
        let dir = &self.dir;
        self.fields.required(key, |value| socket_path(&absolute(dir, value)?))
    }

    /// The path, and why what is there can't be executed, which is a mistake as well.
    fn binary(&mut self) -> Option<(PathBuf, Option<String>)> {
        let dir = &self.dir;
        let AtLine { line, value: path } = self.fields.required("binary", |value| absolute(dir, value))?;
        let fault = executable(&path).err().map(|error| error.to_string());
        fault.iter().for_each(|message| self.fields.note(line, "binary", message));
        Some((path, fault))
    }

    /// A listed binary may be missing: it is listed for a build that is yet to come.
    fn allowed_binaries(&mut self) -> (Vec<PathBuf>, Vec<Problem>) {
        let dir = &self.dir;
        let listed = self.fields.list("allowed_binaries", |value| absolute(dir, value));
        let warning = |path: &AtLine<PathBuf>| {
            let message = executable(&path.value).err()?.to_string();
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
            let value = variable(name).and_then(|()| Ok(string(value.get_ref())?));
            match value {
                Ok(value) => read.push((name.into(), value.into())),
                Err(error) => self.fields.note(env.line, &format!("env.{name}"), error.to_string()),
            }
        }
        read
    }

    fn setting(&mut self) -> Setting {
        let name = |value| {
            string(value)
                .map(String::from)
                .or_else(|_| integer(value, 0..u32::MAX.into()).map(|id| id.to_string()))
        };
        let user = self.fields.optional("user", name);
        let group = self.fields.optional("group", name);
        let working_dir = self.path("working_directory").map(|dir| dir.value);
        let umask = self.fields.optional("umask", |value| octal(value, 0o777)).map(|umask| umask.value);
        let clears = self.fields.optional("clear_env", boolean);
        let passed = self.fields.list("pass_env", passed);
        let clears = clears.is_some_and(|clears| clears.value);
        if let Some(first) = passed.first().filter(|_| !clears) {
            let message =
                "all of the environment is passed on unless `clear_env = true`: add that, or leave this out";
            self.fields.note(first.line, "pass_env", message);
        }
        let passed = passed.into_iter().map(|name| OsString::from(name.value)).collect();
        let mut setting = Setting::default();
        setting.run_as = self.run_as(user, group);
        (setting.working_dir, setting.umask) = (working_dir, umask);
        setting.pass_env = clears.then_some(passed);
        setting
    }

    fn run_as(&self, user: Option<AtLine<String>>, group: Option<AtLine<String>>) -> Option<RunAs> {
        let (at, key) = match (&user, &group) {
            (Some(user), _) => (user.line, "user"),
            (None, Some(group)) => (group.line, "group"),
            (None, None) => return None,
        };
        let value = |given: &Option<AtLine<String>>| given.as_ref().map(|given| given.value.clone());
        let found = RunAs::find(value(&user).as_deref(), value(&group).as_deref());
        found.map_err(|error| self.fields.note(at, key, error.to_string())).ok()
    }

    /// Reads the times; where only one of two that depend on each other is given, the default of the other
    /// gives way.
    fn times(&mut self) -> ConfigTimes {
        let minute = Duration::from_secs(60);
        let drain_grace = self.seconds("drain_grace_secs", 0.0);
        let deadline = self.seconds("deadline_secs", SHORTEST_SECS);
        let liveness = self.fields.optional("liveness_ms", |value| integer(value, 50..60_001));
        let stop_grace = self.seconds("stop_grace_secs", 0.0);
        let unreachable = self.seconds("unreachable_secs", SHORTEST_SECS);
        let restart_min = self.seconds("restart_min_secs", 0.0);
        let restart_max = self.seconds("restart_max_secs", SHORTEST_SECS);
        self.ordered("drain_grace_secs", &drain_grace, "deadline_secs", &deadline);
        self.ordered("restart_min_secs", &restart_min, "restart_max_secs", &restart_max);
        let value = |given: &Option<AtLine<Duration>>| given.as_ref().map(|given| given.value);
        let (drain_grace, deadline) = (value(&drain_grace), value(&deadline));
        let (restart_min, restart_max) = (value(&restart_min), value(&restart_max));
        ConfigTimes {
            drain_grace: drain_grace
                .unwrap_or_else(|| minute.min(deadline.map_or(minute, |deadline| deadline / 2))),
            deadline: deadline.unwrap_or_else(|| {
                Duration::from_secs(300).max(drain_grace.map_or(Duration::ZERO, |grace| grace * 2))
            }),
            liveness: Duration::from_millis(liveness.map_or(5000, |liveness| liveness.value)),
            stop_grace: value(&stop_grace).unwrap_or(minute),
            unreachable: value(&unreachable).unwrap_or(minute),
            restart_min: restart_min
                .unwrap_or_else(|| restart_max.unwrap_or(minute).min(Duration::from_millis(100))),
            restart_max: restart_max
                .unwrap_or_else(|| restart_min.unwrap_or_default().max(Duration::from_secs(30))),
        }
    }

    fn seconds(&mut self, key: &'static str, least_secs: f64) -> Option<AtLine<Duration>> {
        self.fields.optional(key, |value| {
            let secs = number(value)?;
            let in_range = (least_secs..=LONGEST_SECS).contains(&secs);
            let bad = BadValue::Seconds { least: least_secs, most: LONGEST_SECS, found: secs };
            in_range.then(|| Duration::from_secs_f64(secs)).ok_or(bad)
        })
    }

    fn ordered(
        &self,
        low_key: &str,
        low: &Option<AtLine<Duration>>,
        high_key: &str,
        high: &Option<AtLine<Duration>>,
    ) {
        if let (Some(low), Some(high)) = (low, high)
            && low.value > high.value
        {
            let (low_secs, high_secs) = (low.value.as_secs_f64(), high.value.as_secs_f64());
            let message = format!("must not be more than {high_key} ({high_secs}), but is {low_secs}");
            self.fields.note(low.line.max(high.line), low_key, message);
        }
    }

    fn listeners(&mut self) -> Vec<ListenerConfig> {
        let tables = self.fields.tables("listeners");
        tables.into_iter().filter_map(|fields| self.listener(fields)).collect()
    }

    fn listener(&self, mut fields: Fields<'_>) -> Option<ListenerConfig> {
        let name = fields.required("name", listener_name);
        let addr = fields.required("addr", |value| parse_addr(&self.dir, string(value)?));
        let only_v6 = fields.optional("only_v6", boolean);
        let mode = fields.optional("mode", |value| octal(value, 0o777));
        let owner = fields.optional("owner", |value| parse_owner(string(value)?));
        if let Some(addr) = &addr {
            let is_v6 = matches!(addr.value, Addr::Tcp(addr) if addr.is_ipv6());
            let has_path = matches!(addr.value, Addr::Unix(_));
            if let Some(only_v6) = only_v6.as_ref().filter(|_| !is_v6) {
                fields.note(only_v6.line, "only_v6", "is for IPv6 addresses only: leave it out");
            }
            let of_a_path = "is for Unix sockets with a path only: leave it out";
            mode.iter().filter(|_| !has_path).for_each(|mode| fields.note(mode.line, "mode", of_a_path));
            owner.iter().filter(|_| !has_path).for_each(|owner| fields.note(owner.line, "owner", of_a_path));
        }
        fields.finish();
        let mut options = BindOptions::default();
        options.only_v6 = only_v6.map(|only| only.value);
        options.mode = mode.map(|mode| mode.value);
        (options.uid, options.gid) = owner.map(|owner| owner.value).unwrap_or_default();
        Some(ListenerConfig { name: name?.value, addr: addr?.value, options })
    }
}

/// The longest times that things may take.
struct ConfigTimes {
    drain_grace: Duration,
    deadline: Duration,
    liveness: Duration,
    stop_grace: Duration,
    unreachable: Duration,
    restart_min: Duration,
    restart_max: Duration,
}

/// `user`, `user:group` or `:group`, each a name or a number.
fn parse_owner(text: &str) -> Result<(Option<u32>, Option<u32>), BadValue> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let given = |name: &'_ str| (!name.is_empty()).then(|| name.to_string());
    let (user, group) = (given(user), given(group));
    if user.is_none() && group.is_none() {
        return Err(BadValue::NoOwner);
    }
    // A user without an entry in a database has no group to be found, and needs none here.
    let uid = match user.as_deref().map(str::parse) {
        Some(Ok(uid)) => Some(uid),
        Some(Err(_)) => Some(RunAs::find(user.as_deref(), None)?.uid),
        None => None,
    };
    let group = group.as_deref();
    let gid = group.map(|group| RunAs::find(Some("0"), Some(group)).map(|found| found.gid)).transpose();
    Ok((uid, gid?))
}

/// The name of a variable that is passed on.
fn passed<'a>(value: &'a DeValue<'a>) -> Result<&'a str, BadValue> {
    let name = string(value)?;
    variable_name(name)?;
    match NEVER_PASSED.contains(&name) {
        true => Err(BadValue::NeverPassed(name.to_owned())),
        false => Ok(name),
    }
}

fn absolute(dir: &Path, value: &DeValue<'_>) -> Result<PathBuf, BadValue> {
    match string(value)? {
        "" => Err(BadValue::NoPath),
        path => Ok(dir.join(path)),
    }
}

fn listener_name<'a>(value: &'a DeValue<'a>) -> Result<String, BadValue> {
    let name = string(value)?;
    let good =
        (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    good.then(|| name.to_string()).ok_or_else(|| BadValue::ListenerName(name.to_owned()))
}

fn variable_name(name: &str) -> Result<(), BadValue> {
    let good = !(name.is_empty() || name.contains(['=', '\0']));
    good.then_some(()).ok_or_else(|| BadValue::VariableName(name.to_owned()))
}

/// Refuses to set what the library sets.
fn variable(name: &str) -> Result<(), BadValue> {
    variable_name(name)?;
    if name.starts_with("LISTEN_") || name.starts_with("HANDOFF_") {
        return Err(BadValue::OwnVariable);
    }
    Ok(())
}
