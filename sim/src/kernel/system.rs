//! The kernel as one type: processes, links, disk, listener and names, and what is due.
//!
//! What runs in a process is its user's, and so is what else is due. Everything that will happen lies on one timeline, ordered by
//! time and then by when it was put there. Nothing else decides an order: no thread, no hash, no runtime.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use handoff::ProcessId;
use handoff::id::BootId;
use handoff::time::Time;

use super::swept::Swept;
use super::{
    ByteConns, Disk, KernelLink, LengthOf, Life, Micros, Name, Noise, PassingLinks, Process, ProcessClock,
    Received, SharedListener, Side,
};

/// The event that is due in any kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A process has a turn.
    Run(u32),
    FreesLock(u32),
    Ends(u32),
    /// A process that was stopped goes on.
    Continue(u32),
}

/// A kernel whose processes run `P`. `E` is all that can be due.
pub(crate) struct SimulatedKernel<P, E> {
    pub now: Micros,
    pub noise: Noise,
    /// `true` if processes' clocks differ and drift.
    pub skewed_clocks: bool,
    queue: BinaryHeap<Reverse<(Micros, u64, E)>>,
    sequence: u64,
    pub processes: BTreeMap<u32, Process<P>>,
    pub links: BTreeMap<u64, KernelLink>,
    next_link: u64,
    next_pid: u32,
    births: BTreeMap<char, u32>,
    /// All processes that were ever there.
    names: BTreeMap<u32, Name>,
    /// The process whose socket the control path leads to.
    pub control_path: Option<u32>,
    /// Sockets beside it.
    pub names_beside: BTreeSet<u32>,
    pub swept: Swept,
    /// The number of times that power has failed: processes of another boot have nothing in common but their
    /// numbers.
    boot: u8,
    pub disk: Disk,
    pub listener: SharedListener,
    pub bytes: ByteConns,
    pub passing: PassingLinks,
}

impl<P, E> SimulatedKernel<P, E> {
    /// Makes a kernel with no process.
    pub(crate) fn new(noise: Noise) -> SimulatedKernel<P, E>
    where
        E: Ord,
    {
        SimulatedKernel {
            now: 0,
            noise,
            skewed_clocks: false,
            queue: BinaryHeap::new(),
            sequence: 0,
            processes: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            next_pid: 100,
            births: BTreeMap::new(),
            names: BTreeMap::new(),
            control_path: None,
            names_beside: BTreeSet::new(),
            swept: Swept::default(),
            boot: 1,
            disk: Disk::new(0),
            listener: SharedListener::default(),
            bytes: ByteConns::default(),
            passing: PassingLinks::default(),
        }
    }

    /// The time, from the origin of the kernel's own clock.
    pub(crate) fn time(&self) -> Time {
        Time::from_origin(Duration::from_micros(self.now))
    }

    /// The run of the system.
    pub(crate) fn boot(&self) -> BootId {
        BootId([self.boot; 16])
    }

    pub(crate) fn runs(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(Process::runs)
    }

    pub(crate) fn name_of(&self, pid: u32) -> Name {
        self.names.get(&pid).copied().unwrap_or(Name { kind: '?', number: pid })
    }

    /// So much of `kind` as `pid` has next.
    pub(crate) fn length(&mut self, pid: u32, kind: LengthOf) -> Micros {
        let Some(process) = self.processes.get_mut(&pid) else { return self.noise.length(kind, pid, 0) };
        let nth = &mut process.draws[kind as usize];
        *nth += 1;
        self.noise.length(kind, process.name.number | (process.name.kind as u32) << 24, *nth)
    }

    /// Returns one of so many.
    pub(crate) fn choice(&mut self, pid: u32, options: u64) -> u64 {
        let Some(process) = self.processes.get_mut(&pid) else { return 0 };
        let nth = &mut process.draws[LengthOf::Choice as usize];
        *nth += 1;
        self.noise.choice(options, process.name.number | (process.name.kind as u32) << 24, *nth)
    }

    /// Starts a process: its pid.
    pub(crate) fn start_process(&mut self, kind: char, program: P) -> u32 {
        let pid = self.next_pid;
        self.next_pid += 1;
        self.process_comes(ProcessId { pid, start_time: self.now / 10_000 }, kind, program);
        pid
    }

