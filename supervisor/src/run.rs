//! The supervisor itself: one loop that waits for signals, requests, the end of the daemon and of what it asked
//! the library for. What follows from each is the keeper's to decide (`handoff::node::keeper`); the loop performs.
//!
//! The library blocks, so it works on a thread of its own, one job at a time; the loop never waits for it. While
//! a job is under way no end of a process is collected here: which children there are is the library's to know.
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use handoff::daemon::LossyWriter;
use handoff::node::keeper::{Activity, Keeper, KeeperStep, Kept, Task, TaskEnd, Which};
use handoff::text::PlainText;
use handoff::time::Time;
use handoff::unix::poller;
use handoff::{Child, HandoffOutcome, HandoffProgress, Listeners, RecoveryOutcome, SpawnSpec, Supervisor};
use nix::unistd::geteuid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::config::{self, Config};
use crate::daemon::RunningDaemon;
use crate::exit::{Code, CommandFailure};
use crate::history::{HistoryEntry, SwapHistory};
use crate::inbox::{Inbox, Outbox, inbox};
use crate::instance::Instance;
use crate::listen;
use crate::live::Live;
use crate::log;
use crate::metrics::SupervisorMetrics;
use crate::protocol::{RecoveryReport, SwapReport, TriggerAnswer, TriggerRequest};
use crate::reap;
use crate::recovery;
use crate::scrape::{self, ScrapeServer};
use crate::service::ServiceManager;
use crate::signals::Signals;
use crate::trigger::{Access, Asked, ReplyTo, TriggerSocket};
use crate::when;
use crate::work::{LibraryAnswer, LibraryCall, LibraryJob, LoopEvent, Swap};

mod refusal;
mod sight;
mod told;

use refusal::{busy, left_alone, nothing_to_try_beside};

/// Runs the supervisor of the configuration at `path` until it is told to stop. `log` is where it logs.
///
/// # Errors
/// Whatever keeps it from starting; once it runs, only that it was told to stop and could not find out which daemon to stop.
pub(crate) fn run(path: &Path, log: Option<LossyWriter>) -> Result<(), CommandFailure> {
    let path = &std::path::absolute(path).map_err(|error| system("working directory", &error))?;
    let config = Config::load_to_run(path).map_err(|problems| config::failure(path, &problems))?;
    if let Some(why) = &config.no_binary {
        tracing::error!("{}: binary: {why}", path.display());
    }
    for warning in &config.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    // Signals first: what arrives from here on ends the daemon, too.
    let signals =
        Signals::new(&[SIGCHLD, SIGHUP, SIGINT, SIGTERM]).map_err(|error| system("signals", &error))?;
    handoff::daemon::outlive_file_size_limit()?;
    let inherited = Listeners::from_env()?;
    let service = ServiceManager::from_env().map_err(|error| system("can't start a thread", &error))?;
    let mut instance = Instance::lock(&config.trigger_socket)?;
    let live = Live::default();
    let supervisor = supervisor(&config, live.clone())?;
    let (outbox, inbox) = inbox().map_err(|error| system("wake-up pipe", &error))?;

    let access = Access::new(geteuid().as_raw(), &config.allowed_uids);
    let bound = TriggerSocket::bind(&config.trigger_socket, access);
    let look_after = move || instance.put_back();
    let served = bound
        .and_then(|mut socket| socket.serve(outbox.clone(), LoopEvent::Asked, look_after).map(|()| socket));
    let trigger = served.map_err(|error| {
        CommandFailure::new(Code::CantCreate, format!("{}: {error}", config.trigger_socket.display()))
    })?;
    let metrics = SupervisorMetrics::new(trigger.refused_peers(), log);
    let scraped =
        config.metrics.as_ref().map(|addr| ScrapeServer::start(addr, metrics.clone(), outbox.clone()));
    let (_scraped, not_scraped) = scraped.map(scrape::told).unwrap_or_default();

    let keeper = Keeper::new(config.keeper(), supervisor.was_stopped());
    let held = Arc::new(supervisor);
    let is_a_service = service.is_there();
    let end = Runner {
        inherited,
        service,
        keeper,
        daemon: RunningDaemon::default(),
        path: path.clone(),
        supervisor: Arc::clone(&held),
        outbox,
        inbox,
        signals,
        job: None,
        has_listeners: false,
        started: Instant::now(),
        started_at: when::now(),
        recovery: None,
        failed_start: None,
        unclear: None,
        refused: None,
        live,
        history: SwapHistory::beside(&config.journal, metrics.clone()),
        metrics,
        not_scraped,
        config: config.clone(),
    }
    .run()?;
    // A service manager has the sockets still, and may pass them to the next process.
    if end == LoopEnd::Stopped && !is_a_service {
        held.listeners().iter().for_each(listen::unlink);
    }
    Ok(())
}

