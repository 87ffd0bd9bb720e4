//! Every interleaving: breadth-first through all states that the production machines can get into within a bound, over an
//! in-memory kernel, with every order of frames, hooks, timers and answers, and a death in every gap.
//!
//! No time passes here, and there are no clients: the seeded simulator has those. In each state the checks hold; from each
//! state, whatever the order of steps, one process comes to serve. What is found is a [`Schedule`], the shortest way to it.
//!
//! `bounds.rs` and `faults.rs` say what is gone through. `world.rs` is the kernel, `steps.rs` what can happen in it, `act.rs` what
//! becomes of it, `journal.rs` what supervisors write down, `host.rs` and `surveyor.rs` the machines' hosts on it, `graph.rs` the search, `liveness.rs` how it must end, `checks.rs` what must hold, `duties`
//! what a process owes in a turn.
mod act;
mod bounds;
mod checks;
mod duties;
mod faults;
mod graph;
mod host;
mod journal;
mod liveness;
mod names;
mod schedule;
mod steps;
mod story;
mod surveyor;
mod table;
mod walk;
mod watch;
mod world;

pub use bounds::{Bound, LARGE, SMALL};
pub use faults::Faults;
pub use graph::{Options, Report, Root, explore, explore_from};
pub use schedule::{Replayed, Schedule};
pub use table::tables;
pub use walk::{Stride, Walk};
