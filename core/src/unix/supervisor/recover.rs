//! The real host of a recovery: what its node stands on, on the caller's thread.
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

use super::child::end_leftovers;
use super::discovery::Lookout;
use super::recovery::{RecoveryOutcome, RecoverySpec};
use super::{Child, Supervisor, Workshop, journal};
use crate::error::{Error, HostError, Result};
use crate::host::{Clock, Crashed, Gap, Gaps};
use crate::id::ProcessId;
use crate::journal::{Journal, UnderWay};
use crate::machine::Cell;
use crate::machine::recovery::{Event, Limits, RecoveryVerdict};
use crate::message::Message;
use crate::node::recovery::{Answer, Os, RecoveryNode, Seen};
use crate::node::{Credentials, Read};
use crate::text::PlainText;
use crate::time::{Duration, Time};
use crate::unix::again::again;
use crate::unix::control::{self, Connect};
use crate::unix::gaps;
use crate::unix::kill::MayBeKilled;
use crate::unix::link::Link;
use crate::unix::listeners::Listeners;
use crate::unix::pid::Watch;
use crate::unix::poller::MonotonicClock;
use crate::unix::reactor::{self, System};

/// The interval at which a process is looked at where there is no pidfd.
const SHORTLY: Duration = Duration::from_millis(10);

/// The longest time for which a process that can't be watched is tried again.
const WATCH_BOUND: Duration = Duration::from_millis(256);

/// Finds out which process serves, and sees to the others.
pub(super) fn run(
    supervisor: &Supervisor,
    workshop: &mut Workshop,
    spec: &RecoverySpec,
) -> Result<RecoveryOutcome> {
    let (before, interrupted) = (workshop.knows.clone(), workshop.interrupted.take());
    let config = Limits {
        liveness: spec.liveness,
        unreachable_limit: spec.unreachable_limit,
        retire_limit: spec.retire_limit,
        deadline: spec.deadline,
        take_listeners: workshop.listeners.is_empty(),
    };
    let mut node = RecoveryNode::new(config, before.clone());
    let mut host = Host {
        clock: MonotonicClock::new(),
        supervisor,
        workshop,
        before,
        parties: BTreeMap::new(),
        lookout: Lookout::default(),
        listeners: None,
    };
    if reactor::step(&mut node, &mut host, Event::Start).is_continue() {
        reactor::run(&mut node, &mut host);
    }
    host.conclude(&node, interrupted)
}

/// A process that may be a daemon.
struct Party {
    process: Child,
    has_ended: bool,
    link: Option<Link>,
    /// The listeners that came over this link so far.
    listeners: Vec<Listeners>,
}

struct Host<'a> {
    clock: MonotonicClock,
    supervisor: &'a Supervisor,
    workshop: &'a mut Workshop,
    /// The journal as it was when the recovery began.
    before: Journal,
    parties: BTreeMap<ProcessId, Party>,
    lookout: Lookout,
    /// Those that the node keeps.
    listeners: Option<Listeners>,
}

impl Host<'_> {
    /// Returns what the caller gets.
    fn conclude(mut self, node: &RecoveryNode, interrupted: Option<UnderWay>) -> Result<RecoveryOutcome> {
        let outcome = node.outcome().cloned().ok_or(Error::Defect("the recovery has no end"))?;
        control::sweep(&self.supervisor.control);
        if outcome.verdict == RecoveryVerdict::NobodyServes {
            self.end_leftovers();
        }
        if let Some(listeners) = self.listeners.take().filter(|_| self.workshop.listeners.is_empty()) {
            self.workshop.listeners = listeners;
        }
        let (daemon, build_id) = match outcome.verdict {
            RecoveryVerdict::Serves(process) => {
                let daemon = self.parties.remove(&process).map(|party| party.process);
                let build = node.hello(process).map(|hello| hello.build_id.clone());
                (daemon, build.unwrap_or_default())
            }
            _ => (None, Vec::new()),
        };
        let took = self.now().since(Time::ZERO);
        let under_way = self.before.under_way.take().or(interrupted);
        RecoveryOutcome::new(outcome, daemon, build_id, under_way, took)
    }

    /// Ends what the daemons that the journal names have left in their process groups: it may hold a copy of the lock's
    /// descriptor, and no process could serve then.
    fn end_leftovers(&self) {
        for process in self.before.processes() {
            let watch = Watch::other(process);
            let may = watch.ok().and_then(|watch| MayBeKilled::started(&watch, &self.before));
            may.into_iter().for_each(end_leftovers);
        }
    }
}

impl Drop for Host<'_> {
    /// Keeps what is not reaped for the next time.
    fn drop(&mut self) {
        let parties = std::mem::take(&mut self.parties).into_values();
        self.workshop.children.extend(parties.filter(|party| !party.has_ended).map(|party| party.process));
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

impl System for Host<'_> {
    fn pollables(&self) -> Vec<(BorrowedFd<'_>, bool)> {
        let mut fds = vec![(self.workshop.wake.as_fd(), false)];
        for party in self.parties.values() {
            fds.extend(party.process.as_pollable().filter(|_| !party.has_ended).map(|fd| (fd, false)));
            fds.extend(party.link.as_ref().map(|link| (link.as_fd(), link.wants_write())));
        }
        fds
    }

    fn drain_wakes(&mut self) {
        self.workshop.wake.drain();
    }

    fn look_again_after(&self) -> Option<Duration> {
        let wakes = |party: &Party| party.has_ended || party.process.as_pollable().is_some();
        (!self.parties.values().all(wakes)).then_some(SHORTLY)
    }
}

