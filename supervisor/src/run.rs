//! The supervisor itself: one loop that waits for signals, requests, the end of the daemon and of what it asked
//! the library for.
//!
//! The library blocks, so it works on a thread of its own, one job at a time; the loop never waits for it. While
//! a job is under way nobody's end is collected here: which children there are is the library's to know.
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use handoff::{Child, HandoffOutcome, RecoveryOutcome, SpawnSpec, Supervisor, Verdict};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::backoff::Backoff;
use crate::config::{self, Config};
use crate::daemon::Daemon;
use crate::exit::{Code, Failure};
use crate::inbox::{Inbox, Outbox, inbox};
use crate::instance::Instance;
use crate::listen;
use crate::protocol::{Activity, Answer, LastSwap, RecoveryReport, Request, StatusReport, SwapReport};
use crate::reap;
use crate::recovery;
use crate::signals::Signals;
use crate::trigger::{Access, Asked, Reply, TriggerSocket};
use crate::work::{Done, Job, Swap, Task};

/// When nobody has said in time that it serves, all are asked again after this pause.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What other threads tell the loop.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client has sent a request.
    Asked(Asked),
    /// The job has ended.
    Finished(Box<Result<Done, Failure>>),
}

/// Runs the supervisor of the configuration at `path` until it is told to stop.
///
/// # Errors
/// Whatever keeps it from starting; once it runs, only that the system can't be waited on any more.
pub(crate) fn run(path: &Path) -> Result<(), Failure> {
    let path = &std::path::absolute(path).map_err(|error| system("working directory", &error))?;
    let config = Config::load(path).map_err(|problems| config::failure(path, &problems))?;
    for warning in &config.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    // Signals first: what arrives from here on ends the daemon, too.
    let signals =
        Signals::new(&[SIGCHLD, SIGHUP, SIGINT, SIGTERM]).map_err(|error| system("signals", &error))?;
    let _instance = Instance::lock(&config.trigger_socket)?;
    let supervisor = supervisor(&config)?;
    let (outbox, inbox) = inbox().map_err(|error| system("wake-up pipe", &error))?;

    let access = Access::new(geteuid().as_raw(), &config.allowed_uids);
    let bound = TriggerSocket::bind(&config.trigger_socket, access);
    let served = bound.and_then(|mut socket| socket.serve(outbox.clone(), Event::Asked).map(|()| socket));
    let _trigger = served.map_err(|error| {
        Failure::new(Code::CantCreate, format!("{}: {error}", config.trigger_socket.display()))
    })?;

    let committed = supervisor.was_serving();
    let held = Arc::new(supervisor);
    let end = Runner {
        daemon: Daemon::new(Backoff::new(config.restart_min, config.restart_max)),
        path: path.clone(),
        supervisor: Arc::clone(&held),
        outbox,
        inbox,
        signals,
        job: None,
        stop: None,
        committed,
        has_listeners: false,
        started: Instant::now(),
        last_swap: None,
        recovery: None,
        config: config.clone(),
    }
    .run()?;
    if end == End::Stopped {
        held.listeners().iter().for_each(listen::unlink);
    }
    Ok(())
}

fn supervisor(config: &Config) -> Result<Supervisor, Failure> {
    let supervisor = Supervisor::new(&config.control_socket)?.with_build_id(env!("CARGO_PKG_VERSION"));
    let supervisor = match &config.data_dir {
        Some(dir) => supervisor.with_data_dir(dir),
        None => supervisor,
    };
    Ok(supervisor.with_journal(&config.journal)?)
}

fn system(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::System, format!("{what}: {error}"))
}

/// The loop's state.
struct Runner {
    path: PathBuf,
    /// The configuration of the last swap that was committed.
    config: Config,
    supervisor: Arc<Supervisor>,
    outbox: Outbox<Event>,
    inbox: Inbox<Event>,
    signals: Signals,
    daemon: Daemon,
    job: Option<Job>,
    stop: Option<Stop>,
    /// A daemon serves or has served, and was not stopped on purpose: what was committed is started again.
    committed: bool,
    /// The listeners were taken over or opened.
    has_listeners: bool,
    started: Instant,
    last_swap: Option<(Instant, SwapReport)>,
    recovery: Option<(Instant, RecoveryReport)>,
}

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The daemon was stopped first.
    Stopped,
    /// The daemon serves on.
    Detached,
}

