//! Brings published messages to their subscribers, which are connections of this process: `SUBSCRIBE` and `PUBLISH`.
//!
//! Invariant: a message that was published is with each subscriber's connection, sent or waiting, before its publisher hears so.
//! What waits goes along when the connection is carried.
use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use handoff::daemon::{ConnId, Pusher};

use crate::resp::{Reply, RespVersion};
use crate::sync::lock;

/// A connection that has subscribed to a channel.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) pusher: Pusher,
    pub(crate) version: RespVersion,
}

type Channels = BTreeMap<Vec<u8>, BTreeMap<ConnId, Subscriber>>;

/// The channels that have subscribers. Closed, it takes no messages.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    /// The channels, and `true` if they are closed: clients come and go at any time.
    channels: Mutex<(bool, Channels)>,
}

impl Subscriptions {
    /// Takes messages again.
    pub(crate) fn open(&self) {
        lock(&self.channels).0 = false;
    }

    /// Takes no messages until it is opened: connections may be another process's from now on.
    pub(crate) fn close(&self) {
        lock(&self.channels).0 = true;
    }

    /// Subscribes to `channel`, and sends `confirmation` before any message.
    pub(crate) fn add(&self, channel: &[u8], subscriber: &Subscriber, confirmation: &[u8]) -> io::Result<()> {
        let mut channels = lock(&self.channels);
        if !confirmation.is_empty() {
            subscriber.pusher.push(confirmation)?;
        }
        let of_channel = channels.1.entry(channel.to_vec()).or_default();
        of_channel.insert(subscriber.pusher.id(), subscriber.clone());
        Ok(())
    }

    /// Ends a subscription. No message of `channel` is sent after this.
    pub(crate) fn remove(&self, channel: &[u8], id: ConnId) {
        let channels = &mut lock(&self.channels).1;
        if let Some(of_channel) = channels.get_mut(channel) {
            of_channel.remove(&id);
            if of_channel.is_empty() {
                channels.remove(channel);
            }
        }
    }

    /// Sends `message` to the subscribers of `channel`, and says how many they are; `None` if it takes no messages.
    pub(crate) fn publish(&self, channel: &[u8], message: &[u8]) -> Option<usize> {
        let (is_closed, channels) = &mut *lock(&self.channels);
        if *is_closed {
            return None;
        }
        let Some(of_channel) = channels.get_mut(channel) else { return Some(0) };
        let sent = Reply::Push(vec![Reply::bulk("message"), Reply::bulk(channel), Reply::bulk(message)]);
        let encoded = [RespVersion::Two, RespVersion::Three].map(|version| sent.encoded(version));
        of_channel.retain(|_, subscriber| {
            let bytes = &encoded[usize::from(subscriber.version == RespVersion::Three)];
            // Ended, or cut because it does not read.
            subscriber.pusher.push(bytes).is_ok()
        });
        Some(of_channel.len())
    }
}
