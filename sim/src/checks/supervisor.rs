//! The rules of a handoff's supervisor: which peer is given up, which is told what, and what is reported.
use std::fmt;

use handoff::message::MessageName;

use handoff::machine::Reason;
use handoff::machine::supervisor::{HandoffVerdict, Outcome, Peer};

use super::{View, served_when_heard, serves};

/// A handoff, or a cold start, as its supervisor's host sees it.
#[derive(Clone, Debug)]
pub(crate) struct SeenHandoff {
    pub supervisor: u32,
    pub incumbent: SeenParty,
    pub successor: SeenParty,
    /// `true` if its deadline has passed.
    pub late: bool,
    /// `true` if it has passed once more since the successor was told to serve.
    pub overdue: bool,
    /// `true` if it was called off before anything was decided.
    pub called_off: bool,
    /// `true` if it began with one process that serves and nothing else, and no fault has happened since.
    pub must_commit: bool,
    /// `true` if its clock is wrong: it takes for silence what is none.
    pub misjudges_time: bool,
    /// `true` if the successor has said that it can't.
    pub heard_failed: bool,
    /// `true` if there is a journal, and it is this supervisor's.
    pub has_journal: bool,
    /// `true` if something was noted, whether or not it could be written.
    pub has_noted: bool,
    /// `true` if the last write of the journal has failed.
    pub journal_failed: bool,
}

/// The view of one of the two processes, as the supervisor knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeenParty {
    pub pid: Option<u32>,
    /// `true` if the supervisor was told of its end.
    pub ended: bool,
    pub killed: bool,
    /// `true` if a link to it has both ends open, and nothing that is on its way says otherwise.
    pub linked: bool,
    /// `true` if the supervisor's end of a link to it is open.
    pub open: bool,
    /// `true` if the supervisor was told that there is no link, or none any more; its host may have seen that
    /// before.
    pub lost: bool,
    /// `true` if the supervisor has made it part of the handoff.
    pub acked: bool,
    /// `true` if it was told, last of all, that its predecessor has ended.
    pub told_final: bool,
}

/// The way in which a peer is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivesUp {
    Kills,
    /// By a word, which this is the name of.
    Says(MessageName),
}

impl fmt::Display for GivesUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GivesUp::Kills => f.write_str("kills"),
            GivesUp::Says(word) => write!(f, "says {word} to"),
        }
    }
}

impl SeenHandoff {
    fn party(&self, peer: Peer) -> &SeenParty {
        match peer {
            Peer::Incumbent => &self.incumbent,
            Peer::Successor => &self.successor,
        }
    }
}

impl SeenParty {
    /// The process that may be there still, as far as the supervisor knows.
    fn untold(&self) -> Option<u32> {
        self.pid.filter(|_| !self.ended)
    }

    fn lives(&self, view: &impl View) -> bool {
        self.pid.is_some_and(|pid| view.daemon(pid).is_some())
    }
}

/// Checks that the supervisor gives up, by a word or a kill, no peer that serves and can be talked to, nor
/// the last one that it knows of.
pub(crate) fn gives_up(view: &impl View, handoff: &SeenHandoff, peer: Peer, how: GivesUp) -> Option<String> {
    let (it, other) = match peer {
        Peer::Incumbent => (&handoff.incumbent, &handoff.successor),
        Peer::Successor => (&handoff.successor, &handoff.incumbent),
    };
    let pid = it.pid?;
    let daemon = view.daemon(pid)?;
    let name = view.name(pid);
    let well = daemon.is_well() && it.linked && !handoff.misjudges_time;
    // What was called off is wanted no more: a cold start, or one that was not there yet.
    let unwanted = handoff.called_off && (handoff.incumbent.pid.is_none() || !it.acked);
    let excused = daemon.is_suspect || daemon.is_unfit || handoff.late || unwanted || view.is_stop_wanted();
    let last = !excused && other.untold().is_none();
    // The last word of one that is about to end can't be told from one that lives.
    let dying = other.pid.and_then(|other| view.daemon(other)).is_some_and(|other| other.is_dying());
    let heard = !daemon.is_suspect && !dying && !last && !handoff.overdue;
    let committed = peer == Peer::Successor && daemon.told_to_commit && heard;
    let alone = peer == Peer::Incumbent && how == GivesUp::Kills && !could_serve(view, other);
    match () {
        () if well && committed && other.untold().is_some() && how == GivesUp::Kills => {
            Some(format!("the supervisor kills {name}, which was told to commit and is heard"))
        }
        () if alone => Some(format!("the supervisor kills {name}, and has nobody to put in its place")),
        () if well && daemon.accepts && !dying && !daemon.lags => {
            Some(format!("the supervisor {how} {name}, which serves"))
        }
        () if well && last => Some(format!("the supervisor {how} {name}, the last one")),
        () => None,
    }
}

/// Returns whether a successor serves, or was told to, or can be told to.
fn could_serve(view: &impl View, successor: &SeenParty) -> bool {
    let daemon = successor.pid.and_then(|pid| view.daemon(pid));
    successor.acked && !successor.lost || daemon.is_some_and(|it| it.accepts || it.told_to_commit)
}

/// Checks that a successor that was told to begin has been seen to end when the incumbent is told to resume.
pub(crate) fn resumes(view: &impl View, handoff: &SeenHandoff) -> Option<String> {
    let pid = handoff.successor.untold()?;
    let begun = view.daemon(pid).is_some_and(|daemon| daemon.told_to_begin);
    let name = view.name(pid);
    begun.then(|| {
        format!("the incumbent is told to resume, though {name} was told to begin and has not ended")
    })
}

/// Checks that the successor was not killed before it is told to commit.
pub(crate) fn commits(handoff: &SeenHandoff) -> Option<String> {
    let killed = handoff.successor.killed;
    killed.then(|| "the supervisor lets a successor serve that it has killed".into())
}