/// The way out.
#[derive(Debug, Default)]
struct Stop {
    /// When the daemon, told to leave, is killed.
    kill_at: Option<Instant>,
}

impl Runner {
    fn run(mut self) -> Result<End, Failure> {
        loop {
            self.on_time();
            self.wait()?;
            for signal in self.signals.pending() {
                self.on_signal(signal);
            }
            for event in self.inbox.take() {
                match event {
                    Event::Asked(asked) => match self.on_request(asked) {
                        ControlFlow::Continue(()) => {}
                        ControlFlow::Break(end) => return Ok(end),
                    },
                    Event::Finished(result) => self.finish(*result)?,
                }
            }
            if self.job.is_none() {
                self.collect();
                if self.stop.is_some() && self.daemon.is_gone() {
                    log_errors("journal", [self.supervisor.note_stopped()].into_iter());
                    tracing::info!("stopped");
                    return Ok(End::Stopped);
                }
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Result<(), Failure> {
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN),
        ];
        let watched = self.daemon.child().filter(|_| self.job.is_none()).and_then(Child::as_pollable);
        fds.extend(watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut fds, self.timeout()) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(system("poll", &errno)),
        }
    }

    fn timeout(&self) -> PollTimeout {
        let kill_at = self.stop.as_ref().and_then(|stop| stop.kill_at);
        let due = [self.daemon.recover_at(), self.daemon.start_at()].into_iter().flatten();
        let due = due.filter(|_| self.job.is_none() && self.stop.is_none());
        let Some(next) = kill_at.into_iter().chain(due).min() else { return PollTimeout::NONE };
        // Rounded up: to wake early would only be to wait again.
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    fn on_signal(&mut self, signal: i32) {
        match signal {
            SIGHUP => self.swap(None, None),
            SIGINT | SIGTERM => self.begin_stop(),
            // The loop looks for ended children whatever has woken it.
            _ => {}
        }
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.stop.is_none() && self.job.is_none() && due(self.daemon.recover_at()) {
            self.recover();
        }
        if self.stop.is_none() && self.job.is_none() && due(self.daemon.start_at()) {
            self.start();
        }
        if let Some(stop) = self.stop.as_mut().filter(|stop| due(stop.kill_at)) {
            stop.kill_at = None;
            self.out_of_grace();
        }
    }

    /// The time to stop is over.
    fn out_of_grace(&self) {
        let grace = self.config.stop_grace;
        if self.job.is_some() {
            return self.supervisor.cancel_handle().cancel();
        }
        tracing::warn!("the daemon did not stop within {grace:?}: killed");
        log_errors("kill", self.daemon.children().map(Child::kill));
    }

    fn on_request(&mut self, Asked { request, reply }: Asked) -> ControlFlow<End> {
        match request {
            Request::Swap { binary } => self.swap(binary.as_deref(), Some(reply)),
            Request::Status {} => self.status(reply),
            Request::Detach {} => match self.may_detach() {
                Ok(pid) => {
                    reply.send(Answer::Detached { pid });
                    return ControlFlow::Break(End::Detached);
                }
                Err(failure) => reply.send(Answer::Error(failure)),
            },
        }
        ControlFlow::Continue(())
    }

    /// Whether the daemon may be left to itself: its pid.
    fn may_detach(&self) -> Result<u32, Failure> {
        let refused = |code, why: &str| Err(Failure::new(code, why));
        match self.daemon.child() {
            _ if std::process::id() == 1 => refused(
                Code::Unavailable,
                "the supervisor is PID 1: with it all processes of its container end; swap the daemon instead",
            ),
            _ if self.job.is_some() => {
                refused(Code::Busy, "something is under way; try again when it is over")
            }
            _ if self.stop.is_some() => refused(Code::Unavailable, "the supervisor is about to stop"),
            None => refused(Code::Unavailable, "no daemon serves that could be left"),
            Some(child) => {
                tracing::info!(pid = child.id().pid, "detached: the daemon serves on");
                Ok(child.id().pid)
            }
        }
    }

    /// Finds out who serves.
    fn recover(&mut self) {
        self.daemon.recovery_taken();
        self.begin(Job { task: Task::Recover(self.config.recovery_spec()), swap: None });
    }

    /// It is known who serves, or that nobody does. At the first time the listeners are what was found, or opened.
    fn recovered(&mut self, outcome: RecoveryOutcome) -> Result<(), Failure> {
        let mut report = RecoveryReport::new(&outcome);
        if !self.has_listeners && (outcome.daemon.is_some() || outcome.nobody_serves) {
            self.has_listeners = true;
            report.warnings.extend(self.supervisor.resume_from_journal().reports.iter().cloned());
            recovery::reconcile(&self.supervisor, &self.config, &mut report)?;
        }
        match outcome.daemon {
            Some(child) => {
                self.committed = true;
                let binary = self.binary_of(&child);
                self.daemon.adopt(child, binary);
            }
            None if outcome.nobody_serves => self.daemon.is_nobody(),
            None if self.stop.is_some() => return Err(left_alone()),
            None => self.daemon.astray(ASK_AGAIN),
        }
        tracing::info!(found = ?report.found, pid = report.pid, took_ms = report.took_ms, "recovered");
        for warning in &report.warnings {
            tracing::warn!("{warning}");
        }
        self.recovery = Some((Instant::now(), report));
        Ok(())
    }

    /// What a daemon was started from, as far as that is known.
    fn binary_of(&self, child: &Child) -> PathBuf {
        let committed = self.supervisor.last_committed().map(|committed| committed.binary);
        let executed = || std::fs::read_link(format!("/proc/{}/exe", child.id().pid)).ok();
        committed.or_else(executed).unwrap_or_default()
    }

    /// Starts a daemon because none runs: what was committed last, or what is configured if nothing ever was.
    fn start(&mut self) {
        self.daemon.start_taken();
        let again = if self.committed { self.committed_spec() } else { None };
        let spec = match again {
            Some(spec) => Ok(spec),
            None => self.load().and_then(|fresh| fresh.checked_spec(&fresh.binary)),
        };
        match spec {
            Ok(spec) => self.begin(Job { task: Task::ColdStart(spec), swap: None }),
            Err(failure) => {
                let pause = self.daemon.start_failed(false);
                tracing::error!("can't start the daemon, next try in {pause:?}: {failure}");
            }
        }
    }

    /// What was committed, as it was committed: the last binary or, if that keeps failing, the one before.
    fn committed_spec(&mut self) -> Option<SpawnSpec> {
        let (last, before) = (self.supervisor.last_committed()?, self.supervisor.committed_before());
        let turn = self.daemon.turn();
        let changed = before.is_some().then(|| turn.change_after(self.config.fall_back_after)).flatten();
        let again = before.filter(|_| turn.is_before_last()).unwrap_or(last);
        if let Some(failures) = changed {
            let (binary, older) = (again.binary.display(), turn.is_older());
            tracing::error!(%binary, older, failures, "FALL-BACK: starts keep failing, the other committed binary is tried");
        }
        let times = self.config.spawn_spec(&again.binary);
        Some(again.spec(times))
    }

    /// Starts a swap, or refuses it with nothing touched.
    fn swap(&mut self, asked: Option<&Path>, reply: Option<Reply>) {
        match self.prepare(asked) {
            Ok((task, fresh)) => {
                let needs_restart = self.config.needs_restart(&fresh);
                let warning =
                    |key| format!("{key} has changed: that takes effect when the supervisor is restarted");
                let warnings = needs_restart.into_iter().map(warning).collect();
                self.begin(Job { task, swap: Some(Swap { reply, fresh, warnings }) });
            }
            Err(failure) => {
                tracing::warn!("swap refused: {failure}");
                reply.into_iter().for_each(|reply| reply.send(Answer::Error(failure.clone())));
            }
        }
    }

    fn prepare(&self, asked: Option<&Path>) -> Result<(Task, Config), Failure> {
        if self.stop.is_some() {
            return Err(Failure::new(Code::Unavailable, "the supervisor is about to stop"));
        }
        match &self.job {
            Some(Job { swap: Some(_), .. }) => return Err(handoff::Error::Busy.into()),
            Some(Job { task: Task::ColdStart(_) | Task::Handoff(_), .. }) => {
                return Err(Failure::new(Code::Busy, "the daemon is being started; try again"));
            }
            Some(Job { task: Task::Recover(_), .. }) => return Err(recovering()),
            None if self.daemon.recover_at().is_some() => return Err(recovering()),
            None => {}
        }
        let fresh = self.load()?;
        let spec = fresh.checked_spec(fresh.allowed_binary(asked)?)?;
        // With no daemon there is nobody to replace, but a good build is the way out of a crash loop.
        let task = if self.daemon.child().is_some() { Task::Handoff(spec) } else { Task::ColdStart(spec) };
        Ok((task, fresh))
    }

    fn load(&self) -> Result<Config, Failure> {
        Config::load(&self.path).map_err(|problems| config::failure(&self.path, &problems))
    }

    fn begin(&mut self, job: Job) {
        match job.task.binary() {
            Some(binary) => tracing::info!(binary = %binary.display(), "{}", job.task.name()),
            None => tracing::info!("{}", job.task.name()),
        }
        let started = job.start(&self.supervisor, &self.outbox);
        self.job = Some(job);
        if let Err(error) = started {
            let failed = Event::Finished(Box::new(Err(system("can't start a thread", &error))));
            self.outbox.post(failed);
        }
    }

    /// The job has ended: draws the consequences, then answers, so that who has the answer may ask again.
    ///
    /// # Errors
    /// What keeps a supervisor from starting; and, told to stop, it could not find out whom to stop.
    fn finish(&mut self, result: Result<Done, Failure>) -> Result<(), Failure> {
        let Some(Job { task, swap }) = self.job.take() else { return Ok(()) };
        match result {
            Ok(Done::Recovered(outcome)) => self.recovered(outcome)?,
            Ok(Done::Started(outcome)) => self.started(&task, swap, outcome),
            Err(_) if self.stop.is_some() && matches!(task, Task::Recover(_)) => return Err(left_alone()),
            Err(failure) => self.failed(&task, swap, failure),
        }
        if self.stop.is_some() {
            self.terminate();
        }
        Ok(())
    }

    /// A swap or a start has ended, one way or the other.
    fn started(&mut self, task: &Task, swap: Option<Swap>, outcome: HandoffOutcome) {
        let binary = task.binary().unwrap_or_default();
        log_outcome(&binary, &outcome);
        let warnings = swap.as_ref().map(|swap| swap.warnings.clone()).unwrap_or_default();
        let report = SwapReport::new(&outcome, binary.clone(), warnings);
        let (reply, fresh) = swap.map(|swap| (swap.reply, swap.fresh)).unzip();
        if fresh.is_some() {
            self.last_swap = Some((Instant::now(), report.clone()));
        }
        self.settle(task, binary, outcome, fresh);
        reply.flatten().into_iter().for_each(|reply| reply.send(Answer::Swap(report.clone())));
    }

    fn settle(&mut self, task: &Task, binary: PathBuf, outcome: HandoffOutcome, fresh: Option<Config>) {
        let asked = fresh.is_some();
        let journalled = outcome.journalled;
        match (outcome.verdict, outcome.child) {
            (Verdict::Committed, Some(child)) => {
                self.committed = true;
                self.daemon.commit(child, binary, asked);
                if let Some(fresh) = fresh {
                    self.daemon.set_backoff(Backoff::new(fresh.restart_min, fresh.restart_max));
                    self.config = self.config.clone().updated(fresh);
                }
                // It is not told that it may migrate before a supervisor that comes anew would start the same.
                if !journalled {
                    self.daemon.astray(Duration::ZERO);
                }
            }
            (Verdict::RolledBack, _) => {}
            _ => self.lost_track(task, asked),
        }
    }

    /// What the library was asked for came to nothing.
    fn failed(&mut self, task: &Task, swap: Option<Swap>, failure: Failure) {
        tracing::error!(code = ?failure.code, "{}: {failure}", task.name());
        match task {
            Task::Recover(_) => self.daemon.astray(ASK_AGAIN),
            Task::ColdStart(_) => self.lost_track(task, swap.is_some()),
            // In all other cases nothing was touched, and who served does so still.
            Task::Handoff(_) => match failure.code {
                Code::Protocol | Code::Unconfirmed | Code::Software => self.lost_track(task, true),
                _ => {}
            },
        }
        let reply = swap.and_then(|swap| swap.reply);
        reply.into_iter().for_each(|reply| reply.send(Answer::Error(failure.clone())));
    }

    /// It is not known who serves. If nobody does, one is started after the pause.
    fn lost_track(&mut self, task: &Task, asked: bool) {
        self.daemon.astray(Duration::ZERO);
        if let Task::ColdStart(_) = task {
            let pause = self.daemon.start_failed(asked);
            tracing::warn!("no daemon runs; next try in {pause:?}");
        }
    }

    /// Collects whoever has ended.
    fn collect(&mut self) {
        if let Some((how, pause)) = self.daemon.collect() {
            match self.stop {
                Some(_) => tracing::info!("the daemon {how}"),
                None => tracing::error!("the daemon {how}; next start in {pause:?}"),
            }
        }
        reap::orphans(|pid| self.daemon.owns(pid));
    }

    /// Ends what is under way one way or the other, then the daemon, then the loop.
    fn begin_stop(&mut self) {
        if self.stop.is_some() {
            return;
        }
        tracing::info!("stopping");
        self.stop = Some(Stop::default());
        match &self.job {
            // Who serves is to be stopped, and must be known for that. That takes no longer than to stop it.
            Some(Job { task: Task::Recover(_), .. }) => self.stop_within_grace(),
            Some(_) => self.supervisor.cancel_handle().cancel(),
            None => self.terminate(),
        }
    }

    fn terminate(&mut self) {
        log_errors("terminate", self.daemon.children().map(Child::terminate));
        self.stop_within_grace();
    }

    fn stop_within_grace(&mut self) {
        self.stop = Some(Stop { kill_at: Some(Instant::now() + self.config.stop_grace) });
    }

    /// Answers what the loop knows at once, and has a thread ask the daemon for the rest.
    fn status(&self, reply: Reply) {
        let report = self.report();
        let supervisor = Arc::clone(&self.supervisor);
        let ask = move || {
            let (answer, silence) = match supervisor.status() {
                Ok(status) => (Some(status.into()), None),
                Err(error) => (None, Some(error.to_string())),
            };
            reply.send(Answer::Status(Box::new(StatusReport { answer, silence, ..report })));
        };
        if let Err(error) = thread::Builder::new().name("status".into()).spawn(ask) {
            tracing::warn!("status: {error}");
        }
    }

    fn report(&self) -> StatusReport {
        let last_swap = self.last_swap.as_ref().map(|(ended, report)| LastSwap {
            ended_secs_ago: ended.elapsed().as_secs_f64(),
            report: report.clone(),
        });
        let recovery = self.recovery.as_ref().map(|(ended, report)| RecoveryReport {
            ended_secs_ago: ended.elapsed().as_secs_f64(),
            ..report.clone()
        });
        StatusReport {
            activity: self.activity(),
            supervisor_pid: std::process::id(),
            supervisor_version: env!("CARGO_PKG_VERSION").into(),
            supervisor_up_secs: self.started.elapsed().as_secs_f64(),
            daemon: self.daemon.report(),
            answer: None,
            silence: None,
            restarts: self.daemon.restarts(),
            last_swap,
            recovery,
        }
    }

    fn activity(&self) -> Activity {
        match (&self.stop, &self.job, self.daemon.start_at()) {
            (Some(_), _, _) => Activity::Stopping,
            (None, Some(Job { swap: Some(_), .. }), _) => Activity::Swapping,
            (None, Some(Job { task: Task::Recover(_), .. }), _) => Activity::Recovering,
            (None, None, _) if self.daemon.recover_at().is_some() => Activity::Recovering,
            (None, Some(_), _) => Activity::Starting,
            (None, None, Some(_)) => Activity::BackingOff,
            (None, None, None) => Activity::Watching,
        }
    }
}

fn left_alone() -> Failure {
    let message =
        "told to stop, but nobody has said in time that it serves: whoever is there is left to itself";
    Failure::new(Code::Unconfirmed, message)
}

fn recovering() -> Failure {
    Failure::new(Code::Busy, "it is being found out who serves; try again")
}

fn log_outcome(binary: &Path, outcome: &HandoffOutcome) {
    let binary = binary.display();
    for warning in &outcome.warnings {
        tracing::warn!("{warning}");
    }
    let (id, verdict, total) = (outcome.handoff_id, outcome.verdict, outcome.phases.total);
    let reason = outcome.abort_reason.as_ref().map(ToString::to_string).unwrap_or_default();
    if verdict == Verdict::Committed {
        tracing::info!(%binary, handoff = %id, ?total, "committed");
    } else {
        tracing::error!(%binary, handoff = %id, ?total, reason, "{verdict:?}");
    }
}

fn log_errors(what: &str, results: impl Iterator<Item = handoff::Result<()>>) {
    for error in results.filter_map(Result::err) {
        tracing::warn!("{what}: {error}");
    }
}
