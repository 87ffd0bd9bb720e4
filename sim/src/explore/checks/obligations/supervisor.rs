//! The duties of the supervisor of a handoff, in a turn.
use handoff::machine::supervisor::{Event, HandoffVerdict, Note, Peer};
use handoff::machine::{EffectName, Machine, Timer};
use handoff::message::{Message, MessageName};

use crate::explore::model::watch::Observer;
use crate::explore::model::{Model, ModelEnd, ModelLink, ModelSupervisor, id, is_stray};

/// The messages that came to the supervisor, and its state then.
pub(in crate::explore) struct SupervisorObligations {
    came: CameToSupervisor,
    /// `true` if an answer is awaited first.
    busy: bool,
    /// `true` if it has written that the handoff is under way, or tried to.
    journalled: bool,
}

enum CameToSupervisor {
    /// A message, whether said for the first time or repeated by a heartbeat.
    Frame {
        from: Peer,
        what: MessageName,
        repeated: bool,
    },
    /// The message belongs to another handoff.
    Stray(Peer),
    Closed(Peer),
    Ended(Peer),
    NoConnection,
    NoSuccessor,
    /// Nothing was heard of the incumbent for too long, or the time is over.
    Silent,
    Late,
    Cancel,
    Beat,
    Else,
}

impl SupervisorObligations {
    pub(in crate::explore) fn new(model: &Model, event: &Event) -> SupervisorObligations {
        let came = match event {
            Event::Frame(from, Message::Heartbeat { repeats: Some(message), .. }) => {
                CameToSupervisor::Frame { from: *from, what: message.name(), repeated: true }
            }
            Event::Frame(from, message) if is_stray(message) => CameToSupervisor::Stray(*from),
            Event::Frame(from, message) => {
                CameToSupervisor::Frame { from: *from, what: message.name(), repeated: false }
            }
            Event::Closed(peer, _) => CameToSupervisor::Closed(*peer),
            Event::Ended(peer, _) => CameToSupervisor::Ended(*peer),
            Event::ConnectFailed(_) => CameToSupervisor::NoConnection,
            Event::Spawned(Err(_)) => CameToSupervisor::NoSuccessor,
            Event::Cancel(_) => CameToSupervisor::Cancel,
            Event::Timer(Timer::Heartbeat) => CameToSupervisor::Beat,
            Event::Timer(Timer::IncumbentSilent) => CameToSupervisor::Silent,
            Event::Timer(Timer::Deadline) => CameToSupervisor::Late,
            _ => CameToSupervisor::Else,
        };
        let supervisor = model.supervisor.as_ref();
        let under_way = |supervisor: &ModelSupervisor| {
            supervisor
                .knows
                .under_way
                .as_ref()
                .is_some_and(|known| Some(known.successor) == supervisor.successor.map(id))
        };
        SupervisorObligations {
            came,
            busy: supervisor.is_some_and(|supervisor| !supervisor.pending.is_empty()),
            journalled: supervisor.is_some_and(under_way)
                || matches!(event, Event::Persisted(Note::Over(_), _)),
        }
    }

