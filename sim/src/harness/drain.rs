//! A daemon's connections in a drain. What becomes of each, and when the drain is over, is decided by production's types.
use std::time::Duration;

use handoff::connections::{Conduct, Drain, RequestPhase, Way};

use super::RunWorld;
use crate::happening::Happening;
use crate::kernel::Conn;
use crate::program::is_idle;
use crate::trace::Happened;

impl RunWorld {
    /// Of a connection that is made now.
    pub(crate) fn new_conduct(&self) -> Conduct {
        Conduct::new(self.kernel.time(), self.plan.times.patience())
    }

    /// `pid` accepts the connection at the head of the queue.
    pub(crate) fn accepts(&mut self, pid: u32) -> Option<u64> {
        let (now, patience) = (self.kernel.time(), self.plan.times.patience());
        self.kernel.listener.accept(pid, now, patience)
    }

    /// A daemon drains: it accepts nothing from here on.
    pub(crate) fn drain_begins(&mut self, pid: u32, grace: Duration) {
        let now = self.kernel.time();
        let Some(daemon) = self.daemon_mut(pid) else { return };
        daemon.drain = Some(Drain::new(now, grace));
        let owned: Vec<u64> = self.kernel.listener.owned(pid).collect();
        for id in owned {
            let conn = self.kernel.listener.conns.get_mut(&id);
            conn.into_iter().for_each(|conn| conn.conduct.drain(now));
        }
        let daemon = self.daemon_mut(pid).filter(|daemon| !daemon.bytes.kept);
        let own = daemon.into_iter().flat_map(|daemon| daemon.bytes.own.values_mut());
        own.for_each(|own| own.conduct.drain(now));
        self.drain_looks(pid);
    }

    /// A daemon that drains looks at its connections, and looks again.
    pub(crate) fn drain_looks(&mut self, pid: u32) {
        self.serve_unread(pid);
        if !self.kernel.runs(pid) {
            return;
        }
        let (now, step) = (self.kernel.time(), self.plan.times.patience().step());
        let owned: Vec<u64> = self.kernel.listener.owned(pid).collect();
        for id in owned {
            let Some(conn) = self.kernel.listener.conns.get_mut(&id) else { continue };
            let is_cut = conn.conduct.look(now);
            if is_cut || is_idle(&conn.conduct, now) {
                self.ends_conn(id);
            }
        }
        self.drain_looks_at_bytes(pid);
        if !self.drain_is_over(pid)
            && let Some(drain) = self.running_daemon(pid).and_then(|daemon| daemon.drain.as_ref())
        {
            let pause = drain.pause(now, step);
            self.kernel.after(pause.as_micros() as u64, Happening::Drains(pid));
        }
    }

    /// A daemon's drain may be over: then its hook may return.
    fn drain_is_over(&mut self, pid: u32) -> bool {
        let (now, owned) = (self.kernel.time(), self.kernel.listener.owned(pid).count());
        let Some(daemon) = self.running_daemon(pid) else { return false };
        let open = (owned + if daemon.bytes.kept { 0 } else { daemon.bytes.own.len() }) as u32;
        let is_over = |drain: &Drain| drain.over(now, 0, open).is_some();
        if !daemon.drain.as_ref().is_some_and(is_over) {
            return false;
        }
        (daemon.drain, daemon.left) = (None, open);
        self.hook_returns(pid);
        true
    }

    /// A daemon is done with a request of connection `id`: its reply was taken.
    pub(crate) fn is_replied(&mut self, id: u64) {
        let Some(conn) = self.kernel.listener.conns.get_mut(&id) else { return };
        conn.conduct.sent();
        conn.conduct.next(false);
        if conn.conduct.is_ending() {
            let owner = conn.owner;
            self.ends_conn(id);
            owner.into_iter().for_each(|pid| _ = self.drain_is_over(pid));
        }
    }

    /// A daemon ends a connection.
    fn ends_conn(&mut self, id: u64) {
        let Some(conn) = self.kernel.listener.conns.remove(&id) else { return };
        let way = conn.conduct.way();
        let drain = conn.owner.and_then(|pid| self.daemon_mut(pid)).and_then(|daemon| daemon.drain.as_mut());
        drain.into_iter().for_each(|drain| drain.ended(way));
        if way == Way::Cut {
            self.note(conn.owner, || Happened::Note("cuts a client that makes no progress".into()));
        }
        self.conn_has_ended(id, &conn);
    }

    /// The client of a connection that is no more is to find that out.
    pub(crate) fn conn_has_ended(&mut self, id: u64, conn: &Conn) {
        self.client_loses(conn.client, id, conn.conduct.phase() == RequestPhase::Request);
    }
}
