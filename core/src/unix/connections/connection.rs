//! One connection, in the hands of the thread or the event loop that serves it.
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, MutexGuard};
use std::task::Poll;

use nix::poll::PollFlags;

use crate::connections::{Conduct, NextRequest, Remaining, Way};
use crate::time::{Duration, Time};

use super::entry::Entry;
use super::input::Input;
use super::pusher::Pusher;
use super::shared::Shared;
use super::socket::{Until, wait};
use super::{ConnId, Counts};

/// The longest time for which a client is waited for, after its last reply, to close as well.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// An accepted connection. A thread serves it with [`next_request`](Connection::next_request), `Read`, `BufRead` and
/// `Write`, which block; an event loop with the methods whose names begin with `poll_` and `try_`, which never do.
///
/// What has been received and is not consumed yet is kept here, so that the registry knows whether a request has begun:
/// a `BufReader` of the daemon's own must not be put on top.
///
/// # Errors
/// Reading and writing fail with [`ErrorKind::ConnectionAborted`] if the connection is kept for a successor in the middle of a
/// request: the handler must return then, and the successor begins the request again. So a handler acts on a request only when it
/// has read all of it. They fail with [`ErrorKind::TimedOut`] once a drain has cut the connection because its client made no
/// progress ([`Patience::stall`](super::Patience::stall)), and otherwise as the socket does.
///
/// # Drop
/// Dropped without [`Connection::close`], the descriptor is closed at once. What the client has sent and the daemon has not read
/// resets the connection then, and the reset may overtake the last reply.
#[derive(Debug)]
pub struct Connection {
    id: ConnId,
    entry: Arc<Entry>,
    shared: Arc<Shared>,
    input: Input,
    end: CloseProgress,
}

/// The number of bytes up to which output that can't be sent, in a drain that keeps the connection, is kept
/// for the successor.
pub(super) const KEPT_OUTPUT: usize = 4 << 20;

/// The progress of the connection's end.
#[derive(Clone, Copy, Debug)]
enum CloseProgress {
    Open,
    /// The client has been sent the end of the stream, and is waited for until this.
    Lingering(Time),
    /// Is kept: another thread or process goes on with it.
    Parked,
    Over,
}

impl Connection {
    pub(super) fn new((id, entry): (ConnId, Arc<Entry>), shared: Arc<Shared>) -> Connection {
        Connection { id, entry, shared, input: Input::default(), end: CloseProgress::Open }
    }

    /// A connection that was parked, here or by another process. If a drain keeps it again already, it stays so.
    pub(super) fn restored((id, entry): (ConnId, Arc<Entry>), shared: Arc<Shared>) -> Connection {
        let mut conduct = entry.conduct();
        let mut state = entry.state();
        let is_taken = conduct.take_up(!state.input.is_empty());
        let (input, end) = match is_taken {
            true => {
                state.awaits_more = false;
                (Input::restored(std::mem::take(&mut state.input)), CloseProgress::Open)
            }
            false => (Input::default(), CloseProgress::Parked),
        };
        drop(state);
        drop(conduct);
        Connection { id, entry, shared, input, end }
    }

    /// Sends what waits for the client. Not while the connection is kept: it is another process's to send then.
    fn send_waiting(&self) -> io::Result<()> {
        let mut conduct = self.entry.conduct();
        if conduct.is_kept() { Err(parked()) } else { self.entry.send_waiting(&mut conduct) }
    }