    /// Returns what had to be done and was not.
    pub(in crate::explore) fn settle(&self, model: &Model, watch: &Observer<'_>) -> Option<String> {
        let supervisor = model.supervisor.as_ref()?;
        if supervisor.machine.is_done() {
            let Some(outcome) = &supervisor.outcome else {
                return Some("the supervisor is done, and reports nothing".into());
            };
            let noted = watch.persisted.last().filter(|note| matches!(note, Note::Over(_)));
            let other = noted.filter(|note| **note != Note::Over(outcome.verdict));
            return other
                .map(|note| format!("the supervisor writes {note:?}, and reports {:?}", outcome.verdict));
        }
        let sees = Sees { model, supervisor };
        if self.writes_too_much(watch) {
            return Some("the supervisor writes that a handoff is over which it has not written of".into());
        }
        let what = match self.came {
            CameToSupervisor::Beat => return beats(model, watch),
            CameToSupervisor::Frame { from, what, repeated } => {
                let refused =
                    if what == MessageName::Refused { self.gives_up(&sees, from, watch) } else { None };
                return self
                    .hears(&sees, from, what, repeated, watch)
                    .or(refused)
                    .or_else(|| stops_short(&sees, watch));
            }
            CameToSupervisor::Stray(from) => {
                let keeps = sees.link(from, |link| link.supervisor_open)
                    || !watch.said.contains(&(from, MessageName::Refused));
                let wrong = || format!("the supervisor hears of another handoff from {from:?}, and takes it");
                return keeps.then(wrong).or_else(|| self.gives_up(&sees, from, watch));
            }
            _ if self.busy || watch.did_something() || supervisor.machine.timers().is_armed(Timer::Retry) => {
                None
            }
            CameToSupervisor::Cancel => sees.could_cancel().then_some("is called off"),
            CameToSupervisor::NoSuccessor => Some("can't start a successor"),
            CameToSupervisor::Silent if sees.depends_on_the_incumbent() => {
                Some("hears nothing of the incumbent")
            }
            CameToSupervisor::Late if !sees.waits_for_an_end() && !sees.has_succeeded() => {
                Some("sees the deadline pass")
            }
            CameToSupervisor::Ended(Peer::Incumbent) if sees.could_begin() => Some("sees the incumbent end"),
            // Before there is a successor, all depends on the incumbent.
            _ if supervisor.successor.is_some() => None,
            CameToSupervisor::NoConnection => Some("can't connect to the incumbent"),
            CameToSupervisor::Closed(Peer::Incumbent) => Some("has lost the incumbent"),
            CameToSupervisor::Ended(Peer::Incumbent) => Some("sees the incumbent end"),
            _ => None,
        };
        what.map(|what| format!("the supervisor {what}, and does nothing"))
            .or_else(|| stops_short(&sees, watch))
    }

    /// Returns whether it writes what it must not: that a handoff is over which was never written to be under
    /// way, or was committed, which has a note of its own.
    fn writes_too_much(&self, watch: &Observer<'_>) -> bool {
        let noted = self.journalled || watch.persisted.contains(&Note::UnderWay);
        watch.persisted.iter().any(|note| match note {
            Note::Over(verdict) => !noted || *verdict == HandoffVerdict::Committed,
            Note::UnderWay | Note::Committed => false,
        })
    }

    /// The link to the incumbent is at its end: while all depends on that one, it is connected to again.
    fn gives_up(&self, sees: &Sees<'_>, from: Peer, watch: &Observer<'_>) -> Option<String> {
        let begun =
            sees.said(Peer::Successor, &[MessageName::Begin, MessageName::Commit, MessageName::Abort]);
        let depends =
            from == Peer::Incumbent && sees.supervisor.successor.is_some() && !begun && !sees.gone_back();
        let tries = watch.asked_for(&[EffectName::Connect, EffectName::KillSuccessor])
            || sees.supervisor.wants_connect
            || sees.supervisor.machine.timers().is_armed(Timer::Retry);
        (depends && !tries && !self.busy)
            .then(|| "the supervisor gives up its link to the incumbent, and does not connect again".into())
    }

    fn hears(
        &self,
        sees: &Sees<'_>,
        from: Peer,
        what: MessageName,
        repeated: bool,
        watch: &Observer<'_>,
    ) -> Option<String> {
        let says = |name: MessageName| watch.said.contains(&(from, name));
        let keeps = sees.link(from, |link| link.supervisor_open);
        let deaf = !repeated && !self.busy && sees.matters(from, what) && !watch.did_something();
        let greeted = match repeated {
            false => what == MessageName::Hello && !self.busy && sees.matters(from, what),
            true => what == MessageName::Hello && sees.link(from, |link| link.supervisor_open && link.acked),
        };
        match () {
            () if deaf => Some(format!("the supervisor hears {what} from {from:?}, and does nothing")),
            () if greeted && !says(MessageName::HelloAck) => {
                Some(format!("the supervisor is greeted by {from:?}, and does not answer"))
            }
            () if what == MessageName::Refused && keeps => {
                Some(format!("the supervisor is refused by {from:?}, and keeps the link"))
            }
            () if is_anothers_to_say(from, what) && (keeps || !says(MessageName::Refused)) => {
                Some(format!("the supervisor hears {what} from {from:?}, and takes it"))
            }
            () => None,
        }
    }
}

