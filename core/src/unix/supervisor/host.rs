//! The supervisor's real host: one `poll(2)` loop for one handoff, on the caller's thread.
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::committed::Launch;
use super::journal;
use super::outcome::Stopwatch;
use super::{Child, HandoffOutcome, SpawnSpec, Supervisor, Workshop};
use crate::drive::turn;
use crate::error::{Error, Result};
use crate::host::{Clock, Crashed, Gap, Gaps, Journal, Process, SupervisorHost, Transport};
use crate::id::{HandoffId, ProcessId};
use crate::journal::{Binary, Parties};
use crate::machine::supervisor::{self as machine, Config, Event, Note, Outcome, Peer, Verdict};
use crate::machine::{Cell, Machine};
use crate::message::{Hello, Message};
use crate::node::{FLOOD, Read};
use crate::time::{Duration, Time};
use crate::unix::context::Context;
use crate::unix::control::{self, Connect};
use crate::unix::env::StartRole;
use crate::unix::gaps;
use crate::unix::link::{Link, random_id};
use crate::unix::pid::Watch;
use crate::unix::poller::{self, MonotonicClock};
use crate::unix::spawn::{SpawnRequest, spawn};

/// How soon a full control socket is tried again, and how often a process is looked at where there is no pidfd.
const SHORTLY: Duration = Duration::from_millis(10);

const PEERS: [Peer; 2] = [Peer::Incumbent, Peer::Successor];

/// Runs one handoff to its end.
pub(super) fn run(
    supervisor: &Supervisor,
    workshop: &mut Workshop,
    spec: &SpawnSpec,
    replace: bool,
) -> Result<HandoffOutcome> {
    let handoff_id = random_id().context(|| "can't draw a handoff's id from /dev/urandom".into())?;
    let build = String::from_utf8_lossy(&supervisor.build_id);
    tracing::info!(target: "handoff", id = %handoff_id, %build, binary = %spec.binary.display(), replace, "handoff");
    let mut host = Host::new(supervisor, workshop, spec, handoff_id);
    let mut machine = machine::Supervisor::new(config(spec));
    host.stopwatch = Stopwatch::new(host.now(), machine.state());
    host.step(&mut machine, Event::Start { handoff_id, replace });
    while host.outcome.is_none() {
        host.wait_and_handle(&mut machine)?;
    }
    host.conclude()
}

fn config(spec: &SpawnSpec) -> Config {
    Config {
        liveness: spec.liveness,
        deadline: spec.deadline,
        drain_grace: spec.drain_grace,
        hook_limit: spec.hook_limit.unwrap_or(spec.deadline),
        retire_limit: spec.retire_limit,
    }
}

/// A peer's link and process.
#[derive(Debug, Default)]
struct Party {
    link: Option<Link>,
    watch: Option<Watch>,
    end_told: bool,
}

struct Host<'a> {
    clock: MonotonicClock,
    supervisor: &'a Supervisor,
    workshop: &'a mut Workshop,
    spec: &'a SpawnSpec,
    parties: Parties,
    incumbent: Party,
    successor: Party,
    /// The control socket's queue was full.
    connecting: bool,
    cancel_told: bool,
    /// What happened while an effect was performed.
    pending: VecDeque<Event>,
    stopwatch: Stopwatch,
    outcome: Option<Outcome>,
    /// The successor is the incumbent's or the caller's business from here on: it was told to serve, or the machine
    /// has come to its end.
    decided: bool,
}

impl<'a> Host<'a> {
    fn new(
        supervisor: &'a Supervisor,
        workshop: &'a mut Workshop,
        spec: &'a SpawnSpec,
        handoff_id: HandoffId,
    ) -> Self {
        let before = workshop.knows.clone();
        Host {
            clock: MonotonicClock::new(),
            supervisor,
            workshop,
            spec,
            parties: Parties {
                handoff_id,
                incumbent: None,
                successor: None,
                successor_build: Vec::new(),
                before,
            },
            incumbent: Party::default(),
            successor: Party::default(),
            connecting: false,
            cancel_told: false,
            pending: VecDeque::new(),
            stopwatch: Stopwatch::new(Time::ZERO, ""),
            outcome: None,
            decided: false,
        }
    }

    fn party(&mut self, peer: Peer) -> &mut Party {
        match peer {
            Peer::Incumbent => &mut self.incumbent,
            Peer::Successor => &mut self.successor,
        }
    }

    /// Lets the machine handle `event`, and what came of performing its effects.
    fn step(&mut self, machine: &mut machine::Supervisor, event: Event) {
        self.pending.push_back(event);
        self.settle(machine);
    }

