//! Tells the supervisor why a process that it started can't take part: "exited with 1" would not help.
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::hello_of;
use crate::error::{Error, Result};
use crate::message::{Message, Role};
use crate::node::Read;
use crate::unix::env::Inherited;
use crate::unix::link::Link;
use crate::unix::pid::this_process;

/// The longest time for which the supervisor is waited for.
const LIMIT: Duration = Duration::from_secs(2);

/// Lets `prepare` make of `inherited` what takes part in the handoff. If it fails, the supervisor is told why.
///
/// # Errors
/// Those of `prepare`.
pub(crate) fn or_give_up<T>(
    inherited: Inherited,
    build_id: &[u8],
    prepare: impl FnOnce(Inherited) -> Result<T>,
) -> Result<T> {
    let link = inherited.link.try_clone();
    prepare(inherited).inspect_err(|error| {
        if let Ok(link) = link {
            give_up(link, build_id, error);
        }
    })
}

/// Introduces this process, hears which handoff it was to be part of, and says that it failed. If the supervisor does not answer,
/// it sees the end of this process all the same.
fn give_up(stream: UnixStream, build_id: &[u8], why: &Error) {
    let Ok(process) = this_process() else { return };
    // The link has no other user any more: it may wait.
    if stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(LIMIT))).is_err() {
        return;
    }
    let mut link = Link::new(stream);
    link.send(&Message::Hello(hello_of(process, build_id, Role::Successor)));
    link.flush();
    // The answer is the first word; the few that may come after it are of no interest.
    if let Read::Message(Message::HelloAck(ack)) = link.read() {
        link.send(&Message::Failed { handoff_id: ack.handoff_id, error: why.to_string().into() });
        link.flush();
    }
}
