//! The key-value server as a binary of its own.
use std::process::ExitCode;

fn main() -> ExitCode {
    handoff_kv::main()
}
