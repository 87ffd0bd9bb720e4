//! The simulated kernel: what outlives a process, or lies between two of them.
mod bare;
mod clock;
mod disk;
mod listener;
mod lock;
mod noise;
mod wire;

pub use bare::{Bare, Busy};
pub use disk::Disk;

pub(crate) use clock::Clock;
pub(crate) use disk::{Armed, Died, JOURNAL, Lie, RECORD};
pub(crate) use listener::{Listener, Refused, Request};
pub(crate) use noise::{Kind, Noise};
pub(crate) use wire::{Delivery, Link, Read, Side};

/// Virtual time, or a length of it, in microseconds.
pub(crate) type Micros = u64;
