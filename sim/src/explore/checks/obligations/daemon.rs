//! The duties of incumbents and successors in a turn.
use handoff::machine::supervisor::Peer;
use handoff::machine::{DaemonEvent, EffectName, ExitReason, LinkId, Timer};
use handoff::message::{Message, MessageName};
use handoff::record::Record;

use crate::explore::model::watch::Observer;
use crate::explore::model::{DaemonMachine, Model, ModelDaemon, ModelEnd, ModelLink, is_stray};

/// The messages that a daemon that is free to act begins with at once.
const ASKS_OF_A_DAEMON: [MessageName; 8] = [
    MessageName::PrepareHandoff,
    MessageName::SealRequest,
    MessageName::Begin,
    MessageName::Commit,
    MessageName::Retire,
    MessageName::Final,
    MessageName::ResumeAfterAbort,
    MessageName::Abort,
];

/// The messages that came to a daemon, and its state then.
pub(in crate::explore) struct DaemonObligations {
    pid: u32,
    came: CameToDaemon,
    /// `true` if a hook runs, or an answer is awaited: what it is told takes effect later.
    busy: bool,
    /// `true` if it accepts connections.
    accepts: bool,
    /// But can't take the control path, and tries again.
    tries: bool,
    /// `true` if it holds the lock, and the control path is its own.
    locked: bool,
    named: bool,
    /// And is not about to free it.
    keeps_lock: bool,
    /// `true` if it was told already that its predecessor has ended.
    finalized: bool,
    /// `true` if it is between a drain and its return to service, or in another handoff: this supervisor has
    /// to come later.
    taken: bool,
    /// `true` if it was told to come back while a hook ran, and not to stop.
    told_to_resume: bool,
}

enum CameToDaemon {
    Connected(LinkId),
    /// A message, whether said for the first time or repeated by a heartbeat.
    Frame {
        over: LinkId,
        what: MessageName,
        repeated: bool,
    },
    /// The message belongs to another handoff.
    Stray {
        over: LinkId,
    },
    /// Its drain or seal has returned, or its record of it is written.
    Back,
    /// Its warm-up has returned, or its open.
    Prepared,
    Beat,
    Closed,
    Stop,
    Else,
}

impl CameToDaemon {
    fn is_over(&self, link: LinkId) -> bool {
        matches!(self, CameToDaemon::Frame { over, .. } if *over == link)
    }
}

impl DaemonObligations {
    pub(in crate::explore) fn new<D>(
        model: &Model,
        pid: u32,
        event: &DaemonEvent<D>,
        watch: &Observer<'_>,
    ) -> DaemonObligations {
        let came = match event {
            DaemonEvent::Connected(link) => CameToDaemon::Connected(*link),
            DaemonEvent::Frame(over, Message::Heartbeat { repeats: Some(message), .. }) => {
                CameToDaemon::Frame { over: *over, what: message.name(), repeated: true }
            }
            DaemonEvent::Frame(over, message) if is_stray(message) => CameToDaemon::Stray { over: *over },
            DaemonEvent::Frame(over, message) => {
                CameToDaemon::Frame { over: *over, what: message.name(), repeated: false }
            }
            DaemonEvent::Timer(Timer::Heartbeat) => CameToDaemon::Beat,
            DaemonEvent::HookDone(..) | DaemonEvent::Recorded(..) if watch.left_service => CameToDaemon::Back,
            DaemonEvent::Closed(_) => CameToDaemon::Closed,
            DaemonEvent::HookDone(..) if watch.prepared => CameToDaemon::Prepared,
            DaemonEvent::Stop => CameToDaemon::Stop,
            _ => CameToDaemon::Else,
        };
        let process = model.processes.get(&pid);
        let accepts = process.is_some_and(|process| process.accepts);
        DaemonObligations {
            pid,
            busy: process.is_some_and(ModelDaemon::is_busy),
            accepts,
            tries: process.is_some_and(|process| process.timers().is_armed(Timer::Retry)),
            locked: model.lock == Some(pid),
            named: model.path == Some(pid),
            keeps_lock: model.lock == Some(pid) && process.is_some_and(|process| !process.seals()),
            finalized: process.is_some_and(|process| process.finalized),
            taken: is_taken(model, pid, &came),
            told_to_resume: process.is_some_and(|process| process.told_to_resume)
                && model.signalled != Some(pid),
            came,
        }
    }

