//! The simulated kernel with nothing on it: processes that do only what they are told.
//!
//! For the suite that holds it to a real kernel (`tests/tests/kernel`). What is done here is what is done in a run, by
//! the same code; only no process decides by itself.
use handoff::ProcessId;
use handoff::connections::{Conduct, Patience};
use handoff::message::Message;

use super::{
    Delivery, Disk, Due, KernelLink, LengthOf, Life, Micros, Noise, Received, Refused, Side, SimulatedKernel,
    WhyClosed,
};
use crate::plan::{Delays, Times};

/// Far more than anything takes that is on its way.
const MOMENT: Micros = 1_000_000;

/// A simulated machine. Processes are named by their pids, links and connections by numbers; a name that was never given
/// is answered as one that has gone.
pub struct Bare {
    kernel: SimulatedKernel<(), Due>,
    frames: u64,
    clients: usize,
}

impl Bare {
    /// Makes a kernel on which lengths of time come from `seed`, and what is left by a power failure.
    pub fn new(seed: u64) -> Bare {
        let delays = if seed.is_multiple_of(2) { Delays::Usual } else { Delays::Long };
        Bare { kernel: SimulatedKernel::new(Noise { seed, delays }), frames: 0, clients: 0 }
    }

    /// Starts a process: its pid.
    pub fn spawn(&mut self) -> u32 {
        self.kernel.start_process('D', ())
    }

    /// A child that has `parent`'s descriptors of the lock and of the listening socket (`fork(2)`).
    pub fn fork(&mut self, parent: u32) -> u32 {
        let child = self.spawn();
        self.kernel.disk.lock().forks(parent, child);
        if self.kernel.listener.has(parent) {
            self.kernel.listener.give(child);
        }
        child
    }

    /// Executes another program, in a process that has nothing but a descriptor of the lock: that is closed (`execve(2)`).
    pub fn exec(&mut self, pid: u32) {
        self.kernel.disk.lock().closes_lock(pid);
    }

    /// Kills a process (SIGKILL). It closes its links at once, frees its lock some time later, and later still has ended.
    pub fn kill(&mut self, pid: u32) {
        if self.kernel.begins_to_die(pid) {
            let closed = self.kernel.dying_closes_links(pid);
            self.kernel.listener.leave(pid, false);
            self.kernel.dying_frees_lock(pid, closed, 0);
        }
    }

    /// Stops it (SIGSTOP), until it is told to go on.
    pub fn stop(&mut self, pid: u32) {
        self.kernel.stop(pid, Micros::MAX / 4);
    }

    /// Lets it go on (SIGCONT).
    pub fn go_on(&mut self, pid: u32) {
        if self.kernel.continues(pid) {
            self.kernel.poke(pid, self.kernel.now);
        }
    }

    /// Returns whether a process that watches it sees that it has ended.
    pub fn has_ended(&self, pid: u32) -> bool {
        !self.kernel.processes.contains_key(&pid)
    }

    /// Returns whether it is stopped.
    pub fn is_stopped(&self, pid: u32) -> bool {
        self.kernel.processes.get(&pid).is_some_and(|process| process.life == Life::Stopped)
    }

    /// A process's identity; `None` when it has ended.
    pub fn identity(&self, pid: u32) -> Option<ProcessId> {
        self.kernel.processes.get(&pid).map(|process| process.id)
    }

    /// Lets so many microseconds pass, and what was on its way come.
    pub fn pass(&mut self, micros: u64) {
        self.passes(self.kernel.now + micros);
    }

    /// Tries the lock of the data directory: whether `pid` has it now.
    pub fn try_lock(&mut self, pid: u32) -> bool {
        self.kernel.disk.lock().try_lock(pid)
    }

    /// Frees it (`LOCK_UN`).
    pub fn unlock(&mut self, pid: u32) {
        self.kernel.disk.lock().unlock(pid);
    }

    /// Listens beside the control path.
    pub fn bind(&mut self, pid: u32) {
        if let Some(process) = self.kernel.processes.get_mut(&pid) {
            process.has_socket = true;
        }
        self.kernel.names_beside.insert(pid);
    }

    /// Takes the control path, with a rename.
    pub fn take_path(&mut self, pid: u32) {
        self.kernel.takes_path(pid);
    }

    /// Connects to the control path, or to the socket beside it of process `to`: a link. `None` if it is refused.
    pub fn connect(&mut self, pid: u32, to: Option<u32>) -> Option<u64> {
        let owner = match to {
            Some(to) => Some(to).filter(|to| self.kernel.answers(*to)),
            None => self.kernel.who_answers_at_path(),
        };
        owner.map(|owner| self.kernel.connect(pid, owner))
    }

    /// Accepts a connection that waits at its control socket: a link.
    pub fn accept(&mut self, pid: u32) -> Option<u64> {
        let (at, link) = self.kernel.processes.get_mut(&pid)?.waiting.pop_front()?;
        self.passes(at.max(self.kernel.now));
        self.kernel.links.get_mut(&link)?.accepted = true;
        Some(link)
    }

