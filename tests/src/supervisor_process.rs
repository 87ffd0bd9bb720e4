//! A supervisor in a process of its own (`src/bin/supervisor_process.rs`), so that it can be killed and stopped.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::build::Build;
use crate::layout::Layout;
use crate::order::{Deed, Order, OrderOutcome, ToldOfOrder};
use crate::processes;
use crate::wait::{PATIENCE, until};
use crate::world::Bin;

type Waiting = Arc<Mutex<BTreeMap<u64, Sender<OrderOutcome>>>>;

/// A running supervisor. Dropped, it is killed; the daemon goes on.
#[derive(Debug)]
pub struct SupervisorProcess {
    child: Mutex<Child>,
    orders: Mutex<UnixStream>,
    waiting: Waiting,
    next: AtomicU64,
}

/// An order that is being carried out.
#[derive(Debug)]
pub struct PendingOrder(Receiver<OrderOutcome>);

impl PendingOrder {
    /// Waits for the outcome. `None` if the supervisor ended before it could tell.
    #[track_caller]
    pub fn outcome_if_told(self) -> Option<OrderOutcome> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(outcome) => Some(outcome),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(error) => panic!("no outcome within {PATIENCE:?}: {error}"),
        }
    }

    /// Waits for the outcome.
    #[track_caller]
    pub fn outcome(self) -> OrderOutcome {
        self.outcome_if_told().expect("the supervisor ended before it told the outcome")
    }

    /// The outcome, if it has been told by now and was not taken before.
    #[track_caller]
    pub fn outcome_by_now(&self) -> Option<OrderOutcome> {
        match self.0.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("the supervisor ended before it told the outcome"),
        }
    }
}

impl SupervisorProcess {
    /// Starts one that passes on `listeners`, and has `leaks` descriptors without close-on-exec. `flags`: `journal`, `staged`.
    pub(crate) fn start(
        layout: &Layout,
        listeners: &[OwnedFd],
        flags: &[&str],
        leaks: u32,
    ) -> SupervisorProcess {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let output = || File::options().append(true).create(true).open(layout.output()).unwrap();
        let child = Command::new(Bin::SupervisorProcess.path())
            .arg(layout.dir())
            .arg(leaks.to_string())
            .args(flags)
            .env(Layout::MARK, layout.dir())
            .stdin(OwnedFd::from(theirs))
            .stdout(output())
            .stderr(Stdio::from(output()))
            .spawn()
            .unwrap();
        // Descriptors travel over the socket: to inherit them they would have to lose close-on-exec, and then
        // every process that another test starts at this moment would have them as well.
        let fds: Vec<_> = listeners.iter().map(AsRawFd::as_raw_fd).collect();
        let message = [IoSlice::new(b"L")];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(ours.as_raw_fd(), &message, &rights, MsgFlags::empty(), None).unwrap();
        let waiting = Waiting::default();
        let (answers, told) = (BufReader::new(ours.try_clone().unwrap()), Arc::clone(&waiting));
        thread::spawn(move || hand_out(answers, &told));
        SupervisorProcess { child: child.into(), orders: ours.into(), waiting, next: AtomicU64::new(1) }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// Starts `build` where none serves.
    #[track_caller]
    pub fn cold_start(&self, build: &Build) -> OrderOutcome {
        self.begin(build, Deed::ColdStart).outcome()
    }

    /// Replaces the daemon that serves by `build`.
    #[track_caller]
    pub fn handoff(&self, build: &Build) -> OrderOutcome {
        self.begin_handoff(build).outcome()
    }

    /// Begins to replace the daemon that serves by `build`.
    pub fn begin_handoff(&self, build: &Build) -> PendingOrder {
        self.begin(build, Deed::Handoff)
    }

    /// Begins to do `deed`.
    pub fn begin(&self, build: &Build, deed: Deed) -> PendingOrder {
        self.order(&build.order(deed))
    }

    fn order(&self, order: &Order) -> PendingOrder {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = channel();
        self.waiting.lock().unwrap().insert(id, sender);
        let mut line = serde_json::to_vec(&Order { id, ..order.clone() }).unwrap();
        line.push(b'\n');
        if self.orders.lock().unwrap().write_all(&line).is_err() {
            self.waiting.lock().unwrap().remove(&id);
        }
        PendingOrder(receiver)
    }

    /// Calls off what is under way, and whatever it is asked for after it.
    pub fn cancel(&self) {
        let _ = self.order(&Order { deed: Deed::Cancel, ..Order::default() }).outcome_if_told();
    }

    /// Ends it, without a word, and sees it end.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Stops it (SIGSTOP) and sees it stopped.
    #[track_caller]
    pub fn stop(&self) {
        processes::send(self.pid(), Signal::SIGSTOP);
        until("the supervisor is stopped", || processes::is_stopped(self.pid()));
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        processes::send(self.pid(), Signal::SIGCONT);
    }
}

impl Drop for SupervisorProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Gives each answer to the thread that waits for it, until the supervisor has ended.
fn hand_out(answers: BufReader<UnixStream>, waiting: &Waiting) {
    for line in answers.lines().map_while(Result::ok) {
        let Ok(ToldOfOrder { id, outcome }) = serde_json::from_str(&line) else { break };
        if let Some(sender) = waiting.lock().unwrap().remove(&id) {
            let _ = sender.send(outcome);
        }
    }
    waiting.lock().unwrap().clear();
}