    /// Hands the machine what has happened and was not handed to it yet, unless it is done.
    fn settle(&mut self, machine: &mut machine::Supervisor) {
        while let Some(event) = self.pending.pop_front().filter(|_| !machine.is_done()) {
            tracing::trace!(target: "handoff.event", state = machine.state(), ?event);
            let ControlFlow::Continue(()) = turn(machine, self, event) else { return };
            let now = self.now();
            self.stopwatch.at(now, machine.state(), self.parties.handoff_id);
        }
    }

    /// Waits for what comes next. Timers are looked at only when there was nothing else.
    fn wait_and_handle(&mut self, machine: &mut machine::Supervisor) -> Result<()> {
        let until_timer = machine.timers().next().map(|(at, _)| at.since(self.now()));
        let shortly = (self.connecting || !self.all_pollable()).then_some(SHORTLY);
        let timeout = [until_timer, shortly].into_iter().flatten().min();
        let ready =
            poller::wait(&self.pollables(), timeout).context(|| "can't wait for the handoff".into())?;
        if ready.contains(&true) || shortly.is_some() {
            self.workshop.wake.drain();
            if self.handle_ready(machine) {
                return Ok(());
            }
        }
        if let Some((at, timer)) = machine.timers().next().filter(|(at, _)| *at <= self.now()) {
            tracing::trace!(target: "handoff.event", ?timer, ?at);
            self.step(machine, Event::Timer(timer));
        }
        Ok(())
    }

    fn pollables(&self) -> Vec<(BorrowedFd<'_>, bool)> {
        let mut fds = vec![(self.workshop.wake.as_fd(), false)];
        for party in [&self.incumbent, &self.successor] {
            fds.extend(
                party
                    .watch
                    .as_ref()
                    .filter(|_| !party.end_told)
                    .and_then(Watch::pollable)
                    .map(|fd| (fd, false)),
            );
            fds.extend(party.link.as_ref().map(|link| (link.as_fd(), link.wants_write())));
        }
        fds
    }

    /// Whether every process that is watched wakes the poll when it ends.
    fn all_pollable(&self) -> bool {
        [&self.incumbent, &self.successor].iter().all(|party| {
            party.end_told || party.watch.as_ref().is_none_or(|watch| watch.pollable().is_some())
        })
    }

    /// Handles all that has happened; `false` if nothing has, or if there is no end to it: then timers have
    /// their turn as well.
    fn handle_ready(&mut self, machine: &mut machine::Supervisor) -> bool {
        let mut handled = false;
        if self.connecting {
            self.connecting = false;
            self.connect();
            handled |= !self.pending.is_empty();
            self.settle(machine);
        }
        // Both ends come before what either says: nobody is told to seal for, or to leave to, one that is not there. The
        // successor's comes first: that the incumbent has left for it is worth nothing then.
        while let Some(event) = self.an_end() {
            handled = true;
            self.step(machine, event);
        }
        let mut flooded = false;
        for peer in PEERS {
            let mut left = FLOOD;
            while self.outcome.is_none() && left > 0 {
                // Ends come before what was sent before them: nobody acts on the word of the dead. Both, since this process
                // may have been stopped since it looked.
                let Some(event) = self.an_end().or_else(|| self.read(peer)) else { break };
                handled = true;
                left -= 1;
                self.step(machine, event);
            }
            flooded |= left == 0;
        }
        handled |= self.cancelled(machine);
        handled && !flooded
    }

    /// Told after all that has come before it, like a timer: a successor may have said that it serves.
    fn cancelled(&mut self, machine: &mut machine::Supervisor) -> bool {
        let told = !self.supervisor.cancel.is_cancelled() || std::mem::replace(&mut self.cancel_told, true);
        if !told {
            self.step(machine, Event::Cancel);
        }
        !told
    }

    /// The end of either peer's process.
    fn an_end(&mut self) -> Option<Event> {
        [Peer::Successor, Peer::Incumbent].into_iter().find_map(|peer| self.end_of(peer))
    }

    /// The end of a peer's process, told once.
    fn end_of(&mut self, peer: Peer) -> Option<Event> {
        let party = self.party(peer);
        let watch = party.watch.as_mut().filter(|_| !party.end_told)?;
        let how = watch.ended().ok().flatten()?;
        let pid = watch.id().pid;
        party.end_told = true;
        let how = match party.link.take().and_then(last_words) {
            Some(why) => format!("{how}: {why}"),
            None => how.to_string(),
        };
        // Its control sockets are nobody's now.
        if let Err(error) = control::remove_stale(&self.supervisor.control, pid) {
            tracing::debug!(target: "handoff", pid, %error, "an ended process's socket is still there");
        }
        Some(Event::Ended(peer, how))
    }

