//! The real host: Unix sockets, processes, `flock(2)`, one `poll(2)` loop a role, and the blocking API.
pub mod connections;
pub mod control;
pub mod dir_watch;
pub mod env;
pub mod journal;
pub mod kill;
pub mod listeners;
pub mod lock;
pub mod lossy;
pub mod pid;
pub mod poller;
pub mod privileges;
#[cfg(feature = "crash-points")]
pub mod probe;
pub mod record_file;
pub mod role;
pub mod sparing;
pub mod spawn;
pub mod supervisor;
pub mod trusted;
pub mod wake;

mod again;
mod bind;
mod context;
mod daemon;
mod gaps;
mod hooks;
mod limits;
mod link;
mod listen;
mod pid_user;
mod reactor;
mod reports;
mod rights;
mod run;
mod under_way;

pub use connections::{
    Acceptor, Arrival, ConnId, Connection, Connections, Counts, DrainState, Drained, EventLoop, Listener,
    Patience, Pusher, Remaining,
};
pub use daemon::StopHandle;
pub use hooks::{Daemon, Drainable};
pub use limits::outlive_file_size_limit;
pub use listen::{BindOptions, bind, bind_with, differences};
pub use listeners::Listeners;
pub use lock::{DataDir, DataDirLock};
pub use lossy::LossyWriter;
pub use reports::{DrainReport, HookResult, ReadinessSnapshot, ResumeFrom, SealReport, StateSnapshot};
pub use role::{DetectedRole, Incumbent, Successor, detect_role};
pub use run::{Ended, Options, run};
pub use spawn::{RunAs, Setting};
pub use supervisor::{
    CancelHandle, Child, CommittedBinary, DaemonStatus, HandoffError, HandoffOutcome, HandoffProgress, Image,
    Interrupted, InterruptedEnd, Participant, Phases, RecoveryOutcome, RecoverySpec, SpawnSpec, Supervisor,
    Verdict,
};
