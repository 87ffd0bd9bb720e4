//! Connections of clients that carry bytes: what lies in them, and which processes have a descriptor.
//!
//! A connection ends when no process has a descriptor of it any more, or when a process shuts it down. What was sent before can be
//! read all the same; if the process has left something unread, the end is a reset.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Micros;

/// The number of bytes that a client's end takes and the client has not read: not a whole number of replies.
const ROOM: usize = 40;
/// The number of connections that may wait to be accepted.
const BYTE_BACKLOG: usize = 128;

/// The bytes that lie in one direction of a connection, and the time at which each part has come or comes.
#[derive(Debug, Default)]
struct BytePipe(VecDeque<(Micros, Vec<u8>)>);

impl BytePipe {
    fn len(&self) -> usize {
        self.0.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Adds bytes behind those before, since what is sent later comes later. Returns the time at which they
    /// come.
    fn push(&mut self, at: Micros, bytes: Vec<u8>) -> Micros {
        let at = self.0.back().map_or(at, |(last, _)| at.max(*last));
        self.0.push_back((at, bytes));
        at
    }

    fn take(&mut self, now: Micros) -> Vec<u8> {
        let come = self.0.partition_point(|(at, _)| *at <= now);
        self.0.drain(..come).flat_map(|(_, bytes)| bytes).collect()
    }
}

/// The end of a connection, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteEnd {
    EndOfStream,
    Reset,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct ByteConn {
    pub client: usize,
    /// The processes that have a descriptor.
    pub holders: BTreeSet<u32>,
    /// The number of descriptors that lie unread in a link.
    on_their_way: u32,
    /// The processes that have read it, the first one first.
    pub readers: Vec<u32>,
    /// A process has died with it that had read it last, or served.
    pub lost_with: bool,
    to_daemon: BytePipe,
    to_client: BytePipe,
    /// Nothing more is sent to the client.
    end: Option<ByteEnd>,
}

impl ByteConn {
    /// Returns whether a process can read it or write to it.
    pub(crate) fn is_open(&self) -> bool {
        self.end.is_none()
    }

