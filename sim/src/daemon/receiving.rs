//! A successor's end of the link over which connections pass: takes them in, and touches none before it serves.
use handoff::carry::{ConnectionState, Incoming, Item, Taken, Token};
use handoff::connections::Conduct;

use crate::kernel::{LengthOf, PassingPiece, Side};
use crate::plan::Planted;
use crate::program::OwnByteConn;
use crate::trace::Happened;
use crate::world::{Doing, LastHolder, SimulatedWorld, Surroundings};

use super::carrying::StepOutcome;

impl<S: Surroundings> SimulatedWorld<S> {
    /// A link is one of connections from here on: the incumbent waits to be told so.
    pub(crate) fn begins_to_receive(&mut self, pid: u32, id: u64) {
        let Some(link) = self.kernel.links.get(&id) else { return };
        let (from, is_open) = (link.pid(Side::Supervisor), link.is_open(Side::Supervisor));
        if !is_open || !self.carries(pid) || self.kernel.passing.sent_to(pid).is_some() {
            return self.kernel.close_link(id, Side::Daemon);
        }
        self.kernel.links.remove(&id);
        self.kernel.passing.begins(id, from, pid);
        self.answers_item(pid, &Item::Received(0));
    }

    /// A successor takes in what it notices.
    pub(crate) fn receives_conns(&mut self, pid: u32) {
        let now = self.kernel.now;
        while self.kernel.runs(pid) {
            let link = self.kernel.passing.sent_to(pid);
            let next = link.and_then(|link| PassingPiece::next_of(&mut link.down, now));
            let Some(piece) = next else { return };
            self.takes_piece(pid, piece);
        }
    }

    fn takes_piece(&mut self, pid: u32, piece: PassingPiece) {
        let now = self.kernel.now;
        let has_room =
            self.kernel.processes.get(&pid).is_some_and(|process| process.no_descriptors_until <= now);
        let came = if has_room { piece.descriptors.len() } else { 0 };
        for id in piece.descriptors {
            match has_room {
                true => self.kernel.bytes.arrives(pid, id),
                false => self.loses_descriptor(pid, id, LastHolder::GivesUp),
            }
        }
        let Ok(item) = Item::decode(&piece.bytes[4..]) else {
            return self.gives_conns_up(pid, "not an item");
        };
        let is_end = matches!(item, Item::End(_));
        let Some(daemon) = self.daemon_mut(pid) else { return };
        let answer = match daemon.carrying.incoming.take(item, came) {
            Ok(Taken::Keep(tokens, answer)) => {
                daemon
                    .carrying
                    .arrived
                    .extend(tokens.into_iter().map(|token| (token, ConnectionState::default())));
                answer
            }
            Ok(Taken::Close(tokens, answer)) => {
                tokens.iter().for_each(|token| _ = daemon.carrying.arrived.remove(token));
                tokens.into_iter().for_each(|id| self.closes_conn(pid, id, LastHolder::GivesUp));
                answer
            }
            Ok(Taken::State(token, state)) => return self.keeps_state(pid, token, &state),
            Ok(Taken::Answer(answer)) => answer,
            Ok(Taken::Nothing) => return,
            Err(fault) => return self.gives_conns_up(pid, &fault.to_string()),
        };
        self.answers_item(pid, &answer);
        if is_end && self.planted == Planted::SuccessorReadsEarly {
            self.adopts_conns(pid);
        }
    }

    fn keeps_state(&mut self, pid: u32, token: Token, state: &[u8]) {
        let Some(state) = ConnectionState::decode(state) else {
            return self.gives_conns_up(pid, "a state in a layout that is unknown here");
        };
        if let Some(daemon) = self.daemon_mut(pid) {
            daemon.carrying.arrived.insert(token, state);
        }
    }

    /// Gives up connections because what has come makes no sense: the incumbent hears of it, and keeps its
    /// connections.
    fn gives_conns_up(&mut self, pid: u32, why: &str) {
        self.answers_item(pid, &Item::Refused(why.into()));
        self.forgets_conns(pid, LastHolder::GivesUp);
    }

    /// Closes what has come, and the link.
    fn forgets_conns(&mut self, pid: u32, why: LastHolder) {
        let Some(daemon) = self.daemon_mut(pid) else { return };
        daemon.carrying.incoming = Incoming::default();
        let arrived = std::mem::take(&mut daemon.carrying.arrived);
        arrived.into_keys().for_each(|id| self.closes_conn(pid, id, why));
        let unread = self.kernel.passing.receiver_closes(pid);
        unread.into_iter().for_each(|id| self.loses_descriptor(pid, id, why));
    }

    /// A successor serves, takes in all that was sent, and goes on with it if it counts; else closes it.
    pub(super) fn adopts_conns(&mut self, pid: u32) -> StepOutcome {
        // What was sent is in the link, whether it was noticed or not.
        while let Some(piece) = self.kernel.passing.sent_to(pid).and_then(|link| link.down.pop_front()) {
            self.takes_piece(pid, piece);
        }
        let adoption = self.daemon(pid).and_then(|daemon| daemon.carrying.incoming.adoption());
        if let Some(item) = adoption {
            self.answers_item(pid, &item);
            let arrived = self.daemon_mut(pid).map(|daemon| std::mem::take(&mut daemon.carrying.arrived));
            let arrived = arrived.unwrap_or_default();
            let count = arrived.len();
            self.note(Some(pid), || Happened::Note(format!("goes on with {count} connections")));
            arrived.into_iter().for_each(|(id, state)| self.goes_on_with(pid, id, state));
        }
        self.forgets_conns(pid, LastHolder::Serves);
        self.reads_bytes(pid);
        StepOutcome::Done
    }

    fn goes_on_with(&mut self, pid: u32, id: Token, state: ConnectionState) {
        let conduct = Conduct::new(self.kernel.time(), self.plan.times.patience());
        self.shows(pid, Doing::ReadsBytes(id));
        let own = OwnByteConn::new(state, conduct);
        if let Some(daemon) = self.daemon_mut(pid) {
            daemon.bytes.own.insert(id, own);
        }
    }

    fn answers_item(&mut self, pid: u32, item: &Item) {
        let at = self.kernel.now + self.kernel.length(pid, LengthOf::Wire);
        let Some(link) = self.kernel.passing.sent_to(pid).filter(|link| link.from_open) else { return };
        let Ok(bytes) = item.encode() else { return };
        let from = link.from;
        link.up.push_back(PassingPiece { at, bytes, descriptors: Vec::new() });
        self.kernel.poke(from, at);
    }

    /// A descriptor that lay in a link is closed.
    pub(super) fn loses_descriptor(&mut self, pid: u32, id: u64, why: LastHolder) {
        if self.kernel.bytes.is_lost(id) {
            self.byte_conn_has_ended(pid, id, why);
        }
    }
}
