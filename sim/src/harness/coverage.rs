//! The marks that tell one run from another, for a search for runs that are not like any before: a cell of a
//! machine's table, and the states of all other processes when it was met.
use handoff::machine::Cell;

use super::{Process, RunWorld};
use crate::kernel::{KernelLink, Life, Side};

/// A cell, and how all other processes stood when it was met.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CoveragePoint {
    /// The cell.
    pub cell: Cell,
    /// In the order in which they were started.
    others: Vec<Stand>,
}

/// The state of a process, as seen from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stand {
    kind: char,
    life: Life,
    state: &'static str,
    /// `true` if there is a link between the two, with both ends open.
    linked: bool,
}

impl RunWorld {
    /// A machine of `pid` meets a cell.
    pub(crate) fn meets(&mut self, pid: u32, cell: Cell) {
        self.around.audit.cell(cell);
        if self.around.audit.coverage.is_some() {
            let point = self.coverage_point(pid, cell);
            self.around.audit.coverage.get_or_insert_default().insert(point);
        }
    }

    fn coverage_point(&self, pid: u32, cell: Cell) -> CoveragePoint {
        let ends = |link: &KernelLink| [Side::Supervisor, Side::Daemon].map(|side| link.pid(side));
        let joins = |link: &KernelLink, other| {
            link.is_whole() && ends(link).contains(&pid) && ends(link).contains(&other)
        };
        let stand = |(other, process): (&u32, &Process)| Stand {
            kind: process.name.kind,
            life: process.life,
            state: self.state_of(*other),
            linked: self.kernel.links.values().any(|link| joins(link, *other)),
        };
        let others = self.kernel.processes.iter().filter(|(other, _)| **other != pid);
        CoveragePoint { cell, others: others.map(stand).collect() }
    }
}