    /// Returns what had to be done and was not.
    pub(in crate::explore) fn settle(&self, model: &Model, watch: &Observer<'_>) -> Option<String> {
        let process = model.processes.get(&self.pid)?;
        if let Some(exit) = &process.exited {
            return leaves(model, self.pid, exit, watch);
        }
        let what = self.is_deaf(model, watch).or_else(|| self.goes_on(model, process, watch));
        what.map(|what| format!("{} {what}", self.pid))
            .or_else(|| self.breaks_off(watch))
            .or_else(|| self.idles(model, watch))
            .or_else(|| self.drains_unasked(model, watch))
            .or_else(|| falls_silent(model, self.pid, process))
            .or_else(|| stays(model, process, self.pid, watch))
    }

    /// Checks that what was said to the daemon is answered, or done.
    fn is_deaf(&self, model: &Model, watch: &Observer<'_>) -> Option<String> {
        let (over, asks) = match self.came {
            CameToDaemon::Connected(link) => (link, None),
            CameToDaemon::Frame { over, what, .. } => (over, Some(what)),
            _ => return None,
        };
        let sent = |name: MessageName| watch.sent.iter().any(|(to, what)| *to == over && *what == name);
        let Some(asks) = asks else {
            let deaf = "is connected to, and says nothing";
            return (!sent(MessageName::Hello)).then(|| deaf.into());
        };
        let deaf = match asks {
            MessageName::StandingQuery if !sent(MessageName::StandingReport) => {
                "is asked where it stands, and does not answer"
            }
            MessageName::ListenersQuery if !sent(MessageName::Listeners) => {
                "is asked for its listening sockets, and does not answer"
            }
            MessageName::HelloAck if self.taken && !sent(MessageName::Busy) => {
                "is in a handoff, and does not tell another supervisor so"
            }
            _ if self.is_no_business(model, asks) && !sent(MessageName::Refused) => {
                "is told what is for one that is in a handoff, and does not refuse"
            }
            _ if self.is_free_to(model, asks) && !obeys(asks, watch) => {
                return Some(format!("is told {asks}, and does nothing"));
            }
            _ => return None,
        };
        Some(deaf.into())
    }

    /// Checks that what has happened makes a difference to the daemon.
    fn goes_on(&self, model: &Model, process: &ModelDaemon, watch: &Observer<'_>) -> Option<String> {
        let asks_for = |effects: &[EffectName]| watch.asked_for(effects);
        let linked = is_linked(model, self.pid);
        let wrong = match self.came {
            CameToDaemon::Back if self.told_to_resume && !comes_back(process, watch) => {
                "was told to come back, and goes on"
            }
            CameToDaemon::Back if self.keeps_quiet(model, watch) => {
                "has a hook that failed, and does not say so"
            }
            CameToDaemon::Prepared if process.told_to_leave => "was told to leave, and goes on",
            CameToDaemon::Prepared
                if process.heard_begin
                    && !asks_for(&[
                        EffectName::Lock,
                        EffectName::Send(MessageName::Ready),
                        EffectName::TakePath,
                        EffectName::Exit,
                    ]) =>
            {
                "was told to begin, and does not"
            }
            CameToDaemon::Prepared | CameToDaemon::Frame { what: MessageName::Begin, .. }
                if self.waits_for_ever(model, process, watch) =>
            {
                "is told to begin, and would wait for the lock for ever"
            }
            CameToDaemon::Beat
                if linked && !watch.sent.iter().any(|(_, what)| *what == MessageName::Heartbeat) =>
            {
                "says no heartbeat when it is due"
            }
            CameToDaemon::Closed if !linked && process.timers().is_armed(Timer::Heartbeat) => {
                "has no link to a supervisor any more, and goes on with its heartbeats"
            }
            CameToDaemon::Stop if !self.busy && self.is_settled() && !watch.did_something() => {
                "is told to stop, and does nothing"
            }
            _ => return None,
        };
        Some(wrong.into())
    }

    /// Returns whether it has begun to try for a lock that another has, and no timer would end that.
    fn waits_for_ever(&self, model: &Model, process: &ModelDaemon, watch: &Observer<'_>) -> bool {
        let tries = watch.asked_for(&[EffectName::Lock]) && model.lock != Some(self.pid);
        tries && process.heard_begin && !process.timers().is_armed(Timer::Patience)
    }