    /// A process comes to be that has this identity.
    pub(crate) fn process_comes(&mut self, id: ProcessId, kind: char, program: P) {
        let pid = id.pid;
        let number = self.births.entry(kind).or_default();
        *number += 1;
        let name = Name { kind, number: *number };
        let process = Process {
            id,
            name,
            life: Life::Runs,
            lets_in: false,
            clock: ProcessClock::new(self.now, self.now, 0),
            run_at: None,
            no_descriptors_until: 0,
            draws: Default::default(),
            suspect: false,
            has_socket: false,
            waiting: VecDeque::new(),
            program,
        };
        self.names.insert(pid, name);
        self.processes.insert(pid, process);
        if self.skewed_clocks {
            let (offset, gains) = (self.choice(pid, 1 << 40), self.choice(pid, 1001) as i64 - 500);
            if let Some(process) = self.processes.get_mut(&pid) {
                process.clock = ProcessClock::new(self.now, offset, gains);
            }
        }
    }

    /// A link between a supervisor and a daemon.
    pub(crate) fn link(&mut self, supervisor: u32, daemon: u32, accepted: bool) -> u64 {
        self.next_link += 1;
        self.links.insert(self.next_link, KernelLink::new(supervisor, daemon, accepted));
        self.next_link
    }

    /// Reads what has come over a link.
    pub(crate) fn reads(&mut self, id: u64, side: Side) -> Option<Received> {
        let link = self.links.get_mut(&id)?;
        let read = link.read(side, self.now);
        if link.is_gone() {
            self.links.remove(&id);
        }
        read
    }

    /// A descriptor of the listening socket has come over a link. Unless it is gone: one on its way does not keep it.
    pub(crate) fn receives_listener(&mut self, pid: u32) {
        if self.listener.is_open() {
            self.listener.give(pid);
        }
    }

    /// Everything is gone at once, and what was not synced is lost or not.
    pub(crate) fn loses_power(&mut self) {
        self.disk.lock().dead.extend(self.processes.keys().copied());
        self.processes.keys().for_each(|pid| _ = self.listener.leave(*pid, false));
        self.processes.clear();
        self.links.clear();
        self.control_path = None;
        self.names_beside.clear();
        self.swept = Swept::default();
        self.boot = self.boot.wrapping_add(1).max(1);
        let (noise, mut nth) = (self.noise, 0);
        let salt = self.now as u32;
        self.disk.lock().power_fails(|unsynced| {
            nth += 1;
            noise.choice(unsynced as u64 + 1, salt, nth) as usize
        });
    }
}

impl<P, E: From<Due> + Ord + Copy> SimulatedKernel<P, E> {
    /// Lets `event` happen at `at`.
    pub(crate) fn at(&mut self, at: Micros, event: impl Into<E>) {
        self.sequence += 1;
        self.queue.push(Reverse((at.max(self.now), self.sequence, event.into())));
    }

    /// Lets it happen `after` so long.
    pub(crate) fn after(&mut self, after: Micros, event: impl Into<E>) {
        self.at(self.now + after, event);
    }

    /// Returns the time at which the next thing happens.
    pub(crate) fn next_at(&self) -> Option<Micros> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// Returns what is due first, if that is by `until`: its time is now.
    pub(crate) fn next_due(&mut self, until: Micros) -> Option<E> {
        let Reverse((at, _, event)) = self.queue.peek().copied().filter(|Reverse((at, ..))| *at <= until)?;
        self.queue.pop();
        self.now = at;
        Some(event)
    }

    /// A process has something to do at `at`: it gets a turn soon after.
    pub(crate) fn poke(&mut self, pid: u32, at: Micros) {
        let at = at.max(self.now) + self.length(pid, LengthOf::Wake);
        self.turn_at(pid, at);
    }

    /// A process has a turn at `at`, unless it has one before.
    pub(crate) fn turn_at(&mut self, pid: u32, at: Micros) {
        let Some(process) = self.processes.get_mut(&pid).filter(|process| process.runs()) else { return };
        if process.run_at.is_none_or(|already| already > at) {
            process.run_at = Some(at);
            self.at(at, Due::Run(pid));
        }
    }

