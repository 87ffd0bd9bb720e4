//! The supervisor's real host: what the node of one handoff stands on, on the caller's thread.
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

use super::committed::Launch;
use super::journal;
use super::outcome::Stopwatch;
use super::progress::{HandoffProgress, Participant};
use super::{Child, HandoffError, HandoffOutcome, SpawnSpec, Supervisor, Workshop};
use crate::error::{Error, HostError, Result};
use crate::host::{Clock, Crashed, Gap, Gaps};
use crate::id::{BootId, DirectoryId, HandoffId, ProcessId};
use crate::journal::{Binary, Journal};
use crate::machine::supervisor::{HandoffVerdict, Limits, Note, Peer};
use crate::machine::{Cell, Phase, StateName};
use crate::message::Message;
use crate::node::handoff::{Answer, ControlConnection, HandoffNode, Os, Purpose, SpawnResult};
use crate::node::{Credentials, Read};
use crate::text::PlainText;
use crate::time::{Duration, Time};
use crate::unix::context::Context;
use crate::unix::control::{self, Connect};
use crate::unix::env::StartRole;
use crate::unix::gaps;
use crate::unix::kill::MayBeKilled;
use crate::unix::link::{Link, random_id};
use crate::unix::lock;
use crate::unix::pid::boot_id;
use crate::unix::pid_user::effective_user_of;
use crate::unix::poller::MonotonicClock;
use crate::unix::reactor::{self, System};
use crate::unix::spawn::{SpawnRequest, spawn};
use crate::unix::under_way;

/// The interval at which a process is looked at where there is no pidfd.
const SHORTLY: Duration = Duration::from_millis(10);

/// Runs one handoff to its end.
pub(super) fn run(
    supervisor: &Supervisor,
    workshop: &mut Workshop,
    spec: &SpawnSpec,
    replace: bool,
) -> Result<HandoffOutcome, HandoffError> {
    let handoff_id = random_id().context(|| "can't draw a handoff's id from /dev/urandom".into())?;
    let build = String::from_utf8_lossy(&supervisor.build_id);
    under_way::note(Some(handoff_id));
    tracing::info!(target: "handoff", handoff = %handoff_id, %build, binary = %spec.binary.display(), replace, "handoff");
    let purpose = Purpose { build_id: spec.expected_build.clone(), is_trial: spec.dry_run };
    let node = HandoffNode::new(config(spec), handoff_id, replace, workshop.knows.clone());
    let mut node = node.for_purpose(purpose);
    let mut host = Host::new(supervisor, workshop, spec, handoff_id);
    host.stopwatch = Stopwatch::new(host.now());
    let start = node.start();
    if reactor::step(&mut node, &mut host, start).is_continue() {
        reactor::run(&mut node, &mut host);
    }
    let concluded = host.conclude(&node);
    under_way::note(None);
    concluded
}

fn config(spec: &SpawnSpec) -> Limits {
    Limits {
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
    process: Option<Child>,
    /// The permission to end the process, which has spoken.
    spoke: Option<MayBeKilled>,
    /// `true` if a message came over its link.
    has_said: bool,
    /// The name that the process gives to its build, once it has said so.
    build_id: Option<PlainText>,
    has_ended: bool,
}

impl Party {
    /// A process that has not been seen to end.
    fn living(&self) -> Option<&Child> {
        self.process.as_ref().filter(|_| !self.has_ended)
    }

    fn participant(&self) -> Option<Participant> {
        let process = self.process.as_ref()?.id();
        Some(Participant { process, build_id: self.build_id.clone() })
    }
}

struct Host<'a> {
    clock: MonotonicClock,
    supervisor: &'a Supervisor,
    workshop: &'a mut Workshop,
    spec: &'a SpawnSpec,
    handoff_id: HandoffId,
    incumbent: Party,
    successor: Party,
    stopwatch: Stopwatch,
    /// The progress that the observer was told last.
    told: Option<HandoffProgress>,
    /// `true` if the successor is the incumbent's or the caller's business from here on: it was told to
    /// serve, or the machine has come to its end.
    decided: bool,
}

impl<'a> Host<'a> {
    fn new(
        supervisor: &'a Supervisor,
        workshop: &'a mut Workshop,
        spec: &'a SpawnSpec,
        handoff_id: HandoffId,
    ) -> Self {
        Host {
            clock: MonotonicClock::new(),
            supervisor,
            workshop,
            spec,
            handoff_id,
            incumbent: Party::default(),
            successor: Party::default(),
            stopwatch: Stopwatch::new(Time::ZERO),
            told: None,
            decided: false,
        }
    }

    fn party(&self, peer: Peer) -> &Party {
        match peer {
            Peer::Incumbent => &self.incumbent,
            Peer::Successor => &self.successor,
        }
    }

    fn party_mut(&mut self, peer: Peer) -> &mut Party {
        match peer {
            Peer::Incumbent => &mut self.incumbent,
            Peer::Successor => &mut self.successor,
        }
    }

