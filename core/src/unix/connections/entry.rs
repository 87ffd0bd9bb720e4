//! A connection, as both its owner and the registry see it.
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::carry::ConnectionState;
use crate::connections::Conduct;
use crate::time::Time;

use super::socket::Socket;

/// Takes the lock: what a panic elsewhere leaves behind a lock is consistent between any two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The facts that are known of a connection.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) socket: Socket,
    conduct: Mutex<Conduct>,
    state: Mutex<ConnectionState>,
    /// A thread sends what waits for the client.
    sending: AtomicBool,
}

impl Entry {
    pub(super) fn new(socket: Socket, conduct: Conduct) -> Entry {
        Entry {
            socket,
            conduct: Mutex::new(conduct),
            state: Mutex::default(),
            sending: AtomicBool::new(false),
        }
    }

    /// Returns whether no thread sends what waits: then the caller is to start one.
    pub(super) fn begin_sending(&self) -> bool {
        !self.sending.swap(true, SeqCst)
    }

    pub(super) fn end_sending(&self) {
        self.sending.store(false, SeqCst);
    }

    pub(super) fn conduct(&self) -> MutexGuard<'_, Conduct> {
        lock(&self.conduct)
    }

    /// Returns what another process, or another thread, needs to go on with the connection. To be locked
    /// after the conduct, if both are.
    pub(super) fn state(&self) -> MutexGuard<'_, ConnectionState> {
        lock(&self.state)
    }

    /// Sends what waits for the client. A drain that keeps the connection must not begin meanwhile, hence `conduct`.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if some of it still waits; otherwise as the socket does.
    pub(super) fn send_waiting(&self, conduct: &mut Conduct) -> io::Result<()> {
        let mut state = self.state();
        while !state.output.is_empty() {
            let count = self.socket.write(&state.output)?;
            state.output.drain(..count);
            conduct.took();
        }
        Ok(())
    }

    /// Cuts the connection if its time is over; returns whether it is cut.
    pub(super) fn look(&self, now: Time) -> bool {
        let mut conduct = self.conduct();
        let was_cut = conduct.is_cut();
        let is_cut = conduct.look(now);
        if is_cut && !was_cut {
            // This wakes all that wait for the socket, in whatever way.
            self.socket.shutdown(Shutdown::Both);
        }
        is_cut
    }
}
