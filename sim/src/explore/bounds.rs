//! The explorations: named bounds, each with the faults that may happen in it.
//!
//! All faults at once are more states than fit, so each bound has some of them; every two kinds meet in one. What no bound
//! has: more than two faults of a kind, or of three kinds, in one handoff; a second handoff together with two faults, but for two
//! crashes; a supervisor that is stopped while another one, which recovered, swaps (real processes do that); time (the simulator
//! has it); heartbeats that go out while something else can happen, where a bound is `sparse`.
use handoff::machine::supervisor::HandoffVerdict::{self, *};

use super::model::clients::ClientBudget;
use super::model::faults::FaultBudget;

mod carry;

pub use carry::CARRY;

const NONE: FaultBudget = FaultBudget {
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
    progress: 0,
    deferred: false,
    sparse: false,
    recovers: false,
    prompt: false,
};

/// The events that may happen.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// By which it is known.
    pub name: &'static str,
    /// The number of faults of each kind that may happen.
    pub faults: FaultBudget,
    /// The number of handoffs that are asked for.
    pub handoffs: u8,
    /// The verdicts that supervisors report in it: all of them, and no other.
    pub verdicts: &'static [HandoffVerdict],
    /// The clients' connections that stay in it, and what may happen to them.
    pub clients: ClientBudget,
}

impl Bound {
    /// Returns whether a process in it breaks the protocol. What is met only then, no fault of a machine or a
    /// network leads to.
    pub fn has_a_bad_peer(&self) -> bool {
        self.faults.strays > 0
    }

    /// Returns what recoveries find in it. Only a hook that hangs, longer than they wait, leaves open which
    /// process serves.
    pub fn findings(&self) -> &'static [&'static str] {
        match (self.faults.bad_hooks > 0, self.faults.cancels > 0) {
            _ if !self.faults.recovers => &[],
            (false, false) => &["NobodyServes", "Serves"],
            (true, _) => &["NobodyServes", "Serves", "Unconfirmed"],
            (false, true) => &["Cancelled", "NobodyServes", "Serves"],
        }
    }
}

const fn bound(
    name: &'static str,
    handoffs: u8,
    faults: FaultBudget,
    verdicts: &'static [HandoffVerdict],
) -> Bound {
    let clients = ClientBudget { connections: 0, breaks: 0, losses: 0, layouts: 0, comings: 0 };
    Bound { name, faults, handoffs, verdicts, clients }
}

