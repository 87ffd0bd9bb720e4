//! The reference supervisor.
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|command| command == "run") {
        handoff_tests::start_log("supervisor");
    }
    handoff_supervisor::main()
}
