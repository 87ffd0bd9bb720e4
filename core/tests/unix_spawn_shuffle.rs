//! The descriptors of a spawned process are right, wherever its listeners come from.
//!
//! Alone in its binary: it puts listeners onto chosen descriptors, which no other test may use meanwhile.
#![cfg(feature = "unix")]
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]
#![allow(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use handoff::unix::control::socketpair;
use handoff::unix::env::{StartRole, inherited};
use handoff::unix::listeners::Listeners;
use handoff::unix::pid::Watch;
use handoff::unix::spawn::{Setting, SpawnRequest, spawn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::dup2_raw;

const REPORT: &str = "SHUFFLE_TEST_REPORT";

/// Not a test but the spawned program: writes the ports of its listeners, in order.
#[test]
fn child() {
    let Some(report) = env::var_os(REPORT) else { return };
    // But for the directory that lists them.
    let open = fs::read_dir("/proc/self/fd").unwrap().count() - 1;
    assert!(inherited().unwrap().is_some());
    let mut listeners = Listeners::from_env().unwrap();
    let names = listeners.names();
    let port = |name: &String| listeners.take_tcp(name).unwrap().local_addr().unwrap().port().to_string();
    let ports: Vec<String> = names.iter().map(port).collect();
    // Beyond stdin, stdout and stderr, the listeners and the link.
    let extra = open - 3 - ports.len() - 1;
    fs::write(report, format!("{} {extra}", ports.join(" "))).unwrap();
}

/// Puts a copy of `listener` at exactly the descriptor `at`.
fn put(listener: &TcpListener, at: RawFd) -> OwnedFd {
    // SAFETY: this binary's only test owns all descriptors from 3 on that nothing else was seen to use.
    unsafe { dup2_raw(listener, at).unwrap() }
}

fn check(sources: &[RawFd], listeners: &[TcpListener]) {
    let placed: Vec<OwnedFd> =
        sources.iter().zip(listeners).map(|(at, listener)| put(listener, *at)).collect();
    let named: Vec<(String, BorrowedFd<'_>)> =
        placed.iter().enumerate().map(|(at, fd)| (format!("l{at}"), fd.as_fd())).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report");
    // Whatever number its end of the link gets: the lowest free one, which often is a target.
    let (_link, theirs) = socketpair().unwrap();
    let (mut reads, writes) = std::io::pipe().unwrap();
    let spawned = spawn(SpawnRequest {
        binary: &env::current_exe().unwrap(),
        image: None,
        args: &["child", "--exact", "--test-threads=1", "--quiet"].map(OsString::from),
        env: &[(REPORT.into(), path.clone().into())],
        setting: &Setting::default(),
        listeners: &named,
        link: theirs.into(),
        role: StartRole::ColdStart,
        output: Some(writes.as_fd()),
    });
    drop(writes);
    let mut watch = Watch::child(spawned.unwrap().process).unwrap();
    while watch.ended().unwrap().is_none() {
        let mut fds: Vec<_> = watch.pollable().iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::from(1_000_u16)).unwrap();
    }
    let ports: Vec<String> =
        listeners[..sources.len()].iter().map(|one| one.local_addr().unwrap().port().to_string()).collect();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{} 0", ports.join(" ")), "sources {sources:?}");
    let mut said = String::new();
    reads.read_to_string(&mut said).unwrap();
    assert!(said.contains("test result: ok"), "sources {sources:?}: {said:?}");
}

/// A shuffled order without a generator to depend on.
fn permutation(of: &[RawFd], seed: u64) -> Vec<RawFd> {
    let mut order: Vec<_> = of.to_vec();
    order.sort_by_key(|fd| (*fd as u64 + 1).wrapping_mul(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1) >> 7);
    order
}

#[test]
fn listeners_arrive_in_order_from_any_descriptors() {
    // Out of the way of 3..=30, and kept there.
    let listeners: Vec<TcpListener> = (0..28)
        .map(|_| {
            let low = TcpListener::bind("127.0.0.1:0").unwrap();
            let high = nix::fcntl::fcntl(&low, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(200)).unwrap();
            // SAFETY: a new descriptor.
            unsafe { TcpListener::from_raw_fd(high) }
        })
        .collect();
    let free: Vec<RawFd> =
        (3..=30).filter(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).is_err()).collect();
    assert!(free.len() > 20, "descriptors in use: only {free:?} are free");
    check(&[], &listeners);
    for order in [[3, 4, 5], [3, 5, 4], [4, 3, 5], [4, 5, 3], [5, 3, 4], [5, 4, 3], [6, 3, 4], [4, 6, 5]] {
        let order: Vec<RawFd> = order.iter().map(|at| free[at - 3]).collect();
        check(&order, &listeners);
    }
    for seed in 1..=40 {
        let order = permutation(&free, seed);
        check(&order[..1 + (seed as usize * 7) % free.len()], &listeners);
    }
}
