//! The parts of a run that can be broken on purpose.
use crate::mutant::Mutation;

/// Something that is broken on purpose in the simulated world, to see that a check notices: one for each of them, but for
/// lost writes, for which a daemon is enough ([`forgetful_ledgers`](crate::run::forgetful_ledgers)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    /// Nothing.
    #[default]
    Nothing,
    /// `flock` excludes no process, as on some network file systems.
    FlockExcludesNobody,
    /// The supervisor gives its listening socket away.
    ListenerIsGivenAway,
    /// A supervisor that died is not started again.
    NoSupervisorAgain,
    /// A stranger removes the control path.
    PathIsRemoved,
    /// The roll-back is reported as a commit.
    RollBackIsDenied,
    /// The sockets of processes that have ended are not removed.
    SocketsStay,
    /// No daemon is started when none serves.
    NoDaemonAgain,
    /// A supervisor believes what a journal of another boot says of processes.
    BootIsForgotten,
    /// A daemon forgets a reply, over a connection that its client holds.
    ReplyIsLost,
    /// The output that could not be sent to a client is not among what is handed to a successor.
    OutputIsDropped,
    /// A successor goes on with connections as soon as all have come.
    SuccessorReadsEarly,
    /// The mutation of a machine.
    Mutant(&'static Mutation),
}
