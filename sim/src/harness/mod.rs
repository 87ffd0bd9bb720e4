//! What surrounds the simulated kernel in a run: clients, an operator, the faults of a plan, and the checks.
pub(crate) mod checks;
pub(crate) mod clients;
pub(crate) mod coverage;
mod drain;
pub(crate) mod faults;
pub(crate) mod operator;
pub(crate) mod strangers;
mod view;
