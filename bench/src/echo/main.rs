//! `echo-daemon DATA_DIR CONTROL_SOCKET`: the daemon whose clients the benchmark of connections watches.
use std::env;
use std::path::PathBuf;

use handoff::daemon::Options;

mod daemon;

fn main() -> handoff::Result<()> {
    let [data, control] = [1, 2].map(|at| PathBuf::from(env::args_os().nth(at).unwrap_or_default()));
    handoff::run(Options::new(data, control), daemon::Echo::new()?).map(drop)
}
