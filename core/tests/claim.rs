//! The processes that may keep a free lock, case by case: one crash never shows most of these, and no
//! simulation can say that none is missing.
use handoff::machine::LockAnswer;
use handoff::record::{Claim, Record};
use handoff::{Fingerprint, ProcessId};

const INCUMBENT: ProcessId = ProcessId { pid: 1, start_time: 10 };
const SUCCESSOR: ProcessId = ProcessId { pid: 2, start_time: 20 };
const ANOTHER: ProcessId = ProcessId { pid: 3, start_time: 30 };

/// Returns what `holder` has left: a seal for `sealed_for`, or none.
fn left_by(holder: ProcessId, sealed_for: Option<ProcessId>) -> Record {
    let fingerprint = Fingerprint::default();
    Record { generation: 7, holder, sealed_for, serving: false, revisions: Vec::new(), fingerprint }
}

fn assert_holds_only(claim: Claim, me: ProcessId, rightful: &[(ProcessId, Option<ProcessId>)]) {
    let processes = [INCUMBENT, SUCCESSOR, ANOTHER];
    for holder in processes {
        for sealed_for in processes.map(Some).into_iter().chain([None]) {
            let holds = claim.holds(me, Some(&left_by(holder, sealed_for)));
            let expected = rightful.contains(&(holder, sealed_for));
            assert_eq!(holds, expected, "{claim:?} of {me}, left by {holder}, sealed for {sealed_for:?}");
        }
    }
    assert!(claim.holds(me, None), "without a record the lock alone decides");
}

#[test]
fn a_successor_follows_its_own_incumbent_unless_that_sealed_for_another() {
    let claim = Claim::Successor { incumbent: INCUMBENT };
    assert_holds_only(claim, SUCCESSOR, &[(INCUMBENT, None), (INCUMBENT, Some(SUCCESSOR))]);
}

#[test]
fn an_incumbent_follows_itself_and_its_successor_that_has_sealed_nothing() {
    let itself = [None, Some(INCUMBENT), Some(SUCCESSOR), Some(ANOTHER)].map(|to| (INCUMBENT, to));
    let rightful = [&itself[..], &[(SUCCESSOR, None)]].concat();
    assert_holds_only(Claim::Incumbent { successor: SUCCESSOR }, INCUMBENT, &rightful);
}

#[test]
fn a_process_is_another_when_only_its_start_time_is() {
    let later = ProcessId { start_time: 11, ..INCUMBENT };
    let claim = Claim::Successor { incumbent: INCUMBENT };
    assert!(!claim.holds(SUCCESSOR, Some(&left_by(later, None))));
}

#[test]
fn a_cold_start_follows_whoever_it_was_as_long_as_nobody_has_come_since() {
    for (generation, expected) in [(6, false), (7, true), (8, false)] {
        let claim = Claim::ColdStart { generation };
        assert_eq!(claim.holds(SUCCESSOR, Some(&left_by(ANOTHER, None))), expected, "{generation}");
    }
}

#[test]
fn a_record_is_a_hint_only_of_the_process_that_wrote_it() {
    let hint = |holder| match LockAnswer::busy(Some(left_by(SUCCESSOR, None)), holder, None) {
        LockAnswer::Busy { hint, .. } => hint.is_some(),
        LockAnswer::Held { .. } | LockAnswer::Error(_) => unreachable!("the lock is busy"),
    };
    assert!(hint(Some(SUCCESSOR.pid)));
    assert!(!hint(Some(ANOTHER.pid)), "its writer has died, and a stranger has the lock");
    assert!(hint(None), "the system does not tell");
}
