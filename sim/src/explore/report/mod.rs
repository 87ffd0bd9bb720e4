//! What an exploration prints: names of steps, stories and tables.
pub(super) mod replay;
mod story;
pub(super) mod table;
