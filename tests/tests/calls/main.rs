//! System calls that fail: each call that a supervisor, an incumbent or a successor makes in a swap or a take-over fails once, with
//! each error that the kernel may give, and everything is well afterwards.
//!
//! **How**: strace is attached to the running process, with all of its threads, and makes the n-th occurrence of a call fail
//! (`--inject`). A successor is held by SIGSTOP before it executes its program, until strace is there; so is a supervisor that takes
//! over. Attached to the process by its pid, strace changes no process's parent and nothing that is inherited. A tracer of our own
//! could tell one descriptor from another; it would be five hundred lines that know the machine's registers.
//!
//! **A cell** is a role, a story, a call, the number of its occurrence, and an error. Which calls there are is recorded first, in
//! each story. Each thread has its own count, so a cell may make a call fail once in several threads; it says how often it did.
//!
//! **What strace can't do**: a call that is made to fail is not made. So `close(2)`, which closes although it fails, is left out, and
//! transfers that are short are in `short.rs`. EAGAIN of a write is a full socket buffer.
//!
//! **Lists**, with the reasons: `not-injected.txt` has the calls that are left out, `not-given.txt` the errors of man pages (`man.txt`)
//! that are; `excused.txt` the cells after which not all is well; `unknown.txt` and `refused-starts.txt` those in which the command may not know
//! which daemon serves, and in which a supervisor may end at its start.
//!
//! Without strace, or where ptrace(2) is not allowed, nothing is tested, and that is said.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod cells;
mod errors;
mod short;
mod story;
mod tracer;
mod verdict;

use std::collections::BTreeSet;

use cells::{CallCell, CellLists, CellResult, all_cells, record_all, run_all, sample};

/// Every call of every role at least once, as one of its occurrences and one of its errors.
#[test]
fn one_cell_of_each_call_leaves_all_well() {
    if let Some(why) = tracer::why_not() {
        return eprintln!("skipped: {why}");
    }
    let records = record_all();
    let results = run_all(&sample(&all_cells(records)));
    let failed = CellLists::read().unexcused(&results);
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n"), summary(&results));
    assert_most_came(&results);
}

/// The matrix: `HANDOFF_CELLS=incumbent/commit/` runs only the cells with that in their name, and `HANDOFF_PART=2/5` the second
/// fifth of those.
#[test]
#[ignore = "some thousand cells, an hour"]
fn every_cell_leaves_all_well() {
    if let Some(why) = tracer::why_not() {
        panic!("{why}");
    }
    let records = record_all();
    let all = all_cells(records);
    let selected = cells::selected(&all);
    println!("{} of {} cells", selected.len(), all.len());
    let results = run_all(&selected);
    println!("{}", summary(&results));
    let lists = CellLists::read();
    let mut wrong = lists.unexcused(&results);
    if selected.len() == all.len() {
        wrong.extend(lists.needless(&results));
        assert_most_came(&results);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every call that was seen is in one of the two lists, so that none is left out unnoticed.
#[test]
fn each_call_that_was_seen_is_injected_or_listed() {
    if let Some(why) = tracer::why_not() {
        return eprintln!("skipped: {why}");
    }
    let records = record_all();
    let seen: BTreeSet<&str> =
        records.iter().flat_map(|record| record.trace.calls.keys().map(String::as_str)).collect();
    let wrong = errors::wrong_with_lists(&seen);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every error that a call's man page lists is injected, or listed with the reason why not.
#[test]
fn each_error_of_the_man_page_is_injected_or_listed() {
    let wrong = errors::wrong_with_errors();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// In a cell whose call does not come, nothing fails and nothing is tested: so it may be with few of them.
fn assert_most_came(results: &[CellResult]) {
    let came = results.iter().filter(|result| result.came()).count();
    assert!(2 * came > results.len(), "{}", summary(results));
}

fn summary(results: &[CellResult]) -> String {
    let count = |is: fn(&CellResult) -> bool| results.iter().filter(|result| is(result)).count();
    let well = count(|result| result.came() && result.verdict.wrong.is_empty());
    let missed = count(|result| !result.came());
    format!("{} cells: {well} well, {missed} in which another call came, or none", results.len())
}

/// The name is what a list has, without the number of the occurrence.
impl CallCell {
    fn kind(&self) -> String {
        format!("{}/{}/{}/{}", self.role, self.story, self.call, self.error)
    }
}
