//! Clients that write and read all the time, each on a key of its own, and what they were promised.
//!
//! A client has one request under way. A write that was not acknowledged is sent again until it is: the values of a key
//! only grow, so that a read says at once whether anything was lost.
use handoff::HostError;
use handoff::connections::RequestPhase;

use super::RunWorld;
use super::connected::ConnectedClient;
use crate::happening::Happening;
use crate::kernel::{ClientRequest, Conn, LengthOf, Micros};
use crate::plan::What;
use crate::program::DaemonProgram;
use crate::world::LastHolder;

/// A client.
#[derive(Debug, Default)]
pub(crate) struct Client {
    conn: Option<u64>,
    /// Sent, and not answered.
    request: Option<ClientRequest>,
    /// A read must find at least this: it was acknowledged when the read was sent.
    floor: u64,
    answer: Option<Result<u64, HostError>>,
    /// The last value that it has tried to write, and the last that was acknowledged.
    tried: u64,
    acknowledged: u64,
    /// The value that was acknowledged when its daemon was last sealed.
    sealed: u64,
    requests: u64,
    /// The fault of its next request, and the time until which it lasts.
    stalls: Option<(What, Micros)>,
    /// The time before which the client does nothing.
    stalled_until: Micros,
    draws: [u32; 2],
}

impl RunWorld {
    pub(crate) fn clients_come(&mut self) {
        for client in 0..self.plan.clients as usize {
            self.around.clients.push(Client::default());
            let after = self.client_length(client, LengthOf::Think);
            self.kernel.after(after, Happening::Client(client));
        }
        self.connected_clients_come();
    }

    fn client_length(&mut self, client: usize, kind: LengthOf) -> Micros {
        let nth = &mut self.around.clients[client].draws[usize::from(kind == LengthOf::Think)];
        *nth += 1;
        self.kernel.noise.length(kind, ('C' as u32) << 24 | client as u32, *nth)
    }

    /// A client sends its next request, over a new connection if it has none.
    pub(crate) fn client_goes_on(&mut self, client: usize) {
        if self.around.clients[client].request.is_some() {
            return;
        }
        let conn = match self.around.clients[client].conn {
            Some(conn) => conn,
            None => match self.kernel.listener.connect(client, self.new_conduct()) {
                Ok(conn) => conn,
                Err(refused) => {
                    self.is_refused(refused);
                    let after = self.client_length(client, LengthOf::Think);
                    return self.kernel.after(after, Happening::Client(client));
                }
            },
        };
        let request = self.next_request(client);
        self.around.clients[client].conn = Some(conn);
        self.around.clients[client].request = Some(request);
        let after = self.client_length(client, LengthOf::Request);
        match self.around.clients[client].stalls.take() {
            None => self.kernel.after(after, Happening::Request(conn)),
            Some((what, until)) => {
                self.around.clients[client].stalled_until = until;
                let is_half = what == What::HalfRequest;
                self.kernel.after(
                    after,
                    if is_half { Happening::HalfRequest(conn) } else { Happening::Request(conn) },
                );
                if is_half {
                    self.kernel.at(until.max(self.kernel.now + after), Happening::Request(conn));
                }
            }
        }
    }

    /// A client stalls with its next request, which it sends now unless it awaits a reply: one that is connected, if any. `false`
    /// if there is none.
    pub(crate) fn client_stalls(&mut self, what: What, until: Micros) -> bool {
        let free = |client: &usize| {
            let client = &self.around.clients[*client];
            client.stalls.is_none() && client.stalled_until <= self.kernel.now
        };
        let connected = |client: &usize| self.around.clients[*client].conn.is_some();
        let free: Vec<usize> = (0..self.around.clients.len()).filter(free).collect();
        let Some(client) = free.iter().copied().find(connected).or(free.first().copied()) else {
            return false;
        };
        self.around.clients[client].stalls = Some((what, until));
        self.client_goes_on(client);
        true
    }

