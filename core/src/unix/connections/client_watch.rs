//! Waits for many clients at once, where the system has `epoll(7)`.
use std::io;

use super::ConnId;
use super::socket::Socket;
use crate::unix::wake::WakeReceiver;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use with_epoll::ClientWatch;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use without::ClientWatch;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod with_epoll {
    use nix::errno::Errno;
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    use super::{ConnId, Socket, WakeReceiver, io};

    /// The number of events that one wait takes.
    const EVENTS: usize = 256;
    /// The number of the waker; connections are counted from 1.
    const WAKER: u64 = 0;

    /// Tells of each client once that it speaks, or has gone.
    #[derive(Debug)]
    pub(in super::super) struct ClientWatch {
        epoll: Epoll,
    }

    impl ClientWatch {
        /// `true` if clients are seen: else each connection needs a thread that waits for its client.
        pub(in super::super) const SEES_CLIENTS: bool = true;

        pub(in super::super) fn new(wakes: &WakeReceiver) -> io::Result<ClientWatch> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            epoll.add(wakes, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
            Ok(ClientWatch { epoll })
        }

        pub(in super::super) fn add(&self, id: ConnId, socket: &Socket) -> io::Result<()> {
            let once = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLONESHOT;
            Ok(self.epoll.add(socket, EpollEvent::new(once, id.0))?)
        }

        /// Forgets a connection. The kernel would go on as long as another process has a descriptor of it.
        pub(in super::super) fn remove(&self, socket: &Socket) {
            let _ = self.epoll.delete(socket);
        }

        /// Waits until a client speaks, or for the waker: the connections whose clients have spoken.
        pub(in super::super) fn wait(&self, wakes: &WakeReceiver) -> io::Result<Vec<ConnId>> {
            let mut events = [EpollEvent::empty(); EVENTS];
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(Errno::EINTR) => 0,
                count => count?,
            };
            let mut spoken = Vec::new();
            for event in &events[..count] {
                match event.data() {
                    WAKER => wakes.drain(),
                    id => spoken.push(ConnId(id)),
                }
            }
            Ok(spoken)
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod without {
    use std::os::fd::AsFd;

    use nix::poll::PollFlags;

    use super::super::socket::{Until, wait};
    use super::{ConnId, Socket, WakeReceiver, io};

    /// Waits for the waker only.
    #[derive(Debug)]
    pub(in super::super) struct ClientWatch;

    impl ClientWatch {
        /// `true` if clients are seen: else each connection needs a thread that waits for its client.
        pub(in super::super) const SEES_CLIENTS: bool = false;

        pub(in super::super) fn new(_: &WakeReceiver) -> io::Result<ClientWatch> {
            Ok(ClientWatch)
        }

        pub(in super::super) fn add(&self, _: ConnId, _: &Socket) -> io::Result<()> {
            Ok(())
        }

        pub(in super::super) fn remove(&self, _: &Socket) {}

        pub(in super::super) fn wait(&self, wakes: &WakeReceiver) -> io::Result<Vec<ConnId>> {
            wait(wakes, PollFlags::POLLIN, Until::Stop(wakes.as_fd()));
            wakes.drain();
            Ok(Vec::new())
        }
    }
}