/// Only the other of the two says that.
pub(in crate::explore) fn is_anothers_to_say(from: Peer, what: MessageName) -> bool {
    match from {
        Peer::Incumbent => matches!(
            what,
            MessageName::Warmed | MessageName::Ready | MessageName::Failed | MessageName::Serving
        ),
        Peer::Successor => {
            matches!(
                what,
                MessageName::Drained
                    | MessageName::DrainFailed
                    | MessageName::SealProgress
                    | MessageName::SealComplete
                    | MessageName::SealFailed
                    | MessageName::Resumed
                    | MessageName::Busy
            )
        }
    }
}

/// Checks that what the supervisor writes is not the end of it: after "committed" the incumbent is retired,
/// after "over" it reports.
fn stops_short(sees: &Sees<'_>, watch: &Observer<'_>) -> Option<String> {
    let note = *watch.persisted.last()?;
    let retires = watch.said.contains(&(Peer::Incumbent, MessageName::Retire));
    let short = match note {
        Note::UnderWay => false,
        Note::Committed => {
            let on =
                !sees.gone_back() && sees.link(Peer::Incumbent, |link| link.supervisor_open && link.acked);
            on && !retires
        }
        Note::Over(_) => sees.supervisor.pending.is_empty(),
    };
    short.then(|| format!("the supervisor has written {note:?}, and does nothing more"))
}

/// Checks that all that are part of the handoff hear a heartbeat when one is due.
fn beats(model: &Model, watch: &Observer<'_>) -> Option<String> {
    let is_missed = |peer: &Peer| {
        let link =
            |link: &ModelLink| link.end == ModelEnd::Supervisor(*peer) && link.supervisor_open && link.acked;
        model.links.iter().any(link) && !watch.said.contains(&(*peer, MessageName::Heartbeat))
    };
    let peer = [Peer::Incumbent, Peer::Successor].into_iter().find(is_missed)?;
    Some(format!("the supervisor says no heartbeat to the {peer:?} when it is due"))
}

/// A handoff that is under way, as it can be seen from outside.
struct Sees<'a> {
    model: &'a Model,
    supervisor: &'a ModelSupervisor,
}

