//! The rules of connections with bytes: one process reads, and none ends without a cause. Reads the kernel,
//! and of daemons which build they are of and what their hooks are for.
use handoff::machine::incumbent;
use handoff::node::daemon::Hook as AnyHook;

use super::RunWorld;
use crate::world::LastHolder;

impl RunWorld {
    /// Checks that a process that reads a connection has the lock, and that no process has read after it.
    pub(super) fn one_reads(&mut self, pid: u32, id: u64) {
        let has_lock = self.kernel.disk.lock().holders.contains(&pid);
        let readers = self.kernel.bytes.get(id).map(|conn| conn.readers.clone()).unwrap_or_default();
        let name = self.kernel.name_of(pid);
        let last = readers.last().copied().filter(|last| *last != pid && readers.contains(&pid));
        if !has_lock {
            self.violated("one reader", format!("{name} reads connection {id} without the lock"));
        } else if let Some(last) = last {
            let last = self.kernel.name_of(last);
            self.violated("one reader", format!("{name} reads connection {id}, which {last} has read since"));
        }
        self.kernel.bytes.is_read_by(pid, id);
    }

    /// Checks, when `pid`, the last process that has a descriptor of a connection, lets go of it, that no
    /// process could have gone on with it.
    pub(super) fn conn_ends(&mut self, pid: u32, id: u64, why: LastHolder) {
        let Some(conn) = self.kernel.bytes.get(id) else { return };
        let (client, lost_with) = (conn.client, conn.lost_with);
        let is_read_by_another = conn.readers.last().is_some_and(|reader| *reader != pid);
        let is_right = match why {
            LastHolder::Dies => true,
            LastHolder::Drains | LastHolder::Cuts => {
                !self.carries(pid) || !self.drains_for_one_that_carries(pid)
            }
            LastHolder::Retires => {
                let serves = self.who_serves();
                lost_with || !self.carries(pid) || serves.is_none_or(|serves| !self.carries(serves))
            }
            // The process that had it has died before it had handed all over, or has gone on.
            LastHolder::GivesUp | LastHolder::Serves => {
                !self.kernel.passing.all.values().any(|link| link.to == pid && link.is_ended)
            }
            LastHolder::Abandons => is_read_by_another,
        };
        self.around.connected[client].let_go = Some(why);
        if !is_right {
            let why = format!("{} cuts connection {id} ({why:?})", self.kernel.name_of(pid));
            self.violated("never cut", why);
        }
    }

    /// `pid` drains for a successor that takes connections over.
    fn drains_for_one_that_carries(&self, pid: u32) -> bool {
        match self.daemon(pid).and_then(|daemon| daemon.hooks.front()) {
            Some((_, AnyHook::Incumbent(incumbent::Hook::Drain { successor, .. }))) => {
                successor.is_some_and(|successor| self.carries(successor.pid))
            }
            // It serves.
            _ => true,
        }
    }
}
