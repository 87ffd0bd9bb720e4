//! A handoff, or a cold start, that a supervisor has under way.
use handoff::machine::supervisor::{Note, Peer};
use handoff::message::Message;
use handoff::node::handoff as node;
use handoff::{HandoffId, HostError, ProcessId};

/// A handoff that is under way, as the kernel and the checks see it.
pub(crate) struct HandoffTask {
    /// `None` while it takes a turn.
    pub node: Option<node::HandoffNode>,
    pub handoff_id: HandoffId,
    pub build: u32,
    pub replace: bool,
    pub incumbent: Party,
    pub successor: Party,
    /// `true` if its deadline has passed.
    pub late: bool,
    /// `true` if it has passed once more since the successor was told to serve.
    pub overdue: bool,
    /// `true` if the successor was told to serve, or the incumbent to leave, or it was asked to be written
    /// that the successor serves.
    pub decided: bool,
    /// `true` if it was called off before.
    pub called_off: bool,
    pub heard_failed: bool,
    /// The outcome of the last write of the journal, if one was.
    pub wrote: Option<bool>,
    /// The number of times that something had gone wrong by then, if nothing was wrong: if it is not more, it
    /// must commit.
    pub calm: Option<u64>,
}

/// A peer, as the kernel sees it.
#[derive(Debug, Default)]
pub(crate) struct Party {
    pub link: Option<u64>,
    /// Its process is watched.
    pub process: Option<ProcessId>,
    /// `true` if the supervisor has seen its end.
    pub seen_to_end: bool,
    pub killed: bool,
    /// `true` if there is a link to it, as far as the supervisor was told.
    pub linked: bool,
    /// `true` if the supervisor has made it part of the handoff.
    pub acked: bool,
    pub told_to_commit: bool,
    pub told_final: bool,
}

impl Party {
    pub(crate) fn is_linked(&mut self, link: u64) {
        (self.link, self.linked) = (Some(link), true);
    }
}

impl HandoffTask {
    pub(crate) fn party(&self, peer: Peer) -> &Party {
        match peer {
            Peer::Incumbent => &self.incumbent,
            Peer::Successor => &self.successor,
        }
    }

    pub(crate) fn party_mut(&mut self, peer: Peer) -> &mut Party {
        match peer {
            Peer::Incumbent => &mut self.incumbent,
            Peer::Successor => &mut self.successor,
        }
    }

    pub(crate) fn successor(&self) -> Option<u32> {
        self.successor.process.map(|process| process.pid)
    }

    pub(crate) fn incumbent(&self) -> Option<u32> {
        self.incumbent.process.map(|process| process.pid)
    }

    /// The link over which it talks to a peer.
    pub(crate) fn link(&self, peer: Peer) -> Option<u64> {
        self.party(peer).link
    }

    /// Notes what it says.
    pub(crate) fn says(&mut self, to: Peer, message: &Message) {
        self.decided |= matches!(message, Message::Commit { .. } | Message::Retire { .. });
        let party = self.party_mut(to);
        party.acked |= matches!(message, Message::HelloAck(_));
        party.told_to_commit |= matches!(message, Message::Commit { .. });
        party.told_final |= matches!(message, Message::Final { .. });
    }

    /// Notes what it hears, for the first time or again.
    pub(crate) fn hears(&mut self, from: Peer, message: &Message) {
        match message {
            Message::Heartbeat { repeats: Some(message), .. } => self.hears(from, message),
            Message::Failed { .. } => self.heard_failed |= from == Peer::Successor,
            _ => {}
        }
    }

    /// Notes what it asks to be written.
    pub(crate) fn notes(&mut self, note: Note) {
        self.decided |= note == Note::Committed;
    }

    /// Notes whether it could be.
    pub(crate) fn wrote(&mut self, result: &Result<(), HostError>) {
        self.wrote = Some(result.is_ok());
    }
}
