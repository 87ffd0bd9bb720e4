//! The listeners that are taken, and their number.
use handoff::bounds::LISTENERS;
use handoff::machine::recovery::Event;

use crate::os::{A, B, Did, RecoveryScene, listeners};

#[test]
fn more_listeners_than_are_taken_close_the_link_before_they_are_received() {
    let mut scene = RecoveryScene::met(&[A]);
    let most = listeners(LISTENERS, true);
    assert_eq!(scene.hears(A, most.clone()), [Event::Frame(A, most)]);
    assert_eq!(scene.hears(A, listeners(1, false)), [Event::Closed(A)]);
    assert_eq!(scene.os.did, [Did::Receives(A, LISTENERS), Did::HangsUp(A)]);
}

#[test]
fn the_first_complete_set_that_is_not_empty_is_kept() {
    let mut scene = RecoveryScene::met(&[A, B]);
    scene.hears(A, listeners(0, false));
    scene.hears(B, listeners(200, true));
    assert_eq!(scene.os.did, [Did::Receives(A, 0), Did::Keeps(A), Did::Receives(B, 200)]);
    scene.hears(B, listeners(100, false));
    assert_eq!(scene.os.did.last(), Some(&Did::Keeps(B)));
    scene.os.did.clear();
    scene.hears(A, listeners(3, false));
    assert!(!scene.os.has(&Did::Keeps(A)), "two daemons' listeners are never mixed");
    assert!(scene.os.has(&Did::Drops(A)), "and what is not kept costs no descriptors");
}

#[test]
fn a_set_that_a_link_has_cut_off_does_not_count_towards_the_next() {
    let mut scene = RecoveryScene::met(&[A]);
    scene.hears(A, listeners(LISTENERS, true));
    assert_eq!(scene.hears(A, crate::os::hello(B)), [Event::Closed(A)]);
    scene.pass_at_wake();
    scene.hears(A, crate::os::hello(A));
    scene.hears(A, listeners(LISTENERS, false));
    assert_eq!(scene.os.did.last(), Some(&Did::Keeps(A)));
}
