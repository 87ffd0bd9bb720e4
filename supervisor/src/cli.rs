//! The command line.
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use handoff::daemon::LossyWriter;
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::client;
use crate::config::{self, Config, Problem};
use crate::exit::{Code, CommandFailure};
use crate::protocol::TriggerAnswer;
use crate::run;
use crate::text;

/// How long the end of the program waits for what it says to be written.
const LOG_LIMIT: Duration = Duration::from_millis(500);

/// Runs a daemon and replaces its binary without an interruption.
#[derive(Debug, Parser)]
#[command(name = "handoff-supervisor", version, after_help = Code::table())]
struct Cli {
    #[command(subcommand)]
    command: SupervisorCommand,
}

#[derive(Debug, Subcommand)]
enum SupervisorCommand {
    /// Run the daemon in the foreground; SIGHUP swaps to the configured binary, SIGTERM stops.
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// How log lines look on standard error; HANDOFF_LOG filters them, as in `debug` or `handoff=trace`.
        #[arg(long, value_enum, default_value_t = LogFormat::Text)]
        log_format: LogFormat,
    },
    /// Replace the running daemon; returns when that has succeeded or failed.
    Swap {
        #[command(flatten)]
        supervisor: Target,
        /// The new binary, one that the configuration lists [default: the configured one].
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show what runs.
    Status {
        #[command(flatten)]
        supervisor: Target,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// End the supervisor and leave the daemon serving; the next supervisor takes it over.
    Detach {
        #[command(flatten)]
        supervisor: Target,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Say that the data which the next daemon opens are the right ones, though they are others than were served before
    /// or are behind them, and start it.
    AcceptData {
        #[command(flatten)]
        supervisor: Target,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Check a configuration file and show all that is wrong with it.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Which supervisor is meant.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// The supervisor's configuration file, which names its trigger socket.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The supervisor's trigger socket.
    #[arg(long, value_name = "PATH")]
    trigger: Option<PathBuf>,
}

impl Target {
    fn trigger_socket(&self) -> Result<PathBuf, CommandFailure> {
        match (&self.trigger, &self.config) {
            (Some(trigger), _) => Ok(trigger.clone()),
            (None, Some(path)) => {
                Config::trigger_socket_of(path).map_err(|problems| config::failure(path, &problems))
            }
            (None, None) => Err(CommandFailure::new(Code::Usage, "--config or --trigger is needed")),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// See [`crate::main`].
pub(crate) fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => {
            let code = if error.use_stderr() { Code::Usage } else { Code::Ok };
            // Where even the help can't be printed there is no reader.
            let _ = error.print();
            return code.into();
        }
    };
    match command {
        SupervisorCommand::Run { config, log_format } => {
            let log = start_log(log_format);
            let done = run::run(&config);
            log.into_iter().for_each(|log| log.settle(LOG_LIMIT));
            ended(done)
        }
        SupervisorCommand::Swap { supervisor, binary, json } => {
            let trigger = supervisor.trigger_socket();
            let report = trigger.and_then(|trigger| client::swap(&trigger, binary.as_deref()));
            show(report, json, |report| (report.code(), text::swap(report)))
        }
        SupervisorCommand::Status { supervisor, json } => {
            let report = supervisor.trigger_socket().and_then(|trigger| client::status(&trigger));
            show(report, json, |report| (report.code(), text::status(report)))
        }
        SupervisorCommand::Detach { supervisor, json } => {
            let pid = supervisor.trigger_socket().and_then(|trigger| client::detach(&trigger));
            let answer = pid.map(|pid| TriggerAnswer::Detached { pid });
            show(answer, json, |answer| match answer {
                TriggerAnswer::Detached { pid } => (Code::Ok, format!("detached: pid {pid} serves on")),
                _ => (Code::Data, String::new()),
            })
        }
        SupervisorCommand::AcceptData { supervisor, json } => {
            let accepted = supervisor.trigger_socket().and_then(|trigger| client::accept_data(&trigger));
            let answer = accepted.map(|()| TriggerAnswer::Accepted {});
            show(answer, json, |_| (Code::Ok, "accepted: the daemon is started; see `status`".into()))
        }
        SupervisorCommand::Check { config, json } => check(&config, json),
    }
    .into()
}

/// What `check` found.
#[derive(Debug, Serialize)]
struct CheckReport {
    ok: bool,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

fn check(path: &Path, json: bool) -> Code {
    let (errors, warnings) = match Config::load(path) {
        Ok(config) => (Vec::new(), config.warnings),
        Err(problems) => (problems, Vec::new()),
    };
    let report = CheckReport { ok: errors.is_empty(), errors, warnings };
    let lines = |kind: &str, problems: &[Problem]| -> String {
        problems.iter().map(|problem| format!("{}: {kind}: {problem}\n", path.display())).collect()
    };
    show(Ok(report), json, |report| {
        let problems = lines("error", &report.errors) + &lines("warning", &report.warnings);
        match report.ok {
            true => (Code::Ok, format!("{problems}{}: good", path.display())),
            false => (Code::Config, problems.trim_end().to_string()),
        }
    })
}

/// Prints what a command found out, or why it could not: results on standard output, failures on standard error,
/// and with `json` one object on standard output either way.
fn show<T: Serialize>(
    result: Result<T, CommandFailure>,
    json: bool,
    render: impl Fn(&T) -> (Code, String),
) -> Code {
    match result {
        Ok(report) => {
            let (code, text) = render(&report);
            print(if json { to_json(&report) } else { text });
            code
        }
        Err(failure) if json => {
            let code = failure.code;
            print(to_json(&TriggerAnswer::Error(failure)));
            code
        }
        Err(failure) => ended(Err(failure)),
    }
}

fn ended(result: Result<(), CommandFailure>) -> Code {
    match result {
        Ok(()) => Code::Ok,
        Err(failure) => {
            complain(&format!("handoff-supervisor: {failure}\n"));
            failure.code
        }
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()))
}

/// The exit status tells the outcome also to a reader that has closed the pipe.
fn print(text: String) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Writes to standard error what the end of this program must not depend on: it may have no reader, or be full.
fn complain(text: &str) {
    if let Ok(mut stderr) = LossyWriter::to_stderr("", |_| String::new()) {
        let _ = stderr.write_all(text.as_bytes());
        stderr.settle(LOG_LIMIT);
    }
}

/// Logs to standard error from now on, panics included. `None` if there is a log already, or none can be had.
fn start_log(format: LogFormat) -> Option<LossyWriter> {
    let (pid, build) = (std::process::id(), env!("CARGO_PKG_VERSION"));
    let filter = EnvFilter::try_from_env("HANDOFF_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    // A program that has this library in it may have started a log of its own.
    let writer = match format {
        LogFormat::Text => {
            let head = format!("supervisor[{pid}] {build} ");
            let writer = LossyWriter::to_stderr(head, |lost| format!("{lost} log lines were lost\n")).ok()?;
            let log = log.with_writer(lines_of(&writer)).with_ansi(io::stderr().is_terminal());
            log.finish().try_init().ok()?;
            writer
        }
        LogFormat::Json => {
            let head = format!("{{\"role\":\"supervisor\",\"pid\":{pid},\"build\":{build:?},");
            let told = |lost| {
                format!(
                    "{{\"level\":\"WARN\",\"fields\":{{\"message\":\"log lines were lost\",\"lost\":{lost}}}}}\n"
                )
            };
            let writer = LossyWriter::to_stderr(head, told).ok()?;
            log.with_writer(lines_of(&writer)).json().finish().try_init().ok()?;
            writer
        }
    };
    // The usual hook would wait for standard error.
    std::panic::set_hook(Box::new(|panic| tracing::error!(target: "handoff.panic", "{panic}")));
    Some(writer)
}

fn lines_of(writer: &LossyWriter) -> impl Fn() -> LossyWriter + use<> {
    let writer = writer.clone();
    move || writer.clone()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_client_needs_to_know_which_supervisor_and_only_one() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["handoff-supervisor"], args].concat());
        assert!(parse(&["swap"]).is_err());
        assert!(parse(&["status", "--config", "a", "--trigger", "b"]).is_err());
        assert!(parse(&["swap", "--trigger", "b", "--binary", "c", "--json"]).is_ok());
    }
}
