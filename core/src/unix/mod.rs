//! The real host: Unix sockets, processes, `flock(2)`, one `poll(2)` loop a role, and the blocking API.
pub mod control;
pub mod env;
pub mod hooks;
pub mod journal;
pub mod listeners;
pub mod lock;
pub mod pid;
pub mod record_file;
pub mod run;
pub mod spawn;
pub mod supervisor;
pub mod wake;

mod bind;
mod context;

pub use hooks::*;
pub use listeners::*;
pub use lock::DataDirLock;
pub use run::*;
pub use supervisor::*;