impl Sees<'_> {
    fn link(&self, peer: Peer, is: impl Fn(&ModelLink) -> bool) -> bool {
        self.model.links.iter().any(|link| link.end == ModelEnd::Supervisor(peer) && is(link))
    }

    fn pid(&self, peer: Peer) -> Option<u32> {
        match peer {
            Peer::Incumbent => self.supervisor.incumbent,
            Peer::Successor => self.supervisor.successor,
        }
    }

    fn said(&self, to: Peer, names: &[MessageName]) -> bool {
        self.link(to, |link| link.said.is_some_and(|said| names.contains(&said)))
    }

    /// Returns whether it has given the successor up, or turned to the incumbent again.
    fn gone_back(&self) -> bool {
        self.said(Peer::Incumbent, &[MessageName::ResumeAfterAbort])
            || self.successor_leaves()
            || !self.supervisor.killed.is_empty()
            || self.successor_has_ended()
    }

    /// Returns whether it has ended, or was told to; or it was stopped, and may be taken for one that hangs.
    fn successor_leaves(&self) -> bool {
        let leaves = |pid: u32| self.model.processes.get(&pid).is_none_or(|process| process.suspect);
        self.supervisor.successor.is_some_and(leaves)
    }

    fn successor_has_ended(&self) -> bool {
        self.supervisor.successor.is_some_and(|pid| self.supervisor.told.contains(&pid))
    }

    /// Returns whether a peer was killed, or told to leave, and has not been seen to end.
    fn waits_for_an_end(&self) -> bool {
        let killed = |peer: Peer, pid: Option<u32>| {
            self.supervisor.killed.contains(&peer)
                && pid.is_some_and(|pid| !self.supervisor.told.contains(&pid))
        };
        self.successor_leaves() && !self.successor_has_ended()
            || killed(Peer::Incumbent, self.supervisor.incumbent)
            || killed(Peer::Successor, self.supervisor.successor)
    }

    /// Returns whether no other process is left to serve, or the incumbent was asked to.
    fn depends_on_the_incumbent(&self) -> bool {
        let asked = self.said(Peer::Incumbent, &[MessageName::ResumeAfterAbort]);
        !self.waits_for_an_end() && (asked || self.successor_has_ended())
    }

    /// Returns whether the successor serves; what is still to come has a limit of its own.
    fn has_succeeded(&self) -> bool {
        self.supervisor.has_committed() && !self.successor_has_ended()
    }

    /// Returns whether there is a successor that can be told to take over, and has not been.
    fn could_begin(&self) -> bool {
        let linked = self.link(Peer::Successor, |link| link.supervisor_open && link.acked);
        let told = self.said(
            Peer::Successor,
            &[MessageName::Begin, MessageName::Commit, MessageName::Abort, MessageName::Final],
        );
        linked && !told && !self.successor_has_ended() && self.supervisor.killed.is_empty()
    }

    /// Returns whether nothing is decided yet, and there is an incumbent to go back to.
    fn could_cancel(&self) -> bool {
        let decided = self.said(Peer::Successor, &[MessageName::Commit])
            || self.said(Peer::Incumbent, &[MessageName::Retire]);
        let linked = self.supervisor.successor.is_none()
            || self.link(Peer::Incumbent, |link| link.supervisor_open && link.acked);
        !decided && !self.gone_back() && linked && !self.supervisor.incumbent_has_ended()
    }

    /// A peer that is not well may have been given up, and then it matters no more what it says.
    fn is_well(&self, peer: Peer, what: MessageName) -> bool {
        let pid = self.pid(peer);
        let lives = |pid| self.model.processes.get(&pid).is_some_and(|process| process.is_well());
        let linked = |link: &ModelLink| {
            link.supervisor_open
                && link.daemon_open
                && !link.reset
                && (link.joined || what == MessageName::Hello)
        };
        pid.is_none_or(lives) && (pid.is_none() || self.link(peer, linked))
    }

    /// A peer that says something for the first time is heard, unless it does not matter any more.
    fn matters(&self, from: Peer, what: MessageName) -> bool {
        let all_well = self.is_well(Peer::Incumbent, what) && self.is_well(Peer::Successor, what);
        let elsewhere = self.said(Peer::Incumbent, &[MessageName::ResumeAfterAbort])
            || self.said(Peer::Successor, &[MessageName::Abort])
            || self.supervisor.late
            || self.supervisor.cancelled;
        // It was there before the incumbent's word was.
        let ahead = self.said(Peer::Successor, &[MessageName::Commit])
            || self.said(Peer::Incumbent, &[MessageName::Retire]);
        let begun =
            self.said(Peer::Successor, &[MessageName::Begin, MessageName::Commit, MessageName::Abort]);
        let ended = |pid: &u32| self.supervisor.told.contains(pid);
        let killed = self.supervisor.killed.contains(&Peer::Successor);
        let known = self.pid(from);
        match what {
            MessageName::Ready => {
                let first = !self.said(Peer::Successor, &[MessageName::Commit, MessageName::Abort]);
                first && !killed && self.is_well(Peer::Successor, what)
            }
            // That of a stop has no place in it.
            MessageName::SealFailed if !self.said(Peer::Incumbent, &[MessageName::SealRequest]) => false,
            // It is the successor, which has the control path by now, and says so over its own link.
            MessageName::Hello if self.link(from, |link| Some(link.pid) != known) => false,
            MessageName::Hello
            | MessageName::Warmed
            | MessageName::Drained
            | MessageName::DrainFailed
            | MessageName::SealComplete
            | MessageName::SealFailed
            | MessageName::Failed
            | MessageName::Serving => all_well && !elsewhere && !(ahead && from == Peer::Incumbent),
            MessageName::Busy => {
                !begun && !killed && self.supervisor.successor.is_some_and(|pid| !ended(&pid))
            }
            MessageName::Resumed => self.supervisor.successor.as_ref().is_none_or(ended),
            _ => false,
        }
    }
}
