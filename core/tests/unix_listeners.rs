//! Listeners: opened here, and inherited from a parent that may have got it wrong.
#![cfg(feature = "unix")]
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]

use std::env;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use handoff::unix::control::socketpair;
use handoff::unix::env::{StartRole, inherited};
use handoff::unix::listeners::Listeners;
use handoff::unix::pid::Watch;
use handoff::unix::spawn::{Setting, SpawnRequest, spawn};
use handoff::{BindOptions, Error, bind, bind_with};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const REPORT: &str = "LISTENERS_TEST_REPORT";

/// Not a test but the process that inherits: writes what became of it.
#[test]
fn heir_process() {
    let Some(report) = env::var_os(REPORT) else { return };
    let text = match Listeners::from_env() {
        Err(error) => error.to_string(),
        Ok(mut listeners) => {
            let flags: Vec<String> = listeners
                .names()
                .iter()
                .map(|name| {
                    let fd = listeners.take(name).unwrap();
                    let closes = fcntl(&fd, FcntlArg::F_GETFD).unwrap() == FdFlag::FD_CLOEXEC.bits();
                    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).unwrap());
                    format!("{name} close-on-exec={closes} blocks={}", !flags.contains(OFlag::O_NONBLOCK))
                })
                .collect();
            let again =
                Listeners::from_env().is_err() && inherited().unwrap().is_some() && inherited().is_err();
            format!("{} once={again}", flags.join(" "))
        }
    };
    fs::write(report, text).unwrap();
}

