//! The lock on the data directory, as `flock(2)` has it: it belongs to an open file description, which a forked child
//! shares. A process that has the description may free it, explicitly; else it is free when the last of them has ended.
use super::disk::SharedFiles;

impl SharedFiles {
    /// Tries the lock (`LOCK_EX | LOCK_NB`).
    pub(crate) fn try_lock(&mut self, pid: u32) -> bool {
        if self.flock_excludes_nobody || self.holders.is_empty() || self.holders.contains(&pid) {
            self.holders.insert(pid);
            return true;
        }
        false
    }

    /// Waits for the lock (`LOCK_EX`): `pid` has it as soon as it is free.
    pub(crate) fn wait_for_lock(&mut self, pid: u32) {
        if !self.try_lock(pid) {
            self.waiting.push_back(pid);
        }
    }

    /// Frees the lock explicitly (`LOCK_UN`), whatever other process has the descriptor. A process that waits for it has it at once.
    pub(crate) fn unlock(&mut self, pid: u32) {
        let owner = self.opened_by(pid);
        self.waiting.retain(|waiting| *waiting != owner);
        self.holders.remove(&owner);
        self.writers.remove(&owner);
        if self.holders.is_empty() {
            self.holders.extend(self.waiting.pop_front());
        }
    }

    /// Returns whether `pid` has the lock, or waits for it.
    pub(crate) fn wants(&self, pid: u32) -> bool {
        self.holders.contains(&pid) || self.waiting.contains(&pid)
    }

    /// `child`, a fork of `parent`, has a copy of its descriptor.
    pub(crate) fn forks(&mut self, parent: u32, child: u32) {
        let owner = self.opened_by(parent);
        self.sharers.entry(owner).or_insert_with(|| [owner].into()).insert(child);
    }

    /// `pid` has closed its descriptor, or died: the lock is free if no fork has a copy.
    pub(crate) fn closes_lock(&mut self, pid: u32) {
        let owner = self.opened_by(pid);
        let sharers = self.sharers.get_mut(&owner);
        let is_last = sharers.is_none_or(|sharers| sharers.remove(&pid) && sharers.is_empty());
        if is_last {
            self.unlock(owner);
            self.sharers.remove(&owner);
        }
    }

    /// The process that opened what `pid` has: itself, or the one that it was forked from.
    fn opened_by(&self, pid: u32) -> u32 {
        let shared = self.sharers.iter().find(|(_, sharers)| sharers.contains(&pid));
        shared.map_or(pid, |(owner, _)| *owner)
    }
}
