//! The command line.
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::client;
use crate::config::{self, Config, Problem};
use crate::exit::{Code, Failure};
use crate::protocol::Answer;
use crate::run;
use crate::text;

/// Runs a daemon and replaces its binary without an interruption.
#[derive(Debug, Parser)]
#[command(name = "handoff-supervisor", version, after_help = Code::table())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
    fn trigger_socket(&self) -> Result<PathBuf, Failure> {
        match (&self.trigger, &self.config) {
            (Some(trigger), _) => Ok(trigger.clone()),
            (None, Some(path)) => {
                Config::trigger_socket_of(path).map_err(|problems| config::failure(path, &problems))
            }
            (None, None) => Err(Failure::new(Code::Usage, "--config or --trigger is needed")),
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
            // Where even the help can't be printed there is nobody to tell.
            let _ = error.print();
            return code.into();
        }
    };
    match command {
        Command::Run { config, log_format } => {
            start_log(log_format);
            ended(run::run(&config))
        }
        Command::Swap { supervisor, binary, json } => {
            let trigger = supervisor.trigger_socket();
            let report = trigger.and_then(|trigger| client::swap(&trigger, binary.as_deref()));
            show(report, json, |report| (report.code(), text::swap(report)))
        }
        Command::Status { supervisor, json } => {
            let report = supervisor.trigger_socket().and_then(|trigger| client::status(&trigger));
            show(report, json, |report| (report.code(), text::status(report)))
        }
        Command::Detach { supervisor, json } => {
            let pid = supervisor.trigger_socket().and_then(|trigger| client::detach(&trigger));
            let answer = pid.map(|pid| Answer::Detached { pid });
            show(answer, json, |answer| match answer {
                Answer::Detached { pid } => (Code::Ok, format!("detached: pid {pid} serves on")),
                _ => (Code::Data, String::new()),
            })
        }
        Command::AcceptData { supervisor, json } => {
            let accepted = supervisor.trigger_socket().and_then(|trigger| client::accept_data(&trigger));
            let answer = accepted.map(|()| Answer::Accepted {});
            show(answer, json, |_| (Code::Ok, "accepted: the daemon is started; see `status`".into()))
        }
        Command::Check { config, json } => check(&config, json),
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
fn show<T: Serialize>(result: Result<T, Failure>, json: bool, render: impl Fn(&T) -> (Code, String)) -> Code {
    match result {
        Ok(report) => {
            let (code, text) = render(&report);
            print(if json { to_json(&report) } else { text });
            code
        }
        Err(failure) if json => {
            let code = failure.code;
            print(to_json(&Answer::Error(failure)));
            code
        }
        Err(failure) => ended(Err(failure)),
    }
}

fn ended(result: Result<(), Failure>) -> Code {
    match result {
        Ok(()) => Code::Ok,
        Err(failure) => {
            eprintln!("handoff-supervisor: {failure}");
            failure.code
        }
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()))
}

/// The exit status tells the outcome also to those who have closed the pipe.
fn print(text: String) {
    let _ = writeln!(io::stdout(), "{text}");
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("HANDOFF_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A program that has this library in it may have started a log of its own.
    let _ = match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => log.json().finish().try_init(),
    };
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
