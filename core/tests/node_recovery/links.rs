//! The processes that are believed, and those that are asked again.
use handoff::HostError;
use handoff::machine::recovery::Event;
use handoff::message::Message;
use handoff::message::MessageName;
use handoff::node::{Credentials, Read};

use crate::os::{A, B, Did, RecoveryScene, UID, hello, listeners, serves};

#[test]
fn a_hello_from_another_process_closes_the_link() {
    let mut scene = RecoveryScene::with(&[A]);
    assert_eq!(scene.hears(A, hello(B)), [Event::Closed(A)]);
    assert_eq!((&scene.os.did[..], scene.node.hello(A)), (&[Did::HangsUp(A)][..], None));
}

#[test]
fn whatever_comes_before_hello_closes_the_link() {
    for message in [serves(), listeners(1, false), Message::Busy] {
        let mut scene = RecoveryScene::with(&[A]);
        assert_eq!(scene.hears(A, message), [Event::Closed(A)]);
        assert_eq!(scene.os.did, [Did::HangsUp(A)], "nothing is taken");
    }
}

#[test]
fn each_link_begins_with_hello() {
    let mut scene = RecoveryScene::met(&[A]);
    scene.os.inboxes.entry(A).or_default().push_back(Read::Closed("end of file".into()));
    assert_eq!(scene.pass(), [Event::Closed(A)]);
    scene.pass_at_wake();
    assert!(scene.os.has(&Did::Connects(A)), "it is connected to with the next question");
    assert_eq!(scene.hears(A, serves()), [Event::Closed(A)], "what it said before was over another link");
}

#[test]
fn a_refusal_closes_the_link() {
    let mut scene = RecoveryScene::met(&[A]);
    assert_eq!(scene.hears(A, Message::Refused { error: "no".into() }), [Event::Closed(A)]);
}

#[test]
fn another_process_or_user_at_the_other_end_is_not_talked_to() {
    for peer in [
        Credentials { uid: UID, pid: Some(B.pid) },
        Credentials { uid: UID + 1, pid: Some(A.pid) },
        Credentials { uid: UID + 1, pid: None },
    ] {
        let mut scene = RecoveryScene::new(&[A], Default::default());
        scene.os.credentials.insert(A, peer);
        scene.begin();
        scene.os.says(A, hello(A));
        assert!(scene.os.has(&Did::HangsUp(A)) && !scene.os.has(&Did::Says(A, MessageName::StandingQuery)));
        assert_eq!(scene.pass(), [Event::Closed(A)], "{peer:?}");
    }
}

#[test]
fn root_and_a_process_of_another_namespace_are_talked_to() {
    for peer in [
        Credentials { uid: 0, pid: Some(A.pid) },
        Credentials { uid: UID, pid: Some(0) },
        Credentials { uid: UID, pid: None },
    ] {
        let mut scene = RecoveryScene::new(&[A], Default::default());
        scene.os.credentials.insert(A, peer);
        scene.begin();
        assert_eq!(scene.hears(A, hello(A)), [Event::Frame(A, hello(A))], "{peer:?}");
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_asked_again() {
    let mut scene = RecoveryScene::met(&[A, B]);
    scene.os.clogged.insert(A);
    scene.pass_at_wake();
    let asked: Vec<_> = scene.os.did.iter().filter(|did| matches!(did, Did::Says(..))).collect();
    assert_eq!(asked, [&Did::Says(B, MessageName::StandingQuery)]);
    scene.os.clogged.clear();
    scene.pass_at_wake();
    assert!(scene.os.has(&Did::Says(A, MessageName::StandingQuery)));
}

#[test]
fn a_peer_that_does_not_read_is_still_told_what_is_not_a_question_asked_again() {
    let mut scene = RecoveryScene::met(&[A]);
    scene.os.clogged.insert(A);
    scene.hears(A, serves());
    assert_eq!(scene.os.did, [Did::Says(A, MessageName::ListenersQuery)]);
}

#[test]
fn a_connection_that_fails_is_told_at_once_even_in_a_timers_turn() {
    let mut scene = RecoveryScene::met(&[A]);
    scene.os.inboxes.entry(A).or_default().push_back(Read::Closed("end of file".into()));
    scene.pass();
    scene.os.connected = Some(Err(HostError::system("nobody listens")));
    scene.pass_at_wake();
    assert!(scene.os.has(&Did::Connects(A)));
    let now = scene.os.now;
    assert_eq!((scene.pass_at_wake(), scene.os.now), (vec![Event::Closed(A)], now));
}
