//! The simulated kernel: what outlives a process, or lies between two of them.
mod bare;
mod bytes;
mod clock;
mod disk;
mod file;
mod listener;
mod lock;
mod names;
mod noise;
mod passing;
mod process;
mod swept;
mod system;
mod wire;

pub use bare::{Bare, Busy};
pub use disk::Disk;

pub(crate) use bytes::{ByteConns, ByteEnd};
pub(crate) use clock::ProcessClock;
pub(crate) use disk::{ArmedWrite, Died, JOURNAL, RECORD};
pub(crate) use file::Lie;
pub(crate) use listener::{ClientRequest, Conn, Refused, SharedListener};
pub(crate) use noise::{LengthOf, Noise};
pub(crate) use passing::{PassingLinks, PassingPiece};
pub use process::Name;
pub(crate) use process::{Life, Process};
pub(crate) use system::{Due, SimulatedKernel};
pub use wire::WhyClosed;
pub(crate) use wire::{Delivery, KernelLink, Received, Side};

/// Virtual time, or a length of it, in microseconds.
pub(crate) type Micros = u64;
