//! The programs that take part: a supervisor and two builds of the daemon, built by cargo or given.
use std::ffi::OsString;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::options::DemoOptions;
use crate::process::DemoProcess;
use crate::progress::note;
use crate::watch::DemoWatch;

/// A build of the daemon.
#[derive(Clone, Debug)]
pub(crate) struct DaemonBuild {
    /// The name of the build.
    pub(crate) name: String,
    pub(crate) binary: PathBuf,
    /// The id that `INFO` must say, if that is known.
    pub(crate) id: Option<String>,
}

/// The supervisor and the two builds.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    pub(crate) supervisor: PathBuf,
    pub(crate) builds: [DaemonBuild; 2],
}

impl Cast {
    /// The binaries that `options` name, or else new ones. Either way they are copied to `dir`, so that what runs
    /// from there belongs to this demonstration.
    pub(crate) fn assemble(options: &DemoOptions, dir: &Path, watch: &DemoWatch) -> Result<Cast> {
        if let (Some(supervisor), Some(kv), Some(next)) = (&options.supervisor, &options.kv, &options.kv_next)
        {
            let given = |name: &str, from: &Path| {
                Ok::<_, anyhow::Error>(DaemonBuild {
                    name: name.into(),
                    binary: copy(from, dir, name)?,
                    id: None,
                })
            };
            let builds = [given("kv", kv)?, given("kv-next", next)?];
            return Ok(Cast { supervisor: copy(supervisor, dir, "handoff-supervisor")?, builds });
        }
        let build = |id: &str| {
            let built = build(id, watch)?;
            let binary = copy(&built.kv, dir, &format!("kv-{id}"))?;
            Ok::<_, anyhow::Error>((
                DaemonBuild { name: id.into(), binary, id: Some(id.into()) },
                built.supervisor,
            ))
        };
        let ((blue, _), (green, supervisor)) = (build("blue")?, build("green")?);
        Ok(Cast { supervisor: copy(&supervisor, dir, "handoff-supervisor")?, builds: [blue, green] })
    }
}

fn copy(from: &Path, dir: &Path, name: &str) -> Result<PathBuf> {
    let to = dir.join(name);
    std::fs::copy(from, &to).with_context(|| format!("can't copy {} to {}", from.display(), to.display()))?;
    Ok(to)
}

/// The output of cargo.
struct Built {
    supervisor: PathBuf,
    kv: PathBuf,
}

/// Builds the supervisor, and the key-value server under the name `id`, as this program was built.
fn build(id: &str, watch: &DemoWatch) -> Result<Built> {
    note(&format!("building the supervisor and the key-value server, build {id}"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let mut command = Command::new(&cargo);
    // Both packages both times: which features a dependency is built with is decided by all that is built at once.
    command.args(["build", "--bins", "-p", "handoff-supervisor", "-p", "handoff-kv"]);
    command.args(["--message-format", "json-render-diagnostics", "--manifest-path"]);
    command.arg(Path::new(&package).join("Cargo.toml"));
    command.args((!cfg!(debug_assertions)).then_some("--release"));
    command.env("HANDOFF_KV_BUILD_ID", id).stdin(Stdio::null()).stdout(Stdio::piped());
    let messages = output(&mut command, watch).with_context(|| failed(&cargo))?;
    let find =
        |name| executable(&messages, name).with_context(|| format!("cargo did not say where {name} is"));
    Ok(Built { supervisor: find("handoff-supervisor")?, kv: find("handoff-kv")? })
}

fn failed(cargo: &OsString) -> String {
    format!(
        "{} did not build the supervisor and the key-value server; `cargo run --release --bin handoff-demo` in the \
         repository needs cargo, a C compiler and at the first time the network, --supervisor, --kv and --kv-next \
         together need none of them",
        Path::new(cargo).display()
    )
}

/// Returns what `command`, whose standard output is a pipe, writes until it has ended well.
fn output(command: &mut Command, watch: &DemoWatch) -> Result<String> {
    let child = DemoProcess::start(command).context("can't start it")?;
    watch.add(&child);
    let mut text = String::new();
    if let Some(stdout) = child.with(|child| child.stdout.take()) {
        BufReader::new(stdout).read_to_string(&mut text)?;
    }
    let ended = child.wait(Duration::from_secs(10))?;
    watch.check()?;
    match ended {
        Some(status) => ensure!(status.success(), "{status}"),
        None => bail!("it does not end"),
    }
    Ok(text)
}

/// Returns where cargo's messages say that the binary `name` is; see
/// <https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Artifact {
        target: Target,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    artifacts.filter(|artifact| artifact.target.name == name).find_map(|artifact| artifact.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_the_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"kv\"},\"executable\":null}\n\
                        {\"reason\":\"build-script-executed\"}\n\
                        {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"kv\"},\"executable\":\"/t/kv\"}\n";
        assert_eq!(executable(messages, "kv"), Some("/t/kv".into()));
        assert_eq!(executable(messages, "other"), None);
    }
}