    fn start_successor(&mut self, replaces: bool) -> Result<(ProcessId, Binary)> {
        let cant = || "can't open a link to a new process".into();
        #[cfg(feature = "crash-points")]
        crate::unix::probe::step(crate::unix::probe::SystemCall::Fork).context(cant)?;
        let (ours, theirs) = control::socketpair().context(cant)?;
        let listeners: Vec<_> =
            self.workshop.listeners.entries().map(|(name, fd)| (name.to_string(), fd.as_fd())).collect();
        let launch = Launch::new(self.spec);
        let started = spawn(SpawnRequest {
            binary: &self.spec.binary,
            image: launch.image.as_deref(),
            args: &self.spec.args,
            env: &self.spec.env,
            setting: &self.spec.setting,
            listeners: &listeners,
            link: theirs.into(),
            role: if replaces { StartRole::Successor } else { StartRole::ColdStart },
            output: None,
        });
        let process = started.map_err(|error| launch.explain(error))?.process;
        #[cfg(feature = "crash-points")]
        crate::unix::probe::step(crate::unix::probe::SystemCall::Watch).context(cant)?;
        self.successor.link = Some(Link::new(ours));
        let child = Child::started(process);
        self.successor.process = Some(child.context(|| format!("can't watch process {process}"))?);
        let (binary, opened) = launch.started(process.pid, self.handoff_id, &self.workshop.knows);
        opened.into_iter().for_each(|opened| self.supervisor.shelf().hold(binary.handoff_id, opened));
        Ok((process, binary))
    }

    /// The handoff is in `phase` now.
    fn is_in(&mut self, phase: Phase) {
        self.stopwatch.at(self.clock.now(), phase, self.handoff_id);
        let Some(observer) = &self.supervisor.observer else { return };
        let progress = HandoffProgress {
            handoff_id: self.handoff_id,
            phase,
            elapsed: self.stopwatch.phases().total,
            incumbent: self.incumbent.participant(),
            successor: self.successor.participant(),
        };
        if self.told.as_ref().is_none_or(|told| !told.is_as(&progress)) {
            observer.tell(&progress);
            self.told = Some(progress);
        }
    }

    /// Returns what the caller gets.
    fn conclude(mut self, node: &HandoffNode) -> Result<HandoffOutcome, HandoffError> {
        let outcome = node.outcome().cloned().ok_or(Error::Defect("the handoff has no end"))?;
        self.decided = true;
        control::sweep(&self.supervisor.control);
        let id = self.handoff_id;
        let reason = outcome.reason.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::info!(target: "handoff", handoff = %id, verdict = ?outcome.verdict, reason, "over");
        // A process serves by now, whatever fails: nothing that may fail is left to be done.
        let is_committed = outcome.verdict == HandoffVerdict::Committed;
        let child = self.successor.process.as_ref().filter(|_| is_committed).map(Child::share);
        let mut outcome = HandoffOutcome::new(id, outcome, child, self.stopwatch.phases())?;
        outcome.warnings.extend(self.mute_successor());
        Ok(outcome)
    }

    /// Returns what helps if the successor has ended before the library said for it why.
    fn mute_successor(&self) -> Option<String> {
        let is_mute = self.successor.has_ended && !self.successor.has_said;
        is_mute.then(|| {
            let SpawnSpec { binary, args, .. } = self.spec;
            format!(
                "the new process ended before it took part, and could say no more than its exit status here: see its own log and \
                 its standard error; it was started as {binary:?} with the arguments {args:?}"
            )
        })
    }
}

impl Drop for Host<'_> {
    /// Keeps what is not reaped for the next time. After a panic, or an error of the system, no host would tell a
    /// successor that waits what comes next: it is ended, and the incumbent goes on by itself.
    fn drop(&mut self) {
        if let Some(child) = self.successor.process.take().filter(|_| !self.successor.has_ended) {
            if !self.decided {
                let _ = child.kill();
            }
            self.workshop.children.push(child);
        }
        self.workshop.children.extend(self.incumbent.process.take().filter(|_| !self.incumbent.has_ended));
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
        for party in [&self.incumbent, &self.successor] {
            fds.extend(party.living().and_then(Child::as_pollable).map(|fd| (fd, false)));
            fds.extend(party.link.as_ref().map(|link| (link.as_fd(), link.wants_write())));
        }
        fds
    }

    fn drain_wakes(&mut self) {
        self.workshop.wake.drain();
    }

    fn look_again_after(&self) -> Option<Duration> {
        let parties = [&self.incumbent, &self.successor];
        let unpollable =
            parties.iter().filter_map(|party| party.living()).any(|child| child.as_pollable().is_none());
        unpollable.then_some(SHORTLY)
    }

    fn stepped(&mut self, state: StateName) {
        match state {
            StateName::Done => self.stopwatch.ends(self.clock.now(), self.handoff_id),
            state => self.is_in(Phase::of(state)),
        }
    }
}

