//! The supervisor itself: one loop that waits for signals, requests, the end of the daemon and of what it asked
//! the library for.
//!
//! The library blocks, so it works on a thread of its own, one job at a time; the loop never waits for it. While
//! a job is under way nobody's end is collected here: which children there are is the library's to know.
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use handoff::{Child, HandoffOutcome, SpawnSpec, Supervisor, Verdict};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::backoff::Backoff;
use crate::config::{self, Config};
use crate::daemon::Daemon;
use crate::exit::{Code, Failure};
use crate::inbox::{Inbox, Outbox, inbox};
use crate::instance::Instance;
use crate::listen;
use crate::protocol::{Activity, Answer, LastSwap, Request, StatusReport, SwapReport};
use crate::reap;
use crate::trigger::{Access, Asked, Reply, TriggerSocket};
use crate::work::{Job, Kind, Swap};

type Signals = SignalDelivery<UnixStream, SignalOnly>;

/// What other threads tell the loop.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client has sent a request.
    Asked(Asked),
    /// The job has ended.
    Finished(Box<Result<HandoffOutcome, Failure>>),
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
    let signals = signals().map_err(|error| system("signals", &error))?;
    let _instance = Instance::lock(&config.trigger_socket)?;
    let supervisor = supervisor(&config)?;
    let (outbox, inbox) = inbox().map_err(|error| system("wake-up pipe", &error))?;

    let access = Access::new(geteuid().as_raw(), &config.allowed_uids);
    let bound = TriggerSocket::bind(&config.trigger_socket, access);
    let served = bound.and_then(|mut socket| socket.serve(outbox.clone(), Event::Asked).map(|()| socket));
    let _trigger = served.map_err(|error| {
        Failure::new(Code::CantCreate, format!("{}: {error}", config.trigger_socket.display()))
    })?;

    Runner {
        daemon: Daemon::new(Backoff::new(config.restart_min, config.restart_max)),
        path: path.clone(),
        supervisor: Arc::new(supervisor),
        outbox,
        inbox,
        signals,
        job: None,
        stop: None,
        committed: false,
        started: Instant::now(),
        last_swap: None,
        config: config.clone(),
    }
    .run()?;
    listen::unlink(&config.listeners);
    Ok(())
}

fn signals() -> std::io::Result<Signals> {
    let (read, write) = UnixStream::pair()?;
    SignalDelivery::with_pipe(read, write, SignalOnly, [SIGCHLD, SIGHUP, SIGINT, SIGTERM])
}

fn supervisor(config: &Config) -> Result<Supervisor, Failure> {
    let supervisor = Supervisor::new(&config.control_socket)?;
    let mut supervisor = supervisor.with_journal(&config.journal)?.with_build_id(env!("CARGO_PKG_VERSION"));
    for listener in &config.listeners {
        supervisor = supervisor.with_listener(&listener.name, listen::bind(listener)?)?;
        tracing::info!(name = listener.name, addr = %listener.addr, "listening");
    }
    Ok(supervisor)
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
    /// A daemon has been started here.
    committed: bool,
    started: Instant,
    last_swap: Option<(Instant, SwapReport)>,
}

/// The way out.
#[derive(Debug, Default)]
struct Stop {
    /// When the daemon, told to leave, is killed.
    kill_at: Option<Instant>,
}

