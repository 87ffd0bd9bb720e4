//! Real processes, sockets and files: what a swap does when all goes well, and when a successor, an incumbent, a
//! peer or a rival does not behave. After each of them one process serves, nothing is lost, and the next swap
//! commits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
mod access;
mod beforehand;
mod cold_start;
mod committed;
mod descriptors;
mod endurance;
mod exhausted;
mod happy;
mod holes;
mod hostile_peers;
mod in_the_way;
mod incumbent;
mod journal;
mod key_value;
mod killed;
mod kv_connections;
mod metrics;
mod mute;
mod reference;
mod requests;
mod rivals;
mod service;
mod setting;
mod sight;
mod stopped;
mod successor;
mod survives;
mod swept;
mod trust;
