//! The node of a recovery, on an operating system that is a few queues: which process counts as what, which is believed, which
//! listeners are taken, and the order in which the machine hears of it.
mod answers;
mod links;
mod listeners;
mod order;
mod os;
mod sightings;
