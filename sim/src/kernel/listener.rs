//! The listening socket that clients know, its accept queue, and the connections that came over it.
//!
//! It is there as long as any process has a descriptor of it. A connect succeeds while the queue has room, whether or not
//! a process accepts.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use handoff::connections::{Conduct, Patience};
use handoff::time::Time;

/// The largest length of the queue of connections, as it is said to `listen(2)`.
const BACKLOG: usize = 128;

/// The request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientRequest {
    Write { key: u32, value: u64 },
    Read { key: u32 },
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub client: usize,
    /// The process that has accepted it.
    pub owner: Option<u32>,
    /// Sent, and not read yet.
    pub unread: Option<ClientRequest>,
    /// `true` if half of a request was sent, and nothing behind it.
    pub half: bool,
    /// The conduct, which is all that its owner knows of it.
    pub conduct: Conduct,
}

impl Conn {
    /// Half of a request is there to be read: its owner waits for the rest.
    pub(crate) fn half_comes(&mut self, now: Time) {
        self.half = true;
        if self.owner.is_some() {
            self.conduct.received();
            self.conduct.blocked(now);
        }
    }
}

/// The listening socket.
#[derive(Debug, Default)]
pub(crate) struct SharedListener {
    /// The processes that have a descriptor of it.
    holders: BTreeSet<u32>,
    queue: VecDeque<u64>,
    pub conns: BTreeMap<u64, Conn>,
    next: u64,
    /// `true` if the last holder left by itself, rather than be killed: then no client may be refused.
    pub abandoned: bool,
}

impl SharedListener {
    pub(crate) fn is_open(&self) -> bool {
        !self.holders.is_empty()
    }

    pub(crate) fn has(&self, pid: u32) -> bool {
        self.holders.contains(&pid)
    }

    /// Gives `pid` a descriptor.
    pub(crate) fn give(&mut self, pid: u32) {
        self.abandoned = false;
        self.holders.insert(pid);
    }

    /// `pid` has closed its descriptor, or died. The queue goes with the last one; the clients of those in it.
    pub(crate) fn take(&mut self, pid: u32, by_itself: bool) -> Vec<usize> {
        if !self.holders.remove(&pid) || self.is_open() {
            return Vec::new();
        }
        self.abandoned = by_itself;
        let queued = std::mem::take(&mut self.queue);
        queued.into_iter().filter_map(|id| self.conns.remove(&id)).map(|conn| conn.client).collect()
    }

    /// `pid` has no descriptors any more: neither of the socket, nor of connections. Those that it had, and the clients of those in a
    /// queue that is gone.
    pub(crate) fn leave(&mut self, pid: u32, by_itself: bool) -> (Vec<(u64, Conn)>, Vec<usize>) {
        let owned: Vec<u64> = self.owned(pid).collect();
        let owned = owned.into_iter().filter_map(|id| Some((id, self.conns.remove(&id)?))).collect();
        (owned, self.take(pid, by_itself))
    }

    /// Connects a client: the connection's number, unless no process listens or the queue is full.
    pub(crate) fn connect(&mut self, client: usize, conduct: Conduct) -> Result<u64, Refused> {
        if !self.is_open() {
            return Err(Refused::NobodyListens);
        }
        // Linux takes one more than it was asked to.
        if self.queue.len() > BACKLOG {
            return Err(Refused::QueueFull);
        }
        self.next += 1;
        self.conns.insert(self.next, Conn { client, owner: None, unread: None, half: false, conduct });
        self.queue.push_back(self.next);
        Ok(self.next)
    }

    /// The connection at the head of the queue is `pid`'s from here on.
    pub(crate) fn accept(&mut self, pid: u32, now: Time, patience: Patience) -> Option<u64> {
        while let Some(id) = self.queue.pop_front() {
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.owner = Some(pid);
                conn.conduct = Conduct::new(now, patience);
                if conn.half {
                    conn.half_comes(now);
                }
                return Some(id);
            }
        }
        None
    }

    /// The connections that `pid` has accepted.
    pub(crate) fn owned(&self, pid: u32) -> impl Iterator<Item = u64> {
        self.conns.iter().filter(move |(_, conn)| conn.owner == Some(pid)).map(|(id, _)| *id)
    }

    /// The processes that have a descriptor, in order.
    pub(crate) fn holders(&self) -> impl Iterator<Item = u32> {
        self.holders.iter().copied()
    }
}

/// The reason why a connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NobodyListens,
    QueueFull,
}
