//! A seeded, deterministic simulator for `handoff`: the production state machines, under the driver that they have in
//! production, on a simulated machine where everything goes wrong.
//!
//! A run is a pure function of a [`Plan`] and the code: the same plan leaves the same trace, byte for byte, on any machine. A
//! seed is a way to draw a plan ([`draw`]); [`sweep`] runs many, [`shrink`] makes a failing plan small, [`trace`] shows it.
//! Checks ([`CHECKS`]) read the simulated kernel, the disk and what clients were told, never a machine's own state.
//!
//! # Your own daemon
//!
//! Implement [`Simulated`] beside [`handoff::Drainable`], with the store on a [`Disk`], and let a test sweep:
//!
//! ```no_run
//! # use std::time::Duration;
//! # use handoff::{DrainReport, Drainable, HookResult, ReadinessSnapshot, ResumeFrom, SealReport, StateSnapshot};
//! # use handoff::message::{SealProgress, Sealed};
//! use handoff_sim::{Disk, Simulated, check};
//!
//! struct Db { disk: Disk, value: u64 }
//!
//! impl Simulated for Db {
//!     fn open(&mut self, _: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
//!         let bytes = self.disk.read("value").unwrap_or_default();
//!         self.value = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
//!         Ok(ReadinessSnapshot::healthy(Vec::new()))
//!     }
//!     fn write(&mut self, _key: u32, value: u64) -> HookResult<()> {
//!         // In place: a crash in the middle leaves half of it. The sweep says so.
//!         self.disk.write_at("value", 0, &value.to_le_bytes())?;
//!         self.disk.sync("value")?;
//!         self.disk.sync_dir()?;
//!         self.value = value;
//!         Ok(())
//!     }
//!     fn read(&mut self, _key: u32) -> HookResult<Option<u64>> { Ok(Some(self.value)) }
//! }
//! # impl Drainable for Db {
//! #     fn drain(&mut self, _: Duration) -> HookResult<DrainReport> {
//! #         Ok(DrainReport::closed(0))
//! #     }
//! #     fn seal(&mut self, _: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> { Ok(SealReport::default()) }
//! #     fn resume_after_abort(&mut self, _: ResumeFrom) -> HookResult<()> { Ok(()) }
//! #     fn snapshot_state(&self) -> StateSnapshot { StateSnapshot::default() }
//! # }
//!
//! # /*
//! #[test]
//! # */
//! fn no_acknowledged_write_is_lost() {
//!     check(1000, |disk, _build| Db { disk, value: 0 });
//! }
//! ```
//!
//! `tests/author.rs` of this crate is a whole one, in which a `seal` that forgets to sync is caught. The hooks are your
//! production code; they must be deterministic, so no `HashMap` whose order matters, no clock, no thread. Your workspace needs
//! madsim's flag, and the compiler says so if it is missing:
//!
//! ```toml
//! # .cargo/config.toml
//! [target.'cfg(all())']
//! rustflags = ["--cfg", "madsim"]
//!
//! [build]
//! rustdocflags = ["--cfg", "madsim"]
//! ```
mod checks;
mod daemon;
pub mod explore;
mod happening;
mod harness;
mod host;
pub mod judge;
pub mod kernel;
pub mod mutant;
pub mod outage;
pub mod plan;
mod program;
pub mod run;
mod runtime;
mod search;
mod simulated;
mod supervisor;
pub mod trace;
mod world;

pub use harness::checks::{CHECKS, DETERMINISTIC, Violation};
pub use kernel::Disk;
pub use plan::Plan;
pub use plan::classes::classes;
pub use plan::draw::draw;
pub use plan::span::Span;
pub use run::{RunReport, run};
pub use search::check::{CANARY, PLAN, SEED, SEEDS, check};
pub use search::failure::{Explain, version};
pub use search::shrink::{shrink, shrink_while};
pub use search::{corpus, merge, sweep, threads};
pub use simulated::{Ledger, Make, Promise, Simulated};
