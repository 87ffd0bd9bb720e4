//! Spawning a successor, with real processes. What the child sees it writes itself: [`child`] is this test
//! binary, executed again.
#![cfg(feature = "unix")]
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use handoff::Error;
use handoff::journal::Journal;
use handoff::unix::control::socketpair;
use handoff::unix::env::{StartRole, inherited};
use handoff::unix::kill::MayBeKilled;
use handoff::unix::listeners::Listeners;
use handoff::unix::pid::{Exit, Watch, start_time_of};
use handoff::unix::spawn::{Setting, SpawnRequest, Spawned, spawn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const REPORT: &str = "SPAWN_TEST_REPORT";

/// Not a test but the spawned program: writes what it inherited into the file that `REPORT` names.
#[test]
fn child() {
    let Some(report) = env::var_os(REPORT) else { return };
    let mut lines = vec![format!("fds {:?}", open_fds())];
    let parent = inherited().unwrap().unwrap();
    lines.push(format!("role {}", parent.role));
    lines.push(format!("link {}", parent.link.as_raw_fd()));
    let mut listeners = Listeners::from_env().unwrap();
    for name in listeners.names() {
        let listener = listeners.take_tcp(&name).unwrap();
        lines.push(format!(
            "listener {name} {} {}",
            listener.as_raw_fd(),
            listener.local_addr().unwrap().port()
        ));
    }
    // Of this thread: the main one may still be starting it, and has all signals blocked meanwhile.
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    lines.extend(["SigBlk", "SigIgn"].map(|set| format!("{set} {:x}", signal_set(&status, set))));
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_string();
    lines.push(format!("leads {}", session == std::process::id().to_string()));
    lines.push(format!("stdin {}", fs::read_link("/proc/self/fd/0").unwrap().display()));
    for name in ["LISTEN_PIDFDID", "SPAWN_TEST_ADDED", "LISTEN_FDS"] {
        lines.push(format!("{name} {:?}", env::var(name).ok()));
    }
    fs::write(report, lines.join("\n")).unwrap();
}

/// A set of `proc_pid_status(5)`, without signals 32 and 33: those are the C library's own.
fn signal_set(status: &str, name: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap() & !(0b11 << 31)
}

/// The descriptors that are open and not close-on-exec, but for the directory that lists them.
fn open_fds() -> Vec<RawFd> {
    let mut fds: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    fds.sort_unstable();
    fds.retain(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    fds
}

fn listen(count: usize) -> Vec<(String, TcpListener)> {
    (0..count).map(|at| (format!("l{at}"), TcpListener::bind("127.0.0.1:0").unwrap())).collect()
}

fn borrow(listeners: &[(String, TcpListener)]) -> Vec<(String, std::os::fd::BorrowedFd<'_>)> {
    listeners.iter().map(|(name, listener)| (name.clone(), listener.as_fd())).collect()
}

fn start(
    binary: &Path,
    args: &[OsString],
    env: &[(OsString, OsString)],
    listeners: &[(String, TcpListener)],
) -> (handoff::Result<Spawned>, UnixStream) {
    let (ours, theirs) = socketpair().unwrap();
    let listeners = borrow(listeners);
    let request = SpawnRequest {
        binary,
        image: None,
        args,
        env,
        setting: &Setting::default(),
        listeners: &listeners,
        link: OwnedFd::from(theirs),
        role: StartRole::Successor,
        output: None,
    };
    (spawn(request), ours)
}

fn wait(watch: &mut Watch) -> Exit {
    for _ in 0..1_000 {
        if let Some(exit) = watch.ended().unwrap() {
            return exit;
        }
        let mut fds: Vec<_> = watch.pollable().iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::from(10_u8)).unwrap();
    }
    MayBeKilled::started(watch, &Journal::default()).unwrap().kill_group(watch).unwrap();
    panic!("{:?} did not end", watch.id());
}

fn report_of(listeners: &[(String, TcpListener)]) -> (Spawned, BTreeMap<String, String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report");
    let env = [
        (REPORT.into(), path.clone().into()),
        ("SPAWN_TEST_ADDED".into(), "yes".into()),
        ("LISTEN_FDS".into(), "99".into()),
    ];
    let args = ["child", "--exact", "--test-threads=1", "--quiet"].map(OsString::from);
    let (spawned, _link) = start(&env::current_exe().unwrap(), &args, &env, listeners);
    let spawned = spawned.unwrap();
    assert_eq!(wait(&mut Watch::child(spawned.process).unwrap()), Exit::Code(0));
    let report = fs::read_to_string(path).unwrap();
    let pairs = report.lines().map(|line| {
        let words = if line.starts_with("listener") { 1 } else { 0 };
        let at = line.match_indices(' ').nth(words).unwrap().0;
        (line[..at].to_string(), line[at + 1..].to_string())
    });
    (spawned, pairs.collect())
}

#[test]
fn a_child_has_what_it_was_given_and_nothing_else() {
    let leak = fs::File::open("/").unwrap();
    nix::fcntl::fcntl(&leak, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let listeners = listen(2);
    let (_, report) = report_of(&listeners);
    let port = |at: usize| listeners[at].1.local_addr().unwrap().port();
    let expected = [
        ("fds", "[0, 1, 2, 3, 4, 5]".to_string()),
        ("role", "successor".into()),
        ("link", "5".into()),
        ("listener l0", format!("3 {}", port(0))),
        ("listener l1", format!("4 {}", port(1))),
        ("SigBlk", "0".into()),
        // Rust's runtime ignores SIGPIPE again: the test binary's doing, not ours.
        ("SigIgn", "1000".into()),
        ("leads", "true".into()),
        ("stdin", "/dev/null".into()),
        ("LISTEN_PIDFDID", "None".into()),
        ("SPAWN_TEST_ADDED", "Some(\"yes\")".into()),
        ("LISTEN_FDS", "Some(\"2\")".into()),
    ];
    let expected: BTreeMap<_, _> = expected.map(|(key, value)| (key.to_string(), value)).into();
    assert_eq!(report, expected);
}

/// Without a Rust runtime in between that would change them again.
#[test]
fn signals_are_as_they_are_by_default() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("status");
    let script = format!("grep -E 'SigBlk|SigIgn' /proc/self/status > {}", path.display());
    // SIGPIPE is ignored in every Rust program; a blocked signal is ours to add.
    let mut blocked = nix::sys::signal::SigSet::empty();
    blocked.add(nix::sys::signal::Signal::SIGUSR1);
    blocked.thread_block().unwrap();
    let (spawned, _link) = start(Path::new("/bin/sh"), &["-c".into(), script.into()], &[], &[]);
    assert!(nix::sys::signal::SigSet::thread_get_mask().unwrap().contains(nix::sys::signal::Signal::SIGUSR1));
    blocked.thread_unblock().unwrap();
    assert_eq!(wait(&mut Watch::child(spawned.unwrap().process).unwrap()), Exit::Code(0));
    let status = fs::read_to_string(path).unwrap();
    assert_eq!((signal_set(&status, "SigBlk"), signal_set(&status, "SigIgn")), (0, 0));
}

#[test]
fn the_pid_and_the_start_time_are_those_of_the_child() {
    // The link does not block, so the shell asks until there is an answer.
    let script = "test $LISTEN_PID = $$ || exit 8; until read line <&3; do :; done; exit 7";
    let (spawned, link) = start(Path::new("/bin/sh"), &["-c".into(), script.into()], &[], &[]);
    let spawned = spawned.unwrap();
    assert_eq!(start_time_of(spawned.process.pid).unwrap(), Some(spawned.process.start_time));
    std::io::Write::write_all(&mut &link, b"go\n").unwrap();
    assert_eq!(wait(&mut Watch::child(spawned.process).unwrap()), Exit::Code(7));
    // Another test's child may have a copy for the moment between its fork and its exec.
    link.set_nonblocking(false).unwrap();
    link.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
    let end = (&link).read(&mut [0; 8]).unwrap();
    assert_eq!(end, 0, "nobody else has the child's end of the link");
}

#[test]
fn a_binary_that_cannot_start_is_that_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str, mode| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let cases = [
        (dir.path().join("missing"), Errno::ENOENT, "can't execute"),
        (file("plain", "#!/bin/sh\n", 0o644), Errno::EACCES, "execute permission"),
        (dir.path().to_path_buf(), Errno::EACCES, "regular file"),
        (file("script", "#!/no/such/interpreter\n", 0o755), Errno::ENOENT, "interpreter"),
        (file("noise", "\u{1}\u{2}\u{3}", 0o755), Errno::ENOEXEC, "not a program"),
    ];
    let listeners = listen(20);
    for (binary, errno, words) in cases {
        for given in [&listeners[..], &[]] {
            match start(&binary, &[], &[], given).0 {
                Err(Error::System { context, source }) => {
                    assert_eq!(source.raw_os_error(), Some(errno as i32), "{context}");
                    assert!(
                        context.contains(words) && context.contains(binary.to_str().unwrap()),
                        "{context}"
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let children = fs::read_to_string(format!("/proc/self/task/{}/children", nix::unistd::gettid())).unwrap();
    assert_eq!(children, "", "none is left");
}

#[test]
fn what_cannot_be_passed_on_is_refused() {
    let long = "x".repeat(256);
    for name in ["", "a:b", "a\nb", "ü", &long, "l0"] {
        let mut listeners = listen(2);
        listeners[1].0 = name.into();
        match start(Path::new("/bin/true"), &[], &[], &listeners).0 {
            Err(Error::Caller(text)) => assert!(text.contains("listener name"), "{text}"),
            other => panic!("{name:?}: {other:?}"),
        }
    }
    let bad: [(&str, &str); 3] = [("", "x"), ("a=b", "x"), ("a", "x\0y")];
    for (name, value) in bad {
        let refused = start(Path::new("/bin/true"), &[], &[(name.into(), value.into())], &[]).0;
        assert!(matches!(refused, Err(Error::Caller(_))), "{refused:?}");
    }
    assert!(matches!(start(Path::new("/bin/true"), &["a\0b".into()], &[], &[]).0, Err(Error::Caller(_))));
}
