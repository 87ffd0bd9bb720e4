//! Replies on their way to one client.
use std::io::{self, Write};

use handoff::daemon::{Connection, Remaining};

/// Replies are sent when there is so much of them.
const SEND_BYTES: usize = 64 * 1024;

/// Gathers replies, so that those of a pipeline go out together.
pub(crate) struct ReplyBuffer<'a> {
    client: &'a Connection,
    bytes: Vec<u8>,
}

impl<'a> ReplyBuffer<'a> {
    pub(crate) fn new(client: &'a Connection) -> ReplyBuffer<'a> {
        ReplyBuffer { client, bytes: Vec::new() }
    }

    /// How many more requests the client may have answered.
    pub(crate) fn remaining(&self) -> Remaining {
        self.client.remaining()
    }

    /// Adds what `encode` appends; sends if that has become much. Blocks while the client does not read.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        encode(&mut self.bytes);
        if self.bytes.len() >= SEND_BYTES { self.send() } else { Ok(()) }
    }

    /// Sends what there is.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        self.client.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
