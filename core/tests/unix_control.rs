//! Control sockets, on a real filesystem.
#![cfg(feature = "unix")]
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use handoff::Error;
use handoff::unix::control::{
    Connect, ControlSocket, beside, connect, peer, pids_beside, remove_stale, socketpair, sweep, uid_allowed,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    (dir, path)
}

fn names(dir: &TempDir) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn connected(path: &Path) -> UnixStream {
    match connect(path).unwrap() {
        Connect::Connected(stream) => stream,
        other => panic!("{other:?}"),
    }
}

/// Another daemon's control socket at the path, as seen by ours.
fn other_daemon(path: &Path) -> UnixListener {
    let _ = fs::remove_file(path);
    UnixListener::bind(path).unwrap()
}

fn ours() -> String {
    format!("control.{}", std::process::id())
}

#[test]
fn it_answers_beside_the_path_from_birth_and_disturbs_nobody() {
    let (dir, path) = place();
    let other = other_daemon(&path);
    let control = ControlSocket::bind_beside(&path).unwrap();
    let _stream = connected(&beside(&path, std::process::id()));
    let (_, peer) = control.accept().unwrap().unwrap();
    assert_eq!((peer.uid, peer.pid), (nix::unistd::geteuid().as_raw(), Some(std::process::id())));
    assert!(!control.holds_path());
    let _stream = connected(&path);
    other.accept().unwrap();
    assert_eq!(pids_beside(&path).unwrap(), [std::process::id()]);
    drop(control);
    assert_eq!(names(&dir), ["control"], "the other's name stays");
}

#[test]
fn only_its_owner_can_connect() {
    let (_dir, path) = place();
    let control = ControlSocket::bind_beside(&path).unwrap();
    control.take_path().unwrap();
    for name in [&path, &beside(&path, std::process::id())] {
        assert_eq!(fs::metadata(name).unwrap().permissions().mode() & 0o7777, 0o600);
    }
}

#[test]
fn taking_the_path_is_seen_by_whoever_connects_next_and_can_be_repeated() {
    let (dir, path) = place();
    let control = ControlSocket::bind_beside(&path).unwrap();
    let other = other_daemon(&path);
    // The path is lost to another and taken back, as by an incumbent that resumes.
    for _ in 0..2 {
        control.take_path().unwrap();
        control.take_path().unwrap();
        assert!(control.holds_path());
        assert_eq!(names(&dir), ["control".to_string(), ours()], "no name is left of the taking");
        let mut stream = connected(&path);
        stream.write_all(b"hi").unwrap();
        let (mut accepted, _) = control.accept().unwrap().unwrap();
        accepted.read_exact(&mut [0; 2]).unwrap();
        let again = other_daemon(&path);
        assert!(!control.holds_path());
        drop(again);
    }
    drop(other);
    control.take_path().unwrap();
    drop(control);
    assert_eq!(names(&dir), [""; 0]);
}

#[test]
fn the_path_is_never_without_a_socket_while_it_is_taken() {
    let (dir, path) = place();
    let control = ControlSocket::bind_beside(&path).unwrap();
    let successors: Vec<_> = (0..200)
        .map(|at| {
            let name = dir.path().join(format!("next{at}"));
            (UnixListener::bind(&name).unwrap(), name)
        })
        .collect();
    control.take_path().unwrap();
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert!(path.symlink_metadata().is_ok());
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        for (_, name) in &successors {
            fs::rename(name, &path).unwrap();
            control.take_path().unwrap();
            // A watcher that had no processor meanwhile would have seen nothing.
            let seen = looks.load(Ordering::Relaxed);
            while looks.load(Ordering::Relaxed) == seen && !watcher.is_finished() {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn accepted_connections_neither_block_nor_are_inherited() {
    let (_dir, path) = place();
    let control = ControlSocket::bind_beside(&path).unwrap();
    assert!(control.accept().unwrap().is_none());
    let mut stream = connected(&beside(&path, std::process::id()));
    let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&control), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(1));
    let (mut accepted, _) = control.accept().unwrap().unwrap();
    let (mut a, mut b) = socketpair().unwrap();
    for end in [&mut stream, &mut accepted, &mut a, &mut b] {
        assert_eq!(end.read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        let flags = nix::fcntl::fcntl(&*end, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, nix::libc::FD_CLOEXEC);
    }
    assert_eq!(peer(&stream).unwrap().pid, Some(std::process::id()));
}

#[test]
fn connecting_tells_absence_from_a_full_queue() {
    let (_dir, path) = place();
    assert!(matches!(connect(&path), Ok(Connect::NotThere)), "no such file");
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::empty(),
        None,
    );
    let socket = socket.unwrap();
    let address = nix::sys::socket::UnixAddr::new(&path).unwrap();
    nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &address).unwrap();
    assert!(matches!(connect(&path), Ok(Connect::NotThere)), "bound, but it does not listen");
    nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let mut waiting = Vec::new();
    let full = (0..10).any(|_| match connect(&path).unwrap() {
        Connect::Connected(stream) => {
            waiting.push(stream);
            false
        }
        Connect::Retry => true,
        Connect::NotThere => panic!("somebody listens"),
    });
    assert!(full && !waiting.is_empty());
}

