use std::fs::File;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::*;
use crate::unix::control::socketpair;
use crate::unix::listeners::Listeners;

fn pair() -> (Link, Link) {
    let (ours, theirs) = socketpair().unwrap();
    (Link::new(ours), Link::receiving(theirs))
}

fn listener() -> OwnedFd {
    TcpListener::bind("127.0.0.1:0").unwrap().into()
}

fn listeners(names: &[&str], more: bool) -> Message {
    Message::Listeners { names: names.iter().map(|name| name.to_string()).collect(), more }
}

/// Returns what `link` reads next; it must have come already.
fn message(link: &mut Link) -> Message {
    match link.read() {
        Read::Message(message) => message,
        other => panic!("no message: {other:?}"),
    }
}

fn closed(link: &mut Link) -> String {
    match link.read() {
        Read::Closed(why) => why.into(),
        other => panic!("not closed: {other:?}"),
    }
}

fn inode(fd: &impl AsRawFd) -> String {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap().display().to_string()
}

#[test]
fn descriptors_come_with_their_message_in_order_and_close_on_exec() {
    let (mut from, mut to) = pair();
    let (a, b) = (listener(), listener());
    let sent = [inode(&a), inode(&b)];
    from.send(&Message::StandingQuery);
    from.send_with(&listeners(&["a", "b"], false), vec![a, b].into());
    from.send(&Message::Busy);
    assert_eq!(message(&mut to), Message::StandingQuery);
    assert!(to.take_descriptors().is_empty());
    let Message::Listeners { names, .. } = message(&mut to) else { panic!("not the listeners") };
    let received = Listeners::received(&names, to.take_descriptors()).unwrap().into_entries();
    assert_eq!(message(&mut to), Message::Busy);
    assert_eq!(received.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(received.iter().map(|(_, fd)| inode(fd)).collect::<Vec<_>>(), sent);
    for (_, fd) in &received {
        assert_eq!(fcntl(fd, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
    }
}

#[test]
fn descriptors_wait_with_their_bytes_while_the_peer_does_not_read() {
    let (mut from, mut to) = pair();
    let revisions = vec![7; 12_500];
    let filler = Message::Ready {
        handoff_id: crate::id::HandoffId([1; 16]),
        listening_on: Vec::new(),
        healthz_ok: true,
        advertised_revision_per_shard: revisions,
    };
    (0..20).for_each(|_| from.send(&filler));
    assert!(from.wants_write(), "the socket's buffer is full");
    let fd = listener();
    let sent = inode(&fd);
    from.send_with(&listeners(&["a"], false), vec![fd].into());
    let mut fillers = 0;
    loop {
        match to.read() {
            Read::Message(Message::Listeners { .. }) => break,
            Read::Message(_) => {
                fillers += 1;
                assert!(to.take_descriptors().is_empty(), "they do not come before their message");
            }
            Read::Nothing => from.flush(),
            Read::Closed(why) => panic!("{why}"),
        }
    }
    assert_eq!(fillers, 20);
    assert_eq!(to.take_descriptors().iter().map(inode).collect::<Vec<_>>(), [sent]);
}

#[test]
fn a_link_that_expects_none_closes_what_comes() {
    let (ours, theirs) = socketpair().unwrap();
    let (mut from, mut to) = (Link::new(ours), Link::new(theirs));
    let (read, write) = nix::unistd::pipe().unwrap();
    from.send_with(&listeners(&["a"], false), vec![write].into());
    drop(from);
    assert_eq!(message(&mut to), listeners(&["a"], false));
    assert!(to.take_descriptors().is_empty());
    // No process has the other end of the pipe any more.
    assert_eq!(nix::unistd::read(&read, &mut [0]).unwrap(), 0);
}

#[test]
fn descriptors_beside_another_message_or_too_many_of_them_break_the_link() {
    let (mut from, mut to) = pair();
    from.send_with(&Message::Busy, vec![listener()].into());
    assert!(closed(&mut to).contains("descriptors came beside Busy"));
    assert!(to.take_descriptors().is_empty());

    let (ours, theirs) = socketpair().unwrap();
    let mut to = Link::receiving(theirs);
    let frame = frame::encode(PROTO_MAX, &listeners(&["a"], false)).unwrap();
    for byte in frame {
        let _ = rights::send(&ours, &[byte], &[listener()]);
    }
    assert!(closed(&mut to).contains("more descriptors"), "one set a message");
}

#[test]
fn what_is_received_must_be_listening_sockets_as_many_as_their_names() {
    let name = || vec!["a".to_string()];
    let file = || OwnedFd::from(File::open("/dev/null").unwrap());
    let connected = || OwnedFd::from(socketpair().unwrap().0);
    for (names, fds, why) in [
        (name(), Vec::new(), "0 descriptors came for 1 listeners"),
        (name(), vec![listener(), listener()], "2 descriptors came for 1 listeners"),
        (name(), vec![file()], "is not a socket"),
        (name(), vec![connected()], "does not listen"),
        (vec!["a:b".into()], vec![listener()], "contains ':'"),
    ] {
        let error = Listeners::received(&names, fds).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn an_address_is_told_as_it_is_bound_again() {
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", dir.path().join("s").display());
    let tcp: OwnedFd = TcpListener::bind("127.0.0.1:0").unwrap().into();
    let port = TcpListener::from(tcp.try_clone().unwrap()).local_addr().unwrap();
    let entries = vec![("t".into(), tcp), ("u".into(), crate::unix::bind(&unix).unwrap())];
    let listeners = Listeners::from_entries(entries).unwrap().try_clone().unwrap();
    assert_eq!(listeners.address("t"), Some(port.to_string()));
    assert_eq!(listeners.address("u"), Some(unix));
    assert_eq!(listeners.address("v"), None);
}
