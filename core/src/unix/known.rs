//! Cells of the machines' tables that are known to be possible: explorations and sweeps have met them.
//!
//! A machine ignores an event that it can't make sense of. One that comes in another cell than these was thought impossible, so
//! nobody has seen what it leads to: an operator is to know, and to report it.
use std::sync::OnceLock;

use crate::machine::Cell;

/// Warns of an event in a cell that nobody has met.
pub(super) fn expects(cell: &Cell) {
    if !is_known(&cell.to_string()) {
        tracing::warn!(target: "handoff.event", %cell, "an event that was thought impossible in this state");
    }
}

fn is_known(cell: &str) -> bool {
    static CELLS: OnceLock<Vec<&'static str>> = OnceLock::new();
    let sorted = || {
        let mut cells: Vec<_> = include_str!("../machine/cells.txt").lines().collect();
        cells.sort_unstable();
        cells
    };
    CELLS.get_or_init(sorted).binary_search(&cell).is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_known;

    #[test]
    fn what_was_met_is_known_and_nothing_else() {
        assert!(is_known("incumbent.draining: hook ok"));
        assert!(!is_known("incumbent.gone: hook ok"));
    }
}
