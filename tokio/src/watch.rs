//! Descriptors of the library's that the runtime watches.
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use tokio::io::unix::AsyncFd;

/// The owner of a descriptor, and the same one for as long as it lives.
#[derive(Debug)]
pub(crate) struct Watched<T>(pub(crate) T);

impl<T: AsFd> AsRawFd for Watched<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Has the runtime watch `owner`, which comes back if that fails.
pub(crate) fn watch<T: AsFd>(owner: T) -> Result<AsyncFd<Watched<T>>, (T, io::Error)> {
    #[allow(
        deprecated,
        reason = "the other way is unsafe: an owner must not change its descriptor, and those here can't"
    )]
    AsyncFd::try_new(Watched(owner)).map_err(|failed| {
        let (owner, error) = failed.into_parts();
        (owner.0, error)
    })
}
