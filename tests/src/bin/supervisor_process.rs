//! A supervisor on the library that does what a test says: `supervisor_process WORLD LEAKS [journal] [staged]`. Its standard
//! input is a socket, over which come the listeners, then orders; back go outcomes. It ends with that socket.
#![allow(clippy::unwrap_used, reason = "a process of a test that cannot go on should panic")]
use std::io::{BufRead, BufReader, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use handoff::{CommittedBinary, HandoffError, HandoffOutcome, Listeners, Supervisor};
use handoff_tests::{Deed, Layout, Order, OrderOutcome, ToldOfOrder, start_log};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

fn main() {
    start_log("supervisor_process");
    let mut args = std::env::args().skip(1);
    let layout = Layout::new(args.next().unwrap());
    let leaks: u32 = args.next().unwrap().parse().unwrap();
    (0..leaks).for_each(|_| leak());
    let orders = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let flags: Vec<String> = args.collect();
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    #[cfg(all(feature = "sim", feature = "crash-points"))]
    if has(Layout::STAGED) {
        handoff_tests::stage::Agent::enter(&layout, true);
    }
    let entries = Layout::LISTENERS.into_iter().map(String::from).zip(receive_listeners(&orders));
    let office = Office {
        layout,
        has_journal: has("journal"),
        now: Mutex::default(),
        cancelled: AtomicBool::new(false),
    };
    office.open(Listeners::from_entries(entries.collect()).unwrap());
    serve(&Arc::new(office), orders);
}

/// The place where orders are carried out: by one supervisor after the other, since one that was cancelled
/// stays so.
struct Office {
    layout: Layout,
    has_journal: bool,
    now: Mutex<Option<Arc<Supervisor>>>,
    cancelled: AtomicBool,
}

impl Office {
    fn open(&self, listeners: Listeners) {
        let mut supervisor = Supervisor::new(self.layout.control()).unwrap();
        if self.has_journal {
            let journal = self.layout.journal();
            supervisor = supervisor.with_journal(journal).unwrap().with_data_dir(self.layout.data());
        }
        supervisor.set_listeners(listeners).unwrap();
        *self.now.lock().unwrap() = Some(Arc::new(supervisor));
    }

    fn supervisor(&self) -> Arc<Supervisor> {
        Arc::clone(self.now.lock().unwrap().as_ref().unwrap())
    }

    /// Another supervisor, if this one was cancelled. The journal is held until the one before is gone.
    fn reopen_if_cancelled(&self, supervisor: Arc<Supervisor>) {
        if self.cancelled.swap(false, Ordering::SeqCst) {
            let listeners = supervisor.listeners().unwrap();
            *self.now.lock().unwrap() = None;
            drop(supervisor);
            self.open(listeners);
        }
    }
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
    // SAFETY: the kernel has just made these descriptors for this process, and no other code has seen them.
    rights.unwrap_or_default().into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

fn serve(office: &Arc<Office>, orders: UnixStream) {
    let answers = Arc::new(Mutex::new(orders.try_clone().unwrap()));
    for line in BufReader::new(orders).lines().map_while(Result::ok) {
        let order: Order = serde_json::from_str(&line).unwrap();
        let (office, answers) = (Arc::clone(office), Arc::clone(&answers));
        thread::spawn(move || carry_out(&office, &order, &answers));
    }
}

fn carry_out(office: &Office, order: &Order, answers: &Mutex<UnixStream>) {
    let supervisor = office.supervisor();
    let outcome = match order.deed {
        Deed::ColdStart => supervisor.cold_start(order.spec()).into(),
        Deed::Handoff => supervisor.perform_handoff(order.spec()).into(),
        Deed::Recover => supervisor.recover(&order.recovery()).into(),
        Deed::StartAgain => start_again(&supervisor, supervisor.last_committed(), order).into(),
        Deed::StartBefore => start_again(&supervisor, supervisor.committed_before(), order).into(),
        Deed::Cancel => {
            office.cancelled.store(true, Ordering::SeqCst);
            supervisor.cancel_handle().cancel();
            OrderOutcome::done()
        }
    };
    if order.deed != Deed::Cancel {
        office.reopen_if_cancelled(supervisor);
    }
    let mut line = serde_json::to_vec(&ToldOfOrder { id: order.id, outcome }).unwrap();
    line.push(b'\n');
    answers.lock().unwrap().write_all(&line).unwrap();
}

/// Starts `committed`, or what `order` says if nothing was, with listening sockets of its own if it has none.
fn start_again(
    supervisor: &Supervisor,
    committed: Option<CommittedBinary>,
    order: &Order,
) -> Result<HandoffOutcome, HandoffError> {
    if supervisor.listeners()?.is_empty() {
        let entries = order.listen.iter().map(|(name, address)| Ok((name.clone(), bind(address)?)));
        let entries = entries.collect::<handoff::Result<Vec<_>>>()?;
        supervisor.set_listeners(Listeners::from_entries(entries)?)?;
    }
    let spec = order.spec();
    let spec = committed.map_or(spec.clone(), |committed| committed.spec(spec));
    supervisor.cold_start(spec)
}

/// Binds `address`, which a process that is about to end may still have.
fn bind(address: &str) -> handoff::Result<OwnedFd> {
    let mut tries = (0..50).map(|_| handoff::bind(address));
    let bound = tries.find_map(|bound| {
        if bound.is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        bound.ok()
    });
    bound.map_or_else(|| handoff::bind(address), Ok)
}
