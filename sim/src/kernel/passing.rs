//! Links over which connections pass from a process to another: bytes both ways, and descriptors beside those of one way.
//!
//! What was sent is in the link at once, and stays there though its sender has died: a Unix socket does not lose it. A process takes
//! notice of it a while later.
use std::collections::{BTreeMap, VecDeque};

use super::Micros;

/// The piece that was sent at once: the time at which the receiver notices it, the bytes, and the connections
/// whose descriptors lie beside.
#[derive(Debug)]
pub(crate) struct PassingPiece {
    pub at: Micros,
    pub bytes: Vec<u8>,
    pub descriptors: Vec<u64>,
}

impl PassingPiece {
    /// The next of `pieces`, if it is noticed by `now`.
    pub(crate) fn next_of(pieces: &mut VecDeque<PassingPiece>, now: Micros) -> Option<PassingPiece> {
        pieces.front().filter(|piece| piece.at <= now)?;
        pieces.pop_front()
    }
}

/// A link.
#[derive(Debug)]
pub(crate) struct PassingLink {
    /// The process that has connections.
    pub from: u32,
    /// The process that is to have them.
    pub to: u32,
    pub down: VecDeque<PassingPiece>,
    pub up: VecDeque<PassingPiece>,
    pub from_open: bool,
    pub to_open: bool,
    /// All was handed over, and that was not revoked.
    pub is_ended: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct PassingLinks {
    pub all: BTreeMap<u64, PassingLink>,
}

impl PassingLinks {
    /// The link `id` of `to`, to which `from` has connected, is one of connections from here on.
    pub(crate) fn begins(&mut self, id: u64, from: u32, to: u32) {
        let (down, up) = (VecDeque::new(), VecDeque::new());
        let link = PassingLink { from, to, down, up, from_open: true, to_open: true, is_ended: false };
        self.all.insert(id, link);
    }

    /// The link over which `pid` sends connections.
    pub(crate) fn sent_by(&mut self, pid: u32) -> Option<&mut PassingLink> {
        self.all.values_mut().find(|link| link.from == pid && link.from_open)
    }

    /// The link over which `pid` receives them.
    pub(crate) fn sent_to(&mut self, pid: u32) -> Option<&mut PassingLink> {
        self.all.values_mut().find(|link| link.to == pid && link.to_open)
    }

    /// Returns the time at which `pid` notices what it was sent, and, if it waits for that, what it is
    /// answered.
    pub(crate) fn next_notice(&self, pid: u32, waits: bool) -> Option<Micros> {
        let next = |link: &PassingLink| {
            let to = link.down.front().filter(|_| link.to == pid && link.to_open);
            let from = link.up.front().filter(|_| waits && link.from == pid && link.from_open);
            to.into_iter().chain(from).map(|piece| piece.at).min()
        };
        self.all.values().filter_map(next).min()
    }

    /// `pid` closes its end of the link over which it sends. What it has sent stays.
    pub(crate) fn sender_closes(&mut self, pid: u32) {
        if let Some(link) = self.sent_by(pid) {
            link.from_open = false;
            link.up.clear();
        }
        self.forget();
    }

    /// `pid` closes its end of the link over which it receives. The connections whose descriptors lay unread in it.
    pub(crate) fn receiver_closes(&mut self, pid: u32) -> Vec<u64> {
        let Some(link) = self.sent_to(pid) else { return Vec::new() };
        link.to_open = false;
        let unread = std::mem::take(&mut link.down);
        self.forget();
        unread.into_iter().flat_map(|piece| piece.descriptors).collect()
    }

    fn forget(&mut self) {
        self.all.retain(|_, link| link.from_open || link.to_open);
    }
}
