//! A breadth-first search through the production machines over an in-memory kernel: every order of frames, hooks
//! and timers, with crashes at every gap, silence, failing and hanging hooks, lost frames and a second handoff.
//!
//! `world.rs` is the kernel, `steps.rs` what can happen in it, `act.rs` what becomes of it, `host.rs` the machines'
//! hosts on it, `explore.rs` the search, `checks.rs` what must hold, `table.rs` the machines' cells as they are met.
mod act;
mod checks;
mod explore;
mod host;
mod steps;
mod surveyor;
mod table;
mod world;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use explore::{Report, explore};
use handoff::machine::supervisor::Verdict::{self, *};
use world::Faults;

const NONE: Faults = Faults {
    crashes: 0,
    stops: 0,
    drops: 0,
    resets: 0,
    bad_hooks: 0,
    late: 0,
    cancels: 0,
    signals: 0,
    errors: 0,
    deferred: false,
    sparse: false,
    recovers: false,
    prompt: false,
};

/// A search, run once however many tests look at its report.
struct Search {
    faults: Faults,
    handoffs: u8,
    /// What supervisors report in it, all of it and nothing else.
    verdicts: &'static [Verdict],
    report: OnceLock<Report>,
}

impl Search {
    const fn new(faults: Faults, handoffs: u8, verdicts: &'static [Verdict]) -> Self {
        Search { faults, handoffs, verdicts, report: OnceLock::new() }
    }

    fn report(&self) -> &Report {
        self.report.get_or_init(|| explore(self.faults, self.handoffs))
    }

    fn passes(&self) {
        let report = self.report();
        println!("{} states, {} transitions, depth {}", report.states, report.transitions, report.depth);
        for (violation, way) in &report.violations {
            println!("{violation}\n{way}");
        }
        assert!(report.violations.is_empty(), "{:?}", report.violations.keys());
        let expected: BTreeSet<Verdict> = self.verdicts.iter().copied().collect();
        if let Some((verdict, way)) = report.verdicts.iter().find(|(verdict, _)| !expected.contains(verdict))
        {
            panic!("{verdict:?} is not expected:\n{way}");
        }
        self.recovers_as_expected(report);
        let never = expected.iter().find(|verdict| !report.verdicts.contains_key(verdict));
        assert_eq!(never, None, "never reported");
    }
}

impl Search {
    /// Only a hook that hangs, longer than a recovery waits, leaves open who serves.
    fn recovers_as_expected(&self, report: &Report) {
        let mut expected = BTreeSet::new();
        if self.faults.recovers {
            expected.extend(["Serves", "NobodyServes"]);
            expected.extend((self.faults.bad_hooks > 0).then_some("Unconfirmed"));
        }
        if let Some((found, way)) = report.recoveries.iter().find(|(found, _)| !expected.contains(*found)) {
            panic!("a recovery that ends in {found} is not expected:\n{way}");
        }
        let met: BTreeSet<_> = report.recoveries.keys().copied().collect();
        assert_eq!(met, expected, "all of them are met");
    }
}

