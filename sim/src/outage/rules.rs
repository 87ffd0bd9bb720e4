//! The terms that set the length of an outage: for each class of faults a formula over the protocol's limits,
//! which is checked.
use std::fmt::Write as _;
use std::time::Duration;

use super::places::{COLD, PAIR, SWAP, TAKEOVER, WAY_BACK};
use crate::kernel::Micros;
use crate::plan::Times;
use crate::supervisor::RESTART;

/// A length of time that a rule names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Term {
    /// The outage of a swap in which nothing goes wrong: the daemon's own hooks.
    Pause,
    /// The time that the fault lasted.
    Length,
    Liveness,
    /// The longest time that a client may make no progress in a drain.
    Stall,
    /// From one heartbeat to the next.
    Heartbeat,
    Deadline,
    HookLimit,
    UnreachableLimit,
    /// Until a supervisor that died is started again.
    Restart,
    /// The first pause of a supervisor between two starts of a daemon.
    RestartMin,
    /// The longest pause of a supervisor between two starts of a daemon that dies young, again and again.
    BackOff,
    /// A process's end may come so much later than that of its links.
    Parting,
    /// The shortest of these.
    Least(&'static [Rule]),
}

/// A sum of terms, each so many times.
pub(super) type Rule = &'static [(u32, Term)];

/// Faults that are alike, and the longest time that nobody serves after any of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The fault, in words.
    pub what: &'static str,
    /// On which path. A row of [`SWAP`] holds on all paths that have none of their own for a class.
    pub path: &'static str,
    /// The classes.
    pub classes: &'static [&'static str],
    /// The bound.
    pub rule: Rule,
    /// `true` if it may be reported that no process is confirmed to serve.
    pub unconfirmed: bool,
}

/// The values that a rule's terms stand for in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub times: Times,
    pub pause: Micros,
    pub length: Micros,
}

const PARTING: Micros = 20_000;

use Term::{
    BackOff, Deadline, Heartbeat, HookLimit, Least, Length, Liveness, Parting, Pause, Restart, RestartMin,
    Stall, UnreachableLimit,
};

const PAUSE: Rule = &[(1, Pause)];
/// The way there and back again, or over to the next.
const TWICE: Rule = &[(2, Pause)];
const SILENCE: Rule = &[(1, Least(&[&[(1, Length)], &[(1, Liveness)]])), (2, Pause)];
const SILENCE_TWICE: Rule = &[(1, Least(&[&[(1, Length)], &[(2, Liveness)]])), (2, Pause)];
/// The outage while a process that may hold the lock says nothing: to the supervisor, and then to the
/// recovery.
const UNREACHABLE: Rule = &[(1, Liveness), (1, Heartbeat), (1, UnreachableLimit), (2, Pause)];
const UNREACHABLE_OR_LENGTH: Rule =
    &[(1, Least(&[&[(1, Length)], &[(1, Liveness), (1, Heartbeat), (1, UnreachableLimit)]])), (2, Pause)];

