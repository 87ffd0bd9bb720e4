//! One connection as a drain sees it: what it is in the middle of, whether it may take another request, and whether it
//! is cut. Pure: the time comes in with the calls.
//!
//! Invariant: only a connection that waits for its client in the middle of a request or a write is ever cut, and only
//! after its own bound, counted from the client's last byte and from the drain's begin.
use crate::time::{Duration, Time};

/// The times that a drain grants each connection. All clients wait while a daemon drains, so what holds for
/// one connection must be far below the grace of the whole drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patience {
    /// The longest time that a connection may make no progress in the middle of a request or a reply before
    /// it is cut. Progress is a byte that came from the client or that its socket took, however long the
    /// whole takes.
    pub stall: Duration,
    /// The longest time after its acceptance in which a connection may still send its first request. Many
    /// clients, those of HTTP above all, send a request again only on a connection that has worked before.
    pub first_request: Duration,
}

impl Default for Patience {
    /// A quarter of a second without progress, and a tenth of a second for the first request.
    fn default() -> Patience {
        Patience { stall: Duration::from_millis(250), first_request: Duration::from_millis(100) }
    }
}

impl Patience {
    /// Grants `stall` without progress, and `first_request` for the first request.
    pub const fn new(stall: Duration, first_request: Duration) -> Patience {
        Patience { stall, first_request }
    }

    /// Returns the time to wait before looking again. No look counts for more, so that a machine that was suspended between two
    /// looks does not cut all its clients.
    pub fn step(&self) -> Duration {
        (self.stall / 10).clamp(Duration::from_millis(1), Duration::from_millis(25))
    }
}

/// The number of further requests that a connection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remaining {
    /// Any number: there is no drain.
    Any,
    /// Those of which a byte has been received. The connection ends when they are answered.
    Received,
    /// The one that is being answered. It was received in part when the drain began, or with the last of its requests,
    /// and what was received after it may be a part of a stream that never ends.
    This,
}

/// The way in which a connection ended in a drain; each is counted by the field of this name in
/// [`Drained`](super::Drained).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing was under way.
    Idle,
    /// After a request that was under way, or came, in the drain.
    Served,
    /// Its client made no progress.
    Cut,
    /// Its client has gone.
    Gone,
}

/// The thing to do about the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRequest {
    /// A part of it is here already.
    Begin,
    /// Read, without waiting.
    Read {
        /// `true` if a drain ends the connection if the read finds nothing.
        in_drain: bool,
    },
    /// No request follows.
    Close,
    /// The connection is kept for a successor, with what was received.
    Park,
}

/// The phase of a request that a connection is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPhase {
    /// Accepted; nothing has come yet.
    New {
        /// The time at which the connection was accepted.
        accepted: Time,
    },
    /// Between two requests.
    Between,
    /// In a request: a byte of it has come, and the daemon is not done with it.
    Request,
}

/// The things that a drain still allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    /// A request that is found by one more read.
    Read,
    /// The outcome of that read.
    Received,
    /// The request that is being answered.
    This,
}

#[derive(Clone, Copy, Debug)]
struct Ending {
    allowed: Allowed,
    /// `true` if there was a request in the drain.
    served: bool,
}

/// The decision whether a drain keeps the connection for a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    No,
    /// As soon as the daemon is done with the request that it is in, or would wait for more of it.
    Wanted,
    /// Nothing is read or written any more.
    Parked,
}

/// A wait for the client, and how much of it has counted.
#[derive(Clone, Copy, Debug)]
struct Wait {
    counted: Duration,
    looked: Time,
}

/// A connection's state.
#[derive(Clone, Debug)]
pub struct Conduct {
    patience: Patience,
    phase: RequestPhase,
    ending: Option<Ending>,
    keep: Keep,
    /// `true` if a part of the reply has been written, so that the request can't be begun again.
    answered: bool,
    waiting: Option<Wait>,
    gone: bool,
    cut: bool,
}

impl Conduct {
    /// A connection that was accepted `now`.
    pub fn new(now: Time, patience: Patience) -> Conduct {
        let phase = RequestPhase::New { accepted: now };
        Conduct {
            patience,
            phase,
            ending: None,
            keep: Keep::No,
            answered: false,
            waiting: None,
            gone: false,
            cut: false,
        }
    }

    /// Returns what the connection is in the middle of.
    pub fn phase(&self) -> RequestPhase {
        self.phase
    }

    /// A drain has begun. It ends the connection, now or when it has answered what it may; no resume undoes that.
    pub fn drain(&mut self, now: Time) {
        let served = self.phase == RequestPhase::Request;
        self.ending.get_or_insert(Ending { allowed: Allowed::Read, served });
        self.waiting = self.waiting.map(|_| Wait { counted: Duration::ZERO, looked: now });
    }

    /// A drain has begun that keeps connections for a successor.
    pub fn keep(&mut self, now: Time) {
        if self.ending.is_none() && self.keep == Keep::No {
            self.keep = Keep::Wanted;
            self.waiting = self.waiting.map(|_| Wait { counted: Duration::ZERO, looked: now });
        }
    }

    /// Returns whether nothing is read from the connection and nothing written, until it is released.
    pub fn is_kept(&self) -> bool {
        match self.keep {
            Keep::No => false,
            Keep::Wanted => self.phase != RequestPhase::Request,
            Keep::Parked => true,
        }
    }