#[test]
fn what_an_ended_process_left_is_removed_and_what_answers_is_not() {
    let (dir, path) = place();
    for name in ["control.7", "control.7.next", &ours(), &format!("{}.next", ours())] {
        drop(UnixListener::bind(dir.path().join(name)).unwrap());
    }
    remove_stale(&path, 7).unwrap();
    remove_stale(&path, 8).unwrap();
    // Our own pid's names, left by an earlier process that had it.
    let control = ControlSocket::bind_beside(&path).unwrap();
    control.take_path().unwrap();
    assert!(control.holds_path());
    assert!(matches!(remove_stale(&path, std::process::id()), Err(Error::System { .. })));
    assert!(matches!(ControlSocket::bind_beside(&path), Err(Error::System { .. })));
    assert!(matches!(connect(&beside(&path, std::process::id())), Ok(Connect::Connected(_))));
}

/// Of the two names of a process that was killed, one may have been removed, and not the other.
#[test]
fn a_link_alone_is_swept_though_its_name_is_too_long_to_connect_to() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x".repeat(99 - dir.path().as_os_str().len() - 1));
    let socket = dir.path().join("socket");
    drop(UnixListener::bind(&socket).unwrap());
    let beside = beside(&path, child.id()).into_os_string().into_string().unwrap();
    fs::rename(&socket, format!("{beside}.next")).unwrap();
    sweep(&path);
    assert_eq!(names(&dir), [""; 0]);
}

#[test]
fn a_bad_path_is_refused_with_a_remedy() {
    let (dir, path) = place();
    let refusal = |path: &Path| ControlSocket::bind_beside(path).unwrap_err().to_string();
    let long = dir.path().join("x".repeat(100));
    assert!(
        refusal(&long).contains("at most 99 are possible here; choose a shorter path"),
        "{}",
        refusal(&long)
    );
    let lost = dir.path().join("missing/control");
    assert!(refusal(&lost).contains("create the directory"), "{}", refusal(&lost));
    fs::write(&path, "precious").unwrap();
    assert!(refusal(&path).contains("is not a socket"), "{}", refusal(&path));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    assert_eq!(names(&dir), ["control"]);
}

#[test]
fn the_longest_path_that_is_accepted_can_be_connected_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x".repeat(99 - dir.path().as_os_str().len() - 1));
    let control = ControlSocket::bind_beside(&path).unwrap();
    control.take_path().unwrap();
    let _stream = connected(&path);
    assert!(path.symlink_metadata().unwrap().ino() > 0);
}

#[test]
fn a_file_that_came_to_the_path_later_is_not_replaced() {
    let (_dir, path) = place();
    let control = ControlSocket::bind_beside(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    assert!(matches!(control.take_path(), Err(Error::Caller(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn our_own_user_and_listed_ones_are_allowed() {
    let own = nix::unistd::geteuid().as_raw();
    assert!(uid_allowed(own, &[]) && uid_allowed(0, &[]) && uid_allowed(own + 4711, &[own + 4711]));
    assert!(!uid_allowed(own + 4711, &[own + 4712]));
}
