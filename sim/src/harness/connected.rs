//! Clients that hold a connection, and number their requests: what comes of it they see byte by byte.
//!
//! A client asks for one thing; for several at once; for one and half of another, and sends the rest later; or for several, and does not
//! read for a while. Each writes and reads by turns, on a key of its own. One that finds its connection closed makes a new one,
//! on which the numbers begin again.
use std::collections::VecDeque;

use super::RunWorld;
use crate::happening::Happening;
use crate::kernel::{ByteEnd, LengthOf, Micros, Refused};
use crate::program::{NumberedReply, NumberedRequest};
use crate::trace::Happened;
use crate::world::LastHolder;

/// The factor by which a client pauses longer that does not go on with its request, or does not read, than it
/// does between two requests.
const LONG_PAUSE: u64 = 8;
/// The number of bytes of a request that are sent at first.
const HALF: usize = 7;
/// A reply may be on its way for so long.
const ON_ITS_WAY: Micros = 25_000;

/// A client that holds a connection.
#[derive(Debug, Default)]
pub(crate) struct ConnectedClient {
    conn: Option<u64>,
    /// The requests that it has made over the connection, and to which no reply has come: the oldest first.
    asked: VecDeque<AskedFor>,
    /// The number of replies that have come over it.
    answered: u32,
    /// The rest of a request.
    unsent: Vec<u8>,
    /// The beginning of a reply.
    begun: Vec<u8>,
    /// The time before which the client does not read.
    reads_again: Micros,
    /// The way in which its last connection was let go of.
    pub(super) let_go: Option<LastHolder>,
    /// The number of its connections that have ended.
    cut: u64,
    /// The number of the next of the things that it does.
    turn: u64,
    requests: u64,
    /// The last value that it has tried to write; the last that was acknowledged; what was when its daemon was last sealed.
    tried: u64,
    acknowledged: u64,
    sealed: u64,
    draws: [u32; 3],
}

/// The request that a client has made.
#[derive(Debug)]
struct AskedFor {
    /// The value that it writes; 0 if it reads.
    value: u64,
    /// The value that a read must find at least.
    floor: u64,
    /// The time at which the whole request was sent.
    sent: Micros,
}

impl ConnectedClient {
    pub(crate) fn is_sealed(&mut self) {
        self.sealed = self.acknowledged;
    }

    pub(crate) fn loses_what_was_not_sealed(&mut self) {
        self.acknowledged = self.sealed;
        self.asked.iter_mut().for_each(|asked| asked.floor = asked.floor.min(self.sealed));
    }

    /// Returns what its key may hold: at least what was acknowledged, at most what was tried.
    pub(crate) fn promised(&self) -> (u64, u64) {
        (self.acknowledged, self.tried)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    pub(crate) fn cut(&self) -> u64 {
        self.cut
    }

    /// So many requests as bytes, for the daemon at the other end.
    fn asks(&mut self, count: u32, key: u32, now: Micros) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            let number = self.answered + self.asked.len() as u32;
            let value = if number.is_multiple_of(2) { self.tried + 1 } else { 0 };
            self.tried = self.tried.max(value);
            self.asked.push_back(AskedFor { value, floor: self.acknowledged, sent: now });
            bytes.extend(NumberedRequest { number, key, value }.encode());
        }
        bytes
    }

    /// The connection is no more, and what was asked for over it is not answered any more.
    fn loses_connection(&mut self) {
        (self.conn, self.answered, self.let_go) = (None, 0, None);
        self.cut += 1;
        self.asked.clear();
        self.unsent.clear();
        self.begun.clear();
    }
}

impl RunWorld {
    pub(super) fn connected_clients_come(&mut self) {
        for client in 0..self.plan.connections as usize {
            self.around.connected.push(ConnectedClient { turn: client as u64, ..ConnectedClient::default() });
            let after = self.connected_length(client, LengthOf::Think);
            self.kernel.after(after, Happening::Connected(client));
        }
    }

    fn connected_length(&mut self, client: usize, kind: LengthOf) -> Micros {
        let nth = &mut self.around.connected[client].draws[usize::from(kind == LengthOf::Think)];
        *nth += 1;
        self.kernel.noise.length(kind, ('K' as u32) << 24 | client as u32, *nth)
    }

    /// A client does what is next: the rest of what it has begun, or something new if all was answered.
    pub(super) fn connected_goes_on(&mut self, client: usize) {
        let now = self.kernel.now;
        let rest = std::mem::take(&mut self.around.connected[client].unsent);
        if !rest.is_empty() {
            self.around.connected[client].asked.back_mut().into_iter().for_each(|asked| asked.sent = now);
            return self.connected_sends(client, rest);
        }
        if !self.around.connected[client].asked.is_empty() {
            return;
        }
        if self.around.connected[client].conn.is_none() {
            let listens = self.kernel.listener.is_open();
            let conn = if listens { self.kernel.bytes.connect(client) } else { None };
            if conn.is_none() {
                self.is_refused(if listens { Refused::QueueFull } else { Refused::NobodyListens });
                return self.comes_back(client, 1);
            }
            self.around.connected[client].conn = conn;
        }
        self.connected_asks(client);
    }