    /// The process at the other end.
    pub fn peer(&self, link: u64, pid: u32) -> Option<u32> {
        let link = self.kernel.links.get(&link)?;
        Some(link.pid(side_of(link, pid).other()))
    }

    /// Sends a message.
    pub fn send(&mut self, link: u64, pid: u32, message: &Message) {
        let delay = self.kernel.length(pid, LengthOf::Wire);
        let now = self.kernel.now;
        self.frames += 1;
        let Some(link) = self.kernel.links.get_mut(&link) else { return };
        link.send(side_of(link, pid), message, now, delay, Delivery::Arrives, self.frames);
    }

    /// Sends bytes: a part of a frame.
    pub fn send_bytes(&mut self, link: u64, pid: u32, bytes: &[u8]) {
        let at = self.kernel.now + self.kernel.length(pid, LengthOf::Wire);
        let Some(link) = self.kernel.links.get_mut(&link) else { return };
        link.send_bytes(side_of(link, pid), bytes.to_vec(), at, self.frames);
    }

    /// Reads what comes first: a message, or why the link is at its end. `None` if nothing is on its way.
    pub fn read(&mut self, link: u64, pid: u32) -> Option<Result<Message, WhyClosed>> {
        self.passes(self.kernel.now + MOMENT);
        let side = side_of(self.kernel.links.get(&link)?, pid);
        match self.kernel.reads(link, side)? {
            Received::Message(message, _) => Some(Ok(message)),
            Received::Closed(why) => Some(Err(why)),
        }
    }

    /// Waits until the link is readable, as a process does that is woken for it, and no longer.
    pub fn wait_readable(&mut self, link: u64, pid: u32) {
        let arrival = self.kernel.links.get(&link).and_then(|link| link.next_arrival(side_of(link, pid)));
        let Some(at) = arrival else { return };
        let woken = at.max(self.kernel.now) + self.kernel.length(pid, LengthOf::Wake);
        self.passes(woken);
    }

    /// Closes its end.
    pub fn close(&mut self, link: u64, pid: u32) {
        if let Some(side) = self.kernel.links.get(&link).map(|link| side_of(link, pid)) {
            self.kernel.close_link(link, side);
        }
    }

    /// Makes the listening socket that clients know, with `pid` as its holder.
    pub fn listen(&mut self, pid: u32) {
        self.kernel.listener.give(pid);
    }

    /// `pid` closes its descriptor of it.
    pub fn close_listener(&mut self, pid: u32) {
        self.kernel.listener.leave(pid, true);
    }

    /// A descriptor of it comes to `pid` (`SCM_RIGHTS`).
    pub fn receive_listener(&mut self, pid: u32) {
        self.kernel.receives_listener(pid);
    }

    /// A client connects: the connection.
    ///
    /// # Errors
    /// [`Busy`] says why not.
    pub fn knock(&mut self) -> Result<u64, Busy> {
        self.clients += 1;
        let conduct = Conduct::new(self.kernel.time(), patience());
        self.kernel.listener.connect(self.clients, conduct).map_err(|refused| match refused {
            Refused::NobodyListens => Busy::Refused,
            Refused::QueueFull => Busy::Full,
        })
    }

    /// `pid` accepts the connection that has waited longest.
    pub fn answer(&mut self, pid: u32) -> Option<u64> {
        if !self.kernel.listener.has(pid) {
            return None;
        }
        self.kernel.listener.accept(pid, self.kernel.time(), patience())
    }

    /// Returns whether a connection was closed by the other side.
    pub fn is_hung_up(&self, connection: u64) -> bool {
        !self.kernel.listener.conns.contains_key(&connection)
    }

    /// The data directory, as `pid` sees it.
    pub fn disk(&self, pid: u32) -> Disk {
        self.kernel.disk.of(pid)
    }

    /// Lets all happen that is due by `until`.
    fn passes(&mut self, until: Micros) {
        while let Some(due) = self.kernel.next_due(until) {
            match due {
                Due::Run(pid) => _ = self.kernel.takes_turn(pid),
                Due::FreesLock(pid) => self.kernel.frees_lock(pid),
                Due::Ends(pid) => _ = self.kernel.processes.remove(&pid),
                Due::Continue(pid) => self.go_on(pid),
            }
        }
        self.kernel.now = until;
    }

    /// Power fails: every process is gone, and of what was not synced something is there or not.
    pub fn lose_power(&mut self) {
        self.kernel.loses_power();
    }
}

/// Returns the patience of a run's daemons.
fn patience() -> Patience {
    Times::default().patience()
}

/// The reason why a client is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// No process has the listening socket (`ECONNREFUSED`).
    Refused,
    /// Its queue is full (`EAGAIN`).
    Full,
}

/// The end of a link that is `pid`'s.
fn side_of(link: &KernelLink, pid: u32) -> Side {
    if link.pid(Side::Supervisor) == pid { Side::Supervisor } else { Side::Daemon }
}