    /// Returns whether what can't be sent may be kept for later, and what would be waited for is not.
    pub fn is_to_be_kept(&self) -> bool {
        self.keep == Keep::Wanted
    }

    /// Returns whether no thread or event loop has the connection any more.
    pub fn is_parked(&self) -> bool {
        self.keep == Keep::Parked
    }

    /// Notes that the daemon would wait for more of a request. Returns whether it gives the request up
    /// instead: it is begun again, by the successor or here.
    pub fn interrupt(&mut self) -> bool {
        let gives_up = self.keep == Keep::Wanted && self.phase == RequestPhase::Request && !self.answered;
        if gives_up {
            self.keep = Keep::Parked;
        }
        gives_up
    }

    /// Notes that the connection is served again by this process. Returns whether no thread or event loop has
    /// it now.
    pub fn release(&mut self) -> bool {
        let was_parked = self.keep == Keep::Parked;
        self.keep = Keep::No;
        if was_parked {
            (self.phase, self.answered, self.waiting) = (RequestPhase::Between, false, None);
        }
        was_parked
    }

    /// Notes that a thread or an event loop has the connection again, `received` if with a part of a request.
    /// Returns whether that is so: not if a drain keeps it already.
    pub fn take_up(&mut self, received: bool) -> bool {
        if self.keep != Keep::No {
            self.keep = Keep::Parked;
            return false;
        }
        if received {
            self.phase = RequestPhase::Request;
        }
        true
    }

    /// Notes that another process has kept the connection: it is to be released before it is served.
    pub fn park(&mut self) {
        self.keep = Keep::Parked;
    }

    /// Returns whether a drain ends the connection.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Returns whether the connection was cut.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Returns how many more requests the connection takes.
    pub fn remaining(&self) -> Remaining {
        match self.ending.map(|ending| ending.allowed) {
            None => Remaining::Any,
            Some(Allowed::Read | Allowed::Received) => Remaining::Received,
            Some(Allowed::This) => Remaining::This,
        }
    }

    /// The daemon is done with a request, or has just begun, and asks for the next one; `received` if a part of that has
    /// been received.
    pub fn next(&mut self, received: bool) -> NextRequest {
        self.waiting = None;
        self.answered = false;
        if self.keep != Keep::No {
            self.keep = Keep::Parked;
            return NextRequest::Park;
        }
        let allowed = self.ending.map(|ending| ending.allowed);
        let next = match (allowed, received) {
            (Some(Allowed::This), _) | (Some(Allowed::Received), false) => NextRequest::Close,
            (None | Some(Allowed::Read | Allowed::Received), true) => NextRequest::Begin,
            (None | Some(Allowed::Read), false) => NextRequest::Read { in_drain: allowed.is_some() },
        };
        self.phase = match (next, self.phase) {
            (NextRequest::Begin, _) => RequestPhase::Request,
            (NextRequest::Close | NextRequest::Park, _)
            | (NextRequest::Read { .. }, RequestPhase::Between | RequestPhase::Request) => {
                RequestPhase::Between
            }
            (NextRequest::Read { .. }, new @ RequestPhase::New { .. }) => new,
        };
        next
    }

    /// Returns for how long a drain still waits for the first byte of a request. A connection that has had a
    /// request gets none.
    pub fn first_request_in(&self, now: Time) -> Duration {
        match self.phase {
            RequestPhase::New { accepted } => self.patience.first_request.saturating_sub(now.since(accepted)),
            RequestPhase::Between | RequestPhase::Request => Duration::ZERO,
        }
    }

    /// Bytes have come.
    pub fn received(&mut self) {
        if let Some(ending) = &mut self.ending {
            ending.allowed =
                if self.phase == RequestPhase::Request { Allowed::This } else { Allowed::Received };
            ending.served = true;
        }
        self.phase = RequestPhase::Request;
        self.waiting = None;
    }

    /// The socket has taken bytes of the reply.
    pub fn sent(&mut self) {
        self.took();
        self.answered = true;
    }

    /// The socket has taken bytes that belong to no request which is being answered.
    pub fn took(&mut self) {
        self.waiting = None;
    }

    /// Notes that nothing came where something must, or nothing could be sent: the connection waits for its
    /// client.
    pub fn blocked(&mut self, now: Time) {
        self.waiting.get_or_insert(Wait { counted: Duration::ZERO, looked: now });
    }

    /// The client has gone.
    pub fn gone(&mut self) {
        self.gone = true;
    }

    /// Counts what has passed since the last look; returns whether the connection is cut.
    pub fn look(&mut self, now: Time) -> bool {
        let is_draining = self.ending.is_some() || self.keep == Keep::Wanted;
        if let (true, Some(wait)) = (is_draining, &mut self.waiting) {
            wait.counted += now.since(wait.looked).min(self.patience.step());
            wait.looked = wait.looked.max(now);
            self.cut |= wait.counted >= self.patience.stall;
        }
        self.cut
    }

    /// Returns how the connection ended, if it ends now.
    pub fn way(&self) -> Way {
        match self.ending {
            _ if self.cut => Way::Cut,
            _ if self.gone => Way::Gone,
            Some(Ending { served: false, .. }) => Way::Idle,
            Some(Ending { served: true, .. }) | None => Way::Served,
        }
    }
}
