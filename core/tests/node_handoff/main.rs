//! The node of a handoff, on an operating system that is a few queues: the order in which it hands over what has happened, which
//! peers it believes, what it makes of answers that come later.
mod answers;
mod data;
mod doubt;
mod held_up;
mod links;
mod order;
mod os;
mod purpose;
