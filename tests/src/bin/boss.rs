//! A supervisor on the library that does what a test says: `boss WORLD LEAKS [journal]`. Its standard input is a socket, over
//! which come the listeners, then orders; back go outcomes. It ends with that socket.
#![allow(clippy::unwrap_used, reason = "a process of a test that cannot go on should panic")]
use std::io::{BufRead, BufReader, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;

use handoff::{RecoverySpec, Supervisor};
use handoff_tests::{Deed, Layout, Order, Told, start_log};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

fn main() {
    start_log();
    let mut args = std::env::args().skip(1);
    let layout = Layout::new(args.next().unwrap());
    let leaks: u32 = args.next().unwrap().parse().unwrap();
    (0..leaks).for_each(|_| leak());
    let orders = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut supervisor = Supervisor::new(layout.control()).unwrap();
    if args.next().is_some() {
        supervisor = supervisor.with_journal(layout.journal()).unwrap();
    }
    for (name, listener) in Layout::LISTENERS.into_iter().zip(receive_listeners(&orders)) {
        supervisor = supervisor.with_listener(name, listener).unwrap();
    }
    serve(Arc::new(supervisor), orders);
}

/// A descriptor that every child would have, if it were up to `exec`.
fn leak() {
    let file = std::fs::File::open("/dev/zero").unwrap();
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    std::mem::forget(file);
}

fn receive_listeners(orders: &UnixStream) -> Vec<OwnedFd> {
    let mut byte = [0];
    let mut iov = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 2]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(orders.as_raw_fd(), &mut iov, Some(&mut space), flags).unwrap();
    let rights = message.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => Some(fds),
        _ => None,
    });
    #[allow(unsafe_code, reason = "there is no safe way to receive descriptors")]
    // SAFETY: the kernel has just made these descriptors for this process, and nobody else has seen them.
    rights.unwrap().into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

fn serve(supervisor: Arc<Supervisor>, orders: UnixStream) {
    let answers = Arc::new(Mutex::new(orders.try_clone().unwrap()));
    for line in BufReader::new(orders).lines().map_while(Result::ok) {
        let order: Order = serde_json::from_str(&line).unwrap();
        let (supervisor, answers) = (Arc::clone(&supervisor), Arc::clone(&answers));
        thread::spawn(move || carry_out(&supervisor, &order, &answers));
    }
}

fn carry_out(supervisor: &Supervisor, order: &Order, answers: &Mutex<UnixStream>) {
    let outcome = match order.deed {
        Deed::ColdStart => supervisor.cold_start(order.spec()).into(),
        Deed::Handoff => supervisor.perform_handoff(order.spec()).into(),
        Deed::Recover => supervisor.recover(&RecoverySpec::default()).into(),
        Deed::Cancel => return supervisor.cancel_handle().cancel(),
    };
    let mut line = serde_json::to_vec(&Told { id: order.id, outcome }).unwrap();
    line.push(b'\n');
    answers.lock().unwrap().write_all(&line).unwrap();
}
