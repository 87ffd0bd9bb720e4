//! One connection, whatever it speaks: whole requests of what was received, answered in order.
use std::io::{self, BufRead, Write};

use handoff::daemon::Connection;

use crate::out::ReplyBuffer;

/// The step after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterBatch {
    /// More requests.
    Continue,
    /// The end.
    Close,
}

/// The protocol that is spoken on a connection.
pub(crate) trait Conversation {
    /// Answers whole requests in `input`, in order, as many as [`ReplyBuffer::remaining`] and
    /// [`ReplyBuffer::is_enough`] say, and returns how many bytes they
    /// took.
    fn serve(&mut self, input: &[u8], out: &mut ReplyBuffer<'_>) -> io::Result<(usize, AfterBatch)>;

    /// Returns what the next process must know of the client, if that has changed.
    fn changed(&mut self) -> Option<Vec<u8>> {
        None
    }
}

/// Serves `client` until its client closes it, a request ends it, or the server drains.
///
/// Each time that whole requests are answered is a boundary: what has come of the next request can be left to another process
/// there, which begins it again.
pub(crate) fn serve(client: &mut Connection, session: &mut dyn Conversation) -> io::Result<()> {
    while client.next_request()? {
        loop {
            let mut out = ReplyBuffer::new(client);
            let (used, next) = session.serve(client.buffered(), &mut out)?;
            // Before the replies: what the client has been told, the next process knows.
            session.changed().into_iter().for_each(|state| client.set_session(state));
            out.send()?;
            client.consume(used);
            if next == AfterBatch::Close {
                return client.flush();
            }
            if used > 0 {
                break;
            }
            if client.fill()? == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}