fn supervisor(config: &Config, live: Live) -> Result<Supervisor, CommandFailure> {
    let supervisor = Supervisor::new(&config.control_socket)?
        .with_build_id(env!("CARGO_PKG_VERSION"))
        .with_observer(move |progress| live.is_told(progress));
    let supervisor = match &config.data_dir {
        Some(dir) => supervisor.with_data_dir(dir),
        None => supervisor,
    };
    let supervisor = match &config.setting.run_as {
        Some(run_as) => supervisor.with_user(run_as.uid),
        None => supervisor,
    };
    Ok(supervisor.with_journal(&config.journal)?)
}

fn system(what: &str, error: &dyn std::error::Error) -> CommandFailure {
    CommandFailure::new(Code::System, format!("{what}: {error}"))
}

/// The loop's state.
struct Runner {
    path: PathBuf,
    /// The configuration of the last swap that was committed.
    config: Config,
    supervisor: Arc<Supervisor>,
    outbox: Outbox<LoopEvent>,
    inbox: Inbox<LoopEvent>,
    signals: Signals,
    keeper: Keeper,
    daemon: RunningDaemon,
    job: Option<LibraryJob>,
    /// The listeners that the service manager has passed to this process.
    inherited: Listeners,
    service: ServiceManager,
    /// `true` if the listeners were taken over or opened.
    has_listeners: bool,
    started: Instant,
    started_at: String,
    recovery: Option<(Instant, RecoveryReport)>,
    /// The reason why the last start came to nothing, while no daemon serves.
    failed_start: Option<String>,
    /// The configuration of a swap of which it is not known whether it was committed.
    unclear: Option<Config>,
    /// The reason why the last swap was not begun.
    refused: Option<String>,
    live: Live,
    history: SwapHistory,
    metrics: SupervisorMetrics,
    /// The reason why scrapes are not answered, though they should be.
    not_scraped: Option<String>,
}

/// The swap that was asked for; by default to what is configured.
#[derive(Debug, Default)]
struct SwapWish {
    binary: Option<PathBuf>,
    /// The name that the new daemon must give to its build.
    expect_build: Option<PlainText>,
    /// The new daemon is only to become warm.
    dry_run: bool,
}

/// The end of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoopEnd {
    /// The daemon was stopped first.
    Stopped,
    /// The daemon serves on.
    Detached,
}

impl Runner {
    fn run(mut self) -> Result<LoopEnd, CommandFailure> {
        loop {
            self.performs()?;
            self.tell_manager();
            if self.keeper.is_stopping() && self.job.is_none() && self.daemon.is_gone() {
                log::errors("journal", [self.supervisor.note_stopped()].into_iter());
                tracing::info!("stopped");
                return Ok(LoopEnd::Stopped);
            }
            self.wait();
            for signal in self.signals.pending() {
                self.on_signal(signal);
            }
            for event in self.inbox.take() {
                match event {
                    LoopEvent::Asked(asked) => match self.on_request(asked) {
                        ControlFlow::Continue(()) => {}
                        ControlFlow::Break(end) => return Ok(end),
                    },
                    LoopEvent::Finished(done) => self.finish(*done)?,
                }
            }
            if self.job.is_none() {
                self.collect();
            }
        }
    }

    /// Now, on the keeper's clock.
    fn now(&self) -> Time {
        Time::from_origin(self.started.elapsed())
    }

