//! The reference supervisor. It logs as tests want it, unless HANDOFF_TEST_OWN_LOG says that its own log is wanted.
use std::process::ExitCode;

fn main() -> ExitCode {
    let has_own_log = std::env::var_os("HANDOFF_TEST_OWN_LOG").is_some();
    if !has_own_log && std::env::args().nth(1).is_some_and(|command| command == "run") {
        handoff_tests::start_log("supervisor");
    }
    #[cfg(feature = "crash-points")]
    if let Some(dir) = std::env::var_os(handoff_tests::Layout::MARK) {
        handoff_tests::trouble::expect(handoff_tests::Layout::new(dir));
    }
    handoff_supervisor::main()
}
