//! The work of a real host around a machine's turn: it warns of a cell of the machines' tables that no test
//! has met, and asks a test that has crash points, if this is one.
//!
//! Known cells are those that explorations and sweeps have met; `cells.txt` is a link to the list among the snapshots, and part of
//! the package. A machine ignores an event that it can't make sense of. One that
//! comes in another cell than these was thought impossible, so what it leads to was never seen: an operator is to know, and to
//! report it.
use std::collections::BTreeSet;
#[cfg(not(feature = "crash-points"))]
use std::ops::ControlFlow;
use std::sync::OnceLock;

#[cfg(not(feature = "crash-points"))]
use crate::host::{Crashed, Gap};
use crate::machine::Cell;

/// A machine is about to handle an event.
pub(super) fn handles(cell: Cell) {
    if !known().contains(&cell) {
        tracing::warn!(target: "handoff.event", %cell, "an event that was thought impossible in this state");
    }
    #[cfg(feature = "crash-points")]
    super::probe::handles(cell);
}

/// The process is in a gap of the driver.
#[cfg(feature = "crash-points")]
pub(super) use super::probe::gap;

/// The process is in a gap of the driver, and lives on.
#[cfg(not(feature = "crash-points"))]
pub(super) fn gap(_gap: Gap) -> ControlFlow<Crashed> {
    ControlFlow::Continue(())
}

/// The cells that were met.
fn known() -> &'static BTreeSet<Cell> {
    static CELLS: OnceLock<BTreeSet<Cell>> = OnceLock::new();
    CELLS.get_or_init(|| include_str!("cells.txt").lines().filter_map(|line| line.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_met_is_known_and_nothing_else() {
        let known = |cell: &str| known().contains(&cell.parse().unwrap());
        assert!(known("incumbent.draining: hook ok"));
        assert!(!known("incumbent.gone: hook ok"));
    }

    #[test]
    fn every_cell_of_the_list_is_read_as_it_is_shown() {
        for line in include_str!("cells.txt").lines() {
            assert_eq!(line.parse::<Cell>().map(|cell| cell.to_string()).as_deref(), Ok(line));
        }
    }
}