    /// Waits until there is something to do.
    fn wait(&self) {
        let mut fds = vec![(self.signals.as_fd(), false), (self.inbox.as_fd(), false)];
        let watched = self.daemon.child().filter(|_| self.job.is_none()).and_then(Child::as_pollable);
        fds.extend(watched.map(|fd| (fd, false)));
        let due = self.keeper.wake_at().map(|at| at.since(self.now()));
        poller::wait(&fds, due.into_iter().chain(self.service.wake_in()).min());
    }

    /// Does what the keeper wants to be done now.
    ///
    /// # Errors
    /// Told to stop, it could not find out which daemon to stop.
    fn performs(&mut self) -> Result<(), CommandFailure> {
        while let Some(step) = self.keeper.next(self.now(), self.kept()) {
            match step {
                KeeperStep::Begin(Task::Recover) => {
                    self.begin(LibraryCall::Recover(self.config.recovery_spec()), None)
                }
                KeeperStep::Begin(Task::ColdStart(which)) if which != Which::Asked => self.start(which),
                KeeperStep::Begin(task) => self.swap(task, SwapWish::default(), None),
                KeeperStep::CallOff => self.supervisor.cancel_handle().cancel(),
                KeeperStep::Terminate => {
                    log::errors("terminate", self.daemon.children().map(Child::terminate))
                }
                KeeperStep::Kill => {
                    tracing::warn!("the daemon did not stop within {:?}: killed", self.config.stop_grace);
                    log::errors("kill", self.daemon.children().map(Child::kill));
                }
                KeeperStep::LeaveAlone => return Err(left_alone()),
            }
        }
        Ok(())
    }

    /// The committed binaries that can be started.
    fn kept(&self) -> Kept {
        match (self.supervisor.last_committed(), self.supervisor.committed_before()) {
            (None, _) => Kept::Nothing,
            (Some(_), None) => Kept::Last,
            (Some(_), Some(_)) => Kept::Both,
        }
    }

    fn on_signal(&mut self, signal: i32) {
        match signal {
            SIGHUP => {
                self.service.reload_is_asked();
                match self.keeper.reload() {
                    Ok(()) => {}
                    Err(Activity::Stopping) => tracing::warn!("SIGHUP: the supervisor is about to stop"),
                    Err(_) => tracing::info!("SIGHUP: comes after what is under way"),
                }
            }
            SIGINT | SIGTERM if !self.keeper.is_stopping() => {
                tracing::info!("stopping");
                self.keeper.stop();
            }
            // The loop looks for ended children whatever has woken it.
            _ => {}
        }
    }

    fn on_request(&mut self, Asked { request, reply }: Asked) -> ControlFlow<LoopEnd> {
        match request {
            TriggerRequest::Swap { binary, expect_build, dry_run, .. } => match self.keeper.ask() {
                Ok(task) => self.swap(task, SwapWish { binary, expect_build, dry_run }, Some(reply)),
                Err(activity) => self.refuse(Some(reply), busy(activity)),
            },
            TriggerRequest::Cancel {} => self.cancel(reply),
            TriggerRequest::Status {} => self.status(reply),
            TriggerRequest::AcceptData {} => reply.send(match self.accept_data() {
                Ok(()) => TriggerAnswer::Accepted {},
                Err(failure) => TriggerAnswer::Error(failure),
            }),
            TriggerRequest::Detach {} => match self.may_detach() {
                Ok(pid) => {
                    reply.send(TriggerAnswer::Detached { pid });
                    return ControlFlow::Break(LoopEnd::Detached);
                }
                Err(failure) => reply.send(TriggerAnswer::Error(failure)),
            },
        }
        ControlFlow::Continue(())
    }

    /// Accepts whatever data the next daemon opens, and starts it now.
    fn accept_data(&mut self) -> Result<(), CommandFailure> {
        self.keeper.start_now(self.now()).map_err(|activity| match activity {
            Activity::Watching => {
                let why = "a daemon serves, and its data are the right ones: there is nothing to accept";
                CommandFailure::new(Code::Unavailable, why)
            }
            other => busy(other),
        })?;
        self.supervisor.accept_data()?;
        tracing::warn!("the operator accepts whatever data the next daemon opens");
        Ok(())
    }