/// Returns what a process that inherits `fds` makes of them; `wrapper` is a shell's text before it is
/// executed.
fn heir(fds: &[(&str, BorrowedFd<'_>)], wrapper: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report");
    let program = env::current_exe().unwrap();
    let script = format!(
        "{wrapper} exec {} heir_process --exact --test-threads=1 --quiet >/dev/null",
        program.display()
    );
    let listeners: Vec<_> = fds.iter().map(|(name, fd)| (name.to_string(), *fd)).collect();
    let (_ours, theirs) = socketpair().unwrap();
    let spawned = spawn(SpawnRequest {
        binary: Path::new("/bin/sh"),
        image: None,
        args: &["-c".into(), script.into()],
        env: &[(REPORT.into(), path.clone().into())],
        setting: &Setting::default(),
        listeners: &listeners,
        link: OwnedFd::from(theirs),
        role: StartRole::Successor,
        output: None,
    });
    let mut watch = Watch::child(spawned.unwrap().process).unwrap();
    while watch.ended().unwrap().is_none() {
        let mut fds: Vec<_> = watch.pollable().iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::from(1_000_u16)).unwrap();
    }
    fs::read_to_string(path).unwrap()
}

#[test]
fn listeners_are_inherited_once_close_on_exec_and_non_blocking() {
    let dir = tempfile::tempdir().unwrap();
    let blocking = TcpListener::bind("127.0.0.1:0").unwrap();
    let not_blocking = bind(&format!("unix:{}", dir.path().join("s").display())).unwrap();
    assert_eq!(
        heir(&[("resp", blocking.as_fd()), ("admin socket", not_blocking.as_fd())], ""),
        "resp close-on-exec=true blocks=false admin socket close-on-exec=true blocks=false once=true"
    );
}

/// As a socket unit of systemd passes them, with `ListenDatagram=` or `ListenFIFO=` among others.
#[test]
fn an_inherited_descriptor_that_is_no_listener_is_left_out() {
    let good = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(good.local_addr().unwrap()).unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    for fd in [connected.as_fd(), datagrams.as_fd(), file.as_fd()] {
        let text = heir(&[("http", fd), ("resp", good.as_fd())], "");
        assert_eq!(text, "resp close-on-exec=true blocks=false once=true");
    }
    let text = heir(&[("resp", good.as_fd()), ("http", good.as_fd())], "exec 4<&-;");
    assert!(
        text.contains("descriptor 4, listener \"http\", is not open: the process that started this one"),
        "{text}"
    );
}

#[test]
fn variables_that_contradict_themselves_are_an_error_and_those_of_another_process_are_not_for_us() {
    let good = TcpListener::bind("127.0.0.1:0").unwrap();
    for (wrapper, words) in [
        ("LISTEN_FDS=x;", "LISTEN_FDS=x is no number"),
        ("LISTEN_FDS=-1;", "LISTEN_FDS=-1 is no number"),
        ("LISTEN_FDS=2147483644; unset LISTEN_FDNAMES;", "2147483644 is no number of descriptors"),
        ("LISTEN_FDS=2;", "2 descriptors, but 1 are open and named"),
        ("LISTEN_FDNAMES=a:b;", "1 descriptors, but 2"),
        ("unset LISTEN_FDNAMES;", "unknown close-on-exec=true"),
    ] {
        let text = heir(&[("resp", good.as_fd())], wrapper);
        assert!(text.contains(words), "{wrapper} {text}");
    }
    for wrapper in ["LISTEN_PID=1;", "unset LISTEN_PID;"] {
        assert_eq!(heir(&[("resp", good.as_fd())], wrapper), " once=false");
    }
}

#[test]
fn what_is_bound_answers_neither_blocks_nor_is_inherited() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    for address in ["127.0.0.1:0", "[::1]:0", &format!("unix:{}", path.display())] {
        let fd = bind(address).unwrap();
        assert_eq!(fcntl(&fd, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
        let mut listeners = Listeners::from_entries(vec![("l".into(), fd)]).unwrap();
        if let Some(listener) = listeners.take_tcp("l") {
            assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        } else {
            let listener = listeners.take_unix("l").unwrap();
            assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            UnixStream::connect(&path).unwrap();
        }
        assert!(listeners.is_empty());
    }
}

/// Binds `address`; waits while a copy of its last listener is open: a process that another test starts has one until its `exec`.
fn bind_soon(address: &str) -> std::os::fd::OwnedFd {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match bind(address) {
            Err(error) if std::time::Instant::now() > until => panic!("{error}"),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
            Ok(bound) => return bound,
        }
    }
}

#[test]
fn a_tcp_address_can_be_bound_again_at_once() {
    // An address of its own: clients of other tests are given ports of 127.0.0.1.
    let fd = bind("127.9.8.7:0").unwrap();
    let listener = TcpListener::from(fd);
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    listener.set_nonblocking(false).unwrap();
    // Closed from the listener's side first, its connection lingers in TIME_WAIT.
    drop(listener.accept().unwrap());
    drop(listener);
    drop(client);
    bind_soon(&address.to_string());
}

#[test]
fn a_unix_socket_is_replaced_only_if_nobody_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let address = format!("unix:{}", path.display());
    drop(UnixListener::bind(&path).unwrap());
    let held = bind_soon(&address);
    let refusal = bind(&address).unwrap_err().to_string();
    assert!(refusal.contains("another process listens at"), "{refusal}");
    UnixStream::connect(&path).unwrap();
    drop(held);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    assert!(bind(&address).unwrap_err().to_string().contains("is not a socket"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn an_address_that_cannot_be_bound_is_named() {
    let used = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = used.local_addr().unwrap().to_string();
    match bind(&address) {
        Err(Error::System { context, source }) => {
            assert_eq!(
                (context, source.kind()),
                (format!("can't bind {address}"), std::io::ErrorKind::AddrInUse)
            );
        }
        other => panic!("{other:?}"),
    }
    for bad in ["", "localhost", "127.0.0.1", "unix:", "127.0.0.1:99999"] {
        assert!(matches!(bind(bad), Err(Error::Caller(_))), "{bad}");
    }
    let long = format!("unix:/tmp/{}", "x".repeat(103));
    assert!(bind(&long).unwrap_err().to_string().contains("108 bytes, at most 107"), "{:?}", bind(&long));
    let lost = bind("unix:/nonexistent/s").unwrap_err().to_string();
    assert!(lost.contains("create the directory /nonexistent first"), "{lost}");
}

#[test]
fn a_listener_is_taken_by_name_and_family() {
    let dir = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = tcp.local_addr().unwrap();
    let unix = UnixListener::bind(dir.path().join("s")).unwrap();
    let entries = vec![("resp".to_string(), OwnedFd::from(tcp)), ("admin".to_string(), OwnedFd::from(unix))];
    let mut listeners = Listeners::from_entries(entries).unwrap();
    assert_eq!(listeners.names(), ["resp", "admin"]);
    assert!(listeners.take_tcp("admin").is_none() && listeners.take_unix("resp").is_none());
    assert!(listeners.take("other").is_none() && !listeners.is_empty());
    assert_eq!(listeners.take_tcp("resp").unwrap().local_addr().unwrap(), address);
    assert!(listeners.take_tcp("resp").is_none());
    assert!(listeners.take_unix("admin").is_some() && listeners.is_empty());
    let twice =
        ["a", "a"].map(|name| (name.to_string(), OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap())));
    assert!(matches!(Listeners::from_entries(twice.into()), Err(Error::Caller(_))));
}

fn blocks(fd: &impl AsFd) -> bool {
    !OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
}

#[test]
fn listeners_of_the_callers_own_do_not_block_either() {
    let own = || TcpListener::bind("127.0.0.1:0").unwrap();
    let copy = own();
    let handed = OwnedFd::from(copy.try_clone().unwrap());
    assert!(blocks(&copy));
    Listeners::from_entries(vec![("a".into(), handed)]).unwrap();
    assert!(!blocks(&copy), "the open file description is shared");
    let copy = own();
    let dir = tempfile::tempdir().unwrap();
    let supervisor = handoff::Supervisor::new(dir.path().join("control")).unwrap();
    let supervisor = supervisor.with_listener("a", copy.try_clone().unwrap()).unwrap();
    assert!(!blocks(&copy));
    assert_eq!(supervisor.listeners().unwrap().names(), ["a"]);
}

#[test]
fn a_unix_listener_has_the_mode_and_the_owner_that_it_was_given_before_anybody_can_connect() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let address = format!("unix:{}", path.display());
    let mut options = BindOptions::default();
    options.mode = Some(0o660);
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        (options.uid, options.gid) = (Some(65_533), Some(65_532));
    }
    let _held = bind_with(&address, &options).unwrap();
    let found = fs::symlink_metadata(&path).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o660);
    if is_root {
        assert_eq!((found.uid(), found.gid()), (65_533, 65_532));
    } else {
        eprintln!("half of it skipped: only root can give a socket away");
    }
    for refused in ["127.0.0.1:0", "[::1]:0", "unix:@handoff"] {
        assert!(matches!(bind_with(refused, &options), Err(Error::Caller(_))), "{refused}");
    }
}