    fn read(&mut self, peer: Peer) -> Option<Event> {
        let link = self.party(peer).link.as_mut()?;
        link.flush();
        let event = match link.read() {
            Read::Nothing => return None,
            Read::Message(message) => match self.admit(peer, &message) {
                Ok(()) => return Some(Event::Frame(peer, message)),
                Err(why) => Event::Closed(peer, why),
            },
            Read::Closed(why) => Event::Closed(peer, why),
        };
        if let Some(ended) = self.end_at_hand(peer) {
            return Some(ended);
        }
        self.party(peer).link = None;
        Some(event)
    }

    /// A process that ends closes its links first, up to some milliseconds. That it has ended says more, to people
    /// and to the machine, than that a link is closed.
    fn end_at_hand(&mut self, peer: Peer) -> Option<Event> {
        let watched = self.party(peer).watch.as_ref().and_then(Watch::pollable);
        watched.and_then(|fd| poller::wait(&[(fd, false)], Some(SHORTLY * 2)).ok());
        self.end_of(peer)
    }

    /// Sees that `Hello` comes from the process that it names, and watches that process from here on.
    fn admit(&mut self, peer: Peer, message: &Message) -> std::result::Result<(), String> {
        let Message::Hello(hello) = message else { return Ok(()) };
        match peer {
            Peer::Successor => {
                self.parties.successor_build.clone_from(&hello.build_id);
                Ok(())
            }
            Peer::Incumbent => self.admit_incumbent(hello),
        }
    }

    fn admit_incumbent(&mut self, hello: &Hello) -> std::result::Result<(), String> {
        let Some(link) = &self.incumbent.link else { return Err("the link is gone".into()) };
        let peer = control::peer(link.stream()).map_err(|error| error.to_string())?;
        if !control::uid_allowed(peer.uid, &[]) {
            return Err(format!("process {} runs as uid {}, which is not allowed here", hello.pid, peer.uid));
        }
        // 0 is a process of another pid namespace.
        if peer.pid.is_some_and(|pid| pid != 0 && pid != hello.pid) {
            return Err(format!("it calls itself process {}, but is another", hello.pid));
        }
        let process = hello.process();
        if self.incumbent.watch.as_ref().is_some_and(|watch| watch.id() != process) {
            return Err("another process than before answers at the control path".into());
        }
        if self.incumbent.watch.is_none() {
            let known = self.workshop.children.iter().position(|child| child.id() == process);
            let watch = match known {
                Some(at) => self.workshop.children.swap_remove(at),
                None => Watch::other(process).map_err(|error| error.to_string())?,
            };
            self.incumbent.watch = Some(watch);
            self.parties.incumbent = Some(process);
        }
        Ok(())
    }

    fn start_successor(&mut self) -> Result<(ProcessId, Binary)> {
        let cant = || "can't open a link to a new process".into();
        #[cfg(feature = "crash-points")]
        crate::unix::probe::step("fork").context(cant)?;
        let (ours, theirs) = control::socketpair().context(cant)?;
        let listeners: Vec<_> =
            self.workshop.listeners.entries().map(|(name, fd)| (name.to_string(), fd.as_fd())).collect();
        let replaces = self.parties.incumbent.is_some();
        let launch = Launch::new(self.spec);
        let started = spawn(SpawnRequest {
            binary: &self.spec.binary,
            image: launch.image.as_deref(),
            args: &self.spec.args,
            env: &self.spec.env,
            listeners: &listeners,
            link: theirs.into(),
            role: if replaces { StartRole::Successor } else { StartRole::ColdStart },
        });
        let process = started.map_err(|error| launch.explain(error))?.process;
        #[cfg(feature = "crash-points")]
        crate::unix::probe::step("watch").context(cant)?;
        self.successor.link = Some(Link::new(ours));
        let watch = Watch::child(process);
        self.successor.watch = Some(watch.context(|| format!("can't watch process {process}"))?);
        let (binary, opened) = launch.started(process.pid, self.parties.handoff_id, &self.workshop.knows);
        opened.into_iter().for_each(|opened| self.supervisor.shelf().hold(binary.handoff_id, opened));
        Ok((process, binary))
    }

    /// That nobody serves is not so if somebody answers: another supervisor has replaced the incumbent meanwhile.
    fn doubted(&self, outcome: Outcome) -> Outcome {
        if outcome.verdict != Verdict::NobodyServes {
            return outcome;
        }
        let Ok(found) = super::query::ask(&self.supervisor.control, SHORTLY * 10) else { return outcome };
        let reason = format!(
            "{}; but process {} answers at the control path",
            outcome.reason.unwrap_or_default(),
            found.hello.pid
        );
        Outcome { verdict: Verdict::Unconfirmed, reason: Some(reason), ..outcome }
    }

