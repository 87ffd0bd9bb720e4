//! The facts that a daemon knows of its connections with bytes.
use std::collections::BTreeMap;

use handoff::carry::ConnectionState;
use handoff::connections::{Conduct, RequestPhase};
use handoff::time::Time;

use super::numbered::{NumberedReply, NumberedRequest};

/// A daemon's connections with bytes.
#[derive(Debug, Default)]
pub(crate) struct ByteService {
    /// `true` if the daemon accepts and reads.
    pub reads: bool,
    /// `true` if what it has is kept for another process, or until it goes on.
    pub kept: bool,
    pub own: BTreeMap<u64, OwnByteConn>,
}

/// A connection, as the daemon knows it that has accepted it.
#[derive(Debug)]
pub(crate) struct OwnByteConn {
    /// The state of the connection: what was read and not acted on, what could not be sent, and how many
    /// requests were answered.
    pub state: ConnectionState,
    pub conduct: Conduct,
}

impl OwnByteConn {
    /// A connection of which `state` is known: with something to act on or to send, it is in the middle of a request.
    pub(crate) fn new(state: ConnectionState, mut conduct: Conduct) -> OwnByteConn {
        conduct.take_up(!state.input.is_empty() || !state.output.is_empty());
        OwnByteConn { state, conduct }
    }

    /// The request that was read next, if it was read to its end.
    pub(crate) fn request(&mut self) -> Option<NumberedRequest> {
        let request = self.state.input.first_chunk().map(NumberedRequest::decode);
        if request.is_some() {
            self.state.input.drain(..NumberedRequest::SIZE);
        }
        self.state.awaits_more = self.state.input.len() < NumberedRequest::SIZE;
        request
    }

    /// Answers a request.
    pub(crate) fn replies(&mut self, number: u32, value: Option<u64>) {
        let before = self.state.session.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        self.state.session = (before + 1).to_le_bytes().to_vec();
        self.state.output.extend(NumberedReply { number, before, value }.encode());
    }
}

/// Returns whether a drain ends a connection at once: no request is begun, and none is owed the time to come.
pub(crate) fn is_idle(conduct: &Conduct, now: Time) -> bool {
    conduct.phase() != RequestPhase::Request && conduct.first_request_in(now).is_zero()
}
