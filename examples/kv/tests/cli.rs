//! The program, as a supervisor's log sees it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
mod common;

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use common::{Raw, until};

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

#[test]
fn a_new_data_directory_is_served_from() {
    let dir = tempfile::tempdir().unwrap();
    let [resp, http] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_handoff-kv"));
    command.arg("--data").arg(dir.path().join("data")).arg("--control").arg(dir.path().join("control.sock"));
    let log = dir.path().join("log");
    command.args(["--resp", &resp.to_string(), "--http", &http.to_string()]);
    command.stderr(Stdio::from(File::create(&log).unwrap()));
    let mut server = command.spawn().unwrap();
    until("it serves or has ended", || {
        TcpStream::connect(resp).is_ok() || server.try_wait().unwrap().is_some()
    });
    assert_eq!(server.try_wait().unwrap(), None);
    Raw::connect(resp).ask("INCR n\r\n", ":1\r\n");
    server.kill().unwrap();
    server.wait().unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains("WARN"), "to start without a supervisor is nothing to warn of: {log}");
}
