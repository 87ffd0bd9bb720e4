//! The bounds in which clients' connections stay, and are carried from process to process.
use handoff::machine::supervisor::HandoffVerdict::{self, *};

use super::{Bound, NONE};
use crate::explore::model::clients::ClientBudget;
use crate::explore::model::faults::FaultBudget;

/// A connection between two requests, and one in the middle of a request and of a reply.
const TWO: ClientBudget = ClientBudget { connections: 2, breaks: 0, losses: 0, layouts: 0, comings: 0 };

const CRASH: FaultBudget = FaultBudget { crashes: 1, sparse: true, ..NONE };

const fn carry(
    name: &'static str,
    handoffs: u8,
    faults: FaultBudget,
    clients: ClientBudget,
    verdicts: &'static [HandoffVerdict],
) -> Bound {
    Bound { name, faults, handoffs, verdicts, clients }
}

/// The bounds that fit into half a minute.
pub const CARRY: &[Bound] = &[
    carry("carry", 2, NONE, TWO, &[Committed]),
    carry("carry-clients", 1, NONE, ClientBudget { comings: 2, ..TWO }, &[Committed]),
    carry("carry-crash", 2, CRASH, TWO, &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable]),
    carry("carry-break", 2, NONE, ClientBudget { breaks: 1, ..TWO }, &[Committed, RolledBack]),
    carry("carry-loss", 2, NONE, ClientBudget { losses: 1, ..TWO }, &[Committed, RolledBack]),
    carry("carry-layout", 2, NONE, ClientBudget { layouts: 1, ..TWO }, &[Committed, RolledBack]),
    carry(
        "carry-break-and-crash",
        1,
        CRASH,
        ClientBudget { breaks: 1, ..TWO },
        &[Committed, RolledBack, FellBack, NobodyServes, Unreachable],
    ),
    carry(
        "carry-stop",
        1,
        FaultBudget { stops: 1, sparse: true, ..NONE },
        TWO,
        &[Committed, RolledBack, Unreachable],
    ),
    carry(
        "carry-stop-and-crash",
        1,
        FaultBudget { stops: 1, ..CRASH },
        TWO,
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    carry("carry-bad-hook", 2, FaultBudget { bad_hooks: 1, ..NONE }, TWO, &[Committed, RolledBack]),
    carry(
        "carry-bad-hook-and-crash",
        1,
        FaultBudget { bad_hooks: 1, ..CRASH },
        TWO,
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    carry(
        "carry-error-and-crash",
        1,
        FaultBudget { errors: 1, recovers: true, ..CRASH },
        TWO,
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    carry(
        "carry-two-crashes",
        1,
        FaultBudget { crashes: 2, ..CRASH },
        TWO,
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    carry(
        "carry-told-to-stop",
        1,
        FaultBudget { signals: 1, ..CRASH },
        TWO,
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable],
    ),
];
