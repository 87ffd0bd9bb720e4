//! The command line.
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use handoff::daemon::{LossyWriter, outlive_file_size_limit};
use handoff::{DataDir, Ended, Error, Options, Patience};
use tracing_subscriber::EnvFilter;

use crate::daemon::{HTTP, Kv, RESP, ServerConfig};

/// The longest time for which the end of the program waits for what it says to be written.
const LOG_LIMIT: Duration = Duration::from_millis(500);

/// A durable key-value server that speaks RESP and can be replaced while it serves.
#[derive(Debug, Parser)]
#[command(name = "handoff-kv", version)]
struct Args {
    /// The directory of the database; created if need be
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The control socket, by which a supervisor replaces this process
    #[arg(long, value_name = "PATH")]
    control: PathBuf,
    /// The address to speak RESP at, unless a listener `resp` was inherited
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6379")]
    resp: String,
    /// The address to answer /healthz and /metrics at, unless a listener `http` was inherited
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6380")]
    http: String,
    /// The largest size of the database, in MiB (address space, not memory)
    #[arg(long, value_name = "N", default_value_t = 16 * 1024, value_parser = clap::value_parser!(u32).range(1..))]
    map_size_mb: u32,
    /// The longest time that a connection may make no progress in a drain before it is cut, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = millis(Patience::default().stall))]
    stall_ms: u64,
    /// The longest time after its acceptance in which a connection may send its first request in a drain, in
    /// milliseconds
    #[arg(long, value_name = "MS", default_value_t = millis(Patience::default().first_request))]
    first_request_ms: u64,
    /// Fail to open the database, as a broken build would
    #[arg(long, hide = true)]
    fail_open: bool,
    /// Never get done with opening the database, as another broken build would
    #[arg(long, hide = true)]
    hang_open: bool,
}

/// Runs the server with the process's arguments until it is replaced or stopped. The build is called by the
/// package's version.
///
/// Exit status: 0 when it was replaced or stopped; otherwise as in `sysexits.h`: 64 for bad arguments, 70 if it
/// failed, 73 if the data directory can't be created, 75 if another process has it or if, as a successor, it was
/// turned away.
pub fn main() -> ExitCode {
    main_as(env!("CARGO_PKG_VERSION"))
}

/// [`main`] for a build called `build_id`.
pub fn main_as(build_id: &str) -> ExitCode {
    let log = start_log(build_id);
    // A write that fails is answered; to be ended by a signal would help no client. Without handlers the default stays.
    let _ = outlive_file_size_limit();
    let code = main_logged(build_id);
    log.into_iter().for_each(|log| log.settle(LOG_LIMIT));
    code
}

/// Logs to standard error from now on, panics included, and never waits for its reader. `None` where the caller has set
/// up logging already, and then that is what is wanted.
fn start_log(build_id: &str) -> Option<LossyWriter> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let head = format!("kv[{}] {build_id} ", std::process::id());
    let writer = LossyWriter::to_stderr(head, |lost| format!("{lost} log lines were lost\n")).ok()?;
    let lines = writer.clone();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || lines.clone());
    log.with_ansi(stderr().is_terminal()).try_init().ok()?;
    std::panic::set_hook(Box::new(|panic| tracing::error!(target: "handoff.panic", "{panic}")));
    Some(writer)
}

fn main_logged(build_id: &str) -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // There is nowhere left to say so if that fails.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    run(args, build_id)
}

fn run(args: Args, build_id: &str) -> ExitCode {
    // The library locks the directory, so it must be there before anything else.
    let data = match DataDir::create(&args.data) {
        Ok(data) => data,
        Err(error) => {
            tracing::error!(%error, data = %args.data.display(), "can't have the data directory");
            return ExitCode::from(73);
        }
    };
    let config = ServerConfig {
        map_bytes: args.map_size_mb as usize * 1024 * 1024,
        fail_open: args.fail_open,
        hang_open: args.hang_open,
        patience: Patience::new(
            Duration::from_millis(args.stall_ms),
            Duration::from_millis(args.first_request_ms),
        ),
        ..ServerConfig::new(data.path(), build_id)
    };
    let options = Options::in_dir(data.clone(), args.control)
        .build_id(build_id)
        .listener(RESP, args.resp)
        .listener(HTTP, args.http);
    match Kv::new(&config).and_then(|kv| handoff::run(options, kv)) {
        Ok(Ended::Retired | Ended::Stopped) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(75),
        Err(error) => {
            tracing::error!(%error, "handoff-kv failed");
            match error {
                Error::Caller(_) => ExitCode::from(64),
                Error::Busy | Error::Locked(_) => ExitCode::from(75),
                _ => ExitCode::from(70),
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