    fn connected_asks(&mut self, client: usize) {
        let key = (self.around.clients.len() + client) as u32;
        let now = self.kernel.now;
        let me = &mut self.around.connected[client];
        (me.turn, me.draws[2]) = (me.turn + 1, me.draws[2] + 1);
        let luck = self.kernel.noise.choice(4, ('K' as u32) << 24 | client as u32, me.draws[2]);
        let what = (me.turn - 1 + luck) % 4;
        let mut bytes = me.asks([1, 3, 2, 5][what as usize], key, now);
        match what {
            2 => {
                me.unsent = bytes.split_off(NumberedRequest::SIZE + HALF);
                self.comes_back(client, LONG_PAUSE);
            }
            3 => {
                let pause = LONG_PAUSE * self.connected_length(client, LengthOf::Think);
                self.around.connected[client].reads_again = now + pause;
                let conn = self.around.connected[client].conn;
                conn.into_iter().for_each(|conn| self.kernel.after(pause, Happening::BytesGo(conn)));
            }
            _ => {}
        }
        self.connected_sends(client, bytes);
    }

    fn connected_sends(&mut self, client: usize, bytes: Vec<u8>) {
        let at = self.kernel.now + self.connected_length(client, LengthOf::Request);
        let Some(conn) = self.around.connected[client].conn else { return };
        let comes = self.kernel.bytes.client_sends(conn, bytes, at);
        comes.into_iter().for_each(|at| self.kernel.at(at, Happening::BytesCome(conn)));
    }

    fn comes_back(&mut self, client: usize, pauses: u64) {
        let after = pauses * self.connected_length(client, LengthOf::Think);
        self.kernel.after(after, Happening::Connected(client));
    }

    /// Something has come to the client of a connection, which reads it unless it pauses. Then there is room for more.
    pub(super) fn bytes_go(&mut self, id: u64) {
        let now = self.kernel.now;
        let Some(client) = self.kernel.bytes.get(id).map(|conn| conn.client) else { return };
        if self.around.connected[client].reads_again > now {
            return;
        }
        let (bytes, end) = self.kernel.bytes.client_reads(id, now);
        self.around.connected[client].begun.extend(&bytes);
        while let Some(reply) = self.around.connected[client].begun.first_chunk().copied() {
            self.around.connected[client].begun.drain(..NumberedReply::SIZE);
            self.is_answered(client, NumberedReply::decode(&reply));
        }
        match end {
            Some(end) => self.finds_end(client, id, end),
            None if !bytes.is_empty() => self.bytes_come(id),
            None => {}
        }
    }

    /// A reply has come: it is the one that is due.
    fn is_answered(&mut self, client: usize, reply: NumberedReply) {
        let me = &mut self.around.connected[client];
        let due = me.answered;
        let asked = me.asked.pop_front().filter(|_| (reply.number, reply.before) == (due, due));
        let Some(asked) = asked else {
            let NumberedReply { number, before, .. } = reply;
            let why = format!("reply {number}, after {before} others, comes where reply {due} is due");
            return self.violated("never cut", why);
        };
        (me.answered, me.requests) = (me.answered + 1, me.requests + 1);
        let goes_on = me.asked.is_empty();
        let key = (self.around.clients.len() + client) as u32;
        match (asked.value, reply.value) {
            (_, None) => {}
            (0, Some(found)) => self.is_not_lost(key, found, asked.floor),
            (value, Some(written)) if written == value => {
                self.around.connected[client].acknowledged = value;
            }
            (value, Some(written)) => {
                let why = format!("reply {due} says that {written} was written, and that was {value}");
                self.violated("never cut", why);
            }
        }
        if goes_on {
            self.comes_back(client, 1);
        }
    }

    /// A client finds its connection closed: between two replies, unless the process that had it has died, or has cut it.
    fn finds_end(&mut self, client: usize, id: u64, end: ByteEnd) {
        let me = &mut self.around.connected[client];
        let half = !me.begun.is_empty() && me.let_go == Some(LastHolder::Drains);
        let was_waiting = !me.asked.is_empty() || !me.unsent.is_empty();
        me.loses_connection();
        self.note(None, || Happened::Note(format!("connection {id} ends: {end:?}")));
        if half {
            self.violated("never cut", format!("connection {id} ends in the middle of a reply"));
        }
        if was_waiting {
            self.comes_back(client, 1);
        }
    }

    /// At the end of a run: every client that reads has the reply to what it has asked for a while ago.
    pub(super) fn no_reply_is_missing(&mut self) {
        let before = self.kernel.now.saturating_sub(ON_ITS_WAY);
        let waits = |client: &&ConnectedClient| {
            let oldest = client.asked.front().filter(|_| client.asked.len() > 1 || client.unsent.is_empty());
            client.reads_again < before && oldest.is_some_and(|asked| asked.sent < before)
        };
        let missing = self.around.connected.iter().find(waits).map(|client| (client.conn, client.answered));
        if let Some((conn, due)) = missing {
            let why = format!("reply {due} over connection {} has not come", conn.unwrap_or_default());
            self.violated("never cut", why);
        }
    }
}
