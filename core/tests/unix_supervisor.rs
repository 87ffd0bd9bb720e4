//! The answers that a caller of the supervisor gets, on real sockets.
#![cfg(feature = "unix")]
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use handoff::frame::encode;
use handoff::message::{Capabilities, Hello, Message, Role};
use handoff::unix::pid::this_process;
use handoff::{Error, HandoffError, Reason, SpawnSpec, Supervisor};

/// Swaps the daemon at `control`, and is told why that was not begun.
fn refused_at(control: &Path) -> HandoffError {
    Supervisor::new(control).unwrap().perform_handoff(SpawnSpec::new("/bin/true")).unwrap_err()
}

/// A daemon that speaks other versions than this library.
fn hello_of_tomorrow() -> Message {
    let process = this_process().unwrap();
    Message::Hello(Hello {
        role: Role::Incumbent,
        pid: process.pid,
        start_time: process.start_time,
        build_id: b"tomorrow".to_vec(),
        proto_min: 90,
        proto_max: 91,
        capabilities: Capabilities::default(),
    })
}

#[test]
fn why_a_handoff_was_not_begun_is_told_as_a_type() {
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("control");
    let nobody = refused_at(&control);
    assert!(matches!(nobody.error, Error::Unreachable(_)), "{nobody}");
    assert!(matches!(nobody.reason, Some(Reason::Unreachable(_))), "{nobody}");

    let daemon = UnixListener::bind(&control).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut link, _) = daemon.accept().unwrap();
            link.write_all(&encode(1, &hello_of_tomorrow()).unwrap()).unwrap();
            // Until the supervisor has hung up.
            std::io::copy(&mut link, &mut std::io::sink()).unwrap();
        });
        let stranger = refused_at(&control);
        assert!(matches!(stranger.error, Error::Peer(_)), "{stranger}");
        let expected = Reason::Version { role: Role::Incumbent, min: 90, max: 91 };
        assert_eq!(stranger.reason, Some(expected));
    });
}

#[test]
fn a_wrong_argument_has_no_reason_but_the_error_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = SpawnSpec::new("/bin/true");
    spec.liveness = std::time::Duration::ZERO;
    let refused = Supervisor::new(dir.path().join("control")).unwrap().cold_start(spec).unwrap_err();
    assert!(matches!(refused, HandoffError { error: Error::Caller(_), reason: None, .. }), "{refused}");
}
