//! Links between a supervisor and a daemon: a pair of byte streams that carry real frames.
//!
//! Faults they can make, all of them survivable: a frame comes late, and all behind it; is lost; is cut, and the link
//! ends there; the link is reset, and what is on its way is lost; a process dies, and what it has sent arrives or not.
use std::collections::VecDeque;

use handoff::frame::{self, Decoder, FrameError};
use handoff::message::{Message, PROTO_MAX};

use super::Micros;

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Supervisor,
    Daemon,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Supervisor => Side::Daemon,
            Side::Daemon => Side::Supervisor,
        }
    }
}

/// A link.
#[derive(Debug)]
pub(crate) struct KernelLink {
    supervisor: LinkEnd,
    daemon: LinkEnd,
    /// `true` if the daemon has accepted it.
    pub accepted: bool,
    /// Passes descriptors to the process at the supervisor's end.
    pub carries_listener: bool,
}

#[derive(Debug)]
struct LinkEnd {
    pid: u32,
    open: bool,
    /// The arrivals that the other end has sent and this one has not read.
    inbox: VecDeque<LinkArrival>,
    decoder: Decoder,
}

#[derive(Debug)]
struct LinkArrival {
    at: Micros,
    what: Bits,
}

#[derive(Debug)]
enum Bits {
    /// A frame, or a part of one, and its number in the trace.
    Bytes(Vec<u8>, u64),
    EndOfFile,
    Reset,
}

/// The fate of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Arrives,
    IsLost,
    IsCut,
    Resets,
}

/// The outcome of a read.
#[derive(Debug)]
pub(crate) enum Received {
    Message(Message, u64),
    Closed(WhyClosed),
}

/// The reason why a link is at its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyClosed {
    /// The peer's end was closed after a whole frame.
    #[error("{}", frame::why_closed(Ok(())))]
    EndOfFile,
    /// The peer's end was closed while something was unread, or never accepted.
    #[error("connection reset")]
    Reset,
    /// The bytes that came are no frame, or a part of one.
    #[error(transparent)]
    Broken(#[from] FrameError),
}

impl KernelLink {
    pub(crate) fn new(supervisor: u32, daemon: u32, accepted: bool) -> KernelLink {
        let end = |pid| LinkEnd { pid, open: true, inbox: VecDeque::new(), decoder: Decoder::default() };
        KernelLink { supervisor: end(supervisor), daemon: end(daemon), accepted, carries_listener: false }
    }

    fn end(&self, side: Side) -> &LinkEnd {
        match side {
            Side::Supervisor => &self.supervisor,
            Side::Daemon => &self.daemon,
        }
    }

    fn end_mut(&mut self, side: Side) -> &mut LinkEnd {
        match side {
            Side::Supervisor => &mut self.supervisor,
            Side::Daemon => &mut self.daemon,
        }
    }

    pub(crate) fn pid(&self, side: Side) -> u32 {
        self.end(side).pid
    }

    pub(crate) fn is_open(&self, side: Side) -> bool {
        self.end(side).open
    }

    /// Returns whether both ends are open, and nothing says otherwise yet.
    pub(crate) fn is_whole(&self) -> bool {
        let over = |end: &LinkEnd| !end.open || end.inbox.iter().any(|a| !matches!(a.what, Bits::Bytes(..)));
        !over(&self.supervisor) && !over(&self.daemon)
    }

    /// Returns whether the supervisor has closed its end, and the daemon is still to read what it said.
    pub(crate) fn has_last_words(&self) -> bool {
        let unread = |end: &LinkEnd| end.open && end.inbox.iter().any(|a| matches!(a.what, Bits::Bytes(..)));
        !self.supervisor.open && unread(&self.daemon)
    }

    /// Returns whether no process can see it any more.
    pub(crate) fn is_gone(&self) -> bool {
        !self.supervisor.open && !self.daemon.open
    }

    /// Sends a message from `from`; it takes `delay`. When it arrives, if a process is there to read it.
    pub(crate) fn send(
        &mut self,
        from: Side,
        message: &Message,
        now: Micros,
        delay: Micros,
        fate: Delivery,
        number: u64,
    ) -> Option<Micros> {
        if !self.takes(from) {
            return None;
        }
        let mut bytes = frame::encode(PROTO_MAX, message).ok()?;
        match fate {
            Delivery::Arrives => self.send_bytes(from, bytes, now + delay, number),
            Delivery::IsLost => None,
            Delivery::IsCut => {
                bytes.truncate(bytes.len() / 2);
                self.send_bytes(from, bytes, now + delay, number);
                self.end_mut(from.other())
                    .inbox
                    .push_back(LinkArrival { at: now + delay, what: Bits::EndOfFile });
                self.arrives(from.other(), now, Bits::EndOfFile)
            }
            Delivery::Resets => self.reset(now),
        }
    }