    /// What the caller gets.
    fn conclude(mut self) -> Result<HandoffOutcome> {
        let Some(outcome) = self.outcome.take() else {
            return Err(Error::Peer("the handoff has no end".into()));
        };
        self.decided = true;
        control::sweep(&self.supervisor.control);
        let id = self.parties.handoff_id;
        let reason = outcome.reason.clone().unwrap_or_default();
        tracing::info!(target: "handoff", %id, verdict = ?outcome.verdict, reason, "over");
        let committed = outcome.verdict == Verdict::Committed;
        let outcome = self.doubted(outcome);
        let child = match self.parties.successor.as_ref().filter(|_| committed) {
            Some(&(process, _)) => {
                Some(Child::new(process).context(|| format!("can't watch process {process}"))?)
            }
            None => None,
        };
        HandoffOutcome::new(id, outcome, child, self.stopwatch.phases())
    }
}

/// Why a process has ended, if it said so: nobody acts on the word of the dead, but that is for people.
fn last_words(mut link: Link) -> Option<String> {
    loop {
        match link.read() {
            Read::Message(Message::Failed { error, .. } | Message::Refused { error }) => return Some(error),
            Read::Message(_) => {}
            Read::Nothing | Read::Closed(_) => return None,
        }
    }
}

impl Drop for Host<'_> {
    /// Keeps what is not reaped for the next time. After a panic, or an error of the system, nobody would tell a
    /// successor that waits what comes next: it is ended, and the incumbent goes on by itself.
    fn drop(&mut self) {
        if let Some(watch) = self.successor.watch.take().filter(|_| !self.successor.end_told) {
            if !self.decided {
                let _ = watch.kill_group();
            }
            self.workshop.children.push(watch);
        }
        self.workshop.children.extend(self.incumbent.watch.take().filter(|_| !self.incumbent.end_told));
    }
}

impl Clock for Host<'_> {
    fn now(&self) -> Time {
        self.clock.now()
    }
}

impl Gaps for Host<'_> {
    fn handles(&mut self, cell: Cell) {
        gaps::handles(cell);
    }

    fn gap(&mut self, gap: Gap) -> ControlFlow<Crashed> {
        gaps::gap(gap)
    }
}

impl Transport<Peer> for Host<'_> {
    fn send(&mut self, to: Peer, message: &Message) {
        tracing::trace!(target: "handoff.send", ?to, message = message.name());
        self.decided |= matches!(message, Message::Commit { .. });
        let party = self.party(to);
        if let Some(link) = &mut party.link {
            #[cfg(feature = "crash-points")]
            link.will_send(message, Some(to), party.watch.as_ref().map(|watch| watch.id().pid));
            link.send(message);
        }
    }

    fn close(&mut self, peer: Peer) {
        self.party(peer).link = None;
    }
}

impl Process for Host<'_> {
    fn connect(&mut self) {
        let failed = match control::connect(Path::new(&self.supervisor.control)) {
            Ok(Connect::Connected(stream)) => {
                self.incumbent.link = Some(Link::new(stream));
                return;
            }
            Ok(Connect::Retry) => {
                self.connecting = true;
                return;
            }
            Ok(Connect::NotThere) => {
                format!("nobody listens at the control socket {}", self.supervisor.control.display())
            }
            Err(error) => error.to_string(),
        };
        self.pending.push_back(Event::ConnectFailed(failed));
    }

    fn spawn(&mut self) -> Option<std::result::Result<ProcessId, String>> {
        let started = self.start_successor();
        self.parties.successor = started.as_ref().ok().cloned();
        Some(started.map(|(process, _)| process).map_err(|error| error.to_string()))
    }

    fn kill(&mut self, peer: Peer) {
        let id = self.parties.handoff_id;
        let Some(watch) = &self.party(peer).watch else { return };
        tracing::warn!(target: "handoff", %id, ?peer, pid = watch.id().pid, "killing");
        if let Err(error) = watch.kill_group() {
            tracing::error!(target: "handoff", %id, ?peer, %error, "can't kill");
        }
    }
}

impl Journal for Host<'_> {
    fn persist(&mut self, note: Note) -> Option<std::result::Result<(), String>> {
        if note == Note::Committed {
            // The pause is over: what the journal takes is no part of it.
            self.stopwatch.at(self.clock.now(), "await-committed", self.parties.handoff_id);
        }
        let journal = journal::dated(self.workshop.knows.noted(note, &self.parties));
        let written = journal::write(self.workshop.journal.as_mut(), &journal);
        // What could not be written is known all the same, and comes with the next write.
        self.workshop.knows = journal;
        self.workshop.is_written = written.is_ok();
        Some(written.map_err(|error| error.to_string()))
    }
}

impl SupervisorHost for Host<'_> {
    fn finish(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}