impl Os for Host<'_> {
    fn connect(&mut self) -> Option<ControlConnection> {
        let control = &self.supervisor.control;
        Some(match control::connect_to_daemon(control) {
            Ok(Connect::Connected(stream)) => {
                self.incumbent.link = Some(Link::new(stream));
                ControlConnection::Made
            }
            Ok(Connect::Retry) => ControlConnection::QueueFull,
            Ok(Connect::NotThere) => {
                let why = format!("nobody listens at the control socket {}", control.display());
                ControlConnection::Failed(HostError::peer(why))
            }
            Err(error) => ControlConnection::Failed(error.into()),
        })
    }

    fn read(&mut self, peer: Peer) -> Read {
        let supervisor = self.supervisor;
        let party = match peer {
            Peer::Incumbent => &mut self.incumbent,
            Peer::Successor => &mut self.successor,
        };
        let Some(link) = &mut party.link else { return Read::Nothing };
        link.flush();
        let read = link.read();
        if let (Read::Message(Message::Hello(hello)), Peer::Incumbent) = (&read, peer) {
            party.spoke = MayBeKilled::spoke(hello, link.stream(), &supervisor.control, supervisor.uid());
        }
        if let Read::Message(Message::Hello(hello)) = &read {
            party.build_id = Some(hello.build());
        }
        party.has_said |= matches!(read, Read::Message(_));
        if matches!(read, Read::Closed(_)) {
            party.link = None;
        }
        read
    }

    fn send(&mut self, peer: Peer, message: &Message) {
        tracing::trace!(target: "handoff.send", to = ?peer, message = %message.name());
        self.decided |= matches!(message, Message::Commit { .. });
        let party = self.party_mut(peer);
        if let Some(link) = &mut party.link {
            #[cfg(feature = "crash-points")]
            link.will_send(message, Some(peer), party.process.as_ref().map(|child| child.id().pid));
            link.send(message);
        }
    }

    fn hang_up(&mut self, peer: Peer) {
        self.party_mut(peer).link = None;
    }

    fn credentials(&self, peer: Peer) -> Result<Credentials, HostError> {
        let link = self.party(peer).link.as_ref().ok_or_else(|| HostError::peer("the link is gone"))?;
        Ok(control::peer(link.stream())?)
    }

    fn uid(&self) -> u32 {
        self.supervisor.uid()
    }

    fn user(&self) -> Option<u32> {
        effective_user_of(self.successor.process.as_ref()?.watch())
    }

    fn directory(&self) -> Option<DirectoryId> {
        lock::directory_locked_by(self.successor.process.as_ref()?.id().pid)
    }

    fn boot(&self) -> BootId {
        boot_id()
    }

    fn spawn(&mut self, replaces: bool) -> Option<SpawnResult> {
        Some(self.start_successor(replaces).map_err(HostError::from))
    }

    fn watch(&mut self, incumbent: ProcessId) -> Result<(), HostError> {
        let known = self.workshop.children.iter().position(|child| child.id() == incumbent);
        let mut process = match known {
            Some(at) => self.workshop.children.swap_remove(at),
            None => Child::other(incumbent, &self.workshop.knows)?,
        };
        self.incumbent.spoke.into_iter().for_each(|may| process.has_spoken(may));
        self.incumbent.process = Some(process);
        Ok(())
    }

    fn ended(&mut self, peer: Peer) -> Option<PlainText> {
        let party = self.party_mut(peer);
        let process = party.process.as_mut()?;
        let how = process.ended().ok().flatten()?;
        process.end_leftovers();
        let pid = process.id().pid;
        party.has_ended = true;
        // Its control sockets have no owner now.
        if let Err(error) = control::remove_stale(&self.supervisor.control, pid) {
            tracing::debug!(target: "handoff", pid, %error, "an ended process's socket is still there");
        }
        Some(how.to_string().into())
    }

    fn kill(&mut self, peer: Peer) {
        let id = self.handoff_id;
        let Some(process) = &self.party(peer).process else { return };
        tracing::warn!(target: "handoff", handoff = %id, ?peer, pid = process.id().pid, "killing");
        if let Err(error) = process.kill() {
            tracing::error!(target: "handoff", handoff = %id, ?peer, %error, "can't kill");
        }
    }

    fn write_journal(&mut self, note: Note, journal: &Journal) -> Option<Result<(), HostError>> {
        if note == Note::Committed {
            // The pause is over: what the journal takes is no part of it.
            self.is_in(Phase::Retire);
        }
        let journal = journal::dated(journal.clone());
        let written = journal::write(self.workshop.journal.as_mut(), &journal);
        self.workshop.knows = journal;
        self.workshop.is_written = written.is_ok();
        Some(written.map_err(HostError::from))
    }

    fn answer(&mut self) -> Option<Answer> {
        None
    }

    fn is_cancelled(&self) -> bool {
        self.supervisor.is_cancelled(self.spec)
    }
}