#[test]
fn an_ipv6_listener_leaves_ipv4_alone_if_it_is_told_to() {
    let options = |only_v6| {
        let mut options = BindOptions::default();
        options.only_v6 = Some(only_v6);
        options
    };
    let six = TcpListener::from(bind_with("[::]:0", &options(true)).unwrap());
    let four = format!("0.0.0.0:{}", six.local_addr().unwrap().port());
    drop(bind(&four).expect("the port is free for IPv4"));
    drop(six);
    let both = TcpListener::from(bind_with("[::]:0", &options(false)).unwrap());
    let four = format!("0.0.0.0:{}", both.local_addr().unwrap().port());
    assert!(bind(&four).is_err(), "it is taken");
    assert!(matches!(bind_with("127.0.0.1:0", &options(true)), Err(Error::Caller(_))));
}

#[test]
#[cfg(target_os = "linux")]
fn an_abstract_unix_listener_has_a_name_and_no_file() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("handoff-test-{}", std::process::id());
    let address = format!("unix:@{name}");
    let fd = bind(&address).unwrap();
    assert!(bind(&address).is_err(), "it is in use");
    let listeners = Listeners::from_entries(vec![("l".into(), fd)]).unwrap();
    assert_eq!(listeners.address("l"), Some(address.clone()));
    assert!(listeners.is_reached("l"));
    listeners.remove_path("l").unwrap();
    let client = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    UnixStream::connect_addr(&client).unwrap();
    drop(listeners);
    bind(&address).expect("it went with its last socket");
}
