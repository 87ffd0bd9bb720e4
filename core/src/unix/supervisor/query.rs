//! Asks a daemon where it stands.
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::message::{Hello, Message, Status};
use crate::node::Read;
use crate::unix::control::{self, Connect};
use crate::unix::link::Link;
use crate::unix::poller;

/// The status of a daemon in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DaemonStatus {
    /// Its introduction: process, build, versions of the protocol.
    pub hello: Hello,
    /// The standing of the daemon.
    pub status: Status,
}

/// Asks the daemon that answers at `path`, for `limit` at most.
pub(crate) fn ask(path: &Path, limit: Duration) -> Result<DaemonStatus> {
    let until = Instant::now() + limit;
    let mut link = connect(path, until)?;
    link.send(&Message::StatusQuery);
    let mut hello = None;
    loop {
        match (link.read(), hello.take()) {
            (Read::Message(Message::Hello(said)), _) => hello = Some(said),
            (Read::Message(Message::Status(status)), Some(hello)) => {
                return Ok(DaemonStatus { hello, status });
            }
            (Read::Message(Message::Refused { error }), _) => return Err(Error::Peer(error.into())),
            (Read::Message(_), said) => hello = said,
            (Read::Closed(why), _) => {
                return Err(Error::Unreachable(format!("{} closed the link: {why}", path.display())));
            }
            (Read::Nothing, said) => {
                hello = said;
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Error::Unreachable(format!(
                        "no process answered at {} within {limit:?}",
                        path.display()
                    )));
                }
                let fds = [(std::os::fd::AsFd::as_fd(&link), link.wants_write())];
                poller::wait(&fds, Some(left));
                link.flush();
            }
        }
    }
}

fn connect(path: &Path, until: Instant) -> Result<Link> {
    loop {
        match control::connect(path)? {
            Connect::Connected(stream) => return Ok(Link::new(stream)),
            Connect::NotThere => {
                return Err(Error::Unreachable(format!(
                    "nobody listens at the control socket {}",
                    path.display()
                )));
            }
            Connect::Retry if Instant::now() >= until => {
                return Err(Error::Unreachable(format!(
                    "the control socket {} is not answered",
                    path.display()
                )));
            }
            Connect::Retry => {
                poller::wait(&[], Some(Duration::from_millis(10)));
            }
        }
    }
}
