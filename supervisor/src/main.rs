//! The program `handoff-supervisor`; all of it is in the library.
use std::process::ExitCode;

fn main() -> ExitCode {
    handoff_supervisor::main()
}
