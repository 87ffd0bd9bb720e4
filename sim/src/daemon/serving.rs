//! A daemon's connections with bytes: accepts them, reads requests, and replies, as long as it serves.
use handoff::connections::{Conduct, NextRequest, Way};

use crate::happening::Happening;
use crate::kernel::{ClientRequest, LengthOf};
use crate::plan::Planted;
use crate::program::{DaemonProgram, NumberedRequest, OwnByteConn, is_idle};
use crate::trace::Happened;
use crate::world::{Doing, LastHolder, SimulatedWorld, Surroundings};

impl<S: Surroundings> SimulatedWorld<S> {
    /// A daemon reads from now on.
    pub(crate) fn reads_bytes(&mut self, pid: u32) {
        let (time, patience) = (self.kernel.time(), self.plan.times.patience());
        let Some(daemon) = self.daemon_mut(pid) else { return };
        (daemon.bytes.reads, daemon.bytes.kept) = (true, false);
        let own = std::mem::take(&mut daemon.bytes.own).into_iter();
        let anew = own.map(|(id, own)| (id, OwnByteConn::new(own.state, Conduct::new(time, patience))));
        daemon.bytes.own = anew.collect();
        self.serves_bytes(pid);
    }

    /// A daemon accepts the connections that wait, and does what clients ask for over those that it has.
    pub(crate) fn serves_bytes(&mut self, pid: u32) {
        if self.plan.connections == 0 {
            return;
        }
        while self.accepts_bytes(pid).is_some() {}
        let own: Vec<u64> =
            self.daemon(pid).into_iter().flat_map(|it| it.bytes.own.keys().copied()).collect();
        own.into_iter().for_each(|id| self.serves_conn(pid, id));
    }

    fn accepts_bytes(&mut self, pid: u32) -> Option<u64> {
        let (now, time, patience) = (self.kernel.now, self.kernel.time(), self.plan.times.patience());
        let process = self.kernel.processes.get(&pid).filter(|process| process.runs())?;
        let reads = process.daemon().is_some_and(|daemon| daemon.bytes.reads);
        if !reads || process.no_descriptors_until > now || !self.kernel.listener.has(pid) {
            return None;
        }
        let id = self.kernel.bytes.accept(pid)?;
        let own = OwnByteConn::new(Default::default(), Conduct::new(time, patience));
        let daemon = self.daemon_mut(pid)?;
        daemon.bytes.own.insert(id, own);
        daemon.carrying.outgoing.iter_mut().for_each(|outgoing| outgoing.opened(id));
        Some(id)
    }

    /// Something has come over a connection: the process that reads it goes on.
    pub(crate) fn bytes_come(&mut self, id: u64) {
        let holders = self.kernel.bytes.get(id).map(|conn| conn.holders.clone()).unwrap_or_default();
        match holders.is_empty() {
            true => self.accepting_daemon().into_iter().for_each(|pid| self.serves_bytes(pid)),
            false => holders.into_iter().for_each(|pid| self.serves_conn(pid, id)),
        }
    }

    fn accepting_daemon(&self) -> Option<u32> {
        self.daemons().find(|(.., daemon)| daemon.bytes.reads).map(|(pid, ..)| pid)
    }

    /// Sends what is to be sent, and does what the client asks for, until the client has to do something.
    pub(crate) fn serves_conn(&mut self, pid: u32, id: u64) {
        let at_work =
            |daemon: &mut DaemonProgram| (daemon.bytes.reads || daemon.drain.is_some()) && !daemon.bytes.kept;
        while self.running_daemon(pid).is_some_and(at_work) && self.flushes(pid, id) {
            match self.own_byte_conn(pid, id).and_then(OwnByteConn::request) {
                Some(request) => self.performs(pid, id, request),
                None if self.reads_more(pid, id) => {}
                None => break,
            }
        }
    }

    fn own_byte_conn(&mut self, pid: u32, id: u64) -> Option<&mut OwnByteConn> {
        self.daemon_mut(pid)?.bytes.own.get_mut(&id)
    }

    /// Sends what there is to be sent. Whether that is all, and the connection goes on.
    fn flushes(&mut self, pid: u32, id: u64) -> bool {
        let time = self.kernel.time();
        let Some(output) = self.own_byte_conn(pid, id).map(|own| own.state.output.clone()) else {
            return false;
        };
        if output.is_empty() {
            return true;
        }
        let at = self.kernel.now + self.kernel.length(pid, LengthOf::Request);
        let (count, comes) = self.kernel.bytes.write(pid, id, &output, at);
        if count > 0 {
            self.kernel.at(comes, Happening::BytesGo(id));
        }
        let Some(own) = self.own_byte_conn(pid, id) else { return false };
        own.state.output.drain(..count);
        if count > 0 {
            own.conduct.took();
        }
        if count < output.len() {
            own.conduct.blocked(time);
            return false;
        }
        own.conduct.sent();
        let closes = own.conduct.next(!own.state.input.is_empty()) == NextRequest::Close;
        if closes {
            self.ends_byte_conn(pid, id);
        }
        !closes
    }

