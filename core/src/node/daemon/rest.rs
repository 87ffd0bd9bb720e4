//! The rest that a daemon's node keeps besides its machine: its links, the status that is asked for.
use alloc::{format, vec::Vec};

use super::{Os, StateSnapshot};
use crate::{
    machine::LinkId,
    message::Message,
    node::{Credentials, Read},
    time::Time,
};

/// The largest number of links that a daemon keeps besides the one it was born with.
pub const MOST_LINKS: usize = 32;

/// A link that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct OpenLink {
    id: LinkId,
    /// The process at its other end, if the system tells; unknown of the link that this process was born with.
    pid: Option<u32>,
    /// `true` if the process was born with it.
    inherited: bool,
    /// `true` if a message has come over it.
    has_spoken: bool,
}

/// All of a daemon's node but the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rest {
    /// The oldest first.
    links: Vec<OpenLink>,
    /// Hooks that have begun and have not returned.
    pub(super) running: u32,
    /// The state that was shown last, for a status while a hook runs.
    pub(super) snapshot: StateSnapshot,
    /// The links that wait for a status.
    pub(super) asked: Vec<LinkId>,
    pub(super) accept_again: Option<Time>,
    pub(super) has_left: bool,
}

impl Rest {
    /// Of a daemon that is about to start; `inherited` is the link that it was born with.
    pub(super) fn new(inherited: Option<LinkId>) -> Rest {
        let link = |id| OpenLink { id, pid: None, inherited: true, has_spoken: true };
        Rest {
            links: inherited.map(link).into_iter().collect(),
            running: 0,
            snapshot: StateSnapshot::default(),
            asked: Vec::new(),
            accept_again: None,
            has_left: false,
        }
    }

    /// The links that are open, the oldest first.
    pub(super) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.links.iter().map(|link| link.id)
    }

    pub(super) fn read<O: Os>(&mut self, os: &mut O, id: LinkId) -> Read {
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else { return Read::Nothing };
        let read = os.read(id);
        match &read {
            Read::Message(_) => link.has_spoken = true,
            Read::Closed(_) => self.forget(id),
            Read::Nothing => {}
        }
        read
    }

    /// The process at the other end of a link, if it is known.
    pub(super) fn pid_at(&self, id: LinkId) -> Option<u32> {
        self.links.iter().find(|link| link.id == id)?.pid
    }

    pub(super) fn forget(&mut self, id: LinkId) {
        self.links.retain(|link| link.id != id);
        self.asked.retain(|link| *link != id);
    }

    /// Keeps a connection, if its peer may speak here. `session` is not made room of, nor is the link that the process was born
    /// with; links over which nothing has come go first, so that a flood of connections displaces no peer that speaks.
    pub(super) fn admit<O: Os>(
        &mut self,
        os: &mut O,
        id: LinkId,
        peer: Credentials,
        session: Option<LinkId>,
    ) -> bool {
        if !peer.may_speak_to(os.uid()) {
            let error = format!("uid {} is not allowed here", peer.uid).into();
            os.send(id, &Message::Refused { error });
            os.close(id);
            return false;
        }
        if self.links.len() >= MOST_LINKS {
            let spare = self.links.iter().filter(|link| !link.inherited && Some(link.id) != session);
            let oldest = spare.min_by_key(|link| link.has_spoken).map(|link| link.id);
            oldest.into_iter().for_each(|oldest| {
                os.close(oldest);
                self.forget(oldest);
            });
        }
        self.links.push(OpenLink { id, pid: peer.pid, inherited: false, has_spoken: false });
        true
    }
}