impl Os for Host<'_> {
    fn look(&mut self, _also: Option<ProcessId>) -> Option<Seen> {
        Some(self.lookout.look(self.supervisor, self.before.processes()))
    }

    fn watch(&mut self, process: ProcessId) -> bool {
        let known = self.workshop.children.iter().position(|child| child.id() == process);
        let found = match known {
            Some(at) => Ok(self.workshop.children.swap_remove(at)),
            // That it can't be watched must not stand for its end: a daemon that serves would be taken for none.
            None => again(WATCH_BOUND, "a daemon's process", || Child::other(process, &self.before)),
        };
        let Ok(mut found) = found else { return false };
        // Whether it has ended may not be told now: it is asked again.
        let lives = !matches!(found.ended(), Ok(Some(_)));
        if lives {
            let party = Party { process: found, has_ended: false, link: None, listeners: Vec::new() };
            self.parties.insert(process, party);
        }
        lives
    }

    fn ended(&mut self, process: ProcessId) -> Option<PlainText> {
        let party = self.parties.get_mut(&process)?;
        let how = party.process.ended().ok().flatten()?;
        party.process.end_leftovers();
        party.has_ended = true;
        // Its control sockets have no owner now.
        if let Err(error) = control::remove_stale(&self.supervisor.control, process.pid) {
            tracing::debug!(target: "handoff", pid = process.pid, %error, "its socket is still there");
        }
        Some(how.to_string().into())
    }

    fn connect(&mut self, to: ProcessId) -> Option<std::result::Result<(), HostError>> {
        let party = self.parties.get_mut(&to)?;
        Some(match control::connect_to(&self.supervisor.control, to.pid) {
            Ok(Connect::Connected(stream)) => {
                party.link = Some(Link::receiving(stream));
                Ok(())
            }
            Ok(Connect::NotThere) => Err(HostError::peer("nobody listens at its control socket")),
            Ok(Connect::Retry) => Err(HostError::peer("its control socket's queue is full")),
            Err(error) => Err(error.into()),
        })
    }

    fn credentials(&self, of: ProcessId) -> std::result::Result<Credentials, HostError> {
        let link = self.parties.get(&of).and_then(|party| party.link.as_ref());
        let link = link.ok_or_else(|| HostError::peer("the link is gone"))?;
        Ok(control::peer(link.stream())?)
    }

    fn uid(&self) -> u32 {
        self.supervisor.uid()
    }

    fn read(&mut self, from: ProcessId) -> Read {
        let Some(party) = self.parties.get_mut(&from) else { return Read::Nothing };
        let Some(link) = &mut party.link else { return Read::Nothing };
        link.flush();
        let read = link.read();
        if let Read::Message(Message::Hello(hello)) = &read {
            let (control, uid) = (&self.supervisor.control, self.supervisor.uid());
            let spoke = MayBeKilled::spoke(hello, link.stream(), control, uid);
            spoke.into_iter().for_each(|may| party.process.has_spoken(may));
        }
        read
    }

    fn send(&mut self, to: ProcessId, message: &Message) {
        if let Some(link) = self.parties.get_mut(&to).and_then(|party| party.link.as_mut()) {
            #[cfg(feature = "crash-points")]
            link.will_send(message, None, Some(to.pid));
            link.send(message);
        }
    }

    fn is_clogged(&self, to: ProcessId) -> bool {
        self.parties.get(&to).and_then(|party| party.link.as_ref()).is_some_and(Link::wants_write)
    }

    fn hang_up(&mut self, from: ProcessId) {
        self.parties.entry(from).and_modify(|party| {
            party.link = None;
            party.listeners.clear();
        });
    }

    fn receive_listeners(&mut self, from: ProcessId, names: &[String]) -> std::result::Result<(), HostError> {
        let party = self.parties.get_mut(&from).ok_or_else(|| HostError::peer("it was never seen"))?;
        let fds = party.link.as_mut().ok_or_else(|| HostError::peer("the link is gone"))?.take_descriptors();
        party.listeners.push(Listeners::received(names, fds)?);
        Ok(())
    }

    fn keep_listeners(&mut self, from: ProcessId) {
        let Some(party) = self.parties.get_mut(&from) else { return };
        let joined = Listeners::joined(party.listeners.drain(..));
        let joined = joined.inspect_err(|error| {
            tracing::warn!(target: "handoff.recovery", pid = from.pid, %error, "its listeners are not taken over");
        });
        self.listeners = joined.ok();
    }

    fn drop_listeners(&mut self, from: ProcessId) {
        self.parties.entry(from).and_modify(|party| party.listeners.clear());
    }

    fn kill(&mut self, process: ProcessId) {
        let Some(party) = self.parties.get(&process) else { return };
        tracing::warn!(target: "handoff.recovery", pid = process.pid, "killing: it is in the way");
        if let Err(error) = party.process.kill() {
            tracing::error!(target: "handoff.recovery", pid = process.pid, %error, "can't kill");
        }
    }

    fn write_journal(
        &mut self,
        _verdict: RecoveryVerdict,
        journal: &Journal,
    ) -> Option<std::result::Result<(), HostError>> {
        let journal = journal::dated(journal.clone());
        let written = journal::write(self.workshop.journal.as_mut(), &journal);
        self.workshop.is_written = written.is_ok();
        self.workshop.knows = journal;
        Some(written.map_err(HostError::from))
    }

    fn answer(&mut self) -> Option<Answer> {
        None
    }

    fn is_cancelled(&self) -> bool {
        self.supervisor.cancel.is_cancelled()
    }
}
