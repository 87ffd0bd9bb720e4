//! Every interleaving: breadth-first through all states that the production machines can get into within a bound, over an
//! in-memory kernel, with every order of frames, hooks, timers and answers, and a death in every gap.
//!
//! No time passes here, and clients do nothing but keep their connections, in bounds of their own: the seeded simulator has both. In each state the checks hold; from each
//! state, whatever the order of steps, one process comes to serve. What is found is a [`Schedule`], the shortest way to it.
//!
//! `bounds.rs` says what is gone through. `model` is the kernel: which faults there are, what can happen in it, what supervisors
//! write down, and what a step is called. `checks` says what must hold in it, and what a process must do in a turn. `moves` is what
//! becomes of it: the machines' turns on it, before the eyes of the checks. `search` goes through its states and looks at how it must
//! end; `report` prints.
mod bounds;
mod checks;
mod model;
mod moves;
mod report;
mod search;

pub use bounds::{Bound, CARRY, LARGE, SMALL};
pub use model::clients::ClientBudget;
pub use model::faults::FaultBudget;
pub use model::flaws::CarryFlaw;
pub use report::replay::Replayed;
pub use report::table::tables;
pub use search::graph::{ExploreOptions, ExploreReport, Root, explore, explore_from};
pub use search::schedule::{BadSchedule, Schedule};
pub use search::walk::{Stride, Walk};