    fn ends(&mut self) {
        let is_unread = self.to_daemon.len() > 0;
        self.end = Some(if is_unread { ByteEnd::Reset } else { ByteEnd::EndOfStream });
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct ByteConns {
    all: BTreeMap<u64, ByteConn>,
    /// The connections that no process has accepted.
    queue: VecDeque<u64>,
    next: u64,
}

impl ByteConns {
    /// Connects a client. `None` if the queue is full.
    pub(crate) fn connect(&mut self, client: usize) -> Option<u64> {
        if self.queue.len() > BYTE_BACKLOG {
            return None;
        }
        self.next += 1;
        let conn = ByteConn {
            client,
            holders: BTreeSet::new(),
            on_their_way: 0,
            readers: Vec::new(),
            lost_with: false,
            to_daemon: BytePipe::default(),
            to_client: BytePipe::default(),
            end: None,
        };
        self.all.insert(self.next, conn);
        self.queue.push_back(self.next);
        Some(self.next)
    }

    /// The connection at the head of the queue is `pid`'s from here on.
    pub(crate) fn accept(&mut self, pid: u32) -> Option<u64> {
        let id = self.queue.pop_front()?;
        self.all.get_mut(&id)?.holders.insert(pid);
        Some(id)
    }

    pub(crate) fn get(&self, id: u64) -> Option<&ByteConn> {
        self.all.get(&id)
    }

    /// The client of a connection sends. When that comes, if the connection is open.
    pub(crate) fn client_sends(&mut self, id: u64, bytes: Vec<u8>, at: Micros) -> Option<Micros> {
        let conn = self.all.get_mut(&id).filter(|conn| conn.is_open())?;
        Some(conn.to_daemon.push(at, bytes))
    }

    /// The client reads what has come; and how the connection has ended, once it has read all.
    pub(crate) fn client_reads(&mut self, id: u64, now: Micros) -> (Vec<u8>, Option<ByteEnd>) {
        let Some(conn) = self.all.get_mut(&id) else { return (Vec::new(), None) };
        let bytes = conn.to_client.take(now);
        let end = conn.end.filter(|_| conn.to_client.len() == 0);
        if end.is_some() {
            self.all.remove(&id);
        }
        (bytes, end)
    }

    /// `pid` reads what has come.
    pub(crate) fn read(&mut self, pid: u32, id: u64, now: Micros) -> Vec<u8> {
        let conn = self.all.get_mut(&id).filter(|conn| conn.is_open() && conn.holders.contains(&pid));
        conn.map(|conn| conn.to_daemon.take(now)).unwrap_or_default()
    }

    /// `pid` is among the processes that have read a connection.
    pub(crate) fn is_read_by(&mut self, pid: u32, id: u64) {
        let Some(conn) = self.all.get_mut(&id) else { return };
        if !conn.readers.contains(&pid) {
            conn.readers.push(pid);
            conn.lost_with = false;
        }
    }

    /// `pid` dies; `serves`: it had said that it serves.
    pub(crate) fn is_lost_with(&mut self, pid: u32, serves: bool) {
        let held = self.all.values_mut().filter(|conn| conn.holders.contains(&pid));
        held.for_each(|conn| conn.lost_with |= serves || conn.readers.last() == Some(&pid));
    }

    /// A descriptor is put into a link.
    pub(crate) fn is_sent(&mut self, id: u64) {
        self.all.get_mut(&id).into_iter().for_each(|conn| conn.on_their_way += 1);
    }

    /// A descriptor has come out of a link: it is `pid`'s.
    pub(crate) fn arrives(&mut self, pid: u32, id: u64) {
        let Some(conn) = self.all.get_mut(&id) else { return };
        conn.on_their_way = conn.on_their_way.saturating_sub(1);
        conn.holders.insert(pid);
    }

    /// A descriptor that lay in a link is closed. Whether the connection ends by it.
    pub(crate) fn is_lost(&mut self, id: u64) -> bool {
        let Some(conn) = self.all.get_mut(&id) else { return false };
        conn.on_their_way = conn.on_their_way.saturating_sub(1);
        let ends = conn.is_open() && conn.holders.is_empty() && conn.on_their_way == 0;
        if ends {
            conn.ends();
        }
        ends
    }

    /// A process ends the connection for all that have a descriptor. Whether it was open.
    pub(crate) fn shut_down(&mut self, id: u64) -> bool {
        let conn = self.all.get_mut(&id).filter(|conn| conn.is_open());
        conn.map(ByteConn::ends).is_some()
    }

    /// `pid` writes, as far as there is room. How many bytes that are, and when they come.
    pub(crate) fn write(&mut self, pid: u32, id: u64, bytes: &[u8], at: Micros) -> (usize, Micros) {
        let conn = self.all.get_mut(&id).filter(|conn| conn.is_open() && conn.holders.contains(&pid));
        let Some(conn) = conn else { return (bytes.len(), at) };
        let count = bytes.len().min(ROOM.saturating_sub(conn.to_client.len()));
        match count {
            0 => (0, at),
            count => (count, conn.to_client.push(at, bytes[..count].to_vec())),
        }
    }

    /// `pid` closes its descriptor. Whether the connection ends by it.
    pub(crate) fn close(&mut self, pid: u32, id: u64) -> bool {
        let Some(conn) = self.all.get_mut(&id).filter(|conn| conn.is_open()) else { return false };
        if !conn.holders.remove(&pid) || !conn.holders.is_empty() || conn.on_their_way > 0 {
            return false;
        }
        conn.ends();
        true
    }

    /// Returns the connections of which `pid` has a descriptor.
    pub(crate) fn held_by(&self, pid: u32) -> Vec<u64> {
        let held = |conn: &ByteConn| conn.is_open() && conn.holders.contains(&pid);
        self.all.iter().filter(|(_, conn)| held(conn)).map(|(id, _)| *id).collect()
    }

    /// The queue is gone, and with it the connections that no process has accepted.
    pub(crate) fn drops_queue(&mut self) -> Vec<u64> {
        let queued: Vec<u64> = std::mem::take(&mut self.queue).into();
        queued.iter().for_each(|id| self.all.get_mut(id).into_iter().for_each(ByteConn::ends));
        queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_ends_with_its_last_descriptor_and_what_was_sent_before_can_be_read() {
        let mut conns = ByteConns::default();
        let id = conns.connect(0).expect("room");
        assert_eq!(conns.accept(7), Some(id));
        assert_eq!(conns.write(7, id, b"abc", 5), (3, 5));
        assert!(conns.close(7, id) && conns.held_by(7).is_empty());
        assert_eq!(conns.client_reads(id, 4), (Vec::new(), None), "it is still on its way");
        assert_eq!(conns.client_reads(id, 5), (b"abc".to_vec(), Some(ByteEnd::EndOfStream)));
    }

    #[test]
    fn a_process_that_leaves_something_unread_resets() {
        let mut conns = ByteConns::default();
        let id = conns.connect(0).expect("room");
        conns.accept(7);
        assert_eq!(conns.client_sends(id, b"x".to_vec(), 9), Some(9));
        assert!(conns.read(7, id, 8).is_empty());
        assert!(conns.close(7, id));
        assert_eq!(conns.client_reads(id, 9), (Vec::new(), Some(ByteEnd::Reset)));
    }

    #[test]
    fn a_client_that_does_not_read_takes_no_more_than_there_is_room_for() {
        let mut conns = ByteConns::default();
        let id = conns.connect(0).expect("room");
        conns.accept(7);
        assert_eq!(conns.write(7, id, &[1; 50], 0).0, ROOM);
        assert_eq!(conns.write(7, id, &[1; 50], 0).0, 0);
        assert_eq!(conns.client_reads(id, 0).0.len(), ROOM);
        assert_eq!(conns.write(7, id, &[1; 10], 0).0, 10);
    }
}