/// The bounds that fit into two minutes. Never `Unconfirmed` after a single fault.
pub const SMALL: &[Bound] = &[
    bound("no-fault", 2, NONE, &[Committed]),
    bound("no-fault-deferred", 2, FaultBudget { deferred: true, ..NONE }, &[Committed]),
    bound(
        "one-crash",
        2,
        FaultBudget { crashes: 1, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "one-crash-deferred",
        2,
        FaultBudget { crashes: 1, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable],
    ),
    bound("one-stop", 2, FaultBudget { stops: 1, ..NONE }, &[Committed, RolledBack, Unreachable]),
    bound("one-bad-hook", 2, FaultBudget { bad_hooks: 1, ..NONE }, &[Committed, RolledBack]),
    bound("one-error", 2, FaultBudget { errors: 1, ..NONE }, &[Committed, RolledBack]),
    bound("one-drop", 2, FaultBudget { drops: 1, ..NONE }, &[Committed, RolledBack]),
    bound("one-reset", 2, FaultBudget { resets: 1, ..NONE }, &[Committed, RolledBack, Unreachable]),
    bound("one-stray", 2, FaultBudget { strays: 1, ..NONE }, &[Committed, RolledBack]),
    bound("late", 2, FaultBudget { late: 1, ..NONE }, &[Committed, RolledBack, Unreachable]),
    bound(
        "cancelled",
        2,
        FaultBudget { cancels: 1, deferred: true, ..NONE },
        &[Committed, RolledBack, Cancelled],
    ),
    bound(
        "told-to-stop",
        2,
        FaultBudget { signals: 1, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "two-crashes",
        2,
        FaultBudget { crashes: 2, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "stop-and-crash",
        1,
        FaultBudget { stops: 1, crashes: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "bad-hook-and-crash",
        1,
        FaultBudget { bad_hooks: 1, crashes: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "late-and-crash",
        1,
        FaultBudget { late: 1, crashes: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "late-and-stop",
        1,
        FaultBudget { late: 1, stops: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "drop-and-stop",
        1,
        FaultBudget { drops: 1, stops: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "reset-and-crash",
        1,
        FaultBudget { resets: 1, crashes: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "one-crash-recovered",
        2,
        FaultBudget { crashes: 1, recovers: true, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Unreachable],
    ),
    bound(
        "one-crash-recovered-deferred",
        2,
        FaultBudget { crashes: 1, recovers: true, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Unreachable],
    ),
    bound(
        "one-stop-recovered",
        1,
        FaultBudget { stops: 1, recovers: true, prompt: true, sparse: true, ..NONE },
        &[Committed, RolledBack, Unreachable],
    ),
    bound(
        "two-crashes-recovered",
        1,
        FaultBudget { crashes: 2, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "bad-hook-and-crash-recovered",
        1,
        FaultBudget { bad_hooks: 1, crashes: 1, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "drop-and-crash-recovered",
        1,
        FaultBudget { drops: 1, crashes: 1, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "reset-and-crash-recovered",
        1,
        FaultBudget { resets: 1, crashes: 1, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "error-and-crash-recovered",
        1,
        FaultBudget { errors: 1, crashes: 1, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "told-to-stop-and-recovered",
        1,
        FaultBudget { signals: 1, crashes: 1, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "late-and-error",
        1,
        FaultBudget { late: 1, errors: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "late-and-bad-hook",
        1,
        FaultBudget { late: 1, bad_hooks: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "late-and-told-to-stop",
        1,
        FaultBudget { late: 1, signals: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "bad-hook-and-told-to-stop",
        1,
        FaultBudget { bad_hooks: 1, signals: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "cancelled-and-told-to-stop",
        1,
        FaultBudget { cancels: 1, signals: 1, deferred: true, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable, Cancelled],
    ),
    bound(
        "late-and-drop",
        1,
        FaultBudget { late: 1, drops: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, Unreachable],
    ),
    bound(
        "late-and-reset",
        1,
        FaultBudget { late: 1, resets: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, Unreachable],
    ),
    bound(
        "bad-hook-and-error",
        1,
        FaultBudget { bad_hooks: 1, errors: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes],
    ),
    bound("other-version", 2, FaultBudget { versions: 1, ..NONE }, &[Committed, RolledBack, Unreachable]),
    bound("two-drops", 1, FaultBudget { drops: 2, ..NONE }, &[Committed, RolledBack]),
    bound(
        "late-and-stop-recovered",
        1,
        FaultBudget { late: 1, stops: 1, recovers: true, prompt: true, sparse: true, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "other-version-and-crash",
        1,
        FaultBudget { versions: 1, crashes: 1, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "stop-and-bad-hook",
        1,
        FaultBudget { stops: 1, bad_hooks: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "stop-and-reset",
        1,
        FaultBudget { stops: 1, resets: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "stop-and-error",
        1,
        FaultBudget { stops: 1, errors: 1, sparse: true, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "stop-and-cancelled",
        1,
        FaultBudget { stops: 1, cancels: 1, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable, Cancelled],
    ),
    bound(
        "stop-and-told-to-stop",
        1,
        FaultBudget { stops: 1, signals: 1, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "stop-and-other-version",
        1,
        FaultBudget { stops: 1, versions: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, Unreachable],
    ),
    bound(
        "drop-and-reset",
        1,
        FaultBudget { drops: 1, resets: 1, ..NONE },
        &[Committed, RolledBack, Unreachable],
    ),
    bound("drop-and-bad-hook", 1, FaultBudget { drops: 1, bad_hooks: 1, ..NONE }, &[Committed, RolledBack]),
    bound(
        "drop-and-error",
        1,
        FaultBudget { drops: 1, errors: 1, sparse: true, ..NONE },
        &[Committed, RolledBack],
    ),
    bound(
        "drop-and-cancelled",
        1,
        FaultBudget { drops: 1, cancels: 1, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, Cancelled],
    ),
    bound(
        "drop-and-told-to-stop",
        1,
        FaultBudget { drops: 1, signals: 1, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "drop-and-other-version",
        1,
        FaultBudget { drops: 1, versions: 1, ..NONE },
        &[Committed, RolledBack, Unreachable],
    ),
    bound(
        "reset-and-bad-hook",
        1,
        FaultBudget { resets: 1, bad_hooks: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "reset-and-error",
        1,
        FaultBudget { resets: 1, errors: 1, sparse: true, ..NONE },
        &[Committed, RolledBack, NobodyServes, Unreachable],
    ),
    bound(
        "reset-and-cancelled",
        1,
        FaultBudget { resets: 1, cancels: 1, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, Unconfirmed, Unreachable, Cancelled],
    ),
    bound(
        "reset-and-told-to-stop",
        1,
        FaultBudget { resets: 1, signals: 1, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "reset-and-other-version",
        1,
        FaultBudget { resets: 1, versions: 1, ..NONE },
        &[Committed, RolledBack, Unreachable],
    ),
    bound(
        "bad-hook-and-cancelled",
        1,
        FaultBudget { bad_hooks: 1, cancels: 1, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Cancelled],
    ),
    bound(
        "bad-hook-and-other-version",
        1,
        FaultBudget { bad_hooks: 1, versions: 1, ..NONE },
        &[Committed, RolledBack, Unreachable],
    ),
    bound(
        "error-and-told-to-stop",
        1,
        FaultBudget { signals: 1, errors: 1, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable],
    ),
    bound(
        "error-and-other-version",
        1,
        FaultBudget { errors: 1, versions: 1, sparse: true, ..NONE },
        &[Committed, RolledBack, Unreachable],
    ),
    bound(
        "cancelled-and-crash",
        1,
        FaultBudget { crashes: 1, cancels: 1, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable, Cancelled],
    ),
    bound(
        "cancelled-and-crash-recovered",
        1,
        FaultBudget { crashes: 1, cancels: 1, recovers: true, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable, Cancelled],
    ),
    bound(
        "late-and-cancelled",
        1,
        FaultBudget { late: 1, cancels: 1, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, Unconfirmed, Unreachable, Cancelled],
    ),
    bound(
        "error-and-cancelled",
        1,
        FaultBudget { cancels: 1, errors: 1, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, NobodyServes, Cancelled],
    ),
    bound(
        "other-version-and-cancelled",
        1,
        FaultBudget { cancels: 1, versions: 1, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, Unreachable, Cancelled],
    ),
    bound(
        "late-and-other-version",
        1,
        FaultBudget { late: 1, versions: 1, ..NONE },
        &[Committed, RolledBack, Unconfirmed, Unreachable],
    ),
    bound(
        "other-version-and-told-to-stop",
        1,
        FaultBudget { signals: 1, versions: 1, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable],
    ),
    bound("seal-progress", 2, FaultBudget { progress: 2, ..NONE }, &[Committed]),
    bound(
        "seal-progress-and-crash",
        1,
        FaultBudget { progress: 1, crashes: 1, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Unreachable],
    ),
    bound(
        "seal-progress-late-and-stop",
        1,
        FaultBudget { progress: 1, late: 1, stops: 1, deferred: true, sparse: true, ..NONE },
        &[Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "seal-progress-and-told-to-stop",
        1,
        FaultBudget { progress: 1, signals: 1, ..NONE },
        &[Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable],
    ),
];

/// The bounds that take minutes, and some gigabytes.
pub const LARGE: &[Bound] = &[
    bound(
        "two-stops-recovered",
        1,
        FaultBudget { stops: 2, recovers: true, prompt: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "stop-and-crash-recovered",
        1,
        FaultBudget { stops: 1, crashes: 1, recovers: true, prompt: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "two-crashes-recovered-twice",
        2,
        FaultBudget { crashes: 2, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "two-drops-and-two-crashes-recovered",
        1,
        FaultBudget { drops: 2, crashes: 2, recovers: true, sparse: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
    bound(
        "two-crashes-deferred",
        1,
        FaultBudget { crashes: 2, deferred: true, sparse: true, recovers: true, ..NONE },
        &[Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable],
    ),
];

#[cfg(test)]
mod tests {
    use super::{Bound, FaultBudget, LARGE, SMALL};

    /// Returns how often what goes wrong may do so in it, by kind. That a peer breaks the protocol is nothing
    /// that meets with others.
    fn kinds(bound: &Bound) -> [(&'static str, u8); 10] {
        let FaultBudget {
            crashes,
            stops,
            drops,
            resets,
            bad_hooks,
            late,
            cancels,
            signals,
            errors,
            versions,
            strays: _,
            progress: _,
            deferred: _,
            sparse: _,
            recovers: _,
            prompt: _,
        } = bound.faults;
        [
            ("crashes", crashes),
            ("stops", stops),
            ("drops", drops),
            ("resets", resets),
            ("bad hooks", bad_hooks),
            ("late", late),
            ("cancels", cancels),
            ("signals", signals),
            ("errors", errors),
            ("versions", versions),
        ]
    }

    #[test]
    fn every_two_kinds_of_faults_meet_in_some_bound() {
        let all: Vec<_> = SMALL.iter().chain(LARGE).map(kinds).collect();
        let names = all[0].map(|(name, _)| name);
        for (first, one) in names.iter().enumerate() {
            for (second, other) in names.iter().enumerate().skip(first + 1) {
                let both = all.iter().any(|kinds| kinds[first].1 > 0 && kinds[second].1 > 0);
                assert!(both, "no bound has {one} and {other}");
            }
        }
    }
}
