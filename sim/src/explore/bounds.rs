//! What is gone through: named bounds, each with the faults that may happen in it.
//!
//! All faults at once are more states than fit, so each bound has some of them. What no bound has: more than two faults of
//! a kind, or of three kinds, in one handoff; a second handoff together with two faults, but for two crashes; a supervisor
//! that is stopped while another one, which took stock, swaps (real processes do that); time (the simulator has it); heartbeats
//! that go out while something else can happen, where a bound is `sparse`.
use handoff::machine::supervisor::Verdict::{self, *};

use super::faults::Faults;

const NONE: Faults = Faults {
    crashes: 0,
    stops: 0,
    drops: 0,
    resets: 0,
    strays: 0,
    bad_hooks: 0,
    late: 0,
    cancels: 0,
    signals: 0,
    errors: 0,
    versions: 0,
    deferred: false,
    sparse: false,
    recovers: false,
    prompt: false,
};

/// What may happen.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// By which it is known.
    pub name: &'static str,
    /// What may go wrong, how often.
    pub faults: Faults,
    /// How many handoffs are asked for.
    pub handoffs: u8,
    /// What supervisors report in it: all of it, and nothing else.
    pub verdicts: &'static [Verdict],
}

impl Bound {
    /// Somebody in it breaks the protocol. What is met only then, no fault of a machine or a network leads to.
    pub fn has_a_bad_peer(&self) -> bool {
        self.faults.strays > 0
    }

    /// What those who take stock find in it. Only a hook that hangs, longer than they wait, leaves open who serves.
    pub fn findings(&self) -> &'static [&'static str] {
        match (self.faults.recovers, self.faults.bad_hooks > 0) {
            (false, _) => &[],
            (true, false) => &["NobodyServes", "Serves"],
            (true, true) => &["NobodyServes", "Serves", "Unconfirmed"],
        }
    }
}

const fn bound(name: &'static str, handoffs: u8, faults: Faults, verdicts: &'static [Verdict]) -> Bound {
    Bound { name, faults, handoffs, verdicts }
}

/// What fits into two minutes. Never `Unconfirmed` after a single fault.
pub const SMALL: &[Bound] = &[
    bound("no-fault", 2, NONE, &[Committed]),
    bound("no-fault-deferred", 2, Faults { deferred: true, ..NONE }, &[Committed]),
    bound(
        "one-crash",
        2,
        Faults { crashes: 1, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "one-crash-deferred",
        2,
        Faults { crashes: 1, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable],
    ),
    bound("one-stop", 2, Faults { stops: 1, ..NONE }, &[Committed, RolledBack, Unreachable]),
    bound("one-bad-hook", 2, Faults { bad_hooks: 1, ..NONE }, &[Committed, RolledBack]),
    bound("one-error", 2, Faults { errors: 1, ..NONE }, &[Committed, RolledBack]),
    bound("one-drop", 2, Faults { drops: 1, ..NONE }, &[Committed, RolledBack]),
    bound("one-reset", 2, Faults { resets: 1, ..NONE }, &[Committed, RolledBack, Unreachable]),
    bound("one-stray", 2, Faults { strays: 1, ..NONE }, &[Committed, RolledBack]),
    bound("late", 2, Faults { late: 1, ..NONE }, &[Committed, RolledBack, Unreachable]),
    bound("cancelled", 2, Faults { cancels: 1, deferred: true, ..NONE }, &[Committed, RolledBack, Cancelled]),
    bound(
        "told-to-stop",
        2,
        Faults { signals: 1, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "two-crashes",
        2,
        Faults { crashes: 2, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "stop-and-crash",
        1,
        Faults { stops: 1, crashes: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "bad-hook-and-crash",
        1,
        Faults { bad_hooks: 1, crashes: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "late-and-crash",
        1,
        Faults { late: 1, crashes: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "late-and-stop",
        1,
        Faults { late: 1, stops: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "drop-and-stop",
        1,
        Faults { drops: 1, stops: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "reset-and-crash",
        1,
        Faults { resets: 1, crashes: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "one-crash-recovered",
        2,
        Faults { crashes: 1, recovers: true, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Unreachable],
    ),
    bound(
        "one-crash-recovered-deferred",
        2,
        Faults { crashes: 1, recovers: true, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Unreachable],
    ),
    bound(
        "one-stop-recovered",
        1,
        Faults { stops: 1, recovers: true, prompt: true, sparse: true, ..NONE },
        &[Committed, RolledBack, Unreachable],
    ),
    bound(
        "two-crashes-recovered",
        1,
        Faults { crashes: 2, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "bad-hook-and-crash-recovered",
        1,
        Faults { bad_hooks: 1, crashes: 1, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "drop-and-crash-recovered",
        1,
        Faults { drops: 1, crashes: 1, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "reset-and-crash-recovered",
        1,
        Faults { resets: 1, crashes: 1, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "error-and-crash-recovered",
        1,
        Faults { errors: 1, crashes: 1, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "told-to-stop-and-recovered",
        1,
        Faults { signals: 1, crashes: 1, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "late-and-error",
        1,
        Faults { late: 1, errors: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "late-and-bad-hook",
        1,
        Faults { late: 1, bad_hooks: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "late-and-told-to-stop",
        1,
        Faults { late: 1, signals: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "bad-hook-and-told-to-stop",
        1,
        Faults { bad_hooks: 1, signals: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "cancelled-and-told-to-stop",
        1,
        Faults { cancels: 1, signals: 1, deferred: true, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable, Cancelled],
    ),
    bound(
        "late-and-drop",
        1,
        Faults { late: 1, drops: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, Unreachable],
    ),
    bound(
        "late-and-reset",
        1,
        Faults { late: 1, resets: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, Unreachable],
    ),
    bound(
        "bad-hook-and-error",
        1,
        Faults { bad_hooks: 1, errors: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes],
    ),
    bound("other-version", 2, Faults { versions: 1, ..NONE }, &[Committed, RolledBack, Unreachable]),
    bound("two-drops", 1, Faults { drops: 2, ..NONE }, &[Committed, RolledBack]),
    bound(
        "late-and-stop-recovered",
        1,
        Faults { late: 1, stops: 1, recovers: true, prompt: true, sparse: true, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "other-version-and-crash",
        1,
        Faults { versions: 1, crashes: 1, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
];

/// What takes minutes, and some gigabytes.
pub const LARGE: &[Bound] = &[
    bound(
        "two-stops-recovered",
        1,
        Faults { stops: 2, recovers: true, prompt: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "stop-and-crash-recovered",
        1,
        Faults { stops: 1, crashes: 1, recovers: true, prompt: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "two-crashes-recovered-twice",
        2,
        Faults { crashes: 2, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "two-drops-and-two-crashes-recovered",
        1,
        Faults { drops: 2, crashes: 2, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "two-crashes-deferred",
        1,
        Faults { crashes: 2, deferred: true, sparse: true, recovers: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
];