impl Runner {
    fn run(mut self) -> Result<(), Failure> {
        loop {
            self.on_time();
            self.wait()?;
            let signals: Vec<i32> = self.signals.pending().collect();
            signals.into_iter().for_each(|signal| self.on_signal(signal));
            for event in self.inbox.take() {
                match event {
                    Event::Asked(asked) => self.on_request(asked),
                    Event::Finished(result) => self.finish(*result),
                }
            }
            if self.job.is_none() {
                self.collect();
                if self.stop.is_some() && self.daemon.is_gone() {
                    tracing::info!("stopped");
                    return Ok(());
                }
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Result<(), Failure> {
        let mut fds = vec![
            PollFd::new(self.signals.get_read().as_fd(), PollFlags::POLLIN),
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
        let start_at = self.daemon.start_at().filter(|_| self.job.is_none() && self.stop.is_none());
        let Some(next) = kill_at.into_iter().chain(start_at).min() else { return PollTimeout::NONE };
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
        if self.stop.is_none() && self.job.is_none() && due(self.daemon.start_at()) {
            self.start();
        }
        if let Some(stop) = self.stop.as_mut().filter(|stop| due(stop.kill_at)) {
            stop.kill_at = None;
            tracing::warn!("the daemon did not stop within {:?}: killed", self.config.stop_grace);
            log_errors("kill", self.daemon.children().map(Child::kill));
        }
    }

    fn on_request(&mut self, Asked { request, reply }: Asked) {
        match request {
            Request::Swap { binary } => self.swap(binary.as_deref(), Some(reply)),
            Request::Status {} => self.status(reply),
        }
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
            Ok(spec) => self.begin(Job { kind: Kind::ColdStart, spec, swap: None }),
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
            Ok((kind, spec, fresh)) => {
                let needs_restart = self.config.needs_restart(&fresh);
                let warning =
                    |key| format!("{key} has changed: that takes effect when the supervisor is restarted");
                let warnings = needs_restart.into_iter().map(warning).collect();
                self.begin(Job { kind, spec, swap: Some(Swap { reply, fresh, warnings }) });
            }
            Err(failure) => {
                tracing::warn!("swap refused: {failure}");
                reply.into_iter().for_each(|reply| reply.send(Answer::Error(failure.clone())));
            }
        }
    }

    fn prepare(&self, asked: Option<&Path>) -> Result<(Kind, SpawnSpec, Config), Failure> {
        if self.stop.is_some() {
            return Err(Failure::new(Code::Unavailable, "the supervisor is about to stop"));
        }
        match &self.job {
            Some(Job { swap: Some(_), .. }) => return Err(handoff::Error::Busy.into()),
            Some(_) => return Err(Failure::new(Code::Busy, "the daemon is being started; try again")),
            None => {}
        }
        let fresh = self.load()?;
        let spec = fresh.checked_spec(fresh.allowed_binary(asked)?)?;
        // With no daemon there is nobody to replace, but a good build is the way out of a crash loop.
        let kind = if self.daemon.child().is_some() { Kind::Handoff } else { Kind::ColdStart };
        Ok((kind, spec, fresh))
    }

    fn load(&self) -> Result<Config, Failure> {
        Config::load(&self.path).map_err(|problems| config::failure(&self.path, &problems))
    }

    fn begin(&mut self, job: Job) {
        tracing::info!(binary = %job.binary().display(), "{:?}", job.kind);
        let started = job.start(&self.supervisor, &self.outbox);
        self.job = Some(job);
        if let Err(error) = started {
            self.finish(Err(system("can't start a thread", &error)));
        }
    }

    /// The job has ended: draws the consequences, then answers, so that who has the answer may ask again.
    fn finish(&mut self, result: Result<HandoffOutcome, Failure>) {
        let Some(job) = self.job.take() else { return };
        let binary = job.binary();
        log_result(&binary, &result);
        let Job { kind, swap, .. } = job;
        let (reply, fresh, warnings) = match swap {
            Some(Swap { reply, fresh, warnings }) => (reply, Some(fresh), warnings),
            None => (None, None, Vec::new()),
        };
        let asked = fresh.is_some();
        let answer = match result {
            Ok(outcome) => {
                let report = SwapReport::new(&outcome, binary.clone(), warnings);
                self.settle(kind, binary, outcome, fresh);
                self.last_swap =
                    if asked { Some((Instant::now(), report.clone())) } else { self.last_swap.take() };
                Answer::Swap(report)
            }
            Err(failure) => {
                self.settle_failed(kind, asked);
                Answer::Error(failure)
            }
        };
        reply.into_iter().for_each(|reply| reply.send(answer.clone()));
        if self.stop.is_some() {
            self.terminate();
        }
    }

    fn settle(&mut self, kind: Kind, binary: PathBuf, outcome: HandoffOutcome, fresh: Option<Config>) {
        let asked = fresh.is_some();
        match (outcome.verdict, outcome.child) {
            (Verdict::Committed, Some(child)) => {
                self.committed = true;
                self.daemon.commit(child, binary, asked);
                if let Some(fresh) = fresh {
                    self.daemon.set_backoff(Backoff::new(fresh.restart_min, fresh.restart_max));
                    self.config = self.config.clone().updated(fresh);
                }
            }
            (Verdict::NobodyServes, _) if kind == Kind::Handoff => self.daemon.start_now(),
            _ => self.settle_failed(kind, asked),
        }
    }

    /// Nothing has changed: who served before does so still, and if nobody did, that is tried again.
    fn settle_failed(&mut self, kind: Kind, asked: bool) {
        if kind == Kind::ColdStart {
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
        if self.job.is_some() {
            self.supervisor.cancel_handle().cancel();
        } else {
            self.terminate();
        }
    }

    fn terminate(&mut self) {
        log_errors("terminate", self.daemon.children().map(Child::terminate));
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
            reply.send(Answer::Status(StatusReport { answer, silence, ..report }));
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
        }
    }

    fn activity(&self) -> Activity {
        match (&self.stop, &self.job, self.daemon.start_at()) {
            (Some(_), _, _) => Activity::Stopping,
            (None, Some(Job { swap: Some(_), .. }), _) => Activity::Swapping,
            (None, Some(_), _) => Activity::Starting,
            (None, None, Some(_)) => Activity::BackingOff,
            (None, None, None) => Activity::Watching,
        }
    }
}

fn log_result(binary: &Path, result: &Result<HandoffOutcome, Failure>) {
    let binary = binary.display();
    match result {
        Ok(outcome) => {
            for warning in &outcome.warnings {
                tracing::warn!("{warning}");
            }
            let (verdict, total) = (outcome.verdict, outcome.phases.total);
            let id = outcome.handoff_id;
            let reason = outcome.abort_reason.as_deref().unwrap_or("");
            if verdict == Verdict::Committed {
                tracing::info!(%binary, handoff = %id, ?total, "committed");
            } else {
                tracing::error!(%binary, handoff = %id, ?total, reason, "{verdict:?}");
            }
        }
        Err(failure) => tracing::error!(%binary, code = ?failure.code, "{failure}"),
    }
}

fn log_errors(what: &str, results: impl Iterator<Item = handoff::Result<()>>) {
    for error in results.filter_map(Result::err) {
        tracing::warn!("{what}: {error}");
    }
}
