//! The reference supervisor.
use std::process::ExitCode;

fn main() -> ExitCode {
    handoff_supervisor::main()
}
