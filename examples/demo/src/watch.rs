//! The things that end the demonstration early: a signal, or its own time limit.
//!
//! The main thread blocks in what its children do, so it is woken by their end: first they are asked to, then killed,
//! and if even that does not help the whole process leaves.
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::process::{DemoProcess, kill_all_from};
use crate::progress::note;

/// The longest time that children that were asked to end may take.
const GRACE: Duration = Duration::from_secs(15);

/// The reason why the demonstration is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The signal that came.
    Signal(i32),
    /// Took longer than this.
    Limit(Duration),
}

/// The news that the watching thread is told.
enum WatchNews {
    Signal(i32),
    /// From now on there is this much time.
    Limit(Duration),
}

#[derive(Debug, Default)]
struct WatchState {
    stop: Option<Stop>,
    children: Vec<DemoProcess>,
    /// The directory whose processes are to end with the demonstration.
    dir: Option<PathBuf>,
}

/// Sees to it that the demonstration ends.
#[derive(Clone, Debug)]
pub(crate) struct DemoWatch {
    state: Arc<Mutex<WatchState>>,
    news: Sender<WatchNews>,
}

impl DemoWatch {
    /// Watches from now on, for `limit` at most.
    pub(crate) fn start(limit: Duration) -> Result<DemoWatch> {
        let (news, inbox) = channel();
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("can't handle signals")?;
        let watch = DemoWatch { state: Arc::default(), news: news.clone() };
        let relay = move || {
            for signal in signals.forever() {
                // The other end is gone only when the process is about to be.
                let _ = news.send(WatchNews::Signal(signal));
            }
        };
        Builder::new().name("signals".into()).spawn(relay).context("can't start a thread")?;
        let watching = watch.clone();
        let run = move || watching.run(limit, &inbox);
        Builder::new().name("watch".into()).spawn(run).context("can't start a thread")?;
        Ok(watch)
    }

    /// From now on there is `limit`, whatever it was.
    pub(crate) fn limit(&self, limit: Duration) {
        // As above.
        let _ = self.news.send(WatchNews::Limit(limit));
    }

    /// Kills the processes that run a program from below `dir`, if nothing else helps.
    pub(crate) fn own(&self, dir: &Path) {
        self.with(|state| state.dir = Some(dir.into()));
    }

    /// Ends `child`, too, when the time has come.
    pub(crate) fn add(&self, child: &DemoProcess) {
        let stopped = self.with(|state| {
            state.children.push(child.clone());
            state.stop
        });
        if stopped.is_some() {
            child.signal(Signal::SIGTERM);
        }
    }

    /// Returns why the demonstration is to end, if it is.
    pub(crate) fn stop(&self) -> Option<Stop> {
        self.with(|state| state.stop)
    }

    /// An error if the demonstration is to end.
    pub(crate) fn check(&self) -> Result<()> {
        match self.stop() {
            None => Ok(()),
            Some(Stop::Signal(signal)) => {
                let name = Signal::try_from(signal).map_or("a signal", Signal::as_str);
                bail!("interrupted by {name}")
            }
            Some(Stop::Limit(limit)) => bail!("not done after {} s", limit.as_secs()),
        }
    }

    fn run(&self, limit: Duration, news: &Receiver<WatchNews>) {
        let stop = first_stop(limit, news);
        let children = self.with(|state| {
            state.stop = Some(stop);
            state.children.clone()
        });
        // A second signal is from a user that does not want to wait.
        for how in [Signal::SIGTERM, Signal::SIGKILL] {
            children.iter().for_each(|child| child.signal(how));
            let _ = news.recv_timeout(GRACE);
        }
        self.with(|state| state.dir.as_deref().map(kill_all_from));
        note("handoff-demo: can't end in order");
        std::process::exit(1);
    }

    fn with<T>(&self, work: impl FnOnce(&mut WatchState) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn first_stop(mut limit: Duration, news: &Receiver<WatchNews>) -> Stop {
    let mut until = Instant::now() + limit;
    loop {
        match news.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(WatchNews::Signal(signal)) => return Stop::Signal(signal),
            Ok(WatchNews::Limit(new)) => (limit, until) = (new, Instant::now() + new),
            Err(_) => return Stop::Limit(limit),
        }
    }
}