    /// Its drain or seal has failed, and its supervisor is not told; a daemon that stops on purpose has nothing to say.
    fn keeps_quiet(&self, model: &Model, watch: &Observer<'_>) -> bool {
        let said = |name: MessageName| watch.sent.iter().any(|(_, what)| *what == name);
        let is_obliged = watch.obliged.is_some_and(|name| !said(name));
        is_obliged && has_supervisor(model, self.pid) && model.signalled != Some(self.pid)
    }

    /// Returns whether it is told what only an incumbent in the sender's handoff would do.
    fn is_no_business(&self, model: &Model, asks: MessageName) -> bool {
        let its = |link: &ModelLink| {
            self.came.is_over(link.id) && link.end == ModelEnd::Supervisor(Peer::Incumbent) && !link.joined
        };
        let command = matches!(
            asks,
            MessageName::PrepareHandoff
                | MessageName::SealRequest
                | MessageName::Retire
                | MessageName::ResumeAfterAbort
        );
        command && model.links.iter().any(its)
    }

    /// Returns whether it has nothing else to do first, and has not done it already, while its supervisor was
    /// silent.
    fn is_free_to(&self, model: &Model, asks: MessageName) -> bool {
        // A successor is a supervisor's own from the start.
        let its = |link: &ModelLink| {
            link.joined || link.end == ModelEnd::Supervisor(Peer::Successor) && asks == MessageName::Abort
        };
        let its = |link: &ModelLink| link.pid == self.pid && its(link) && self.came.is_over(link.id);
        let done = match asks {
            MessageName::Final => self.finalized || !self.keeps_lock,
            // It is on its way, and says so when it is there.
            MessageName::ResumeAfterAbort => self.tries && (self.accepts || self.told_to_resume),
            MessageName::SealRequest => self.tries && self.accepts,
            MessageName::Begin => model.lock == Some(self.pid),
            MessageName::Commit | MessageName::Abort => model.path == Some(self.pid),
            _ => false,
        };
        // What was heard is repeated until something else is said.
        let heard =
            matches!(self.came, CameToDaemon::Frame { repeated: true, .. }) && asks != MessageName::Abort;
        // That its predecessor has ended concerns nothing else that it does.
        let busy = self.busy && asks != MessageName::Final;
        !busy && !done && !heard && model.links.iter().any(its) && ASKS_OF_A_DAEMON.contains(&asks)
    }

    /// Returns whether it is where it can turn to its end at once: not about to take the control path, again
    /// and again.
    fn is_settled(&self) -> bool {
        !self.locked || !self.accepts || !self.tries
    }

    /// A daemon that has got the lock writes down that it has, or gives it back; one that has got the control path, that it serves.
    fn idles(&self, model: &Model, watch: &Observer<'_>) -> Option<String> {
        let got_lock = !self.locked && model.lock == Some(self.pid);
        let got_path = !self.named && model.path == Some(self.pid);
        let idles = (got_lock || got_path) && !watch.asked_for(&[EffectName::WriteRecord]);
        let what = if got_lock { "lock" } else { "control path" };
        idles.then(|| format!("{} has got the {what}, and does nothing with it", self.pid))
    }

    /// Complains of a drain that no supervisor has asked for, in a process that was not told to stop.
    fn drains_unasked(&self, model: &Model, watch: &Observer<'_>) -> Option<String> {
        let asked = matches!(self.came, CameToDaemon::Frame { what: MessageName::PrepareHandoff, .. });
        let unasked =
            watch.asked_for(&[EffectName::StartDrain]) && !asked && model.signalled != Some(self.pid);
        unasked.then(|| format!("{} drains, and nobody has asked it to", self.pid))
    }

    /// A daemon that closes a link on a supervisor that has just spoken says why, and one that says why closes it.
    fn breaks_off(&self, watch: &Observer<'_>) -> Option<String> {
        let (link, must) = match self.came {
            CameToDaemon::Frame { over, .. } => (over, false),
            CameToDaemon::Stray { over } => (over, true),
            _ => return None,
        };
        let told = watch
            .sent
            .iter()
            .any(|(to, what)| *to == link && matches!(*what, MessageName::Busy | MessageName::Refused));
        let closed = watch.closed.contains(&link);
        match (told, closed) {
            (false, _) if must => {
                Some(format!("{} is told what belongs to another handoff, and takes it", self.pid))
            }
            (false, true) => Some(format!("{} closes a link without a word", self.pid)),
            (true, false) => Some(format!("{} turns somebody away, and keeps the link", self.pid)),
            (true, true) | (false, false) => None,
        }
    }
}