    /// Returns whether the daemon may be left to itself: its pid.
    fn may_detach(&self) -> Result<u32, CommandFailure> {
        let refused = |code, why: &str| Err(CommandFailure::new(code, why));
        self.keeper.is_free().map_err(busy)?;
        match self.daemon.child() {
            _ if std::process::id() == 1 => refused(
                Code::Unavailable,
                "the supervisor is PID 1: with it all processes of its container end; swap the daemon instead",
            ),
            None => refused(Code::Unavailable, "no daemon serves that could be left"),
            Some(child) => {
                tracing::info!(pid = child.id().pid, "detached: the daemon serves on");
                Ok(child.id().pid)
            }
        }
    }

    /// Notes which daemon serves, or that nobody serves. At the first time the listeners are what was found, or opened.
    fn recovered(&mut self, outcome: RecoveryOutcome) -> Result<(), CommandFailure> {
        let mut report = RecoveryReport::new(&outcome);
        self.metrics.has_recovered(report.found);
        if !self.has_listeners && (outcome.daemon.is_some() || outcome.nobody_serves) {
            self.has_listeners = true;
            if outcome.nobody_serves && self.kept() == Kept::Nothing {
                // There is nothing to start, unless what is configured can be.
                self.load()?;
            }
            report.warnings.extend(self.supervisor.resume_from_journal().reports.iter().cloned());
            let inherited = std::mem::take(&mut self.inherited);
            recovery::reconcile(&self.supervisor, &self.config, inherited, &mut report)?;
        }
        if let Some(interrupted) = &outcome.interrupted {
            self.history.add_interrupted(interrupted, &self.supervisor.resume_from_journal().journal);
        }
        // Otherwise the next recovery may tell.
        let unclear = self.unclear.take_if(|_| outcome.verdict().is_clear());
        unclear.filter(|_| outcome.finished()).into_iter().for_each(|fresh| self.is_in_force(fresh));
        match outcome.daemon {
            Some(child) => {
                let binary = self.binary_of(&child);
                let committed_at = self.history.committed_at(child.id().pid);
                self.daemon.adopt(child, binary, committed_at);
            }
            None if outcome.nobody_serves => self.daemon.is_nobody(),
            None => {}
        }
        tracing::info!(found = ?report.found, pid = report.pid, took_ms = report.took_ms, "recovered");
        for warning in &report.warnings {
            tracing::warn!("{warning}");
        }
        self.recovery = Some((Instant::now(), report));
        Ok(())
    }

    /// Returns what a daemon was started from, as far as that is known.
    fn binary_of(&self, child: &Child) -> PathBuf {
        let committed = self.supervisor.last_committed().map(|committed| committed.binary);
        let executed = || std::fs::read_link(format!("/proc/{}/exe", child.id().pid)).ok();
        committed.or_else(executed).unwrap_or_default()
    }

    /// Starts a daemon because none runs.
    fn start(&mut self, which: Which) {
        match self.spec(which) {
            Ok(spec) => {
                self.renew_listeners().iter().for_each(|warning| tracing::warn!("{warning}"));
                self.begin(LibraryCall::ColdStart(spec), None);
            }
            Err(failure) => {
                self.keeper.ended(self.now(), TaskEnd::NotBegun);
                let pause = self.keeper.pause(self.now());
                tracing::error!("can't start the daemon, next try in {pause:?}: {failure}");
            }
        }
    }

    /// Returns what was committed, as it was committed, or what is configured.
    fn spec(&self, which: Which) -> Result<SpawnSpec, CommandFailure> {
        let committed = match which {
            Which::Last => self.supervisor.last_committed(),
            Which::Before => self.supervisor.committed_before(),
            Which::Configured | Which::Asked => None,
        };
        let Some(committed) = committed else {
            return self.configured();
        };
        if which == Which::Before {
            let binary = committed.binary.display();
            tracing::error!(%binary, "FALL-BACK: starts keep failing, what was committed before is started");
        }
        let times = self.config.spawn_spec(&committed.binary);
        Ok(committed.spec(times))
    }

