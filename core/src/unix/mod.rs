//! The real host: Unix sockets, processes, `flock(2)`, one `poll(2)` loop a role, and the blocking API.
pub mod hooks;
pub mod listeners;
pub mod run;
pub mod supervisor;

pub use hooks::*;
pub use listeners::*;
pub use run::*;
pub use supervisor::*;
