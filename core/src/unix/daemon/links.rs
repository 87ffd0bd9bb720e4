//! A daemon's connections: the supervisor's, and those of peers at the control socket.
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::machine::LinkId;
use crate::message::Message;
use crate::node::Read;
use crate::unix::link::Link;
use crate::unix::rights;

/// The open connections, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: BTreeMap<LinkId, Link>,
    next: u64,
}

impl Links {
    /// Adds the link that a supervisor gave this process at its birth: number 0.
    pub(super) fn inherit(&mut self, stream: UnixStream) -> LinkId {
        self.open.insert(LinkId(0), Link::new(stream));
        LinkId(0)
    }

    /// Adds a connection to the control socket.
    pub(super) fn add(&mut self, stream: UnixStream) -> LinkId {
        self.next += 1;
        self.open.insert(LinkId(self.next), Link::new(stream));
        LinkId(self.next)
    }

    pub(super) fn send(&mut self, to: LinkId, message: &Message) {
        if let Some(link) = self.open.get_mut(&to) {
            #[cfg(feature = "crash-points")]
            link.will_send(message, None, None);
            link.send(message);
        }
    }

    /// Sends listeners, as many messages as it takes.
    pub(super) fn send_listeners(&mut self, to: LinkId, mut entries: Vec<(String, OwnedFd)>) {
        let Some(link) = self.open.get_mut(&to) else { return };
        loop {
            let rest = entries.split_off(entries.len().min(rights::MOST));
            let (names, fds): (_, Vec<_>) = entries.into_iter().unzip();
            let more = !rest.is_empty();
            let message = Message::Listeners { names, more };
            #[cfg(feature = "crash-points")]
            link.will_send(&message, None, None);
            link.send_with(&message, fds.into());
            if !more {
                return;
            }
            entries = rest;
        }
    }

    /// Takes a connection over which no frame goes any more.
    pub(super) fn take(&mut self, id: LinkId) -> Option<UnixStream> {
        self.open.remove(&id).map(Link::into_stream)
    }

    pub(super) fn close(&mut self, id: LinkId) {
        self.open.remove(&id);
    }

    /// Returns what came over a link next. One that is at its end is forgotten.
    pub(super) fn read(&mut self, id: LinkId) -> Read {
        let Some(link) = self.open.get_mut(&id) else { return Read::Nothing };
        link.flush();
        let read = link.read();
        if let Read::Closed(why) = &read {
            tracing::debug!(target: "handoff.control", link = id.0, %why, "closed");
            self.open.remove(&id);
        }
        read
    }

    /// For `poll(2)`: each descriptor, and whether it waits for room.
    pub(super) fn pollables(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        self.open.values().map(|link| (link.as_fd(), link.wants_write()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unix::control;
    use crate::unix::listeners::Listeners;

    #[test]
    fn more_listeners_than_one_message_carries_come_in_several() {
        let (ours, theirs) = control::socketpair().unwrap();
        let mut links = Links::default();
        links.inherit(ours);
        let one: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
        let entries: Vec<_> = (0..300).map(|n| (format!("l{n}"), one.try_clone().unwrap())).collect();
        links.send_listeners(LinkId(0), entries);
        let mut to = Link::receiving(theirs);
        let mut all = Vec::new();
        loop {
            match to.read() {
                Read::Message(Message::Listeners { names, more }) => {
                    all.extend(Listeners::received(&names, to.take_descriptors()).unwrap().into_entries());
                    if !more {
                        break;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        let expected: Vec<_> = (0..300).map(|n| format!("l{n}")).collect();
        assert_eq!(all.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), expected);
    }
}