macro_rules! searches {
    (in $all:ident, each $(#[$attribute:meta])*: $($name:ident: $handoffs:literal handoffs,
        { $($field:ident: $value:expr),* } => [$($verdict:ident),*];)*) => {
        #[allow(non_upper_case_globals, reason = "a static and a test share a name")]
        mod $all {
            use super::*;
            $(pub(crate) static $name: Search =
                Search::new(Faults { $($field: $value,)* ..NONE }, $handoffs, &[$($verdict),*]);)*
            #[allow(dead_code, reason = "not all are asked for all of them")]
            pub(crate) const ALL: &[&Search] = &[$(&$name),*];
        }
        searches!(@tests $all, [$(#[$attribute])*], $($name),*);
    };
    (@tests $all:ident, $attributes:tt, $($name:ident),*) => {
        $(searches!(@test $all, $attributes, $name);)*
    };
    (@test $all:ident, [$(#[$attribute:meta])*], $name:ident) => {
        #[test]
        $(#[$attribute])*
        fn $name() {
            $all::$name.passes();
        }
    };
}

// Never `Unconfirmed` after a single fault. Of two faults and two handoffs only what fits: two crashes take sparse
// heartbeats, the others one handoff.
searches! {
    in small, each:
    no_fault: 2 handoffs, { } => [Committed];
    no_fault_deferred: 2 handoffs, { deferred: true } => [Committed];
    one_crash: 2 handoffs, { crashes: 1 } => [Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable];
    one_crash_deferred: 2 handoffs, { crashes: 1, deferred: true, sparse: true } =>
        [Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable];
    one_stop: 2 handoffs, { stops: 1 } => [Committed, RolledBack, Unreachable];
    one_bad_hook: 2 handoffs, { bad_hooks: 1 } => [Committed, RolledBack];
    one_error: 2 handoffs, { errors: 1 } => [Committed, RolledBack];
    one_drop: 2 handoffs, { drops: 1 } => [Committed, RolledBack];
    one_reset: 2 handoffs, { resets: 1 } => [Committed, RolledBack, Unreachable];
    late: 2 handoffs, { late: 1 } => [Committed, RolledBack, Unreachable];
    cancelled: 2 handoffs, { cancels: 1, deferred: true } => [Committed, RolledBack, Cancelled];
    told_to_stop: 2 handoffs, { signals: 1 } => [Committed, RolledBack, FellBack, NobodyServes, Busy, Unreachable];
    two_crashes: 2 handoffs, { crashes: 2, sparse: true } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable];
    stop_and_crash: 1 handoffs, { stops: 1, crashes: 1 } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable];
    bad_hook_and_crash: 1 handoffs, { bad_hooks: 1, crashes: 1 } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable];
    late_and_crash: 1 handoffs, { late: 1, crashes: 1 } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable];
    late_and_stop: 1 handoffs, { late: 1, stops: 1 } =>
        [Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable];
    drop_and_stop: 1 handoffs, { drops: 1, stops: 1 } =>
        [Committed, RolledBack, Unconfirmed, NobodyServes, Unreachable];
    reset_and_crash: 1 handoffs, { resets: 1, crashes: 1 } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable];
    one_crash_recovered: 2 handoffs, { crashes: 1, recovers: true } =>
        [Committed, RolledBack, FellBack, NobodyServes, Unreachable];
    one_crash_recovered_deferred: 2 handoffs, { crashes: 1, recovers: true, deferred: true, sparse: true } =>
        [Committed, RolledBack, FellBack, NobodyServes, Unreachable];
    one_stop_recovered: 1 handoffs, { stops: 1, recovers: true, prompt: true, sparse: true } =>
        [Committed, RolledBack, Unreachable];
    two_crashes_recovered: 1 handoffs, { crashes: 2, recovers: true, sparse: true } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable];
    bad_hook_and_crash_recovered: 1 handoffs, { bad_hooks: 1, crashes: 1, recovers: true, sparse: true } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable];
    drop_and_crash_recovered: 1 handoffs, { drops: 1, crashes: 1, recovers: true, sparse: true } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable];
    reset_and_crash_recovered: 1 handoffs, { resets: 1, crashes: 1, recovers: true, sparse: true } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable];
    error_and_crash_recovered: 1 handoffs, { errors: 1, crashes: 1, recovers: true, sparse: true } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable];
    told_to_stop_and_recovered: 1 handoffs, { signals: 1, crashes: 1, recovers: true, sparse: true } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Busy, Unreachable];
}

// `cargo test -p handoff-core --test search -- --ignored`
searches! {
    in large, each #[ignore = "more than a million states, half a minute"]:
    two_stops_recovered: 1 handoffs, { stops: 2, recovers: true, prompt: true, sparse: true } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable];
    stop_and_crash_recovered: 1 handoffs, { stops: 1, crashes: 1, recovers: true, prompt: true, sparse: true } =>
        [Committed, RolledBack, FellBack, Unconfirmed, NobodyServes, Unreachable];
}

/// Every gap in which a process died: none can be forgotten, and none appears unseen.
#[test]
fn the_gaps_in_which_a_process_can_die() {
    let gaps: BTreeSet<String> =
        small::ALL.iter().flat_map(|search| &search.report().gaps).map(gap_name).collect();
    snapshot("gaps", &gaps.into_iter().collect::<Vec<_>>().join("\n"));
}

fn gap_name(gap: &handoff::host::Gap) -> String {
    match gap.before {
        Some(effect) => format!("{}.{}.before-{effect}", gap.role, gap.state),
        None => format!("{}.{}.after", gap.role, gap.state),
    }
}

/// What each state makes of each event, for every machine that was met in it.
#[test]
fn the_tables_of_states_and_events() {
    let mut cells = table::Cells::default();
    small::ALL.iter().for_each(|search| search.report().samples.fill(&mut cells));
    for (role, table) in cells.tables() {
        snapshot(role, &table);
    }
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
