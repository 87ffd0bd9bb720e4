//! The things that a handoff's node asks of its operating system, and what comes from there.
use crate::{
    error::HostError,
    host::{Clock, Gaps},
    id::{BootId, DirectoryId, ProcessId},
    journal::{Binary, Journal},
    machine::supervisor::{Note, Outcome, Peer},
    message::Message,
    node::{Credentials, Read},
    text::PlainText,
};

/// The outcome of an attempt to connect to the control path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlConnection {
    /// Is connected.
    Made,
    /// The socket's queue is full.
    QueueFull,
    /// No process can be reached, and why.
    Failed(HostError),
}

/// A process that was started, and what it was started from.
pub type SpawnResult = Result<(ProcessId, Binary), HostError>;

/// An answer that was put off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Os::connect`].
    Connected(ControlConnection),
    /// To [`Os::spawn`].
    Spawned(SpawnResult),
    /// To [`Os::write_journal`].
    Written(Note, Result<(), HostError>),
}

/// The operating system as a handoff's node needs it. A method that returns `Option` may put its answer off:
/// it comes as an [`Answer`].
pub trait Os: Clock + Gaps {
    /// Connects to the control path. The new link replaces that to the incumbent.
    fn connect(&mut self) -> Option<ControlConnection>;

    /// Reads what a peer has sent. After [`Read::Closed`] the link is gone.
    fn read(&mut self, peer: Peer) -> Read;

    /// Sends a message: buffered, not received.
    fn send(&mut self, peer: Peer, message: &Message);

    /// Closes the link to a peer.
    fn hang_up(&mut self, peer: Peer);

    /// The process at the other end of the link to a peer.
    ///
    /// # Errors
    /// The system does not tell.
    fn credentials(&self, peer: Peer) -> Result<Credentials, HostError>;

    /// The effective user of this process.
    fn uid(&self) -> u32;

    /// The effective user of the successor, if the system tells.
    fn user(&self) -> Option<u32>;

    /// The data directory whose lock the successor holds, if the system tells.
    fn directory(&self) -> Option<DirectoryId>;

    /// Returns the name of this boot.
    fn boot(&self) -> BootId;

    /// Starts the successor, with a link to it; `replaces` says whether there is an incumbent.
    fn spawn(&mut self, replaces: bool) -> Option<SpawnResult>;

    /// Watches the incumbent from here on.
    ///
    /// # Errors
    /// The system's.
    fn watch(&mut self, incumbent: ProcessId) -> Result<(), HostError>;

    /// Returns how a watched peer's process has ended, if it has; its control sockets are removed then.
    fn ended(&mut self, peer: Peer) -> Option<PlainText>;

    /// Kills a peer's process and what it has forked.
    fn kill(&mut self, peer: Peer);

    /// Makes `journal`, which says `note`, durable.
    fn write_journal(&mut self, note: Note, journal: &Journal) -> Option<Result<(), HostError>>;

    /// An answer that was put off, once it has come.
    fn answer(&mut self) -> Option<Answer>;

    /// Returns whether the handoff was called off.
    fn is_cancelled(&self) -> bool;

    /// Called when the machine reports; the node may still doubt it.
    fn reports(&mut self, _outcome: &Outcome) {}
}