    /// Sends bytes, of which frame `number` is made or a part of it.
    pub(crate) fn send_bytes(
        &mut self,
        from: Side,
        bytes: Vec<u8>,
        at: Micros,
        number: u64,
    ) -> Option<Micros> {
        self.takes(from).then(|| self.arrives(from, at, Bits::Bytes(bytes, number))).flatten()
    }

    /// Returns whether both ends are there: what `from` sends can arrive.
    fn takes(&self, from: Side) -> bool {
        self.end(from).open && self.end(from.other()).open
    }

    /// Both ends find the link broken, and what was on its way gone.
    pub(crate) fn reset(&mut self, now: Micros) -> Option<Micros> {
        for side in [Side::Supervisor, Side::Daemon] {
            let end = self.end_mut(side);
            end.inbox.clear();
            end.inbox.push_back(LinkArrival { at: now, what: Bits::Reset });
        }
        Some(now)
    }

    fn arrives(&mut self, from: Side, at: Micros, what: Bits) -> Option<Micros> {
        let inbox = &mut self.end_mut(from.other()).inbox;
        if inbox.back().is_some_and(|last| !matches!(last.what, Bits::Bytes(..))) {
            return None;
        }
        let at = inbox.back().map_or(at, |last| at.max(last.at));
        inbox.push_back(LinkArrival { at, what });
        Some(at)
    }

    /// Closes an end; the other one reads that it did, after what was sent before.
    pub(crate) fn close(&mut self, side: Side, at: Micros) -> Option<Micros> {
        let end = self.end_mut(side);
        if !end.open {
            return None;
        }
        end.open = false;
        let unread = end.inbox.drain(..).any(|arrival| matches!(arrival.what, Bits::Bytes(..)));
        // Unread data makes it a reset, and so does a queue in which it was not accepted; the peer reads what it was
        // sent all the same.
        let resets = unread || side == Side::Daemon && !self.accepted;
        self.arrives(side, at, if resets { Bits::Reset } else { Bits::EndOfFile })
    }

    /// Loses what `from` has sent and its peer has not received yet, but for half of the first frame.
    pub(crate) fn lose_unreceived(&mut self, from: Side, now: Micros) {
        let inbox = &mut self.end_mut(from.other()).inbox;
        let first = inbox.iter().position(|arrival| arrival.at > now).unwrap_or(inbox.len());
        let closed = inbox.back().is_some_and(|last| !matches!(last.what, Bits::Bytes(..)));
        inbox.truncate((first + 1).min(inbox.len()));
        if let Some(LinkArrival { what: Bits::Bytes(bytes, _), .. }) = inbox.get_mut(first) {
            bytes.truncate(bytes.len() / 2);
        }
        if closed {
            self.arrives(from, now, Bits::EndOfFile);
        }
    }

    /// Delivers now what is on its way: nothing delays it any more.
    pub(crate) fn hurry(&mut self, now: Micros) {
        let arrivals = self.supervisor.inbox.iter_mut().chain(&mut self.daemon.inbox);
        arrivals.for_each(|arrival| arrival.at = arrival.at.min(now));
    }

    /// Returns the time at which there is something to read.
    pub(crate) fn next_arrival(&self, side: Side) -> Option<Micros> {
        let end = self.end(side);
        end.inbox.front().map(|arrival| arrival.at).filter(|_| end.open)
    }

    /// Returns the time at which the last thing comes that is on its way.
    pub(crate) fn last_arrival(&self, side: Side) -> Option<Micros> {
        self.end(side).inbox.back().map(|arrival| arrival.at)
    }

    /// Reads what has come by `now`.
    pub(crate) fn read(&mut self, side: Side, now: Micros) -> Option<Received> {
        let end = self.end_mut(side);
        loop {
            if !end.open || end.inbox.front().is_none_or(|arrival| arrival.at > now) {
                return None;
            }
            let closed = match end.inbox.pop_front()?.what {
                Bits::Bytes(bytes, number) => {
                    end.decoder.push(&bytes);
                    match end.decoder.next() {
                        Ok(Some(message)) => return Some(Received::Message(message, number)),
                        Ok(None) => continue,
                        Err(error) => WhyClosed::Broken(error),
                    }
                }
                Bits::EndOfFile => {
                    end.decoder.finish().map_or_else(WhyClosed::Broken, |()| WhyClosed::EndOfFile)
                }
                Bits::Reset => WhyClosed::Reset,
            };
            // An end that has read its end can only be closed.
            end.open = false;
            end.inbox.clear();
            self.arrives(side, now, Bits::EndOfFile);
            return Some(Received::Closed(closed));
        }
    }
}