    /// Names the configured binary or, if that can't be executed, the committed one: while any binary that may serve can be started,
    /// a daemon serves.
    fn configured(&self) -> Result<SpawnSpec, CommandFailure> {
        let fresh =
            Config::load_to_run(&self.path).map_err(|problems| config::failure(&self.path, &problems))?;
        let fresh = self.config.updated(fresh);
        match (fresh.checked_spec(&fresh.binary), self.supervisor.last_committed()) {
            (Err(failure), Some(committed)) if failure.code == Code::NoBinary => {
                let binary = committed.binary.display();
                tracing::error!(%binary, "{failure}: what was committed is started instead");
                let times = fresh.spawn_spec(&committed.binary);
                Ok(committed.spec(times))
            }
            (spec, _) => spec,
        }
    }

    /// Begins `task`, which was asked for, or refuses it with nothing touched.
    fn swap(&mut self, task: Task, wish: SwapWish, reply: Option<ReplyTo>) {
        match self.prepare(task, &wish) {
            Ok((call, fresh)) => {
                let needs_restart = self.config.needs_restart(&fresh);
                let warning =
                    |key| format!("{key} has changed: that takes effect when the supervisor is restarted");
                let dry_run = wish.dry_run;
                let renewed = if dry_run { Vec::new() } else { self.renew_listeners() };
                let warnings = needs_restart.into_iter().map(warning).chain(renewed).collect();
                let replies = reply.into_iter().collect();
                self.begin(call, Some(Swap { replies, fresh, dry_run, warnings }));
            }
            Err(failure) => {
                self.keeper.ended(self.now(), TaskEnd::NotBegun);
                self.refused = Some(failure.to_string());
                self.refuse(reply, failure);
            }
        }
    }

    /// Opens anew what clients can't reach any more.
    fn renew_listeners(&self) -> Vec<String> {
        recovery::renew(&self.supervisor, &self.config).unwrap_or_else(|error| vec![error.to_string()])
    }

    fn refuse(&self, reply: Option<ReplyTo>, failure: CommandFailure) {
        tracing::warn!("swap refused: {failure}");
        self.metrics.swap_was_refused(failure.code);
        reply.into_iter().for_each(|reply| reply.send(TriggerAnswer::Error(failure.clone())));
    }

    fn prepare(&self, task: Task, wish: &SwapWish) -> Result<(LibraryCall, Config), CommandFailure> {
        if wish.dry_run && task != Task::Swap {
            return Err(nothing_to_try_beside());
        }
        let fresh = self.load()?;
        let in_force = self.config.updated(fresh.clone());
        let mut spec = in_force.checked_spec(in_force.allowed_binary(wish.binary.as_deref())?)?;
        (spec.expected_build, spec.dry_run) = (wish.expect_build.clone(), wish.dry_run);
        spec.check_args = in_force.check_args;
        let call = if task == Task::Swap { LibraryCall::Handoff(spec) } else { LibraryCall::ColdStart(spec) };
        Ok((call, fresh))
    }

    fn load(&self) -> Result<Config, CommandFailure> {
        Config::load(&self.path).map_err(|problems| config::failure(&self.path, &problems))
    }

    fn begin(&mut self, call: LibraryCall, swap: Option<Swap>) {
        match call.binary() {
            Some(binary) => tracing::info!(binary = %binary.display(), "{}", call.name()),
            None => tracing::info!("{}", call.name()),
        }
        self.refused.take_if(|_| swap.is_some());
        self.live.begins(swap.as_ref().and_then(|swap| swap.replies.first()?.progress()));
        let job = LibraryJob::new(call, swap, &self.supervisor);
        if let Err(error) = job.start(&self.supervisor, &self.outbox) {
            let failure = system("can't start a thread", &error);
            self.outbox.post(LoopEvent::Finished(Box::new(job.call.failed(false, failure))));
        }
        self.job = Some(job);
    }