    pub(crate) fn half_request_arrives(&mut self, id: u64) {
        let now = self.kernel.time();
        let conn = self.kernel.listener.conns.get_mut(&id);
        conn.into_iter().for_each(|conn| conn.half_comes(now));
    }

    /// Writes and reads by turns: its own key, and the one that all share.
    fn next_request(&mut self, client: usize) -> ClientRequest {
        let all = self.around.clients.len() as u64;
        let me = &mut self.around.clients[client];
        if me.tried > me.acknowledged {
            return ClientRequest::Write { key: client as u32, value: me.tried };
        }
        me.requests += 1;
        if me.requests % 2 == 1 {
            me.tried += 1;
            return ClientRequest::Write { key: client as u32, value: me.tried };
        }
        let key = (client as u64 + me.requests / 2) % all;
        self.around.clients[client].floor = self.around.clients[key as usize].acknowledged;
        ClientRequest::Read { key: key as u32 }
    }

    pub(crate) fn request_arrives(&mut self, id: u64) {
        let Some(conn) = self.kernel.listener.conns.get_mut(&id) else { return };
        (conn.unread, conn.half) = (self.around.clients[conn.client].request, false);
        match conn.owner {
            Some(pid) => self.serve_unread(pid),
            None => {
                let accepting = self.daemons().find(|(.., daemon)| daemon.accepts).map(|(pid, ..)| pid);
                accepting.into_iter().for_each(|pid| self.opens_listener(pid));
            }
        }
    }

    /// A daemon accepts all that wait, and does what they ask for.
    pub(crate) fn opens_listener(&mut self, pid: u32) {
        let able = |world: &RunWorld| {
            world
                .kernel
                .processes
                .get(&pid)
                .is_some_and(|p| p.runs() && p.no_descriptors_until <= world.kernel.now)
        };
        while able(self) && self.kernel.listener.has(pid) && self.accepts(pid).is_some() {}
        self.serve_unread(pid);
    }

    /// A daemon does what its connections ask for.
    pub(crate) fn serve_unread(&mut self, pid: u32) {
        let unread = |world: &RunWorld| {
            let mut owned = world.kernel.listener.owned(pid);
            owned.find(|id| world.kernel.listener.conns[id].unread.is_some())
        };
        let at_work = |daemon: &mut DaemonProgram| daemon.accepts || daemon.drain.is_some();
        while self.kernel.runs(pid) && self.daemon_mut(pid).is_some_and(at_work) {
            let Some(id) = unread(self) else { break };
            self.serve(pid, id);
        }
    }

    fn serve(&mut self, pid: u32, id: u64) {
        let Some(conn) = self.kernel.listener.conns.get_mut(&id) else { return };
        let client = conn.client;
        let Some(request) = conn.unread.take() else { return };
        conn.conduct.received();
        let Some((answer, broken)) = self.does_what_is_asked(pid, request) else { return };
        self.around.clients[client].answer = Some(answer);
        let comes = self.kernel.now + self.client_length(client, LengthOf::Request);
        let taken = comes.max(self.around.clients[client].stalled_until);
        self.kernel.at(taken, Happening::Answer(client, id));
        if broken {
            self.die(pid, "ends itself: its store is broken", false);
        } else if taken == comes {
            self.is_replied(id);
        } else {
            // No process makes room for it.
            let now = self.kernel.time();
            self.kernel.listener.conns.get_mut(&id).into_iter().for_each(|conn| conn.conduct.blocked(now));
        }
    }

    pub(crate) fn answer_arrives(&mut self, client: usize, conn: u64) {
        if self.around.clients[client].conn != Some(conn) {
            return;
        }
        let Some(answer) = self.around.clients[client].answer.take() else { return };
        let is_taken = |conn: &Conn| conn.conduct.phase() == RequestPhase::Request;
        if self.kernel.listener.conns.get(&conn).is_some_and(is_taken) {
            self.is_replied(conn);
        }
        let request = self.around.clients[client].request.take();
        match (request, answer) {
            (Some(ClientRequest::Write { value, .. }), Ok(_)) => {
                self.around.clients[client].acknowledged = value
            }
            (Some(ClientRequest::Read { key }), Ok(found)) => {
                self.is_not_lost(key, found, self.around.clients[client].floor)
            }
            _ => {}
        }
        let after = self.client_length(client, LengthOf::Think);
        self.kernel.after(after, Happening::Client(client));
    }

