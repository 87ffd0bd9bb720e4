//! The tools that the tests with real processes are written with.
//!
//! A test has a [`World`]: a directory of its own, listening sockets, and every process that lives in it. A
//! [`SupervisorProcess`] is a supervisor in a process of its own, which can be told what to do, killed and stopped; the daemon
//! is the *actor* (`src/bin/actor`), a small durable server that misbehaves as its [`script`] says, or a *rogue*
//! (`src/bin/rogue.rs`), which is no user of the library at all. A [`Writer`] writes all the time and keeps the
//! history; [`World::assert_one_serves_and_nothing_lost`] is what holds after whatever has happened.
//!
//! ```no_run
//! use handoff_tests::{Act, HookName, World};
//!
//! let world = World::new();
//! let supervisor = world.supervisor();
//! supervisor.cold_start(&world.build()).assert_committed();
//! let writer = world.writer();
//! let broken = world.build().on(HookName::Open, [Act::Fail]);
//! supervisor.handoff(&broken).assert_rolled_back("told to fail");
//! world.assert_one_serves_and_nothing_lost(&supervisor, &writer);
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]

mod build;
mod carried_client;
mod checks;
mod evidence;
pub mod held;
mod layout;
pub mod lists;
mod log;
mod order;
pub mod processes;
pub mod raw;
mod reference;
mod supervisor_process;

mod scene;
pub mod script;
mod served;
#[cfg(all(feature = "sim", feature = "crash-points"))]
pub mod stage;
#[cfg(feature = "crash-points")]
pub mod trouble;
mod wait;
mod world;
mod writer;

pub use build::{Build, SILENCE};
pub use carried_client::CarriedClient;
pub use checks::Findings;
pub use held::{Held, HoldPoint};
pub use layout::Layout;
pub use log::{Mark, start_log};
pub use order::{Deed, Order, OrderOutcome, ToldOfOrder};
pub use reference::{Reference, free_address};
pub use scene::Scene;
pub use script::{Act, Gate, HookName};
pub use served::Served;
pub use supervisor_process::{PendingOrder, SupervisorProcess};
pub use wait::{PATIENCE, ok_within, until, until_ok, until_some};
pub use world::{Bin, World};
pub use writer::{History, Server, Writer};

/// The guide, whose code must compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide.md")]
struct Guide;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide-connections.md")]
struct ConnectionsGuide;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide-async.md")]
struct AsyncGuide;
