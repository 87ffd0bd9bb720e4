//! The real arm: a simulator's plan, staged on real processes, real sockets and real locks.
//!
//! The *controller* sits in the test. Every process of the stage (`actor STAGED`, `supervisor_process STAGED`) says to it
//! over a socket what its machines do, and asks in every gap, before every frame and in every hook what is to go wrong:
//! the plan's faults strike here as they do in the simulator. The *operator* asks for what the simulator's
//! asks for, and starts supervisors and daemons again as the simulator's does. What came of it is a [`StageReport`], which is
//! held against the simulator's of the same plan ([`compare`]).
mod agent;
pub mod compare;
mod controller;
mod faults;
mod operator;
mod report;
mod words;

pub use agent::{Agent, cue, write_fate};
pub use operator::{stage, stage_before};
pub use report::{Ends, Line, PACE, StageReport, real_times, unstaged};
pub use words::Death;
