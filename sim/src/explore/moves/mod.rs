//! The turns of the model's machines on its kernel, and what the checks say of each.
pub(super) mod apply;
mod clients;
mod hooks;
mod host;
pub(super) mod recover;
