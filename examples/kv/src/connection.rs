//! One connection, whatever it speaks: whole requests of what was received, answered in order.
use std::io::{self, BufRead};

use handoff::daemon::Connection;

use crate::out::ReplyBuffer;

/// What happens after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterBatch {
    /// More requests.
    Continue,
    /// The end.
    Close,
}

/// What is spoken on a connection.
pub(crate) trait Conversation {
    /// Answers whole requests in `input`, in order, as many as [`ReplyBuffer::remaining`] says, and returns how many bytes they
    /// took.
    fn serve(&mut self, input: &[u8], out: &mut ReplyBuffer<'_>) -> io::Result<(usize, AfterBatch)>;
}

/// Serves `client` until its client closes it, a request ends it, or the server drains.
pub(crate) fn serve(client: &mut Connection, session: &mut dyn Conversation) -> io::Result<()> {
    while client.next_request()? {
        loop {
            let mut out = ReplyBuffer::new(client);
            let (used, next) = session.serve(client.buffered(), &mut out)?;
            out.send()?;
            client.consume(used);
            if next == AfterBatch::Close {
                return Ok(());
            }
            if client.buffered().is_empty() {
                break;
            }
            if client.fill()? == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}
