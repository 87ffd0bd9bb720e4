//! The key-value server, as a binary that tests of this package can name.
use std::process::ExitCode;

fn main() -> ExitCode {
    handoff_kv::main()
}
