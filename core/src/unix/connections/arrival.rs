//! Connections that another process has accepted, before this one serves them.
use std::fmt;
use std::sync::Arc;

use super::ConnId;
use super::entry::Entry;
use super::pusher::Pusher;
use super::shared::Shared;

/// The function that is told of connections that arrive.
pub(super) struct Welcome(pub(super) Box<dyn Fn(&Arrival) + Send + Sync>);

impl fmt::Debug for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Welcome").finish_non_exhaustive()
    }
}

/// A connection that another process has accepted and that has a [session](super::Connection::session). Its handler is called
/// when its client speaks; what must happen before that, such as to send it what it has subscribed to, happens now.
pub struct Arrival {
    id: ConnId,
    session: Vec<u8>,
    pusher: Pusher,
}

impl Arrival {
    /// `None` if the connection has no session.
    pub(super) fn of(id: ConnId, entry: &Arc<Entry>, shared: &Arc<Shared>) -> Option<Arrival> {
        let session = entry.state().session.clone();
        (!session.is_empty()).then(|| Arrival { id, session, pusher: Pusher::new(id, entry, shared) })
    }

    /// The token that the connection has here.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Returns what the daemon of the other process knew of the client.
    pub fn session(&self) -> &[u8] {
        &self.session
    }

    /// Returns what sends to the client. Nothing is sent before the daemon serves.
    pub fn pusher(&self) -> Pusher {
        self.pusher.clone()
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("id", &self.id).finish_non_exhaustive()
    }
}