    /// A client finds its connection closed. What was sent to it before has come.
    pub(crate) fn client_hangs_up(&mut self, client: usize, conn: u64) {
        if self.around.clients[client].conn != Some(conn) {
            return;
        }
        self.answer_arrives(client, conn);
        self.around.clients[client].conn = None;
        if let Some(request) = self.around.clients[client].request.take() {
            // It asks the same again.
            self.around.clients[client].requests -= u64::from(matches!(request, ClientRequest::Read { .. }));
            let after = self.client_length(client, LengthOf::Request);
            self.kernel.after(after, Happening::Client(client));
        }
    }

    /// A process has no descriptors any more: neither of the listening socket, nor of connections.
    pub(super) fn leaves_listener(&mut self, pid: u32, by_itself: bool) {
        // One that never served leaves no process standing.
        let audit = &self.around.audit;
        let by_itself = by_itself && !audit.signalled.contains(&pid) && audit.has_served.contains(&pid);
        let (owned, queued) = self.kernel.listener.leave(pid, by_itself);
        owned.iter().for_each(|(id, conn)| self.conn_has_ended(*id, conn));
        for client in queued {
            let conn = self.around.clients[client].conn;
            conn.into_iter().for_each(|conn| self.client_loses(client, conn, false));
        }
        self.leaves_conns(pid, if by_itself { LastHolder::Retires } else { LastHolder::Dies });
    }

    /// A client's connection has ended; `unreplied`: with a reply that it had not taken. It finds out when it is not stalled any more.
    pub(crate) fn client_loses(&mut self, client: usize, conn: u64, unreplied: bool) {
        let after = self.client_length(client, LengthOf::Request);
        let me = &mut self.around.clients[client];
        if unreplied && me.conn == Some(conn) {
            me.answer = None;
        }
        let at = me.stalled_until.max(self.kernel.now + after);
        self.kernel.at(at, Happening::Hangup(client, conn));
    }

    /// Promises that what was acknowledged so far outlives a power failure, too.
    pub(crate) fn clients_are_sealed(&mut self) {
        self.around.clients.iter_mut().for_each(|client| client.sealed = client.acknowledged);
        self.around.connected.iter_mut().for_each(ConnectedClient::is_sealed);
    }

    /// Power has failed, under a daemon that promises only what was sealed.
    pub(crate) fn clients_lose_what_was_not_sealed(&mut self) {
        self.around.clients.iter_mut().for_each(|client| {
            client.acknowledged = client.sealed;
            // What it was about to hear is worth nothing now.
            client.answer = None;
            client.floor = client.floor.min(client.sealed);
        });
        let all: Vec<u64> = self.around.clients.iter().map(|client| client.sealed).collect();
        for client in &mut self.around.clients {
            if let Some(ClientRequest::Read { key }) = client.request {
                client.floor = client.floor.min(all[key as usize]);
            }
        }
        self.around.connected.iter_mut().for_each(ConnectedClient::loses_what_was_not_sealed);
    }

    /// Returns what a key may hold: at least what was acknowledged, at most what was tried.
    pub(crate) fn promised(&self, key: u32) -> (u64, u64) {
        match self.around.clients.get(key as usize) {
            Some(client) => (client.acknowledged, client.tried),
            None => self.around.connected[key as usize - self.around.clients.len()].promised(),
        }
    }

    /// Returns how many requests were answered.
    pub(crate) fn requests(&self) -> u64 {
        let connected = self.around.connected.iter().map(ConnectedClient::requests);
        self.around.clients.iter().map(|client| client.requests).chain(connected).sum()
    }
}