fn is_taken(model: &Model, pid: u32, came: &CameToDaemon) -> bool {
    let Some(process) = model.processes.get(&pid) else { return false };
    let other = |link: &ModelLink| {
        link.pid == pid
            && link.end == ModelEnd::Supervisor(Peer::Incumbent)
            && Some(link.handoff_id) != process.handoff
    };
    let its = |link: &ModelLink| {
        link.pid == pid && link.joined && link.daemon_open && Some(link.handoff_id) == process.handoff
    };
    let in_service = process.accepts && model.path == Some(pid) && !process.is_busy();
    let asks = model.links.iter().any(|link| came.is_over(link.id) && other(link));
    asks && (!in_service || model.links.iter().any(its))
}

fn obeys(asks: MessageName, watch: &Observer<'_>) -> bool {
    match asks {
        MessageName::Abort => watch.asked_for(&[EffectName::Exit]),
        _ => watch.did_something(),
    }
}

/// Returns whether the daemon does what follows if it was told to come back meanwhile: the record is written,
/// or has been, and it serves again.
fn comes_back(process: &ModelDaemon, watch: &Observer<'_>) -> bool {
    !process.pending.is_empty()
        || watch.asked_for(&[EffectName::StartResume, EffectName::Lock, EffectName::Exit])
}

/// A successor has a link to its supervisor from the start.
fn is_linked(model: &Model, pid: u32) -> bool {
    let its = |link: &ModelLink| link.joined || link.end == ModelEnd::Supervisor(Peer::Successor);
    model.links.iter().any(|link| link.pid == pid && its(link) && link.daemon_open)
}

/// Returns whether there is a supervisor that it has heard of, and could tell that it lives.
fn has_supervisor(model: &Model, pid: u32) -> bool {
    let open = |link: &ModelLink| {
        link.pid == pid && link.joined && link.daemon_open && link.supervisor_open && !link.reset
    };
    model.links.iter().any(open)
}

/// A daemon that has a supervisor says heartbeats.
fn falls_silent(model: &Model, pid: u32, process: &ModelDaemon) -> Option<String> {
    let silent = has_supervisor(model, pid) && !process.timers().is_armed(Timer::Heartbeat);
    silent.then(|| format!("{pid} has a supervisor, and will say no heartbeats"))
}

/// A daemon that was told to retire or to stop, and finds that another has the lock, leaves at once.
fn stays(model: &Model, process: &ModelDaemon, pid: u32, watch: &Observer<'_>) -> Option<String> {
    let told = process.told_to_retire || process.told_to_leave || model.signalled == Some(pid);
    let stays = watch.found_busy && told;
    stays.then(|| format!("{pid} is told to leave, finds that another has the lock, and stays"))
}

/// A daemon that leaves by itself has freed the lock: a process that it has forked may have it as well. And a successor that can't
/// serve has said so.
fn leaves(model: &Model, pid: u32, exit: &ExitReason, watch: &Observer<'_>) -> Option<String> {
    if model.lock == Some(pid) && *exit != ExitReason::HookLimit {
        return Some(format!("{pid} leaves ({exit:?}) with the lock"));
    }
    if watch.obliged.is_some() && model.signalled != Some(pid) {
        return Some(format!("{pid} leaves ({exit:?}) over a drain or seal that failed"));
    }
    let process = model.processes.get(&pid)?;
    let serves = |record: &Record| record.serving && record.holder.pid != pid;
    let succeeded = process.told_to_retire || model.record.as_ref().is_some_and(serves);
    if watch.found_busy && *exit == ExitReason::Retired && !succeeded {
        return Some(format!("{pid} leaves ({exit:?}), and nobody has said that another serves"));
    }
    let DaemonMachine::Successor(_) = process.daemon else { return None };
    let failed = matches!(exit, ExitReason::Failed(_)) && has_supervisor(model, pid);
    let said = watch.sent.iter().any(|(_, what)| *what == MessageName::Failed);
    (failed && !said).then(|| format!("{pid} leaves ({exit:?}) without a word"))
}
