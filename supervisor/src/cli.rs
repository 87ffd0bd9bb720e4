//! The command line.
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use handoff::daemon::LossyWriter;
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::client::{self, SwapOrder};
use crate::config::{self, Config, Problem};
use crate::exit::{Code, CommandFailure};
use crate::history::{self, HistoryEntry};
use crate::journal;
use crate::output::{LOG_LIMIT, ended, print, show};
use crate::protocol::TriggerAnswer;
use crate::run;
use crate::text;

mod swap;
mod watch;

/// The name of the program.
const NAME: &str = "handoff-supervisor";

/// Runs a daemon and replaces its binary without an interruption.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_help = Code::table())]
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
        /// The format of log lines on standard error; HANDOFF_LOG filters them, as in `debug` or
        /// `handoff=trace`.
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
        /// The name that the new daemon must give to its build: another one is let go once it is warm, and
        /// nothing is touched.
        #[arg(long, value_name = "ID")]
        expect_build: Option<String>,
        /// Only let the new daemon become warm, and let it go: the running daemon is not disturbed.
        #[arg(long)]
        dry_run: bool,
        /// Do not show on standard error how far it has come.
        #[arg(long)]
        quiet: bool,
        /// Print one JSON object, and nothing until then.
        #[arg(long)]
        json: bool,
    },
    /// Call off the swap that is under way, and show what has become of it; the exit status is that of the swap.
    Cancel {
        #[command(flatten)]
        supervisor: Target,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show what runs, what is under way, and the last swap.
    Status {
        #[command(flatten)]
        supervisor: Target,
        /// Show it again and again, until Ctrl-C: on a terminal drawn anew each second, elsewhere a line for each change.
        #[arg(long)]
        watch: bool,
        /// Print one JSON object; with --watch one for each change.
        #[arg(long)]
        json: bool,
    },
    /// Show the last 100 swaps, those of earlier supervisors included; no supervisor need run.
    History {
        #[command(flatten)]
        journal: JournalTarget,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show a supervisor's journal; no supervisor need run.
    Journal {
        #[command(subcommand)]
        command: JournalCommand,
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
    /// Check a configuration file and show all that is wrong with it; has the binary check itself, if `check_args` says how.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print what completes this program's commands in a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write the manual pages of this program and of its commands.
    Man {
        /// The directory that they are written to.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Show what it says, and what is wrong with it.
    Show {
        #[command(flatten)]
        journal: JournalTarget,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// The journal that is meant.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct JournalTarget {
    /// The supervisor's configuration file, which names its journal.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The supervisor's journal.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

impl JournalTarget {
    fn path(&self) -> Result<PathBuf, CommandFailure> {
        match (&self.journal, &self.config) {
            (Some(journal), _) => Ok(journal.clone()),
            (None, Some(path)) => Config::load_to_run(path)
                .map(|config| config.journal)
                .map_err(|problems| config::failure(path, &problems)),
            (None, None) => Err(CommandFailure::new(Code::Usage, "--config or --journal is needed")),
        }
    }
}

/// The supervisor that is meant.
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
    /// A JSON object a line.
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
    perform(command).into()
}

fn perform(command: SupervisorCommand) -> Code {
    match command {
        SupervisorCommand::Run { config, log_format } => {
            let log = start_log(log_format);
            let done = run::run(&config, log.clone());
            log.into_iter().for_each(|log| log.settle(LOG_LIMIT));
            ended(done)
        }
        SupervisorCommand::Swap { supervisor, binary, expect_build, dry_run, quiet, json } => {
            let order = SwapOrder { binary, expect_build, dry_run };
            let trigger = supervisor.trigger_socket();
            let report = trigger.and_then(|trigger| swap::swap(&trigger, &order, quiet || json));
            show(report, json, |report| (report.code(), text::swap(report)))
        }
        SupervisorCommand::Cancel { supervisor, json } => {
            let report = supervisor.trigger_socket().and_then(|trigger| client::cancel(&trigger));
            show(report, json, |report| (report.code(), text::swap(report)))
        }
        SupervisorCommand::Status { supervisor, watch: true, json } => match supervisor.trigger_socket() {
            Ok(trigger) => watch::watch(&trigger, json),
            Err(failure) => show(Err::<(), _>(failure), json, |()| (Code::Ok, String::new())),
        },
        SupervisorCommand::Status { supervisor, watch: false, json } => {
            let report = supervisor.trigger_socket().and_then(|trigger| client::status(&trigger));
            show(report, json, |report| (report.code(), text::status(report)))
        }
        SupervisorCommand::History { journal, json } => {
            let entries = journal.path().and_then(|journal| {
                let path = history::path_beside(&journal);
                history::read(&path).map_err(|error| unreadable(&path, &error))
            });
            show(entries.map(HistoryReport::from), json, |report| (Code::Ok, text::history(&report.history)))
        }
        SupervisorCommand::Journal { command: JournalCommand::Show { journal, json } } => {
            let report = journal
                .path()
                .and_then(|path| journal::read(&path).map_err(|error| unreadable(&path, &error)));
            show(report, json, |report| (report.code(), report.to_string()))
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
        SupervisorCommand::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
            print(String::from_utf8_lossy(&script).trim_end());
            Code::Ok
        }
        SupervisorCommand::Man { dir } => {
            ended(clap_mangen::generate_to(Cli::command(), &dir).map_err(|error| {
                CommandFailure::new(Code::CantCreate, format!("{}: {error}", dir.display()))
            }))
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> CommandFailure {
    CommandFailure::new(Code::System, format!("{}: {error}", path.display()))
}

/// The output of `history`: one object, as the other commands print.
#[derive(Debug, Serialize)]
struct HistoryReport {
    history: Vec<HistoryEntry>,
}

impl From<Vec<HistoryEntry>> for HistoryReport {
    fn from(history: Vec<HistoryEntry>) -> HistoryReport {
        HistoryReport { history }
    }
}

/// The findings of `check`.
#[derive(Debug, Serialize)]
struct CheckReport {
    ok: bool,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

fn check(path: &Path, json: bool) -> Code {
    let (errors, warnings) = match Config::load(path) {
        Ok(config) => (config.checked_binary().into_iter().collect(), config.warnings),
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