    /// Returns whether a process takes the turn that is due.
    pub(crate) fn takes_turn(&mut self, pid: u32) -> bool {
        let now = self.now;
        let due = |process: &&mut Process<P>| process.runs() && process.run_at == Some(now);
        let Some(process) = self.processes.get_mut(&pid).filter(due) else { return false };
        process.run_at = None;
        true
    }

    /// Connects to a daemon's control socket. It is there to be accepted after all that was said to it before.
    pub(crate) fn connect(&mut self, supervisor: u32, daemon: u32) -> u64 {
        let ends = (supervisor, daemon);
        let said = |link: &KernelLink| {
            link.last_arrival(Side::Daemon)
                .filter(|_| (link.pid(Side::Supervisor), link.pid(Side::Daemon)) == ends)
        };
        let at = self.links.values().filter_map(said).max().unwrap_or_default().max(self.now);
        let id = self.link(supervisor, daemon, false);
        if let Some(process) = self.processes.get_mut(&daemon) {
            // Others do not wait behind it.
            let place = process.waiting.partition_point(|(other, _)| *other <= at);
            process.waiting.insert(place, (at, id));
        }
        self.poke(daemon, at);
        id
    }

    /// Closes an end of a link.
    pub(crate) fn close_link(&mut self, id: u64, side: Side) {
        self.close_link_at(id, side, self.now);
    }

    /// The same, but that the other end sees it at `at`.
    fn close_link_at(&mut self, id: u64, side: Side, at: Micros) {
        let Some(link) = self.links.get(&id) else { return };
        let peer = link.pid(side.other());
        let arrives = self.links.get_mut(&id).and_then(|link| link.close(side, at));
        if let Some(at) = arrives {
            self.poke(peer, at);
        }
        self.links.retain(|_, link| !link.is_gone());
    }

    /// A process is stopped for a while.
    pub(crate) fn stop(&mut self, pid: u32, span: Micros) {
        let Some(process) = self.processes.get_mut(&pid).filter(|process| process.runs()) else { return };
        process.life = Life::Stopped;
        process.suspect = true;
        process.run_at = None;
        self.after(span, Due::Continue(pid));
    }

    /// A stopped process goes on. Whether it was stopped.
    pub(crate) fn continues(&mut self, pid: u32) -> bool {
        let stopped = |process: &&mut Process<P>| process.life == Life::Stopped;
        let process = self.processes.get_mut(&pid).filter(stopped);
        process.map(|process| process.life = Life::Runs).is_some()
    }

    /// A process begins to die, whatever it was about to do: it changes nothing any more. `false` if it did before.
    pub(crate) fn begins_to_die(&mut self, pid: u32) -> bool {
        let Some(process) = self.processes.get_mut(&pid).filter(|process| process.lives()) else {
            return false;
        };
        process.life = Life::Dying;
        process.run_at = None;
        self.disk.lock().dead.insert(pid);
        true
    }

    /// The links of a process that dies are closed: when.
    pub(crate) fn dying_closes_links(&mut self, pid: u32) -> Micros {
        let closed = self.now + self.length(pid, LengthOf::Closing);
        self.closes_links(pid, closed);
        closed
    }

    /// The lock of a process whose links are closed at `closed` is freed later; later still by `lingers`.
    pub(crate) fn dying_frees_lock(&mut self, pid: u32, closed: Micros, lingers: Micros) {
        let lets_in = self.choice(pid, 2) == 1;
        self.processes.get_mut(&pid).into_iter().for_each(|process| process.lets_in = lets_in);
        let teardown = self.length(pid, LengthOf::Teardown) + lingers;
        self.at(closed + teardown, Due::FreesLock(pid));
    }

    fn closes_links(&mut self, pid: u32, at: Micros) {
        let sides = |(id, link): (&u64, &KernelLink)| {
            [Side::Supervisor, Side::Daemon]
                .into_iter()
                .find(|side| link.pid(*side) == pid)
                .map(|side| (*id, side))
        };
        let ends: Vec<_> = self.links.iter().filter_map(sides).collect();
        ends.into_iter().for_each(|(id, side)| self.close_link_at(id, side, at));
    }

    pub(crate) fn frees_lock(&mut self, pid: u32) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.lets_in = false;
            // Of the clients that came while it was dying.
            self.closes_links(pid, self.now);
            self.disk.lock().closes_lock(pid);
            let after = self.length(pid, LengthOf::End);
            self.after(after, Due::Ends(pid));
        }
    }
}
