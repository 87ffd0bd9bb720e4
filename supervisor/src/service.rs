//! The news for a service manager, by the protocol of `sd_notify(3)`: that the daemon serves, that it is
//! being replaced, what is under way and how long that may take, that the loop still turns. The manager also
//! keeps the listening sockets over a restart of the service.
//!
//! [`ServiceState`] is what there is to tell, and [`ServiceManager`] tells what has changed since. A send waits where the manager does not
//! read, so a thread of its own does it, and what finds no room is told again later.
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use handoff::Listeners;
use sd_notify::NotifyState;

mod state;

pub(crate) use state::{ServicePhase, ServiceState};

/// The messages that may wait for the manager.
const WAITING_MAX: usize = 64;

/// The extra time that the manager's limit gets at once, from then on, and again before that is over.
const EXTENSION: Duration = Duration::from_secs(10);

/// After so long, what found no room is told again.
const AGAIN: Duration = Duration::from_secs(1);

/// A message: its lines, and the listener that goes along.
type Notification = (Vec<String>, Option<OwnedFd>);

/// The service manager that has started this process, if one has.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager {
    /// To the thread that sends; `None` without a manager.
    outbox: Option<SyncSender<Notification>>,
    /// The state that the manager was told last.
    told: Option<ServiceState>,
    /// To be told again and again that the loop turns.
    watchdog: Option<Repeated>,
    /// To be asked again and again for more time.
    extension: Option<Repeated>,
    /// `true` if something found no room, and is to be told again.
    is_behind: bool,
    /// The listeners that it keeps: the name, and the socket's inode.
    kept: BTreeMap<String, u64>,
}

/// The message that is sent at once, and after each pause.
#[derive(Debug)]
struct Repeated {
    pause: Duration,
    next: Instant,
}

impl Repeated {
    fn every(pause: Duration) -> Repeated {
        Repeated { pause, next: Instant::now() }
    }

    fn is_due(&self) -> bool {
        self.next <= Instant::now()
    }
}

impl ServiceManager {
    /// Finds the manager, by the variables of `sd_notify(3)` and `sd_watchdog_enabled(3)`.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn from_env() -> io::Result<ServiceManager> {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(ServiceManager::default());
        }
        let (outbox, messages) = sync_channel(WAITING_MAX);
        thread::Builder::new().name("notify".into()).spawn(move || sends(&messages))?;
        // Twice as often as the manager wants it, as `sd_watchdog_enabled(3)` advises.
        let watchdog = sd_notify::watchdog_enabled().map(|limit| Repeated::every(limit / 2));
        Ok(ServiceManager { outbox: Some(outbox), watchdog, ..ServiceManager::default() })
    }

    /// Returns whether there is a manager.
    pub(crate) fn is_there(&self) -> bool {
        self.outbox.is_some()
    }

    /// Tells what has changed, and that the loop turns. The manager keeps `listeners`, if they are known, and no others.
    pub(crate) fn tell(&mut self, state: ServiceState, listeners: Option<Listeners>) {
        if !self.is_there() {
            return;
        }
        self.is_behind = false;
        listeners.into_iter().for_each(|listeners| self.keep(listeners));
        self.extension = match self.extension.take() {
            _ if !state.takes_time => None,
            None => Some(Repeated::every(EXTENSION / 2)),
            asked => asked,
        };
        let lines = state.news(self.told.as_ref());
        if lines.is_empty() || self.post(lines, None) {
            self.told = Some(state);
        }
        let more = NotifyState::ExtendTimeoutUsec(EXTENSION.as_micros() as u32);
        let repeated = [(&self.extension, more), (&self.watchdog, NotifyState::Watchdog)];
        let due =
            repeated.into_iter().filter(|(repeated, _)| repeated.as_ref().is_some_and(Repeated::is_due));
        let states: Vec<String> = due.map(|(_, state)| state.to_string()).collect();
        if !states.is_empty() {
            // Where there is no room, the manager does not listen: the loop must not turn for that.
            self.post(states, None);
            for repeated in self.repeated_mut().filter(|repeated| repeated.is_due()) {
                repeated.next = Instant::now() + repeated.pause;
            }
        }
    }

    /// The manager has asked for a reload, which may come to nothing: that it is over is told next.
    pub(crate) fn reload_is_asked(&mut self) {
        if let Some(told) = &mut self.told
            && self.outbox.is_some()
        {
            let reloading = told.reloading();
            let lines = reloading.news(Some(told));
            if self.post(lines, None) {
                self.told = Some(reloading);
            }
        }
    }

    /// The time until the manager must be told something again; `None` if nothing changes by itself.
    pub(crate) fn wake_in(&self) -> Option<Duration> {
        let repeated = self.watchdog.iter().chain(&self.extension);
        let due = repeated.map(|repeated| repeated.next.saturating_duration_since(Instant::now()));
        due.chain(self.is_behind.then_some(AGAIN)).min()
    }

    fn repeated_mut(&mut self) -> impl Iterator<Item = &mut Repeated> {
        self.watchdog.iter_mut().chain(&mut self.extension)
    }

    /// Has the manager keep `listeners`, and no others. It passes them to the next process of this service, so that clients wait
    /// in the sockets' queues meanwhile.
    fn keep(&mut self, listeners: Listeners) {
        let wanted: BTreeMap<String, (u64, OwnedFd)> = listeners
            .into_entries()
            .into_iter()
            .filter_map(|(name, listener)| Some((name, (inode(&listener)?, listener))))
            .collect();
        let is_wanted =
            |(name, inode): &(&String, &u64)| wanted.get(*name).is_some_and(|(is, _)| is == *inode);
        let stale: Vec<String> =
            self.kept.iter().filter(|kept| !is_wanted(kept)).map(|(name, _)| name.clone()).collect();
        for name in stale {
            if self.post(lines(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]), None) {
                self.kept.remove(&name);
            }
        }
        for (name, (inode, listener)) in wanted {
            let message = lines(&[NotifyState::FdStore, NotifyState::FdName(&name)]);
            if !self.kept.contains_key(&name) && self.post(message, Some(listener)) {
                self.kept.insert(name, inode);
            }
        }
    }

    /// Passes a message on. `false` if there is no room.
    fn post(&mut self, lines: Vec<String>, listener: Option<OwnedFd>) -> bool {
        let is_sent = self.outbox.as_ref().is_some_and(|outbox| outbox.try_send((lines, listener)).is_ok());
        self.is_behind |= !is_sent;
        is_sent
    }
}

fn lines(states: &[NotifyState<'_>]) -> Vec<String> {
    states.iter().map(ToString::to_string).collect()
}

fn inode(socket: &OwnedFd) -> Option<u64> {
    File::from(socket.try_clone().ok()?).metadata().ok().map(|metadata| metadata.ino())
}

/// Sends what comes, as long as the loop lives.
fn sends(messages: &Receiver<Notification>) {
    for (lines, listener) in messages {
        let states: Vec<_> = lines.iter().map(|line| NotifyState::Custom(line)).collect();
        let sent = match &listener {
            Some(listener) => sd_notify::notify_with_fds(&states, &[listener.as_fd()]),
            None => sd_notify::notify(&states),
        };
        if let Err(error) = sent {
            tracing::debug!("the service manager does not hear: {error}");
        }
    }
}