    /// Reads what has come. Whether that was anything.
    fn reads_more(&mut self, pid: u32, id: u64) -> bool {
        let (now, time) = (self.kernel.now, self.kernel.time());
        let bytes = self.kernel.bytes.read(pid, id, now);
        if !bytes.is_empty() {
            self.shows(pid, Doing::ReadsBytes(id));
        }
        let Some(own) = self.own_byte_conn(pid, id) else { return false };
        match (bytes.is_empty(), own.state.input.is_empty()) {
            (true, true) => {}
            // The rest of a request is to come.
            (true, false) => own.conduct.blocked(time),
            (false, _) => own.conduct.received(),
        }
        own.state.input.extend(&bytes);
        !bytes.is_empty()
    }

    /// Does what a request asks for. The reply is to be sent.
    fn performs(&mut self, pid: u32, id: u64, NumberedRequest { number, key, value }: NumberedRequest) {
        let request = match value {
            0 => ClientRequest::Read { key },
            value => ClientRequest::Write { key, value },
        };
        let Some((result, is_broken)) = self.does_what_is_asked(pid, request) else { return };
        let is_lost = self.planted == Planted::ReplyIsLost && number == 7;
        let own = self.own_byte_conn(pid, id).filter(|_| !is_lost);
        own.into_iter().for_each(|own| own.replies(number, result.clone().ok()));
        if is_broken {
            self.die(pid, "ends itself: its store is broken", false);
        }
    }

    /// A daemon that drains looks at its connections: it ends those that are between two requests, and those whose clients make no
    /// progress.
    pub(crate) fn drain_looks_at_bytes(&mut self, pid: u32) {
        self.serves_bytes(pid);
        let time = self.kernel.time();
        let Some(daemon) = self.running_daemon(pid).filter(|daemon| !daemon.bytes.kept) else { return };
        let ends = |own: &mut OwnByteConn| own.conduct.look(time) || is_idle(&own.conduct, time);
        let own = &mut daemon.bytes.own;
        let ending: Vec<u64> = own.iter_mut().filter_map(|(id, own)| ends(own).then_some(*id)).collect();
        ending.into_iter().for_each(|id| self.ends_byte_conn(pid, id));
    }

    /// A daemon ends a connection in its drain.
    fn ends_byte_conn(&mut self, pid: u32, id: u64) {
        let Some(daemon) = self.daemon_mut(pid) else { return };
        let Some(own) = daemon.bytes.own.remove(&id) else { return };
        let way = own.conduct.way();
        daemon.drain.iter_mut().for_each(|drain| drain.ended(way));
        if way == Way::Cut {
            self.note(Some(pid), || Happened::Note("cuts a client that makes no progress".into()));
        }
        let why = if way == Way::Cut { LastHolder::Cuts } else { LastHolder::Drains };
        self.closes_conn(pid, id, why);
    }

    /// A process closes its descriptor of a connection; if that was the last one, the client finds out.
    pub(crate) fn closes_conn(&mut self, pid: u32, id: u64, why: LastHolder) {
        if self.kernel.bytes.close(pid, id) {
            self.byte_conn_has_ended(pid, id, why);
        }
    }

    /// The client of a connection finds out that it is no more.
    pub(super) fn byte_conn_has_ended(&mut self, pid: u32, id: u64, why: LastHolder) {
        let after = self.kernel.length(pid, LengthOf::Request);
        self.kernel.after(after, Happening::BytesGo(id));
        self.shows(pid, Doing::EndsConn(id, why));
    }

    /// A process ends, and with it the connections of which no other has a descriptor.
    pub(crate) fn leaves_conns(&mut self, pid: u32, why: LastHolder) {
        if why == LastHolder::Dies {
            let serves = self.record().is_some_and(|record| record.serving && record.holder.pid == pid);
            self.kernel.bytes.is_lost_with(pid, serves);
        }
        self.kernel.bytes.held_by(pid).into_iter().for_each(|id| self.closes_conn(pid, id, why));
        self.kernel.passing.sender_closes(pid);
        let unread = self.kernel.passing.receiver_closes(pid);
        unread.into_iter().for_each(|id| self.loses_descriptor(pid, id, why));
        if !self.kernel.listener.is_open() {
            let queued = self.kernel.bytes.drops_queue();
            queued.into_iter().for_each(|id| self.kernel.after(0, Happening::BytesGo(id)));
        }
    }
}
