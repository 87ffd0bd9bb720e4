//! The simulated kernel, held to Linux: one suite, two arms.
//!
//! A case is a story of processes, written once; its name says the situation, and its first words why the protocol rests
//! on it. `both` tells it on real processes, sockets, locks and files, and, with the feature `sim`, on the simulated kernel
//! under many seeds. What a story asserts holds on both. Where a kernel has a choice, what it chose is an outcome, and
//! Linux's must be among the simulated ones: a run may meet more than Linux does, never less. What is not simulated, and
//! why, a table in `docs/testing.md` says; those stories are told `on_linux` alone, each under its row of that table.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
mod arms;
mod control_path;
mod disk;
mod ends;
mod ext4;
mod flock;
mod links;
mod listening;
mod real;
#[cfg(feature = "sim")]
mod simulated;
mod stage;