/// Checks that an incumbent that was killed for the successor's sake has been seen to end when the successor
/// is told to begin.
pub(crate) fn begins(view: &impl View, handoff: &SeenHandoff) -> Option<String> {
    let pid = handoff.incumbent.untold().filter(|_| handoff.incumbent.killed)?;
    let name = view.name(pid);
    Some(format!("the successor is told to begin, though {name} was killed and has not been seen to end"))
}

/// Checks, when a daemon is told that it may make what its predecessor can't undo, that a supervisor that
/// comes anew would start what it was started from.
pub(crate) fn finalizes(view: &impl View, pid: u32) -> Option<String> {
    let journal = view.journal();
    let running = journal.running.as_ref().map(|running| running.process.pid);
    let known = running == Some(pid) && view.starts(&journal, pid);
    let name = view.name(pid);
    (!known).then(|| {
        format!("{name} is told that its predecessor has ended, and the journal doesn't know {name}")
    })
}

/// Checks that what the supervisor reports is so, but for an end that it can't have heard of.
pub(crate) fn reports(view: &impl View, handoff: &SeenHandoff, outcome: &Outcome) -> Option<String> {
    let verdict = outcome.verdict;
    let (incumbent, successor) = (&handoff.incumbent, &handoff.successor);
    let so = match verdict {
        HandoffVerdict::Committed => serves_or_did(view, handoff, successor) && !incumbent.lives(view),
        HandoffVerdict::RolledBack | HandoffVerdict::FellBack => {
            serves_or_did(view, handoff, incumbent) && !successor.lives(view)
        }
        // Of the two. A successor that an earlier supervisor left behind may serve: recovery asks for it.
        HandoffVerdict::NobodyServes => !incumbent.lives(view) && !successor.lives(view),
        // The incumbent; or a daemon that another supervisor has started answers in its place.
        HandoffVerdict::Unconfirmed => {
            let stranger = |pid: u32| ![incumbent.pid, successor.pid].contains(&Some(pid));
            !incumbent.ended || view.answers_at_path().is_some_and(stranger)
        }
        HandoffVerdict::Busy | HandoffVerdict::Unreachable | HandoffVerdict::Cancelled => {
            !successor.lives(view)
        }
    };
    let committed = verdict == HandoffVerdict::Committed;
    // One that has got the lock by itself was not let.
    let was_let = successor.pid.and_then(|pid| view.daemon(pid)).is_some_and(|it| it.told_to_begin);
    match () {
        () if !so => Some(format!("the supervisor reports {verdict:?}, which is not so")),
        // But for one whose incumbent has ended: no other process is left.
        () if handoff.called_off && committed && !outcome.incumbent_ended_early && was_let => {
            Some("the supervisor was called off, and reports Committed".into())
        }
        () if handoff.must_commit && !committed => Some(format!(
            "nothing went wrong, but the supervisor reports {verdict:?}: {}",
            outcome.reason.as_ref().map(ToString::to_string).unwrap_or_default()
        )),
        () => what_is_missing(view, handoff, outcome),
    }
}

fn serves_or_did(view: &impl View, handoff: &SeenHandoff, party: &SeenParty) -> bool {
    party.pid.is_some_and(|pid| {
        serves(view, pid)
            || served_when_heard(view, pid, !party.ended)
            || view.is_replaced_by_another(handoff.supervisor, pid)
    })
}

/// Returns what is missing of what belongs to a verdict: a reason, what the journal says, the last word to a
/// successor.
fn what_is_missing(view: &impl View, handoff: &SeenHandoff, outcome: &Outcome) -> Option<String> {
    let verdict = outcome.verdict;
    let is_written = outcome.journal_error.is_none();
    let successor = &handoff.successor;
    match () {
        () if !is_reason(handoff, outcome) => {
            Some(format!("the supervisor reports {verdict:?} because {:?}", outcome.reason))
        }
        () if is_written && handoff.journal_failed => {
            Some("the journal could not be written, and the supervisor does not say so".into())
        }
        () if is_written && handoff.has_journal && !is_noted(view, handoff, verdict) => {
            Some(format!("the supervisor reports {verdict:?}, and the journal says otherwise"))
        }
        // If there is a link.
        () if is_written
            && verdict == HandoffVerdict::Committed
            && successor.open
            && successor.acked
            && !successor.told_final =>
        {
            Some("the supervisor reports Committed, and its successor is not told so".into())
        }
        () => None,
    }
}

/// A supervisor that does not commit says why; what it has done itself is no reason, nor that a successor has ended which has said
/// why.
fn is_reason(handoff: &SeenHandoff, outcome: &Outcome) -> bool {
    match &outcome.reason {
        None => outcome.verdict == HandoffVerdict::Committed,
        Some(Reason::Ended(Peer::Successor, _)) if handoff.heard_failed => false,
        Some(Reason::Ended(peer, _)) => !handoff.party(*peer).killed,
        Some(_) => true,
    }
}

/// Returns whether the journal says which process serves, and that nothing is under way.
fn is_noted(view: &impl View, handoff: &SeenHandoff, verdict: HandoffVerdict) -> bool {
    let journal = view.journal();
    let running = journal.running.as_ref().map(|running| running.process.pid);
    let under_way = journal.under_way.as_ref().map(|under_way| under_way.successor.pid);
    let successor = handoff.successor.pid;
    match verdict {
        HandoffVerdict::Committed => running == successor,
        // It is still to be found out.
        HandoffVerdict::Unconfirmed => true,
        // If it came to writing at all.
        HandoffVerdict::NobodyServes if handoff.has_noted => running.is_none(),
        _ => under_way.is_none() || under_way != successor,
    }
}
