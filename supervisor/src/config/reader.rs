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

