//! Each check has a planted violation that it catches, and no other check does before it: a check that never fires is
//! worth nothing.
use std::sync::Arc;

use handoff_sim::run::{Planted, RunOptions, forgetful_ledgers, ledgers};
use handoff_sim::sweep::Sweep;
use handoff_sim::{CHECKS, Make, Plan, Violation, run};

/// One crash of the daemon that serves, and one of its supervisor; a swap between them.
const CRASHES: &str = r#"
    handoffs = 2
    [[fault]]
    at = "time 60ms"
    do = "crash"
    who = "incumbent"
"#;

const SUPERVISOR_CRASHES: &str = r#"
    [[fault]]
    at = "handoff 1 + 15ms"
    do = "crash"
    who = "supervisor"
"#;

const ROLLED_BACK: &str = r#"
    [[fault]]
    at = "hook open"
    in-handoff = 1
    do = "fail"
"#;

const INCUMBENT_CRASHES: &str = r#"
    [[fault]]
    at = "handoff 1 + 3ms"
    do = "crash"
    who = "incumbent"
    [[fault]]
    at = "gap successor.opening.*"
    in-handoff = 1
    do = "crash"
"#;

/// Power fails in the middle of a swap, and a stranger has the number of the daemon that served.
const REUSED_PIDS: &str = r#"
    [[fault]]
    at = "handoff 1 + 1ms"
    do = "reused-pids"
"#;

#[test]
fn a_supervisor_that_believes_a_journal_of_another_boot_ends_a_stranger() {
    let found = caught_by(REUSED_PIDS, &ledgers(), Planted::BootIsForgotten).expect("a violation");
    assert_eq!(found.check, "serves again");
    assert!(found.why.ends_with("which is a stranger"), "{}", found.why);
    assert_eq!(caught_by(REUSED_PIDS, &ledgers(), Planted::Nothing), None);
}

fn caught_by(plan: &str, make: &Arc<Make>, planted: Planted) -> Option<Violation> {
    let plan = Plan::parse(plan).expect("a good plan");
    run(&Arc::new(plan), make, RunOptions { planted, ..RunOptions::default() }).violation
}

#[test]
fn every_check_catches_what_is_planted_for_it() {
    let long = "clients = 1\nhandoffs = 12\nnoise = 3\ndelays = \"usual\"";
    let planted = [
        ("one writer", "", ledgers(), Planted::FlockExcludesNobody),
        ("nothing lost", long, forgetful_ledgers(), Planted::Nothing),
        ("never refused", long, ledgers(), Planted::ListenerIsGivenAway),
        ("never cut", "connections = 4\npause = \"200ms\"", ledgers(), Planted::ReplyIsLost),
        ("one reader", "connections = 1", ledgers(), Planted::SuccessorReadsEarly),
        ("serves again", SUPERVISOR_CRASHES, ledgers(), Planted::NoSupervisorAgain),
        ("reachable", "", ledgers(), Planted::PathIsRemoved),
        ("told the truth", ROLLED_BACK, ledgers(), Planted::RollBackIsDenied),
        ("nothing left", CRASHES, ledgers(), Planted::SocketsStay),
        ("bounded outage", INCUMBENT_CRASHES, ledgers(), Planted::NoDaemonAgain),
    ];
    assert_eq!(planted.each_ref().map(|(check, ..)| *check), CHECKS, "one for each check");
    let mut wrong = Vec::new();
    for (check, plan, make, broken) in planted {
        let found = caught_by(plan, &make, broken);
        if found.as_ref().map(|violation| violation.check) != Some(check) {
            wrong.push(format!("{broken:?} is to be caught by {check:?}, and {found:?} is what was found"));
        }
        let found = caught_by(plan, &ledgers(), Planted::Nothing);
        wrong.extend(
            found.map(|violation| format!("with nothing planted, the plan of {check:?}: {violation:?}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Clients that hold connections in the middle of everything, and some swaps.
const CONNECTIONS: &str = r#"
    connections = 8
    handoffs = 8
    noise = 1
    delays = "usual"
"#;

#[test]
fn a_reply_that_is_not_handed_over_is_missed() {
    let found = caught_by(CONNECTIONS, &ledgers(), Planted::OutputIsDropped).expect("a violation");
    // The client takes what comes next for the rest of its reply.
    assert!(["never cut", "nothing lost"].contains(&found.check), "{found:?}");
    assert_eq!(caught_by(CONNECTIONS, &ledgers(), Planted::Nothing), None);
}

#[test]
fn a_sweep_finds_what_is_wrong_with_connections() {
    for planted in [Planted::ReplyIsLost, Planted::OutputIsDropped, Planted::SuccessorReadsEarly] {
        let sweep = Sweep { planted, jobs: 1, twice_every: 0, ..Sweep::new(0..2000, ledgers()) };
        let found = sweep.run(|_| {}).failure.map(|failure| failure.violation.check);
        let is_caught = |check: &str| ["never cut", "one reader", "nothing lost"].contains(&check);
        assert!(found.is_some_and(is_caught), "{planted:?}: {found:?}");
    }
}
