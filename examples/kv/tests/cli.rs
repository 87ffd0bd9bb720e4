//! The program, as a supervisor's log sees it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
use std::process::Command;

#[test]
fn a_data_directory_that_cannot_be_had_is_named_in_plain_text() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_handoff-kv"));
    command.arg("--data").arg(file.join("data")).arg("--control").arg(dir.path().join("control.sock"));
    let output = command.output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(73), "{log}");
    assert!(log.contains("file/data") && !log.contains('\x1b'), "no colours where nobody sees them: {log:?}");
}