    /// Blocks until nothing waits for the client, or a drain keeps the connection: what still waits goes along then.
    fn send_all_waiting(&self) -> io::Result<()> {
        loop {
            match self.try_flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait_for_client(PollFlags::POLLOUT)?;
                }
                result => return result,
            }
        }
    }

    /// Returns what the daemon knows of the client, in a layout of its own: it goes with the connection from
    /// process to process.
    pub fn session(&self) -> Vec<u8> {
        self.entry.state().session.clone()
    }

    /// Replaces what the daemon knows of the client. To be called before the reply is written to the request that changes it. What
    /// it says must be understood by the build that comes after this one.
    pub fn set_session(&self, session: Vec<u8>) {
        self.entry.state().session = session;
        self.shared.has_state(self.id);
    }

    /// Returns what sends to the client from any thread, messages that it has not asked for.
    pub fn pusher(&self) -> Pusher {
        Pusher::new(self.id, &self.entry, &self.shared)
    }

    /// Returns whether a drain waits to keep the connection for a successor. A handler that answers several
    /// requests at once stops after the one that it is at, and calls
    /// [`next_request`](Connection::next_request): the successor answers the others.
    pub fn is_to_be_kept(&self) -> bool {
        self.entry.conduct().is_to_be_kept()
    }

    /// Returns whether the connection is kept: the handler ends, and the connection does not. It is called
    /// again for it, in this process or another one, with the same session.
    pub fn is_kept(&self) -> bool {
        matches!(self.end, CloseProgress::Parked)
    }

    /// Returns how many connections the registry has now.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// The connection's token, which no other connection of the registry ever has.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Returns what has been received and is not consumed yet. Take it with [`BufRead::consume`].
    pub fn buffered(&self) -> &[u8] {
        self.input.bytes()
    }

    /// Returns how many more requests the connection takes, the one included that is being answered. To be
    /// asked when a reply is made, by a protocol that can say which reply is the last.
    pub fn remaining(&self) -> Remaining {
        self.entry.conduct().remaining()
    }

    /// Tells the registry that the last request is answered, its reply written, and waits for the next one. Returns
    /// `true` when a part of that has been received, and `false` when the connection is to end: its client has closed
    /// it, or the daemon drains and no further request is taken.
    ///
    /// # Errors
    /// As reading.
    pub fn next_request(&mut self) -> io::Result<bool> {
        loop {
            if let Poll::Ready(begun) = self.poll_request()? {
                return Ok(begun);
            }
            let conduct = self.entry.conduct();
            let until = match conduct.is_ending() {
                true => Until::Passed(conduct.first_request_in(self.shared.now())),
                // A drain that keeps connections wakes none that is between two requests.
                false => Until::Stop(self.shared.end.as_fd()),
            };
            drop(conduct);
            wait(self, PollFlags::POLLIN, until);
        }
    }

    /// [`next_request`](Connection::next_request) without waiting. Pending means: again when the descriptor is
    /// readable, at once when a drain begins, and every few milliseconds as long as it lasts.
    ///
    /// # Errors
    /// As reading.
    pub fn poll_request(&mut self) -> io::Result<Poll<bool>> {
        if let CloseProgress::Parked = self.end {
            return Ok(Poll::Ready(false));
        }
        self.input.unmark();
        let entry = self.entry.clone();
        // Held over the read: a drain must not believe that nothing is read, and then something is.
        let mut conduct = entry.conduct();
        let in_drain = match conduct.next(!self.input.is_empty()) {
            NextRequest::Begin => {
                self.begin();
                return Ok(Poll::Ready(true));
            }
            NextRequest::Close => return Ok(Poll::Ready(false)),
            NextRequest::Park => {
                self.park(conduct, false);
                return Ok(Poll::Ready(false));
            }
            NextRequest::Read { in_drain } => in_drain,
        };
        match self.receive_under(conduct) {
            Ok(count) => {
                self.begin();
                Ok(Poll::Ready(count > 0))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // What came before the drain is found by one more read.
                let over = in_drain && self.entry.conduct().first_request_in(self.shared.now()).is_zero();
                Ok(if over { Poll::Ready(false) } else { Poll::Pending })
            }
            Err(error) => Err(error),
        }
    }

    fn begin(&mut self) {
        if self.shared.carries() {
            self.input.mark();
        }
    }

    /// Leaves the connection, with what was received, for another thread or process.
    fn park(&mut self, conduct: MutexGuard<'_, Conduct>, awaits_more: bool) {
        let mut state = self.entry.state();
        (state.input, state.awaits_more) = (self.input.since_mark().to_vec(), awaits_more);
        drop(state);
        self.end = CloseProgress::Parked;
        drop(conduct);
        self.shared.parked(self.id);
    }

    /// Receives more of a request, behind what is buffered, and returns how many bytes; 0 if the client has closed.
    /// Blocks until something comes. The caller bounds how long a request may become.
    ///
    /// # Errors
    /// As reading.
    pub fn fill(&mut self) -> io::Result<usize> {
        loop {
            match self.try_fill() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait_for_client(PollFlags::POLLIN)?
                }
                result => return result,
            }
        }
    }

    /// [`fill`](Connection::fill) without waiting.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if nothing has come; otherwise as reading.
    pub fn try_fill(&mut self) -> io::Result<usize> {
        match self.receive() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.interrupt()?;
                self.note_blocked(Err(error))
            }
            filled => filled,
        }
    }

    /// Sends what waits for the client, without waiting. Returns at once in a drain that keeps the connection: what still waits goes
    /// along then.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if some of it still waits; otherwise as writing.
    pub fn try_flush(&self) -> io::Result<()> {
        let mut conduct = self.entry.conduct();
        if conduct.is_to_be_kept() || conduct.is_parked() {
            return Ok(());
        }
        let sent = self.entry.send_waiting(&mut conduct);
        drop(conduct);
        self.note_blocked(self.note_end(sent))
    }

    /// Gives up a request of which more would be waited for, if a drain keeps the connection.
    fn interrupt(&mut self) -> io::Result<()> {
        let entry = self.entry.clone();
        let mut conduct = entry.conduct();
        if !self.input.is_marked() || !conduct.interrupt() {
            return Ok(());
        }
        self.park(conduct, true);
        Err(parked())
    }

    /// Sends what there is room for of `bytes`, and returns how much that was. Never blocks. In a drain, try again
    /// every few milliseconds even if the descriptor is not called writable: the system does so only when much of the
    /// socket's buffer is free, which a slow client takes long to get to.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if there is no room; otherwise as writing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        if let CloseProgress::Parked = self.end {
            return Err(parked());
        }
        let written = self.send_waiting().and_then(|()| self.entry.socket.write(bytes));
        let written = self.keep_instead(bytes, written);
        if written.is_ok() {
            self.entry.conduct().sent();
        }
        self.note_blocked(self.note_end(written))
    }

    /// Keeps `bytes` that can't be sent now, if a drain keeps the connection.
    fn keep_instead(&self, bytes: &[u8], written: io::Result<usize>) -> io::Result<usize> {
        match &written {
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.entry.conduct().is_to_be_kept() => {}
            _ => return written,
        }
        let output = &mut self.entry.state().output;
        let room = KEPT_OUTPUT.saturating_sub(output.len()).min(bytes.len());
        output.extend_from_slice(&bytes[..room]);
        if room > 0 { Ok(room) } else { written }
    }

    /// Ends the connection: the client gets what was written and then the end of the stream. What it still sends is read
    /// and thrown away until it closes too, for half a second at most. The connection counts as ended from the start.
    pub fn close(mut self) {
        while self.poll_close().is_pending() {
            let CloseProgress::Lingering(until) = self.end else { return };
            let left = until.since(self.shared.now());
            wait(&self, PollFlags::POLLIN, Until::Passed(left));
        }
    }

    /// [`close`](Connection::close) without waiting. Pending means: again when the descriptor is readable, and after
    /// half a second; ready: the connection can be dropped.
    pub fn poll_close(&mut self) -> Poll<()> {
        if let CloseProgress::Open = self.end {
            let entry = self.entry.clone();
            let mut conduct = entry.conduct();
            if conduct.is_kept() {
                // A drain has counted on it: its end is another's to find.
                conduct.park();
                self.park(conduct, false);
            } else {
                drop(conduct);
                self.finish();
            }
        }
        while let CloseProgress::Lingering(until) = self.end {
            let read = self.entry.socket.read(&mut [0; 4096]);
            let is_late = until.since(self.shared.now()).is_zero();
            match read {
                Ok(1..) if !is_late => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !is_late => return Poll::Pending,
                Ok(_) | Err(_) => self.end_lingering(),
            }
        }
        Poll::Ready(())
    }

    /// Ends the sending half, unless the client will not notice.
    fn finish(&mut self) {
        let way = self.entry.conduct().way();
        let lingers = !matches!(way, Way::Cut | Way::Gone);
        self.end =
            if lingers { CloseProgress::Lingering(self.shared.now() + LINGER) } else { CloseProgress::Over };
        self.entry.socket.shutdown(Shutdown::Write);
        self.shared.ended(self.id, way, lingers);
    }

    fn end_lingering(&mut self) {
        self.end = CloseProgress::Over;
        self.shared.lingered();
    }

    /// Reads what has come.
    fn receive(&mut self) -> io::Result<usize> {
        if let CloseProgress::Parked = self.end {
            return Err(parked());
        }
        let entry = self.entry.clone();
        self.receive_under(entry.conduct())
    }

    fn receive_under(&mut self, mut conduct: MutexGuard<'_, Conduct>) -> io::Result<usize> {
        let received = self.entry.socket.read(self.input.room());
        match received {
            Ok(0) => conduct.gone(),
            Ok(count) => {
                self.input.received(count);
                conduct.received();
            }
            Err(_) => {}
        }
        drop(conduct);
        self.note_end(received)
    }

    /// Says that the connection was cut, if the socket fails because of that, and otherwise notes that the client is
    /// gone.
    fn note_end<T>(&self, result: io::Result<T>) -> io::Result<T> {
        let mut conduct = self.entry.conduct();
        if conduct.is_cut() {
            return Err(cut());
        }
        match &result {
            Err(error) if error.kind() != ErrorKind::WouldBlock => conduct.gone(),
            Ok(_) | Err(_) => {}
        }
        result
    }

    /// Notes that the client is waited for, if it is.
    fn note_blocked<T>(&self, result: io::Result<T>) -> io::Result<T> {
        match &result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.entry.conduct().blocked(self.shared.now());
            }
            Ok(_) | Err(_) => {}
        }
        result
    }

    /// Waits until the client has sent or taken something, or for a while. The caller then tries the socket.
    fn wait_for_client(&self, flags: PollFlags) -> io::Result<()> {
        let conduct = self.entry.conduct();
        let is_draining = conduct.is_ending() || conduct.is_to_be_kept();
        drop(conduct);
        if !is_draining {
            wait(self, flags, Until::Stop(self.shared.stop.as_fd()));
            return Ok(());
        }
        wait(self, flags, Until::Passed(self.shared.patience.step()));
        // The drain looks, too, but only until its grace is over.
        if self.entry.look(self.shared.now()) { Err(cut()) } else { Ok(()) }
    }
}

fn parked() -> io::Error {
    io::Error::new(
        ErrorKind::ConnectionAborted,
        "kept for a successor in the middle of a request, which is begun again",
    )
}

fn cut() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "cut, because its client made no progress in a drain")
}

impl AsFd for Connection {
    /// The socket, which does not block.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.entry.socket.as_fd()
    }
}

impl Read for Connection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(bytes)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Connection {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.input.is_empty() {
            self.fill()?;
        }
        Ok(self.input.bytes())
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
    }
}

impl Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.try_write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait_for_client(PollFlags::POLLOUT)?;
                }
                result => return result,
            }
        }
    }

    /// Blocks until nothing waits for the client. What is written is handed to the system at once, so only what was kept over a
    /// drain waits. Returns at once in a drain that keeps the connection.
    fn flush(&mut self) -> io::Result<()> {
        self.send_all_waiting()
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        match self.end {
            CloseProgress::Open => {
                let way = self.entry.conduct().way();
                self.shared.ended(self.id, way, false);
            }
            CloseProgress::Lingering(_) => self.end_lingering(),
            CloseProgress::Parked | CloseProgress::Over => {}
        }
    }
}
