//! The key-value daemon.
use std::process::ExitCode;

fn main() -> ExitCode {
    handoff_kv::main()
}
