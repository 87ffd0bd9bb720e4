//! Replies on their way to one client.
use std::io::{self, Write};

use handoff::daemon::{Connection, Pusher, Remaining};

/// Replies are sent when there is so much of them.
const SEND_BYTES: usize = 64 * 1024;

/// Gathers replies, so that those of a pipeline go out together.
pub(crate) struct ReplyBuffer<'a> {
    client: &'a Connection,
    bytes: Vec<u8>,
    /// Messages may come between two replies: each goes out whole.
    pusher: Option<Pusher>,
}

impl<'a> ReplyBuffer<'a> {
    pub(crate) fn new(client: &'a Connection) -> ReplyBuffer<'a> {
        ReplyBuffer { client, bytes: Vec::new(), pusher: None }
    }

    /// Lets messages come between two replies from now on.
    pub(crate) fn mix_with(&mut self, pusher: &Pusher) -> io::Result<()> {
        if self.pusher.is_none() {
            self.send()?;
            self.pusher = Some(pusher.clone());
        }
        Ok(())
    }

    /// Returns how many more requests the client may have answered.
    pub(crate) fn remaining(&self) -> Remaining {
        self.client.remaining()
    }

    /// Returns whether the requests after the one that was answered are left to the next process.
    pub(crate) fn is_enough(&self) -> bool {
        self.client.is_to_be_kept()
    }

    /// Returns how many connections the server has.
    pub(crate) fn open_connections(&self) -> u32 {
        self.client.counts().open()
    }

    /// Adds what `encode` appends; sends if that has become much. Blocks while the client does not read.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        encode(&mut self.bytes);
        if self.bytes.len() >= SEND_BYTES { self.send() } else { Ok(()) }
    }

    /// Sends what there is.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        let mut client = self.client;
        match &self.pusher {
            _ if self.bytes.is_empty() => {}
            Some(pusher) => {
                client.flush()?;
                pusher.push(&self.bytes)?;
            }
            None => client.write_all(&self.bytes)?,
        }
        self.bytes.clear();
        Ok(())
    }
}