/// A row about one fault on any path.
const fn row(what: &'static str, classes: &'static [&'static str], rule: Rule) -> Row {
    Row { what, path: SWAP, classes, rule, unconfirmed: false }
}

/// A row about one fault on the way back.
const fn back(what: &'static str, classes: &'static [&'static str], rule: Rule) -> Row {
    Row { path: WAY_BACK, ..row(what, classes, rule) }
}

/// A row about two faults.
const fn pair(what: &'static str, classes: &'static [&'static str], rule: Rule) -> Row {
    Row { path: PAIR, ..row(what, classes, rule) }
}

impl Row {
    const fn unconfirmed(self) -> Row {
        Row { unconfirmed: true, ..self }
    }
}

/// All rows, as they are printed.
pub(super) const ROWS: &[Row] = &[
    row(
        "the supervisor dies",
        &[
            "crash supervisor",
            "crash-unsent supervisor",
            "core-dump supervisor",
            "terminate supervisor",
            "torn journal",
        ],
        PAUSE,
    ),
    row("the supervisor is stopped", &["stop supervisor"], SILENCE),
    row(
        "the incumbent dies",
        &["crash incumbent", "crash-unsent incumbent", "torn data"],
        &[(1, Parting), (1, Pause)],
    ),
    row("the incumbent dumps its memory", &["core-dump incumbent"], &[(1, Length), (2, Pause)]),
    row("the incumbent is asked to stop", &["terminate incumbent"], TWICE),
    row("the incumbent is stopped", &["stop incumbent"], SILENCE_TWICE),
    row(
        "the successor dies, or is asked to stop",
        &["crash successor", "crash-unsent successor", "terminate successor"],
        TWICE,
    ),
    row("the successor dumps its memory", &["core-dump successor"], &[(1, Length), (2, Pause)]),
    row("the successor is stopped", &["stop successor"], SILENCE),
    row(
        "the successor can't be started, starts slowly, dies early, hangs, says a wrong pid or another version",
        &[
            "slow spawn",
            "fail spawn",
            "die-early spawn",
            "hang spawn",
            "wrong-pid spawn",
            "other-version spawn",
            "newer-version spawn",
        ],
        PAUSE,
    ),
    row(
        "a frame is lost",
        &["drop to supervisor", "drop to incumbent", "drop to successor"],
        &[(1, Heartbeat), (1, Pause)],
    ),
    row("a frame comes late", &["delay to supervisor", "delay to incumbent"], SILENCE),
    row("a frame to the successor comes late", &["delay to successor"], SILENCE_TWICE),
    row(
        "a frame is cut, or a link reset",
        &[
            "tear to supervisor",
            "tear to incumbent",
            "tear to successor",
            "reset to supervisor",
            "reset to incumbent",
            "reset to successor",
        ],
        PAUSE,
    ),
    row(
        "`warm_up` or `finalize` is slow, fails, panics, hangs",
        &[
            "slow warm-up",
            "fail warm-up",
            "panic warm-up",
            "hang warm-up",
            "slow finalize",
            "fail finalize",
            "panic finalize",
            "hang finalize",
        ],
        PAUSE,
    ),
    row(
        "another hook fails, panics, or reports what is not good enough",
        &[
            "fail drain",
            "panic drain",
            "unfit drain",
            "fail seal",
            "panic seal",
            "fail open",
            "panic open",
            "unfit open",
            "fail serve",
            "panic serve",
            "fail resume",
            "panic resume",
        ],
        TWICE,
    ),
    row(
        "`drain`, `seal` or `resume` is slow or hangs",
        &["slow drain", "hang drain", "slow seal", "hang seal", "slow resume", "hang resume"],
        &[(1, Least(&[&[(1, Length)], &[(1, HookLimit)]])), (2, Pause)],
    ),
    row(
        "`open` or `serve` is slow or hangs",
        &["slow open", "hang open", "slow serve", "hang serve"],
        &[(1, Least(&[&[(1, Length)], &[(1, HookLimit)], &[(1, Deadline)]])), (2, Pause)],
    ),
    row("the journal can't be written, or takes long", &["fail journal", "slow journal"], PAUSE),
    row(
        "the lock can't be tried, the record can't be written, the control path can't be taken",
        &["fail lock", "fail record", "fail path"],
        TWICE,
    ),
    // It can't be taken back, and what will come of it is unknown.
    row(
        "the lock, the record or the control path takes long",
        &["slow lock", "slow record", "slow path"],
        &[(1, Length), (2, Pause)],
    ),
    // A store that breaks ends its process, again and again until there is room.
    row(
        "the disk is full, an fsync fails",
        &["full-disk", "fsync-fails"],
        &[(1, Least(&[&[(1, Length)], &[(1, BackOff)]])), (2, Pause)],
    ),
    row(
        "a process can open no descriptor",
        &["no-descriptors supervisor", "no-descriptors incumbent", "no-descriptors successor"],
        PAUSE,
    ),
    row(
        "a process' clock jumps",
        &["clock-step supervisor", "clock-step incumbent", "clock-step successor"],
        TWICE,
    ),
    row("a rival supervisor, a cancel", &["rival", "cancel"], TWICE),
    row("another build is asked for while a swap runs", &["reload"], PAUSE),
    row(
        "a client sends half a request, or does not read its reply",
        &["half-request", "unread-reply"],
        &[(1, Least(&[&[(1, Length)], &[(1, Stall)]])), (1, Pause)],
    ),
    // Only a daemon that has the lock may serve, and no process ends a stranger.
    row("a stranger takes the lock", &["stranger"], &[(1, Length), (2, Pause)]),
    row("the control sockets are removed", &["swept"], TWICE).unconfirmed(),
    row(
        "the power fails, and strangers have the pids in the next boot",
        &["reused-pids"],
        &[(1, Restart), (2, Pause)],
    ),
    row("the power fails", &["power-failure"], &[(1, Restart), (2, Pause)]),
    back(
        "the supervisor dies",
        &["crash supervisor", "crash-unsent supervisor", "core-dump supervisor", "terminate supervisor"],
        &[(1, Heartbeat), (1, Pause)],
    ),
    back("the incumbent dumps its memory", &["core-dump incumbent"], &[(1, Length), (2, Pause)])
        .unconfirmed(),
    back("the incumbent is stopped", &["stop incumbent"], UNREACHABLE_OR_LENGTH).unconfirmed(),
    back("a frame comes late", &["delay to supervisor", "delay to incumbent"], SILENCE).unconfirmed(),
    Row {
        path: COLD,
        ..row("a stranger takes the lock", &["stranger"], &[(1, Length), (1, BackOff), (2, Pause)])
    },
    Row {
        path: COLD,
        ..row(
            "the daemon opens another data directory",
            &["other-data spawn"],
            &[(2, RestartMin), (2, Pause)],
        )
    },
    Row { path: TAKEOVER, ..row("the daemon dies meanwhile", &["torn data"], &[(1, Restart), (1, Pause)]) },
    pair("incumbent and successor die", &["crash incumbent, crash successor"], TWICE),
    pair("the incumbent dies, the successor is stopped", &["crash incumbent, stop successor"], SILENCE),
    pair("the incumbent is stopped, the successor dies", &["crash successor, stop incumbent"], UNREACHABLE)
        .unconfirmed(),
    pair(
        "incumbent and successor are stopped",
        &["stop incumbent, stop successor"],
        &[(2, Liveness), (2, Heartbeat), (1, UnreachableLimit), (1, Pause)],
    )
    .unconfirmed(),
    pair(
        "the supervisor dies, and a daemon",
        &["crash incumbent, crash supervisor", "crash successor, crash supervisor"],
        &[(1, Restart), (1, Pause)],
    ),
    pair(
        "the supervisor dies, a daemon is stopped",
        &["crash supervisor, stop incumbent", "crash supervisor, stop successor"],
        &[(1, Restart), (2, Heartbeat), (1, UnreachableLimit), (1, Pause)],
    ),
    pair(
        "the supervisor is stopped, a daemon dies",
        &["crash incumbent, stop supervisor", "crash successor, stop supervisor"],
        &[(1, Length), (1, Pause)],
    ),
    pair(
        "the supervisor and a daemon are stopped",
        &["stop incumbent, stop supervisor", "stop successor, stop supervisor"],
        &[(1, Length), (1, Liveness), (2, Pause)],
    ),
    pair(
        "the supervisor is stopped, and dies or is stopped again",
        &["crash supervisor, stop supervisor", "stop supervisor, stop supervisor"],
        SILENCE,
    ),
    pair(
        "the same daemon twice",
        &[
            "crash incumbent, crash incumbent",
            "crash incumbent, stop incumbent",
            "stop incumbent, stop incumbent",
            "crash successor, stop successor",
        ],
        PAUSE,
    ),
];

/// The row of a class on a path.
pub(super) fn row_of(path: &str, class: &str) -> Option<usize> {
    let on = |path: &str| ROWS.iter().position(|row| row.path == path && row.classes.contains(&class));
    on(path).or_else(|| on(SWAP).filter(|_| path != PAIR))
}

impl Given {
    /// The bound that `rule` sets.
    pub(super) fn bound(&self, rule: Rule) -> Micros {
        rule.iter().map(|(times, term)| Micros::from(*times) * self.value(*term)).sum()
    }

    fn value(&self, term: Term) -> Micros {
        let times = &self.times;
        match term {
            Pause => self.pause,
            Length => self.length,
            Liveness => times.liveness.micros(),
            Stall => times.stall.micros(),
            Heartbeat => times.liveness.micros() / 5,
            Deadline => times.deadline.micros(),
            HookLimit => times.hook_limit.micros(),
            UnreachableLimit => times.unreachable_limit.micros(),
            Restart => times.restart.micros(),
            RestartMin => RESTART.0,
            BackOff => RESTART.1,
            Parting => PARTING,
            Least(rules) => rules.iter().map(|rule| self.bound(rule)).min().unwrap_or_default(),
        }
    }
}

/// A rule, as it is printed.
pub(super) fn text(rule: Rule) -> String {
    sum(rule, &|term| match term {
        Pause => "pause".into(),
        Length => "length".into(),
        Liveness => "`liveness`".into(),
        Stall => "`stall`".into(),
        Heartbeat => "`liveness`/5".into(),
        Deadline => "`deadline`".into(),
        HookLimit => "`hook_limit`".into(),
        UnreachableLimit => "`unreachable_limit`".into(),
        Restart => "restart".into(),
        RestartMin => "`restart_min`".into(),
        BackOff => "`restart_max`".into(),
        Parting => format!("{} ms", PARTING / 1000),
        Least(rules) => {
            let rules: Vec<String> = rules.iter().map(|rule| text(rule)).collect();
            format!("min({})", rules.join(", "))
        }
    })
}

fn sum(rule: Rule, name: &dyn Fn(Term) -> String) -> String {
    let mut text = String::new();
    for (times, term) in rule {
        let plus = if text.is_empty() { "" } else { " + " };
        let times = if *times == 1 { String::new() } else { format!("{times} ") };
        // Writing into a String can't fail.
        let _ = write!(text, "{plus}{times}{}", name(*term));
    }
    text
}

/// The limits that a supervisor has by default, in seconds.
pub(super) struct Defaults {
    liveness: f64,
    stall: f64,
    deadline: f64,
    hook_limit: f64,
    unreachable_limit: f64,
    restart: f64,
    restart_min: f64,
    back_off: f64,
}

impl Defaults {
    /// Returns what the library says, what the reference supervisor says of its pauses, and what its unit for
    /// systemd says of a restart.
    pub(super) fn of_the_library() -> Defaults {
        let swap = handoff::SpawnSpec::new("");
        let recovery = handoff::RecoverySpec::default();
        let secs = |length: Duration| length.as_secs_f64();
        Defaults {
            liveness: secs(swap.liveness),
            stall: secs(handoff::Patience::default().stall),
            deadline: secs(swap.deadline),
            hook_limit: secs(swap.hook_limit.unwrap_or(swap.deadline)),
            unreachable_limit: secs(recovery.unreachable_limit),
            restart: 0.1,
            restart_min: 0.1,
            back_off: 30.0,
        }
    }

    /// The bound that `rule` sets, however long what went wrong lasts.
    pub(super) fn text(&self, rule: Rule) -> String {
        let secs: f64 = rule.iter().map(|(times, term)| f64::from(*times) * self.secs(*term)).sum();
        let mut parts = Vec::new();
        if secs > 0.0 {
            parts.push(if secs < 1.0 { format!("{} ms", secs * 1000.0) } else { format!("{secs} s") });
        }
        let open = |(_, term): &&(u32, Term)| matches!(term, Pause | Length);
        parts.extend(rule.iter().filter(open).map(|part| text(std::slice::from_ref(part))));
        parts.join(" + ")
    }

    fn secs(&self, term: Term) -> f64 {
        let whole = |rule: Rule| -> f64 {
            rule.iter().map(|(times, term)| f64::from(*times) * self.secs(*term)).sum()
        };
        match term {
            Pause | Length => 0.0,
            Liveness => self.liveness,
            Stall => self.stall,
            Heartbeat => self.liveness / 5.0,
            Deadline => self.deadline,
            HookLimit => self.hook_limit,
            UnreachableLimit => self.unreachable_limit,
            Restart => self.restart,
            RestartMin => self.restart_min,
            BackOff => self.back_off,
            Parting => PARTING as f64 / 1e6,
            // The length may be any: it is the others that set the bound.
            Least(rules) => {
                let lasts = |rule: &&Rule| !rule.iter().any(|(_, term)| matches!(term, Length));
                rules.iter().filter(lasts).map(|rule| whole(rule)).fold(f64::INFINITY, f64::min)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::classes::classes;

    #[test]
    fn a_rule_is_printed_as_it_is_checked() {
        let given = Given { times: Times::default(), pause: 10, length: 300_000 };
        assert_eq!(
            (given.bound(SILENCE), text(SILENCE)),
            (200_020, "min(length, `liveness`) + 2 pause".into())
        );
        let short = Given { length: 5, ..given };
        assert_eq!(short.bound(SILENCE), 25);
        let defaults = Defaults::of_the_library();
        assert_eq!(defaults.text(UNREACHABLE), "66 s + 2 pause");
        assert_eq!(defaults.text(&[(1, Restart), (1, Pause)]), "100 ms + pause");
    }

    #[test]
    fn every_class_has_a_rule() {
        // A sweep names the role that is hit, an outage the place.
        let here = |class: String| match class.as_str() {
            "torn incumbent" | "torn successor" => "torn data".into(),
            "die-early supervisor"
            | "wrong-pid supervisor"
            | "other-version supervisor"
            | "newer-version supervisor"
            | "other-data supervisor" => class.replace("supervisor", "spawn"),
            _ => class,
        };
        for class in classes().into_iter().map(here) {
            assert!(row_of(COLD, &class).is_some(), "{class} has none");
        }
    }

    #[test]
    fn a_class_has_one_rule_on_a_path() {
        let mut known = BTreeSet::new();
        let classes = ROWS.iter().flat_map(|row| row.classes.iter().map(|class| (row.path, *class)));
        classes.for_each(|class| assert!(known.insert(class), "{class:?} has two"));
    }
}
