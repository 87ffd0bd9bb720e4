//! The meaning of each process that is seen.
use handoff::journal::{Binary, Journal, Running, UnderWay};
use handoff::machine::recovery::{Sight, Sighting};
use handoff::message::MessageName;
use handoff::node::recovery::{Seen, sightings};
use handoff::{HandoffId, ProcessId};

use crate::os::{A, B, C, Did, RecoveryScene};

fn process(pid: u32) -> ProcessId {
    ProcessId { pid, start_time: 0 }
}

fn journal(running: u32, incumbent: u32, successor: u32) -> Journal {
    let handoff_id = HandoffId([1; 16]);
    let binary = Binary { handoff_id, path: Vec::new(), args: Vec::new(), working_dir: None, identity: None };
    let (incumbent, successor) = (Some(process(incumbent)), process(successor));
    Journal {
        running: Some(Running { process: process(running), build_id: Vec::new(), is_committed: true }),
        under_way: Some(UnderWay { handoff_id, incumbent, successor, binary, retiring: false }),
        ..Journal::default()
    }
}

fn seen(beside: &[u32], owner: Option<u32>, holder: Option<u32>) -> Seen {
    Seen {
        beside: beside.iter().copied().map(process).collect(),
        owner: owner.map(process),
        holder: holder.map(process),
        swept: None,
    }
}

fn all(journal: &Journal, seen: &Seen, also: Option<u32>) -> Vec<(u32, Sight)> {
    let all = sightings(journal, seen, also.map(process));
    all.into_iter().map(|Sighting { process, sight, .. }| (process.pid, sight)).collect()
}

#[test]
fn what_the_supervisor_has_written_the_kernel_says_and_a_name_says_are_three_things() {
    let expected = [
        (1, Sight::Incumbent),
        (2, Sight::Incumbent),
        (3, Sight::Successor),
        (4, Sight::Beside),
        (5, Sight::InPlace),
        (6, Sight::InPlace),
        (7, Sight::Beside),
    ];
    assert_eq!(all(&journal(1, 2, 3), &seen(&[4], Some(5), Some(6)), Some(7)), expected);
}

#[test]
fn what_says_most_of_a_process_counts() {
    let expected = [(1, Sight::Incumbent), (3, Sight::Successor)];
    assert_eq!(all(&journal(1, 1, 3), &seen(&[1, 3], Some(3), Some(3)), Some(1)), expected);
    assert_eq!(all(&journal(3, 3, 3), &seen(&[], None, None), None), [(3, Sight::Successor)]);
}

#[test]
fn a_holder_that_the_kernel_does_not_confirm_is_nobody() {
    assert_eq!(all(&Journal::default(), &seen(&[], None, None), None), []);
    let beside = [(6, Sight::Beside)];
    assert_eq!(all(&Journal::default(), &seen(&[6], None, None), None), beside, "it must not be ended");
}

#[test]
fn what_has_ended_is_not_seen_and_what_is_known_is_watched_once() {
    let mut scene = RecoveryScene::new(&[A, B], Journal::default());
    scene.os.dead.insert(B);
    scene.begin();
    assert_eq!(scene.node.parties().collect::<Vec<_>>(), [A]);
    assert!(!scene.os.has(&Did::Connects(B)), "{:?}", scene.os.did);
    scene.os.did.clear();
    scene.os.seen = Some(Seen { beside: vec![A, C], ..Seen::default() });
    scene.pass_at_wake();
    assert!(scene.os.has(&Did::Watches(C)) && !scene.os.has(&Did::Watches(A)), "{:?}", scene.os.did);
}

#[test]
fn a_process_that_was_seen_to_end_is_not_seen_again() {
    let mut scene = RecoveryScene::met(&[A, B]);
    scene.os.ended.insert(B);
    scene.pass();
    assert!(scene.node.was_told_of_end(B));
    scene.pass_at_wake();
    assert!(!scene.os.has(&Did::Connects(B)) && scene.os.has(&Did::Says(A, MessageName::StandingQuery)));
}