    /// The job has ended: draws the consequences, then answers, so that a client that has the answer may ask again.
    ///
    /// # Errors
    /// What keeps a supervisor from starting.
    fn finish(&mut self, done: LibraryAnswer) -> Result<(), CommandFailure> {
        let Some(LibraryJob { call, swap, .. }) = self.job.take() else { return Ok(()) };
        let progress = self.live.ends();
        match done {
            LibraryAnswer::Recovered(found, outcome) => {
                let finished = outcome.as_ref().is_ok_and(RecoveryOutcome::finished);
                self.keeper.recovered(self.now(), found, finished);
                match outcome {
                    Ok(outcome) => self.recovered(outcome)?,
                    Err(failure) => log::failure(&call, &failure),
                }
            }
            LibraryAnswer::Started(end, outcome) => {
                self.keeper.ended(self.now(), end);
                match outcome {
                    Ok(outcome) => self.started(&call, swap, outcome, progress.as_ref()),
                    Err(failure) => {
                        log::failure(&call, &failure);
                        if swap.is_some() && end.is_unconfirmed() {
                            let binary = call.binary().unwrap_or_default();
                            self.history.add_unclear(binary, &failure, progress.as_ref());
                        } else if swap.is_some() {
                            self.metrics.swap_was_refused(failure.code);
                        }
                        self.failed_start = self.daemon.child().is_none().then(|| failure.to_string());
                        let (replies, fresh) = swap.map(|swap| (swap.replies, swap.fresh)).unzip();
                        self.unclear = fresh.filter(|_| self.keeper.is_unclear());
                        answer(replies, &TriggerAnswer::Error(failure));
                    }
                }
                let pause = self.keeper.pause(self.now());
                if !pause.is_zero() {
                    tracing::warn!("no daemon runs; next try in {pause:?}");
                }
            }
        }
        Ok(())
    }

    /// A swap or a start has ended, one way or the other.
    fn started(
        &mut self,
        call: &LibraryCall,
        swap: Option<Swap>,
        outcome: HandoffOutcome,
        progress: Option<&HandoffProgress>,
    ) {
        let binary = call.binary().unwrap_or_default();
        log::outcome(&binary, &outcome);
        let warnings = swap.as_ref().map(|swap| swap.warnings.clone()).unwrap_or_default();
        let report = SwapReport::new(&outcome, progress, binary.clone(), warnings);
        // One that has replaced the daemon, because that has ended by itself, is a swap.
        let is_swap = swap.as_ref().is_some_and(|swap| !swap.dry_run || report.committed);
        let (replies, fresh) = swap.map(|swap| (swap.replies, swap.fresh)).unzip();
        if is_swap {
            self.history.add(HistoryEntry::new(&report, progress));
        }
        self.failed_start =
            outcome.abort_reason.as_ref().filter(|_| self.daemon.child().is_none()).map(ToString::to_string);
        if let Some(child) = outcome.child {
            self.daemon.commit(child, binary, self.keeper.has_fallen_back());
            fresh.into_iter().for_each(|fresh| self.is_in_force(fresh));
        } else {
            self.unclear = fresh.filter(|_| self.keeper.is_unclear());
        }
        answer(replies, &TriggerAnswer::Swap(report));
    }

    /// A swap to what `fresh` says was committed.
    fn is_in_force(&mut self, fresh: Config) {
        self.keeper.configure(fresh.keeper());
        self.config = self.config.updated(fresh);
    }

    /// Collects the processes that have ended.
    fn collect(&mut self) {
        if let Some((how, lived)) = self.daemon.collect() {
            self.keeper.daemon_ended(self.now(), lived);
            if self.keeper.is_stopping() {
                tracing::info!("the daemon {how}");
            } else {
                tracing::error!("the daemon {how}; next start in {:?}", self.keeper.pause(self.now()));
            }
        }
        reap::orphans(|pid| self.daemon.owns(pid));
    }
}

/// Tells all of `replies` the same.
fn answer(replies: Option<Vec<ReplyTo>>, answer: &TriggerAnswer) {
    replies.into_iter().flatten().for_each(|reply| reply.send(answer.clone()));
}
