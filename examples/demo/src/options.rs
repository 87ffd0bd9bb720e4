//! The command line.
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;

/// Replaces a database daemon under load, and counts what its clients notice.
///
/// Builds the supervisor and two builds of the key-value server, has the supervisor run the first, puts load on it,
/// and swaps to and fro; half-way, it swaps to a build that fails to open the database and is rolled back. Exit
/// status: 0 if every request was answered, every acknowledged write was there and every swap ended as it should;
/// otherwise 1.
#[derive(Debug, Parser)]
#[command(name = "handoff-demo", version)]
pub(crate) struct DemoOptions {
    /// The number of times to replace the daemon
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) swaps: u32,
    /// The number of connections that make load
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) connections: u16,
    /// Requests a second on each connection [default: as fast as replies come]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub(crate) pace: Option<f64>,
    /// Print the report as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// The directory for data, on a disk whose speed is of interest [default: the build directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Keep the data, the configuration and the log
    #[arg(long)]
    pub(crate) keep: bool,
    /// Use this supervisor instead of building one
    #[arg(long, value_name = "PATH", requires_all = ["kv", "kv_next"])]
    pub(crate) supervisor: Option<PathBuf>,
    /// Use this key-value server as the first build
    #[arg(long, value_name = "PATH", requires_all = ["supervisor", "kv_next"])]
    pub(crate) kv: Option<PathBuf>,
    /// Use this key-value server as the second build
    #[arg(long, value_name = "PATH", requires_all = ["supervisor", "kv"])]
    pub(crate) kv_next: Option<PathBuf>,
}

fn positive(text: &str) -> anyhow::Result<f64> {
    let rate = text.parse().ok().filter(|rate| *rate > 0.0 && f64::is_finite(*rate));
    rate.context("must be a positive number")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        DemoOptions::command().debug_assert();
    }

    #[test]
    fn binaries_are_given_together_or_not_at_all() {
        let parse = |args: &[&str]| DemoOptions::try_parse_from([&["handoff-demo"], args].concat());
        assert!(parse(&["--kv", "a", "--kv-next", "b"]).is_err());
        assert!(parse(&["--kv", "a", "--kv-next", "b", "--supervisor", "c"]).is_ok());
        assert!(parse(&["--pace", "0"]).is_err());
    }
}
