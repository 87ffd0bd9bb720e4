//! The program's output, when its reader stops before the end.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::io::pipe;
use std::process::{Command, ExitStatus, Stdio};

/// Returns how `handoff-sim ARGS` ends with both its outputs at `output`.
fn ended(args: &[&str], output: impl Fn() -> Stdio) -> ExitStatus {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handoff-sim"));
    command.args(args).stdout(output()).stderr(output()).status().unwrap()
}

/// As in `handoff-sim sweep 2>&1 | head -1`.
#[test]
fn a_reader_that_has_gone_or_a_full_disk_leaves_the_exit_status_as_it_is() {
    let gone = || -> Stdio {
        let (_, writer) = pipe().unwrap();
        writer.into()
    };
    let full = || -> Stdio { File::options().write(true).open("/dev/full").unwrap().into() };
    for (args, code) in [
        (&["sweep", "--seeds", "0..20"][..], 0),
        (&["replay", "1"], 0),
        (&["replay", "no-such-file"], 2),
        (&["--canary", "seal", "sweep", "--seeds", "0..400", "--failures", env!("CARGO_TARGET_TMPDIR")], 1),
    ] {
        assert_eq!(ended(args, gone).code(), Some(code), "{args:?}");
        assert_eq!(ended(args, full).code(), Some(code), "{args:?}");
    }
}
